"""Early stopping: judged by whole groups that are not trained on, never by the split that judges the result."""

import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from trainer.data.folders import rows_of_folders
from trainer.data.manifest import VALIDATION_SHARE, Example, hold_out_groups, read_manifest
from trainer.data.shortcut_guard import ShortcutOptions
from trainer.detector.card import Card
from trainer.detector.model import build_backbone
from trainer.errors import ManifestError, TrainerError
from trainer.fitting import loop
from trainer.fitting.finetune import Unfreezing
from trainer.fitting.loop import Recipe
from trainer.runs.fit import fit
from trainer.runs.run_config import RunConfig

#: A backbone of timm's own tests: 0.1 million parameters.
TINY = "test_efficientnet"


def example(number: int, group: str) -> Example:
    return Example(Path(f"{number}.png"), number % 2 == 1, "", "train", group)


def crowd(groups: int) -> list[Example]:
    """Groups of three pictures, with reals and fakes in most."""
    return [example(number, f"person {number // 3}") for number in range(3 * groups)]


class TestHoldingOut:
    @pytest.mark.parametrize("groups", [150, 271, 400])
    def test_every_picture_is_on_one_side_with_all_of_its_group(self, groups: int) -> None:
        examples = crowd(groups)

        kept, watched = hold_out_groups(examples)

        assert sorted([*kept, *watched], key=examples.index) == examples
        assert not {one.group for one in kept} & {one.group for one in watched}

    def test_about_a_tenth_of_the_groups_is_watched(self) -> None:
        _, watched = hold_out_groups(crowd(2000))

        assert len(watched) / 6000 == pytest.approx(VALIDATION_SHARE, abs=0.03)

    def test_a_group_stays_where_it_is_whatever_comes_beside_it(self) -> None:
        _, few = hold_out_groups(crowd(200))
        _, many = hold_out_groups(crowd(400)[::-1])

        assert set(few) <= set(many)

    @pytest.mark.parametrize("eval_share", [0.0, 0.1, 0.3, 0.8])
    def test_of_a_manifest_of_folders_about_a_tenth_of_its_split_train_is_watched(
        self, eval_share: float, tmp_path: Path
    ) -> None:
        for number in range(1500):
            path = tmp_path / ("fake/sd" if number % 2 else "real") / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        rows = [row for row in rows_of_folders(tmp_path, eval_share) if row.split == "train"]
        train = [Example(Path(row.path), row.label == "fake", row.engine, row.split, row.group) for row in rows]

        kept, watched = hold_out_groups(train)

        assert len(watched) / len(train) == pytest.approx(VALIDATION_SHARE, abs=0.04)
        assert len(kept) + len(watched) == len(train)

    @pytest.mark.parametrize(
        "chosen", [lambda watched: watched, lambda watched: not watched], ids=["only watched", "none watched"]
    )
    def test_too_few_groups_are_refused(self, chosen: Callable[[bool], bool]) -> None:
        examples = crowd(200)
        watched = {one.group for one in hold_out_groups(examples)[1]}
        left = [one for one in examples if chosen(one.group in watched)]

        with pytest.raises(ManifestError, match=r"one in 10 of \d+ groups: too few for real and fake pictures"):
            hold_out_groups(left)


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """A fit hears SIGTERM from then on; the tests' own process does not."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """Forty pictures of noise whose labels mean nothing. Shared: each test has an ``out`` of its own."""
    folder = tmp_path_factory.mktemp("faces")
    rows = ["path,label"]
    for number in range(40):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png", compress_level=0)
        rows.append(f"{number}.png,{'fake' if number % 2 else 'real'}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    torch.manual_seed(0)
    save_file(build_backbone(TINY).state_dict(), folder / "tiny.safetensors")
    return RunConfig(
        folder / "manifest.csv",
        folder / "out",
        Recipe(steps=30, batch=4, learning_rate=0.01, patience=1),
        backbone=TINY,
        weights=str(folder / "tiny.safetensors"),
        cache=folder / "cache",
        intake=ShortcutOptions(accept_shortcut=True),
    )


def test_a_fit_that_gets_no_better_is_stopped(plan: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "STEPS_PER_SNAPSHOT", 2)

    path = fit(replace(plan, out=tmp_path / "out"))

    assert Card.read(path).training.steps < plan.recipe.steps


def test_what_is_watched_is_not_trained_on(plan: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "STEPS_PER_SNAPSHOT", plan.recipe.steps)  # one look, at the end
    kept, watched = hold_out_groups(read_manifest(plan.manifest).split("train"))
    rows = ["path,label", *(f"{one.path},{'fake' if one.fake else 'real'}" for one in kept)]
    (tmp_path / "kept.csv").write_text("\n".join(rows) + "\n")
    without = replace(plan, manifest=tmp_path / "kept.csv", recipe=replace(plan.recipe, patience=0))

    one, other = (load_file(fit(replace(p, out=tmp_path / f"{p.recipe.patience}"))) for p in (plan, without))

    assert watched
    assert [name for name, value in one.items() if not torch.equal(value, other[name])] == []


@pytest.mark.parametrize("change", [{"end_to_end": True}, {"unfreezing": Unfreezing("all")}])
def test_with_the_backbone_in_the_loop_it_is_refused(change: dict[str, Any], plan: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="--patience needs the cached fit"):
        fit(replace(plan, out=tmp_path / "out", **change))
