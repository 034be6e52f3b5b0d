"""A checkpoint says what was found after its fit: its card gains the figures, its weights keep their bits."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from trainer.cli import root
from trainer.detector import checkpoint
from trainer.detector.card import Card
from trainer.detector.card_results import DegradationFinding, Findings, LeftOutFakes
from trainer.detector.model import Detector
from trainer.errors import CheckpointError, TrainerError
from trainer.judging.results import Evaluation, Robustness, RobustnessRow
from trainer.report.annotate import annotate, collect_findings, read_experiments

FIGURES = {"fakes": 40, "reals": 200, "tpr": 0.5, "tpr_low": 0.4, "tpr_high": 0.6, "fpr": 0.005, "f1": 0.6, "ratio": 1}
STEPS = [("native", 0, 0.7, 0.7), ("resize", 64, 0.1, 0.2), ("jpeg", 20, 0.3, 0.4), ("flip", 0, 0.6, 0.6)]


LEFT_OUT = {
    "folds": 2,
    "target_fpr": 0.005,
    "fakes": [FIGURES | {"kind": "engine", "name": "stylegan2", "auc": 0.9, "threshold": 0.8, "empirical_tpr": 0.6}],
    "reals": [],
}


def evaluation(sha256: str) -> Evaluation:
    row = FIGURES | {"engine": "stylegan2", "in_training": True, "auc": 0.9, "steps": 3, "threshold": 0.8}
    return Evaluation.model_validate(
        {"checkpoint": "small", "checkpoint_sha256": sha256, "manifest_sha256": "1" * 64, "target_fpr": 0.005}
        | {"threshold": 0.9, "threshold_from": "manifest", "reals": 200, "flagged": 1, "fpr": 0.005, "fpr_low": 0}
        | {"fpr_high": 0.02, "fpr_interval": "wilson", "smallest_fpr": 0.015, "warning": None, "conditions": ()}
        | {"engines": [row], "cohorts": (), "left_out": LEFT_OUT}
        | {"scores": {"eval": {"real": [0.1, 0.2], "stylegan2": [0.3, 0.95]}}}
    )


def robustness(sha256: str) -> Robustness:
    rows = [
        RobustnessRow.model_validate(
            {"kind": kind, "level": level, "engine": engine, "tpr": tpr, "refitted_tpr": again, "fpr": 0.005, "n": 40}
        )
        for kind, level, tpr, again in STEPS
        for engine in ("all", "stylegan2")
    ]
    return Robustness(
        checkpoint_sha256=sha256, split="eval", target_fpr=0.005, threshold=0.9, reals=200, rows=tuple(rows)
    )


@pytest.fixture
def saved(small: Detector, card: Card, tmp_path: Path) -> Path:
    """A self-contained checkpoint, with all kinds of tensors in it."""
    whole = card.model_copy(update={"backbone": card.backbone.model_copy(update={"included": True})})
    checkpoint.save(small, whole, tmp_path / "c.safetensors", torch.float16)
    return tmp_path / "c.safetensors"


@pytest.fixture
def judged(saved: Path, tmp_path: Path) -> Path:
    """The folder of what was found about it."""
    sha256 = checkpoint.file_sha256(saved)
    evaluation(sha256).write(tmp_path / "metrics.json")
    robustness(sha256).write(tmp_path / "robustness.json")
    (tmp_path / "tried.txt").write_text("two views: 3 points more\n\nno scaling: 5 points less\n")
    return tmp_path


def report(folder: Path, checkpoint_path: Path, *more: str) -> str:
    options = ["--evaluation", f"{folder}/metrics.json", "--robustness", f"{folder}/robustness.json"]
    run = CliRunner().invoke(
        root, ["report", "--checkpoint", str(checkpoint_path), *options, "--out", f"{folder}/out", *more]
    )
    assert run.exit_code == 0, run.output
    return (folder / "out" / "index.html").read_text(encoding="utf-8")


def write_card(folder: Path, saved: Path, target: Path) -> str:
    return report(folder, saved, "--write-card", str(target), "--experiments", f"{folder}/tried.txt")


def test_the_card_says_what_was_found(judged: Path, saved: Path) -> None:
    sha256, target = checkpoint.file_sha256(saved), judged / "new.safetensors"

    write_card(judged, saved, target)

    found = Card.read(target).findings
    assert found is not None
    assert found.judged_sha256 == sha256
    assert found.experiments == ("two views: 3 points more", "no scaling: 5 points less")
    assert found.left_out is not None
    assert found.left_out.fakes == (
        LeftOutFakes(
            kind="engine", name="stylegan2", fakes=40, tpr=0.5, tpr_low=0.4, tpr_high=0.6, empirical_tpr=0.6, auc=0.9
        ),
    )
    assert found.robustness is not None
    assert (found.robustness.reals, found.robustness.fakes, found.robustness.threshold) == (200, 40, 0.9)
    assert found.robustness.rows == tuple(
        DegradationFinding(kind=kind, level=level, tpr=tpr, refitted_tpr=again, fpr=0.005)
        for kind, level, tpr, again in STEPS
    )


def test_everything_else_is_as_it_was(judged: Path, saved: Path) -> None:
    target = judged / "new.safetensors"

    write_card(judged, saved, target)

    before, after = load_file(saved), load_file(target)
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) and value.dtype == after[name].dtype for name, value in before.items())
    assert Card.read(target).model_copy(update={"findings": None}) == Card.read(saved)
    checkpoint.load(target)


def test_the_page_shows_what_was_tried_and_can_be_made_from_the_new_file_too(judged: Path, saved: Path) -> None:
    first = write_card(judged, saved, judged / "new.safetensors")

    again = report(judged, judged / "new.safetensors")

    assert "<bdi>no scaling: 5 points less</bdi>" in first
    assert again == first


def test_a_file_may_be_written_over_and_again(saved: Path) -> None:
    found = Findings(judged_sha256="a" * 64, experiments=("ü" * 7,))

    for _ in range(2):
        annotate(saved, found, saved)

    assert Card.read(saved).findings == found
    assert [path.name for path in saved.parent.iterdir()] == [saved.name], "no part of a file is left"


@pytest.mark.parametrize("length", range(8))
def test_tensors_begin_where_memory_is_aligned(length: int, saved: Path) -> None:
    annotate(saved, Findings(judged_sha256="a" * 64, experiments=("x" * length,)), saved)

    with saved.open("rb") as file:
        assert int.from_bytes(file.read(8), "little") % 8 == 0


def test_what_was_not_measured_is_not_claimed() -> None:
    found = collect_findings(evaluation("a" * 64).model_copy(update={"left_out": None}), None)

    assert found == Findings(judged_sha256="a" * 64, fake_scores={"stylegan2": (0.3, 0.95)})


def test_what_is_no_checkpoint_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "odd.safetensors").write_bytes(b"odd")

    with pytest.raises(CheckpointError, match=r"odd\.safetensors is not a readable"):
        annotate(tmp_path / "odd.safetensors", Findings(judged_sha256="a" * 64), tmp_path / "new.safetensors")

    assert [path.name for path in tmp_path.iterdir()] == ["odd.safetensors"]


def test_experiments_without_a_card_to_go_into_are_wrong_use(judged: Path, saved: Path) -> None:
    arguments = ["report", "--checkpoint", str(saved), "--evaluation", f"{judged}/metrics.json", "--out", f"{judged}/o"]

    run = CliRunner().invoke(root, [*arguments, "--experiments", f"{judged}/tried.txt"])

    assert run.exit_code == 2
    assert "--experiments needs --write-card" in run.output


def test_a_card_without_findings_can_still_be_read(card: Card) -> None:
    content = json.loads(card.json_text())
    del content["findings"]

    assert Card.parse(json.dumps(content), "an older release's").findings is None


@pytest.mark.parametrize("row", ["x" * 10_001, "\x1b[2J"])
def test_a_row_that_a_card_would_refuse_is_named_in_one_line(row: str, tmp_path: Path) -> None:
    path = tmp_path / "experiments.md"
    path.write_text(f"a good row\n\n{row}\n")
    with pytest.raises(TrainerError, match=r"^experiments .*/experiments\.md: the line '.*: String should ") as caught:
        read_experiments(path)
    assert len(str(caught.value)) < 500
