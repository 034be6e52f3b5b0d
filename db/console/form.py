"""Forms as browsers send them: URL-encoded, small, and without what SQL cannot keep."""

from urllib.parse import parse_qsl

from starlette.requests import Request

from db.errors import DbError

LIMIT_BYTES = 64 * 1024
_FIELDS = 100


class FormError(DbError):
    """A form that is too large, or none."""


async def read(request: Request) -> dict[str, str]:
    """The fields of a form, the last of each name; raises `FormError`."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LIMIT_BYTES:
            raise FormError(f"a form of more than {LIMIT_BYTES} bytes")
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_FIELDS, errors="strict")
    except ValueError as error:
        raise FormError("the form cannot be read") from error
    return {name: value.replace("\0", "") for name, value in fields}
