"""The fit's loop: every picture once an epoch, and the same weights however often it was killed."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from trainer.distributed.process import Stopped
from trainer.errors import CheckpointError
from trainer.fitting import loop
from trainer.fitting.loop import Recipe, TrainingLoop, batch_rows, dropout_seed
from trainer.fitting.snapshot import Progress, Snapshot

CPU = torch.device("cpu")
RECIPE = Recipe(steps=30, batch=4, seed=1)
#: Steps between two snapshots, here: fewer than in production.
OFTEN = 10


class Fit:
    """A small regression with dropout, whose loop can be stopped: 20 rows, 3 features."""

    def __init__(self, path: Path, recipe: Recipe = RECIPE, run: str = "run") -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 1)).train()
        self.features = torch.randn(20, 3)
        self.optimizer = torch.optim.Adagrad(self.module.parameters(), lr=0.1)
        self.steps: list[int] = []
        self.loop = TrainingLoop(recipe, 20, Snapshot(path, run), shown=False)

    def loss_of(self, rows: Tensor, step: int) -> Tensor:
        self.steps.append(step)
        loss: Tensor = (self.module(self.features[rows]) - self.features[rows].sum(dim=1, keepdim=True)).square().mean()
        return loss

    def run(self) -> Tensor:
        return self.progress().losses

    def progress(self) -> Progress:
        return self.loop.run(self.module, self.optimizer, self.loss_of, CPU)

    def weights(self) -> list[float]:
        return [float(value) for parameter in self.module.parameters() for value in parameter.detach().flatten()]


def after(calls: int) -> Callable[[], bool]:
    """False so many times, then True."""
    answers: Iterator[bool] = iter([False] * calls)
    return lambda: next(answers, True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a fit saves what it has."""
    return tmp_path / "state.safetensors"


