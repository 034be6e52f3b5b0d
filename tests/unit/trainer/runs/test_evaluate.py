"""A checkpoint and a manifest become metrics.json: each picture once, the same on two ranks as on one."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainer.data.shortcut_guard import ShortcutOptions
from trainer.detector import checkpoint
from trainer.detector.card import TRAINED, Card
from trainer.detector.model import Detector
from trainer.errors import ManifestError, TrainerError
from trainer.judging.evaluate import EvaluationTerms
from trainer.judging.results import Evaluation
from trainer.pixels.preprocess import decode
from trainer.runs.evaluate import evaluate_files

#: ``engine, split, pictures``: an odd number, so that two ranks have unequal shares.
PICTURES = [
    ("camera", "train", 4),
    ("SG1", "train", 2),
    ("SG2", "train", 2),
    ("camera", "eval", 5),
    ("SG1", "eval", 3),
    ("MJ", "eval", 3),
    ("MJ", "spare", 1),
]
TERMS = EvaluationTerms(target_fpr=0.2, leave_out=("engine",), folds=2, refit_steps=3)
DRIVER = """
import sys
from pathlib import Path
from trainer.judging.evaluate import EvaluationTerms
from trainer.runs.evaluate import evaluate_files
checkpoint, manifest, out = map(Path, sys.argv[1:])
terms = EvaluationTerms(target_fpr=0.2, leave_out=("engine",), folds=2, refit_steps=3)
evaluate_files(checkpoint, manifest, out, terms, out / "cache", "cpu")
"""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pictures of noise, in a table with a column of cohorts. Shared: not to be changed."""
    folder = tmp_path_factory.mktemp("faces")
    rows = ["path,label,engine,split,group,region"]
    for engine, split, count in PICTURES:
        for number in range(count):
            name = f"{split}-{engine}-{number}.png"
            noise = np.random.default_rng(len(rows)).integers(0, 256, (32, 32, 3))
            Image.fromarray(noise.astype(np.uint8)).save(folder / name)
            label = "real" if engine == "camera" else "fake"
            rows.append(f"{name},{label},{engine},{split},{name},{'north' if number % 2 else 'south'}")
    path = folder / "manifest.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def saved(small: Detector, card: Card, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small detector, which knows SG1, as a file of its head alone. Shared: not to be changed."""
    counts = {"train": {"camera": 4, "SG1": 2, "SG2": 2}}
    path = tmp_path_factory.mktemp("model") / "checkpoint.safetensors"
    checkpoint.save(small, card.model_copy(update={"data": card.data.model_copy(update={"counts": counts})}), path)
    return path


@pytest.fixture(scope="module")
def run(saved: Path, manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Path]:
    """An evaluation by this process, and its folder."""
    out = tmp_path_factory.mktemp("one") / "new" / "folder"
    return evaluate_files(saved, manifest, out, TERMS, out / "cache", "cpu"), out


def test_metrics_json_is_the_whole_evaluation(run: tuple[Evaluation, Path], saved: Path) -> None:
    evaluation, out = run

    assert Evaluation.read(out / "metrics.json") == evaluation
    assert json.loads((out / "metrics.json").read_text())["checkpoint_sha256"] == checkpoint.file_sha256(saved)
    files = ["cache", "gallery.html", "metrics.json", "scores.csv"]
    assert sorted(path.name for path in out.iterdir()) == files, "no scratch files"


def test_every_picture_is_judged_once_where_it_belongs(run: tuple[Evaluation, Path]) -> None:
    evaluation, _ = run

    counts = {split: {name: len(of) for name, of in engines.items()} for split, engines in evaluation.scores.items()}
    assert counts == {"train": {"real": 4, "SG1": 2, "SG2": 2}, "eval": {"real": 5, "SG1": 3, "MJ": 3}}
    assert {row.name: row.fakes for row in evaluation.conditions} == {
        "training": 4,
        "in-engine": 3,
        "out-of-engine": 3,
    }
    assert {(row.column, row.value, row.reals) for row in evaluation.cohorts} == {
        ("region", "south", 3),
        ("region", "north", 2),
    }


def test_scores_are_those_of_the_detector(run: tuple[Evaluation, Path], saved: Path, manifest: Path) -> None:
    detector, _ = checkpoint.load(saved)
    pixels = [decode((manifest.parent / f"eval-MJ-{number}.png").read_bytes()).pixels for number in range(3)]
    with torch.inference_mode():
        expected = torch.sigmoid(detector(torch.from_numpy(np.stack(pixels)))).tolist()

    assert run[0].scores["eval"]["MJ"] == pytest.approx(sorted(expected), abs=2e-6)


def test_the_engine_that_can_be_left_out_is(run: tuple[Evaluation, Path]) -> None:
    found = run[0].left_out

    assert found is not None
    assert [(row.name, row.fakes, row.reals) for row in found.fakes] == [("SG1", 5, 9), ("SG2", 2, 9)]


@pytest.mark.parametrize(
    ("trained", "judged", "embedded"), [(False, True, 19), (True, True, 19), (True, False, 19 + 8)]
)
def test_refits_see_pictures_normalised_as_training_and_judging_do(
    trained: bool, judged: bool, embedded: int, small: Detector, card: Card, manifest: Path, tmp_path: Path
) -> None:
    training = card.training.model_copy(update={"normalised": trained})
    checkpoint.save(small, card.model_copy(update={"training": training}), tmp_path / "c.safetensors")

    evaluate_files(
        tmp_path / "c.safetensors",
        manifest,
        tmp_path,
        TERMS,
        tmp_path / "cache",
        "cpu",
        ShortcutOptions(normalise=judged),
    )

    keys = [key for path in (tmp_path / "cache").glob("*/*.keys") for key in np.load(path)]
    assert len(keys) == embedded, "those that were judged, and the eight to train on where these look otherwise"


