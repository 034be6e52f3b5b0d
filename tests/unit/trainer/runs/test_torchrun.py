"""Real processes that fit: two ranks as one, killed and started again, asked to end, and a rank that is lost."""

import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from trainer.detector.model import build_backbone

REPOSITORY = Path(__file__).parents[4]
#: A backbone of timm's own tests: 0.1 million parameters.
TINY = "test_efficientnet"
#: More than lie between two snapshots.
STEPS = 300
PICTURES = 60
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
#: How long a lost rank may go unnoticed, here: less than in production.
LOST_S = 15
#: How long a process may take that takes seconds on a machine of its own.
PATIENCE_S = 600
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * PATIENCE_S)]
#: Steps between two snapshots, here: fewer than in production.
OFTEN = 20
#: ``python -m trainer``, but for these.
DRIVER = f"""
import sys
from trainer import progress
from trainer.distributed import heartbeat
from trainer.fitting import loop
from trainer.cli import root
heartbeat.BEAT_S, heartbeat.LOST_S, loop.STEPS_PER_SNAPSHOT, progress.LINE_S = 1, {LOST_S}, {OFTEN}, 0.01
root(sys.argv[1:], prog_name="trainer")
"""


@dataclass(frozen=True)
class Faces:
    """A folder with pictures to train on, their manifest, and weights for the tiny backbone."""

    folder: Path

    def fit(self, out: Path, *more: str) -> list[str]:
        """A command's words from ``fit`` on; its cache is its own."""
        files = ["--manifest", f"{self.folder}/manifest.csv", "--weights", f"{self.folder}/tiny.safetensors"]
        recipe = ["--backbone", TINY, "--steps", str(STEPS), "--batch", "4", "--device", "cpu"]
        return ["fit", *files, *recipe, "--out", str(out), "--cache", str(out / "cache"), *more]


