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

from trainer.fitting import loop
from trainer.errors import CheckpointError
from trainer.fitting.loop import Loop, Recipe, batch_rows
from trainer.fitting.snapshot import Snapshot
from trainer.distributed.stop import Stopped

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
        self.loop = Loop(recipe, 20, Snapshot(path, run), shown=False)

    def loss_of(self, rows: Tensor, step: int) -> Tensor:
        self.steps.append(step)
        loss: Tensor = (self.module(self.features[rows]) - self.features[rows].sum(dim=1, keepdim=True)).square().mean()
        return loss

    def run(self) -> Tensor:
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

        with pytest.raises(CheckpointError, match=r"state\.safetensors is of another run: choose another --out"):
            Fit(path, run="other").run()

    @pytest.mark.parametrize("content", [b"", b"rubbish" * 10])
    def test_a_broken_snapshot_is_named(self, content: bytes, path: Path) -> None:
        path.write_bytes(content)

        with pytest.raises(CheckpointError, match=r"state\.safetensors cannot be read"):
            Fit(path).run()

    def test_a_snapshot_cut_short_is_no_snapshot(self, path: Path) -> None:
        """A process killed while it saves leaves the last snapshot as it was, and a part that nobody reads."""
        fit = Fit(path)
        path.with_name(f".{path.name}.part").write_bytes(b"half of a")

        assert len(fit.run()) == 30


class TestPatience:
    def recipe(self, patience: int) -> Recipe:
        return replace(RECIPE, steps=6 * OFTEN, batch=1, patience=patience)

    def test_the_best_weights_are_kept_when_nothing_gets_better(self, path: Path) -> None:
        fit = Fit(path, self.recipe(2))
        checks: list[list[float]] = []

        def validate() -> float:
            checks.append(fit.weights())
            return [3.0, 1.0, 2.0, 2.0, 0.0][len(checks) - 1]

        fit.loop = replace(fit.loop, validate=validate)
        losses = fit.run()

        assert len(checks) == 4, "two checks after the best"
        assert len(losses) == 4 * OFTEN
        assert fit.weights() == checks[1]

    def test_nobody_loses_patience_while_it_gets_better(self, path: Path) -> None:
        falling = iter(range(100, 0, -1))
        fit = Fit(path, self.recipe(1))
        fit.loop = replace(fit.loop, validate=lambda: float(next(falling)))

        assert len(fit.run()) == 6 * OFTEN
