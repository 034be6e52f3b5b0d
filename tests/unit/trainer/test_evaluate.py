"""How well a detector does, engine by engine, at the rate of wrong flags that policy accepts."""

from pathlib import Path

import numpy as np
import pytest

from trainer.judging.evaluate import judge, reference
from trainer.data.manifest import Example
from trainer.judging.metrics import Scores


def held_out(reals: int, **fakes: int) -> list[Example]:
    engines = ["camera"] * reals + [name for name, count in fakes.items() for _ in range(count)]
    return [Example(Path(f"{i}"), engine != "camera", engine, "eval", f"{i}") for i, engine in enumerate(engines)]


@pytest.fixture
def scores() -> Scores:
    """200 reals from 0 to 0.5, 10 fakes that are plain to see, 4 of which half are."""
    return np.concatenate([np.linspace(0, 0.5, 200), np.full(10, 0.9), [0.1, 0.2, 0.8, 0.9]])


def test_each_engine_is_judged_against_all_reals_at_one_threshold(scores: Scores) -> None:
    quality = judge(held_out(200, SG1=10, MJ=4), scores, frozenset({"SG1"}))

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

    strict, loose = (judge(examples, scores, frozenset(), target) for target in (0.005, 0.1))

    assert loose.measured_fpr == 0.1
    assert loose.threshold < strict.threshold


def test_too_few_reals_are_a_clear_error() -> None:
    with pytest.raises(ValueError, match=r"an FPR of 0\.005 needs 200 reals, 199 given"):
        judge(held_out(199, SG1=1), np.linspace(0, 1, 200), frozenset())


def test_the_reference_is_the_sorted_scores_of_the_reals_alone() -> None:
    examples = held_out(3, SG1=1)

    found = reference("eval reals", examples, np.array([0.5, 0.123456789, 0.25, 0.9]))

    assert found.name == "eval reals"
    assert found.scores == (0.1234568, 0.25, 0.5)
