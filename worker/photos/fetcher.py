"""The one way to a photo's bytes: the record, a file below the media root, or HTTP from an allowed host."""

from collections.abc import Callable
from urllib.parse import unquote

from db.store.session import Database
from db.work import uploads
from trainer.pixels.limits import check_bytes
from worker.core.errors import FetchError
from worker.core.settings import FetchSettings
from worker.photos.allowlist import split_url
from worker.photos.downloader import Downloader
from worker.photos.media import MediaRoot

#: The bytes behind an upload's URL, or None when they are no longer kept.
ReadUpload = Callable[[str], bytes | None]


def upload_reader(database: Database) -> ReadUpload:
    """Reads the bytes of uploads from this record."""

    def read(url: str) -> bytes | None:
        with database.reading() as session:
            return uploads.read_upload(session, url)

    return read


class Fetcher:
    """Fetches photos within the limits of its settings; safe to share between threads."""

    def __init__(self, settings: FetchSettings, read_upload: ReadUpload = lambda _url: None) -> None:
        self._read_upload = read_upload
        self._media = MediaRoot(settings.media_root)
        self._web = Downloader(settings)

    def fetch(self, url: str) -> bytes:
        """The bytes behind a URL or path; raises `FetchError`, or `Rejected` when it is empty or too large."""
        if uploads.is_upload(url):
            return self._uploaded(url)
        parts = split_url(url)
        if parts.scheme in ("http", "https"):
            return self._web.get(url)
        if parts.scheme in ("", "file") and not parts.netloc:
            return self._media.read(unquote(parts.path) if parts.scheme else url)
        raise FetchError("url_not_supported", f"scheme {parts.scheme or parts.netloc!r}: http, https or a path")

    def _uploaded(self, url: str) -> bytes:
        data = self._read_upload(url)
        if data is None:
            raise FetchError("upload_gone", "it came as bytes, which are no longer kept")
        check_bytes(len(data))
        return data
