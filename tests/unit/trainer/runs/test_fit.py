"""A whole run: from a manifest to a checkpoint that loads again, with the log of its fit beside it."""

import csv
import hashlib
import math
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from trainer.detector import checkpoint
from trainer.detector.card import Card
from trainer.detector.embedding import input_fingerprint
from trainer.detector.model import Detector, build_backbone, count_trainable_parameters
from trainer.detector.weights import LITE1, PretrainedBackbone, weights_sha256
from trainer.errors import ManifestError, WeightsError
from trainer.fitting.loop import Recipe
from trainer.pixels.preprocess import decode
from trainer.runs.fit import fit as train
from trainer.runs.run_config import RunConfig

#: A backbone of timm's own tests: 0.1 million parameters.
TINY = "test_efficientnet"
RECIPE = Recipe(steps=20, batch=4, seed=3)
QUICK = replace(RECIPE, steps=4)


def picture(path: Path, *, fake: bool, seed: int) -> None:
    """Reals are smooth, fakes are noise; uncompressed, so that all files are of one size and the guard is content."""
    y, x = np.mgrid[:32, :32]
    smooth = np.stack([x * 4 + seed, y * 4 + seed // 256, x + y], axis=2)
    noise = np.random.default_rng(seed).integers(0, 256, (32, 32, 3))
    Image.fromarray((noise if fake else smooth).astype(np.uint8)).save(path, compress_level=0)


def write_manifest(folder: Path, eval_reals: int = 0, eval_fakes: int = 0) -> Path:
    """Ten pictures to train on, and if asked others to judge by."""
    rows = ["path,label,engine,split"]
    for number in range(10):
        fake = number % 2 == 1
        picture(folder / f"{number}.png", fake=fake, seed=number)
        rows.append(f"{number}.png,{'fake,SG1' if fake else 'real,camera'},train")
    for fake, count in ((False, eval_reals), (True, eval_fakes)):
        for number in range(count):
            name = f"eval-{'fake' if fake else 'real'}-{number}.png"
            picture(folder / name, fake=fake, seed=1000 + number)
            rows.append(f"{name},{'fake,MJ' if fake else 'real,camera'},eval")
    path = folder / "manifest.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """A run listens to SIGTERM; a test gives it back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest with a split to train on and none to judge by. Shared: not to be changed."""
    return write_manifest(tmp_path_factory.mktemp("faces"))


@pytest.fixture(scope="module")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights for the tiny backbone."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(build_backbone(TINY).state_dict(), path)
    return path


@pytest.fixture
def plan(data: Path, tiny_weights: Path, tmp_path: Path) -> RunConfig:
    """A quick run, self-contained."""
    cache = data.parent / "embeddings"
    return RunConfig(data, tmp_path / "out", QUICK, backbone=TINY, weights=str(tiny_weights), cache=cache)


@pytest.fixture(scope="module")
def lite1_run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on Lite1, stored as the shipped detector is: the head alone, in 16 bits."""
    out = tmp_path_factory.mktemp("run") / "new" / "folder"
    plan = RunConfig(
        data, out, RECIPE, backbone=LITE1, head_only=True, half=True, name="tiny", licence="CC0", cache=out / "cache"
    )
    assert train(plan) == out / "checkpoint.safetensors"
    return out


@pytest.fixture
def rewrite(tmp_path: Path) -> Callable[[Callable[[str], str]], Path]:
    """Pictures and a manifest of their own for one test, which may change the table."""

    def write(change: Callable[[str], str]) -> Path:
        path = write_manifest(tmp_path)
        path.write_text(change(path.read_text()))
        return path

    return write


def scores(detector: Detector, *paths: Path) -> list[float]:
    pixels = torch.from_numpy(np.stack([decode(path.read_bytes()).pixels for path in paths]))
    with torch.inference_mode():
        return [float(score) for score in torch.sigmoid(detector(pixels))]


def log_of(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


class TestARunOnLite1:
    def test_it_writes_a_checkpoint_that_loads_again(self, lite1_run: Path, lite1: PretrainedBackbone) -> None:
        detector, card = checkpoint.load(lite1_run / "checkpoint.safetensors")

        assert count_trainable_parameters(detector) == card.head.parameters == 6_821_889
        assert weights_sha256(detector.backbone) == card.backbone.sha256 == lite1.sha256
        assert (card.backbone.name, card.backbone.included) == (LITE1, False)
        files = {"checkpoint.safetensors", "checkpoint.support", "state.safetensors", "log.csv", "cache"}
        assert {path.name for path in lite1_run.iterdir()} == files

    def test_the_head_alone_is_stored_in_16_bits(self, lite1_run: Path) -> None:
        tensors = load_file(lite1_run / "checkpoint.safetensors")

        assert {name.split(".")[0] for name in tensors} == {"head"}
        weights = {value.dtype for name, value in tensors.items() if name.endswith((".weight", ".bias"))}
        assert weights == {torch.float16}

    def test_it_tells_fakes_from_reals_already(self, lite1_run: Path, data: Path) -> None:
        detector, _ = checkpoint.load(lite1_run / "checkpoint.safetensors")

        real, fake = scores(detector, data.parent / "0.png", data.parent / "1.png")

        assert real < fake

    def test_it_logs_each_steps_loss(self, lite1_run: Path) -> None:
        log = log_of(lite1_run)
        losses = [float(row["loss"]) for row in log]
        card = Card.read(lite1_run / "checkpoint.safetensors")

        assert [row["step"] for row in log] == [str(step) for step in range(1, 21)]
        assert losses[0] == pytest.approx(math.log(2), abs=0.2)
        assert card.training.final_loss == pytest.approx(sum(losses) / 20, rel=1e-3)

    def test_the_card_says_how_the_detector_was_made(self, lite1_run: Path, data: Path) -> None:
        card = Card.read(lite1_run / "checkpoint.safetensors")

        assert (card.name, card.licence, card.data.licence) == ("tiny", "CC0", "CC0")
        assert card.preprocess == input_fingerprint(512, card.backbone.mean, card.backbone.std)
        assert (card.input_size, card.interpolation) == (512, "bilinear")
        assert (card.training.steps, card.training.batch, card.training.seed) == (20, 4, 3)
        assert card.data.manifest_sha256 == hashlib.sha256(data.read_bytes()).hexdigest()
        assert card.data.counts == {"train": {"SG1": 5, "camera": 5}}
        assert (card.quality, card.reference) == (None, None)
        assert {"torch", "timm", "pillow", "numpy", "python"} <= card.versions.keys()
        assert "person" in card.intended_use


class TestStoring:
    @pytest.mark.parametrize("half", [False, True])
    def test_a_self_contained_checkpoint_loads_without_the_weights_it_came_from(
        self, half: bool, plan: RunConfig
    ) -> None:
        detector, card = checkpoint.load(train(replace(plan, half=half)))

        assert card.backbone.included
        assert card.backbone.sha256 == weights_sha256(detector.backbone)
        assert card.backbone.weights == "tiny.safetensors"
        assert card.backbone.embedding_size == 256

    def test_the_same_plan_gives_the_same_tensors(self, plan: RunConfig, tmp_path: Path) -> None:
        first, again = (load_file(train(replace(plan, out=tmp_path / name))) for name in ("first", "again"))

        assert first.keys() == again.keys()
        assert all(torch.equal(value, again[name]) for name, value in first.items())

    def test_another_seed_gives_another_head_on_the_same_backbone(self, plan: RunConfig, tmp_path: Path) -> None:
        other = replace(plan, out=tmp_path / "other", recipe=replace(QUICK, seed=4))
        one, two = load_file(train(plan)), load_file(train(other))

        changed = {name for name, value in one.items() if not torch.equal(value, two[name])}
        assert changed == {name for name in one if name.startswith("head.layers.")}


class TestJudging:
    def test_the_reference_holds_the_scores_of_the_detector_as_it_is_stored(
        self, plan: RunConfig, tmp_path: Path
    ) -> None:
        manifest = write_manifest(tmp_path, eval_reals=3, eval_fakes=1)
        bold = replace(QUICK, learning_rate=0.003)  # far enough from 0.5 for 16 bits to make a difference

        detector, card = checkpoint.load(train(replace(plan, manifest=manifest, recipe=bold, half=True)))

        reals = scores(detector, *(tmp_path / f"eval-real-{number}.png" for number in range(3)))
        assert card.reference is not None
        assert card.reference.scores == pytest.approx(sorted(reals), abs=5e-7)
        assert card.data.counts["eval"] == {"MJ": 1, "camera": 3}
        assert card.quality is None, "three reals show no rate: that costs nobody the fit"

    def test_what_is_held_out_is_never_trained_on(self, plan: RunConfig, tmp_path: Path) -> None:
        with_eval = write_manifest(tmp_path, eval_reals=2, eval_fakes=2)

        one = load_file(train(plan))
        two = load_file(train(replace(plan, manifest=with_eval, out=tmp_path / "two")))

        assert all(torch.equal(value, two[name]) for name, value in one.items())


class TestTheSameCommandAgain:
    def test_a_finished_run_is_left_as_it_is(self, plan: RunConfig) -> None:
        path = train(plan)
        before = path.read_bytes(), path.stat().st_mtime_ns, (plan.out / "log.csv").read_bytes()

        assert train(plan) == path
        assert (path.read_bytes(), path.stat().st_mtime_ns, (plan.out / "log.csv").read_bytes()) == before

    @pytest.mark.parametrize("change", [{"half": True}, {"recipe": replace(QUICK, seed=4)}, {"name": "other"}])
    def test_another_run_does_not_overwrite_it(self, change: dict[str, Any], plan: RunConfig) -> None:
        before = train(plan).read_bytes()

        message = (
            r"checkpoint\.safetensors is of a run with other settings or pictures "
            r"\((half False -> True|seed 3 -> 4|name detector -> other)\): choose another --out"
        )
        with pytest.raises(ManifestError, match=message):
            train(replace(plan, **change))

        assert (plan.out / "checkpoint.safetensors").read_bytes() == before

    def test_it_says_that_it_is_finished(self, plan: RunConfig, capsys: pytest.CaptureFixture[str]) -> None:
        for _ in range(2):
            train(plan)

        assert f"{plan.out}/checkpoint.safetensors is finished: it has all 4 steps" in capsys.readouterr().err

    def test_with_more_steps_it_goes_on_and_gives_the_tensors_of_one_run(self, plan: RunConfig, tmp_path: Path) -> None:
        longer = replace(plan, recipe=replace(QUICK, steps=7), half=True)
        first = train(replace(plan, half=True))
        state = plan.out / "state.safetensors"

        continued, log = load_file(train(longer)), log_of(plan.out)
        whole = load_file(train(replace(longer, out=tmp_path / "whole")))

        assert state.exists()
        assert all(torch.equal(value, continued[name]) for name, value in whole.items())
        assert log == log_of(tmp_path / "whole")
        assert (Card.read(first).training.steps, Card.read(first).training.steps_asked) == (7, 7)

    def test_with_fewer_steps_it_is_refused(self, plan: RunConfig) -> None:
        train(plan)

        with pytest.raises(ManifestError, match=r"has 4 steps, more than --steps 3: choose another --out"):
            train(replace(plan, recipe=replace(QUICK, steps=3)))

    def test_what_cannot_go_on_says_why(self, plan: RunConfig) -> None:
        train(plan)
        (plan.out / "state.safetensors").unlink()

        with pytest.raises(ManifestError, match=r"cannot be continued, because state\.safetensors beside it is gone"):
            train(replace(plan, recipe=replace(QUICK, steps=5)))


class TestWatching:
    def test_what_is_held_out_is_watched_and_changes_nothing(self, plan: RunConfig, tmp_path: Path) -> None:
        manifest = write_manifest(tmp_path, eval_reals=3, eval_fakes=2)

        train(plan)
        train(replace(plan, manifest=manifest, out=tmp_path / "watched"))

        bare, watched = log_of(plan.out), log_of(tmp_path / "watched")
        assert list(bare[0]) == ["step", "loss"]
        assert [row["loss"] for row in bare] == [row["loss"] for row in watched]
        assert [bool(row["validation_loss"]) for row in watched] == [False, False, False, True]
        assert float(watched[-1]["validation_loss"]) == pytest.approx(math.log(2), abs=0.2)
        assert 0 <= float(watched[-1]["validation_auc"]) <= 1

    def test_class_weights_change_the_fit_and_are_in_the_card(self, plan: RunConfig, tmp_path: Path) -> None:
        one, other = (
            train(replace(plan, out=tmp_path / weights.replace(":", "-"), class_weights=weights))
            for weights in ("none", "5:1")
        )

        assert Card.read(other).training.class_weights == (5.0, 1.0)
        assert any(not torch.equal(value, load_file(other)[name]) for name, value in load_file(one).items())


class TestAsALibrary:
    def test_the_processs_signal_handlers_are_left_as_they_were(self, plan: RunConfig) -> None:
        def mine(_number: int, _frame: object) -> None:
            return None

        signal.signal(signal.SIGTERM, mine)
        train(plan)
        assert signal.getsignal(signal.SIGTERM) is mine
        with pytest.raises(ManifestError):
            train(replace(plan, manifest=plan.out / "none.csv"))
        assert signal.getsignal(signal.SIGTERM) is mine

    def test_torchs_threads_and_random_state_are_left_as_they_were(
        self, plan: RunConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 1})
        before = torch.get_num_threads(), torch.random.get_rng_state().tolist()

        train(plan)

        assert (torch.get_num_threads(), torch.random.get_rng_state().tolist()) == before

    def test_it_runs_in_a_thread_that_may_set_no_handlers(self, plan: RunConfig) -> None:
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(train, plan).result().exists()


class TestBesideTheCheckpoint:
    def test_the_config_is_written_once_the_run_is_taken_on(self, plan: RunConfig) -> None:
        train(replace(plan, config_toml="steps = 4\n"))
        with pytest.raises(ManifestError):
            train(replace(plan, name="other", config_toml="steps = 5\n"))

        assert (plan.out / "config.toml").read_text() == "steps = 4\n"

    def test_tensorboard_is_written_where_it_is_asked_for(self, plan: RunConfig) -> None:
        pytest.importorskip("tensorboard")
        train(replace(plan, track="tensorboard"))

        assert len(list((plan.out / "tensorboard").glob("events.out.tfevents.*"))) == 1


class TestRefusals:
    def test_unreadable_pictures_can_be_skipped_which_the_card_records(
        self,
        plan: RunConfig,
        rewrite: Callable[[Callable[[str], str]], Path],
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        manifest = rewrite(lambda text: text + "gone.png,real,camera,train\n")
        (tmp_path / "7.png").write_bytes((tmp_path / "7.png").read_bytes()[:500])

        card = Card.read(train(replace(plan, manifest=manifest, skip_unreadable=True)))

        assert card.data.skipped == 2
        assert card.data.counts == {"train": {"SG1": 4, "camera": 5}}
        assert "2 pictures are left out" in caplog.text
        assert f"{tmp_path}/7.png: truncated" in caplog.text
        assert f"{tmp_path}/gone.png: the file is missing" in caplog.text

    def test_an_unreadable_picture_is_named(
        self, plan: RunConfig, rewrite: Callable[[Callable[[str], str]], Path], tmp_path: Path
    ) -> None:
        manifest = rewrite(lambda text: text)
        (tmp_path / "7.png").write_bytes((tmp_path / "7.png").read_bytes()[:500])

        with pytest.raises(ManifestError, match=rf"cannot be used .*{tmp_path}/7\.png: truncated"):
            train(replace(plan, manifest=manifest))

        assert not (plan.out / "checkpoint.safetensors").exists()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda text: text.replace("fake", "real"), "has no fake pictures"),
            (lambda text: text.replace("real", "fake"), "has no real pictures"),
            (lambda text: text.replace(",train", ",eval"), "split train must hold real and fake pictures"),
        ],
        ids=["only real", "only fake", "nothing"],
    )
    def test_a_split_without_both_kinds_is_refused(
        self,
        change: Callable[[str], str],
        message: str,
        plan: RunConfig,
        rewrite: Callable[[Callable[[str], str]], Path],
    ) -> None:
        with pytest.raises(ManifestError, match=message):
            train(replace(plan, manifest=rewrite(change)))

        assert not (plan.out / "checkpoint.safetensors").exists()

    def test_a_split_is_judged_before_weights_are_fetched(
        self, plan: RunConfig, rewrite: Callable[[Callable[[str], str]], Path]
    ) -> None:
        manifest = rewrite(lambda text: text.replace(",train", ",eval"))

        with pytest.raises(ManifestError, match="split train"):
            train(replace(plan, manifest=manifest, backbone="no network", weights=None))

    def test_an_unknown_backbone_is_named(self, plan: RunConfig) -> None:
        with pytest.raises(WeightsError, match="'efficientnet_b99' is not a network that timm knows"):
            train(replace(plan, backbone="efficientnet_b99"))

    def test_a_missing_manifest_is_named(self, plan: RunConfig, tmp_path: Path) -> None:
        with pytest.raises(ManifestError, match=r"none\.csv does not exist"):
            train(replace(plan, manifest=tmp_path / "none.csv"))
