"""A shadow becomes active at the rates that policies accept; a rollback restores accounts, photos and thresholds."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from db.commands.model import model_shadow
from db.errors import ConflictError, DbError, NotFoundError
from db.models import references, versions
from db.models.references import ReferenceOrigin
from db.models.versions import Served, Serving
from db.policy import case_changes, pauses, policies, scores, thresholds
from db.policy.attribution import ChangeAuthor
from db.policy.case_changes import Budget
from db.policy.scores import Provenance, Scored
from db.policy.threshold_choice import choose_by_fpr
from db.rollout import promotion_plan, promotions
from db.rollout.comparison import compare_versions
from db.schema import Case, Flag, Image, ModelVersion, Score
from db.store.session import Database

AddImages = Callable[..., list[str]]
ImageOf = Callable[[str], Image]
AtOnce = Callable[[Sequence[Callable[[], Any]]], list[Any]]

ADA = ChangeAuthor("ada", "better")
PLENTY = Budget(1000)
FPR = 0.005
REALS = [number / 1000 for number in range(1000)]


def card(tpr: float = 0.9, scale: float = 1.0) -> dict[str, Any]:
    return {
        "reference": {"name": "card reals", "scores": [score * scale for score in REALS]},
        "quality": {"target_fpr": FPR, "threshold": 0.9945, "engines": {"sg2": {"tpr": tpr, "fakes": 100}}},
    }


@pytest.fixture
def pair(database: Database) -> tuple[int, int]:
    """An active version, with a threshold at an FPR of 0.5 % (0.9945), and its shadow, whose scores are half of it."""
    with database.writing() as session:
        first = versions.register(session, "first", "1" * 64, "unmask-1", card())
        second = versions.register(session, "second", "2" * 64, "unmask-1", card(scale=0.5))
        versions.start_shadow(session, second)
        choice = choose_by_fpr(references.reals_of(session, first), FPR)
        case_changes.set_threshold(session, first.id, "default", choice, ADA, PLENTY)
        return first.id, second.id


@pytest.fixture
def upload(database: Database, pair: tuple[int, int], add_images: AddImages) -> Callable[..., list[str]]:
    """``upload(a=(0.999, 0.1))``: an account's photo, as a worker with the first active and the second beside it."""

    def work(**found: tuple[float, float | None]) -> list[str]:
        for account in found:
            add_images(account, account_id=account)
        return worked(database, pair, found)

    return work


def worked(database: Database, order: tuple[int, int], found: dict[str, tuple[float, float | None]]) -> list[str]:
    batch = [Scored(name, "default", one, "f" * 64, 1, 1, 1, beside) for name, (one, beside) in found.items()]
    active, beside = (Provenance(version, "eager", "cpu") for version in order)
    with database.writing() as session:
        return scores.record(session, batch, active, beside)


def promote(database: Database, version_id: int, budget: Budget = PLENTY, **options: Any) -> None:
    with database.writing() as session:
        version = session.get_one(ModelVersion, version_id)
        promotions.promote(session, version, ADA, budget, options.pop("max_drop", 0.02), **options)


def roll_back(database: Database) -> None:
    with database.writing() as session:
        promotions.roll_back(session, ADA)


def flagged(database: Database) -> set[tuple[str | None, str]]:
    """The open cases: account and photo."""
    with database.reading() as session:
        statement = select(Case.account_id, Flag.image_id).join(Flag).where(Case.state == "open")
        return {(account, image) for account, image in session.execute(statement)}


def states(database: Database) -> dict[str, str]:
    with database.reading() as session:
        return {version.name: version.state for version in versions.list_versions(session)}


# The shadow


def test_a_shadow_is_stored_and_never_flags(database: Database, upload: Callable[..., Any]) -> None:
    upload(a=(0.1, 0.999), b=(0.1, None))
    assert flagged(database) == set()
    with database.reading() as session:
        assert sorted(session.execute(select(Score.image_id, Score.score)).all()) == [
            ("a", 0.1),
            ("a", 0.999),
            ("b", 0.1),
        ]


