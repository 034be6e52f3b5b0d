"""A shadow becomes active at the rates that policies accept; a rollback restores accounts, photos and thresholds."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from db.models import references, versions
from db.policy import pauses, policies, scores, thresholds
from db.rollout import plans, promotions
from db.policy.changes import Budget
from db.commands.model import shadow
from db.rollout.comparison import compare
from db.errors import ConflictError, DbError, NotFoundError
from db.schema import Case, Flag, Image, ModelVersion, Score
from db.policy.scores import Provenance, Scored
from db.store.session import Database
from db.policy.signature import Signature
from db.policy.thresholds import by_fpr
from db.models.versions import Served, Serving

AddImages = Callable[..., list[str]]
ImageOf = Callable[[str], Image]
AtOnce = Callable[[Sequence[Callable[[], Any]]], list[Any]]

ADA = Signature("ada", "better")
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
        choice = by_fpr(references.reals_of(session, first), FPR)
        policies.set_threshold(session, first.id, "default", choice, ADA, PLENTY)
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
        with pytest.raises(ConflictError, match="model second is the shadow: first unmask model shadow --off second"):
            versions.start_shadow(session, third)
        with pytest.raises(ConflictError, match="model first is active"):
            versions.start_shadow(session, versions.active(session))
        versions.stop_shadow(session, versions.named(session, "second"))
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
        found = compare(session, first, second, FPR)
    assert found.thresholds == pytest.approx((0.9945, 0.49725))
    assert (found.images, found.both, found.only_first, found.only_second) == (4, 1, 1, 1)
    assert found.disagreement.value == 0.5
    assert [(line.account_id, line.flagged_by) for line in found.accounts] == [("one", "first"), ("two", "second")]


def test_versions_without_a_common_image_are_not_compared(database: Database, pair: tuple[int, int]) -> None:
    with database.reading() as session:
        first, second = versions.list_versions(session)
        assert (first.id, second.id) == pair
        with pytest.raises(DbError, match="no image has scores of both first and second"):
            compare(session, first, second, FPR)


# Promotion


def test_a_promotion_carries_the_fpr_over_and_changes_exactly_the_accounts_that_were_shown(
    database: Database, pair: tuple[int, int], upload: Callable[..., Any]
) -> None:
    upload(both=(0.999, 0.499), neither=(0.5, 0.1), one=(0.999, 0.2), two=(0.2, 0.499))
    with database.reading() as session:
        plan = plans.plan(session, session.get_one(ModelVersion, pair[1]))
    assert [item.choice.value for item in plan.carried] == [pytest.approx(0.49725)]
    assert [line.account_id for line in plan.preview.opens] == ["two"]
    assert [line.account_id for line in plan.preview.closes] == ["one"]
    assert plan.covered == 1
    promote(database, pair[1])
    assert states(database) == {"first": "shadow", "second": "active"}
    assert flagged(database) == {("both", "both"), ("two", "two")}
    with database.reading() as session:
        (standing,) = thresholds.latest(session, pair[1])
        assert (standing.target_fpr, standing.opened, standing.withdrawn) == (FPR, 1, 1)
        (row,) = promotions.history(session, 9)
        assert (row.kind, row.opened, row.withdrawn, row.author, row.reason) == ("promote", 1, 1, "ada", "better")


def test_a_rollback_restores_every_account_photo_and_threshold(
    database: Database, pair: tuple[int, int], upload: Callable[..., Any]
) -> None:
    upload(both=(0.999, 0.499), neither=(0.5, 0.1), one=(0.999, 0.2), two=(0.2, 0.499))
    before = flagged(database)
    with database.reading() as session:
        standing = thresholds.standing(session, pair[0])
    promote(database, pair[1])
    roll_back(database)
    assert flagged(database) == before == {("both", "both"), ("one", "one")}
    assert states(database) == {"first": "active", "second": "shadow"}
    with database.reading() as session:
        assert thresholds.standing(session, pair[0]) == standing
        assert [row.kind for row in promotions.history(session, 9)] == ["rollback", "promote"]
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
    with pytest.raises(ConflictError, match="no image came since model second is the shadow"):
        promote(database, pair[1])
    upload(a=(0.1, 0.1), b=(0.1, None))
    with pytest.raises(ConflictError, match=r"model second has scored 50\.0% of the latest images, not 99%"):
        promote(database, pair[1])
    promote(database, pair[1], force=True)
    with database.writing() as session:
        versions.stop_shadow(session, versions.named(session, "first"))
    assert states(database) == {"first": "retired", "second": "active"}
    with pytest.raises(ConflictError, match="model first is retired, and workers do not have it"):
        promote(database, pair[0])


def test_force_needs_a_reason(database: Database, pair: tuple[int, int]) -> None:
    with database.writing() as session:
        version = session.get_one(ModelVersion, pair[1])
        with pytest.raises(DbError, match="--force needs a --reason"):
            promotions.promote(session, version, Signature("ada"), PLENTY, 0.02, force=True)


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
            taking = pool.submit(CliRunner().invoke, shadow, ["second", "--off"])
            with pytest.raises(TimeoutError):
                taking.result(timeout=0.5)  # it waits
        assert "model second is no shadow: it is active" in str(taking.result(timeout=30).exception)
    assert states(database) == {"first": "shadow", "second": "active"}


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
