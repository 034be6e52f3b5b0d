"""A real console, and real browsers of people who use it; skipped where there is no Chromium."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image as Picture
from playwright.sync_api import Browser, Page, expect, sync_playwright

from db.access import people, sign_ins
from db.models import versions
from db.policy import scores, thresholds
from db.policy.scores import Provenance, Scored
from db.schema import Preview
from db.store.session import Database
from db.work import images
from db.work.images import NewImage

PASSWORD = "correct horse battery"  # noqa: S105 - nobody's
PATIENCE_S = 120
_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The system's Chromium. Where ``REQUIRE_CHROMIUM`` is set, its absence is a failure."""
    path = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if path is None and os.environ.get("REQUIRE_CHROMIUM"):
        pytest.fail("no Chromium on this machine: apt-get install chromium")
    if path is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        root = ["--no-sandbox"] if os.getuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=[*root, "--disable-gpu"])
        expect.set_options(timeout=PATIENCE_S * 1000)
        yield browser
        browser.close()


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Database]:
    """A record with a model, a threshold, and people of each role."""
    database = Database(f"sqlite:///{tmp_path}/unmask.db")
    database.upgrade()
    reals = [number / 1000 for number in range(900)]
    with database.writing() as session:
        card = {"name": "m", "reference": {"name": "reals", "scores": reals}}
        version = versions.register(session, "m", "1" * 64, "unmask-1", card)
        thresholds.set_value(session, version.id, "default", 0.8, "pat", "")
        for name, role in {"pat": "reviewer", "sam": "reviewer", "lee": "lead", "cyn": "auditor"}.items():
            people.add_person(session, name, role, PASSWORD)
    yield database
    database.close()


@pytest.fixture(scope="session")
def jpeg(photo: Path) -> bytes:
    """Grace Hopper, as a worker's preview."""
    out = BytesIO()
    with Picture.open(photo) as picture:
        picture.thumbnail((256, 256))
        picture.save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def flag(record: Database, jpeg: bytes) -> Callable[..., None]:
    """``flag("ada", "a")``: a photo of this account is flagged, and its picture there."""

    def raise_flags(account: str, *ids: str, score: float = 0.85) -> None:
        with record.writing() as session:
            images.add_images(session, [NewImage(image_id, account, f"{image_id}.jpg") for image_id in ids], -60)
            found = [Scored(image_id, "default", score, "f" * 64, 1000, 640, 480) for image_id in ids]
            scores.record(session, found, Provenance(1, "eager-fp32", "cpu"))
            session.add_all(Preview(image_id=image_id, kind="photo", picture=jpeg) for image_id in ids)

    return raise_flags


@pytest.fixture
def console(record: Database) -> Iterator[str]:
    """The address of a console of our own, as people start it; nobody decides blind."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = os.environ | {"UNMASK_DATABASE_URL": str(record.url), "UNMASK_BLIND_SHARE": "0"}
    command = [sys.executable, "-m", "worker", "console", "--port", str(port)]
    process = subprocess.Popen(command, env=environ, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE)
    wait_for(process, port)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    _, said = process.communicate(timeout=PATIENCE_S)
    assert b"Traceback" not in said, said.decode()


@pytest.fixture
def visit(chromium: Browser, console: str, record: Database) -> Iterator[Callable[..., Page]]:
    """``visit("pat")``: a page of this person's, who is signed in; at its end nothing went wrong in any of them."""
    wrong: list[str] = []
    contexts = []

    def open_page(name: str | None = None, *, width: int = 1280, **options: object) -> Page:
        context = chromium.new_context(base_url=console, viewport={"width": width, "height": 800}, **options)  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE_S * 1000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if _is_wrong(message.text) else None)
        page.on("dialog", lambda dialog: wrong.append(f"dialog {dialog.message}"))
        if name is not None:
            with record.writing() as session:
                token = sign_ins.make_link(session, people.get_by_name(session, name))
            page.goto(f"/link/{token}")
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url(f"{console}/")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def _is_wrong(text: str) -> bool:
    """Refusals and lost connections are logged by the browser itself, and are what some tests are about."""
    return "Failed to load resource" not in text


def wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until a console answers; fails with what it said."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    process.kill()
    pytest.fail(f"the console did not start: {process.communicate()[1].decode()}")