@pytest.fixture(autouse=True, scope="module")
def often() -> Iterator[None]:
    """Snapshots are taken often enough for tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "STEPS_PER_SNAPSHOT", OFTEN)
        yield


def test_the_defaults_are_the_papers() -> None:
    recipe = Recipe()

    assert (recipe.steps, recipe.batch, recipe.learning_rate) == (10_000, 32, 1e-4)
    assert (recipe.scale, recipe.patience) == (False, 0)


class TestBatches:
    @given(size=st.integers(1, 40), batch=st.integers(1, 50), seed=st.integers(0, 2**40))
    def test_every_epoch_holds_each_picture_once(self, size: int, batch: int, seed: int) -> None:
        recipe = Recipe(batch=batch, seed=seed)
        batches = [batch_rows(step, size, recipe) for step in range(math.ceil(3 * size / batch))]
        drawn = iter(torch.cat(batches).tolist())

        assert {len(rows) for rows in batches} == {batch}
        for _ in range(3):
            assert sorted(islice(drawn, size)) == list(range(size))

    @given(step=st.integers(0, 10**6), other=st.integers(0, 10**6))
    def test_a_steps_batch_depends_on_nothing_but_its_number(self, step: int, other: int) -> None:
        alone = batch_rows(step, 37, RECIPE).tolist()
        batch_rows(other, 37, RECIPE)

        assert batch_rows(step, 37, RECIPE).tolist() == alone

    def test_epochs_are_shuffled_each_in_its_own_way(self) -> None:
        epochs = [batch_rows(step, 100, Recipe(batch=100)).tolist() for step in range(3)]

        assert list(range(100)) not in epochs
        assert len({tuple(epoch) for epoch in epochs}) == 3

    def test_the_seed_decides_the_order(self) -> None:
        one, again, other = (batch_rows(0, 100, Recipe(seed=seed)).tolist() for seed in (0, 0, 1))

        assert one == again != other


class TestRunning:
    def test_each_steps_loss_is_kept_and_they_fall(self, path: Path) -> None:
        fit = Fit(path)

        losses = fit.run()

        assert fit.steps == list(range(30))
        assert losses.shape == (30,)
        assert float(losses[-5:].mean()) < float(losses[:5].mean())

    def test_dropout_differs_from_step_to_step(self, path: Path) -> None:
        fit = Fit(path)
        fit.features = torch.ones(20, 3)
        fit.optimizer.param_groups[0]["lr"] = 0.0

        losses = fit.run()  # of equal pictures and weights: only dropout differs

        assert len(set(losses.tolist())) > 5


class TestBeingKilled:
    @pytest.mark.parametrize("stops", [[0], [1], [29], [10, 10], [3, 1, 4, 1, 5]])
    def test_a_fit_that_was_stopped_ends_with_the_bits_of_one_that_was_not(
        self, stops: list[int], path: Path, tmp_path: Path
    ) -> None:
        whole = Fit(tmp_path / "whole.safetensors")
        losses = whole.run()

        for stop in stops:
            part = Fit(path)
            part.loop = replace(part.loop, stopping=after(stop))
            with pytest.raises(Stopped):
                part.run()
            assert len(part.steps) == stop
            assert list(path.parent.glob(".*")) == [], "no part of a file is left"
        last = Fit(path)

        assert torch.equal(last.run(), losses)
        assert last.steps == list(range(sum(stops), 30)), "nothing is done twice"
        assert last.weights() == whole.weights()

    def test_a_fit_that_is_killed_goes_on_from_the_last_snapshot(self, path: Path, tmp_path: Path) -> None:
        recipe = replace(RECIPE, steps=2 * OFTEN)
        whole = Fit(tmp_path / "whole.safetensors", recipe)
        losses = whole.run()
        killed = Fit(path, recipe)

        def dies(rows: Tensor, step: int) -> Tensor:
            if step == OFTEN + 5:
                raise KeyboardInterrupt
            return Fit.loss_of(killed, rows, step)

        with pytest.raises(KeyboardInterrupt):
            killed.loop.run(killed.module, killed.optimizer, dies, CPU)
        last = Fit(path, recipe)

        assert torch.equal(last.run(), losses)
        assert last.steps[0] == OFTEN
        assert last.weights() == whole.weights()

    def test_another_runs_snapshot_is_refused(self, path: Path) -> None:
        first = Fit(path)
        first.loop = replace(first.loop, stopping=after(2))
        with pytest.raises(Stopped):
            first.run()

        message = r"state\.safetensors is of a run with other settings or pictures: choose another --out"
        with pytest.raises(CheckpointError, match=message):
            Fit(path, run="other").run()

    def test_a_refusal_says_which_settings_differ(self, path: Path) -> None:
        first = Fit(path)
        first.loop = replace(first.loop, snapshot=Snapshot(path, "a", settings={"seed": "1", "batch": "4"}))
        first.run()
        other = Fit(path)
        other.loop = replace(other.loop, snapshot=Snapshot(path, "b", settings={"seed": "2", "batch": "4"}))

        with pytest.raises(CheckpointError, match=r"other settings or pictures \(seed 1 -> 2\): choose another --out"):
            other.run()

    @pytest.mark.parametrize("content", [b"", b"rubbish" * 10])
    def test_a_broken_snapshot_is_named(self, content: bytes, path: Path) -> None:
        path.write_bytes(content)

        with pytest.raises(CheckpointError, match=r"state\.safetensors cannot be read"):
            Fit(path).run()

    def test_a_snapshot_cut_short_is_no_snapshot(self, path: Path) -> None:
        """A process killed while it saves leaves the last snapshot as it was, and a part that nobody reads."""
        fit = Fit(path)
        path.with_name(f".{path.name}.4711.part").write_bytes(b"half of a")

        assert len(fit.run()) == 30


class TestPatience:
    def recipe(self, patience: int) -> Recipe:
        return replace(RECIPE, steps=6 * OFTEN, batch=1, patience=patience)

    def test_the_best_weights_are_kept_when_nothing_gets_better(self, path: Path) -> None:
        fit = Fit(path, self.recipe(2))
        checks: list[list[float]] = []

        def validate() -> tuple[float, float]:
            checks.append(fit.weights())
            return [3.0, 1.0, 2.0, 2.0, 0.0][len(checks) - 1], 0.5

        fit.loop = replace(fit.loop, validate=validate)
        progress = fit.progress()

        assert len(checks) == 4, "two checks after the best"
        assert progress.step == 4 * OFTEN
        assert fit.weights() == checks[1]

    def test_nobody_loses_patience_while_it_gets_better(self, path: Path) -> None:
        falling = iter(range(100, 0, -1))
        fit = Fit(path, self.recipe(1))
        fit.loop = replace(fit.loop, validate=lambda: (float(next(falling)), 0.5))

        assert fit.progress().step == 6 * OFTEN


class TestLooks:
    def watched(self, path: Path, steps: int) -> tuple[Progress, list[int], list[float]]:
        """A fit that is looked at, the steps of its reports, and its weights."""
        fit, reported = Fit(path, replace(RECIPE, steps=steps)), list[int]()
        losses = iter(range(100, 0, -1))

        def report(step: int, found: dict[str, float]) -> None:
            assert set(found) == {"loss", "validation_loss", "validation_auc"}
            reported.append(step)

        fit.loop = replace(fit.loop, validate=lambda: (float(next(losses)), 0.75), report=report)
        return fit.progress(), reported, fit.weights()

    def test_a_fit_is_looked_at_every_so_often_and_at_its_end(self, path: Path) -> None:
        progress, reported, _ = self.watched(path, 2 * OFTEN + 3)

        assert reported == [look.step for look in progress.looks] == [OFTEN, 2 * OFTEN, 2 * OFTEN + 3]
        assert {look.auc for look in progress.looks} == {0.75}

    def test_without_patience_looks_change_no_weights(self, path: Path, tmp_path: Path) -> None:
        unwatched = Fit(tmp_path / "other.safetensors", replace(RECIPE, steps=2 * OFTEN))
        unwatched.run()

        assert self.watched(path, 2 * OFTEN)[2] == unwatched.weights()

    @pytest.mark.parametrize("first", [7, OFTEN, OFTEN + 5])
    def test_a_finished_fit_goes_on_to_more_steps_and_the_bits_of_one_fit(
        self, first: int, path: Path, tmp_path: Path
    ) -> None:
        self.watched(path, first)

        continued, reported, weights = self.watched(path, 2 * OFTEN)
        whole, _, expected = self.watched(tmp_path / "whole.safetensors", 2 * OFTEN)

        assert torch.equal(continued.losses, whole.losses)
        assert weights == expected
        assert min(reported) > first, "nothing is done twice"
        assert [look.step for look in continued.looks] == [OFTEN, 2 * OFTEN]

    def test_fewer_steps_than_a_snapshot_has_are_refused(self, path: Path) -> None:
        Fit(path).run()

        with pytest.raises(CheckpointError, match="has 30 steps, more than --steps 20: choose another --out"):
            Fit(path, replace(RECIPE, steps=20)).run()


class TestDropout:
    @given(st.sets(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2))
    def test_no_seed_and_step_share_their_masks_with_others(self, pairs: set[tuple[int, int]]) -> None:
        assert len({dropout_seed(*pair) for pair in pairs}) == len(pairs)

    def test_masks_of_two_seeds_are_independent_at_every_offset_of_steps(self) -> None:
        def masks(seed: int) -> list[Tensor]:
            seeds = [dropout_seed(seed, step) for step in range(4)]
            return [torch.rand(400, generator=torch.Generator().manual_seed(each)) < 0.5 for each in seeds]

        agreed = [float((one == other).float().mean()) for one in masks(0) for other in masks(1)]
        assert max(agreed) < 0.65
        assert min(agreed) > 0.35


class TestClassWeights:
    def test_each_class_counts_by_its_weight(self) -> None:
        logits, labels = torch.tensor([0.3, -0.2, 1.0]), torch.tensor([0.0, 1.0, 1.0])
        one_by_one = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")

        found = Recipe(class_weights=(3.0, 0.5)).loss(logits, labels)

        assert float(found) == pytest.approx(float((one_by_one * torch.tensor([3.0, 0.5, 0.5])).mean()))
        assert float(Recipe().loss(logits, labels)) == float(one_by_one.mean())
