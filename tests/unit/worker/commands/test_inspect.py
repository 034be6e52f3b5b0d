"""``unmask inspect``: one object for one photo, an array for several, and a reason for what is no photo."""

import json
import os
from pathlib import Path

import pytest
from click import Command
from click.testing import CliRunner

from tests.unit.worker.provenance.files import picture, png_with
from worker.commands.inspect import MEANING, inspect_command
from worker.commands.score import score


def test_the_signals_of_photos_are_shown_to_people_and_programs(tmp_path: Path) -> None:
    says, silent, text = tmp_path / "says.png", tmp_path / "silent.jpg", tmp_path / "notes.txt"
    says.write_bytes(png_with((b"tEXt", b"Software\0NovelAI")))
    silent.write_bytes(picture("JPEG"))
    text.write_text("no photo")
    run = CliRunner().invoke
    one = run(inspect_command, [str(says), "--json"])
    signal = {"kind": "provenance.ai", "value": "NovelAI", "where": "PNG Software", "trust": "unsigned"}
    assert json.loads(one.stdout) == {"signals": [signal], "photo": str(says), "format": "image/png", "reason": None}
    several = run(inspect_command, [str(silent), str(text), str(tmp_path / "gone"), "--json"])
    assert [(row["signals"], row["reason"]) for row in json.loads(several.stdout)] == [
        ([], None),
        ([], "unsupported_format"),
        ([], "not_found"),
    ]
    shown = run(inspect_command, [str(silent)])
    assert (one.exit_code, several.exit_code, shown.exit_code) == (0, 1, 0)
    assert shown.stdout == "no signals\n"
    assert MEANING in shown.stderr


@pytest.mark.parametrize("command", [inspect_command, score], ids=["inspect", "score"])
def test_a_pipe_to_which_nobody_writes_is_no_photo(tmp_path: Path, command: Command) -> None:
    os.mkfifo(tmp_path / "pipe")
    found = CliRunner().invoke(command, [str(tmp_path / "pipe"), "--json"])
    assert found.exit_code == 1
    assert '"reason": "empty"' in found.stdout
