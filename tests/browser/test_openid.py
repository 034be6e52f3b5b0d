"""Coming in by the company's OpenID provider, with the certified provider of the npm package oidc-provider."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from db.access import audit
from db.store.session import Database
from tests.browser.conftest import PATIENCE_S, wait_for
from tests.clients import installing

SCRIPT = Path(__file__).parent / "openid" / "provider.mjs"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the provider, as npm installs it."""
    if shutil.which("npm") is None:
        pytest.skip("no npm on this machine")
    folder = tmp_path_factory.mktemp("openid")
    (folder / "package.json").write_text('{"name": "provider", "private": true, "type": "module"}')
    shutil.copy(SCRIPT, folder)
    installing.npm(folder, "oidc-provider")
    return folder


@pytest.fixture
def console(record: Database, packages: Path) -> Iterator[str]:
    """The address of a console whose people sign in at the provider."""
    port, theirs = free_port(), free_port()
    address, issuer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{theirs}"
    environ = os.environ | {
        "UNMASK_DATABASE_URL": str(record.url),
        "UNMASK_OIDC_ISSUER": issuer,
        "UNMASK_OIDC_CLIENT_ID": "unmask",
        "UNMASK_OIDC_CLIENT_SECRET": "s3cret",
        "UNMASK_OIDC_ROLES": "leads=lead,moderators=reviewer",
    }
    theirs_to_run = ["node", SCRIPT.name, str(theirs), address]  # the system's node
    command = [sys.executable, "-m", "worker", "console", "--port", str(port)]
    root = Path(__file__).parents[2]
    with (
        subprocess.Popen(theirs_to_run, cwd=packages, stdout=subprocess.PIPE) as provider,
        subprocess.Popen(command, env=environ, cwd=root, stderr=subprocess.PIPE) as process,
    ):
        assert provider.stdout is not None
        assert provider.stdout.readline() == b"ready\n"
        wait_for(process, port)
        yield f"{address} {issuer}"
        for one in (process, provider):
            one.terminate()
            one.wait(PATIENCE_S)


def sign_in(page: Page, console: str, name: str) -> None:
    page.goto(f"{console}/sign-in")
    page.get_by_role("link", name="Sign in with your company account").click()
    page.get_by_placeholder("Enter any login").fill(name)
    page.get_by_placeholder("and password").fill("anything")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


def new_context(chromium: Browser) -> BrowserContext:
    """A browser of somebody's own, which waits as long as everything here."""
    context = chromium.new_context()
    context.set_default_timeout(PATIENCE_S * 1000)
    return context


def test_a_reviewer_comes_in_by_their_company_and_is_out_when_they_sign_out_there(
    chromium: Browser, console: str, record: Database
) -> None:
    address, issuer = console.split()
    context = new_context(chromium)
    page = context.new_page()
    sign_in(page, address, "ada")
    page.wait_for_url(f"{address}/")
    expect(page.get_by_role("heading", name="Queue")).to_be_visible()
    other = context.new_page()
    other.goto(f"{issuer}/session/end")
    other.get_by_role("button", name="Yes, sign me out").click()
    expect(other.get_by_text("Sign-out Success")).to_be_visible()
    page.goto(f"{address}/")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    with record.reading() as session:
        said = [(entry.what, entry.detail) for entry in audit.find_entries(session, audit.EntryFilter(who="ada"), 100)]
    assert said[0] == ("signed_out", "by the OpenID provider")
    context.close()


def test_whoever_is_in_no_group_with_a_role_reads_why_and_signing_out_goes_on_to_the_company(
    chromium: Browser, console: str
) -> None:
    address, issuer = console.split()
    context = new_context(chromium)
    page = context.new_page()
    sign_in(page, address, "out")
    expect(page.get_by_role("heading", name="No access")).to_be_visible()
    expect(page.get_by_text("leads, moderators")).to_be_visible()
    context.close()
    context = new_context(chromium)
    page = context.new_page()
    sign_in(page, address, "lou")
    page.wait_for_url(f"{address}/")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("link", name="Sign out at your company, too").click()
    page.wait_for_url(f"{issuer}/session/end**")
    page.get_by_role("button", name="Yes, sign me out").click()
    page.wait_for_url(f"{address}/sign-in*")
    context.close()
