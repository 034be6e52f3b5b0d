"""One request as a page sees it: who asks, what the form says, and how to answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse

from db.console import cookies
from db.console.form import FormError
from db.console.look import Look
from db.console.settings import ConsoleSettings
from db.console.waiting import Waiting
from db.errors import DeniedError, NotFoundError
from db.review.review_settings import ReviewSettings
from db.store.session import Database
from db.access.sign_ins import Signed

#: Of the largest number that a row can have.
_LAST = 2**63 - 1
_DIGITS = len(str(_LAST))


@dataclass(frozen=True, slots=True)
class Console:
    """What all pages share."""

    database: Database
    settings: ConsoleSettings
    review: ReviewSettings
    waiting: Waiting
    templates: Environment


@dataclass(frozen=True, slots=True)
class Visit:
    """A request, by somebody or by nobody yet."""

    console: Console
    request: Request
    signed: Signed | None
    #: What this browser's forms are made for: its sign-in, or its visit.
    seed: str
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def who(self) -> Signed:
        """Whoever is signed in; pages with roles have somebody."""
        if self.signed is None:
            raise DeniedError("nobody is signed in")
        return self.signed

    @property
    def database(self) -> Database:
        """The record."""
        return self.console.database

    def number(self, name: str) -> int:
        """A number of the path; raises `NotFoundError` for one that no row can have."""
        number = digits(str(self.request.path_params[name]))
        if number is None:
            raise NotFoundError(f"{self.request.url.path} is nowhere")
        return number

    def number_of(self, name: str) -> int:
        """A number of the form; raises `FormError`."""
        number = digits(self.form.get(name, ""))
        if number is None:
            raise FormError(f"the form's {name} is no number")
        return number

    def asked(self, name: str) -> str:
        """A word of the form, or of the address."""
        return self.form.get(name) or self.request.query_params.get(name, "").replace("\0", "")

    def page(self, template: str, code: int = 200, **context: Any) -> HTMLResponse:
        """A page, or a part of one."""
        shared = {
            "signed": self.signed,
            "look": Look.parse(cookies.get(self.request, cookies.LOOK, secure=self.console.settings.secure)),
            "form_token": cookies.form_token(self.seed),
            "here": self.request.url.path,
            "waiting": self.console.waiting,
            "by_proxy": bool(self.console.settings.console_trusted_header),
        }
        return HTMLResponse(self.console.templates.get_template(template).render(shared | context), code)

    @staticmethod
    def go(path: str) -> RedirectResponse:
        """To another page of ours, by GET."""
        return RedirectResponse(path, status_code=303)


def local(path: str) -> str:
    """A path to go back to, if it is one of ours."""
    ours = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if ours else "/"


def digits(text: str) -> int | None:
    """A row's number; None for anything else."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None
    return number if number is None or number <= _LAST else None
