"""Measures how a detector learns an engine: TPR on its faces after 0, 5, 20 and 100 of them, by `engine add`'s refit.

    python -m tests.benchmarks.few_shot CHECKPOINT [--engine NAME ...]

The rows are those of the checkpoint's support. For each engine, the head is fitted on all rows but its own and on the
first N of its pictures. The pictures after the hundredth are judged (or the last thirty). A quarter of the real sources
is left out of each refit in turn, and their scores set the certified threshold: no head has trained on what it judges.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import torch
from numpy.typing import NDArray

from db.stats.hash_fraction import hash_fraction
from db.stats.intervals import wilson
from trainer.data.manifest import Example
from trainer.detector import checkpoint
from trainer.detector.model import Head
from trainer.distributed.ranks import Ranks
from trainer.fitting.embedded import EmbeddedExamples
from trainer.fitting.head import score_rows
from trainer.fitting.loop import Recipe
from trainer.fitting.refit import fit_examples
from trainer.fitting.snapshot import Snapshot
from trainer.fitting.support import VIEW, read_support
from trainer.judging.evaluate import TARGET_FPR
from trainer.judging.metrics import certified_threshold
from trainer.runs.add_engine import Refitting
from trainer.runs.evaluate import recipe_of
from trainer.runs.leave_out import real_folds

#: How many pictures of the engine are given.
GIVEN = (0, 5, 20, 100)
#: In how many parts the real sources are left out.
FOLDS = 4
#: The fewest faces that are judged.
FEWEST = 30


@dataclass(frozen=True, slots=True)
class Measured:
    """The share of an engine's faces that is found after some of its pictures."""

    engine: str
    given: int
    faces: int
    tpr: float

    def line(self) -> str:
        """A row of the table."""
        share = wilson(round(self.tpr * self.faces), self.faces)
        found = f"{100 * self.tpr:.1f} % ({100 * share.low:.0f}-{100 * share.high:.0f})"
        return f"| {self.engine} | {self.faces} | {self.given} | {found} |"


@dataclass(frozen=True, slots=True)
class Study:
    """The rows of one engine apart from all others, with the fold of each real."""

    rows: EmbeddedExamples
    engine: str
    recipe: Recipe
    scratch: Path

    def faces(self) -> NDArray[np.intp]:
        """The rows that are judged, as they are: the engine's pictures after the hundredth, or the last thirty."""
        judged = set(self._order()[self.most :])
        return self._where(lambda example: example.group in judged and not example.columns.get(VIEW))

    @property
    def most(self) -> int:
        """How many pictures may be given, so that enough are left to judge."""
        return min(GIVEN[-1], len(self._order()) - FEWEST)

    def measure(self, given: int) -> Measured:
        """Each fold's reals and the faces, scored by a head that saw neither."""
        folds = np.array(real_folds(self.rows.examples, FOLDS))
        original = np.array([not example.columns.get(VIEW) for example in self.rows.examples])
        faces, reals, found = self.rows.embeddings[self.faces()], [], []
        for fold in range(FOLDS):
            head = self._head(given, folds != fold)
            reals.append(score_rows(head, self.rows.embeddings[np.flatnonzero(original & (folds == fold))]))
            found.append(score_rows(head, faces))
        threshold = certified_threshold(np.concatenate(reals), TARGET_FPR)
        return Measured(self.engine, given, len(faces), float(np.mean(np.stack(found) >= threshold)))

    def _head(self, given: int, kept: NDArray[np.bool_]) -> Head:
        shown = set(self._order()[:given])
        known = np.flatnonzero(kept & [example.engine != self.engine for example in self.rows.examples])
        added = self.rows.chosen(self._where(lambda example: example.group in shown))
        named = [replace(example, columns=example.columns | {"source": "engine add"}) for example in added.examples]
        new = EmbeddedExamples(named, added.embeddings)
        place = Ranks(0, 1, torch.device("cpu"))
        if not named:
            return self._head_without(known)
        fitting = Refitting(self.rows.chosen(known), new, self.recipe, place, self.scratch)
        return fitting.head(fitting.known + fitting.new)

    def _head_without(self, known: NDArray[np.intp]) -> Head:
        recipe = replace(self.recipe, weigh_sources=True, patience=0)
        with TemporaryDirectory(dir=self.scratch) as folder:
            snapshot = Snapshot(Path(folder) / "state.safetensors", "few-shot")
            return fit_examples(self.rows.chosen(known), recipe, snapshot, torch.device("cpu"))[0]

    def _order(self) -> list[str]:
        """The engine's pictures, in an order that says nothing of them."""
        groups = {example.group for example in self.rows.examples if example.engine == self.engine}
        return sorted(groups, key=lambda group: hash_fraction(f"few-shot {group}".encode()))

    def _where(self, holds: Callable[[Example], bool]) -> NDArray[np.intp]:
        return np.flatnonzero([holds(example) for example in self.rows.examples])


@click.command()
@click.argument("path", metavar="CHECKPOINT", type=click.Path(exists=True, path_type=Path))
@click.option("--engine", "engines", multiple=True, help="Measure only these (default: each with enough faces).")
def main(path: Path, engines: tuple[str, ...]) -> None:
    """Print the table, a row as soon as it is known."""
    _, card = checkpoint.load(path)
    rows = read_support(path, card.backbone.sha256).rows
    click.echo("| engine | faces judged | pictures given | TPR (95 % interval) |\n|---|---|---|---|")
    with TemporaryDirectory() as scratch:
        for engine in engines or sorted({example.engine for example in rows.examples if example.fake}):
            study = Study(rows, engine, recipe_of(card), Path(scratch))
            for given in (given for given in GIVEN if given <= study.most):
                click.echo(study.measure(given).line())


if __name__ == "__main__":
    main()
