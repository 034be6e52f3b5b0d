"""One command with many words: quick to help, and every error that we know is one line and exit status 2."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from PIL import Image as Picture
from sqlalchemy import select

from db.access import audit
from db.errors import ConflictError
from db.models import versions
from db.policy import policies, thresholds
from db.policy.attribution import ChangeAuthor
from db.schema import Image
from db.store.session import Database
from db.work import images, on_demand, presence
from db.work.images import Failure
from worker.cli import COMMANDS, main, root
from worker.core.errors import UsageError

ROOT = Path(__file__).parents[3]
Sent = Callable[[], list[list[str]]]


def unmask(*arguments: str, cwd: Path = ROOT, **settings: str) -> subprocess.CompletedProcess[str]:
    """The command as people run it, in a process of its own."""
    environ = os.environ | {f"UNMASK_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "worker", *arguments]
    return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=120)


def run(*arguments: str) -> Result:
    """The same in this process: on the test's broker, and quick."""
    return CliRunner().invoke(root, arguments, catch_exceptions=False)


def asked(*arguments: str, exit_code: int = 0) -> Any:
    """What a command says to programs: all of its stdout."""
    result = run(*arguments, "--json")
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


def every_command(group: click.Group = root, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """All words, and the words below them."""
    found: list[tuple[str, ...]] = []
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        below = every_command(command, (*path, name)) if isinstance(command, click.Group) else []
        found += [(*path, name), *below]
    return found


def command_of(path: tuple[str, ...]) -> click.Command | None:
    """The command of these words."""
    command: click.Command | None = root
    for word in path:
        command = command.get_command(click.Context(command), word) if isinstance(command, click.Group) else None
    return command


# Help


def test_help_lists_every_word_with_its_help() -> None:
    lines = run("--help").stdout.split("Commands:")[1].splitlines()
    listed = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]
    assert listed == list(COMMANDS)
    said = " ".join(" ".join(lines).split())
    assert all(help_text in said for _, help_text in COMMANDS.values())


def test_what_help_says_of_a_word_is_what_the_command_says_of_itself() -> None:
    """The list is written down, so that --help need not import the commands."""
    commands = {word: root.get_command(click.Context(root), word) for word in COMMANDS}
    said = {word: command and command.get_short_help_str(limit=500) for word, command in commands.items()}
    assert said == {word: help_text for word, (_, help_text) in COMMANDS.items()}


def test_every_command_explains_itself() -> None:
    for path in every_command():
        result = run(*path, "--help")
        usage, explained = result.stdout.split("\n\n")[:2]
        assert (path, result.exit_code) == (path, 0)
        assert usage.startswith(f"Usage: root {' '.join(path)} ")
        assert explained.startswith("  "), path
        assert explained.strip()[0].isupper(), path


def test_help_shows_whole_sentences_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    for path in every_command():
        *group, name = path
        command = command_of(path)
        assert command is not None
        said = "".join(run(*group, "--help").stdout.split())
        assert name + "".join(command.get_short_help_str(1000).split()) in said


def test_help_imports_nothing_heavy() -> None:
    program = """
import sys
from worker.cli import root
root(["--help"], standalone_mode=False)
print(*sorted({"torch", "celery", "kombu", "sqlalchemy", "pydantic", "numpy", "PIL", "timm"} & set(sys.modules)))
"""
    asked = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert asked.stdout.splitlines()[-1] == ""
    assert "Usage:" in asked.stdout


def test_the_command_is_installed_under_its_name() -> None:
    (script,) = entry_points(group="console_scripts", name="unmask")
    assert script.load() is main


def test_an_unknown_word_is_wrong_use() -> None:
    result = run("scoer")
    assert result.exit_code == 2
    assert "No such command 'scoer'" in result.stderr
    assert result.stdout == ""


# Errors


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of an error that we know."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    return line


def test_a_database_that_is_away_is_one_line_without_its_password() -> None:
    line = one_line(unmask("failures", "list", database_url="postgresql://ada:s3cret@127.0.0.1:1/unmask"))
    assert "Connection refused" in line
    assert "s3cret" not in line


def test_bad_settings_are_one_line_that_names_each() -> None:
    line = one_line(unmask("sweep", resend_s="soon", broker_url_file="/missing"))
    assert "UNMASK_RESEND_S: " in line
    assert "UNMASK_BROKER_URL_FILE: /missing cannot be read" in line


