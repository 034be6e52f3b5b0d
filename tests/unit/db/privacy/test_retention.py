"""What is past its period goes, in batches; what people decided on, and what is not yet past it, stays."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import event, select, update

from db.commands.retention import retention as command
from db.errors import SettingsError
from db.privacy import erasure, retention
from db.privacy.retention import RetentionSettings
from db.review import case_context
from db.schema import AccountFacts, Case, Delivery, Image, Preview, Review, Score
from db.store.session import Database

SETTINGS = RetentionSettings(keep_pictures_days=30, keep_accounts_days=90, keep_scores_days=365)
pytestmark = pytest.mark.both  # databases can differ here


@pytest.fixture
def old(
    database: Database,
    version_id: int,
    set_threshold: Callable[..., int],
    add_images: Callable[..., list[str]],
    record: Any,
) -> Callable[[int], Database]:
    """``old(100)``: images of 100 days: never flagged, flagged in an open and in a decided case, and waiting."""
    assert version_id
    set_threshold(0.5)
    for name in ("plain", "open", "decided", "waits"):
        add_images(name, account_id=name)
    record({"plain": 0.1, "open": 0.9, "decided": 0.9})
    with database.writing() as session:
        session.add_all(Preview(image_id=i, kind="photo", picture=b"jpeg") for i in ("plain", "open", "decided"))
        case = session.scalars(select(Case).where(Case.account_id == "decided")).one()
        case.state = "confirmed"
        session.add(Review(case_id=case.id, reviewer="pat", decision="confirmed", blind=False))

    def age(days: int) -> Database:
        then = datetime.now(UTC) - timedelta(days=days, hours=1)
        with database.writing() as session:
            session.execute(update(Image).values(created_at=then))
            session.execute(update(Preview).values(created_at=then))
            session.execute(update(Case).values(changed_at=then))
        return database

    return age


def left(database: Database) -> dict[str, list[Any]]:
    with database.reading() as session:
        return {
            "images": sorted(session.scalars(select(Image.id))),
            "accounts": sorted(session.scalars(select(Image.account_id).where(Image.account_id.is_not(None)))),
            "cases": sorted(session.scalars(select(Case.account_id).where(Case.account_id.is_not(None)))),
            "scores": sorted(session.scalars(select(Score.image_id))),
            "pictures": sorted(session.scalars(select(Preview.image_id).where(Preview.picture.is_not(None)))),
            "reviews": list(session.scalars(select(Review.decision))),
        }


ALL = ["decided", "open", "plain", "waits"]


def test_before_its_period_nothing_goes(old: Callable[[int], Database]) -> None:
    database = old(29)
    before = left(database)
    assert retention.apply_retention(database, SETTINGS) == {
        "pictures": 0,
        "uploads": 0,
        "accounts": 0,
        "facts": 0,
        "cases": 0,
        "scores": 0,
        "projections": 0,
    }
    assert left(database) == before


def test_what_the_platform_was_told_goes_and_what_it_is_to_be_told_stays(old: Callable[[int], Database]) -> None:
    database = old(1)
    with database.writing() as session:
        case_id = session.scalars(select(Case.id)).first()
        told = {"pending": 1, "done": 2, "dead": 3}
        session.add_all(Delivery(case_id=case_id, version=n, event="opened", state=s) for s, n in told.items())
        session.execute(update(Delivery).values(changed_at=datetime.now(UTC) - timedelta(days=8)))
        session.add(Delivery(case_id=case_id, version=4, event="opened", state="done"))
    assert retention.apply_retention(database, RetentionSettings(keep_deliveries_days=7)) == {
        "deliveries": 2,
        "projections": 0,
    }
    with database.reading() as session:
        assert set(session.scalars(select(Delivery.version))) == {1, 4}


def test_what_the_platform_was_told_of_a_photo_goes_with_its_record(old: Callable[[int], Database]) -> None:
    database = old(366)
    with database.writing() as session:
        session.add_all(Delivery(image_id=name, event="scored", state="done") for name in ("plain", "open"))
    assert retention.apply_retention(database, SETTINGS)["scores"] == 1
    with database.reading() as session:
        assert session.scalars(select(Delivery.image_id)).all() == ["open"]


def test_pictures_go_first(old: Callable[[int], Database]) -> None:
    database = old(31)
    assert retention.apply_retention(database, SETTINGS)["pictures"] == 3
    assert left(database)["pictures"] == []
    assert left(database)["accounts"] == ALL


def test_then_whose_an_image_is_unless_an_open_case_needs_to_know(old: Callable[[int], Database]) -> None:
    database = old(91)
    assert retention.apply_retention(database, SETTINGS) == {
        "pictures": 3,
        "uploads": 0,
        "accounts": 2,
        "facts": 0,
        "cases": 1,
        "scores": 0,
        "projections": 0,
    }
    found = left(database)
    assert found["accounts"] == ["open", "waits"]
    assert found["cases"] == ["open"]
    assert found["scores"] == ["decided", "open", "plain"]


def test_what_was_decided_lately_keeps_its_account_and_photo_for_an_appeal(old: Callable[[int], Database]) -> None:
    database = old(91)
    lately = datetime.now(UTC) - timedelta(days=89)
    with database.writing() as session:
        session.execute(update(Case).where(Case.account_id == "decided").values(changed_at=lately))
    assert retention.apply_retention(database, SETTINGS) == {
        "pictures": 3,
        "uploads": 0,
        "cases": 0,
        "accounts": 1,
        "facts": 0,
        "scores": 0,
        "projections": 0,
    }
    assert left(database)["accounts"] == ["decided", "open", "waits"]
    with database.writing() as session:
        session.execute(update(Case).values(changed_at=lately - timedelta(days=2)))
    assert retention.apply_retention(database, SETTINGS) == {
        "pictures": 0,
        "uploads": 0,
        "cases": 1,
        "accounts": 1,
        "facts": 0,
        "scores": 0,
        "projections": 0,
    }
    assert left(database)["accounts"] == ["open", "waits"]


def test_what_a_threshold_withdrew_lately_keeps_nothing(old: Callable[[int], Database]) -> None:
    database = old(91)
    with database.writing() as session:
        values = {"state": "withdrawn", "changed_at": datetime.now(UTC)}
        session.execute(update(Case).where(Case.account_id == "decided").values(values))
    assert retention.apply_retention(database, SETTINGS)["accounts"] == 2
    assert left(database)["accounts"] == ["open", "waits"]


def test_at_last_the_record_of_what_was_never_flagged(old: Callable[[int], Database]) -> None:
    database = old(366)
    assert retention.apply_retention(database, SETTINGS)["scores"] == 1
    found = left(database)
    assert found["images"] == ["decided", "open", "waits"]
    assert found["scores"] == ["decided", "open"]
    assert found["reviews"] == ["confirmed"]


def test_without_a_period_everything_is_kept(old: Callable[[int], Database]) -> None:
    database = old(4000)
    before = left(database)
    assert retention.apply_retention(database, RetentionSettings()) == {"projections": 0}
    assert left(database) == before


def test_batches_are_whole_and_an_interrupted_run_is_finished_by_the_next(
    old: Callable[[int], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, real = old(91), erasure.erase_images
    batches: list[Any] = []

    def interrupted(session: Any, ids: Any) -> int:
        if batches:
            raise KeyboardInterrupt
        batches.append(ids)
        return real(session, ids)

    with monkeypatch.context() as patch:
        patch.setattr(erasure, "erase_images", interrupted)
        with pytest.raises(KeyboardInterrupt):
            retention.apply_retention(database, SETTINGS, batch=1)
    assert len(left(database)["accounts"]) == 3

    assert retention.apply_retention(database, SETTINGS, batch=1) == {
        "pictures": 0,
        "uploads": 0,
        "accounts": 1,
        "facts": 0,
        "cases": 0,
        "scores": 0,
        "projections": 0,
    }
    assert left(database)["accounts"] == ["open", "waits"]


def test_no_batch_reads_again_what_those_before_it_have_left(old: Callable[[int], Database]) -> None:
    database, heard = old(100), list[str]()

    def hear(_connection: Any, _cursor: Any, sql: str, *_: Any) -> None:
        if sql.startswith("SELECT") and "images.created_at <" in sql and "LIMIT" in sql:
            heard.append(sql)

    event.listen(database.engine, "before_cursor_execute", hear)
    done = retention.apply_retention(database, RetentionSettings(keep_accounts_days=90), batch=1)
    event.remove(database.engine, "before_cursor_execute", hear)
    assert done["accounts"] == 2
    assert ["images.id > " in sql for sql in heard] == [False, True, True]


def test_a_dry_run_counts_the_same_and_changes_nothing(
    old: Callable[[int], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = old(91)
    before = left(database)
    monkeypatch.setenv("UNMASK_DATABASE_URL", database.url.render_as_string(hide_password=False))
    monkeypatch.setenv("UNMASK_KEEP_PICTURES_DAYS", "30")
    monkeypatch.setenv("UNMASK_KEEP_ACCOUNTS_DAYS", "90")

    dry = CliRunner().invoke(command, ["run", "--dry-run", "--json"])
    assert left(database) == before
    done = CliRunner().invoke(command, ["run", "--json"])

    counts = {"pictures": 3, "uploads": 0, "cases": 1, "accounts": 2, "facts": 0, "projections": 0}
    for result, dry_run in ((dry, True), (done, False)):
        rows = [{"period": name, "rows": count, "dry_run": dry_run} for name, count in counts.items()]
        assert json.loads(result.stdout) == rows
    assert left(database) != before


def test_a_period_that_is_none_is_refused_by_the_name_of_its_key() -> None:
    with pytest.raises(SettingsError, match=r"^UNMASK_KEEP_SCORES_DAYS: "):
        RetentionSettings.load({"UNMASK_KEEP_SCORES_DAYS": "0"})


def test_facts_about_an_account_are_kept_as_long_as_its_cases(old: Callable[[int], Database]) -> None:
    database = old(100)
    then = datetime.now(UTC) - timedelta(days=100)
    with database.writing() as session:
        for account in ("plain", "open", "decided"):
            case_context.set_facts(session, account, {"Reports": 2})
        session.execute(update(AccountFacts).values(changed_at=then))
    retention.apply_retention(database, SETTINGS)
    with database.reading() as session:
        assert session.scalars(select(AccountFacts.account_id)).all() == ["open"]
