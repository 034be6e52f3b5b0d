"""Checks messages before Celery acts on them: anyone who can write to the broker can write anything.

A valid message is JSON that calls one of our tasks with the fields that it takes, which hold ids. It carries nothing
that would make Celery do more: no callbacks, no chains, no times to wait for.
"""

import base64
import functools
import inspect
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from celery.app.task import Context

from db.store.ids import check_id

log = logging.getLogger(__name__)

SCORE_IMAGES = "worker.score_images"
FULFIL_REQUESTS = "worker.fulfil_requests"
INGEST_IMAGE = "worker.ingest_image"
#: Tasks whose work is recorded in SQL: the relay sends it again until it is done.
ON_RECORD = {SCORE_IMAGES, FULFIL_REQUESTS}
#: Most ids in one message, and most characters in its body; more is a mistake or an attack.
MAX_IDS = 1000
MAX_BODY = 1_000_000
#: Headers that inform and have no effect.
_INFORMATIVE = {"task", "id", "lang", "argsrepr", "kwargsrepr", "origin", "root_id", "parent_id", "ignore_result"}
#: Fields that Celery sends empty, in the headers and in the body, and would act on if they were not.
_EMPTY = {"eta", "expires", "group", "group_index", "chord", "shadow", "timelimit", "stamped_headers", "stamps"}
_EMBEDDED = {"callbacks", "errbacks", "chain", "chord"}
#: Headers that kombu would act on before Celery sees them.
_KOMBU = {"compression"}
#: Headers that hold numbers, which Celery itself counts up.
_COUNTS = {"retries", "replaced_task_nesting"}


class MessageError(ValueError):
    """A message is refused. ``reason`` is a code that can be counted, one of `refusals.REFUSALS`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


def check_message(message: object, tasks: Mapping[str, Callable[..., Any]]) -> None:
    """Raises `MessageError` unless this is a message, as kombu keeps it in Redis, that calls one of ``tasks``."""
    headers, body = _headers(message), _body(message)
    name = headers.get("task")
    if not isinstance(name, str) or name not in tasks:
        raise MessageError("unknown_task", str(name)[:80])
    if given := [key for key, value in headers.items() if _acts(key, value)]:
        raise MessageError("unknown_field", ", ".join(given)[:200])
    _check_arguments(tasks[name], *body)


def _acts(key: str, value: object) -> bool:
    """Whether Celery would act on a header: it trusts any that its request class knows."""
    if key in _EMPTY:
        return value not in (None, [None, None], [], {})
    if key in _COUNTS:
        return type(value) is not int
    return key not in _INFORMATIVE and (key in _KOMBU or key.startswith("_") or hasattr(Context, key))


def check_ids(name: str, value: object) -> list[str]:
    """The value, a list of at most `MAX_IDS` ids; raises ValueError naming the field when it is not."""
    if not isinstance(value, list) or len(value) > MAX_IDS:
        raise ValueError(f"{name} must be a list of at most {MAX_IDS} ids")
    return [check_id(name, item) for item in value]


def _headers(message: object) -> dict[str, Any]:
    match message:
        case {
            "headers": dict(headers),
            "properties": {"body_encoding": "base64", "delivery_tag": str(), "delivery_info": dict()},
            "content-type": "application/json",
            "content-encoding": "utf-8",
        } if isinstance(headers.get("id"), str):
            return headers
    raise MessageError("not_a_message", "it is not the JSON that our client writes")


def _body(message: Any) -> tuple[list[Any], dict[str, Any]]:
    try:
        text = message["body"]
        if len(text) > MAX_BODY:
            raise MessageError("too_large", f"{len(text)} characters (allowed: {MAX_BODY})")
        read = base64.b64decode(text, validate=True).decode()  # json would accept UTF-16, too; kombu would not
        arguments, fields, embedded = json.loads(read, object_hook=_plain)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, MessageError):
            raise
        raise MessageError("not_a_message", f"its body cannot be read: {type(error).__name__}") from error
    if not (isinstance(arguments, list) and isinstance(fields, dict) and isinstance(embedded, dict)):
        raise MessageError("not_a_message", "its body is not [arguments, fields, options]")
    if given := [key for key, value in embedded.items() if value or key not in _EMBEDDED]:
        raise MessageError("unknown_field", ", ".join(given)[:200])
    return arguments, fields


def _plain(given: dict[str, Any]) -> dict[str, Any]:
    """Refuse the key that makes kombu build another object than JSON has, or fail."""
    if "__type__" in given:
        raise MessageError("unknown_field", "__type__")
    return given


_signature = functools.cache(inspect.signature)


def _check_arguments(task: Callable[..., Any], arguments: list[Any], fields: dict[str, Any]) -> None:
    try:
        given = _signature(task).bind(*arguments, **fields).arguments
    except TypeError as error:
        raise MessageError("unknown_field", str(error)[:200]) from error
    try:
        for name, value in given.items():
            _CHECKS.get(name, check_id)(name, value)
    except ValueError as error:
        raise MessageError("bad_id", str(error)[:200]) from error


def check_numbers(name: str, value: object) -> list[int]:
    """The value, a list of at most `MAX_IDS` row numbers; raises ValueError naming the field when it is not."""
    numbers = isinstance(value, list) and all(type(item) is int and 0 < item < 2**63 for item in value)
    if not isinstance(value, list) or not numbers or len(value) > MAX_IDS:
        raise ValueError(f"{name} must be a list of at most {MAX_IDS} numbers")
    return value


def _check_url(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text")  # noqa: TRY004 - the error of every refused value here


_CHECKS: dict[str, Callable[[str, object], object]] = {
    "image_ids": check_ids,
    "request_ids": check_numbers,
    "url": _check_url,
}
