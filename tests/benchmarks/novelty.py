"""Days until an engine that nobody knows raises the alarm of `unmask model novelty`, and false alarms without one.

    python -m tests.benchmarks.novelty                                    # an hour on two cores
    python -m tests.benchmarks.novelty --engine sdxl --kept 1000 --runs 1 --quiet-months 0   # to try it

The shipped checkpoint's support has the embeddings of its training photos. A linear head is fitted without the family
of one engine, and without the real photos that it scores. A stream has so many photos a day that the top 5 % of real
ones are ``--kept``; 0.05 % are of engines that the head knows, and from day 10 on 0.5 % of the engine that it does not.
Each day after that the command's statistic compares the last 7 days with up to 28 days before.

There are only about 330 real photos and views in the top 5 %, so the stream is drawn with replacement and moved: a
drawn photo goes a random part of the way to one of its five nearest neighbours, and a little further in a random
direction. Real uploads vary more, and change from week to week: the false alarms here are those of chance alone.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import click
import numpy as np
import torch
from numpy.typing import NDArray

from db.quality.grown_regions import grown_regions
from db.stats.hash_fraction import hash_fraction
from trainer.detector.card import Card
from trainer.detector.checkpoint import SHIPPED
from trainer.detector.projection import SIZE, Projection, levels_of
from trainer.fitting.embedded import EmbeddedExamples
from trainer.fitting.linear import WeightedRows, fit_linear, source_weights
from trainer.fitting.support import read_support
from trainer.runs.evaluate import recipe_of

ENGINES = ("sdxl", "flux.1-schnell", "stylegan2-sfhq")
SHARE, KNOWN, NEW, BEGINS = 0.05, 0.0005, 0.005, 10
RECENT, REFERENCE, LAST = 7, 28, 40
_NEIGHBOURS, _NOISE, _L2 = 5, 0.5, 3e-3

Numbers = NDArray[np.float32]
Random = np.random.Generator


class Crowd:
    """Projections to draw photos from."""

    def __init__(self, points: Numbers) -> None:
        self._points = points
        away = ((points[:, None] - points[None]) ** 2).sum(axis=2)
        np.fill_diagonal(away, np.inf)
        self._near = np.argsort(away, axis=1)[:, :_NEIGHBOURS]
        self._step = _NOISE * float(np.sqrt(np.median(away.min(axis=1)) / SIZE))

    def draw(self, random: Random, count: int) -> Numbers:
        """(count, `SIZE`) levels of new photos that look like these."""
        one = random.integers(0, len(self._points), count)
        other = self._near[one, random.integers(0, _NEIGHBOURS, count)]
        moved = self._points[one] + random.random((count, 1)) * (self._points[other] - self._points[one])
        levels: Numbers = np.rint(moved + random.normal(0, self._step, (count, SIZE))).clip(-127, 127)
        return levels.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Stream:
    """The photos of a platform as workers keep them, where the head does not know one engine."""

    reals: Crowd
    known: Crowd
    new: Crowd
    #: The share of the new engine's photos that score above the top 5 % of reals.
    seen: float

    def day(self, random: Random, kept: int, *, new: bool) -> Numbers:
        """One day's kept projections."""
        uploads = kept / SHARE
        parts = [
            self.reals.draw(random, random.poisson(kept)),
            self.known.draw(random, random.poisson(KNOWN * uploads)),
        ]
        if new:
            parts.append(self.new.draw(random, random.poisson(NEW * self.seen * uploads)))
        return np.concatenate(parts)


def stream_without(rows: EmbeddedExamples, engine: str, folds: int = 4) -> Stream:
    """Fit heads without the engine's family, and score what they did not see."""
    recipe = replace(recipe_of(Card.read(SHIPPED)), widths=(), l2=_L2)
    family = next(example.family for example in rows.examples if example.engine == engine)
    left = np.array([example.family == family for example in rows.examples])
    ours = np.array([example.engine == engine for example in rows.examples])
    fold = np.array([int(folds * hash_fraction(example.group.encode())) for example in rows.examples])
    tails = np.full((folds, len(left)), np.nan)
    for number in range(folds):
        fitted = rows.chosen(np.flatnonzero(~left & (rows.fake | (fold != number))))
        weights = source_weights(fitted.fake, fitted.sources)
        head, _ = fit_linear(WeightedRows(fitted.embeddings, fitted.fake, weights), recipe)
        with torch.inference_mode():
            logits = head(torch.from_numpy(rows.embeddings)).squeeze(1).numpy()
            features = head.scaling(torch.from_numpy(rows.embeddings))
        reals = np.sort(logits[~rows.fake & (fold == number)])
        tails[number] = 1 - np.searchsorted(reals, logits, "right") / len(reals)
    own = tails[fold, np.arange(len(left))]
    points = levels_of(Projection(features.shape[1])(features).numpy()).astype(np.float32)
    high = (tails < SHARE).mean(axis=0)
    known = np.flatnonzero(rows.fake & ~left & (high > 0.5))
    return Stream(
        Crowd(points[~rows.fake & (own < SHARE)]),
        Crowd(points[known[:: max(1, len(known) // 1500)]]),
        Crowd(points[ours & (high > 0.5)]),
        float(high[ours].mean()),
    )


def first_alarm(stream: Stream, random: Random, kept: int) -> tuple[int | None, int]:
    """After how many days of the new engine there is an alarm, None for none by day `LAST`; and how many clusters."""
    days: list[Numbers] = []
    for today in range(1, LAST + 1):
        days.append(stream.day(random, kept, new=today >= BEGINS))
        if today > BEGINS and (found := look(days)):
            return today - BEGINS + 1, found
    return None, 0


def false_alarms(stream: Stream, random: Random, kept: int) -> int:
    """How many of a month's daily looks find something, with five weeks before it and nothing new."""
    days = [stream.day(random, kept, new=False) for _ in range(RECENT + REFERENCE)]
    count = 0
    for _ in range(30):
        days.append(stream.day(random, kept, new=False))
        count += look(days) > 0
    return count


def look(days: Sequence[Numbers]) -> int:
    """How many clusters the command finds on the last day."""
    recent, earlier = np.concatenate(days[-RECENT:]), np.concatenate(days[-RECENT - REFERENCE : -RECENT])
    return len(grown_regions(np.concatenate([recent, earlier]), np.arange(len(recent) + len(earlier)) < len(recent)))


@click.command()
@click.option("--engine", "engines", multiple=True, default=ENGINES)
@click.option("--kept", "rates", multiple=True, type=int, default=(1000, 5000))
@click.option("--runs", default=5)
@click.option("--quiet-months", default=5)
def main(engines: Sequence[str], rates: Sequence[int], runs: int, quiet_months: int) -> None:
    """Print a line for each engine and rate."""
    rows = read_support(SHIPPED, Card.read(SHIPPED).backbone.sha256).rows
    for engine in engines:
        stream = stream_without(rows, engine)
        for kept in rates:
            begun = time.monotonic()
            found = [first_alarm(stream, np.random.default_rng(seed), kept) for seed in range(runs)]
            quiet = [false_alarms(stream, np.random.default_rng(100 + seed), kept) for seed in range(quiet_months)]
            click.echo(
                f"{engine}, {kept} kept a day, {stream.seen:.0%} of the engine kept: alarm after "
                f"{[days for days, _ in found]} days; alarms in quiet months: {quiet}; {time.monotonic() - begun:.0f} s"
            )


if __name__ == "__main__":
    main()