def test_one_shadow_at_a_time_that_can_be_taken_away(database: Database, pair: tuple[int, int]) -> None:
    with database.writing() as session:
        third = versions.register(session, "third", "3" * 64, "unmask-1", card())
        third_id = third.id
        with pytest.raises(
            ConflictError, match="model second is the shadow: stop it first: unmask model shadow --off second"
        ):
            versions.start_shadow(session, third)
        with pytest.raises(ConflictError, match="model first is active"):
            versions.start_shadow(session, versions.active(session))
        versions.stop_shadow(session, versions.by_name(session, "second"))
        versions.start_shadow(session, third)
    assert states(database) == {"first": "active", "second": "candidate", "third": "shadow"}
    with database.reading() as session:
        assert versions.serving(session) == Serving(
            Served(pair[0], "first", "1" * 64), Served(third_id, "third", "3" * 64)
        )


def test_a_comparison_is_at_equal_fpr_and_names_the_accounts_that_change(
    database: Database, upload: Callable[..., Any]
) -> None:
    upload(both=(0.999, 0.499), neither=(0.5, 0.1), one=(0.999, 0.2), two=(0.2, 0.499), alone=(0.999, None))
    with database.reading() as session:
        first, second = versions.list_versions(session)
        found = compare_versions(session, first, second, FPR)
    assert found.thresholds == pytest.approx((0.9945, 0.49725))
    assert (found.images, found.both, found.only_first, found.only_second) == (4, 1, 1, 1)
    assert found.disagreement.value == 0.5
    assert [(line.account_id, line.flagged_by) for line in found.accounts] == [("one", "first"), ("two", "second")]


def test_versions_without_a_common_image_are_not_compared(database: Database, pair: tuple[int, int]) -> None:
    with database.reading() as session:
        first, second = versions.list_versions(session)
        assert (first.id, second.id) == pair
        with pytest.raises(DbError, match="no image has scores of both first and second"):
            compare_versions(session, first, second, FPR)


# Promotion


def test_a_promotion_carries_the_fpr_over_and_changes_exactly_the_accounts_that_were_shown(
    database: Database, pair: tuple[int, int], upload: Callable[..., Any]
) -> None:
    upload(both=(0.999, 0.499), neither=(0.5, 0.1), one=(0.999, 0.2), two=(0.2, 0.499))
    with database.reading() as session:
        plan = promotion_plan.plan_promotion(session, session.get_one(ModelVersion, pair[1]))
    assert [item.choice.value for item in plan.carried] == [pytest.approx(0.49725)]
    assert [line.account_id for line in plan.preview.opens] == ["two"]
    assert [line.account_id for line in plan.preview.closes] == ["one"]
    assert plan.covered == 1
    promote(database, pair[1])
    assert states(database) == {"first": "shadow", "second": "active"}
    assert flagged(database) == {("both", "both"), ("two", "two")}
    with database.reading() as session:
        (standing,) = thresholds.in_effect(session, pair[1])
        assert (standing.target_fpr, standing.opened, standing.withdrawn) == (FPR, 1, 1)
        (row,) = promotions.list_promotions(session, 9)
        assert (row.kind, row.opened, row.withdrawn, row.author, row.reason) == ("promote", 1, 1, "ada", "better")


def test_a_rollback_restores_every_account_photo_and_threshold(
    database: Database, pair: tuple[int, int], upload: Callable[..., Any]
) -> None:
    upload(both=(0.999, 0.499), neither=(0.5, 0.1), one=(0.999, 0.2), two=(0.2, 0.499))
    before = flagged(database)
    with database.reading() as session:
        in_effect = [row.id for row in thresholds.in_effect(session, pair[0])]
    promote(database, pair[1])
    roll_back(database)
    assert flagged(database) == before == {("both", "both"), ("one", "one")}
    assert states(database) == {"first": "active", "second": "shadow"}
    with database.reading() as session:
        assert [row.id for row in thresholds.in_effect(session, pair[0])] == in_effect
        assert [row.kind for row in promotions.list_promotions(session, 9)] == ["rollback", "promote"]
    roll_back(database)
    assert flagged(database) == {("both", "both"), ("two", "two")}


def test_without_a_promotion_there_is_nothing_to_go_back_to(database: Database, pair: tuple[int, int]) -> None:
    with pytest.raises(NotFoundError, match="no model version was ever promoted"):
        roll_back(database)
    assert states(database) == {"first": "active", "second": "shadow"}
    assert pair


def test_only_a_shadow_that_workers_have_shown_to_have_is_promoted(
    database: Database, pair: tuple[int, int], upload: Callable[..., Any]
) -> None:
    with pytest.raises(ConflictError, match="no image came since model second became the shadow"):
        promote(database, pair[1])
    upload(a=(0.1, 0.1), b=(0.1, None))
    with pytest.raises(ConflictError, match=r"model second has scored 50\.0% of the latest images, not 99%"):
        promote(database, pair[1])
    promote(database, pair[1], force=True)
    with database.writing() as session:
        versions.stop_shadow(session, versions.by_name(session, "first"))
    assert states(database) == {"first": "retired", "second": "active"}
    with pytest.raises(ConflictError, match="model first is retired, not the shadow"):
        promote(database, pair[0])


