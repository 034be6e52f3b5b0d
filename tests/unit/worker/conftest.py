"""Our app on a broker of the test's own, and what it sent there."""

import base64
import json
import socket
from collections.abc import Callable, Iterator

import kombu
import pytest
from redis import Redis

from db.session import Database
from worker.celery import app


@pytest.fixture
def point_app() -> Iterator[Callable[[str], None]]:
    """``point_app(url)`` lets our app talk to another broker; whatever it opened is closed at the end."""
    before: str = app.conf.broker_url

    def point(url: str) -> None:
        app.conf.update(broker_url=url)
        kombu.pools.reset()
        vars(app).pop("amqp", None)  # holds producers for the old broker

    yield point
    point(before)


@pytest.fixture
def broker(broker_url: str, point_app: Callable[[str], None]) -> str:
    """A broker that our app talks to."""
    point_app(broker_url)
    return broker_url


@pytest.fixture
def nobody() -> Iterator[str]:
    """The URL of a broker that refuses connections: a port that is taken, and on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"redis://:s3cret@127.0.0.1:{taken.getsockname()[1]}/0"


@pytest.fixture
def port() -> int:
    """A free port, away from those that other servers of the tests choose, for one that stops and starts again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
    return number


@pytest.fixture
def sent(broker: str) -> Callable[[], list[list[str]]]:
    """The image ids of each message that waits in the queue, the first sent first."""

    def read() -> list[list[str]]:
        with Redis.from_url(broker) as client:
            messages = [json.loads(message) for message in client.lrange("unmask:unmask", 0, -1)]
        assert all(message["headers"]["task"] == "worker.score_images" for message in messages)
        return [json.loads(base64.b64decode(message["body"]))[0][0] for message in reversed(messages)]

    return read


@pytest.fixture
def settings_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The test's database, where commands look for theirs."""
    monkeypatch.setenv("UNMASK_DATABASE_URL", database.url.render_as_string(hide_password=False))
    return database
