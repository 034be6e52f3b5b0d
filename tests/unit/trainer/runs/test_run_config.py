"""What makes two runs one: the same orders, on the same pictures and weights by what is in the files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trainer.data.manifest import Example, Manifest
from trainer.data.shortcut_guard import ShortcutOptions
from trainer.errors import TrainerError
from trainer.fitting.finetune import Unfreezing
from trainer.fitting.loop import Recipe
from trainer.runs.run_config import RunConfig, class_weights

PICTURES = tuple(Example(Path(f"{digit}.png"), digit == "1", "e", "train", digit, digit * 64) for digit in "01")
MANIFEST = Manifest(PICTURES, "f" * 64)


@pytest.fixture
def plan(tmp_path: Path) -> RunConfig:
    """On weights in a file."""
    (tmp_path / "weights.safetensors").write_bytes(b"some")
    return RunConfig(tmp_path / "manifest.csv", tmp_path / "out", weights=str(tmp_path / "weights.safetensors"))


def test_the_same_on_another_device_and_to_another_folder_is_the_same_run(plan: RunConfig) -> None:
    elsewhere = replace(plan, out=Path("elsewhere"), cache=Path("there"), device="cpu")

    assert plan.run_id(MANIFEST) == elsewhere.run_id(Manifest(PICTURES, MANIFEST.sha256))


@pytest.mark.parametrize(
    "pictures",
    [(PICTURES[0], replace(PICTURES[1], sha256="2" * 64)), PICTURES[::-1]],
    ids=["another picture", "another order"],
)
def test_other_pictures_under_the_same_names_are_another_run(pictures: tuple[Example, ...], plan: RunConfig) -> None:
    assert plan.run_id(Manifest(pictures, MANIFEST.sha256)) != plan.run_id(MANIFEST)


def test_other_weights_under_the_same_name_are_another_run(plan: RunConfig) -> None:
    before = plan.run_id(MANIFEST)
    Path(plan.weights or "").write_bytes(b"other")

    assert plan.run_id(MANIFEST) != before


def test_the_same_weights_under_another_name_are_the_same_run(plan: RunConfig, tmp_path: Path) -> None:
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(Path(plan.weights or "").read_bytes())

    assert replace(plan, weights=str(moved)).run_id(MANIFEST) == plan.run_id(MANIFEST)


def test_more_steps_of_the_same_are_the_same_run(plan: RunConfig) -> None:
    assert replace(plan, recipe=Recipe(steps=7)).run_id(MANIFEST) == plan.run_id(MANIFEST)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"recipe": Recipe(seed=1)}, "seed"),
        ({"recipe": Recipe(learning_rate=1.0)}, "learning rate"),
        ({"unfreezing": Unfreezing("all")}, "unfreezing what"),
        ({"intake": ShortcutOptions(normalise=True)}, "intake normalise"),
        ({"class_weights": "2:1"}, "class weights"),
    ],
)
def test_each_setting_that_changes_the_result_has_a_name_to_be_refused_by(
    change: dict[str, Any], name: str, plan: RunConfig
) -> None:
    before, after = plan.settings(MANIFEST), replace(plan, **change).settings(MANIFEST)

    assert [key for key in before if before[key] != after[key]] == [name]
    assert replace(plan, **change).run_id(MANIFEST) != plan.run_id(MANIFEST)


@pytest.mark.parametrize(
    ("word", "weights"), [("none", (1, 1)), ("balanced", (2 / 3, 2)), ("2:1", (2, 1)), ("0.5:3", (0.5, 3))]
)
def test_class_weights_are_words_or_two_numbers(word: str, weights: tuple[float, float]) -> None:
    assert class_weights(word, reals=75, fakes=25) == pytest.approx(weights)


@pytest.mark.parametrize("word", ["", "half", "1", "1:2:3", "0:1", "-1:1", "nan:1", "inf:1"])
def test_other_class_weights_are_refused_before_the_run(word: str, plan: RunConfig) -> None:
    with pytest.raises(TrainerError, match=r"^--class-weights '.*' is not none, balanced, or REAL:FAKE such as 2:1$"):
        replace(plan, class_weights=word)


@pytest.mark.parametrize("weights", [None, "hub", "wheel", "none.safetensors"])
def test_weights_that_are_no_file_here_are_no_fault_yet(weights: str | None, plan: RunConfig) -> None:
    assert len(replace(plan, weights=weights).run_id(MANIFEST)) == 64
