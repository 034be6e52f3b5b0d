"""The console on the test's database, and the browsers of people who use it."""

import html
import re
from collections.abc import Callable

import httpx2
import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from db.access import audit, people, sign_ins
from db.console.app import build_app
from db.console.settings import ConsoleSettings
from db.console.web import cookies, forms
from db.review.settings import ReviewSettings
from db.schema import Case, Preview
from db.store.session import Database

#: What stands for a picture: the console does not look into it.
JPEG = b"\xff\xd8\xff\xe0 a small photo"


class Browser:
    """Somebody's browser: it keeps cookies, follows nothing, and sends forms as the page that it is on would."""

    def __init__(self, client: TestClient, seed: str = "") -> None:
        self.client, self.seed = client, seed
        self.see: Callable[[int], None] = lambda _: None

    def get(self, path: str, **headers: str) -> httpx2.Response:
        return self.client.get(path, headers=headers)

    def post(self, path: str, **form: object) -> httpx2.Response:
        return self.client.post(path, data={"form_token": forms.form_token(self.seed)} | form)

    def decide(self, case_id: int, **form: object) -> httpx2.Response:
        """Decide a case whose photo has been on the screen."""
        self.see(case_id)
        return self.post(f"/cases/{case_id}/decide", **form)

    def fill(self, path: str, *, to: str | None = None, **form: object) -> httpx2.Response:
        """Open a page, and send its form."""
        return self.client.post(to or path, data=self.hidden(path) | form)

    def hidden(self, path: str) -> dict[str, object]:
        """Open a page: what its form sends along without being asked."""
        found = re.findall(r'<input type="hidden" name="([\w-]+)" value="([^"]*)"', self.get(path).text)
        assert found
        return {name: html.unescape(value) for name, value in found}


Open = Callable[..., Browser]


@pytest.fixture
def open_browser(database: Database) -> Open:
    """``open_browser(console_idle_s=60)``: a browser of nobody's yet, on a console with these settings."""

    def browse(*, blind_share: float = 0.0, address: str = "127.0.0.1", **settings: object) -> Browser:
        values = {"database_url": "sqlite:///unused.db", "console_rows": 3} | settings
        review = ReviewSettings(blind_share=blind_share)
        app = build_app(database, ConsoleSettings.model_validate(values), review, ["localhost", "unmask.example.com"])
        base = str(values.get("console_url") or "http://localhost")
        return Browser(TestClient(app, base_url=base, follow_redirects=False, client=(address, 50000)))

    return browse


@pytest.fixture
def sign_in(database: Database, open_browser: Open) -> Open:
    """``sign_in("lead")``: the browser of somebody of this role and name, who is signed in."""

    def sign(role: str, name: str | None = None, **settings: object) -> Browser:
        browser = open_browser(**settings)
        with database.writing() as session:
            person = people.find_person(session, name or role) or people.add_person(session, name or role, role)
            browser.seed = sign_ins.start_sign_in(session, person, 3600)
        browser.client.cookies.set(cookies.SIGN_IN, browser.seed)
        browser.see = lambda case_id: _see(database, name or role, case_id)
        return browser

    return sign


def _see(database: Database, name: str, case_id: int) -> None:
    with database.writing() as session:
        audit.log(session, name, "saw_photo", case_id=case_id)


@pytest.fixture
def flag(
    add_images: Callable[..., list[str]], record: Callable[..., list[str]], set_threshold: Callable[..., int]
) -> Callable[..., None]:
    """``flag("ada", "a", "b")``: photos of this account are flagged, each at 0.9; cases count from 1."""

    def raise_flags(account: str, *image_ids: str) -> None:
        set_threshold(0.5)
        add_images(*image_ids, account_id=account)
        record(dict.fromkeys(image_ids, 0.9))

    return raise_flags


@pytest.fixture
def keep_picture(database: Database) -> Callable[..., None]:
    """``keep_picture("a")``: as a worker does."""

    def keep(image_id: str, kind: str = "photo", picture: bytes | None = JPEG) -> None:
        with database.writing() as session:
            session.add(Preview(image_id=image_id, kind=kind, picture=picture))

    return keep


@pytest.fixture
def case_ids(database: Database) -> Callable[[], list[int]]:
    """The ids of all cases, the oldest first: databases go on counting from test to test."""

    def read() -> list[int]:
        with database.reading() as session:
            return list(session.scalars(select(Case.id).order_by(Case.id)))

    return read


@pytest.fixture
def logged(database: Database) -> Callable[[], list[tuple[str, str]]]:
    """``logged()``: who did what, in order."""

    def read() -> list[tuple[str, str]]:
        with database.reading() as session:
            return [
                (entry.who, entry.what) for entry in reversed(audit.find_entries(session, audit.EntryFilter(), 1000))
            ]

    return read
