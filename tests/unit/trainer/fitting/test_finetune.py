"""The backbone in the loop: frozen it gives the cached fit's losses, unfrozen it learns; its statistics stay put."""

import csv
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from trainer.data.shortcut_guard import ShortcutOptions
from trainer.detector.model import Detector, Head, build_backbone
from trainer.errors import TrainerError
from trainer.fitting.finetune import Unfreezing, prepare_optimizer
from trainer.fitting.loop import Recipe
from trainer.runs.fit import fit
from trainer.runs.run_config import RunConfig

#: A backbone of timm's own tests: 0.1 million parameters.
TINY = "test_efficientnet"


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """A fit hears SIGTERM from then on; the tests' own process does not."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """Eight pictures, reals darker than fakes, and random weights. Shared: each test has an ``out`` of its own."""
    folder = tmp_path_factory.mktemp("faces")
    rows = ["path,label"]
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 100 + 100 * (number % 2), (32, 32, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{'fake' if number % 2 else 'real'}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    torch.manual_seed(0)
    save_file(build_backbone(TINY).state_dict(), folder / "tiny.safetensors")
    return RunConfig(
        folder / "manifest.csv",
        folder / "out",
        Recipe(steps=8, batch=4, learning_rate=1e-3),
        backbone=TINY,
        weights=str(folder / "tiny.safetensors"),
        cache=folder / "cache",
        intake=ShortcutOptions(accept_shortcut=True),
    )


def losses(out: Path) -> list[float]:
    with (out / "log.csv").open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def changed(plan: RunConfig, out: Path) -> set[str]:
    """Which of the backbone's tensors the fit changed."""
    assert plan.weights is not None
    before, after = load_file(plan.weights), load_file(out / "checkpoint.safetensors")
    return {name for name in before if not torch.equal(before[name], after[f"backbone.{name}"])}


def test_end_to_end_gives_the_losses_of_the_cached_fit(plan: RunConfig, tmp_path: Path) -> None:
    fit(replace(plan, out=tmp_path / "cached"))
    fit(replace(plan, out=tmp_path / "whole", end_to_end=True))

    assert losses(tmp_path / "whole") == pytest.approx(losses(tmp_path / "cached"), abs=1e-4)
    assert changed(plan, tmp_path / "whole") == set()


def test_the_last_blocks_learn_and_no_statistic_moves(plan: RunConfig, tmp_path: Path) -> None:
    fit(replace(plan, out=tmp_path / "out", unfreezing=Unfreezing("last:1", 1e-3)))

    names = changed(plan, tmp_path / "out")
    blocks = {name.split(".")[1] for name in names if name.startswith("blocks.")}
    assert len(blocks) == 1
    assert not any("running" in name or name.startswith("conv_stem") for name in names)


def test_all_of_the_backbone_learns_when_asked(plan: RunConfig, tmp_path: Path) -> None:
    fit(replace(plan, out=tmp_path / "out", unfreezing=Unfreezing("all", 1e-3)))

    names = changed(plan, tmp_path / "out")
    assert "conv_stem.weight" in names
    assert not any("running" in name for name in names)


@pytest.mark.parametrize("change", [{"end_to_end": True}, {"unfreezing": Unfreezing("last:1")}], ids=["frozen", "not"])
def test_scaling_which_needs_all_embeddings_first_is_refused(
    change: dict[str, Any], plan: RunConfig, tmp_path: Path
) -> None:
    scaled = replace(plan, out=tmp_path / "out", recipe=replace(plan.recipe, scale=True), **change)

    with pytest.raises(TrainerError, match="--scale needs the cached fit: it goes neither with --unfreeze nor"):
        fit(scaled)


@pytest.mark.parametrize("what", ["last:0", "last:99", "last", "first:2"])
def test_what_cannot_be_unfrozen_is_refused_by_name(what: str) -> None:
    with pytest.raises(TrainerError, match=f"--unfreeze '{what}'"):
        Unfreezing(what).parameters(build_backbone(TINY))


@pytest.mark.parametrize("what", ["none", "last:1"])
def test_the_optimiser_keeps_its_sums_where_the_parameters_are(what: str) -> None:
    """On a device that only knows shapes, which stands for any other than the CPU."""
    detector = Detector(build_backbone(TINY), Head(256, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

    optimizer = prepare_optimizer(detector, Recipe(), Unfreezing(what), torch.device("meta"))

    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    kept = [value.device.type for parameter in parameters for value in optimizer.state[parameter].values()]
    assert {parameter.device.type for parameter in parameters} == set(kept) == {"meta"}
