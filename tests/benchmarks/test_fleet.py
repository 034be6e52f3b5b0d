"""The simulation of fleets keeps what it is told: no image is lost, the order of lanes, the rules of KEDA."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from tests.benchmarks import fleet
from tests.benchmarks.fleet import Crew, Fleet, Incident, Kind, Lanes, Outcome, day_curve, simulate
from worker.core.settings import WorkerSettings

KIND = Kind("cpu", images_per_s=10, image_s=0.2, start_s=60, held=48, hour=0.1)
CALM = Incident("calm")
#: What an image that never waits takes, a step of a second being longer than the work on it.
ALONE = pytest.approx(KIND.image_s, abs=0.051)


def steady(per_s: float, seconds: int) -> np.ndarray:
    return np.full(seconds, per_s)


def run(arrivals: np.ndarray, workers: int, incident: Incident = CALM) -> Outcome:
    return simulate(Fleet(KIND, 0), arrivals, incident, crew=Crew(workers))


def test_with_capacity_to_spare_an_image_takes_what_it_takes_alone() -> None:
    found = run(steady(9, 600), 1)
    assert found.waited(0.99) == ALONE
    assert found.images == pytest.approx(9 * 600)
    assert found.left == pytest.approx(0)


def test_a_queue_grows_by_what_arrives_beyond_capacity() -> None:
    found = run(steady(12, 50), 1)
    assert found.left == pytest.approx(2 * 50)
    assert found.longest() == pytest.approx(50 / 6 + KIND.image_s, abs=1.01)  # 12 arrive, 10 go


@pytest.mark.slow
def test_random_arrivals_at_one_worker_wait_as_theory_says() -> None:
    """M/D/1: the mean wait is load / (2 × rate × (1 - load)) (Pollaczek and Khinchine)."""
    load, step_s = 0.8, 0.02
    arrivals = np.random.default_rng(0).poisson(load * KIND.images_per_s * step_s, 100_000).astype(np.float64)
    found = simulate(Fleet(KIND, 0), arrivals, CALM, step_s, Crew(1))
    waited = np.average(found.scored[:, 1], weights=found.scored[:, 2]) - KIND.image_s
    assert waited == pytest.approx(load / (2 * KIND.images_per_s * (1 - load)), rel=0.15)


def test_after_an_outage_new_uploads_go_first_and_all_of_the_backlog_gets_a_score() -> None:
    outage = Incident("outage", at_s=0, outage_s=600)
    found = run(np.concatenate([steady(9, 3000), steady(0, 3000)]), 2, outage)
    assert found.waited(0.99, since=700) == ALONE, "nobody waits for the backlog"
    assert found.images == pytest.approx(9 * 3000)
    assert found.left == pytest.approx(0, abs=1e-6)
    assert 600 < found.caught_up_s < 6000


def test_images_of_a_lost_worker_wait_for_the_end_of_their_leases() -> None:
    found = run(steady(9, 900), 2, Incident("loss", at_s=300, lost=0.5))
    assert found.longest() == pytest.approx(fleet.LEASE_S + KIND.image_s, abs=10)
    assert found.waited(0.5) == ALONE
    assert found.ready.min() == 1
    assert found.ready[-1] == 2


def test_lanes_know_how_many_wait_without_counting_them() -> None:
    lanes = Lanes()
    for now in range(200):
        lanes.add(now, 5)
        lanes.age(now)
        lanes.serve(now, 3)
    assert lanes.waiting == pytest.approx(sum(images for lane in (lanes.fresh, lanes.backlog) for _, images in lane))
    assert lanes.waiting == pytest.approx(200 * 2)


@pytest.mark.slow
def test_keda_follows_the_day_and_costs_less_and_makes_people_wait() -> None:
    arrivals = day_curve(200)
    fixed, scaled = (simulate(Fleet(KIND, 200, keda), arrivals, CALM) for keda in (False, True))
    assert scaled.worker_hours < 0.8 * fixed.worker_hours
    assert fixed.waited(0.99) < 1 < scaled.waited(0.99) < 120
    assert np.ptp(scaled.ready) > 10


def test_the_rules_of_scaling_are_those_of_the_manifest() -> None:
    text = (Path(fleet.__file__).parents[2] / "deploy/k8s/base/scaling.yaml").read_text()
    spec = next(iter(yaml.safe_load_all(text)))["spec"]
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert spec["pollingInterval"] == fleet.POLL_S
    assert {policy["periodSeconds"] for policy in behavior["scaleUp"]["policies"]} == {fleet.UP_S}
    assert {policy["periodSeconds"] for policy in behavior["scaleDown"]["policies"]} == {fleet.DOWN_S}
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == fleet.STAY_S
    assert WorkerSettings.model_fields["lease_s"].default == fleet.LEASE_S


@pytest.mark.slow
def test_the_command_prints_a_table_with_the_prices_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "INCIDENTS", fleet.INCIDENTS[:1])
    words = ["--rate", "50", "--hour", "cpu=1", "--hour", "int8=1"]
    done = CliRunner().invoke(fleet.main, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    cells = [line.split("|") for line in done.stdout.splitlines()]
    assert len(cells) == 2 + 2 * len(fleet.KINDS)
    hours, cost = (float(cells[2][at]) for at in (-3, -2))
    assert cost == pytest.approx(hours, abs=0.1)


@pytest.mark.parametrize(
    ("given", "words"), [("cpu", "takes KIND=PRICE"), ("tpu=1", "the kinds are cpu, int8, gpu"), ("cpu=x", "takes")]
)
def test_a_price_that_cannot_be_meant_is_refused(given: str, words: str) -> None:
    done = CliRunner().invoke(fleet.main, ["--hour", given])
    assert done.exit_code == 2
    assert words in done.stderr
