"""``unmask threshold``: set by the false positive rate, shown before, within a budget, gone back on, with a history."""

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from db.commands.policy import policy
from db.commands.threshold import threshold_group
from db.errors import ConflictError, DbError, NotFoundError
from db.models import references, versions
from db.models.references import ReferenceOrigin
from db.schema import ModelVersion
from db.stats.cohorts import sort_with_cohorts
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
    (row,) = asked(threshold_group, "set", "--fpr", "0.005", "--empirical", "--reason", "policy 12")
    assert (row["value"], row["target_fpr"], row["measured_fpr"]) == (AT_HALF_A_PERCENT, 0.005, 0.005)
    assert (row["rule"], row["allowed"], row["bound"]) == ("empirical", 5, pytest.approx(0.01048, abs=1e-5))
    assert (row["reals"], row["reference"], row["forced"], row["author"]) == (1000, "card reals", False, "ada")
    assert (row["fpr_low"], row["fpr_high"]) == (pytest.approx(0.00162, abs=1e-4), pytest.approx(0.0116, abs=1e-4))
    assert [found["value"] for found in asked(threshold_group, "show")] == [AT_HALF_A_PERCENT]


@pytest.mark.usefixtures("version_id")
def test_a_threshold_by_value_says_which_rate_that_is(asked: Asked, run: Run) -> None:
    (row,) = asked(threshold_group, "set", "--value", "0.93", "--max-fpr", "0.1", "--reason", "a trial")
    assert (row["measured_fpr"], row["target_fpr"]) == (0.07, None)
    assert "7.000% (5.497% to 8.762%) of 1000 card reals" in run(threshold_group, "show").stdout


@pytest.mark.usefixtures("version_id")
def test_too_few_reals_are_refused_and_forced_only_with_a_reason(asked: Asked, run: Run) -> None:
    with pytest.raises(DbError, match=r"certify an FPR of 0\.002 with 0\.95 confidence needs 1,497 reals, 1,000 given"):
        run(threshold_group, "set", "--fpr", "0.002")
    with pytest.raises(DbError, match=r"an FPR of 0\.002 needs 1500 reals, 1000 given"):
        run(threshold_group, "set", "--fpr", "0.002", "--empirical")
    with pytest.raises(DbError, match=r"an FPR of 0\.002 on 1000 reals needs a --reason"):
        run(threshold_group, "set", "--fpr", "0.002", "--force")
    (row,) = asked(threshold_group, "set", "--fpr", "0.002", "--force", "--reason", "more reals come on Monday")
    assert (row["forced"], row["reason"], row["value"]) == (True, "more reals come on Monday", pytest.approx(0.9975))
    assert (row["rule"], row["promise"][:24]) == ("empirical", "empirical, not certified")


def test_another_reference_is_used_by_its_name(database: Database, version_id: int, asked: Asked) -> None:
    with database.writing() as session:
        version = session.get_one(ModelVersion, version_id)
        scores = [number / 2000 for number in range(1000)]
        references.add_reference(session, version, "ours", scores, ReferenceOrigin("photos.csv", "a" * 64, "ada"))
    (row,) = asked(threshold_group, "set", "--fpr", "0.005", "--reference", "ours")
    assert (row["value"], row["reference"]) == (pytest.approx(0.49925), "ours")


