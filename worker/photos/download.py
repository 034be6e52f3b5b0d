"""A photo's bytes by HTTP: from an allowed host at a public address, in time, and no more than a photo may have.

Each hop is asked by itself, without a `requests.Session`: so there are no cookies, no proxies and no .netrc, and of a
redirect nothing but its target is read.
"""

import threading
import time
from urllib.parse import urljoin

import requests
from requests import PreparedRequest, Request, Response
from urllib3 import Timeout

from trainer.errors import Rejected
from trainer.pixels.limits import LIMITS, check_bytes
from worker.photos.adapter import PinningAdapter
from worker.photos.addresses import Addresses
from worker.core.errors import FetchError
from worker.photos.hosts import Hosts, split
from worker.core.settings import FetchSettings

#: Hops after the first; each is checked as the first is.
MAX_REDIRECTS = 3
_CHUNK = 64 * 1024
_CONNECT_TIMEOUT_S = 5.0
#: Answers that another attempt may change.
_TRANSIENT = frozenset({408, 425, 429})
#: Without compression the bytes that come are the bytes that are kept, and no bomb can hide in them.
_HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "unmask"}


class Downloader:
    """Downloads within the limits of its settings; safe to share between threads, each of which keeps connections."""

    def __init__(self, settings: FetchSettings) -> None:
        self._hosts = Hosts(settings.allowed_hosts, http=settings.allow_http)
        self._addresses = Addresses(settings.allow_private_addresses)
        self._verify = str(settings.ca_bundle) if settings.ca_bundle is not None else True
        self._timeout_s = settings.fetch_timeout_s
        self._own = threading.local()

    def get(self, url: str) -> bytes:
        """The bytes behind a URL; raises `FetchError`, or `Rejected` when there are none or too many."""
        deadline = time.monotonic() + self._timeout_s
        try:
            return self._follow(url, deadline)
        except (requests.RequestException, OSError) as error:
            if isinstance(error, requests.Timeout) or time.monotonic() >= deadline:
                raise FetchError("timeout", f"not all came within {self._timeout_s:g} s", transient=True) from error
            raise FetchError("connection", type(error).__name__, transient=True) from error
        except ValueError as error:  # urllib of a redirect's URL, http.client of a chunk's length below zero
            raise FetchError("connection", f"its answer makes no sense: {error}"[:200], transient=True) from error

    def _follow(self, url: str, deadline: float) -> bytes:
        for _ in range(1 + MAX_REDIRECTS):
            with self._ask(url, deadline) as response:
                if not response.is_redirect:
                    return _photo(response)
                url = urljoin(response.url, response.headers["Location"])
        raise FetchError("too_many_redirects", f"more than {MAX_REDIRECTS}")

    def _ask(self, url: str, deadline: float) -> Response:
        request = _prepared(url)
        self._hosts.check(request.url or "")  # as requests reads it, which is where it will connect
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0:
            raise requests.Timeout
        timeout = Timeout(total=remaining_s, connect=min(_CONNECT_TIMEOUT_S, remaining_s), read=remaining_s)
        response: Response = self._adapter(request).send(request, stream=True, timeout=timeout, verify=self._verify)
        return response

    def _adapter(self, request: PreparedRequest) -> PinningAdapter:
        """This thread's own: connections that two threads share are safe, and not worth a lock."""
        https = (request.url or "").startswith("https:")
        adapters: dict[bool, PinningAdapter] = self._own.__dict__.setdefault("adapters", {})
        if https not in adapters:
            adapters[https] = PinningAdapter(self._addresses, https=https)
        return adapters[https]


def _prepared(url: str) -> PreparedRequest:
    split(url)
    try:
        return Request("GET", url, headers=_HEADERS).prepare()
    except (requests.RequestException, ValueError) as error:
        raise FetchError("url_not_supported", f"not a URL: {type(error).__name__}") from error


def _photo(response: Response) -> bytes:
    _check_status(response.status_code)
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise FetchError("content_encoding", f"{encoding[:40]!r}, where identity was asked for")
    return _body(response)


def _check_status(status: int) -> None:
    if status == requests.codes.ok:
        return
    if status in (requests.codes.not_found, requests.codes.gone):
        raise FetchError("not_found", f"HTTP {status}")
    transient = status in _TRANSIENT or status >= requests.codes.server_error
    raise FetchError("http_status", f"HTTP {status}", transient=transient)


def _body(response: Response) -> bytes:
    """What was sent, by what arrives and not by what Content-Length says."""
    data = bytearray()
    for chunk in response.iter_content(_CHUNK):
        data += chunk
        if len(data) > LIMITS.max_bytes:
            raise Rejected("too_many_bytes", f"{LIMITS.max_bytes} bytes", "more")
    check_bytes(len(data))
    return bytes(data)
