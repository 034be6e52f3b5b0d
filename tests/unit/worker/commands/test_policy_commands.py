"""Commands that need a model's file: building a reference set, a backfill, and computing a flag again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import update

from db.errors import ConflictError
from db.models import references, versions
from db.policy import thresholds
from db.privacy import erasure
from db.schema import ModelVersion, Score
from db.store.session import Database
from db.work.images import NewImage, add_images
from worker.cli import root
from worker.core.errors import UsageError
from worker.core.settings import WorkerSettings
from worker.pipeline.service import Service


@pytest.fixture(autouse=True)
def _settings(worker_settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands find what the worker finds."""
    for name in ("database_url", "media_root", "models_dir", "device", "engine"):
        monkeypatch.setenv(f"UNMASK_{name.upper()}", str(getattr(worker_settings, name)))
    monkeypatch.setenv("UNMASK_ACTOR", "ada")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(root, arguments, catch_exceptions=False)


def asked(*arguments: str, status: int = 0) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == status, result.output
    return json.loads(result.stdout)


def write_manifest(folder: Path, *rows: str, header: str = "path,label,split") -> str:
    path = folder / "manifest.csv"
    path.write_text("\n".join((header, *rows)) + "\n")
    return str(path)


@pytest.mark.usefixtures("registered")
def test_a_file_that_is_registered_has_one_name(tiny_checkpoint: Path) -> None:
    assert asked("model", "register", str(tiny_checkpoint))[0]["name"] == "tiny"
    with pytest.raises(ConflictError, match="this file is registered as 'tiny': it cannot have the name 'v2' too"):
        run("model", "register", str(tiny_checkpoint), "--name", "v2")
    assert [row["name"] for row in asked("model", "list")] == ["tiny", "other"]


@pytest.mark.usefixtures("registered")
def test_a_reference_is_the_manifests_reals_but_those_that_were_trained_on(media: Path) -> None:
    manifest = write_manifest(media, "a.jpg,real,eval", "b.jpg,real,train", "c.jpg,fake,eval", "d.jpg,real,")
    (row,) = asked("reference", "build", "ours", "--manifest", manifest)
    assert (row["name"], row["model"], row["reals"], row["author"]) == ("ours", "tiny", 2, "ada")
    (other,) = asked("reference", "build", "ours", "--manifest", manifest, "--model", "other")
    assert [row["model"] for row in asked("reference", "list")] == ["tiny", "other"]
    assert other["reals"] == 2