@pytest.mark.usefixtures("version_id")
@pytest.mark.parametrize("arguments", [(), ("--fpr", "0.1", "--value", "0.5")])
def test_a_threshold_is_asked_for_in_one_way(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(threshold_group, "set", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "give either --fpr or --value" in result.stderr


@pytest.mark.usefixtures("version_id", "accounts")
def test_a_preview_names_the_accounts_and_the_days_to_come_and_changes_nothing(asked: Asked, run: Run) -> None:
    asked(threshold_group, "set", "--value", "0.9985")
    found = asked(threshold_group, "preview", "--fpr", "0.005", "--empirical", "--prevalence", "0.01")
    assert [line["account"] for line in found["opens"]] == ["i8", "i7", "i6", "i5"]
    assert (found["withdraws"], found["cases"]) == ([], 4)
    assert found["flags_a_day"]["value"] == 5
    assert found["wrong_flags_a_day"]["value"] == pytest.approx(10 * 0.99 * 0.005)
    assert found["precision"]["dalle"]["bound"] == "as"
    assert found["precision"]["dalle"]["value"] == pytest.approx(0.63, abs=0.01)
    said = run(threshold_group, "preview", "--fpr", "0.005", "--empirical", "--prevalence", "0.01").stdout
    assert "It opens 4 cases" in said
    assert "i5" in said
    assert [row["value"] for row in asked(threshold_group, "show")] == [0.9985]


@pytest.mark.usefixtures("version_id", "accounts")
def test_set_roll_back_and_history(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNMASK_FLOOD_BUDGET", "3")
    with pytest.raises(ConflictError, match="--confirm 5"):
        asked(threshold_group, "set", "--fpr", "0.005", "--empirical")
    asked(threshold_group, "set", "--value", "0.9985")
    asked(threshold_group, "set", "--fpr", "0.005", "--empirical", "--confirm", "4")
    with pytest.raises(ConflictError, match="--confirm 4"):
        asked(threshold_group, "rollback")
    asked(threshold_group, "rollback", "--confirm", "4")
    assert [(row["value"], row["opened"], row["withdrawn"]) for row in asked(threshold_group, "history")] == [
        (0.9985, 0, 4),
        (AT_HALF_A_PERCENT, 4, 0),
        (0.9985, 1, 0),
    ]
    assert asked(threshold_group, "history", "--policy", "vip") == []


@pytest.mark.usefixtures("version_id")
@pytest.mark.parametrize("arguments", [("--value", "0.05"), ("--fpr", "0.03"), ("--fpr", "0.03", "--empirical")])
def test_a_rate_over_the_maximum_is_refused_with_its_numbers(
    asked: Asked, run: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    with pytest.raises(ConflictError, match=r"'default': threshold .* has an FPR of .*%\) on the 1000 real photos of"):
        run(threshold_group, "set", *arguments)
    assert asked(threshold_group, "show") == []
    assert "over the maximum of 0.02" in asked(threshold_group, "preview", *arguments)["refused"]
    assert "Setting it is refused: " in run(threshold_group, "preview", *arguments).stdout
    with pytest.raises(DbError, match="--max-fpr needs a --reason"):
        run(threshold_group, "set", *arguments, "--max-fpr", "1")
    asked(threshold_group, "set", *arguments, "--max-fpr", "1", "--reason", "a drill")
    monkeypatch.setenv("UNMASK_MAX_FPR", "0.97")
    asked(threshold_group, "set", *arguments)


@pytest.mark.usefixtures("version_id")
def test_rollbacks_go_back_step_by_step_and_never_forward(asked: Asked, run: Run) -> None:
    first, second, _ = [asked(threshold_group, "set", "--value", v)[0]["id"] for v in ("0.99", "0.991", "0.992")]
    assert [asked(threshold_group, "rollback")[0]["value"] for _ in range(2)] == [0.991, 0.99]
    with pytest.raises(NotFoundError, match=f"policy 'default': threshold {first} is the oldest for this model"):
        run(threshold_group, "rollback")
    asked(threshold_group, "set", "--value", "0.993")
    assert [asked(threshold_group, "rollback")[0]["value"]] == [0.99], "what was undone is not done again"
    assert [row["restores"] for row in asked(threshold_group, "history")] == [
        first,
        None,
        first,
        second,
        None,
        None,
        None,
    ]


@pytest.mark.usefixtures("version_id")
def test_a_rollback_to_a_rate_over_the_maximum_is_accepted_like_any_other(asked: Asked, run: Run) -> None:
    asked(threshold_group, "set", "--value", "0.9", "--max-fpr", "0.2", "--reason", "a drill")
    asked(threshold_group, "set", "--value", "0.99")
    with pytest.raises(ConflictError, match=r"over the maximum of 0\.02"):
        run(threshold_group, "rollback")
    asked(threshold_group, "rollback", "--max-fpr", "0.2", "--reason", "another drill")


def test_a_threshold_whose_rate_nobody_has_measured_says_so(database: Database, run: Run) -> None:
    with database.writing() as session:
        versions.register(session, "bare", "3" * 64, "unmask-1", {})
    result = run(threshold_group, "set", "--value", "0.05")
    assert "Warning: model bare has no reference set" in result.stderr


@pytest.mark.usefixtures("version_id", "accounts")
def test_what_stands_is_applied_again(asked: Asked) -> None:
    asked(threshold_group, "set", "--value", "0.9985")
    assert asked(threshold_group, "apply") == [{"opened": 0, "withdrawn": 0}]


# Certificates


def fakes(found: int) -> list[float]:
    """A hundred scores of fakes, of which so many are above all reals, and the rest just above the fifth largest."""
    return sorted([0.9999] * found + [0.9951] * (100 - found))


@pytest.fixture
def told(database: Database) -> int:
    """A version whose card says the TPR of any threshold, and the source of its 2,000 reals."""
    reals = [number / 2000 for number in range(2000)]
    rows = [{"source": "phone" if number % 4 else "web"} for number in range(2000)]
    ascending, cohorts = sort_with_cohorts(reals, rows, ["source"])
    engine = {"tpr": 0.9, "fakes": 100, "scores": fakes(71)}
    card = {
        "reference": {"name": "card reals", "scores": ascending, "cohorts": cohorts},
        "quality": {"threshold": 0.9945, "engines": {"dalle": engine}},
    }
    with database.writing() as session:
        return versions.register(session, "told", "2" * 64, "unmask-1", card).id


@pytest.mark.usefixtures("told")
def test_a_rate_is_certified_by_default_and_the_message_says_what_that_costs(asked: Asked, run: Run) -> None:
    said = run(threshold_group, "set", "--fpr", "0.005").stderr
    assert "Certified: with 95 % confidence at most 0.5 %." in said
    assert "4 of 2,000 may be flagged, not 10, TPR 71 % instead of 100 %; 5,000 reals would allow 16." in said
    (row,) = asked(threshold_group, "show")
    assert (row["rule"], row["confidence"], row["allowed"], row["target_fpr"]) == ("certified", 0.95, 4, 0.005)
    assert row["measured_fpr"] == 0.002
    assert 0.004 < row["bound"] <= 0.005
    assert row["promise"] == "certified: with 95 % confidence at most 0.5 %"
    assert "certified: with 95 %" in run(threshold_group, "history").stdout


@pytest.mark.usefixtures("told")
def test_the_worst_cohort_is_named_and_can_be_certified(asked: Asked, run: Run) -> None:
    (row,) = asked(threshold_group, "set", "--fpr", "0.01")
    assert row["worst_cohort"].startswith("source: web (3 of 500 flagged)")
    assert row["worst_cohort_bound"] > 0.01
    assert "The worst cohort is source: web" in run(threshold_group, "preview", "--fpr", "0.01").stdout
    (each,) = asked(threshold_group, "set", "--fpr", "0.01", "--worst-cohort")
    assert (each["rule"], each["worst_cohort_bound"] <= 0.01, each["bound"] <= 0.01) == (
        "certified_by_cohort",
        True,
        True,
    )
    assert each["value"] > row["value"]
    assert each["promise"].endswith("at most 1 % of each cohort")
    with pytest.raises(DbError, match=r"needs 736 reals of cohort 'source: web', 500 given"):
        run(threshold_group, "set", "--fpr", "0.005", "--worst-cohort")


@pytest.mark.usefixtures("version_id")
def test_cohorts_that_a_reference_does_not_have_cannot_be_certified(run: Run) -> None:
    with pytest.raises(DbError, match="reference 'card reals': it has no column of cohorts"):
        run(threshold_group, "set", "--fpr", "0.005", "--worst-cohort")


@pytest.mark.usefixtures("version_id")
@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--fpr", "0.005", "--empirical", "--worst-cohort"), "choose one of the two"),
        (("--value", "0.5", "--empirical"), "follows no rule"),
        (("--value", "0.5", "--worst-cohort"), "follows no rule"),
    ],
)
def test_rules_that_contradict_each_other_are_refused(run: Run, arguments: tuple[str, ...], why: str) -> None:
    with pytest.raises(DbError, match=why):
        run(threshold_group, "preview", *arguments)


@pytest.mark.usefixtures("version_id")
def test_more_confidence_allows_fewer_flags(asked: Asked) -> None:
    found = [asked(threshold_group, "preview", "--fpr", "0.01", "--confidence", c)["allowed"] for c in ("0.5", "0.99")]
    assert found == [9, 2]


@pytest.mark.usefixtures("version_id")
def test_a_rollback_restores_the_certificate_too(asked: Asked) -> None:
    (first,) = asked(threshold_group, "set", "--fpr", "0.005")
    asked(threshold_group, "set", "--value", "0.9999")
    (again,) = asked(threshold_group, "rollback")
    assert {key: again[key] for key in ("value", "rule", "allowed", "bound")} == {
        key: first[key] for key in ("value", "rule", "allowed", "bound")
    }


@pytest.mark.usefixtures("version_id")
def test_a_policy_has_a_maximum_of_its_own(asked: Asked, run: Run) -> None:
    (row,) = asked(policy, "set", "default", "--max-fpr", "0.001", "--reason", "stricter")
    assert row["max_fpr"] == 0.001
    with pytest.raises(ConflictError, match=r"certified: at most 0\.\d+%\), over the maximum of 0\.001"):
        run(threshold_group, "set", "--fpr", "0.005")
    (row,) = asked(policy, "set", "default", "--max-fpr", "0", "--reason", "as before")
    assert row["max_fpr"] is None
    asked(threshold_group, "set", "--fpr", "0.005")
    with pytest.raises(NotFoundError, match="policy 'nobody' is unknown"):
        run(policy, "set", "nobody", "--max-fpr", "0.1", "--reason", "r")