@pytest.mark.slow
def test_two_ranks_write_the_same_bytes_as_one(
    run: tuple[Evaluation, Path], saved: Path, manifest: Path, tmp_path: Path
) -> None:
    driver, out = tmp_path / "driver.py", tmp_path / "two"
    driver.write_text(DRIVER)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

    done = subprocess.run(
        [*torchrun, driver, saved, manifest, out],
        capture_output=True,
        text=True,
        timeout=150,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[4])},
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert (out / "metrics.json").read_bytes() == (run[1] / "metrics.json").read_bytes()
    assert len(list((out / "cache").glob("*/*.keys"))) == 2, "each rank embedded a share"


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (EvaluationTerms(threshold="card"), "has no threshold"),
        (EvaluationTerms(cohorts=("country",)), "no column country: it has region"),
        (EvaluationTerms(leave_out=("engine",), folds=2), "no engine can be left out"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_before_any_work(
    terms: EvaluationTerms, message: str, saved: Path, manifest: Path, tmp_path: Path
) -> None:
    alone = manifest.with_name("alone.csv")
    alone.write_text("\n".join(row for row in manifest.read_text().splitlines() if "SG2" not in row) + "\n")

    with pytest.raises(TrainerError, match=message):
        evaluate_files(saved, alone, tmp_path / "out", terms, tmp_path / "cache", "cpu")

    assert list(tmp_path.iterdir()) == []


def test_no_engine_is_left_out_of_a_detector_whose_backbone_has_seen_it(
    small: Detector, card: Card, manifest: Path, tmp_path: Path
) -> None:
    backbone = card.backbone.model_copy(update={"weights": f"{card.backbone.weights}{TRAINED}last:1"})
    checkpoint.save(small, card.model_copy(update={"backbone": backbone}), tmp_path / "c.safetensors")

    with pytest.raises(TrainerError, match=r"--leave-out .* was trained with --unfreeze .*last:1"):
        evaluate_files(tmp_path / "c.safetensors", manifest, tmp_path / "out", TERMS, tmp_path / "cache", "cpu")

    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]


def test_scores_csv_has_a_row_for_each_held_out_picture(run: tuple[Evaluation, Path], manifest: Path) -> None:
    evaluation, out = run
    with (out / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    assert list(rows[0]) == ["path", "label", "engine", "source", "score", "flagged"]
    expected = [row.split(",")[0] for row in manifest.read_text().splitlines() if ",eval," in row]
    assert [row["path"] for row in rows] == expected
    for row in rows:
        assert row["flagged"] == str(int(float(row["score"]) >= evaluation.threshold))
        assert row["engine"] in row["path"]
    assert sum(row["flagged"] == "1" for row in rows if row["label"] == "real") == evaluation.flagged


def test_the_confusion_counts_every_held_out_face(run: tuple[Evaluation, Path]) -> None:
    evaluation, out = run
    found = evaluation.confusion

    assert found.reals_flagged + found.reals_passed == evaluation.reals == 5
    assert found.fakes_flagged + found.fakes_passed == 6
    assert json.loads((out / "metrics.json").read_text())["confusion"] == found.model_dump()


def test_the_gallery_shows_the_highest_reals_and_the_lowest_fakes_of_each_engine(run: tuple[Evaluation, Path]) -> None:
    page = (run[1] / "gallery.html").read_text()
    places = [page.index(title) for title in ("Real photos with the highest", ">MJ</bdi>", ">SG1</bdi>")]

    assert places == sorted(places)
    assert page.count("data:image/jpeg;base64,") == 11
    assert "<details>" not in page, "heatmaps are drawn where they are asked for"


@pytest.mark.slow
def test_heatmaps_are_drawn_where_they_are_asked_for(
    saved: Path, manifest: Path, run: tuple[Evaluation, Path], tmp_path: Path
) -> None:
    terms = replace(TERMS, leave_out=(), heatmaps=1)

    evaluate_files(saved, manifest, tmp_path, terms, run[1] / "cache", "cpu")

    assert (tmp_path / "gallery.html").read_text().count("<details>") == 3, "of the reals and of both engines"


def test_pictures_that_cannot_be_used_are_left_out_where_that_is_asked_for(
    saved: Path, manifest: Path, run: tuple[Evaluation, Path], tmp_path: Path
) -> None:
    dirty = manifest.with_name("dirty.csv")
    dirty.write_text(manifest.read_text() + "gone.png,real,camera,eval,gone,north\n")
    terms = replace(TERMS, leave_out=())

    with pytest.raises(ManifestError, match="1 missing files"):
        evaluate_files(saved, dirty, tmp_path, terms, run[1] / "cache", "cpu")
    found = evaluate_files(saved, dirty, tmp_path, replace(terms, skip_unreadable=True), run[1] / "cache", "cpu")

    assert (found.skipped, found.reals) == (1, 5)


def test_a_manifest_without_held_out_reals_is_refused(saved: Path, manifest: Path, tmp_path: Path) -> None:
    unreal = manifest.with_name("unreal.csv")
    unreal.write_text("\n".join(r for r in manifest.read_text().splitlines() if "eval-camera" not in r) + "\n")

    with pytest.raises(ManifestError, match="no real pictures in split eval"):
        evaluate_files(saved, unreal, tmp_path / "out")


def test_a_file_that_is_no_evaluation_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{}")

    with pytest.raises(TrainerError, match=r"metrics\.json is not a valid evaluation result"):
        Evaluation.read(tmp_path / "metrics.json")
    with pytest.raises(TrainerError, match=r"none\.json cannot be read: No such file"):
        Evaluation.read(tmp_path / "none.json")
