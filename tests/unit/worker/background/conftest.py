"""A platform that listens."""

import threading
from collections.abc import Iterator

import pytest

from tests.unit.worker.background.platform import Platform


@pytest.fixture
def platform() -> Iterator[Platform]:
    with Platform() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
