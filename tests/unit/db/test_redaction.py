"""No part of a password is shown, however the URL is malformed and whoever complains about it."""

import io
import json
import logging
import string
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.errors import DbError
from db.redaction import KNOWN, RedactedStream, know_environment, redacted
from db.settings import DatabaseSettings
from db.store.session import Database
from worker.core.settings import BrokerSettings, WebhookSettings

_SPECIAL = "@:/?#%&=+;, \n\t'\"\\[]{}<>|^`~!$*()"
#: Of characters that are in no message of ours, so that whatever of them is shown comes from the password.
_PASSWORDS = st.text(alphabet="XYZQ" + string.digits + _SPECIAL + "ÄÖ密", min_size=8, max_size=24)


def _damages() -> dict[str, Callable[[str], str]]:
    """What people do to a URL with a password in it, which stands for PASSWORD."""
    return {
        "as it should be": lambda url: url,
        "no scheme": lambda url: url.partition("://")[2],
        "half a scheme": lambda url: url.replace("://", ":", 1),
        "another scheme": lambda url: "mysql" + url[url.index("://") :],
        "a foreign driver": lambda url: url.replace("://", "+psycopg2://", 1),
        "a port of letters": lambda url: url.replace(":1/", ":port/"),
        "a port too large": lambda url: url.replace(":1/", ":99999999/"),
        "an address without brackets": lambda url: url.replace("127.0.0.1", "::1"),
        "half a bracket": lambda url: url.replace("127.0.0.1", "[::1"),
        "no host": lambda url: url.replace("127.0.0.1:1", ""),
        "no at": lambda url: url.replace("@", ""),
        "two ats": lambda url: url.replace("@", "@@"),
        "no user": lambda url: url.replace("ada:", ":"),
        "a password for a user": lambda url: url.replace("ada:", ""),
        "a space": lambda url: url.replace("@", " @"),
        "two lines": lambda url: url + "\n# " + url,
        "an unknown option": lambda url: url + "?nonsense=PASSWORD",
        "a password among the options": lambda url: url + "?password=PASSWORD",
        "twice": lambda url: f"{url};{url}",
        "quotes": lambda url: f'"{url}"',
        "nothing else": lambda _url: "PASSWORD",
    }


_DAMAGES = _damages()


def pieces(password: str) -> Iterator[str]:
    """Its pieces of six characters."""
    for start in range(len(password) - 5):
        piece = password[start : start + 6]
        if piece.strip() == piece:
            yield piece


def shown(work: Callable[[], object]) -> str:
    """All that this process writes about what goes wrong: the message, its JSON, its traceback."""
    stream = RedactedStream(io.BytesIO(), "utf-8", "backslashreplace", write_through=True)
    try:
        work()
    except Exception as error:  # noqa: BLE001 - whatever it is
        said = redacted(str(error))
        stream.write(traceback.format_exc())
        logging.getLogger("test").debug(said)
        return f"{said}\n{json.dumps(said)}\n{stream.buffer.getvalue().decode()}"  # type: ignore[attr-defined]  # it is a BytesIO
    return ""


def check_that_nothing_is_shown(damage: str, password: str, *, encoded: bool) -> None:
    KNOWN.forget()
    written = quote(password, safe="") if encoded else password
    for scheme, name in (("postgresql", "unmask"), ("redis", "0"), ("https", "hook")):
        url = _DAMAGES[damage](f"{scheme}://ada:PASSWORD@127.0.0.1:1/{name}").replace("PASSWORD", written)
        said = "".join(shown(work) for work in _uses(url))
        for piece in [*pieces(password), *pieces(written)]:
            assert piece not in said, f"{piece!r} of {url!r} is in {said}"


@pytest.mark.slow
@pytest.mark.parametrize("damage", _DAMAGES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(password=_PASSWORDS, encoded=st.booleans())
def test_no_piece_of_any_password_is_in_any_message_or_traceback(damage: str, password: str, encoded: bool) -> None:
    check_that_nothing_is_shown(damage, password, encoded=encoded)


@pytest.mark.parametrize("password", ["XYZQ9876", "X@YZQ/98#7:6?5%41Z", "XY Z\nQ987'6\"54"])
def test_no_piece_of_an_odd_password_is_in_any_message_or_traceback(password: str) -> None:
    for damage in _DAMAGES:
        check_that_nothing_is_shown(damage, password, encoded=False)


def _uses(url: str) -> list[Callable[[], object]]:
    given = {f"UNMASK_{name}_URL": url for name in ("DATABASE", "BROKER", "WEBHOOK")}
    in_wrong_places = {"UNMASK_DATABASE_URL_FILE": url} | ({"UNMASK_ALLOWED_HOSTS": url} if "://" in url else {})

    def connect() -> None:
        with suppress(DbError):
            DatabaseSettings.load(given)
        database = Database(url)
        assert database.name
        try:
            database.check_schema()
        finally:
            database.close()

    return [
        lambda: DatabaseSettings.load(given),
        lambda: BrokerSettings.load(given),
        lambda: WebhookSettings.load(given),
        lambda: _everything(given | in_wrong_places),
        connect,
    ]


def _everything(environ: dict[str, str]) -> object:
    from worker.core.settings import WorkerSettings

    return WorkerSettings.load(environ)


@pytest.mark.parametrize(
    "environ",
    [
        {"HTTPS_PROXY": "http://ada:p%40ss-w0rd@proxy.example.com:3128"},
        {"http_proxy": "http://ada:p@ss-w0rd@proxy.example.com:3128"},
        {"MLFLOW_TRACKING_URI": "https://ada:p@ss-w0rd@mlflow.example.com"},
        {"MLFLOW_TRACKING_PASSWORD": "p@ss-w0rd"},
        {"PGPASSWORD": "p@ss-w0rd"},
        {"AWS_SECRET_ACCESS_KEY": "p@ss-w0rd"},
    ],
)
def test_secrets_of_other_programs_are_hidden_too(environ: dict[str, str]) -> None:
    know_environment(environ)
    for form in ("p@ss-w0rd", "p%40ss-w0rd", "'p@ss-w0rd'"):
        assert "ss-w0rd" not in redacted(f"proxy error: {form} is wrong")


def test_what_is_no_secret_is_shown() -> None:
    know_environment({"HOME": "/root", "UNMASK_DATABASE_URL_FILE": "/run/secrets/database_url", "PATH": "/usr/bin"})
    KNOWN.add("postgresql://unmask:port@redis/unmask")
    text = "unmask: the transport of redis://redis:6379/0 is not supported, /run/secrets/database_url is"
    assert redacted(text) == text
