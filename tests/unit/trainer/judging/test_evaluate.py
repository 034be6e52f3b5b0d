"""How well a detector does, engine by engine, at the rate of wrong flags that policy accepts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from trainer.data.manifest import Example
from trainer.detector.card_results import Reference
from trainer.judging.evaluate import measure_quality, reference_scores
from trainer.judging.metrics import Scores


def held_out(reals: int, **fakes: int) -> list[Example]:
    engines = ["camera"] * reals + [name for name, count in fakes.items() for _ in range(count)]
    return [Example(Path(f"{i}"), engine != "camera", engine, "eval", f"{i}") for i, engine in enumerate(engines)]


@pytest.fixture
def scores() -> Scores:
    """200 reals from 0 to 0.5, 10 fakes that are plain to see, 4 of which half are."""
    return np.concatenate([np.linspace(0, 0.5, 200), np.full(10, 0.9), [0.1, 0.2, 0.8, 0.9]])


def test_each_engine_is_judged_against_all_reals_at_one_threshold(scores: Scores) -> None:
    quality = measure_quality(held_out(200, SG1=10, MJ=4), scores, frozenset({"SG1"}))

    assert (quality.split, quality.reals, quality.target_fpr) == ("eval", 200, 0.005)
    assert quality.measured_fpr == 1 / 200
    assert 198 / 199 / 2 < quality.threshold < 0.5
    assert list(quality.engines) == ["MJ", "SG1"]
    sg1, mj = quality.engines["SG1"], quality.engines["MJ"]
    assert (sg1.in_training, sg1.fakes, sg1.reals, sg1.tpr, sg1.auc) == (True, 10, 200, 1.0, 1.0)
    assert (mj.in_training, mj.fakes, mj.reals, mj.tpr) == (False, 4, 200, 0.5)
    assert mj.f1 == pytest.approx(2 * 0.5 / (0.5 + 1 / 200 + 1))


def test_another_target_has_another_threshold(scores: Scores) -> None:
    examples = held_out(200, SG1=10, MJ=4)

    strict, loose = (measure_quality(examples, scores, frozenset(), target) for target in (0.005, 0.1))

    assert loose.measured_fpr == 0.1
    assert loose.threshold < strict.threshold


def test_too_few_reals_are_a_clear_error() -> None:
    with pytest.raises(ValueError, match=r"199 reals are too few to show an FPR of 0\.005"):
        measure_quality(held_out(199, SG1=1), np.linspace(0, 1, 200), frozenset())


def test_the_reference_is_the_sorted_scores_of_the_reals_alone() -> None:
    examples = held_out(3, SG1=1)

    found = reference_scores("eval reals", examples, np.array([0.5, 0.123456789, 0.25, 0.9]))

    assert found.name == "eval reals"
    assert found.scores == (0.1234568, 0.25, 0.5)


def test_a_card_states_the_certified_threshold_beside_the_empirical_one(scores: Scores) -> None:
    few = measure_quality(held_out(200, SG1=10, MJ=4), scores, frozenset({"SG1"}))
    quality = measure_quality(held_out(200, SG1=10, MJ=4), scores, frozenset({"SG1"}), 0.05)

    assert few.certified is None, "598 reals certify 0.5 %"
    assert few.fpr_bound == pytest.approx(0.0235, abs=1e-4)
    assert quality.certified is not None
    assert (quality.certified.confidence, quality.certified.allowed) == (0.95, 4)
    assert quality.certified.bound <= 0.05
    assert quality.certified.threshold > quality.threshold
    assert quality.certified.tpr == {"MJ": 0.5, "SG1": 1.0}
    assert quality.engines["MJ"].scores == (0.1, 0.2, 0.8, 0.9)


def test_a_card_keeps_at_most_two_hundred_scores_of_an_engine() -> None:
    scores = np.concatenate([np.linspace(0, 0.5, 200), np.linspace(0, 1, 1001)])
    (engine,) = measure_quality(held_out(200, SG1=1001), scores, frozenset()).engines.values()

    assert len(engine.scores) == 200
    assert (engine.scores[0], engine.scores[-1]) == (0, 1)
    for threshold in (0.1, 0.333, 0.9):
        found = np.mean(np.array(engine.scores) >= threshold)
        assert found == pytest.approx(1 - threshold, abs=0.006)


def test_the_reference_keeps_the_columns_that_divide_its_photos() -> None:
    columns = [{"source": "a", "note": "x"}, {"source": "b", "note": "y\ny"}] * 3
    examples = [replace(one, columns=cells) for one, cells in zip(held_out(6), columns, strict=True)]

    found = reference_scores("eval reals", examples, np.array([0.5, 0.1, 0.3, 0.2, 0.1, 0.9]))

    assert {name: cohort.model_dump() for name, cohort in found.cohorts.items()} == {
        "source": {"values": ("a", "b"), "of": (1, 0, 1, 0, 0, 1)}
    }, "a card holds one line for each value"


def test_a_card_whose_cohorts_do_not_match_its_scores_is_refused() -> None:
    for of in ((0,), (0, 2)):
        with pytest.raises(ValidationError, match="cohort column 'source' does not match the scores"):
            Reference.model_validate(
                {"name": "r", "scores": (0.1, 0.2), "cohorts": {"source": {"values": ("a", "b"), "of": of}}}
            )
