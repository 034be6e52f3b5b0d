"""A detector becomes an int8 network that is a detector of its own, which a folder, an evaluation and a worker use."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from trainer.cli import root
from trainer.detector import checkpoint
from trainer.detector.card import KEY, Card
from trainer.detector.model import Detector
from trainer.detector.scoring_network import QuantisedDetector
from trainer.errors import CheckpointError, ManifestError, TrainerError
from trainer.explain.attribution import explain
from trainer.judging.evaluate import EvaluationTerms
from trainer.pixels.known_pictures import known_pictures
from trainer.pixels.preprocess import decode
from trainer.runs.add_engine import add_engine
from trainer.runs.evaluate import evaluate_files
from trainer.runs.export import export_onnx
from trainer.runs.fuse import FusionOptions, fuse_files
from trainer.runs.quantise import FEWEST, QuantisationOptions, calibration_pictures, quantise_file
from trainer.runs.robustness import robustness_files
from worker.core.errors import ScoringError, UsageError
from worker.inference import engines
from worker.inference.scorer import Scorer, self_test

pytest.importorskip("nncf")
pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
REALS, FAKES = 20, 3


def write_manifest(at: Path, split_of_last: str = "train") -> Path:
    """Just enough pictures: reals and fakes to measure, and as many to calibrate on."""
    rows = ["path,label,engine,split,group"]
    for number in range(2 * (REALS + FAKES)):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((64, 64)).save(at / f"{number}.png")
        place, split = number % (REALS + FAKES), "eval" if number < REALS + FAKES else split_of_last
        rows.append(f"{number}.png,{'real,camera' if place < REALS else 'fake,SG1'},{split},{number}")
    path = at / "manifest.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_manifest(tmp_path_factory.mktemp("faces"))


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory, manifest: Path, tiny_checkpoint: Path) -> Path:
    """An int8 detector, and its files. Shared: not to be changed. Made by the command, as users make it."""
    out = tmp_path_factory.mktemp("int8") / "small-int8.safetensors"
    words = ["quantise", str(tiny_checkpoint), "--manifest", str(manifest), "--fpr", "0.05", "--out", str(out)]
    done = CliRunner().invoke(root, [*words, "--quiet"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["detector", "tiny", "small-int8"]
    return out


def loaded(path: Path) -> QuantisedDetector:
    detector, _ = checkpoint.load(path)
    assert isinstance(detector, QuantisedDetector)
    return detector


def test_its_card_says_of_what_it_was_made_and_how(int8: Path, tiny_checkpoint: Path) -> None:
    before, card = Card.read(tiny_checkpoint), Card.read(int8)
    assert card.quantised is not None
    assert (card.name, card.quantised.of.name) == ("small-int8", before.name)
    assert card.quantised.of.sha256 == checkpoint.file_sha256(tiny_checkpoint)
    assert card.quantised.calibrated_on == REALS + FAKES
    assert {"nncf", "openvino"} <= card.versions.keys()
    assert checkpoint.file_sha256(int8) != card.quantised.of.sha256


def test_its_network_computes_in_8_bits_and_its_head_in_32(int8: Path) -> None:
    model = loaded(int8).files.model()
    stored = [str(each.get_element_type()) for each in model.get_ops() if each.get_type_name() == "Constant"]
    rounded = [each.get_friendly_name() for each in model.get_ops() if each.get_type_name() == "FakeQuantize"]
    products = [each for each in model.get_ops() if each.get_type_name() == "MatMul"]
    assert any("int8" in kind for kind in stored), stored
    assert rounded
    assert products
    assert not [each for each in products if each.input_value(0).get_node().get_type_name() == "FakeQuantize"]


def test_its_scores_are_its_own_and_near_those_of_its_origin(int8: Path, tiny_checkpoint: Path) -> None:
    ours = Scorer.open(int8, "cpu").score(known_pictures())
    theirs = Scorer.open(tiny_checkpoint, "cpu", engine="eager").score(known_pictures())
    assert ours != pytest.approx(theirs, abs=1e-6), "not the float network's scores under another name"
    assert ours == pytest.approx(theirs, abs=0.05)


def test_an_evaluation_finds_the_card_s_own_reference_scores(int8: Path, manifest: Path, tmp_path: Path) -> None:
    found = evaluate_files(int8, manifest, tmp_path, EvaluationTerms(target_fpr=0.05), tmp_path / "cache", "cpu")
    reference = Card.read(int8).reference
    assert reference is not None
    np.testing.assert_allclose(found.scores["eval"]["real"], reference.scores, atol=2e-6)
    assert not list((tmp_path / "cache").glob("*")), "it has no embeddings to keep"


def test_a_worker_gives_the_scores_of_the_reference(int8: Path, manifest: Path) -> None:
    scorer = Scorer.open(int8, "cpu", checkpoint.file_sha256(int8))
    self_test(scorer)
    assert scorer.engine == "openvino-int8"
    reals = [decode((manifest.parent / f"{number}.png").read_bytes()).pixels for number in range(REALS)]
    reference = Card.read(int8).reference
    assert reference is not None
    assert sorted(scorer.score(reals)) == pytest.approx(reference.scores, abs=2e-6)


@pytest.mark.parametrize("name", ["eager", "graph"])
def test_other_engines_refuse_it_by_name(name: engines.Name, int8: Path) -> None:
    with pytest.raises(UsageError, match=f"UNMASK_ENGINE={name} cannot run an int8 model: set openvino or auto"):
        Scorer.open(int8, "cpu", engine=name)


def test_it_runs_on_no_gpu(int8: Path) -> None:
    with pytest.raises(UsageError, match="runs on a CPU, not on meta: set UNMASK_DEVICE=cpu"):
        engines.start_engine("auto", loaded(int8), torch.device("meta"))


def test_a_cpu_that_gives_other_scores_does_not_serve_it(int8: Path) -> None:
    detector = loaded(int8)
    detector.known_scores += 0.1
    with pytest.raises(ScoringError, match=r"scores differ by 0\.1 from those where it was made, more than 0\.02"):
        engines.start_engine("auto", detector, CPU)


def test_the_engine_that_recomputes_a_flag_is_the_one_that_made_it(int8: Path, tiny_checkpoint: Path) -> None:
    assert engines.reference_engine(Card.read(int8)) == "openvino"
    assert engines.reference_engine(Card.read(tiny_checkpoint)) == "eager"


def test_its_heatmaps_are_those_of_its_origin(int8: Path, tiny_checkpoint: Path, manifest: Path) -> None:
    pixels = decode((manifest.parent / "0.png").read_bytes()).pixels
    ours, theirs = (explain(checkpoint.load(path)[0], pixels) for path in (int8, tiny_checkpoint))
    np.testing.assert_array_equal(ours.attribution, theirs.attribution)


def test_a_folder_with_both_files_can_be_moved_and_a_missing_one_is_named(int8: Path, tmp_path: Path) -> None:
    shutil.copy(int8, tmp_path)
    (origin,) = checkpoint.key_files(tmp_path / int8.name, Card.read(int8))
    with pytest.raises(CheckpointError, match=f"needs {origin.name} in its folder"):
        checkpoint.load(tmp_path / int8.name)
    shutil.copy(int8.parent / origin.name, origin)
    checkpoint.load(tmp_path / int8.name)


@pytest.mark.parametrize(
    ("tensor", "words"), [("xml", "int8 network cannot be read"), (None, "no tensor 'head.int8.known_scores'")]
)
def test_a_broken_network_is_a_clear_error(tensor: str | None, words: str, int8: Path, tmp_path: Path) -> None:
    for file in int8.parent.iterdir():
        shutil.copy(file, tmp_path)
    with safe_open(int8, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    if tensor is None:
        del tensors["head.int8.known_scores"]
    else:
        tensors[f"head.int8.{tensor}"] = tensors[f"head.int8.{tensor}"][:100].clone()
    save_file(tensors, tmp_path / "broken.safetensors", metadata={KEY: Card.read(int8).json_text()})
    with pytest.raises(CheckpointError, match=words):
        Scorer.open(tmp_path / "broken.safetensors", "cpu")


def test_what_needs_embeddings_or_pytorch_names_its_origin(int8: Path, manifest: Path, tmp_path: Path) -> None:
    again, fusion = tmp_path / "again.safetensors", FusionOptions("two", 0.05, tmp_path, "cpu")
    for asked in (
        lambda: robustness_files(int8, manifest, tmp_path),
        lambda: evaluate_files(int8, manifest, tmp_path, EvaluationTerms(leave_out=("engine",))),
        lambda: export_onnx(int8, tmp_path / "d.onnx"),
        lambda: fuse_files((int8, int8), [manifest], again, fusion),
        lambda: add_engine("new", manifest.parent, int8, again),
        lambda: loaded(int8).embed(torch.zeros(1, 512, 512, 3)),
    ):
        with pytest.raises(TrainerError, match=r"int8.*(tiny|name the checkpoint)"):
            asked()
    with pytest.raises(CheckpointError, match="in int8 already"):
        quantise_file(int8, [manifest], again, QuantisationOptions("again", 0.05))


def test_too_few_pictures_are_refused_before_any_is_scored(tiny_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "int8.safetensors"
    manifest = write_manifest(tmp_path, "eval")
    with pytest.raises(ManifestError, match=f"{FEWEST} or more pictures in split train, 0 given"):
        quantise_file(tiny_checkpoint, [manifest], out, QuantisationOptions("int8", 0.05))
    write_manifest(tmp_path)
    with pytest.raises(ManifestError, match=r"an FPR of 0\.001 needs 1000 real photos in split eval, 20 given"):
        quantise_file(tiny_checkpoint, [manifest], out, QuantisationOptions("int8", 0.001))
    assert not out.exists()


def test_calibration_takes_reals_and_fakes_in_turn_and_the_same_ones_each_time(manifest: Path) -> None:
    from trainer.data.manifest import read_manifests

    chosen = calibration_pictures(read_manifests([manifest]), FEWEST)
    assert [each.fake for each in chosen[:6]] == [False, True] * 3
    assert {each.split for each in chosen} == {"train"}
    assert calibration_pictures(read_manifests([manifest]), FEWEST) == chosen


def test_a_float_detector_still_gives_embeddings(tiny_checkpoint: Path) -> None:
    detector = checkpoint.load(tiny_checkpoint)[0]
    assert type(detector) is Detector
