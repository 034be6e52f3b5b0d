"""Refits without each engine in turn: the engine is unknown to the head that judges it, and to no other."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trainer.errors import ManifestError
from trainer.judging.evaluation import LeftOut
from trainer.runs.leave_out import Embedded, leave_one_engine_out
from trainer.fitting.loop import Recipe
from trainer.data.manifest import Example
from trainer.distributed.ranks import Ranks
from trainer.distributed.stop import Stopped

ALONE = Ranks(0, 1, torch.device("cpu"))
RECIPE = Recipe(steps=10, batch=16, learning_rate=0.003)
#: Where the embeddings of each engine lie. Twins lie side by side; what is odd is on the side of the reals.
PLACES = {"camera": (0.0, 0.0), "TwinA": (2.0, 0.0), "TwinB": (2.2, 0.0), "Odd": (0.0, -2.0)}


def embedded(split: str, count: int, engines: list[str], **columns: str) -> Embedded:
    """``count`` of each engine, around its place."""
    random = np.random.default_rng(count)
    rows = [(engine, f"{split}-{engine}-{number}") for engine in engines for number in range(count)]
    examples = [Example(Path(name), e != "camera", e, split, name, "0" * 64, columns) for e, name in rows]
    places: NDArray[np.float32] = np.array([PLACES[engine] for engine, _ in rows], dtype=np.float32)
    return Embedded(examples, places + random.normal(0, 0.1, places.shape).astype(np.float32))


def together(*parts: Embedded) -> Embedded:
    examples = [example for part in parts for example in part.examples]
    return Embedded(examples, np.concatenate([part.embeddings for part in parts]))


def left_out(train: Embedded, held_out: Embedded, folder: Path) -> dict[str, LeftOut]:
    rows = leave_one_engine_out(train, held_out, RECIPE, 0.05, ALONE, folder)
    return {row.engine: row for row in rows}


@pytest.fixture(scope="module")
def train() -> Embedded:
    """Forty of each engine. Shared: not to be changed."""
    return embedded("train", 40, list(PLACES))


@pytest.fixture(scope="module")
def found(train: Embedded, tmp_path_factory: pytest.TempPathFactory) -> dict[str, LeftOut]:
    """What is found with sixty held-out faces of all but one engine, and seven pictures that show no face."""
    faces = embedded("eval", 60, ["camera", "TwinA", "Odd"])
    others = embedded("eval", 7, ["Odd"], content="nonface")
    return left_out(train, together(faces, others), tmp_path_factory.mktemp("scratch"))


def test_an_engine_is_caught_by_what_its_twin_taught_and_an_odd_one_is_not(found: dict[str, LeftOut]) -> None:
    assert found["TwinA"].tpr == 1.0
    assert found["Odd"].tpr < 0.5


def test_had_the_odd_one_been_trained_on_it_would_be_caught(train: Embedded, tmp_path: Path) -> None:
    """Else the test above would show nothing."""
    renamed = [replace(e, engine="Other") if e.engine == "Odd" else e for e in train.examples[:-1]]
    held_out = embedded("eval", 60, ["camera", "Odd"])

    found = left_out(Embedded([*renamed, train.examples[-1]], train.embeddings), held_out, tmp_path)

    assert found["Odd"].tpr == 1.0


def test_only_engines_that_can_be_judged_are_left_out_and_judged_by_their_faces(found: dict[str, LeftOut]) -> None:
    assert list(found) == ["Odd", "TwinA"]
    assert all((row.fakes, row.reals, row.fpr, row.steps) == (60, 60, 0.05, 10) for row in found.values())


def test_each_head_has_its_own_threshold(found: dict[str, LeftOut]) -> None:
    assert found["Odd"].threshold != found["TwinA"].threshold


@pytest.mark.parametrize(
    ("trained_on", "held_out", "counts"),
    [(["TwinA"], ["TwinA"], "1, of which split eval has 1"), (["TwinA", "TwinB"], ["Odd"], "2, of which .* has 0")],
)
def test_where_no_engine_can_be_left_out_it_says_why(
    trained_on: list[str], held_out: list[str], counts: str, tmp_path: Path
) -> None:
    with pytest.raises(ManifestError, match=f"no engine can be left out: split train has {counts}"):
        left_out(embedded("train", 4, ["camera", *trained_on]), embedded("eval", 4, ["camera", *held_out]), tmp_path)


def test_scratch_files_are_gone_when_it_was_stopped(train: Embedded, tmp_path: Path) -> None:
    held_out = embedded("eval", 20, list(PLACES))

    with pytest.raises(Stopped):
        leave_one_engine_out(train, held_out, RECIPE, 0.05, ALONE, tmp_path, lambda: True)

    assert list(tmp_path.iterdir()) == []
