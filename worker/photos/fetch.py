"""A photo's bytes: from a file below the media root, or by HTTP from an allowed host. Nothing else, and no more."""

from urllib.parse import unquote

from worker.photos.download import Downloader
from worker.core.errors import FetchError
from worker.photos.hosts import split
from worker.photos.media import MediaRoot
from worker.core.settings import FetchSettings


class Fetcher:
    """Fetches photos within the limits of its settings; safe to share between threads."""

    def __init__(self, settings: FetchSettings) -> None:
        self._media = MediaRoot(settings.media_root)
        self._web = Downloader(settings)

    def fetch(self, url: str) -> bytes:
        """The bytes behind a URL or path; raises `FetchError`, or `Rejected` when there are none or too many."""
        parts = split(url)
        if parts.scheme in ("http", "https"):
            return self._web.get(url)
        if parts.scheme in ("", "file") and not parts.netloc:
            return self._media.read(unquote(parts.path) if parts.scheme else url)
        raise FetchError("url_not_supported", f"scheme {parts.scheme or parts.netloc!r}: http, https or a path")