def test_what_cannot_be_scored_is_named_and_left_out(database: Database, registered: list[int], media: Path) -> None:
    (media / "b.jpg").write_text("no photo")
    manifest = write_manifest(media, "a.jpg,real,", "b.jpg,real,", "gone.jpg,real,")
    result = run("reference", "build", "ours", "--manifest", manifest)
    assert result.exit_code == 1
    assert "b.jpg" in result.stderr
    assert "gone.jpg" in result.stderr
    with database.reading() as session:
        version = session.get_one(ModelVersion, registered[0])
        assert len(references.reals_of(session, version, "ours").scores) == 1


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (("a.jpg,eval",), "path,split", "has no column label"),
        (("a.jpg,fake,eval", "b.jpg,real,train"), "path,label,split", "has no real photo outside the split 'train'"),
    ],
)
def test_a_manifest_without_usable_reals_is_refused(
    media: Path, rows: tuple[str, ...], header: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        run("reference", "build", "ours", "--manifest", write_manifest(media, *rows, header=header))


@pytest.mark.usefixtures("registered")
def test_a_reference_keeps_the_columns_that_divide_its_photos(media: Path, database: Database) -> None:
    rows = ["a.jpg,real,a,1", "b.jpg,real,a,2", "c.jpg,real,b,3", "d.jpg,real,b,4"]
    manifest = write_manifest(media, *rows, header="path,label,camera,id")
    (row,) = asked("reference", "build", "ours", "--manifest", manifest)
    assert (row["reals"], row["cohorts"]) == (4, True)
    with database.reading() as session:
        found = references.reals_of(session, versions.by_name(session, "tiny"), "ours")
    assert {cohort: len(scores) for cohort, scores in found.cohorts.items()} == {("camera", "a"): 2, ("camera", "b"): 2}
    asked("reference", "build", "by id", "--manifest", manifest, "--cohort", "id")
    with pytest.raises(UsageError, match="has no column lens: it has path, label, camera, id"):
        run("reference", "build", "more", "--manifest", manifest, "--cohort", "lens")
    assert run("reference", "build", "more", "--from-reviews", "--cohort", "camera").exit_code == 2


def test_a_reference_comes_from_one_place() -> None:
    assert run("reference", "build", "ours").exit_code == 2
    assert run("reference", "build", "ours", "--manifest", "m.csv", "--from-reviews").exit_code == 2


def flag(database: Database, service: Service, version_id: int, *ids: str) -> None:
    with database.writing() as session:
        thresholds.set_value(session, version_id, "default", 0.0, "ada", "")
        add_images(session, [NewImage(name, name, f"{name}.jpg") for name in ids], 60)
    service.score(list(ids))


def test_a_flag_is_computed_again_and_says_match_changed_or_gone(
    database: Database, service: Service, registered: list[int], media: Path
) -> None:
    flag(database, service, registered[0], "a", "b", "c")
    whole = media / "whole"
    shutil.copy(media / "b.jpg", whole)
    (media / "b.jpg").write_bytes(whole.read_bytes() + b"more")
    (media / "c.jpg").unlink()
    rows = {row["image"]: row for row in asked("cases", "verify", "--sample", "5", status=1)}
    assert {image: row["outcome"] for image, row in rows.items()} == {"a": "match", "b": "changed", "c": "gone"}
    assert rows["a"]["computed"] == pytest.approx(rows["a"]["recorded"], abs=1e-6)
    (given,) = asked("cases", "verify", str(rows["b"]["case"]), "--file", str(whole))
    assert given["outcome"] == "match"
    erasure.erase_account(database, "a")
    (erased,) = asked("cases", "verify", str(rows["a"]["case"]), status=1)
    assert (erased["outcome"], erased["computed"]) == ("erased", None)


def test_a_score_that_another_model_made_is_a_mismatch_and_a_missing_model_says_so(
    database: Database,
    service: Service,
    registered: list[int],
    worker_settings: WorkerSettings,
    forging: Callable[[Database], None],
) -> None:
    flag(database, service, registered[0], "a")
    forging(database)
    with database.writing() as session:
        session.execute(update(Score).values(version_id=registered[1]))
    (row,) = asked("cases", "verify", "--sample", "1", status=1)
    assert row["outcome"] == "mismatch"
    for path in worker_settings.models_dir.iterdir():
        path.unlink()
    (row,) = asked("cases", "verify", "--sample", "1", status=1)
    assert (row["outcome"], row["computed"]) == ("no_model", None)
    assert "does not exist" in row["detail"]


def test_what_to_verify_is_asked_for_in_one_way() -> None:
    assert run("cases", "verify").exit_code == 2
    assert run("cases", "verify", "1", "--sample", "2").exit_code == 2


def test_a_backfill_is_counted_begun_listed_and_stopped(
    database: Database, service: Service, registered: list[int]
) -> None:
    flag(database, service, registered[0], "a", "b")
    asked("model", "shadow", "other")
    assert asked("rescore", "--model", "other", "--dry-run", "--rate", "2") == [
        {"images": 2, "hours_at_least": pytest.approx(1 / 3600)}
    ]
    assert asked("rescore", "--model", "other", "--since", "2999-01-01", "--dry-run")[0]["images"] == 0
    assert asked("rescore") == []
    (row,) = asked("rescore", "--model", "other", "--policy", "vip")
    assert (row["state"], row["policy"], row["images"], row["author"]) == ("running", "vip", 0, "ada")
    (stopped,) = asked("rescore", "--stop", str(row["id"]))
    assert stopped["state"] == "stopped"