def test_force_needs_a_reason(database: Database, pair: tuple[int, int]) -> None:
    with database.writing() as session:
        version = session.get_one(ModelVersion, pair[1])
        with pytest.raises(DbError, match="--force needs a --reason"):
            promotions.promote(session, version, ChangeAuthor("ada"), PLENTY, 0.02, force=True)


@pytest.mark.usefixtures("vip")
def test_a_gate_a_flood_and_a_threshold_without_a_rate_keep_everything_as_it_is(
    database: Database, pair: tuple[int, int], upload: Callable[..., Any]
) -> None:
    upload(one=(0.999, 0.2), two=(0.2, 0.499))
    with database.writing() as session:
        session.get_one(ModelVersion, pair[1]).card = card(0.8, 0.5)
    with pytest.raises(ConflictError, match=r"finds less .* sg2 90\.0% to 80\.0%"):
        promote(database, pair[1])
    with pytest.raises(ConflictError, match="open 1 cases and withdraw 1, over the budget of 1"):
        promote(database, pair[1], Budget(1), max_drop=0.1)
    with database.writing() as session:
        thresholds.set_value(session, pair[0], "vip", 0.7, "ada", "")
    with pytest.raises(DbError, match="policy 'vip' has a threshold without a false positive rate"):
        promote(database, pair[1], max_drop=0.1)
    assert states(database) == {"first": "active", "second": "shadow"}
    assert flagged(database) == {("one", "one")}


def test_while_flagging_is_paused_a_promotion_changes_no_case(
    database: Database, pair: tuple[int, int], upload: Callable[..., Any]
) -> None:
    upload(one=(0.999, 0.2), two=(0.2, 0.499))
    with database.writing() as session:
        pauses.pause(session, "flagging", ADA)
    promote(database, pair[1], Budget(0))
    upload(three=(0.999, 0.499))
    assert flagged(database) == {("one", "one")}


def test_of_two_admins_who_promote_at_once_one_is_told(
    database: Database, pair: tuple[int, int], upload: Callable[..., Any], at_once: AtOnce
) -> None:
    upload(one=(0.999, 0.2), two=(0.2, 0.499))

    def attempt() -> bool:
        try:
            promote(database, pair[1])
        except ConflictError:
            return False
        return True

    assert sorted(at_once([partial(attempt), partial(attempt)])) == [False, True]
    assert flagged(database) == {("two", "two")}


