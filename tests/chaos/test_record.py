"""The suite finds a loss where there is one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, text, update
from sqlalchemy.orm import Session

from db.models import versions
from db.policy import scores, thresholds
from db.policy.scores import Provenance, Scored
from db.schema import Case, Flag, Image, Score
from db.store.session import Database
from db.work import images
from db.work.images import Failure, NewImage
from tests.chaos.record import Findings, look

GOOD, HALF = "served.p0.1", "half.p1.2"
EXPECTED = {"p0": 0.9, "p1": 0.1}
COMMITTED = {GOOD, HALF}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A good picture that was scored and flagged, and half a picture that was not scored."""
    database = Database(f"sqlite:///{tmp_path}/unmask.db")
    database.upgrade()
    with database.writing() as session:
        version = versions.register(session, "chaos", "1" * 64, "unmask-1", {})
        thresholds.set_value(session, version.id, "default", 0.5, "test", "")
        images.add_images(session, [NewImage(GOOD, "a", "p0.jpg"), NewImage(HALF, "a", "http://x/half")], 0)
        images.lease(session, [GOOD, HALF], "worker", 60)
        scores.record(session, [Scored(GOOD, "default", 0.9, "f" * 64, 1, 16, 16)], Provenance(version.id, "e", "cpu"))
        images.record_failures(session, [Failure(HALF, "truncated", "")], "worker")
    yield database
    database.close()


def found(database: Database) -> Findings:
    return look(database, COMMITTED, EXPECTED)


def test_a_record_as_it_must_be_has_nothing_to_say(database: Database) -> None:
    assert found(database) == Findings(2, 0, frozenset(), frozenset(), frozenset())


def _gone(session: Session) -> None:
    session.execute(delete(Image).where(Image.id == HALF))


def _stuck(session: Session) -> None:
    session.execute(update(Image).where(Image.id == HALF).values(state="pending"))


def _silent(session: Session) -> None:
    session.execute(update(Image).where(Image.id == HALF).values(reason=None))


def _unscored(session: Session) -> None:
    session.execute(delete(Flag))
    session.execute(delete(Score))


def _given_up(session: Session) -> None:
    session.execute(update(Image).where(Image.id == GOOD).values(state="failed", reason="worker_lost"))


@pytest.mark.parametrize("harm", [_gone, _stuck, _silent, _unscored, _given_up])
def test_a_loss_is_seen(
    database: Database, harm: Callable[[Session], None], forging: Callable[[Database], None]
) -> None:
    forging(database)
    with database.writing() as session:
        harm(session)
    assert len(found(database).lost) == 1


def _other_score(session: Session) -> None:
    session.execute(update(Score).values(score=0.9002))


def _no_flag(session: Session) -> None:
    session.execute(delete(Flag))


def _other_reason(session: Session) -> None:
    session.execute(update(Image).where(Image.id == HALF).values(reason="timeout"))


def _held(session: Session) -> None:
    session.execute(update(Image).where(Image.id == GOOD).values(lease_owner="worker"))


def _scored_though_broken(session: Session) -> None:
    session.execute(update(Image).where(Image.id == HALF).values(state="scored", reason=None))


@pytest.mark.parametrize("harm", [_other_score, _no_flag, _other_reason, _held, _scored_though_broken])
def test_a_wrong_verdict_is_seen(
    database: Database, harm: Callable[[Session], None], forging: Callable[[Database], None]
) -> None:
    forging(database)
    with database.writing() as session:
        harm(session)
    assert len(found(database).wrong) == 1


def _second_score(session: Session) -> None:
    session.execute(text("ALTER TABLE scores RENAME TO kept"))
    session.execute(text("CREATE TABLE scores AS SELECT * FROM kept UNION ALL SELECT * FROM kept"))


def _second_flag(session: Session) -> None:
    case = session.execute(insert(Case).values(account_id="a", policy="other").returning(Case.id)).scalar_one()
    flag = text(
        "INSERT INTO flags (case_id, image_id, score_id, threshold_id) SELECT :case, image_id, score_id, 1 FROM flags"
    )
    session.execute(flag, {"case": case})


def _second_case(session: Session) -> None:
    session.execute(text("DROP INDEX uq_cases_open"))
    session.execute(insert(Case).values(account_id="a", policy="default"))


@pytest.mark.parametrize("harm", [_second_score, _second_flag, _second_case])
def test_what_is_there_twice_is_seen(database: Database, harm: Callable[[Session], None]) -> None:
    with database.writing() as session:
        harm(session)
    assert len(found(database).duplicated) == 1
