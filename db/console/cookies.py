"""The console's cookies: who this browser is, and how it likes to see things."""

import hashlib
import hmac
import secrets

from starlette.requests import Request
from starlette.responses import Response

#: ``__Host-``: the browser itself sees to it that it came by https, from this host and for all of it.
_PREFIX = {True: "__Host-", False: ""}
SIGN_IN, VISIT, LOOK = "unmask", "unmask_visit", "unmask_look"
_LOOK_S = 365 * 86_400


def get(request: Request, name: str, *, secure: bool) -> str | None:
    """What the browser says."""
    return request.cookies.get(_PREFIX[secure] + name)


def give(response: Response, name: str, value: str, *, secure: bool) -> None:
    """Scripts cannot read it, and no other site can use it. The look stays for a year, the rest for a session."""
    response.set_cookie(
        _PREFIX[secure] + name,
        value,
        max_age=_LOOK_S if name == LOOK else None,
        secure=secure,
        httponly=True,
        samesite="strict",
    )


def take(response: Response, name: str, *, secure: bool) -> None:
    """Let the browser forget it."""
    response.delete_cookie(_PREFIX[secure] + name, secure=secure, httponly=True, samesite="strict")


def new_visit() -> str:
    """Somebody who is not signed in has forms too."""
    return secrets.token_urlsafe(32)


def form_token(seed: str) -> str:
    """What a form of this browser carries, and another site cannot know."""
    return hmac.new(seed.encode(), b"form", hashlib.sha256).hexdigest()
