"""Downloads a photo by HTTP: from an allowed host at a public address, within its deadline and its size limit.

Each hop is a request of its own, without a `requests.Session`: so there are no cookies, proxies or .netrc, and nothing
but the target of a redirect is read.
"""

import re
import threading
import time
from collections.abc import Iterable, Iterator

import requests
from requests import PreparedRequest, Request, Response
from requests.exceptions import InvalidHeader
from urllib3 import Timeout
from urllib3.exceptions import HTTPError, IncompleteRead

from trainer.errors import Rejected
from trainer.pixels.limits import LIMITS, check_bytes
from worker.core.errors import FetchError
from worker.core.settings import FetchSettings
from worker.photos.allowlist import AllowedHosts, split_url
from worker.photos.content_coding import decoded
from worker.photos.http_status import check_status
from worker.photos.pinning import PinningAdapter, PublicResolver
from worker.photos.request_target import TARGET_HEADER, exact_target, redirect_url

#: Redirects that are followed; each target is checked like the first URL.
MAX_REDIRECTS = 3
_CHUNK = 64 * 1024
_CONNECT_TIMEOUT_S = 5.0
_LENGTH = re.compile(r"[0-9]{1,18}")
#: Photos are compressed already: packing them again only costs time.
_HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "unmask"}


class Downloader:
    """Downloads within the limits of its settings; safe to share between threads, each with its own connections."""

    def __init__(self, settings: FetchSettings) -> None:
        self._hosts = AllowedHosts(settings.allowed_hosts, http=settings.allow_http)
        self._resolver = PublicResolver(settings.allow_private_addresses)
        self._verify = str(settings.ca_bundle) if settings.ca_bundle is not None else True
        self._timeout_s = settings.fetch_timeout_s
        self._own = threading.local()

    def get(self, url: str) -> bytes:
        """The bytes behind a URL; raises `FetchError`, or `Rejected` when it is empty or too large."""
        deadline = time.monotonic() + self._timeout_s
        try:
            return self._follow(url, deadline)
        except (requests.RequestException, HTTPError, OSError) as error:
            if isinstance(error, requests.Timeout) or time.monotonic() >= deadline:
                raise FetchError("timeout", f"not complete within {self._timeout_s:g} s", transient=True) from error
            raise _broken(error) from error
        except ValueError as error:  # from urllib for a redirect's URL, from http.client for a negative chunk length
            raise FetchError("connection", f"the answer is invalid: {error}"[:200], transient=True) from error

    def _follow(self, url: str, deadline: float) -> bytes:
        for _ in range(1 + MAX_REDIRECTS):
            with self._ask(url, deadline) as response:
                if not response.is_redirect:
                    return _photo(response)
                url = redirect_url(url, response.headers["Location"])
        raise FetchError("too_many_redirects", f"more than {MAX_REDIRECTS}")

    def _ask(self, url: str, deadline: float) -> Response:
        request = _prepared(url)
        self._hosts.check(request.url or "")  # as requests reads it, which is where it will connect
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0:
            raise requests.Timeout
        timeout = Timeout(total=remaining_s, connect=min(_CONNECT_TIMEOUT_S, remaining_s), read=remaining_s)
        adapter = self._adapter()
        return adapter.send(request, stream=True, timeout=timeout, verify=self._verify)  # type: ignore[arg-type]  # its docs allow urllib3's

    def _adapter(self) -> PinningAdapter:
        """This thread's own: sharing connections between threads is safe, and not worth a lock."""
        if not hasattr(self._own, "adapter"):
            self._own.adapter = PinningAdapter(self._resolver)
        adapter: PinningAdapter = self._own.adapter
        return adapter


def _prepared(url: str) -> PreparedRequest:
    """A request to the URL's host. `requests` reads the host only: it would rewrite the target."""
    parts = split_url(url)
    try:
        request = Request("GET", f"{parts.scheme}://{parts.netloc}/", headers=_HEADERS).prepare()
        request.headers[TARGET_HEADER] = exact_target(url)
    except (requests.RequestException, ValueError) as error:
        raise FetchError("url_not_supported", f"not a URL: {type(error).__name__}") from error
    return request


def _photo(response: Response) -> bytes:
    check_status(response.status_code, response.headers.get("Retry-After"))
    _check_length(response)
    chunks = response.raw.stream(_CHUNK, decode_content=False)
    return _body(decoded(_capped(chunks), response.headers.get("Content-Encoding", "identity")))


def _check_length(response: Response) -> None:
    """Refuse a ``Content-Length`` that is no number: http.client would read on until the connection ends."""
    lengths = response.raw.headers.getlist("Content-Length")
    if lengths and (len(set(lengths)) > 1 or not _LENGTH.fullmatch(lengths[0])):
        shown = ", ".join(lengths)[:40]
        raise FetchError("content_length", f"Content-Length {shown!r} is not a number of bytes", transient=True)


def _capped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Count what arrives, whatever Content-Length says."""
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > LIMITS.max_bytes:
            raise Rejected("too_many_bytes", f"{LIMITS.max_bytes} bytes", "more")
        yield chunk


def _body(chunks: Iterable[bytes]) -> bytes:
    data = bytearray()
    for chunk in chunks:
        data += chunk
    check_bytes(len(data))
    return bytes(data)


def _broken(error: Exception) -> FetchError:
    """The reason of an answer that broke off, or was none; a length that does not hold is named."""
    if isinstance(error, InvalidHeader):
        return FetchError("content_length", "Content-Length is given twice, with different values", transient=True)
    cause = error.args[-1] if error.args else None
    if isinstance(cause, IncompleteRead) and cause.expected is not None:
        came = f"{cause.partial} of {cause.partial + cause.expected} bytes came"
        return FetchError("content_length", f"the body does not match Content-Length: {came}", transient=True)
    return FetchError("connection", type(error).__name__, transient=True)
