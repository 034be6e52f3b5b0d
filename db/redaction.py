"""Keeps secrets out of what this process writes: its log, its errors and tracebacks.

Two rules. Whatever looks like a URL loses its user name, password and query; and the secrets that settings hold are
replaced wherever they appear, in each form in which a library may write them. Libraries quote pieces of URLs that they
could not parse, so a password's pieces are replaced, too.
"""

import json
import re
from collections.abc import Mapping
from io import TextIOWrapper
from urllib.parse import quote, quote_plus, unquote, unquote_plus

HIDDEN = "***"
#: Shorter pieces are not replaced: they are in every text, and tell nobody a password. Pieces shorter than the second
#: number are replaced only as whole words.
_SHORTEST, _LONG = 4, 8
#: Variables of the environment that are no settings of ours and may hold a secret; their values of this length count.
_SECRET_NAME = re.compile(r"(?i)(passw|secret|token|credential|api_?key|access_?key|_pw$|^pgpass)")
_URL_NAME = re.compile(r"(?i)(_proxy$|_ur[il]$|_dsn$|^dsn$|_index)")
_SHORTEST_FOREIGN = 8
#: Fields of a query that hold a secret.
_SECRET_FIELD = re.compile(r"(?i)(pass|secret|token|key|sig|pw)")
#: What splits a URL that is not quite one.
_DELIMITERS = re.compile(r"[\s@:/?#&=;,%\"'\\\[\]<>(){}|^`]+")
#: Words that our messages have anyway; as a password they are no secret.
_PUBLIC = frozenset({"unmask", "postgres", "postgresql", "redis", "rediss", "sqlite", "http", "https", "localhost"})
#: ``scheme://user:password@`` of any URL, and a query wherever one follows a path.
#: The examples in our own messages are shown.
_USER = re.compile(r"(?<=://)(?!(?:user)?:password@)[^\s/'\"<>]{1,1024}@")
_QUERY = re.compile(r"(?<=[\w/%.~+-])\?[^\s'\"<>)\]]*=[^\s'\"<>)\]]*")


class SecretRegistry:
    """The secrets of this process, in the forms in which they may be written. Safe between threads."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Forget all secrets, as between two tests."""
        self._seen: frozenset[str] = frozenset()
        self._forms: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None

    def add(self, value: str) -> None:
        """Hide a secret from now on: of a URL its password and what else is secret in it, else the whole value."""
        if value in self._seen:
            return
        found = ([] if "://" in value else [value]) + (secret_parts(value) if "@" in value or "://" in value else [])
        forms = {form for part in found for form in _forms(part)}
        self._forms |= {form for form in forms if len(form) >= _SHORTEST and form.lower() not in _PUBLIC}
        self._seen |= {value}
        longest_first = sorted(self._forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(_matching, longest_first))) if longest_first else None

    def hide(self, text: str) -> str:
        """The text without the secrets."""
        return self._pattern.sub(HIDDEN, text) if self._pattern is not None else text


#: The secrets that this process knows.
KNOWN = SecretRegistry()


def redacted(text: str) -> str:
    """The text without known secrets, and without the user names, passwords and queries of URLs."""
    return _QUERY.sub("?...", KNOWN.hide(_USER.sub(f"{HIDDEN}@", text)))


def know_environment(environ: Mapping[str, str]) -> None:
    """Hide what other programs' variables hold: passwords, tokens, and the credentials in proxies' URLs."""
    for name, value in environ.items():
        secret = _SECRET_NAME.search(name) and len(value) >= _SHORTEST_FOREIGN and "/" not in value[:1]
        if (secret and not name.endswith("_FILE")) or (_URL_NAME.search(name) and "@" in value):
            KNOWN.add(value)


class RedactedStream(TextIOWrapper):
    """A text stream that hides known secrets, and credentials in URLs, in whatever is written to it."""

    def write(self, text: str) -> int:
        """Write the text without secrets; returns how long the text was."""
        super().write(KNOWN.hide(_USER.sub(f"{HIDDEN}@", text)))
        return len(text)


def secret_parts(url: str) -> list[str]:
    """What is secret in a URL, however malformed: its password, a user name without one, and secret query fields.

    Without an "@", whatever follows a user name and a colon, except a port, may be a password.
    """
    rest = url.partition("://")[2] or url
    credentials, at, after = rest.rpartition("@")
    found = [credentials.partition(":")[2] or credentials] if at else _loose_passwords(rest)
    if url.lower().startswith("http") and "/" in after:  # an address that only its receiver should know
        found.append(after.partition("/")[2])
    fields = (field.partition("=") for field in re.split(r"[?&]", after)[1:])
    return found + [value for name, _, value in fields if _SECRET_FIELD.search(name)]


def _loose_passwords(text: str) -> list[str]:
    host, colon, password = text.partition(":")
    password = re.split(r"[/?\s]", password)[0]
    return [password] if colon and host and not password.isdecimal() else []


def _matching(form: str) -> str:
    """A pattern of the form: "port" is not to be replaced in "supported"."""
    before, after = r"(?<!\w)" if form[0].isalnum() else "", r"(?!\w)" if form[-1].isalnum() else ""
    return re.escape(form) if len(form) >= _LONG else f"{before}{re.escape(form)}{after}"


def _forms(secret: str) -> set[str]:
    """The secret as it is, decoded, encoded and escaped, and the pieces between delimiters of each."""
    plain = {secret, unquote(secret), unquote_plus(secret), secret.strip()}
    whole = plain | {form for text in plain for form in _escaped(text)}
    return whole | {piece for text in whole for piece in _DELIMITERS.split(text)}


def _escaped(text: str) -> set[str]:
    """The text as URLs, JSON, ``repr`` and a terminal without UTF-8 show it."""
    as_json = json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]
    shown = repr(text)[1:-1], ascii(text)[1:-1], text.encode("ascii", "backslashreplace").decode("ascii")
    return {quote(text, safe=""), quote(text), quote_plus(text), *as_json, *shown}
