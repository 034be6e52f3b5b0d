"""What people decided becomes a manifest that the trainer reads."""

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image as Picture
from sqlalchemy import select, update

from db.models import versions
from db.policy import scores, thresholds
from db.policy.scores import Provenance, Scored
from db.privacy import erasure
from db.quality import samples
from db.quality.sampling import Sizes, draw_strata
from db.review import reviews
from db.review.reviews import Decision
from db.schema import Case, Image, Sample
from db.store.session import Database
from db.work import images
from db.work.images import NewImage
from trainer.data.manifest import read_manifest
from worker.commands.review import review_group as review

SCORES = {"fake": 0.9, "real": 0.8, "open": 0.7, "sampled": 0.1}


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A media root with a small picture for each image."""
    root = tmp_path / "root"
    root.mkdir()
    for number, name in enumerate(SCORES):
        Picture.new("RGB", (64, 64), (number, 0, 0)).save(root / f"{name}.png")
    monkeypatch.setenv("UNMASK_MEDIA_ROOT", str(root))
    return root


@pytest.fixture
def decided(settings_database: Database, photos: Path) -> Database:
    """A confirmed and a dismissed case, one that is open, and a photo below the threshold that was judged a fake."""
    database = settings_database
    with database.writing() as session:
        version = versions.register(session, "m", "1" * 64, "unmask-1", {})
        thresholds.set_value(session, version.id, "default", 0.5, "pat", "")
        images.add_images(session, [NewImage(name, f"account of {name}", f"{name}.png") for name in SCORES], -60)
        batch = [
            Scored(name, "default", score, hashlib.sha256((photos / f"{name}.png").read_bytes()).hexdigest(), 9, 64, 64)
            for name, score in SCORES.items()
        ]
        scores.record(session, batch, Provenance(version.id, "eager-fp32", "cpu"))
        for name, decision in (("fake", "confirmed"), ("real", "dismissed")):
            case = session.scalars(select(Case).where(Case.account_id == f"account of {name}")).one()
            reviews.decide_case(session, Decision(case.id, case.version, "ada", decision))
        draw_strata(session, Sizes(1, 1, 1), "lee")
        sample = session.scalars(select(Sample).where(Sample.image_id == "sampled")).one()
        sample.held_by = "ada"  # it was given to her
        samples.record_verdict(session, sample.id, "ada", "fake")
    return database


def export(folder: Path, *arguments: str) -> tuple[Result, Any]:
    result = CliRunner().invoke(review, ["export", "--out", str(folder), "--json", *arguments], catch_exceptions=False)
    return result, json.loads(result.stdout)[0]


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("decided")
def test_what_was_decided_is_a_manifest_that_the_trainer_reads(tmp_path: Path, photos: Path) -> None:
    result, said = export(tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    manifest = str(tmp_path / "out" / "manifest.csv")
    assert said == {"fake": 2, "real": 1, "missing": 0, "both": 0, "manifest": manifest}
    found = {
        example.path.read_bytes(): example for example in read_manifest(tmp_path / "out" / "manifest.csv").examples
    }
    as_said = {name: found[(photos / f"{name}.png").read_bytes()] for name in ("fake", "real", "sampled")}
    assert len(found) == 3
    assert {name: example.fake for name, example in as_said.items()} == {"fake": True, "real": False, "sampled": True}
    assert as_said["sampled"].columns == {"source": "sample", "policy": "default"}
    assert as_said["fake"].columns == {"source": "case", "policy": "default"}


@pytest.mark.usefixtures("decided")
def test_accounts_are_named_by_pseudonyms_that_a_key_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNMASK_LOG_KEY", "secret")
    export(tmp_path / "one")
    export(tmp_path / "two")
    groups = [row["group"] for row in table(tmp_path / "one")]
    assert len(set(groups)) == 3
    assert "account" not in str(groups)
    assert groups == [row["group"] for row in table(tmp_path / "two")]


@pytest.mark.usefixtures("decided")
def test_a_photo_that_is_gone_or_another_is_left_out_and_named(tmp_path: Path, photos: Path) -> None:
    (photos / "real.png").unlink()
    (photos / "fake.png").write_bytes(b"another")
    result, said = export(tmp_path / "out")
    assert result.exit_code == 1
    assert (said["fake"], said["real"], said["missing"]) == (1, 0, 2)
    assert "image fake: changed: the file is not the one that was scored" in result.stderr
    assert "image real: not_found" in result.stderr


@pytest.mark.usefixtures("decided")
def test_what_was_exported_before_is_not_fetched_again(tmp_path: Path, photos: Path) -> None:
    export(tmp_path / "out")
    for path in photos.iterdir():
        path.unlink()
    result, said = export(tmp_path / "out")
    assert (result.exit_code, said["missing"]) == (0, 0)


def test_a_verdict_on_the_photo_counts_more_than_that_on_its_case(decided: Database, tmp_path: Path) -> None:
    with decided.writing() as session:
        sample = session.scalars(select(Sample).where(Sample.image_id == "sampled")).one()
        case = session.scalars(select(Case).where(Case.account_id == "account of real")).one()
        assert case.state == "dismissed"
        session.execute(update(Sample).where(Sample.id == sample.id).values(image_id="real"))
    result, said = export(tmp_path / "out")
    assert (result.exit_code, said["fake"], said["real"]) == (0, 2, 0)


def test_one_file_under_both_labels_is_left_out(decided: Database, tmp_path: Path, photos: Path) -> None:
    digest = hashlib.sha256((photos / "fake.png").read_bytes()).hexdigest()
    with decided.writing() as session:
        session.execute(update(Image).where(Image.id == "real").values(sha256=digest))
    _, said = export(tmp_path / "out")
    assert (said["fake"], said["real"], said["both"]) == (1, 0, 1)


def test_neither_open_nor_erased_nor_older_photos_are_exported(decided: Database, tmp_path: Path) -> None:
    erasure.erase_account(decided, "account of fake")
    _, said = export(tmp_path / "out")
    assert (said["fake"], said["real"]) == (1, 1)
    _, said = export(tmp_path / "later", "--since", "2999-01-01")
    assert (said["fake"], said["real"]) == (0, 0)
    _, said = export(tmp_path / "other", "--policy", "vip")
    assert (said["fake"], said["real"]) == (0, 0)
