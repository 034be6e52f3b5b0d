"""Keys, policies and images as people handle them in a terminal."""

import re
from collections.abc import Callable
from typing import Any

import click
import pytest

from db.access import api_keys
from db.commands.image import image
from db.commands.key import key
from db.commands.policy import policy
from db.errors import ConflictError, NotFoundError
from db.store.session import Database

Asked = Callable[..., Any]
Run = Callable[..., Any]


def test_a_key_is_printed_once_and_listed_without_itself(asked: Asked, run: Run, database: Database) -> None:
    made = asked(key, "add", "app", "--scope", "submit,read", "--rate", "60")
    assert set(made) == {"key"}
    with database.reading() as session:
        assert api_keys.find(session, made["key"]) is not None
    (row,) = asked(key, "list")
    assert (row["name"], row["scopes"], row["rate_per_minute"], row["by"]) == ("app", "submit,read", 60, "ada")
    assert made["key"] not in run(key, "list").stdout
    assert re.fullmatch(r"unmask_[\w-]{43}\n", run(key, "add", "other", "--scope", "read").stdout)


def test_a_key_is_revoked_by_its_name(asked: Asked) -> None:
    asked(key, "add", "app", "--scope", "read")
    (row,) = asked(key, "revoke", "app")
    assert row["revoked_at"] is not None


@pytest.mark.parametrize("scopes", ["", "write", "read,write"])
def test_other_scopes_are_wrong_use(run: Run, scopes: str) -> None:
    result = run(key, "add", "app", "--scope", scopes)
    assert (result.exit_code, "among submit, read, delete" in result.stderr) == (2, True)


def test_a_key_for_an_unknown_policy_is_refused(run: Run) -> None:
    with pytest.raises(NotFoundError, match="policy 'vip' is unknown"):
        run(key, "add", "app", "--scope", "read", "--policy", "vip")


def test_policies_are_added_and_listed(asked: Asked, run: Run) -> None:
    asked(policy, "add", "vip", "--weight", "2", "--reason", "verified accounts")
    (default, vip) = asked(policy, "list")
    assert default["name"] == "default"
    assert (vip["name"], vip["weight"], vip["by"], vip["reason"]) == ("vip", 2, "ada", "verified accounts")
    with pytest.raises(ConflictError, match="policy 'vip' exists already"):
        run(policy, "add", "vip")


def test_an_image_is_shown_with_its_verdict_and_its_case(asked: Asked, run: Run, open_case: Callable[..., int]) -> None:
    open_case("ada")
    shown = asked(image, "show", "ada-1")
    assert (shown["state"], shown["score"], shown["flagged"], shown["threshold"]) == ("scored", 0.9, True, 0.5)
    assert (shown["account_id"], shown["case_state"], shown["model"]) == ("ada", "open", "first")
    assert "flagged     True" in run(image, "show", "ada-1").stdout
    with pytest.raises(NotFoundError, match="image 'x' is not in the record"):
        run(image, "show", "x")


def test_every_command_speaks_of_itself() -> None:
    for command in (image, key, policy):
        assert isinstance(command, click.Group)
        assert command.help
