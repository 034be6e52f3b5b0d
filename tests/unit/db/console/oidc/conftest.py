"""An OpenID provider over HTTP, of the package oidc-provider-mock, and people who have accounts there."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from starlette.testclient import TestClient

from db.console.app import build_app
from db.console.oidc.provider import Provider
from db.console.oidc.settings import OidcSettings
from db.console.settings import ConsoleSettings
from db.review.settings import ReviewSettings
from db.store.session import Database
from tests.unit.db.console.conftest import Browser

PATIENCE_S = 60
ROLES = "leads=lead,moderators=reviewer,legal=auditor"


@pytest.fixture(scope="session")
def issuer() -> Iterator[str]:
    """The address of a provider that runs as a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), "--require-nonce", "true"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(PATIENCE_S)


@pytest.fixture
def account(issuer: str) -> Callable[..., None]:
    """``account("u1", "ada", "leads")``: a subject there, the name, and the groups."""

    def put(subject: str, name: str, *groups: str) -> None:
        claims = {"preferred_username": name, "groups": list(groups)}
        assert httpx2.put(f"{issuer}/users/{subject}", json=claims).status_code == 204

    return put


Visit = Callable[..., Browser]


@pytest.fixture
def visit(database: Database, issuer: str) -> Visit:
    """``visit()``: a browser on a console with this provider."""

    def browse(**settings: object) -> Browser:
        given = {
            "oidc_issuer": issuer,
            "oidc_client_id": "unmask",
            "oidc_client_secret": "s",
            "oidc_roles": ROLES,
        } | settings
        provider = Provider(OidcSettings.model_validate(given), "http://localhost")
        console = ConsoleSettings(database_url="sqlite:///unmask.db", console_rows=3)
        app = build_app(database, console, ReviewSettings(blind_share=0), ["localhost"], provider)
        return Browser(TestClient(app, base_url="http://localhost", follow_redirects=False))

    return browse


def sign_in_there(browser: Browser, subject: str, next_path: str = "/") -> str:
    """Begin here, sign in there; returns the path and query by which the provider sends the browser back."""
    begun = browser.get(f"/oidc/start?next={next_path}")
    assert begun.status_code == 303, begun.text
    answer = httpx2.post(begun.headers["location"], data={"sub": subject}, follow_redirects=False)
    assert answer.status_code in (302, 303), answer.text
    back = urlsplit(answer.headers["location"])
    assert back.path == "/oidc/callback"
    return f"{back.path}?{back.query}"


def asked_for(browser: Browser) -> dict[str, str]:
    """What this console asks of the provider."""
    query = parse_qs(urlsplit(browser.get("/oidc/start").headers["location"]).query)
    return {name: values[0] for name, values in query.items()}