def picture(path: Path, *, fake: bool, seed: int) -> None:
    """Reals are smooth, fakes are noise; uncompressed, so that all files are of one size and the guard is content."""
    y, x = np.mgrid[:32, :32]
    smooth = np.stack([x * 4 + seed, y * 4 + seed // 256, x + y], axis=2)
    noise = np.random.default_rng(seed).integers(0, 256, (32, 32, 3))
    Image.fromarray((noise if fake else smooth).astype(np.uint8)).save(path, compress_level=0)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Faces:
    """Shared: not to be changed."""
    folder = tmp_path_factory.mktemp("faces")
    for number in range(PICTURES):
        picture(folder / f"{number}.png", fake=number % 2 == 1, seed=number)
    rows = [f"{number}.png,{'fake' if number % 2 else 'real'}" for number in range(PICTURES)]
    (folder / "manifest.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    torch.manual_seed(0)
    save_file(build_backbone(TINY).state_dict(), folder / "tiny.safetensors")
    return Faces(folder)


def start(*arguments: str) -> subprocess.Popen[str]:
    """Python, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        start_new_session=True,
    )


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts Python processes, and leaves none of them behind."""
    processes: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        processes.append(start(*arguments))
        return processes[-1]

    yield begin
    for process in processes:
        for one in family(process):
            one.kill()
        process.communicate()


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """A process and its children, those that are still there."""
    try:
        leader = psutil.Process(process.pid)
        return [leader, *leader.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def run(*arguments: str) -> None:
    process = start(*arguments)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors


def read_until(process: subprocess.Popen[str], found: Callable[[str], bool]) -> str:
    """What a process has said on stderr when it has said this."""
    said = ""
    assert process.stderr is not None
    while not found(said):
        letter = process.stderr.read(1)
        assert letter, f"it ended with {process.wait()} and said {said}"
        said += letter
    return said


def steps_done(said: str) -> int:
    """By the lines of progress."""
    return max((int(step) for step in re.findall(rf"fit: (\d+) of {STEPS} steps", said)), default=0)


def first_step(said: str) -> int:
    """Where the progress began."""
    return min(int(step) for step in re.findall(rf"fit: (\d+) of {STEPS} steps", said))


def tensors(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoint.safetensors")


def assert_same(out: Path, whole: Path) -> None:
    found, expected = tensors(out), tensors(whole)
    assert found.keys() == expected.keys()
    assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []
    assert (out / "log.csv").read_bytes() == (whole / "log.csv").read_bytes()


@pytest.fixture
def driver(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a script that is ``python -m trainer``, but for what is less than in production."""
    path = tmp_path_factory.mktemp("driver") / "driver.py"
    path.write_text(DRIVER)
    return str(path)


@pytest.fixture(scope="module")
def whole(faces: Faces, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run by one process that nothing happened to."""
    out = tmp_path_factory.mktemp("whole")
    run("-m", "trainer", *faces.fit(out))
    return out


class TestTwoRanks:
    def test_they_give_the_weights_of_one_bit_for_bit(self, faces: Faces, whole: Path, tmp_path: Path) -> None:
        run(*TORCHRUN, "-m", "trainer", *faces.fit(tmp_path))

        assert_same(tmp_path, whole)
        segments = [len(np.load(path)) for path in (tmp_path / "cache").glob("*/*.keys")]
        assert segments == [PICTURES // 2, PICTURES // 2], "each rank embedded a share"

    @pytest.mark.parametrize("embedding", ["last", "multilevel"])
    def test_with_the_backbone_in_the_loop_they_give_the_losses_of_one(
        self, embedding: str, faces: Faces, tmp_path: Path
    ) -> None:
        more = ["--unfreeze", "last:1", "--backbone-lr", "1e-3", "--steps", "8", "--embedding", embedding]

        run("-m", "trainer", *faces.fit(tmp_path / "one", *more))
        run(*TORCHRUN, "-m", "trainer", *faces.fit(tmp_path / "two", *more))

        one, two = (np.loadtxt(tmp_path / n / "log.csv", delimiter=",", skiprows=1)[:, 1] for n in ("one", "two"))
        assert two == pytest.approx(one, abs=1e-4)
        before, after = load_file(faces.folder / "tiny.safetensors"), tensors(tmp_path / "two")
        changed = {name for name, value in before.items() if not torch.equal(value, after[f"backbone.{name}"])}
        assert any(name.startswith("blocks.") for name in changed)
        assert not changed & {name for name, _ in build_backbone(TINY).named_buffers()}, "statistics stay put"

    def test_more_ranks_than_a_batch_has_pictures_are_refused(self, faces: Faces, tmp_path: Path) -> None:
        process = start(*TORCHRUN, "-m", "trainer", *faces.fit(tmp_path, "--end-to-end", "--batch", "1"))

        _, errors = process.communicate(timeout=PATIENCE_S)

        assert process.returncode != 0
        assert "Error: a batch of 1 is too small for 2 ranks: start at most 1" in errors


class TestBeingKilled:
    def test_killed_at_any_step_the_same_command_goes_on_to_the_same_bits(
        self, driver: str, faces: Faces, whole: Path, tmp_path: Path, started: Callable[..., subprocess.Popen[str]]
    ) -> None:
        step = random.SystemRandom().randint(2 * OFTEN, STEPS - OFTEN)
        process = started(driver, *faces.fit(tmp_path))
        read_until(process, lambda said: steps_done(said) >= step)
        process.kill()
        process.wait()
        assert not (tmp_path / "checkpoint.safetensors").exists()
        again = started(driver, *faces.fit(tmp_path))
        _, said = again.communicate(timeout=PATIENCE_S)

        assert again.returncode == 0, said
        assert first_step(said) >= step - OFTEN, "it does not begin anew"
        assert_same(tmp_path, whole)

    def test_with_the_backbone_in_the_loop_all_ranks_stop_at_the_same_step(
        self, driver: str, faces: Faces, tmp_path: Path, started: Callable[..., subprocess.Popen[str]]
    ) -> None:
        process = started(*TORCHRUN, driver, *faces.fit(tmp_path, "--end-to-end"))
        read_until(process, lambda said: steps_done(said) >= 1)
        rank(process, 1).terminate()
        _, errors = process.communicate(timeout=PATIENCE_S)

        assert process.returncode == 0, errors
        assert (tmp_path / "state.safetensors").exists()

    @pytest.mark.parametrize("ranks", [1, 2])
    def test_asked_to_end_it_saves_what_it_has_and_is_no_failure(
        self,
        driver: str,
        ranks: int,
        faces: Faces,
        whole: Path,
        tmp_path: Path,
        started: Callable[..., subprocess.Popen[str]],
    ) -> None:
        process = started(*(TORCHRUN if ranks > 1 else ()), driver, *faces.fit(tmp_path))
        read_until(process, lambda said: steps_done(said) >= 1)
        for number in range(ranks):
            rank(process, number).terminate()
        _, errors = process.communicate(timeout=PATIENCE_S)

        assert process.returncode == 0, errors
        assert f"stopped; run the same command again to continue from the progress saved for {tmp_path}" in errors
        assert (tmp_path / "state.safetensors").exists()
        assert not list(tmp_path.glob(".embeddings*")), "no scratch files are left"
        run("-m", "trainer", *faces.fit(tmp_path))
        assert_same(tmp_path, whole)


class TestALostRank:
    def test_killed_in_the_embedding_it_ends_the_run_in_an_error(
        self, driver: str, faces: Faces, tmp_path: Path, started: Callable[..., subprocess.Popen[str]]
    ) -> None:
        process = started(*TORCHRUN, driver, *faces.fit(tmp_path / "out", "--views", "20"))
        read_until(process, lambda said: "embed train" in said)

        rank(process, 1).kill()
        process.communicate(timeout=PATIENCE_S)

        assert process.returncode != 0

    def test_stopped_for_good_it_is_missed_even_while_another_needs_nobody(
        self, driver: str, faces: Faces, tmp_path: Path, started: Callable[..., subprocess.Popen[str]]
    ) -> None:
        process = started(*TORCHRUN, driver, *faces.fit(tmp_path / "out", "--steps", "1000000"))
        read_until(process, lambda said: "fit: " in said)

        rank(process, 1).suspend()
        _, errors = process.communicate(timeout=PATIENCE_S)

        assert process.returncode != 0
        assert f"Error: rank 1 of 2 has sent no heartbeat for {LOST_S} s" in errors


def rank(process: subprocess.Popen[str], number: int) -> psutil.Process:
    """The process of this rank, torchrun's child where there is a torchrun."""
    return next(
        (one for one in family(process) if one.environ().get("RANK") == str(number)), psutil.Process(process.pid)
    )
