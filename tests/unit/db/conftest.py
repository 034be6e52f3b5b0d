"""A record to test on: an active model, images that are due, and what happens to them."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from db.file_signals import AI, AI_EDITED, CAMERA, FileSignal
from db.models import versions
from db.policy import policies, scores, thresholds
from db.policy.attribution import ChangeAuthor
from db.policy.scores import Provenance, Scored
from db.review import reviews
from db.review.reviews import Decision
from db.schema import Case, Image, Policy, Review
from db.store.session import Database
from db.work import images
from db.work.images import NewImage

#: Whatever should happen at once in these tests happens within this, or not at all.
PATIENCE_S = 30
#: What the files of `said` say of themselves.
_SAID = {
    "novel": [FileSignal(AI, "NovelAI", "PNG Software")],
    "edited": [FileSignal(AI_EDITED, "Firefly", "C2PA"), FileSignal(CAMERA, "X100", "EXIF")],
    "silent": [],
}


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    """A transaction that is rolled back at the end."""
    with database.reading() as session:
        yield session


@pytest.fixture
def version_id(database: Database) -> int:
    """The active model version."""
    with database.writing() as session:
        return versions.register(session, "first", "1" * 64, "unmask-1", {"name": "first"}).id


def know_policy(session: Session, name: str) -> None:
    """Add a policy unless it is there."""
    if session.get(Policy, name) is None:
        policies.add_policy(session, name, ChangeAuthor("test", ""))


@pytest.fixture
def add_policy(database: Database) -> Callable[[str], None]:
    """``add_policy("vip")``, again and again if need be."""

    def add(name: str) -> None:
        with database.writing() as session:
            know_policy(session, name)

    return add


@pytest.fixture
def vip(add_policy: Callable[[str], None]) -> str:
    """A policy beside the default one."""
    add_policy("vip")
    return "vip"


@pytest.fixture
def add_images(database: Database) -> Callable[..., list[str]]:
    """``add_images("a", "b")`` adds images that are due since a minute; returns those that are new."""

    def add(*ids: str, account_id: str = "account", policy: str = "default", resend_s: float = -60.0) -> list[str]:
        with database.writing() as session:
            know_policy(session, policy)
            return images.add_images(session, [NewImage(i, account_id, f"{i}.jpg", policy) for i in ids], resend_s)

    return add


@pytest.fixture
def set_threshold(database: Database, version_id: int) -> Callable[..., int]:
    """``set_threshold(0.5)`` for the active version; returns its id."""

    def set_value(value: float, policy: str = "default") -> int:
        with database.writing() as session:
            know_policy(session, policy)
            return thresholds.set_value(session, version_id, policy, value, "test", "").id

    return set_value


@pytest.fixture
def record(database: Database, version_id: int) -> Callable[..., list[str]]:
    """``record({"a": 0.9})`` writes scores in one transaction; returns the ids whose score is new."""

    def write(found: dict[str, float], policy: str = "default") -> list[str]:
        batch = [Scored(image_id, policy, score, "f" * 64, 1000, 640, 480) for image_id, score in found.items()]
        with database.writing() as session:
            return scores.record(session, batch, Provenance(version_id, "eager-fp32", "cpu"))

    return write


@pytest.fixture
def image_of(database: Database) -> Callable[[str], Image]:
    """An image's row, as the next worker would see it."""

    def read(image_id: str) -> Image:
        with database.reading() as session:
            return session.get_one(Image, image_id)

    return read


@pytest.fixture
def close_case(database: Database) -> Callable[[int, str], None]:
    """``close_case(1, "dismissed")``: what a reviewer's decision does to a case."""

    def close(case_id: int, state: str) -> None:
        with database.writing() as session:
            session.get_one(Case, case_id).state = state

    return close


@pytest.fixture
def at_once() -> Callable[[Sequence[Callable[[], Any]]], list[Any]]:
    """Runs functions at the same time, a thread each; returns what they returned, in order."""

    def run(functions: Sequence[Callable[[], Any]]) -> list[Any]:
        barrier = threading.Barrier(len(functions), timeout=PATIENCE_S)

        def start(function: Callable[[], Any]) -> Any:
            barrier.wait()
            return function()

        with ThreadPoolExecutor(len(functions)) as pool:
            futures = [pool.submit(start, function) for function in functions]
            return [future.result(timeout=PATIENCE_S) for future in futures]

    return run


@pytest.fixture
def statements() -> Callable[[Session], list[tuple[str, Any]]]:
    """``statements(session)``: a list to which every statement of its transaction is added, with its parameters."""

    def listen(session: Session) -> list[tuple[str, Any]]:
        heard: list[tuple[str, Any]] = []

        @event.listens_for(session.connection(), "before_cursor_execute")
        def _(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            heard.append((statement, parameters))

        return heard

    return listen


@pytest.fixture
def open_case(
    database: Database, add_images: Callable[..., list[str]], record: Callable[..., list[str]], version_id: int
) -> Callable[..., int]:
    """``open_case("ada")`` flags a photo of this account, "ada-1", whose score is 0.9; returns the case's id."""

    def flag(account_id: str = "account", score: float = 0.9, policy: str = "default", photo: int = 1) -> int:
        with database.writing() as session:
            know_policy(session, policy)
            if policy not in [row.policy for row in thresholds.in_effect(session, version_id)]:
                thresholds.set_value(session, version_id, policy, 0.5, "pat", "")
        add_images(f"{account_id}-{photo}", account_id=account_id, policy=policy)
        record({f"{account_id}-{photo}": score}, policy)
        with database.reading() as session:
            newest = select(Case.id).where(Case.account_id == account_id, Case.policy == policy)
            return session.scalars(newest.order_by(Case.id.desc())).first() or 0

    return flag


@pytest.fixture
def decide(database: Database) -> Callable[..., Review]:
    """``decide(1, "ada", "confirmed")`` as somebody who has just looked at the case."""

    def enter(case_id: int, reviewer: str, decision: str = "confirmed", **more: Any) -> Review:
        with database.writing() as session:
            version = session.get_one(Case, case_id).version
            review = reviews.decide_case(session, Decision(case_id, version, reviewer, decision, **more))
            session.expunge(review)
        return review

    return enter


@pytest.fixture
def case_of(database: Database) -> Callable[[int], Case]:
    """A case's row, as the next reviewer would see it."""

    def read(case_id: int) -> Case:
        with database.reading() as session:
            return session.get_one(Case, case_id)

    return read


@pytest.fixture
def said(database: Database, add_images: Callable[..., list[str]], open_case: Callable[..., int]) -> dict[str, int]:
    """A case for each file of `_SAID`, flagged by the model "second"; and "old", which the model "first" flagged."""
    found = {"old": open_case("old")}
    with database.writing() as session:
        second = versions.register(session, "second", "2" * 64, "unmask-1", {"name": "second"}).id
        thresholds.set_value(session, second, "default", 0.5, "pat", "")
        versions.by_name(session, "first").state = "retired"
        session.flush()
        versions.by_name(session, "second").state = "active"
    for account, signals in _SAID.items():
        add_images(account, account_id=account)
        with database.writing() as session:
            scored = Scored(account, "default", 0.9, "f" * 64, 1000, 640, 480, signals=tuple(signals))
            made_by = Provenance(second, "eager-fp32", "cpu")
            scores.record(session, [scored], made_by)
    return found
