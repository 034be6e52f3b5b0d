"""An engine that nobody knows shows as a cluster that grows; no account alone can make one."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sqlalchemy import insert, select
from sqlalchemy.exc import SQLAlchemyError

from db.commands.novelty import model_novelty
from db.errors import DatabaseError
from db.models.projections import KeptProjection, keep_projections
from db.policy import scores
from db.policy.scores import Provenance, Scored
from db.privacy import erasure, retention
from db.privacy.retention import RetentionSettings
from db.schema import Image, Policy, Projection, Score
from db.store.session import Database
from worker.exporter.collectors import NoveltyCollector

pytestmark = pytest.mark.both  # databases can differ here
DAY = timedelta(days=1)


@pytest.fixture
def keep(database: Database, version_id: int) -> Callable[..., list[str]]:
    """``keep("real", points, days_ago)``: scored photos, an account each, whose projections were kept then."""

    def add(name: str, points: Any, days_ago: float, account: str | None = None) -> list[str]:
        ids = [f"{name}-{number}" for number in range(len(points))]
        then = datetime.now(UTC) - days_ago * DAY
        with database.writing() as session:
            if session.get(Policy, "default") is None:
                session.add(Policy(name="default", author="test"))
            rows = [{"id": i, "account_id": account or i, "url": "a.jpg", "state": "scored"} for i in ids]
            session.execute(insert(Image), rows)
            told = {"version_id": version_id, "engine": "eager-fp32", "device": "cpu"}
            session.execute(insert(Score), [told | {"image_id": i, "score": 0.25} for i in ids])
            kept = [
                {"image_id": i, "version_id": version_id, "kind": "high", "projection": p.tobytes(), "kept_at": then}
                for i, p in zip(ids, points, strict=True)
            ]
            session.execute(insert(Projection), kept)
        return ids

    return add


def faces(seed: int, count: int, width: float = 30, centre: float = 0) -> Any:
    return np.rint(np.random.default_rng(seed).normal(centre, width, (count, 64))).clip(-127, 127).astype(np.int8)


@pytest.fixture
def weeks(keep: Callable[..., list[str]]) -> Callable[..., list[str]]:
    keep("before", faces(0, 400), 20)
    keep("lately", faces(1, 150), 2)
    return keep


@pytest.fixture
def ask(database: Database, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """``ask("--json")``: what the command prints."""
    monkeypatch.setenv("UNMASK_DATABASE_URL", database.url.render_as_string(hide_password=False))

    def run(*words: str) -> str:
        result = CliRunner().invoke(model_novelty, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def metric(database: Database) -> list[float]:
    collector = NoveltyCollector()
    with database.reading() as session:
        collector.read(session)
    return [sample.value for family in collector.families() for sample in family.samples]


def test_a_new_engine_is_a_cluster_with_twelve_photos_to_look_at(
    database: Database, weeks: Callable[..., list[str]], ask: Callable[..., str]
) -> None:
    new = weeks("engine", faces(2, 30, width=6, centre=25), 1)
    found = json.loads(ask("--json"))
    assert (found["model"], found["recent"], found["reference"]) == ("first", 180, 400)
    (cluster,) = found["clusters"]
    assert cluster["size"] >= 30
    assert cluster["chance"] < 0.01
    assert cluster["growth"] > 2
    assert cluster["mean_score"] == pytest.approx(0.25)
    assert cluster["flagged"] == 0
    assert len(cluster["photos"]) == 12
    assert {photo["image"] for photo in cluster["photos"]} <= set(new)
    assert cluster["photos"][0] == {"image": cluster["photos"][0]["image"], "score": 0.25, "case": None}
    assert f"Photos of cluster 1: {cluster['photos'][0]['image']}, engine-" in ask()
    assert metric(database) == [1]


def test_where_nothing_grew_nothing_is_said(
    database: Database, weeks: Callable[..., list[str]], ask: Callable[..., str]
) -> None:
    weeks("engine", faces(2, 30, width=6, centre=25), 10)  # within the reference: no longer new
    assert json.loads(ask("--json"))["clusters"] == []
    assert ask() == "Compared 150 photos of 7 days with 430 of 28 days before.\nNo cluster has grown.\n"
    assert metric(database) == [0]


def test_without_a_reference_there_is_no_alarm_and_no_figure(
    database: Database, keep: Callable[..., list[str]], ask: Callable[..., str]
) -> None:
    assert json.loads(ask("--json")) == {"model": "first", "recent": 0, "reference": 0, "clusters": []}
    keep("lately", faces(1, 150), 2)
    assert json.loads(ask("--json"))["clusters"] == []
    assert metric(database) == []


def test_one_account_or_copies_of_one_photo_are_no_engine(
    weeks: Callable[..., list[str]], ask: Callable[..., str]
) -> None:
    weeks("busy", faces(2, 60, width=6, centre=25), 1, account="busy")
    weeks("copy", np.repeat(faces(3, 1), 60, axis=0), 1)
    found = json.loads(ask("--json"))
    assert (found["recent"], found["clusters"]) == (152, [])


def test_the_windows_are_options(weeks: Callable[..., list[str]], ask: Callable[..., str]) -> None:
    weeks("engine", faces(2, 30, width=6, centre=25), 10)
    found = json.loads(ask("--days", "14", "--reference-days", "10", "--json"))
    assert (found["recent"], found["reference"], len(found["clusters"])) == (180, 400, 1)


def kept(database: Database) -> dict[str, str]:
    with database.reading() as session:
        return dict(session.execute(select(Projection.image_id, Projection.kind)).all())


def test_flagged_photos_are_kept_and_others_as_the_worker_says(
    database: Database,
    version_id: int,
    set_threshold: Callable[..., int],
    add_images: Callable[..., list[str]],
) -> None:
    set_threshold(0.5)
    add_images("flagged", "high", "low", "off", "erased", account_id="ada")
    erased(database, "erased")
    told = {"flagged": (0.9, "high"), "high": (0.4, "high"), "low": (0.1, None), "erased": (0.4, "high")}
    batch = [
        Scored(i, "default", score, "f" * 64, 1000, 640, 480, projection=bytes(64), kept_as=kind)
        for i, (score, kind) in told.items()
    ]
    batch.append(Scored("off", "default", 0.9, "f" * 64, 1000, 640, 480))  # of a worker that keeps none
    for _ in range(2):  # a second score of an image changes nothing
        with database.writing() as session:
            scores.record(session, batch, Provenance(version_id, "eager-fp32", "cpu"))
    assert kept(database) == {"flagged": "flagged", "high": "high"}


def erased(database: Database, image_id: str) -> None:
    with database.writing() as session:
        erasure.erase_images(session, [image_id])


def test_they_go_with_the_account_the_image_and_their_period(
    database: Database, keep: Callable[..., list[str]]
) -> None:
    keep("old", faces(0, 2), 43)
    keep("forgotten", faces(1, 2), 1, account="ada")
    keep("taken-back", faces(2, 1), 1)
    keep("record", faces(4, 1), 1)
    keep("stays", faces(3, 1), 41)
    assert len(kept(database)) == 7
    with database.reading() as session:
        assert retention.preview_retention(session, RetentionSettings()) == {"projections": 2}
    assert retention.apply_retention(database, RetentionSettings()) == {"projections": 2}
    erasure.erase_account(database, "ada")
    erased(database, "taken-back-0")
    assert sorted(kept(database)) == ["record-0", "stays-0"]
    with database.writing() as session:
        session.get_one(Image, "record-0").created_at = datetime.now(UTC) - 400 * DAY
    assert retention.apply_retention(database, RetentionSettings(keep_scores_days=365))["scores"] == 1
    assert sorted(kept(database)) == ["stays-0"]


@pytest.mark.parametrize("projection", [b"", bytes(63), bytes(65)])
def test_the_database_takes_64_bytes_alone(
    database: Database, version_id: int, add_images: Callable[..., list[str]], projection: bytes
) -> None:
    add_images("a")
    with pytest.raises((DatabaseError, SQLAlchemyError), match="projection_length"), database.writing() as session:
        keep_projections(session, version_id, {"a": KeptProjection("high", projection)})
