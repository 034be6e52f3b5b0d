"""Reading request bodies: chunk by chunk, and no further than their limits."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from db.api.http.problems import ProblemError, busy, invalid, too_large

#: Fields that a form may have besides the photo, and bytes of each.
_FIELDS = 8
_FIELD_BYTES = 8 * 1024
#: Bytes that a form may have besides the photo.
_FORM_BYTES = 64 * 1024


class BodyBudget:
    """The bytes that the bodies of all current requests hold in memory together."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._held = 0

    @contextmanager
    def hold(self) -> Iterator["Held"]:
        """A share of the budget; the end of the block returns it."""
        held = Held(self)
        try:
            yield held
        finally:
            self._held -= held.size

    def take(self, size: int) -> None:
        """Take ``size`` bytes of the budget; raises `ProblemError` 503 when too few are left."""
        if self._held + size > self._limit:
            detail = "the bodies of other requests use all memory for bodies: try again"
            raise busy(detail, "UNMASK_API_MAX_BODY_BYTES", self._limit, 1)
        self._held += size


@dataclass
class Held:
    """One request's share of the budget."""

    budget: BodyBudget
    size: int = 0

    def add(self, size: int) -> None:
        """Hold ``size`` more bytes; raises `ProblemError` 503."""
        self.budget.take(size)
        self.size += size


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """The largest body in bytes, the name of that limit in problems, and the time for the whole body."""

    max_bytes: int
    name: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Form:
    """A photo's bytes and the other fields of its form."""

    photo: bytes
    fields: dict[str, str] = field(default_factory=dict)


async def read_body(request: Request, held: Held, limit: BodyLimit) -> bytes:
    """The whole body; raises `ProblemError` 400, 408, 413 or 503."""
    chunks = [chunk async for chunk in _bounded(request, held, limit)]
    return b"".join(chunks)


async def read_photo_form(request: Request, held: Held, limit: BodyLimit) -> Form:
    """The file ``photo`` of a multipart form and its text fields; raises `ProblemError` 422, or as `read_body`."""
    whole = BodyLimit(limit.max_bytes + _FORM_BYTES, limit.name, limit.timeout_s)
    stream = _bounded(request, held, whole)
    parser = MultiPartParser(request.headers, stream, max_files=1, max_fields=_FIELDS, max_part_size=_FIELD_BYTES)
    parser.spool_max_size = whole.max_bytes  # in memory: there may be no disk
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise invalid(f"the body is not a form: {error.message}") from error
    except (KeyError, ValueError) as error:
        raise invalid("the body is not a form: its parts cannot be read") from error
    try:
        return await _form(form, limit)
    finally:
        await form.close()


async def _form(form: FormData, limit: BodyLimit) -> Form:
    photo = form.get("photo")
    if not isinstance(photo, UploadFile):
        raise _no_file(photo, form.get("url"))
    data = await photo.read()
    if len(data) > limit.max_bytes:
        raise too_large("the photo", limit.name, limit.max_bytes)
    return Form(data, once((name, value) for name, value in form.multi_items() if isinstance(value, str)))


def once(given: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The fields of a form or query; raises `ProblemError` 422 for one that is given twice: it would be a guess."""
    fields: dict[str, str] = {}
    for name, value in given:
        if name in fields:
            raise invalid(f"the field {name[:80]!a} is given twice: send it once")
        fields[name] = value
    return fields


def _no_file(photo: str | None, url: object) -> ProblemError:
    if photo is not None:
        return invalid("the form's field 'photo' is text and not a file: with curl, write -F photo=@FILE")
    if url is not None:
        return invalid("the form has no file in the field 'photo': to send a URL, post JSON")
    return invalid("the form has no file in the field 'photo': add it")


async def _bounded(request: Request, held: Held, limit: BodyLimit) -> AsyncGenerator[bytes]:
    _check_coding(request.headers.get("content-encoding", ""))
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit.max_bytes:
        raise too_large("the body", limit.name, limit.max_bytes)
    size = 0
    async for chunk in _timed(request, limit.timeout_s):
        size += len(chunk)
        if size > limit.max_bytes:
            raise too_large("the body", limit.name, limit.max_bytes)
        held.add(len(chunk))
        yield chunk


def _check_coding(coding: str) -> None:
    """Raises `ProblemError` 415 for a packed body: it would be stored as it is, and fail as a photo later."""
    if coding.strip().lower() not in ("", "identity"):
        detail = f"the body's Content-Encoding is {coding[:80]!a}: send it as it is"
        raise ProblemError(415, "content_encoding", detail, headers={"Accept-Encoding": "identity"})


async def _timed(request: Request, timeout_s: float) -> AsyncGenerator[bytes]:
    stream, deadline = aiter(request.stream()), asyncio.get_running_loop().time() + timeout_s
    try:
        while True:
            async with asyncio.timeout_at(deadline):  # not around the yield: the reader may stop there
                chunk = await anext(stream)
            yield chunk
    except StopAsyncIteration:
        return
    except TimeoutError:
        detail = f"the body did not arrive within {timeout_s:g} s: send it faster, or a smaller one"
        raise ProblemError(408, "timeout", detail, "UNMASK_API_BODY_TIMEOUT_S", timeout_s) from None
    except ClientDisconnect:
        raise ProblemError(400, "disconnected", "the client closed the connection before the end of the body") from None
