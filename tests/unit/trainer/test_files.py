"""A file that is written atomically is the old one or the new one, on the disk, and never half of it."""

import os
import stat
import threading
from pathlib import Path

import pytest

from trainer.files import atomic_write, open_file, read_bounded


@pytest.mark.parametrize("durable", [True, False])
def test_the_new_file_takes_the_old_ones_place_at_the_end_of_the_block(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "state"
    path.write_text("old")

    with atomic_write(path, durable=durable) as part:
        part.write_text("new")
        assert path.read_text() == "old"

    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("state", "new")]


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, failure: type[BaseException]
) -> None:
    path = tmp_path / "state"
    path.write_text("old")

    with pytest.raises(failure), atomic_write(path) as part:  # noqa: PT012 - the write has to come before the failure
        part.write_text("half of the n")
        raise failure

    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("state", "old")]


def test_bytes_and_directory_entry_are_on_the_disk_when_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes before the name points at them, the directory after."""
    flushed = []

    def fsync(descriptor: int) -> None:
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        flushed.append("directory" if folder else "file, new" if not (tmp_path / "state").exists() else "file, late")

    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_write(tmp_path / "state") as part:
        part.write_text("new")
    with atomic_write(tmp_path / "beat", durable=False) as part:
        part.write_text("new")

    assert flushed == ["file, new", "directory"]


def test_a_pipe_to_which_nobody_writes_is_empty_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert read_bounded(tmp_path / "pipe", 10) == b""


def test_of_a_pipe_to_which_somebody_writes_all_is_read() -> None:
    reading, writing = os.pipe()

    def write() -> None:
        os.write(writing, b"late")
        os.close(writing)

    with open_file(Path(f"/proc/self/fd/{reading}")) as file:
        writer = threading.Timer(0.2, write)
        writer.start()
        assert file.read() == b"late"
        writer.join()
    os.close(reading)


def test_a_folder_is_named_as_one(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        open_file(tmp_path)
