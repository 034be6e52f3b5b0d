"""What a fit trains on and is watched on.

The rows that it trains on are every training picture as it is, in its views, and with the edits that make hard reals.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from db.stats.hash_fraction import hash_fraction
from trainer.data.manifest import Example, Manifest, hold_out_groups
from trainer.data.shortcut_guard import ShortcutOptions
from trainer.errors import ManifestError
from trainer.fitting.embed import Source
from trainer.pixels import views
from trainer.runs.run_config import RunConfig

#: The most pictures of split "eval" that a fit without early stopping is watched on: a look takes half a second.
MOST_WATCHED = 2000


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


def row_sources(rows: Sequence[TrainingRow], intake: ShortcutOptions) -> list[Source]:
    """What to embed for these rows, in order."""
    return [Source(row.example.path, row.example.sha256, intake.view(row.view)) for row in rows]


def training_examples(config: RunConfig, manifest: Manifest) -> tuple[list[Example], list[Example]]:
    """What is trained on, and what the fit is watched on.

    Early stopping chooses by what it watches: that is whole groups of split "train", and none of "eval". Without it,
    what is watched only shows how the fit goes: some pictures of "eval".
    """
    examples = manifest.split("train")
    if {example.fake for example in examples} != {True, False}:
        raise ManifestError(f"manifest {config.manifest}: split train must hold real and fake pictures")
    return hold_out_groups(examples) if config.recipe.patience else (examples, _sample(manifest.split("eval")))


def _sample(examples: Sequence[Example]) -> list[Example]:
    """At most `MOST_WATCHED` of these, drawn by digest; none unless there are real and fake ones."""
    drawn = sorted(examples, key=lambda example: hash_fraction(f"watch {example.sha256}".encode()))[:MOST_WATCHED]
    return drawn if {example.fake for example in drawn} == {True, False} else []
