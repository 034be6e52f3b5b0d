"""Logs, errors and representations carry neither signatures nor passwords."""

import io
import logging

import pytest

from db.errors import DbError
from db.privacy.pseudonyms import PseudonymSettings
from db.store.session import Database
from db.settings import DatabaseSettings
from worker.telemetry.logs import formatter
from worker.telemetry.redaction import redacted
from worker.core.settings import BrokerSettings, WorkerSettings


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
