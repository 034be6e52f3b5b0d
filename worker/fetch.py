"""A photo's bytes: from a file below the media root, or by HTTP from an allowed host. Nothing else, and no more."""

import stat
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

import requests

from trainer.errors import Rejected
from trainer.preprocess import LIMITS, check_bytes
from worker.errors import FetchError
from worker.settings import FetchSettings

_CHUNK = 64 * 1024
_CONNECT_TIMEOUT_S = 5.0
#: Answers that another attempt may change.
_TRANSIENT = frozenset({408, 425, 429})


class Fetcher:
    """Fetches photos within the limits of its settings; safe to share between threads."""

    def __init__(self, settings: FetchSettings) -> None:
        self._root = settings.media_root.resolve() if settings.media_root is not None else None
        self._hosts = frozenset(host.lower() for host in settings.allowed_hosts)
        self._timeout_s = settings.fetch_timeout_s

    def fetch(self, url: str) -> bytes:
        """The bytes behind a URL or path; raises `FetchError`, or `Rejected` when there are none or too many."""
        parts = _split(url)
        if parts.scheme in ("http", "https"):
            return self._download(url, parts)
        if parts.scheme in ("", "file") and not parts.netloc:
            return self._read(unquote(parts.path) if parts.scheme else url)
        raise FetchError("url_not_supported", f"scheme {parts.scheme or parts.netloc!r}: http, https or a path")

    def _read(self, path: str) -> bytes:
        if self._root is None:
            raise FetchError("path_not_allowed", "photos by path need UNMASK_MEDIA_ROOT, the folder they lie below")
        try:
            found = (self._root / path).resolve()  # of what lies outside nobody learns even whether it exists
            if not found.is_relative_to(self._root):
                raise FetchError("path_not_allowed", f"{path} lies outside UNMASK_MEDIA_ROOT")
            return _file_bytes(found)
        except FileNotFoundError as error:
            raise FetchError("not_found", f"{path} is not below UNMASK_MEDIA_ROOT") from error
        except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links in a circle, before Python 3.13
            raise FetchError("unreadable", f"{path}: {type(error).__name__}") from error

    def _download(self, url: str, parts: SplitResult) -> bytes:
        self._check_host(parts)
        deadline = time.monotonic() + self._timeout_s
        try:
            with requests.Session() as session:
                session.trust_env = False  # no proxies, no .netrc: what this process may reach is said by settings
                with session.get(
                    url,
                    stream=True,
                    allow_redirects=False,
                    timeout=(_CONNECT_TIMEOUT_S, self._timeout_s),
                    headers={"Accept-Encoding": "identity", "User-Agent": "unmask"},
                ) as response:
                    _check_status(response)
                    return _body(response, deadline)
        except requests.RequestException as error:
            if isinstance(error, requests.Timeout) or time.monotonic() >= deadline:
                raise FetchError("timeout", f"not all came within {self._timeout_s:g} s", transient=True) from error
            raise FetchError("connection", type(error).__name__, transient=True) from error

    def _check_host(self, parts: SplitResult) -> None:
        host = (parts.hostname or "").lower()
        named = f"{host}:{parts.port}" if parts.port else host
        if host not in self._hosts and named not in self._hosts:
            allowed = ", ".join(sorted(self._hosts)) or "none; set UNMASK_ALLOWED_HOSTS"
            raise FetchError("host_not_allowed", f"{named or 'no host'} (allowed: {allowed})")
        if parts.username is not None:
            raise FetchError("url_not_supported", "a URL with a user name")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises when it is not a number
    except ValueError as error:
        raise FetchError("url_not_supported", f"not a URL: {error}") from error
    return parts


def _file_bytes(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
        raise FetchError("unreadable", f"{path.name} is not a regular file")
    with path.open("rb") as file:
        data = file.read(LIMITS.max_bytes + 1)
    check_bytes(len(data))
    return data


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    if status == requests.codes.ok:
        return
    if status in (requests.codes.not_found, requests.codes.gone):
        raise FetchError("not_found", f"HTTP {status}")
    transient = status in _TRANSIENT or status >= requests.codes.server_error
    raise FetchError("http_status", f"HTTP {status}", transient=transient)


def _body(response: requests.Response, deadline: float) -> bytes:
    """What was sent, by what arrives and not by what Content-Length says."""
    data = bytearray()
    timer = threading.Timer(deadline - time.monotonic(), _hang_up, [response])  # requests' timeout is for each read
    timer.start()
    try:
        for chunk in response.iter_content(_CHUNK):
            data += chunk
            if len(data) > LIMITS.max_bytes:
                raise Rejected("too_many_bytes", f"{LIMITS.max_bytes} bytes", "more")
    finally:
        timer.cancel()
    if time.monotonic() >= deadline:
        raise FetchError("timeout", f"{len(data)} bytes came in time, and not the rest", transient=True)
    check_bytes(len(data))
    return bytes(data)


def _hang_up(response: requests.Response) -> None:
    """Make a read that waits on the other side end now."""
    with suppress(OSError, RuntimeError, ValueError):  # it has just ended by itself
        response.raw.shutdown()
