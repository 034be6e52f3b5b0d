"""A platform that takes webhooks, the courier that brings them, and photos to tell of."""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from db.models import versions
from db.policy import scores, thresholds
from db.policy.scores import Provenance, Scored
from db.store.session import Database
from db.work import images
from db.work.images import NewImage
from worker.background.webhooks import WebhookDispatcher
from worker.core.settings import WebhookSettings

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the scheme's own example


class Platform(ThreadingHTTPServer):
    """Takes what it is told, and answers with the next of ``answers``; with 200 when there is none."""

    request_queue_size = 128  # sixteen come at once, and five is the default

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heard: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.location = "/elsewhere"
        self.trickles_s = 0.0
        self.meeting: threading.Barrier | None = None

    def answer(self) -> int:
        """The next, whichever thread asks."""
        try:
            return self.answers.pop(0)
        except IndexError:
            return 200


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        platform = self.server
        assert isinstance(platform, Platform)
        platform.heard.append((dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
        if platform.meeting is not None:
            platform.meeting.wait()
        self.send_response(platform.answer())
        self.send_header("Location", platform.location)
        self.flush_headers()
        self._trickle(platform.trickles_s)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _trickle(self, seconds: float) -> None:
        """A header, a byte now and then; whoever asked may be gone."""
        with suppress(OSError):
            self.wfile.write(b"X-Slow: " if seconds else b"")
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                self.wfile.write(b"x")
                time.sleep(0.1)
            self.wfile.write(b"\r\n" if seconds else b"")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def begun(database: Database, platform: Platform, **more: str) -> WebhookDispatcher:
    settings = {
        "UNMASK_WEBHOOK_URL": f"http://127.0.0.1:{platform.server_port}/hook?key=abc",
        "UNMASK_WEBHOOK_SECRET": SECRET,
        "UNMASK_WEBHOOK_MAX_ATTEMPTS": "2",
    }
    courier = WebhookDispatcher(database, "me", WebhookSettings.load(settings | more))
    courier.listen()
    assert courier.step() is False
    return courier


def flag(database: Database, *ids: str, reals: Sequence[float] = ()) -> None:
    """Photos of Ada's, flagged by a model whose card has these scores of real photos."""
    card = {"reference": {"name": "reals", "scores": list(reals)}} if reals else {}
    with database.writing() as session:
        version = versions.register(session, "m", "1" * 64, "unmask-1", card)
        thresholds.set_value(session, version.id, "default", 0.5, "pat", "")
        images.add_images(session, [NewImage(image_id, "ada", "a.jpg") for image_id in ids or ("a",)], -60)
        batch = [Scored(image_id, "default", 0.9, "f" * 64, 1000, 640, 480) for image_id in ids or ("a",)]
        scores.record(session, batch, Provenance(version.id, "eager-fp32", "cpu"))
