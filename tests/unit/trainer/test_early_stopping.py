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

from trainer.fitting import loop
from trainer.detector.card import Card
from trainer.errors import ManifestError, TrainerError
from trainer.fitting.finetune import Unfreezing
from trainer.runs.fit import fit
from trainer.data.holdout import SHARE, hold_out
from trainer.data.intake import Intake
from trainer.fitting.loop import Recipe
from trainer.data.manifest import Example, read
from trainer.detector.model import build_backbone
from trainer.runs.plan import Plan

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

        kept, watched = hold_out(examples)

        assert sorted([*kept, *watched], key=examples.index) == examples
        assert not {one.group for one in kept} & {one.group for one in watched}

    def test_about_a_tenth_of_the_groups_is_watched(self) -> None:
        _, watched = hold_out(crowd(2000))

        assert len(watched) / 6000 == pytest.approx(SHARE, abs=0.03)

    def test_a_group_stays_where_it_is_whatever_comes_beside_it(self) -> None:
        _, few = hold_out(crowd(200))
        _, many = hold_out(crowd(400)[::-1])

        assert set(few) <= set(many)

    @pytest.mark.parametrize(
        "chosen", [lambda watched: watched, lambda watched: not watched], ids=["only watched", "none watched"]
    )
    def test_too_few_groups_are_refused(self, chosen: Callable[[bool], bool]) -> None:
        examples = crowd(200)
        watched = {one.group for one in hold_out(examples)[1]}
        left = [one for one in examples if chosen(one.group in watched)]

        with pytest.raises(ManifestError, match=r"one in 10 of \d+ groups: too few for real and fake pictures"):
            hold_out(left)


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """A fit hears SIGTERM from then on; the tests' own process does not."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
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
    return Plan(
        folder / "manifest.csv",
        folder / "out",
        Recipe(steps=30, batch=4, learning_rate=0.01, patience=1),
        backbone=TINY,
        weights=str(folder / "tiny.safetensors"),
        cache=folder / "cache",
        intake=Intake(accept_shortcut=True),
    )


def test_a_fit_that_gets_no_better_is_stopped(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "STEPS_PER_SNAPSHOT", 2)

    path = fit(replace(plan, out=tmp_path / "out"))

    assert Card.read(path).training.steps < plan.recipe.steps


def test_what_is_watched_is_not_trained_on(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "STEPS_PER_SNAPSHOT", plan.recipe.steps)  # one look, at the end
    kept, watched = hold_out(read(plan.manifest).split("train"))
    rows = ["path,label", *(f"{one.path},{'fake' if one.fake else 'real'}" for one in kept)]
    (tmp_path / "kept.csv").write_text("\n".join(rows) + "\n")
    without = replace(plan, manifest=tmp_path / "kept.csv", recipe=replace(plan.recipe, patience=0))

    one, other = (load_file(fit(replace(p, out=tmp_path / f"{p.recipe.patience}"))) for p in (plan, without))

    assert watched
    assert [name for name, value in one.items() if not torch.equal(value, other[name])] == []


@pytest.mark.parametrize("change", [{"end_to_end": True}, {"unfreezing": Unfreezing("all")}])
def test_with_the_backbone_in_the_loop_it_is_refused(change: dict[str, Any], plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="--patience needs the cached fit"):
        fit(replace(plan, out=tmp_path / "out", **change))
