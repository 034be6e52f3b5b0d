"""``unmask model``: what a version's card says, a shadow beside the active one, and the switch between them."""

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from db.commands.model import (
    model_compare,
    model_history,
    model_list,
    model_promote,
    model_rollback,
    model_shadow,
    model_show,
)
from db.errors import ConflictError, NotFoundError
from db.models import references, versions
from db.policy import case_changes, scores
from db.policy.attribution import ChangeAuthor
from db.policy.case_changes import Budget
from db.policy.scores import Provenance, Scored
from db.policy.threshold_choice import choose_by_fpr
from db.store.session import Database

AddImages = Callable[..., list[str]]
Run = Callable[..., Result]
Asked = Callable[..., Any]

CARD = {
    "licence": "research only",
    "reference": {"name": "card reals", "scores": [number / 1000 for number in range(1000)]},
    "quality": {"target_fpr": 0.005, "threshold": 0.9945, "engines": {"sg2": {"tpr": 0.9, "fakes": 100}}},
}


@pytest.fixture
def pair(database: Database) -> None:
    """An active version with a threshold, and another."""
    with database.writing() as session:
        first = versions.register(session, "first", "1" * 64, "unmask-1", CARD)
        versions.register(session, "second", "2" * 64, "unmask-1", CARD)
        choice = choose_by_fpr(references.reals_of(session, first), 0.005)
        case_changes.set_threshold(session, first.id, "default", choice, ChangeAuthor("ada"), Budget(0))


@pytest.fixture
def uploads(database: Database, pair: None, asked: Asked, add_images: AddImages) -> None:  # noqa: ARG001
    """Two accounts that the shadow flags otherwise than the active version."""
    asked(model_shadow, "second")
    add_images("one", account_id="one")
    add_images("two", account_id="two")
    with database.writing() as session:
        first, second = (Provenance(version.id, "eager", "cpu") for version in versions.list_versions(session))
        found = {"one": (0.999, 0.1), "two": (0.1, 0.999)}
        batch = [Scored(name, "default", a, "f" * 64, 1, 1, 1, b) for name, (a, b) in found.items()]
        scores.record(session, batch, first, second)


@pytest.mark.usefixtures("pair")
def test_a_version_is_shown_with_its_card_and_its_thresholds(asked: Asked, run: Run) -> None:
    found = asked(model_show, "first")
    assert (found["state"], found["thresholds"]) == ("active", [{"policy": "default", "value": pytest.approx(0.9945)}])
    assert found["references"] == [{"name": "card reals", "reals": 1000, "source": "card"}]
    assert found["card"]["licence"] == "research only"
    assert "reference" not in found["card"], "a thousand scores are nothing to read"
    assert all(word in run(model_show, "first").stdout for word in ("research only", "sg2", "card reals", "0.9945"))
    assert asked(model_show, "1" * 64)["name"] == "first"
    with pytest.raises(NotFoundError, match="model version 'third' is not registered; registered: first, second"):
        run(model_show, "third")


@pytest.mark.usefixtures("pair")
def test_a_shadow_begins_and_ends(asked: Asked) -> None:
    assert asked(model_shadow, "second")[0]["state"] == "shadow"
    assert asked(model_shadow, "second", "--off")[0]["state"] == "candidate"
    assert [row["state"] for row in asked(model_list)] == ["active", "candidate"]


@pytest.mark.usefixtures("uploads")
def test_versions_are_compared(asked: Asked, run: Run) -> None:
    found = asked(model_compare, "first", "second")
    assert (found["images"], found["both"], found["only"]) == (2, 0, {"first": 1, "second": 1})
    assert [(row["account"], row["flagged_by"]) for row in found["accounts"]] == [("one", "first"), ("two", "second")]
    assert "100.000% (34.238% to 100.000%)" in run(model_compare, "first", "second").stdout


@pytest.mark.usefixtures("uploads")
def test_a_promotion_is_shown_held_to_its_budget_done_and_undone(
    asked: Asked, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNMASK_FLOOD_BUDGET", "1")
    preview = asked(model_promote, "second", "--preview")
    assert [row["account"] for row in preview["opens"]] == ["two"]
    assert [row["account"] for row in preview["withdraws"]] == ["one"]
    assert preview["gate"]["compared"] == [{"what": "sg2", "before": 0.9, "after": 0.9}]
    assert preview["gate"]["unknown"] == ["sizes and JPEG qualities: one card does not measure them"]
    assert "only read the cards" in preview["gate"]["warning"]
    assert preview["covered"] == 1
    assert [row["state"] for row in asked(model_list)] == ["active", "shadow"]
    with pytest.raises(ConflictError, match="--confirm 2"):
        run(model_promote, "second")
    done = run(model_promote, "second", "--confirm", "2", "--reason", "better")
    assert "Unknown: sizes and JPEG qualities" in done.stdout
    assert "WARNING: the gate only read the cards" in done.stderr
    assert [row["state"] for row in asked(model_list)] == ["shadow", "active"]
    (row,) = asked(model_rollback, "--reason", "worse")
    assert (row["kind"], row["from"], row["to"], row["opened"], row["withdrawn"]) == (
        "rollback",
        "second",
        "first",
        1,
        1,
    )
    assert [(row["kind"], row["reason"]) for row in asked(model_history)] == [
        ("rollback", "worse"),
        ("promote", "better"),
    ]
