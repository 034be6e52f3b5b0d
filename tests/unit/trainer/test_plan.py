"""What makes two runs one: the same orders, on the same pictures and weights by what is in the files."""

from dataclasses import replace
from pathlib import Path

import pytest

from trainer.data.manifest import Example, Manifest
from trainer.runs.plan import Plan

PICTURES = tuple(Example(Path(f"{digit}.png"), digit == "1", "e", "train", digit, digit * 64) for digit in "01")
MANIFEST = Manifest(PICTURES, "f" * 64)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """On weights in a file."""
    (tmp_path / "weights.safetensors").write_bytes(b"some")
    return Plan(tmp_path / "manifest.csv", tmp_path / "out", weights=str(tmp_path / "weights.safetensors"))


def test_the_same_on_another_device_and_to_another_folder_is_the_same_run(plan: Plan) -> None:
    elsewhere = replace(plan, out=Path("elsewhere"), cache=Path("there"), device="cpu")

    assert plan.run_id(MANIFEST) == elsewhere.run_id(Manifest(PICTURES, MANIFEST.sha256))


@pytest.mark.parametrize(
    "pictures",
    [(PICTURES[0], replace(PICTURES[1], sha256="2" * 64)), PICTURES[::-1]],
    ids=["another picture", "another order"],
)
def test_other_pictures_under_the_same_names_are_another_run(pictures: tuple[Example, ...], plan: Plan) -> None:
    assert plan.run_id(Manifest(pictures, MANIFEST.sha256)) != plan.run_id(MANIFEST)


def test_other_weights_under_the_same_name_are_another_run(plan: Plan) -> None:
    before = plan.run_id(MANIFEST)
    Path(plan.weights or "").write_bytes(b"other")

    assert plan.run_id(MANIFEST) != before


@pytest.mark.parametrize("weights", [None, "hub", "wheel", "none.safetensors"])
def test_weights_that_are_no_file_here_are_no_fault_yet(weights: str | None, plan: Plan) -> None:
    assert len(replace(plan, weights=weights).run_id(MANIFEST)) == 64
