"""Bytes come from a regular file below the media root, or with a reason."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.errors import Rejected
from trainer.pixels.limits import LIMITS
from worker.core.errors import FetchError
from worker.core.settings import FetchSettings
from worker.photos import media
from worker.photos.fetcher import Fetcher

PHOTO = b"\xff\xd8 as good as any photo, for whoever only carries it"
TOO_MANY = LIMITS.max_bytes + 1


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A media root with a photo, beside a secret."""
    (tmp_path / "secret.txt").write_text("s3cret")
    root = tmp_path / "media"
    (root / "sub folder").mkdir(parents=True)
    (root / "photo.jpg").write_bytes(PHOTO)
    (root / "sub folder" / "ü 100%?.jpg").write_bytes(PHOTO)
    return root


def fetcher(root: Path | None) -> Fetcher:
    return Fetcher(FetchSettings(media_root=root))


def refused(fetch: Fetcher, url: str) -> FetchError:
    with pytest.raises(FetchError) as caught:
        fetch.fetch(url)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    "url",
    [
        "photo.jpg",
        "./photo.jpg",
        "{root}/photo.jpg",
        "sub folder/ü 100%?.jpg",
        "{root}/sub folder/ü 100%?.jpg",
        "file://{root}/photo.jpg",
        "file://{root}/sub%20folder/%C3%BC%20100%25%3F.jpg",
        "FILE://{root}/photo.jpg",
    ],
)
def test_a_file_below_the_media_root_is_read(root: Path, url: str) -> None:
    assert fetcher(root).fetch(url.format(root=root)) == PHOTO


@pytest.mark.parametrize(
    "url",
    [
        "../secret.txt",
        "sub folder/../photo.jpg",
        "sub folder/../../secret.txt",
        "{root}/../secret.txt",
        "{outside}/secret.txt",
        "{outside}/missing.txt",
        "../missing.txt",
        "/etc/passwd",
        "file:///etc/passwd",
        "file://{root}/%2e%2e/secret.txt",
        "file://{root}/..%2Fsecret.txt",
        "link to the secret",
        "link out/secret.txt",
        "..",
    ],
)
def test_what_lies_outside_the_media_root_is_not_read_nor_known_to_exist(root: Path, url: str) -> None:
    (root / "link to the secret").symlink_to(root.parent / "secret.txt")
    (root / "link out").symlink_to(root.parent)
    error = refused(fetcher(root), url.format(root=root, outside=root.parent))
    assert (error.reason, error.transient) == ("path_not_allowed", False)


def test_a_folder_whose_name_only_begins_like_the_media_roots_is_outside(root: Path) -> None:
    (root.parent / "media2").mkdir()
    (root.parent / "media2" / "photo.jpg").write_bytes(PHOTO)
    assert refused(fetcher(root), "../media2/photo.jpg").reason == "path_not_allowed"


def test_links_within_the_media_root_and_to_it_are_followed(root: Path) -> None:
    (root / "link.jpg").symlink_to("photo.jpg")
    (root.parent / "alias").symlink_to(root)
    assert fetcher(root.parent / "alias").fetch("link.jpg") == PHOTO
    assert fetcher(root.parent / "alias").fetch(f"{root}/photo.jpg") == PHOTO


@pytest.mark.parametrize("url", ["missing.jpg", "missing/photo.jpg", "broken link", "two\nlines"])
def test_a_missing_file_is_not_found(root: Path, url: str) -> None:
    (root / "broken link").symlink_to("missing.jpg")
    error = refused(fetcher(root), url)
    assert (error.reason, error.transient) == ("not_found", False)


@pytest.mark.parametrize("url", ["sub folder", ".", "", "photo.jpg/x", "a\0b", "x" * 5000, "loop", "pipe"])
@pytest.mark.timeout(20)
def test_what_is_no_regular_file_is_unreadable_and_never_waited_for(root: Path, url: str) -> None:
    os.mkfifo(root / "pipe")
    (root / "loop").symlink_to("loop")
    error = refused(fetcher(root), url)
    assert (error.reason, error.transient) == ("unreadable", False)


def test_a_volume_that_is_away_and_a_disk_that_fails_are_no_verdict_on_a_photo(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = fetcher(root)
    root.rename(root.parent / "away")
    error = refused(fetch, "photo.jpg")
    assert (error.reason, error.transient) == ("not_found", True)
    (root.parent / "away").rename(root)

    def fail(*_: object, **__: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        error = refused(fetch, "photo.jpg")
    assert (error.reason, error.transient, error.detail) == ("unreadable", True, "'photo.jpg': EIO")


def test_without_a_media_root_no_path_is_read_and_the_reason_says_what_to_set(root: Path) -> None:
    error = refused(fetcher(None), str(root / "photo.jpg"))
    assert error.reason == "path_not_allowed"
    assert "UNMASK_MEDIA_ROOT" in error.detail


def test_an_empty_file_and_one_that_is_too_large_are_refused(root: Path) -> None:
    (root / "empty.jpg").touch()
    with (root / "huge.jpg").open("wb") as file:
        file.truncate(TOO_MANY)
    with pytest.raises(Rejected, match=r"^empty: "):
        fetcher(root).fetch("empty.jpg")
    with pytest.raises(Rejected, match=r"^too_many_bytes: "):
        fetcher(root).fetch("huge.jpg")


@pytest.mark.parametrize("swapped", ["sub", "sub/photo.jpg"])
def test_a_link_that_is_put_there_after_the_check_leads_nowhere(
    root: Path, swapped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "sub").mkdir()
    (root / "sub" / "photo.jpg").write_bytes(PHOTO)
    (root.parent / "photo.jpg").write_bytes(b"s3cret")

    def swap(what: Callable[..., bytes]) -> Callable[..., bytes]:
        def swapped_first(*arguments: object) -> bytes:
            (root / swapped).rename(root / "away")
            target = root.parent if swapped == "sub" else root.parent / "photo.jpg"
            (root / swapped).symlink_to(target)
            return what(*arguments)

        return swapped_first

    monkeypatch.setattr(media, "_bytes", swap(media._bytes))  # noqa: SLF001 - an attacker between check and use
    assert refused(fetcher(root), "sub/photo.jpg").reason == "unreadable"
