"""Two checkpoints become one that is measured as a whole, and that a folder, an evaluation and a worker can use."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from trainer.cli import root
from trainer.detector import checkpoint
from trainer.detector.card import Card
from trainer.detector.fusion import LEAST_REALS, FusedDetector, fuse
from trainer.errors import CheckpointError, ManifestError, TrainerError
from trainer.judging.evaluate import EvaluationTerms
from trainer.pixels.preprocess import decode
from trainer.runs.evaluate import evaluate_files
from trainer.runs.fuse import FusionOptions, fuse_files, fusion_table
from trainer.runs.robustness import robustness_files

pytestmark = pytest.mark.slow

FAKES = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fused")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Just enough pictures. Shared: not to be changed."""
    at = tmp_path_factory.mktemp("faces")
    rows = ["path,label,engine,split,group"]
    for number in range(LEAST_REALS + FAKES):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((64, 64)).save(at / f"{number}.png")
        rows.append(f"{number}.png,{'real,camera' if number < LEAST_REALS else 'fake,SG1'},eval,{number}")
    path = at / "manifest.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def fused(folder: Path, manifest: Path, tiny_checkpoint: Path, other_checkpoint: Path) -> Path:
    """A detector with two keys, and its files. Shared: not to be changed."""
    out = folder / "two-keys.safetensors"
    found = fuse_files((tiny_checkpoint, other_checkpoint), [manifest], out, options(folder))
    assert list(found) == ["tiny", "other", "two keys"]
    assert [row["fakes"] for row in fusion_table(found)] == [FAKES] * 3
    return out


def options(folder: Path, target_fpr: float = 0.05) -> FusionOptions:
    return FusionOptions("two keys", target_fpr, folder / "cache", "cpu")


def test_its_score_is_the_smaller_of_both_scaled_ones(fused: Path, manifest: Path) -> None:
    detector, card = checkpoint.load(fused)
    assert isinstance(detector, FusedDetector)
    pixels = torch.from_numpy(np.array(decode((manifest.parent / "0.png").read_bytes()).pixels))[None]
    with torch.inference_mode():
        alone = torch.stack([key(pixels) for key in detector.detectors()])
        torch.testing.assert_close(detector(pixels), fuse(alone, detector.scales))
    assert card.fusion is not None
    assert [key.name for key in card.fusion.keys] == ["tiny", "other"]


def test_the_card_has_each_key_s_own_scores_of_the_same_reals(fused: Path) -> None:
    card = Card.read(fused)
    assert card.fusion is not None
    assert card.fusion.references is not None
    assert [len(scores) for scores in card.fusion.references] == [LEAST_REALS] * 2
    assert card.fusion.references[0] != card.fusion.references[1]


def test_an_evaluation_finds_the_card_s_own_reference_scores(fused: Path, manifest: Path, folder: Path) -> None:
    found = evaluate_files(
        fused, manifest, folder / "evaluation", EvaluationTerms(target_fpr=0.05), folder / "cache", "cpu"
    )
    reference = Card.read(fused).reference
    assert reference is not None
    np.testing.assert_allclose(found.scores["eval"]["real"], reference.scores, atol=2e-6)


def test_a_folder_with_all_three_files_can_be_moved(fused: Path, tmp_path: Path) -> None:
    for file in [fused, *checkpoint.key_files(fused, Card.read(fused))]:
        shutil.copy(file, tmp_path)
    checkpoint.load(tmp_path / fused.name)


def test_a_missing_or_changed_key_is_named(fused: Path, tmp_path: Path) -> None:
    shutil.copy(fused, tmp_path)
    first, second = checkpoint.key_files(tmp_path / fused.name, Card.read(fused))
    with pytest.raises(CheckpointError, match=f"needs {first.name} in its folder"):
        checkpoint.load(tmp_path / fused.name)
    shutil.copy(fused.parent / first.name, first)
    shutil.copy(fused.parent / first.name, second)
    with pytest.raises(CheckpointError, match=f"not the registered {second.stem}"):
        checkpoint.load(tmp_path / fused.name)


def test_keys_of_keys_and_twice_the_same_key_are_refused(
    fused: Path, manifest: Path, tiny_checkpoint: Path, folder: Path
) -> None:
    for pair, words in [
        ((tiny_checkpoint, fused), "two keys itself"),
        ((tiny_checkpoint,) * 2, "two keys must differ"),
    ]:
        with pytest.raises(CheckpointError, match=words):
            fuse_files(pair, [manifest], folder / "again.safetensors", options(folder))


def test_a_rate_that_the_reals_cannot_show_is_refused(
    manifest: Path, tiny_checkpoint: Path, other_checkpoint: Path, folder: Path
) -> None:
    with pytest.raises(ManifestError, match="need 1000 real photos in split eval, 200 given"):
        fuse_files((tiny_checkpoint, other_checkpoint), [manifest], folder / "x.safetensors", options(folder, 0.001))


def test_what_measures_one_detector_says_so(fused: Path, manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="has two keys"):
        robustness_files(fused, manifest, tmp_path)
    with pytest.raises(TrainerError, match="has two keys"):
        evaluate_files(fused, manifest, tmp_path, EvaluationTerms(leave_out=("engine",)))


def test_the_command_prints_what_each_key_and_both_find(
    manifest: Path, tiny_checkpoint: Path, other_checkpoint: Path, folder: Path
) -> None:
    words = ["fuse", str(tiny_checkpoint), str(other_checkpoint), "--manifest", str(manifest), "--fpr", "0.05"]
    places = ["--out", str(folder / "by-command.safetensors"), "--cache", str(folder / "cache"), "--device", "cpu"]
    done = CliRunner().invoke(root, [*words, *places, "--quiet"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["detector", "tiny", "other", "by-command"]
