"""One log for everybody: JSON for machines, readable for people, and nobody prints past it."""

import io
import json
import logging
import os
import pty
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from db.errors import DbError
from db.privacy.pseudonyms import PseudonymSettings
from db.redaction import redacted
from db.settings import DatabaseSettings
from db.store.session import Database
from worker.core.settings import BrokerSettings, LogSettings, WorkerSettings
from worker.telemetry import logs
from worker.telemetry.logs import formatter

ROOT = Path(__file__).parents[4]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What the log says, while it is ours; then everything is as it was."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    for hooked in (sys, threading):
        monkeypatch.setattr(hooked, "excepthook", hooked.excepthook)
    stream = io.StringIO()
    root.handlers = []  # pytest's own would be closed
    logging.captureWarnings(capture=False)  # Celery's worker, in a test before, leaves it on and deaf
    logs.configure(LogSettings(log_format="json"), stream=stream)
    yield stream
    logging.captureWarnings(capture=False)
    root.handlers, level = before
    root.setLevel(level)


def lines(written: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_each_event_is_a_line_of_json_whatever_is_in_it(written: io.StringIO) -> None:
    logging.getLogger("celery").info("a line\nand %s", '"https://cdn.example.com/a.jpg?sig=s3cret"')
    (line,) = lines(written)
    assert (line["event"], line["level"], line["logger"]) == (
        'a line\nand "https://cdn.example.com/a.jpg?..."',
        "info",
        "celery",
    )
    assert line["timestamp"].endswith("Z")


def test_what_an_image_s_line_says_are_fields_and_libraries_add_none(written: io.StringIO) -> None:
    extra = {"image": "a", "decode_s": 0.01, "data": {"args": "s3cret"}}
    logging.getLogger("worker.images").info("image %s", "scored", extra=extra)
    (line,) = lines(written)
    assert (line["image"], line["decode_s"]) == ("a", 0.01)
    assert "data" not in line


def test_secrets_are_taken_out_of_fields_too(written: io.StringIO) -> None:
    detail = {"detail": "http://ada:s3cret@cdn.example.com/a.jpg?sig=s3cret"}
    logging.getLogger("worker.images").warning("image failed", extra=detail)
    assert lines(written)[0]["detail"] == "http://***@cdn.example.com/a.jpg?..."


def test_warnings_and_what_nobody_caught_are_logged_without_secrets(written: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("odd: https://cdn.example.com/a.jpg?sig=s3cret", stacklevel=1)
        logging.captureWarnings(capture=False)
    thread = threading.Thread(target=int, args=["https://cdn.example.com/a.jpg?sig=s3cret"])
    thread.start()
    thread.join()
    odd, caught = lines(written)
    assert "a.jpg?..." in odd["event"]
    assert "ValueError" in caught["exception"]
    assert "s3cret" not in written.getvalue()


def test_less_than_the_level_is_not_said_and_celery_is_kept_short(written: io.StringIO) -> None:
    logging.getLogger("worker").debug("not this")
    logging.getLogger("celery.app.trace").info("nor this")
    assert lines(written) == []


SAY = """
import logging
from worker.telemetry import logs
from worker.core.settings import LogSettings
logs.configure(LogSettings.load())
logging.getLogger("worker").info("said")
"""


def said(terminal: bool, **settings: str) -> str:
    """What a process says on its stderr."""
    environ = os.environ | settings
    ours, theirs = pty.openpty() if terminal else os.pipe()
    subprocess.run([sys.executable, "-c", SAY], cwd=ROOT, env=environ, stderr=theirs, check=True)
    with os.fdopen(ours, "rb", buffering=0) as reader:
        text = reader.read(10_000)
    os.close(theirs)
    return (text or b"").decode()


@pytest.mark.parametrize(
    ("terminal", "log_format", "is_json"),
    [(True, "auto", False), (False, "auto", True), (True, "json", True), (False, "text", False)],
)
def test_people_on_a_terminal_read_text_and_everybody_else_json(
    terminal: bool,
    log_format: str,
    is_json: bool,
) -> None:
    line = said(terminal, UNMASK_LOG_FORMAT=log_format)
    assert line.startswith("{") == is_json
    assert "said" in line
    assert ("\x1b[" in line) == (terminal and not is_json), "colours are for terminals"


def test_the_level_is_a_setting() -> None:
    assert "said" in said(terminal=False, UNMASK_LOG_LEVEL="info")
    command = SAY.replace('info("said")', 'info("not said")')
    environ = os.environ | {"UNMASK_LOG_LEVEL": "warning"}
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, env=environ, capture_output=True, check=True)
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET https://cdn.example.com/a.jpg?X-Sig=s3cret&e=1 failed", "GET https://cdn.example.com/a.jpg?... failed"),
        ("'https://cdn.example.com/a.jpg?sig=s3cret'", "'https://cdn.example.com/a.jpg?...'"),
        ("Max retries exceeded with url: /a.jpg?sig=s3cret (Caused by", "with url: /a.jpg?... (Caused by"),
        ("redis://:s3cret@redis:6379/0", "redis://***@redis:6379/0"),
        ("postgresql+psycopg://unmask:s3cret@db/unmask", "postgresql+psycopg://***@db/unmask"),
        ("https://ada:s3cret@cdn.example.com/", "https://***@cdn.example.com/"),
        ("is it done? a=b", "is it done? a=b"),
        ("mail ada@example.com", "mail ada@example.com"),
    ],
)
def test_what_is_behind_a_question_mark_or_before_an_at_is_not_shown(text: str, shown: str) -> None:
    assert shown in redacted(text)
    assert "s3cret" not in redacted(text)


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_arguments_and_tracebacks_are_redacted_too(log_format: str) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(formatter(log_format, written))
    log = logging.getLogger("test of redaction")
    log.addHandler(handler)
    try:
        int("https://cdn.example.com/a.jpg?sig=s3cret")
    except ValueError:
        log.exception("could not fetch %s", "https://cdn.example.com/b.jpg?sig=s3cret")
    log.removeHandler(handler)
    assert "Traceback" in written.getvalue()
    assert "cdn.example.com/b.jpg?..." in written.getvalue()
    assert "s3cret" not in written.getvalue()


def test_settings_do_not_show_their_secrets() -> None:
    given = {
        "UNMASK_BROKER_URL": "redis://:s3cret@redis/0",
        "UNMASK_DATABASE_URL": "postgresql://unmask:s3cret@db/unmask",
        "UNMASK_LOG_KEY": "s3cret",
    }
    for settings in (WorkerSettings, BrokerSettings, DatabaseSettings, PseudonymSettings):
        assert "s3cret" not in repr(settings.load(given))


def test_errors_do_not_show_passwords() -> None:
    with pytest.raises(DbError) as caught:
        Database("postgresql://unmask:s3cret@127.0.0.1:1/unmask").check_schema()
    assert "s3cret" not in str(caught.value)
