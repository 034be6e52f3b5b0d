"""Refuses URLs that no worker would fetch, as far as the settings of the API tell."""

from urllib.parse import SplitResult, urlsplit

from db.api.http.problems import ProblemError, invalid
from db.hostnames import DEFAULT_PORTS, HostAllowlist
from db.settings import PhotoSourceSettings
from db.store.ids import showable, storable


def check_url(url: str, settings: PhotoSourceSettings) -> str:
    """Check the URL of a photo and return it; raises `ProblemError` 422 that says what is wrong."""
    if not storable(url) or not showable(url):
        raise invalid(f"url must not contain control characters: {url[:80]!a}")
    parts = _split(url)
    if parts.scheme in DEFAULT_PORTS:
        _check_host(parts, settings)
    elif parts.scheme not in ("", "file") or parts.netloc:
        raise _refused("url_not_supported", f"url has the scheme {parts.scheme[:40]!r}: use https, http or a path")
    elif settings.allowed_hosts and settings.media_root is None:
        raise _refused(
            "path_not_allowed", "url is a path, but UNMASK_MEDIA_ROOT is not set: set it to the photos' folder"
        )
    elif ".." in parts.path.split("/"):
        raise _refused("path_not_allowed", f"url {url[:80]!r} must not contain '..'")
    return url


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises when it is not a number
    except ValueError:
        raise _refused("url_not_supported", f"url is not a URL: {url[:80]!a}") from None
    if "@" in parts.netloc or "\\" in url:
        raise _refused("url_not_supported", "url must not contain a user name or a backslash")
    return parts


def _check_host(parts: SplitResult, settings: PhotoSourceSettings) -> None:
    if not parts.hostname:
        raise _refused("url_not_supported", "url has no host")
    if not settings.allowed_hosts:  # workers may have an allowlist that this process does not know
        return
    if not HostAllowlist(settings.allowed_hosts).admits(parts.scheme, parts.hostname, parts.port):
        allowed = ", ".join(sorted(settings.allowed_hosts))
        raise _refused("host_not_allowed", f"host {parts.hostname} is not in UNMASK_ALLOWED_HOSTS: {allowed}")
    if parts.scheme == "http" and not settings.allow_http:
        raise _refused("http_not_allowed", f"url uses http: use https for {parts.hostname} (or set UNMASK_ALLOW_HTTP)")


def _refused(code: str, detail: str) -> ProblemError:
    return invalid(detail, code)
