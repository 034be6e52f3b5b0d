"""``unmask inspect``: one object for one photo, an array for several, and a reason for what is no photo."""

import json
import os
from pathlib import Path

import pytest
from click import Command
from click.testing import CliRunner

from db.models import versions
from db.models.references import ReferenceOrigin, add_reference
from db.policy import thresholds
from db.schema import Threshold
from db.store.session import Database
from tests.unit.worker.provenance.files import picture, png_with
from trainer.detector.card import Card
from trainer.pixels.preprocess import FINGERPRINT
from worker.commands.inspect import MEANING, inspect_command
from worker.commands.model import store_checkpoint
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


@pytest.fixture
def face(tmp_path: Path) -> Path:
    (path := tmp_path / "face.jpg").write_bytes(picture("JPEG"))
    return path


def test_with_a_checkpoint_of_two_detectors_each_says_how_rare_the_photo_is(face: Path, fused_checkpoint: Path) -> None:
    asked = [str(face), "--checkpoint", str(fused_checkpoint)]
    done = CliRunner().invoke(inspect_command, [*asked, "--json"])
    both, first, second = json.loads(done.stdout)["scores"]
    assert [row["detector"] for row in (both, first, second)] == ["both", "tiny", "other"]
    assert [row["reference"] for row in (both, first, second)] == ["eval reals"] * 3
    assert both["means"] == "fewer than 1 in 1.8 real photos looks like this (95 % sure; none of the 4 of 'eval reals')"
    assert (first["one_in"], second["one_in"]) == (4, pytest.approx(4 / 3))
    shown = CliRunner().invoke(inspect_command, asked)
    assert (done.exit_code, shown.exit_code) == (0, 0)
    assert "fewer than 1 in 1.8" in " ".join(shown.stdout.split())


@pytest.mark.both
def test_with_a_policy_the_active_model_scores_on_the_reference_of_the_policy_s_threshold(
    face: Path,
    database: Database,
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sha256, card = store_checkpoint(tiny_checkpoint, tmp_path / "models"), Card.read(tiny_checkpoint)
    with database.writing() as session:
        version = versions.register(session, "first", sha256, FINGERPRINT, card.model_dump(mode="json"))
        add_reference(session, version, "ours", [0.0] * 598, ReferenceOrigin("a test", "0" * 64, "ada"))
        row = thresholds.set_value(session, version.id, "default", 0.5, "ada", "")
        session.add(
            Threshold(policy=row.policy, version_id=version.id, value=0.5, reference="ours", author="a", reason="")
        )
    monkeypatch.setenv("UNMASK_DATABASE_URL", database.engine.url.render_as_string(hide_password=False))
    monkeypatch.setenv("UNMASK_MODELS_DIR", str(tmp_path / "models"))
    done = CliRunner().invoke(inspect_command, [str(face), "--policy", "default", "--json"])
    (row,) = json.loads(done.stdout)["scores"]
    assert (row["reference"], row["one_in"]) == ("ours", 598)
    assert row["means"].startswith("fewer than 1 in 200 real photos looks like this (95 % sure; none of the 598")


def test_a_photo_that_cannot_be_scored_keeps_its_signals_and_names_the_reason(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNMASK_MIN_SIDE", "512")
    (path := tmp_path / "small.png").write_bytes(png_with((b"tEXt", b"Software\0NovelAI")))
    done = CliRunner().invoke(inspect_command, [str(path), "--checkpoint", str(tiny_checkpoint), "--json"])
    document = json.loads(done.stdout)
    assert (done.exit_code, document["scores"], document["reason"]) == (1, [], "too_small")
    assert [signal["value"] for signal in document["signals"]] == ["NovelAI"]


def test_a_checkpoint_and_a_policy_at_once_are_refused(face: Path) -> None:
    done = CliRunner().invoke(inspect_command, [str(face), "--checkpoint", "a", "--policy", "b"])
    assert done.exit_code == 2
    assert "not both" in done.stderr


@pytest.mark.parametrize("command", [inspect_command, score], ids=["inspect", "score"])
def test_a_pipe_to_which_nobody_writes_is_no_photo(tmp_path: Path, command: Command) -> None:
    os.mkfifo(tmp_path / "pipe")
    found = CliRunner().invoke(command, [str(tmp_path / "pipe"), "--json"])
    assert found.exit_code == 1
    assert '"reason": "empty"' in found.stdout
