"""``unmask threshold``: set by the false positive rate, shown before, within a budget, gone back on, with a history."""

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from db.models import references, versions
from db.commands.threshold import threshold_group
from db.errors import ConflictError, DbError
from db.models.references import Origin
from db.schema import ModelVersion
from db.store.session import Database

AddImages = Callable[..., list[str]]
Record = Callable[..., list[str]]
Run = Callable[..., Result]
Asked = Callable[..., Any]

CARD = {
    "reference": {"name": "card reals", "scores": [number / 1000 for number in range(1000)]},
    "quality": {"threshold": 0.9945, "engines": {"dalle": {"tpr": 0.845, "fakes": 1000}}},
}
#: Half-way between the fifth and the sixth largest of the card's reals.
AT_HALF_A_PERCENT = pytest.approx(0.9945)


@pytest.fixture
def version_id(database: Database) -> int:
    """A version whose card has a thousand reals."""
    with database.writing() as session:
        return versions.register(session, "first", "1" * 64, "unmask-1", CARD).id


@pytest.fixture
def accounts(add_images: AddImages, record: Record) -> None:
    """Ten accounts whose photos score 0.990 to 0.999."""
    for number in range(10):
        add_images(f"i{number}", account_id=f"i{number}")
    record({f"i{number}": (990 + number) / 1000 for number in range(10)})


@pytest.mark.usefixtures("version_id")
def test_a_threshold_is_set_by_its_false_positive_rate_with_its_interval(asked: Asked) -> None:
    (row,) = asked(threshold_group, "set", "--fpr", "0.005", "--reason", "policy 12")
    assert (row["value"], row["target_fpr"], row["measured_fpr"]) == (AT_HALF_A_PERCENT, 0.005, 0.005)
    assert (row["reals"], row["reference"], row["forced"], row["author"]) == (1000, "card reals", False, "ada")
    assert (row["fpr_low"], row["fpr_high"]) == (pytest.approx(0.00162, abs=1e-4), pytest.approx(0.0116, abs=1e-4))
    assert [found["value"] for found in asked(threshold_group, "show")] == [AT_HALF_A_PERCENT]


@pytest.mark.usefixtures("version_id")
def test_a_threshold_by_value_says_which_rate_that_is(asked: Asked, run: Run) -> None:
    (row,) = asked(threshold_group, "set", "--value", "0.93")
    assert (row["measured_fpr"], row["target_fpr"]) == (0.07, None)
    assert "7.000% (5.497% to 8.762%) of 1000 card reals" in run(threshold_group, "show").stdout


@pytest.mark.usefixtures("version_id")
def test_too_few_reals_are_refused_and_forced_only_with_a_reason(asked: Asked, run: Run) -> None:
    with pytest.raises(DbError, match=r"an FPR of 0\.002 needs 1500 reals, 1000 given"):
        run(threshold_group, "set", "--fpr", "0.002")
    with pytest.raises(DbError, match=r"an FPR of 0\.002 on 1000 reals needs a --reason"):
        run(threshold_group, "set", "--fpr", "0.002", "--force")
    (row,) = asked(threshold_group, "set", "--fpr", "0.002", "--force", "--reason", "more reals come on Monday")
    assert (row["forced"], row["reason"], row["value"]) == (True, "more reals come on Monday", pytest.approx(0.9975))


def test_another_reference_is_used_by_its_name(database: Database, version_id: int, asked: Asked) -> None:
    with database.writing() as session:
        version = session.get_one(ModelVersion, version_id)
        scores = [number / 2000 for number in range(1000)]
        references.add(session, version, "ours", scores, Origin("photos.csv", "a" * 64, "ada"))
    (row,) = asked(threshold_group, "set", "--fpr", "0.005", "--reference", "ours")
    assert (row["value"], row["reference"]) == (pytest.approx(0.49725), "ours")


@pytest.mark.usefixtures("version_id")
@pytest.mark.parametrize("arguments", [(), ("--fpr", "0.1", "--value", "0.5")])
def test_a_threshold_is_asked_for_in_one_way(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(threshold_group, "set", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "needs --fpr or --value" in result.stderr


@pytest.mark.usefixtures("version_id", "accounts")
def test_a_preview_names_the_accounts_and_the_days_to_come_and_changes_nothing(asked: Asked, run: Run) -> None:
    asked(threshold_group, "set", "--value", "0.9985")
    found = asked(threshold_group, "preview", "--fpr", "0.005", "--prevalence", "0.01")
    assert [line["account"] for line in found["opens"]] == ["i8", "i7", "i6", "i5"]
    assert (found["withdraws"], found["cases"]) == ([], 4)
    assert found["flags_a_day"]["value"] == 5
    assert found["wrong_flags_a_day"]["value"] == pytest.approx(10 * 0.99 * 0.005)
    assert found["precision"]["dalle"]["bound"] == "as"
    assert found["precision"]["dalle"]["value"] == pytest.approx(0.63, abs=0.01)
    said = run(threshold_group, "preview", "--fpr", "0.005", "--prevalence", "0.01").stdout
    assert "It opens 4 cases" in said
    assert "i5" in said
    assert [row["value"] for row in asked(threshold_group, "show")] == [0.9985]


@pytest.mark.usefixtures("version_id", "accounts")
def test_set_roll_back_and_history(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNMASK_FLOOD_BUDGET", "3")
    with pytest.raises(ConflictError, match="--confirm 5"):
        asked(threshold_group, "set", "--fpr", "0.005")
    asked(threshold_group, "set", "--value", "0.9985")
    asked(threshold_group, "set", "--fpr", "0.005", "--confirm", "4")
    with pytest.raises(ConflictError, match="--confirm 4"):
        asked(threshold_group, "rollback")
    asked(threshold_group, "rollback", "--confirm", "4")
    assert [(row["value"], row["opened"], row["withdrawn"]) for row in asked(threshold_group, "history")] == [
        (0.9985, 0, 4),
        (AT_HALF_A_PERCENT, 4, 0),
        (0.9985, 1, 0),
    ]
    assert asked(threshold_group, "history", "--policy", "vip") == []


@pytest.mark.usefixtures("version_id", "accounts")
def test_what_stands_is_applied_again(asked: Asked) -> None:
    asked(threshold_group, "set", "--value", "0.9985")
    assert asked(threshold_group, "apply") == [{"opened": 0, "withdrawn": 0}]
