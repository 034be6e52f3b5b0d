"""The real console, with passwords at their real cost, under a thousand wrong sign-ins and half-sent requests."""

import asyncio
import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import pytest
from argon2 import PasswordHasher

from db.access import people
from db.console.web.forms import form_token
from db.store.session import Database

Result = TypeVar("Result")

FLOOD = 1000
LIMIT_KB = 512 * 1024
PASSWORD = "correct horse battery"  # noqa: S105 - nobody's
SEED = "a browser of nobody's yet"
HALF_SENT = 900

pytestmark = pytest.mark.slow


@pytest.fixture
def console(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """The port and process of a console on SQLite, behind a proxy on this machine; ada and bob may sign in."""
    url = f"sqlite:///{tmp_path}/unmask.db"
    database = Database(url)
    database.upgrade()
    with database.writing() as session:
        for name in ("ada", "bob"):
            people.add_person(session, name, "reviewer").password = PasswordHasher().hash(PASSWORD)
    database.close()
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    environ = os.environ | {
        "UNMASK_DATABASE_URL": url,
        "UNMASK_CONSOLE_TRUSTED_PROXY": "127.0.0.1",
        "UNMASK_CONSOLE_HEADER_TIMEOUT_S": "3",
    }
    command = [sys.executable, "-m", "worker", "console", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
    try:
        wait_for(port)
        yield port, process.pid
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(30)


def wait_for(port: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("the console does not listen")


async def sign_in(port: int, name: str, password: str, address: str) -> int:
    """The status of one sign-in on a connection of its own; 0 when the console closed it unanswered."""
    form = urlencode({"name": name, "password": password, "form_token": form_token(SEED)}).encode()
    head = (
        f"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {address}\r\nCookie: unmask_visit={SEED}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\nConnection: close\r\n\r\n"
    )
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode() + form)
        line = await asyncio.wait_for(reader.readline(), 120)
        writer.close()
    except OSError:
        return 0
    found = re.match(rb"HTTP/1.1 (\d+)", line)
    return int(found[1]) if found else 0


async def sign_in_with_patience(port: int, name: str, address: str) -> int:
    """As a person does it who is told to come again."""
    status = 0
    for _ in range(60):
        status = await sign_in(port, name, PASSWORD, address)
        if status not in {0, 503}:
            break
        await asyncio.sleep(1)
    return status


async def flood(port: int) -> tuple[Counter[int], list[int]]:
    """A thousand wrong sign-ins as ada from as many addresses; bob and ada themselves sign in meanwhile."""
    wrong = [sign_in(port, "ada", f"wrong {n}", f"10.9.{n // 250}.{n % 250}") for n in range(FLOOD)]
    attack = asyncio.gather(*wrong)
    await asyncio.sleep(0.2)
    right = await asyncio.gather(
        sign_in_with_patience(port, "bob", "192.0.2.1"), sign_in_with_patience(port, "ada", "192.0.2.2")
    )
    return Counter(await attack), list(right)


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """In a thread of its own: browser tests of the same process leave a running loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def peak_kb(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_thousand_wrong_sign_ins_at_once_fit_into_512_mb_and_keep_nobody_else_out(console: tuple[int, int]) -> None:
    port, pid = console
    assert run(sign_in(port, "ada", PASSWORD, "192.0.2.2")) == 303  # she has signed in from there before
    said, right = run(flood(port))
    assert right == [303, 303]
    assert said[303] == 0
    assert set(said) <= {0, 403, 429, 503}
    assert peak_kb(pid) < LIMIT_KB, said


def test_half_sent_requests_do_not_stay_open_and_keep_nobody_out(console: tuple[int, int]) -> None:
    port, _ = console
    half = [socket.create_connection(("127.0.0.1", port)) for _ in range(HALF_SENT)]
    try:
        for each in half:
            try:
                each.sendall(b"POST /sign-in HTTP/1.1\r\nHost: loc")
            except OSError:
                continue  # the oldest were closed to make room
        assert run(sign_in(port, "bob", PASSWORD, "192.0.2.1")) == 303
        end = time.monotonic() + 15
        while time.monotonic() < end and open_sockets(half):
            time.sleep(0.2)
        assert open_sockets(half) == 0
    finally:
        for each in half:
            each.close()


def open_sockets(sockets: list[socket.socket]) -> int:
    """How many the console has not closed."""
    still = 0
    for each in sockets:
        try:
            still += each.recv(1, socket.MSG_DONTWAIT) != b""
        except BlockingIOError:
            still += 1
        except OSError:
            pass
    return still
