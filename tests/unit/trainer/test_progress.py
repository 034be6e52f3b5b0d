"""Progress where stderr is no terminal: lines, and none when it is not wanted."""

import pytest

from trainer import progress
from trainer.progress import progress_bar


def count(total: int = 3, *, shown: bool = True) -> None:
    with progress_bar(total, "embed reals", "image", shown=shown) as bar:
        for _ in range(total):
            bar.update()


def test_a_pipe_gets_whole_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "LINE_S", 0.0)
    count()
    said = capsys.readouterr().err
    assert "\r" not in said
    assert [line.split(",")[0] for line in said.splitlines()][-1] == "embed reals: 3 of 3 images"


def test_lines_are_seconds_apart(capsys: pytest.CaptureFixture[str]) -> None:
    count(total=1000)
    assert len(capsys.readouterr().err.splitlines()) <= 2


def test_nothing_is_shown_when_it_is_not_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.quiet(on=True):
        count()
    count(shown=False)
    assert capsys.readouterr().err == ""
