"""Refits without each family, engine or source in turn: what was left out is unknown to the heads that judge it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trainer.data.manifest import Example
from trainer.distributed.process import Stopped
from trainer.distributed.ranks import Ranks
from trainer.errors import ManifestError
from trainer.fitting.embedded import EmbeddedExamples
from trainer.fitting.loop import Recipe
from trainer.judging.results import LeftOut, LeftOutKind
from trainer.runs.leave_out import Refits, cross_fit, leave_out, real_folds

ALONE = Ranks(0, 1, torch.device("cpu"))
LINEAR = Recipe(widths=(), l2=0.01, weigh_sources=True)
STEPS = Recipe(steps=10, batch=16, learning_rate=0.003)
#: Where the embeddings of each engine lie. Twins lie side by side; what is odd is on the side of the reals.
PLACES = {"camera": (0.0, 0.0), "TwinA": (2.0, 0.0), "TwinB": (2.2, 0.0), "Odd": (0.0, -2.0)}
FAMILIES = {"camera": "", "TwinA": "twins", "TwinB": "twins", "Odd": "odd"}


def embedded(split: str, count: int, engines: list[str]) -> EmbeddedExamples:
    """``count`` of each engine, around its place, the reals from three sites in turn."""
    random = np.random.default_rng(count)
    rows = [(engine, number) for engine in engines for number in range(count)]
    examples = [
        Example(
            Path(f"{split}-{engine}-{number}"),
            engine != "camera",
            engine,
            split,
            f"{split}-{engine}-{number}",
            "0" * 64,
            {"family": FAMILIES[engine], "source": f"site {number % 3}" if engine == "camera" else engine},
        )
        for engine, number in rows
    ]
    places: NDArray[np.float32] = np.array([PLACES[engine] for engine, _ in rows], dtype=np.float32)
    return EmbeddedExamples(examples, places + random.normal(0, 0.1, places.shape).astype(np.float32))


@pytest.fixture(scope="module")
def train() -> EmbeddedExamples:
    """Forty of each engine. Shared: not to be changed."""
    return embedded("train", 40, list(PLACES))


def judged(train: EmbeddedExamples) -> EmbeddedExamples:
    """The training pictures, and sixty of each engine that are held out."""
    held_out = embedded("eval", 60, list(PLACES))
    return EmbeddedExamples(
        [*train.examples, *held_out.examples], np.concatenate([train.embeddings, held_out.embeddings])
    )


def left_out(train: EmbeddedExamples, folder: Path, *kinds: LeftOutKind, recipe: Recipe = LINEAR) -> LeftOut:
    return leave_out(Refits(train, judged(train), recipe, ALONE, folder), kinds, 0.1, folds=3)


@pytest.fixture(scope="module")
def found(train: EmbeddedExamples, tmp_path_factory: pytest.TempPathFactory) -> LeftOut:
    return left_out(train, tmp_path_factory.mktemp("scratch"), "family", "engine", "source")


def tpr(found: LeftOut, kind: str, name: str) -> float:
    return next(row.tpr for row in found.fakes if (row.kind, row.name) == (kind, name))


def test_an_engine_is_caught_by_what_its_twin_taught_and_an_odd_one_is_not(found: LeftOut) -> None:
    assert tpr(found, "engine", "TwinA") == tpr(found, "engine", "TwinB") == 1.0
    assert tpr(found, "engine", "Odd") < 0.5


def test_without_its_family_an_engine_has_no_twin(found: LeftOut) -> None:
    assert tpr(found, "family", "twins") < 0.5


def test_every_fake_and_every_real_judges_whatever_its_split(found: LeftOut) -> None:
    rows = {(row.kind, row.name): (row.fakes, row.reals) for row in found.fakes}
    assert rows["engine", "TwinA"] == (100, 100)
    assert rows["family", "twins"] == (200, 100)


def test_each_source_of_reals_has_the_rate_of_heads_that_it_did_not_train(found: LeftOut) -> None:
    assert {row.source: row.reals for row in found.reals} == {"site 0": 34, "site 1": 33, "site 2": 33}
    assert sum(row.flagged for row in found.reals) <= 10


def test_a_head_that_is_fitted_in_steps_is_refitted_too(train: EmbeddedExamples, tmp_path: Path) -> None:
    rows = left_out(train, tmp_path, "engine", recipe=STEPS).fakes

    assert [row.name for row in rows] == ["Odd", "TwinA", "TwinB"]


def test_a_real_is_scored_by_a_head_that_no_picture_of_its_source_trained(
    train: EmbeddedExamples, tmp_path: Path
) -> None:
    """One site shows fakes as reals: the head that was fitted without it flags them, one that knew it would not."""
    strange = [replace(e, columns=e.columns | {"source": "strange"}) for e in train.examples[-40:]]
    strange = [replace(e, fake=False, engine="camera", group=f"s{n}") for n, e in enumerate(strange)]
    data = EmbeddedExamples(
        [*train.examples[:-40], *strange], np.concatenate([train.embeddings[:-40], train.embeddings[40:80]])
    )

    scores = cross_fit(Refits(data, data, LINEAR, ALONE, tmp_path), folds=3)

    of_strange = [score for place, score in scores.items() if data.examples[place].source == "strange"]
    assert len(scores) == 80
    assert min(of_strange) > 0.5


class TestFolds:
    def test_a_source_is_in_one_fold_and_a_fake_in_none(self, train: EmbeddedExamples) -> None:
        parts = real_folds(train.examples, 2)

        places = {(e.source, part) for e, part in zip(train.examples, parts, strict=True) if not e.fake}
        assert len(places) == len({source for source, _ in places})
        assert {part for e, part in zip(train.examples, parts, strict=True) if e.fake} == {-1}

    def test_a_source_larger_than_a_fold_is_spread_by_its_groups(self) -> None:
        sizes = {"big": 80, "a": 7, "b": 7, "c": 6}
        examples = [
            Example(Path(f"{s}{n}"), False, "camera", "train", f"{s}{n // 2}", columns={"source": s})  # noqa: FBT003
            for s, count in sizes.items()
            for n in range(count)
        ]

        parts = real_folds(examples, 4)

        groups = {(e.group, part) for e, part in zip(examples, parts, strict=True)}
        assert len(groups) == len({group for group, _ in groups})
        assert {part for e, part in zip(examples, parts, strict=True) if e.source == "big"} == {0, 1, 2, 3}

    def test_reals_of_one_source_cannot_be_left_out(self, train: EmbeddedExamples, tmp_path: Path) -> None:
        only = EmbeddedExamples([replace(e, columns={"source": "one"}) for e in train.examples], train.embeddings)

        with pytest.raises(ManifestError, match="no source of reals can be left out: split train has only one"):
            cross_fit(Refits(only, only, LINEAR, ALONE, tmp_path), 3)


def test_where_nothing_can_be_left_out_it_says_why(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no engine can be left out: the fakes of split train have only TwinA"):
        left_out(embedded("train", 4, ["camera", "TwinA"]), tmp_path, "engine")


def test_scratch_files_are_gone_when_it_was_stopped(train: EmbeddedExamples, tmp_path: Path) -> None:
    refits = Refits(train, judged(train), STEPS, ALONE, tmp_path, lambda: True)

    with pytest.raises(Stopped):
        leave_out(refits, ["engine"], 0.1)

    assert list(tmp_path.iterdir()) == []