def test_a_manifest_with_other_columns_is_one_line_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "photos.csv").write_text("account,url\nacc,a.jpg\n")
    url = f"sqlite:///{tmp_path}/unmask.db"
    Database(url).upgrade()
    line = one_line(unmask("enqueue", "--manifest", f"{tmp_path}/photos.csv", database_url=url))
    assert f"manifest {tmp_path}/photos.csv has no column account_id: it has account, url" in line


def test_a_missing_checkpoint_is_one_line() -> None:
    assert "checkpoint missing.safetensors does not exist" in one_line(
        unmask("score", "--checkpoint", "missing.safetensors", "photo.jpg")
    )


def test_a_package_that_this_installation_lacks_is_one_line() -> None:
    program = "import sys; sys.modules['torch'] = None; from worker.cli import main; main()"
    command = [sys.executable, "-c", program, "score", "photo.jpg"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "torch is not installed: install unmask[worker]" in one_line(done)


def test_an_error_that_we_do_not_know_keeps_its_traceback() -> None:
    program = """
import worker.cli
worker.cli.COMMANDS["broken"] = ("no.such.module:command", "")
worker.cli.main()
"""
    command = [sys.executable, "-c", program, "broken"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ModuleNotFoundError: No module named 'no'" in done.stderr


# Words of this room


def know_policy(database: Database, name: str) -> None:
    with database.writing() as session:
        policies.add_policy(session, name, ChangeAuthor("test"))


def test_photos_are_scored_by_the_rules_of_workers(
    photo: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    red, blue = Picture.new("RGB", (128, 128), "red"), Picture.new("RGB", (128, 128), "blue")
    red.save(tmp_path / "moving.gif", save_all=True, append_images=[blue])
    red.resize((20, 20)).save(tmp_path / "tiny.png")
    monkeypatch.setenv("UNMASK_MIN_SIDE", "21")
    (tmp_path / "no-end.jpg").write_bytes(photo.read_bytes()[:-2])
    names = ("moving.gif", "tiny.png", "no-end.jpg")
    photos = [str(photo), *(str(tmp_path / name) for name in names)]
    result = run("score", "--json", "--device", "cpu", "--checkpoint", str(tiny_checkpoint), *photos)
    whole, *rows, no_end = json.loads(result.stdout)
    assert [(row["score"], row["reason"]) for row in rows] == [(None, "animated"), (None, "too_small")]
    assert whole["score"] == no_end["score"] is not None
    assert "no-end.jpg: the file lacks its end" in result.stderr
    assert result.exit_code == 1


@pytest.mark.usefixtures("settings_database")
def test_one_photo_is_put_in_line_and_its_id_printed(database: Database) -> None:
    know_policy(database, "vip")
    result = run("enqueue", "--account", "acc", "--url", "a.jpg", "--image-id", "a", "--policy", "vip")
    assert result.stdout == "a\n"
    with database.reading() as session:
        image = session.get_one(Image, "a")
        assert (image.account_id, image.url, image.policy) == ("acc", "a.jpg", "vip")


@pytest.mark.usefixtures("settings_database")
def test_a_photo_without_an_id_gets_one(database: Database) -> None:
    result = run("enqueue", "--account", "acc", "--url", "a.jpg")
    with database.reading() as session:
        assert session.get_one(Image, result.stdout.strip()).lane == "upload"


def fail(database: Database, image_id: str) -> None:
    with database.writing() as session:
        failed = Failure(image_id, "access_denied", "HTTP 403")
        images.lease(session, [image_id], "worker", 60)
        images.record_failures(session, [failed], "worker")


@pytest.mark.usefixtures("settings_database", "sent")
def test_a_fresh_url_for_a_failed_image_puts_it_back_to_pending_and_the_audit_log_notes_it(database: Database) -> None:
    words = ["enqueue", "--account", "acc", "--image-id", "a"]
    run(*words, "--url", "https://cdn.example.com/a.jpg?signature=old")
    fail(database, "a")
    fresh = "https://cdn.example.com/a.jpg?signature=new"
    for _ in range(2):  # the same again changes nothing
        assert run(*words, "--url", fresh, "--replace-url").stdout == "a\n"
    with database.reading() as session:
        image = session.get_one(Image, "a")
        assert (image.url, image.state, image.attempts, image.reason) == (fresh, "pending", 0, None)
        assert image.lease_until is None
        (entry,) = audit.find_entries(session, audit.EntryFilter(), 10)
        assert (entry.what, entry.image_id, entry.detail) == ("url_changed", "a", "was failed (access_denied)")


@pytest.mark.usefixtures("settings_database", "sent")
def test_a_manifest_of_fresh_urls_replaces_those_of_known_images_and_adds_the_others(
    database: Database, tmp_path: Path
) -> None:
    manifest = tmp_path / "photos.csv"
    manifest.write_text("account_id,url,image_id\nacc,a.jpg,a\n")
    run("enqueue", "--manifest", str(manifest))
    manifest.write_text("account_id,url,image_id\nacc,new/a.jpg,a\nacc,b.jpg,b\n")
    assert "1 images enqueued" in run("enqueue", "--manifest", str(manifest), "--replace-url").stderr
    with database.reading() as session:
        assert dict(session.execute(select(Image.id, Image.url)).all()) == {"a": "new/a.jpg", "b": "b.jpg"}


@pytest.mark.usefixtures("settings_database", "sent")
def test_a_url_is_replaced_only_when_asked_and_only_of_the_same_accounts_image(database: Database) -> None:
    run("enqueue", "--account", "acc", "--url", "a.jpg", "--image-id", "a")
    for words in (["--account", "acc"], ["--account", "eve", "--replace-url"]):
        with pytest.raises(ConflictError, match="image 'a' is known with another"):
            run("enqueue", "--image-id", "a", "--url", "b.jpg", *words)
    with pytest.raises(UsageError, match="--replace-url needs --image-id"):
        run("enqueue", "--account", "acc", "--url", "b.jpg", "--replace-url")
    with database.reading() as session:
        assert session.scalars(select(Image.url)).all() == ["a.jpg"]


@pytest.mark.usefixtures("settings_database")
def test_a_manifest_is_put_in_line_once(database: Database, tmp_path: Path) -> None:
    know_policy(database, "vip")
    manifest = tmp_path / "photos.csv"
    manifest.write_bytes(b'\xef\xbb\xbfaccount_id,url,image_id,policy,note\nacc,a.jpg,a,,x\nacc,"b, c.jpg",b,vip,\n')
    first, second = run("enqueue", "--manifest", str(manifest)), run("enqueue", "--manifest", str(manifest))
    assert (first.stdout, first.stderr) == ("", "2 images enqueued, 0 were known before\n")
    assert second.stderr == "0 images enqueued, 2 were known before\n"
    with database.reading() as session:
        assert [image.lane for image in session.scalars(select(Image))] == ["backfill"] * 2


@pytest.mark.usefixtures("settings_database")
def test_of_a_pipe_that_is_wrong_later_on_it_is_said_what_is_in_line(database: Database, tmp_path: Path) -> None:
    content = b"account_id,url\n" + b"acc,a.jpg\n" * 1500 + b",b.jpg\n"
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as pool:
        pool.submit((tmp_path / "pipe").write_bytes, content)
        result = CliRunner().invoke(root, ["enqueue", "--manifest", str(tmp_path / "pipe")])
    assert isinstance(result.exception, UsageError)
    assert result.stderr == "the first 1000 rows are enqueued, and none after them\n"
    with database.reading() as session:
        assert images.count_images(session)["pending"] == 1000


@pytest.mark.usefixtures("settings_database", "broker")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"account_id,url\nacc,a.jpg\n,b.jpg\n", r"photos.csv, line 3: account_id must be text"),
        (b"account_id,url\nacc,\n", r"photos.csv, line 2: url must be text"),
        (b"account_id,url\nacc\n", r"photos.csv, line 2: url must be text"),
        (b"account_id,url,image_id\nacc,a.jpg," + b"x" * 129, r"line 2: image_id must be text of 1 to 128"),
        (b"", r"has no column account_id, url: it has none"),
        (b"account_id,url\nacc,\xff\xfe\n", r"is not a readable CSV file"),
        (b'account_id,url\nacc,"a.jpg\nacc,b.jpg\n', r"is not a readable CSV file: unexpected end of data"),
        (b'account_id,url\nacc,"a.jpg\nacc,b.jpg"\n', r"line 3: url must be without control characters"),
        (b"account_id,url, image_id\nacc,a.jpg,a\n", r"has a column ' image_id': name it image_id, once"),
        (b"account_id,url,url\nacc,a.jpg,b.jpg\n", r"has a column 'url': name it url, once"),
        (b"account_id,url\n" + b"acc,a.jpg\n" * 1500 + b",b.jpg\n", r"photos.csv, line 1502: account_id must be text"),
        (None, r"is not a readable CSV file: .*No such file"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused_by_its_line_and_adds_nothing(
    database: Database, tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "photos.csv").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        run("enqueue", "--manifest", str(tmp_path / "photos.csv"))
    with database.reading() as session:
        assert images.count_images(session)["pending"] == 0


@pytest.mark.usefixtures("settings_database", "broker")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "needs both --account and --url, or --manifest CSV"),
        (("--account", "acc"), "needs both --account and --url"),
        (("--account", "", "--url", "a.jpg"), "account_id must be text"),
        (("--account", "acc", "--url", "a.jpg", "--image-id", "x" * 129), "image_id must be text"),
    ],
)
def test_an_incomplete_photo_is_wrong_use(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run("enqueue", *arguments)


def test_a_sweep_by_hand_sends_what_is_due_and_says_how_much(settings_database: Database, sent: Sent) -> None:
    with settings_database.writing() as session:
        images.add_images(session, [images.NewImage(name, "acc", "a.jpg") for name in ("a", "b")], -1)
    result = run("sweep")
    assert (result.stdout, result.stderr) == ("", "2 images and requests sent\n")
    assert sorted(sent()) == [["a"], ["b"]]


@pytest.mark.usefixtures("broker")
def test_the_status_tells_what_waits_what_was_done_and_by_which_model(
    settings_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNMASK_RUN_DIR", str(tmp_path))  # where no worker says anything
    with settings_database.writing() as session:
        version = versions.register(session, "first", "1" * 64, "unmask-1", {})
        thresholds.set_value(session, version.id, "default", 0.75, "ada", "")
        images.add_images(session, [images.NewImage(name, "acc", "a.jpg") for name in ("a", "b", "c")], 60)
        images.lease(session, ["a", "b"], "worker", 300)
        images.record_failures(session, [Failure("b", "truncated", "")], "worker")
        on_demand.add_request(session, "preview", "a", "ada")
        on_demand.add_request(session, "look", "a", "threshold 1")
    run("enqueue", "--account", "acc", "--url", "d.jpg")
    with settings_database.writing() as session:
        presence.report_alive(session, "idle")
        presence.report_alive(session, "worker")
    status = asked("status")
    assert 0 <= status.pop("oldest_pending_s") < 60
    assert 0 <= status.pop("oldest_upload_s") < 60
    assert 0 <= status["sweeper"].pop("lag_s") < 60
    assert status == {
        "well": True,
        "faults": [],
        "images": {"pending": 3, "scored": 0, "unusable": 1, "failed": 0},
        "waiting": {"upload": 2, "backfill": 0},
        "in_hand": 1,
        "workers": {"idle": 0, "worker": 1},
        "held_by_silent": {},
        "failures": {},
        "retrying": {},
        "unusable": {"truncated": 1},
        "requests": {"pending": 1, "done": 0, "failed": 0},
        "hashes": {"pending": 1, "done": 0, "failed": 0},
        "sweeper": {"leader": None, "last_sweep_s": None},
        "paused": {},
        "review": {"open": 0, "held": 0, "unsure": 0, "oldest_s": None, "by_policy": {}},
        "model": "first",
        "thresholds": {"default": 0.75},
        "certificates": {},
        "queue": {"reachable": True, "messages": 0, "lanes": {"upload": 0, "backlog": 0, "backfill": 0}},
        "refused_here": {},
    }
    assert "pending 3" in run("status").stdout


@pytest.mark.usefixtures("settings_database")
@pytest.mark.parametrize("migrated", ["sqlite"], indirect=True)
def test_the_status_answers_with_the_broker_down(point_app: Callable[[str], None], nobody: str) -> None:
    point_app(nobody)
    status = asked("status", exit_code=1)
    assert status["queue"]["reachable"] is False
    assert status["faults"][0].startswith("the broker cannot be used: broker redis://127.0.0.1:")
    assert status["faults"][1:] == ["no worker is alive", "no model version is active"]
    assert re.match(r"broker redis://127\.0\.0\.1:\d+/0 cannot be reached: [^\n]+$", status["queue"]["error"])
    assert status["images"] == {"pending": 0, "scored": 0, "failed": 0, "unusable": 0}
    assert (status["model"], status["oldest_pending_s"]) == (None, None)


def test_models_are_listed_the_oldest_first(settings_database: Database) -> None:
    assert asked("model", "list") == []
    with settings_database.writing() as session:
        for number in (1, 2):
            versions.register(session, f"model {number}", f"{number}" * 64, "unmask-1", {})
    assert [(row["name"], row["state"]) for row in asked("model", "list")] == [
        ("model 1", "active"),
        ("model 2", "candidate"),
    ]
    assert "model 2" in run("model", "list").stdout
