"""A lead's day: how the work goes, how well the model does, and a threshold that is previewed and then set."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from db.console.views import plots
from db.models import versions
from db.policy import thresholds
from db.quality import samples, sampling
from db.quality.sampling import Sizes
from db.schema import Expiry, ModelVersion
from db.stats.intervals import Estimate
from db.store.session import Database

Open = Callable[..., Any]
Act = Callable[..., Any]
HOSTILE = "\"'><img src=x onerror=alert(1)>{{111111*111111}}"
CARD = {
    "reference": {"name": "card reals", "scores": [number / 1000 for number in range(1000)]},
    "quality": {"threshold": 0.9945, "engines": {"dalle": {"tpr": 0.845, "fakes": 1000}}},
}


@pytest.fixture
def version_id(database: Database) -> int:
    """A version whose card has a thousand reals."""
    with database.writing() as session:
        return versions.register(session, HOSTILE, "1" * 64, "unmask-1", CARD).id


@pytest.fixture
def accounts(add_images: Act, record: Act) -> None:
    """Ten accounts whose photos score 0.990 to 0.999."""
    for number in range(10):
        add_images(f"i{number}", account_id=f"{HOSTILE}{number}")
    record({f"i{number}": (990 + number) / 1000 for number in range(10)})


def standing(database: Database) -> list[tuple[str, float, str, str]]:
    with database.reading() as session:
        found = thresholds.in_effect(session, versions.active(session).id)
        return [(row.policy, round(row.value, 4), row.author, row.reason) for row in found]


def test_the_overview_shows_what_people_decided(sign_in: Open, open_case: Act, decide: Act) -> None:
    lead = sign_in("lead")
    assert "Nobody has decided a case in the last 28 days" in lead.get("/overview/work").text
    for number in range(3):
        decide(open_case(f"account {number}"), HOSTILE, "confirmed")
    open_case("waits")
    frame, work = lead.get("/overview").text, lead.get("/overview/work").text
    assert re.findall(r'hx-get="/overview/(\w+)"', frame) == ["work", "live", "drift"]
    assert "<dd>1</dd>" in work
    assert "3 in 7 days, at most 3 per day" in work
    assert "3 AI-generated</title>" in work
    for page in (frame, work):
        assert "<img src=x" not in page
        assert "12345654321" not in page


def test_the_overview_shows_live_figures_and_drift(
    sign_in: Open, database: Database, add_images: Act, record: Act, set_threshold: Act
) -> None:
    lead = sign_in("lead")
    assert "No results yet" in lead.get("/overview/live").text
    assert "has scored nothing recently" in lead.get("/overview/drift").text
    set_threshold(0.5)
    names = [f"p{number}" for number in range(100)]
    add_images(*names)
    record({name: number / 100 for number, name in enumerate(names)})
    with database.writing() as session:
        sampling.draw_strata(session, Sizes(50, 3, 47), "lee")
        while (sample := samples.next_sample(session, "ada", 60)) is not None:
            fake = int(sample.image_id[1:]) >= 60
            samples.record_verdict(session, sample.sample_id, "ada", "fake" if fake else "real")
    live, drift = lead.get("/overview/live").text, lead.get("/overview/drift").text
    drawn = re.search(r"<p>(\d+) of (\d+) photos, drawn from (\d+), were judged blind", live)
    assert drawn is not None
    assert (drawn[1], drawn[3]) == (drawn[2], "100")
    assert "Precision: 80.00 %" in live
    assert live.count("<circle") == 2
    assert "50.00 %" in drift
    assert lead.get("/overview/other").status_code == 404


@pytest.mark.usefixtures("accounts")
def test_a_threshold_is_previewed_and_nothing_is_done(sign_in: Open, database: Database) -> None:
    page = sign_in("lead").get("/thresholds?fpr=0.5&rule=empirical&prevalence=1").text
    assert "Threshold 0.9945" in page
    assert "0.50 % (0.16 % to 1.16 %) of 1,000 real photos" in page
    assert "Empirical, not certified: with 95 % confidence at most 1.05 %." in page
    assert "It opens 5 cases and withdraws 0" in page
    assert "If all AI-generated photos were <bdi>dalle</bdi>" in page
    assert "to confirm" not in page
    assert "<img src=x" not in page
    assert standing(database) == []


@pytest.mark.usefixtures("accounts")
def test_a_lead_sets_a_threshold_in_their_own_name(
    sign_in: Open, database: Database, case_ids: Act, logged: Act
) -> None:
    lead = sign_in("lead", "lea")
    answer = lead.fill("/thresholds?fpr=0.5&rule=empirical", to="/thresholds", reason="policy 12")
    assert answer.headers["location"] == "/thresholds"
    assert standing(database) == [("default", 0.9945, "lea", "policy 12")]
    assert len(case_ids()) == 5
    assert logged() == [("lea", "threshold_set")]
    page = lead.get("/thresholds").text
    assert "policy 12" in page
    assert "5 opened, 0 withdrawn" in page
    assert "0.9945" in lead.get("/overview").text


@pytest.mark.usefixtures("accounts")
def test_a_rate_is_certified_unless_one_asks_otherwise(sign_in: Open, database: Database) -> None:
    lead = sign_in("lead", "lea")
    page = lead.get("/thresholds?fpr=0.5").text
    assert "Certified: with 95 % confidence at most 0.5 %." in page
    assert "1 of 1,000 may be flagged, not 5" in page
    assert "if 0.05 % of photos are AI-generated (as measured on Twitter, arXiv 2404.14244)" in page
    lead.fill("/thresholds?fpr=0.5", to="/thresholds", reason="policy 12")
    with database.writing() as session:
        (row,) = thresholds.in_effect(session, versions.active(session).id)
        assert (row.rule, row.allowed) == ("certified", 1)
        session.add(Expiry(threshold_id=row.id, policy="default", evidence="drift", detail="the population is another"))
    for path in ("/thresholds", "/overview"):
        page = lead.get(path).text
        assert "certified: with 95 % confidence at most 0.5 %" in page
        assert "certificate has expired on" in page
        assert "the population is another" in page
    answer = lead.get("/thresholds?fpr=0.5&rule=certified_by_cohort")
    assert (answer.status_code, "it has no column of cohorts" in answer.text) == (400, True)


@pytest.mark.usefixtures("accounts")
@pytest.mark.usefixtures("vip")
def test_a_preview_that_somebody_overtook_sets_nothing(sign_in: Open, database: Database, version_id: int) -> None:
    lea, lou = sign_in("lead", "lea"), sign_in("lead", "lou")
    seen = lea.hidden("/thresholds?fpr=0.5")
    assert lou.fill("/thresholds?value=0.999", to="/thresholds", reason="incident").status_code == 303
    late = lea.post("/thresholds", **seen, reason="policy 12")
    assert (late.status_code, "has changed since this preview" in late.text) == (409, True)
    assert standing(database) == [("default", 0.999, "lou", "incident")]
    seen = lea.hidden("/thresholds?value=0.5&policy=vip")
    with database.writing() as session:
        session.get_one(ModelVersion, version_id).state = "retired"
        versions.register(session, "second", "2" * 64, "unmask-1", {})
    assert lea.post("/thresholds", **seen, reason="policy 12").status_code == 409
    assert len(standing(database)) == 0


@pytest.mark.usefixtures("accounts")
def test_a_flood_wants_its_number(sign_in: Open, case_ids: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNMASK_FLOOD_BUDGET", "4")
    monkeypatch.setenv("UNMASK_MAX_FPR", "1")
    lead = sign_in("lead")
    assert "enter 10 to confirm" in lead.get("/thresholds?value=0.9").text
    for confirm in ("", "9"):
        answer = lead.fill("/thresholds?value=0.9", to="/thresholds", reason="all", confirm=confirm)
        assert (answer.status_code, "accept at most so many" in answer.text, case_ids()) == (409, True, [])
    assert lead.fill("/thresholds?value=0.9", to="/thresholds", reason="all", confirm="10").status_code == 303
    assert len(case_ids()) == 10


@pytest.mark.usefixtures("accounts")
def test_a_rate_over_the_maximum_is_refused_with_its_numbers(sign_in: Open, database: Database) -> None:
    answer = sign_in("lead").fill("/thresholds?value=0.9", to="/thresholds", reason="all")
    assert answer.status_code == 409
    assert "has an FPR of 10.000%" in answer.text
    assert standing(database) == []


@pytest.mark.usefixtures("version_id")
@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"fpr": "x"}, "is not a number from 0 to 100"),
        ({"fpr": "101"}, "is not a number from 0 to 100"),
        ({"value": "nan"}, "is not a number from 0 to 1"),
        ({"value": "2"}, "is not a number from 0 to 1"),
        ({"fpr": "0.5", "value": "0.5"}, "not by both"),
        ({"fpr": "0"}, "not between 0 and 1"),
        ({"fpr": "0.05"}, "needs 5,990 reals, 1,000 given"),
        ({"fpr": "0.5", "reference": "none"}, "no reference"),
        ({"fpr": "0.5", "policy": "x" * 200}, "Policy must be text of 1 to 128"),
    ],
)
def test_what_cannot_be_set_is_said_with_its_limit(
    sign_in: Open, database: Database, wish: dict[str, str], said: str
) -> None:
    answer = sign_in("lead").post("/thresholds", reason="r", **wish)
    assert (answer.status_code, said in answer.text) == (answer.status_code, True), answer.text
    assert 400 <= answer.status_code < 500
    assert standing(database) == []


@pytest.mark.usefixtures("version_id")
def test_a_threshold_without_a_reason_is_not_set(sign_in: Open, database: Database) -> None:
    assert sign_in("lead").post("/thresholds", fpr="0.5", reason=" ").status_code == 400
    assert standing(database) == []


def test_without_a_model_there_is_nothing_to_set(sign_in: Open) -> None:
    lead = sign_in("lead")
    assert lead.get("/overview").status_code == 200
    for answer in (lead.get("/thresholds"), lead.post("/thresholds", fpr="1", reason="r")):
        assert (answer.status_code, "No model version is active" in answer.text) == (404, True)


def test_bars_stand_on_each_other_and_fill_the_height() -> None:
    (left, right), most = plots.bar_plot([("mon", {"a": 3, "b": 1}), ("tue", {"a": 0, "b": 0})])
    assert most == 4
    assert [(block.kind, block.top, block.height) for block in left.segments] == [("a", 30.0, 90.0), ("b", 0.0, 30.0)]
    assert (left.left, left.width, right.left) == (6.25, 37.5, 56.25)
    assert (left.label, right.label, right.segments) == ("mon: 3 a, 1 b", "tue: none", [])
    assert plots.bar_plot([]) == ([], 0)


def test_points_lie_between_their_intervals_ends() -> None:
    rows = [("w1", Estimate(0.5, 0.25, 0.75)), ("w2", None), ("w3", Estimate(1, 1, 1))]
    first, last = plots.point_plot(rows, 1.0)
    assert (first.at, first.value, first.low, first.high) == (16.67, 60.0, 90.0, 30.0)
    assert (last.at, last.value, last.label) == (83.33, 0.0, "w3: 100.00 % (100.00 % to 100.00 %)")
    assert (plots.highest_interval(rows), plots.highest_interval([])) == (1, 1.0)
