"""What a threshold will mean: flags a day, wrong flags a day and precision, with intervals that hold."""

import random
from collections.abc import Callable

import pytest
from sqlalchemy import update

from db.policy.coverage import FlaggingRule, rule_for
from db.policy.forecast import both, card_tpr, forecast_flags, precision, traffic
from db.policy.threshold_choice import RateBound, ThresholdChoice
from db.schema import Image
from db.schema.clock import moment
from db.stats.empirical_fpr import PREVALENCE, Measured, RealScores
from db.stats.intervals import Estimate, wilson
from db.store.session import Database

AddImages = Callable[..., list[str]]
Record = Callable[..., list[str]]

CARD = {
    "quality": {
        "threshold": 0.5,
        "engines": {"dalle": {"tpr": 0.845, "fakes": 1000}, "midjourney": {"tpr": 0.194, "fakes": 1000}},
    }
}
DAY_S = 86_400


def reals(n: int, flagged: int) -> Measured:
    return RealScores("reals", [0.0] * (n - flagged) + [0.9] * flagged).measure(0.5)


@pytest.mark.parametrize(
    ("prevalence", "tpr", "expected"),
    [(0.001, 0.98, 0.16), (0.01, 0.98, 0.66), (0.05, 0.845, 0.90), (0.01, 0.194, 0.28)],
)
def test_precision_is_that_of_the_papers_rates(prevalence: float, tpr: float, expected: float) -> None:
    found = precision(wilson(round(tpr * 5000), 5000, both()), reals(14_000, 70), prevalence)
    assert found.value == pytest.approx(expected, abs=0.005)
    assert found.low < found.value < found.high


def test_the_interval_of_a_precision_holds_the_true_one_as_often_as_it_says() -> None:
    """500 experiments with known rates: a confidence of 95 % may fail in 25 of them, and by chance in 40."""
    draw = random.Random(1)  # noqa: S311 - no secret
    tpr, fpr, prevalence, misses = 0.8, 0.02, 0.01, 0
    true = prevalence * tpr / (prevalence * tpr + (1 - prevalence) * fpr)
    for _ in range(500):
        found = sum(draw.random() < tpr for _ in range(200))
        flagged = sum(draw.random() < fpr for _ in range(1000))
        interval = precision(wilson(found, 200, both()), reals(1000, flagged), prevalence)
        misses += not interval.low <= true <= interval.high
    assert misses <= 40


def test_a_threshold_that_flags_no_real_has_no_certain_precision() -> None:
    found = precision(Estimate(0.9, 0.8, 0.95), reals(600, 0), 0.001)
    assert (found.value, found.high) == (1, 1)
    assert found.low < 0.2


def chosen() -> ThresholdChoice:
    return ThresholdChoice(0.9, measured=reals(1000, 5), bound=RateBound("value", 0.95, bound=0.0105))


def test_days_to_come_are_those_that_went_by(
    database: Database, version_id: int, add_images: AddImages, record: Record
) -> None:
    for number in range(40):
        add_images(f"i{number}", account_id=f"a{number}")
    record({f"i{number}": number / 40 for number in range(40)})
    with database.writing() as session:
        for number in range(40):
            age = moment(-(number % 4) * DAY_S)
            session.execute(update(Image).where(Image.id == f"i{number}").values(created_at=age))
        session.execute(update(Image).where(Image.id == "i0").values(created_at=moment(-30 * DAY_S)))
    with database.reading() as session:
        found = forecast_flags(session, FlaggingRule(version_id, "default", 0.9), chosen(), CARD, 0.01)
    assert found.photos_a_day == pytest.approx(39 / 7, rel=0.01)
    assert found.flags_a_day is not None
    assert found.flags_a_day.value == pytest.approx(39 / 7 * 4 / 40, rel=0.01)
    assert found.flags_a_day.low < found.flags_a_day.value < found.flags_a_day.high
    assert found.wrong_flags_a_day is not None
    assert found.wrong_flags_a_day.value == pytest.approx(39 / 7 * 0.99 * 0.005, rel=0.01)
    assert found.most_wrong_a_day == pytest.approx(39 / 7 * 0.99 * 0.0105, rel=0.01)


def test_days_before_the_first_photo_of_all_do_not_count(
    database: Database, version_id: int, add_images: AddImages, set_threshold: Callable[..., int]
) -> None:
    set_threshold(0.9, policy="other")
    for number in range(8):
        add_images(f"i{number}")
    add_images("other", policy="other")
    with database.writing() as session:
        session.execute(update(Image).values(created_at=moment(-2 * DAY_S)))
        session.execute(update(Image).where(Image.id == "other").values(created_at=moment(-30 * DAY_S)))
    with database.reading() as session:
        found = [
            traffic(session, rule_for(session, version_id, policy, 0.9)).photos_a_day for policy in ("default", "other")
        ]
    assert found == pytest.approx([4, 0], rel=0.01)


@pytest.mark.parametrize(("value", "bound"), [(0.4, "at least"), (0.5, "as"), (0.6, "at most")])
def test_the_cards_rates_bound_those_of_other_thresholds(
    database: Database, version_id: int, value: float, bound: str
) -> None:
    with database.reading() as session:
        found = forecast_flags(session, FlaggingRule(version_id, "default", value), chosen(), CARD, 0.01)
    assert {engine: said for engine, (said, _) in found.precision.items()} == {"dalle": bound, "midjourney": bound}
    assert found.precision["dalle"][1].value > found.precision["midjourney"][1].value


def test_without_reals_scores_or_card_nothing_is_invented(database: Database, version_id: int) -> None:
    with database.reading() as session:
        found = forecast_flags(session, FlaggingRule(version_id, "default", 0.5), ThresholdChoice(0.5), {})
    assert (found.photos_a_day, found.flags_a_day, found.wrong_flags_a_day, found.precision) == (0, None, None, {})
    assert (found.most_wrong_a_day, found.prevalence) == (None, PREVALENCE)


def test_traffic_is_of_the_images_that_the_rule_covers(
    database: Database, version_id: int, add_images: AddImages, record: Record
) -> None:
    for policy in ("default", "vip"):
        add_images(policy, policy=policy)
        record({policy: 0.9}, policy=policy)
    with database.reading() as session:
        everything = traffic(session, FlaggingRule(version_id, "default", 0.5))
        without_vip = traffic(session, FlaggingRule(version_id, "default", 0.5, ("vip",)))
    assert (everything.scored, everything.flagged) == (2, 2)
    assert (without_vip.scored, without_vip.photos_a_day) == (1, 1)


@pytest.mark.parametrize("kept_in", ["quality", "findings"])
def test_a_card_that_keeps_scores_of_fakes_tells_the_rate_at_any_threshold(
    database: Database, version_id: int, kept_in: str
) -> None:
    scores = [number / 10 for number in range(10)]
    engine: dict[str, object] = {"tpr": 0.5, "fakes": 100}
    card: dict[str, object] = {"quality": {"threshold": 0.5, "engines": {"dalle": engine}}}
    if kept_in == "quality":
        engine["scores"] = scores
    else:
        card["findings"] = {"fake_scores": {"dalle": scores}}
    assert [card_tpr(card, threshold) for threshold in (0.0, 0.75, 0.95)] == [1.0, 0.2, 0.0]
    assert card_tpr(CARD, 0.5) is None
    with database.reading() as session:
        found = forecast_flags(session, FlaggingRule(version_id, "default", 0.75), chosen(), card, 0.01)
    assert found.precision["dalle"][0] == "as"
