"""What browsers send: URL-encoded forms with a CSRF token, row numbers, and paths to return to."""

import asyncio
import hashlib
import hmac
from urllib.parse import parse_qsl

from starlette.convertors import Convertor
from starlette.requests import Request

from db.errors import DbError

LIMIT_BYTES = 64 * 1024
_FIELDS = 100
_FIELD_CHARACTERS = 20_000
#: The largest id that a row can have.
_MAX_ROW = 2**63 - 1
_DIGITS = len(str(_MAX_ROW))


class RowNumberConvertor(Convertor[int]):
    """A row's id in a path. A longer number matches no route: Python refuses to read one of 4,300 digits."""

    regex = f"[0-9]{{1,{_DIGITS}}}"

    def convert(self, value: str) -> int:
        """Read the number; `PageContext.path_number` refuses those that no row can have."""
        return int(value)

    def to_string(self, value: int) -> str:
        """Write the number."""
        return str(value)


class FormError(DbError):
    """A form that is too large or cannot be read."""


async def read_form(request: Request, timeout_s: float) -> dict[str, str]:
    """The fields of a form, the last of each name, without NUL, which SQL cannot store; raises `FormError`."""
    try:
        async with asyncio.timeout(timeout_s):
            body = await _read_body(request)
    except TimeoutError as error:
        raise FormError(f"the form did not arrive within {timeout_s:g} seconds") from error
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_FIELDS, errors="strict")
    except ValueError as error:
        raise FormError(f"the form cannot be read, or has more than {_FIELDS} fields") from error
    for name, value in fields:
        if len(name) + len(value) > _FIELD_CHARACTERS:
            raise FormError(f"a field of the form has more than {_FIELD_CHARACTERS} characters")
    return {name: value.replace("\0", "") for name, value in fields}


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LIMIT_BYTES:
            raise FormError(f"the form has more than {LIMIT_BYTES} bytes")
    return bytes(body)


def form_token(csrf_seed: str) -> str:
    """The CSRF token: forms of this browser carry it, and other sites cannot know it."""
    return hmac.new(csrf_seed.encode(), b"form", hashlib.sha256).hexdigest()


def is_form_token(given: str, csrf_seed: str) -> bool:
    """Whether a form came from this browser's pages."""
    return hmac.compare_digest(given.encode(), form_token(csrf_seed).encode())


def local_path(path: str) -> str:
    """A path to redirect to: the given one if it is on this console, else "/"."""
    ours = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if ours else "/"


def parse_row_number(text: str) -> int | None:
    """A row's id; None for text that is not one."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None
    return number if number is None or number <= _MAX_ROW else None
