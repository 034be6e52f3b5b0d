"""The rows of a fit: every training picture as it is, in its views, and with the edits that make hard reals."""

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.data.manifest import Example
from trainer.pixels import views


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One view of one picture, as `trainer.pixels.views.apply_view` makes it."""

    example: Example
    view: str


def training_rows(examples: Sequence[Example], views_of_each: int, hard_reals: int, seed: int) -> list[TrainingRow]:
    """All originals, then all pictures in each view, then all reals with each of ``hard_reals`` edits."""
    rows = [TrainingRow(example, view) for view in views.random_views(views_of_each, seed) for example in examples]
    reals = [example for example in examples if not example.fake]
    return rows + [TrainingRow(one, view) for view in views.edited_views(hard_reals, seed) for one in reals]