def test_whoever_takes_the_shadow_away_while_it_becomes_active_is_told(
    database: Database, pair: tuple[int, int], upload: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(one=(0.999, 0.2), two=(0.2, 0.499))
    monkeypatch.setenv("UNMASK_DATABASE_URL", database.url.render_as_string(hide_password=False))
    with ThreadPoolExecutor(1) as pool:
        with database.writing() as session:
            promotions.promote(session, session.get_one(ModelVersion, pair[1]), ADA, PLENTY, 0.02)
            taking = pool.submit(CliRunner().invoke, model_shadow, ["second", "--off"])
            with pytest.raises(TimeoutError):
                taking.result(timeout=0.5)  # it waits
        assert "model second is not the shadow: it is active" in str(taking.result(timeout=30).exception)
    assert states(database) == {"first": "shadow", "second": "active"}


def add_reference(database: Database, version_id: int, scores: Sequence[float], name: str = "ours") -> None:
    with database.writing() as session:
        version = session.get_one(ModelVersion, version_id)
        references.add_reference(session, version, name, scores, ReferenceOrigin("ours.csv", "a" * 64, "ada"))


def test_other_weights_under_a_copied_card_are_found_by_a_reference_that_both_have_scored(
    database: Database, upload: Callable[..., Any], pair: tuple[int, int]
) -> None:
    """The second's card says that its scores are half of the first's; they are not."""
    upload(one=(0.999, 0.2))
    add_reference(database, pair[0], REALS)
    add_reference(database, pair[1], REALS)
    with database.reading() as session:
        gate = promotion_plan.plan_promotion(session, session.get_one(ModelVersion, pair[1])).gate
    assert (gate.references, gate.warning) == (["ours"], None)
    assert [(found.before.value, found.after.value) for found in gate.measured] == [(0.005, 0.502)]
    with pytest.raises(ConflictError, match=r"flags more real photos .* 'default' 0\.500% to 50\.200% .* of 1000 ours"):
        promote(database, pair[1])
    assert states(database) == {"first": "active", "second": "shadow"}


def test_a_gate_that_only_read_the_cards_says_so(database: Database, pair: tuple[int, int]) -> None:
    add_reference(database, pair[0], REALS)
    with database.reading() as session:
        gate = promotion_plan.plan_promotion(session, session.get_one(ModelVersion, pair[1])).gate
    assert "the gate only read the cards" in (gate.warning or "")


def test_a_promotion_carries_no_rate_over_the_maximum(
    database: Database, upload: Callable[..., Any], pair: tuple[int, int]
) -> None:
    upload(one=(0.999, 0.2))
    with pytest.raises(ConflictError, match=r"has an FPR of 0\.500% .* over the maximum of 0\.001"):
        promote(database, pair[1], Budget(1000, max_fpr=0.001))
    promote(database, pair[1])


# No image is scored by neither


def test_a_worker_that_has_not_heard_of_the_switch_still_gives_every_image_its_active_score(
    database: Database, pair: tuple[int, int], upload: Callable[..., Any], image_of: ImageOf
) -> None:
    upload(before=(0.1, 0.1))
    promote(database, pair[1])
    upload(after=(0.999, 0.2), two=(0.2, 0.499))
    assert image_of("after").state == "scored"
    assert flagged(database) == {("two", "two")}


def test_an_image_that_only_the_version_before_has_scored_waits_for_the_active_one(
    database: Database, pair: tuple[int, int], upload: Callable[..., Any], image_of: ImageOf
) -> None:
    upload(before=(0.1, 0.1))
    promote(database, pair[1])
    upload(a=(0.999, None))
    image = image_of("a")
    assert (image.state, image.lease_owner) == ("pending", None)
    assert flagged(database) == set()
    worked(database, (pair[1], pair[0]), {"a": (0.499, 0.999)})
    assert image_of("a").state == "scored"
    assert flagged(database) == {("a", "a")}


def test_after_a_rollback_what_only_the_other_version_scored_is_due_again(
    database: Database, pair: tuple[int, int], upload: Callable[..., Any], add_images: AddImages, image_of: ImageOf
) -> None:
    upload(before=(0.1, 0.1))
    promote(database, pair[1])
    add_images("a", "b", account_id="later")
    worked(database, (pair[1], pair[0]), {"a": (0.499, None), "b": (0.1, 0.1)})
    roll_back(database)
    assert (image_of("a").state, image_of("b").state, image_of("before").state) == ("pending", "scored", "scored")
    worked(database, pair, {"a": (0.999, 0.499)})
    assert flagged(database) == {("later", "a")}


# Two keys


def fused(database: Database, version_id: int) -> None:
    """Let a version's card say that it fuses two detectors."""
    with database.writing() as session:
        version = session.get_one(ModelVersion, version_id)
        keys = [{"name": name, "sha256": "3" * 64} for name in ("a", "b")]
        version.card = version.card | {"fusion": {"rule": "minimum", "keys": keys}}


def set_keys(database: Database, keys: str) -> str:
    with database.writing() as session:
        return policies.set_keys(session, "default", keys).keys


def test_a_policy_that_needs_two_keys_accepts_no_version_with_one(
    database: Database, pair: tuple[int, int], upload: Callable[..., list[str]]
) -> None:
    upload(a=(0.999, 0.4999))
    with pytest.raises(ConflictError, match="model first has one key, and 'default' flags only what two"):
        set_keys(database, "two")
    fused(database, pair[1])
    promote(database, pair[1])
    assert set_keys(database, "two") == "two"
    with pytest.raises(ConflictError, match="model first has one key"):
        roll_back(database)
    assert states(database)["second"] == "active"
    set_keys(database, "one")
    roll_back(database)
    assert states(database)["first"] == "active"


def test_a_version_with_one_key_is_not_promoted_over_one_with_two(
    database: Database, pair: tuple[int, int], upload: Callable[..., list[str]]
) -> None:
    upload(a=(0.999, 0.4999))
    fused(database, pair[0])
    set_keys(database, "two")
    with pytest.raises(ConflictError, match="model second has one key"):
        promote(database, pair[1], force=True)
    assert states(database)["first"] == "active"
