"""Enqueues photos and reads results by HTTP, for applications with another database. It needs `unmask serve`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, overload
from urllib.parse import quote

from unmask_client.errors import HttpError, UnreachableError
from unmask_client.photo import MAX_ID, MAX_URL, check_lane, check_text, new_id
from unmask_client.transport import Transport, parsed

#: Photos in one request of a batch.
BATCH = 1000
_NOT_FOUND = 404


class HttpClient:
    """Enqueues photos at an Unmask server and reads results from it.

    Each method raises `HttpError` if the server refuses (with the status, title, detail and time to try again),
    `ConflictError` if the id stands for another photo, and `UnreachableError` if there is no answer. Trying again with
    the same image id is safe. The default policy is the key's own, or "default".

    Args:
        base_url: the address of ``unmask serve``, such as ``https://unmask.example.com``.
        key: the text that ``unmask key add`` printed.
        timeout: seconds to wait for an answer, in addition to a call's ``wait``.
    """

    def __init__(self, base_url: str, key: str, *, timeout: float = 10.0) -> None:
        self._transport = Transport(base_url, key, timeout)

    @overload
    def enqueue(
        self,
        *,
        account_id: str,
        url: str,
        image_id: str | None = None,
        policy: str | None = None,
        lane: str = "upload",
        wait: None = None,
    ) -> str: ...
    @overload
    def enqueue(
        self,
        *,
        account_id: str,
        url: str,
        image_id: str | None = None,
        policy: str | None = None,
        lane: str = "upload",
        wait: int,
    ) -> dict[str, Any]: ...
    def enqueue(
        self,
        *,
        account_id: str,
        url: str,
        image_id: str | None = None,
        policy: str | None = None,
        lane: str = "upload",
        wait: int | None = None,
    ) -> str | dict[str, Any]:
        """Enqueue one photo and return its id; with ``wait`` seconds, wait for the verdict and return what is known."""
        fields = {**_fields(account_id, image_id, policy, lane), "url": check_text("url", url, MAX_URL)}
        return self._post(json.dumps(fields).encode(), "application/json", fields["image_id"], wait)

    @overload
    def enqueue_photo(
        self,
        data: bytes,
        *,
        account_id: str,
        image_id: str | None = None,
        policy: str | None = None,
        lane: str = "upload",
        wait: None = None,
    ) -> str: ...
    @overload
    def enqueue_photo(
        self,
        data: bytes,
        *,
        account_id: str,
        image_id: str | None = None,
        policy: str | None = None,
        lane: str = "upload",
        wait: int,
    ) -> dict[str, Any]: ...
    def enqueue_photo(
        self,
        data: bytes,
        *,
        account_id: str,
        image_id: str | None = None,
        policy: str | None = None,
        lane: str = "upload",
        wait: int | None = None,
    ) -> str | dict[str, Any]:
        """Enqueue a photo as `enqueue` does, with the bytes of its file instead of a URL."""
        fields = _fields(account_id, image_id, policy, lane)
        return self._post(*_multipart(fields, data), fields["image_id"], wait)

    def result(self, image_id: str, *, wait: int | None = None) -> dict[str, Any] | None:
        """The verdict on a photo, or None if its id is unknown.

        Its keys: ``image_id``, ``state`` (pending, scored, unusable, failed), ``score``, ``flagged``, ``threshold``,
        ``one_in``, ``one_in_at_least``, ``reference``, ``model``, ``reason``, ``flagged_by``, ``evidence``,
        ``verdict`` (flagged, unstable, clear), ``score_low``, ``score_high``, ``signals``. Without a score, ``flagged``
        is None, which does not mean that the photo is real. Of an unstable photo, which waits for a person, it is None,
        too.
        """
        try:
            return parsed(self._transport.send("GET", _path(image_id), {}, wait=wait).body)
        except HttpError as error:
            if _is_unknown(error):
                return None
            raise

    def delete(self, image_id: str) -> bool:
        """Delete a photo: Unmask erases its URL and bytes. False if its id is unknown."""
        try:
            self._transport.send("DELETE", _path(image_id), {})
        except HttpError as error:
            if _is_unknown(error):
                return False
            raise
        return True

    def batch(self, photos: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """Enqueue many photos, 1,000 in a request; yields the result of each, in their order.

        Args:
            photos: mappings with the arguments of `enqueue`. Give each its ``image_id``: then you can send an
                interrupted batch again as a whole.

        Yields:
            ``{"line", "status", "image_id", "state"}``, or the problem of this photo alone: ``{"line", "status",
            "problem"}``, where the problem has a ``title`` and a ``detail``. Lines count from 1 in each request.
        """
        rest = iter(photos)
        while rows := list(islice(rest, BATCH)):
            yield from self._batch(rows)

    def _batch(self, rows: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
        lines = "".join(json.dumps({"image_id": new_id(), **row}) + "\n" for row in rows)
        headers = {"Content-Type": "application/x-ndjson"}
        reply = self._transport.send("POST", "/v1/images:batch", headers, lines.encode())
        fates = [parsed(line) for line in reply.body.splitlines() if line.strip()]
        if len(fates) != len(rows):
            raise UnreachableError(f"the server answered {len(fates)} photos of a batch of {len(rows)}")
        return fates

    def _post(self, body: bytes, kind: str, image_id: str, wait: int | None) -> str | dict[str, Any]:
        verdict = parsed(self._transport.send("POST", "/v1/images", {"Content-Type": kind}, body, wait).body)
        if verdict.get("image_id") != image_id:
            raise UnreachableError(f"the server's answer is not about image {image_id!a}")
        return image_id if wait is None else verdict


def _fields(account_id: str, image_id: str | None, policy: str | None, lane: str) -> dict[str, str]:
    """The fields of a photo besides its URL or bytes; without a policy the server uses the key's own, or "default"."""
    fields = {
        "account_id": check_text("account_id", account_id, MAX_ID),
        "image_id": check_text("image_id", new_id() if image_id is None else image_id, MAX_ID),
        "lane": check_lane(lane),
    }
    return fields if policy is None else {**fields, "policy": check_text("policy", policy, MAX_ID)}


def _path(image_id: str) -> str:
    return f"/v1/images/{quote(check_text('image_id', image_id, MAX_ID), safe='')}"


def _is_unknown(error: HttpError) -> bool:
    """Whether Unmask says that the id is unknown; a proxy's 404 for a wrong path does not count."""
    return error.status == _NOT_FOUND and bool(error.problem)


def _multipart(fields: Mapping[str, str], photo_bytes: bytes) -> tuple[bytes, str]:
    """A body of ``multipart/form-data`` and its content type. The values were checked: they have no line breaks."""
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="photo"; filename="photo"\r\n'
    parts.append(f"{head}Content-Type: application/octet-stream\r\n\r\n".encode() + photo_bytes)
    return b"".join([*parts, f"\r\n--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"
