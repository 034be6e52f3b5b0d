"""Ids and other text from outside: what a database can store and a terminal can show."""

import re
import unicodedata
from collections.abc import Iterable

from db.errors import IdError
from db.schema import ID_LENGTH

#: What no database stores (NUL and lone surrogates); and control characters, which break lines where they are shown,
#: with what stands for characters that somebody could not read (U+FFFD to U+FFFF).
_UNSTORABLE = re.compile("[\\0\\ud800-\\udfff]")
_UNSHOWABLE = re.compile("[\\0-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ufffd-\\uffff]")


def check_id(name: str, value: object) -> str:
    """Return an id that fits the schema; raises `IdError` naming it, its limit and its value."""
    if not isinstance(value, str) or not 1 <= len(value) <= ID_LENGTH or _UNSTORABLE.search(value):
        shown = ascii(value) if len(ascii(value)) <= ID_LENGTH else f"{len(str(value))} characters"
        raise IdError(f"{name} must be text of 1 to {ID_LENGTH} characters, without NUL or lone surrogates: {shown}")
    return value


def check_new_id(name: str, value: object) -> str:
    """Return an id that may be added: it fits the schema and has no control characters; else raises `IdError`."""
    checked = check_id(name, value)
    if not showable(checked):
        raise IdError(f"{name} must be without control characters: {checked!a}")
    return checked


def storable(text: str) -> bool:
    """Whether a database can store this text."""
    return not _UNSTORABLE.search(text)


def showable(text: str) -> bool:
    """Whether this text has no control characters, such as line ends."""
    return not _UNSHOWABLE.search(text)


def look_alike(name: str, known: Iterable[str]) -> str | None:
    """The known name that people would take for this one: they differ in letter case, or in how Unicode spells them."""
    folded = _folded(name)
    return next((other for other in known if _folded(other) == folded), None)


def _folded(name: str) -> str:
    spelt = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(character for character in spelt if unicodedata.category(character) != "Cf").strip()
