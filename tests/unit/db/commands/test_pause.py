"""``unmask pause`` and ``unmask resume``."""

from collections.abc import Callable
from typing import Any

from click.testing import Result

from db.commands.pause import pause_command, resume_command

Run = Callable[..., Result]
Asked = Callable[..., Any]


def test_a_pause_and_its_end_are_told(asked: Asked, run: Run) -> None:
    (row,) = asked(pause_command, "flagging", "--reason", "a bad model")
    assert (row["what"], row["paused"], row["by"], row["reason"]) == ("flagging", True, "ada", "a bad model")
    result = run(resume_command, "flagging")
    assert result.exit_code == 0
    assert "unmask threshold apply" in result.stderr


def test_a_pause_needs_a_reason_and_a_known_word(run: Run) -> None:
    assert "--reason" in run(pause_command, "flagging").stderr
    assert run(pause_command, "everything", "--reason", "x").exit_code == 2
