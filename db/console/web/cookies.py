"""The console's cookies: the sign-in token, the seed of an anonymous browser, and the display preferences."""

import secrets
from dataclasses import dataclass
from typing import Self

from starlette.requests import Request
from starlette.responses import Response

#: ``__Host-``: the browser itself guarantees that the cookie came by https, from this host, for the whole host.
_PREFIX = {True: "__Host-", False: ""}
SIGN_IN, ANONYMOUS, PREFERENCES, OIDC = "unmask", "unmask_visit", "unmask_look", "unmask_oidc"
#: How long cookies last that outlive the browser session, or end before it.
_AGES_S = {PREFERENCES: 365 * 86_400, OIDC: 600}

THEMES = ("auto", "light", "dark")
#: "team": as a lead chose for the case's policy.
PICTURES = ("team", "plain", "grey", "blur", "grey-blur")
KEYS = ("on", "off")
#: Minutes of work after which the browser suggests a break.
BREAKS = ("60", "30", "90", "off")


@dataclass(frozen=True, slots=True)
class DisplayPreferences:
    """The theme, the filter on pictures until one points at them, whether single keys decide, and when to rest."""

    theme: str = "auto"
    pictures: str = "team"
    keys: str = "on"
    rest: str = "60"

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """Preferences from a cookie; the defaults for anything that is not a valid value."""
        parts = (text or "").split(".")
        allowed = (THEMES, PICTURES, KEYS, BREAKS)
        valid = len(parts) == len(allowed) and all(part in words for part, words in zip(parts, allowed, strict=True))
        return cls(*parts) if valid else cls()

    def __str__(self) -> str:
        return f"{self.theme}.{self.pictures}.{self.keys}.{self.rest}"


def read_cookie(request: Request, name: str, *, secure: bool) -> str | None:
    """The value of a cookie of ours."""
    return request.cookies.get(_PREFIX[secure] + name)


def set_cookie(response: Response, name: str, value: str, *, secure: bool) -> None:
    """Set a cookie that scripts and other sites cannot use.

    The one of an OpenID sign-in must come along when the provider sends the browser back; it does so by GET alone.
    """
    response.set_cookie(
        _PREFIX[secure] + name,
        value,
        max_age=_AGES_S.get(name),
        secure=secure,
        httponly=True,
        samesite="lax" if name == OIDC else "strict",
    )


def delete_cookie(response: Response, name: str, *, secure: bool) -> None:
    """Make the browser drop a cookie of ours."""
    response.delete_cookie(_PREFIX[secure] + name, secure=secure, httponly=True, samesite="strict")


def new_anonymous_seed() -> str:
    """The seed for forms of a browser that is not signed in."""
    return secrets.token_urlsafe(32)
