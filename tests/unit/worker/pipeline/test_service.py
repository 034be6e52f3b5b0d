"""Each image gets its score or its reason, whatever happens to its neighbours, to the database or to this worker."""

import shutil
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PhotoFile
from sqlalchemy import delete, event, select, text
from sqlalchemy.orm import Session

from db.errors import DatabaseError
from db.models import versions
from db.models.versions import Served
from db.policy.scores import Scored
from db.schema import Image, Score
from db.store.session import Database
from db.work import images
from db.work.images import LeasedImage, NewImage
from trainer.pixels import preprocess
from trainer.pixels.preprocess import Picture, Pixels, decode
from worker.core.errors import ScoringError, StoppingError
from worker.core.settings import WorkerSettings
from worker.inference.model_server import ModelServer
from worker.inference.scorer import Reading, Scorer, self_test
from worker.pipeline.attempt import AttemptResult, Stopwatch, record_attempts
from worker.pipeline.bounded_decoder import decodes_at_once
from worker.pipeline.held_images import new_owner
from worker.pipeline.service import Service

PATIENCE_S = 60


class Gated(Scorer):
    """A scorer that waits at a gate, or breaks."""

    def __init__(self, scorer: Scorer) -> None:
        super().__init__(scorer.detector, scorer.card, "cpu", "eager")
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None

    def read(self, batch: Sequence[Pixels]) -> list[Reading]:
        self.entered.set()
        assert self.gate.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error
        return super().read(batch)


@pytest.fixture(scope="module")
def loaded(tiny_checkpoint: Path) -> Scorer:
    return Scorer.open(tiny_checkpoint, "cpu", engine="eager")


@pytest.fixture
def scorer(loaded: Scorer) -> Gated:
    return Gated(loaded)


@pytest.fixture
def broken() -> list[str]:
    """Why the device could be used no more."""
    return []


@pytest.fixture
def settings(tmp_path: Path, photo: Path) -> WorkerSettings:
    """Photos by path, quick retries, and a batch that may take its time."""
    for name in ("a", "b", "c"):
        shutil.copy(photo, tmp_path / f"{name}.jpg")
    return WorkerSettings(media_root=tmp_path, max_attempts=2, retry_s=60, concurrency=4)


@pytest.fixture
def later() -> Iterator[Callable[..., "Future[None]"]]:
    """Calls in another thread. Ends after the services, whose gate is open then, or it would wait for ever."""
    with ThreadPoolExecutor() as pool:
        yield pool.submit


@pytest.fixture
def start(
    database: Database,
    scorer: Gated,
    broken: list[str],
    later: Callable[..., "Future[None]"],  # noqa: ARG001 - it ends after what is started here
) -> Iterator[Callable[[WorkerSettings], Service]]:
    started: list[Service] = []

    def begin(settings: WorkerSettings) -> Service:
        with database.writing() as session:
            version = versions.register(session, "tiny", "1" * 64, "unmask-1", {}).id
        own = Database(database.url.render_as_string(hide_password=False))
        models = ModelServer(settings, own, Served(version, "tiny", "1" * 64), scorer)
        started.append(Service(settings, own, models, broken.append))
        return started[-1]

    yield begin
    scorer.gate.set()
    for service in started:
        service.close()


@pytest.fixture
def service(start: Callable[[WorkerSettings], Service], settings: WorkerSettings) -> Service:
    return start(settings)


def put(database: Database, *ids: str) -> None:
    with database.writing() as session:
        images.add_images(session, [NewImage(i, "acc", f"{i}.jpg") for i in ids], 60)


def lose(database: Database, *ids: str) -> None:
    """As if a worker had been killed with these in hand."""
    with database.writing() as session:
        images.lease(session, ids, "killed", -1)


def image_of(database: Database, image_id: str) -> Image:
    with database.reading() as session:
        return session.get_one(Image, image_id)


def score_of(database: Database, image_id: str) -> float | None:
    with database.reading() as session:
        return session.scalar(select(Score.score).where(Score.image_id == image_id))


# Suspects


def test_a_suspect_gets_the_score_that_it_would_have_had(database: Database, service: Service) -> None:
    put(database, "a", "b")
    lose(database, "a")
    service.score(["a", "b"])
    assert score_of(database, "a") == score_of(database, "b") is not None
    assert image_of(database, "a").losses == 1


@pytest.fixture
def poison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, bytes], None]:
    """Have a photo kill the child that opens it ("die now!"), or hold it up while a file "gate" exists ("wait...")."""
    gate, plug = str(tmp_path / "gate"), tmp_path / "plug"
    plug.mkdir()
    (plug / "sitecustomize.py").write_text(
        textwrap.dedent(f"""
            import os, signal, time
            from PIL import Image
            opened = Image.open

            def open_(file, *args, **options):
                if file.getvalue().endswith(b"die now!"):
                    os.kill(os.getpid(), signal.SIGKILL)
                while file.getvalue().endswith(b"wait...") and os.path.exists({gate!r}):
                    time.sleep(0.01)  # no event of ours reaches the child
                return opened(file, *args, **options)

            Image.open = open_
        """)
    )
    monkeypatch.setenv("PYTHONPATH", str(plug))  # the child's: this process's Pillow is as it was

    def add(image_id: str, order: bytes) -> None:
        with (tmp_path / f"{image_id}.jpg").open("ab") as file:
            file.write(order)

    return add


def test_a_suspect_that_kills_its_decoder_is_unusable_after_its_tries(
    database: Database, service: Service, poison: Callable[[str, bytes], None]
) -> None:
    poison("b", b"die now!")
    put(database, "a", "b")
    lose(database, "a", "b")
    service.score(["a", "b"])
    assert score_of(database, "a") is not None
    assert (image_of(database, "b").state, image_of(database, "b").reason) == ("pending", "decoder_killed")
    with database.writing() as session:
        session.execute(text("UPDATE images SET lease_until = NULL"))
    service.score(["b"])
    assert (image_of(database, "b").state, image_of(database, "b").attempts) == ("unusable", 3)


def test_an_avif_is_decoded_in_the_sandbox_and_kills_no_worker(
    database: Database, service: Service, tmp_path: Path, poison: Callable[[str, bytes], None]
) -> None:
    for name in "ab":
        PhotoFile.new("RGB", (64, 64), "red").save(tmp_path / f"{name}.jpg", format="AVIF")
    poison("b", b"die now!")
    put(database, "a", "b")
    service.score(["a", "b"])
    assert score_of(database, "a") is not None
    assert (image_of(database, "b").reason, image_of(database, "b").losses) == ("decoder_killed", 0)


def test_a_suspect_is_not_taken_for_lost_while_its_decoder_has_it_and_nothing_else_moves(
    database: Database,
    service: Service,
    poison: Callable[[str, bytes], None],
    tmp_path: Path,
    later: Callable[..., "Future[None]"],
) -> None:
    poison("b", b"wait...")
    gate = tmp_path / "gate"
    gate.touch()
    put(database, "b")
    lose(database, "b")
    scored = later(service.score, ["b"])
    until(lambda: image_of(database, "b").lease_owner == service.held.owner)
    with database.writing() as session:
        session.execute(text("UPDATE images SET lease_until = created_at"))

    def is_kept() -> bool:
        service.renew_leases()
        row = image_of(database, "b")
        return row.lease_until is not None and row.lease_until > row.created_at

    until(is_kept)
    gate.unlink()
    scored.result(PATIENCE_S)
    assert score_of(database, "b") is not None


# The database


@pytest.mark.parametrize("migrated", ["sqlite"], indirect=True)
def test_results_in_hand_wait_for_a_database_that_is_away_and_nothing_is_done_before(
    database: Database,
    start: Callable[[WorkerSettings], Service],
    settings: WorkerSettings,
    scorer: Gated,
    later: Callable[..., "Future[None]"],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("db.store.session.BUSY_TIMEOUT_S", 0.01)
    service = start(settings)
    put(database, "a", "b")
    scorer.gate.clear()
    scored = later(service.score, ["a", "b"])
    assert scorer.entered.wait(PATIENCE_S)
    with database.writing() as session:
        session.execute(text("SELECT 1"))  # a transaction begins with its first statement
        scorer.gate.set()
        assert not _ends(scored, 1.0)
        another = later(service.score, ["c"])
        assert not _ends(another, 0.2)
    scored.result(PATIENCE_S)
    another.result(PATIENCE_S)
    assert None not in (score_of(database, "a"), score_of(database, "b"))


def test_an_image_whose_row_is_gone_fails_alone(
    database: Database, service: Service, scorer: Gated, later: Callable[..., "Future[None]"]
) -> None:
    put(database, "a", "b")
    scorer.gate.clear()
    scored = later(service.score, ["a", "b"])
    assert scorer.entered.wait(PATIENCE_S)
    with database.writing() as session:
        session.execute(delete(Image).where(Image.id == "b"))
    scorer.gate.set()
    scored.result(PATIENCE_S)
    assert score_of(database, "a") is not None


@pytest.mark.parametrize("migrated", ["postgresql"], indirect=True)
def test_a_lease_whose_answer_was_lost_is_taken_again(database: Database, service: Service) -> None:
    """The statement was committed, the connection broke, and the worker asks again."""
    put(database, "a")
    with database.writing() as session:
        images.lease(session, ["a"], service.held.owner, 300)
    (job,) = service.held.lease({"a"}, again=True)  # what `RetryUntilUp` calls the second time
    assert (job.image_id, job.attempts, job.losses) == ("a", 1, 0)


def test_what_outlasts_its_lease_here_is_not_begun_here_again(
    database: Database, service: Service, scorer: Gated, later: Callable[..., "Future[None]"]
) -> None:
    put(database, "a")
    scorer.gate.clear()
    scored = later(service.score, ["a"])
    assert scorer.entered.wait(PATIENCE_S)
    with database.writing() as session:
        session.execute(text("UPDATE images SET lease_until = created_at"))
    service.score(["a"])
    assert image_of(database, "a").attempts == 1
    scorer.gate.set()
    scored.result(PATIENCE_S)
    assert score_of(database, "a") is not None


def test_what_waits_for_its_turn_here_is_not_taken_for_lost(
    start: Callable[[WorkerSettings], Service],
    settings: WorkerSettings,
    database: Database,
    scorer: Gated,
    later: Callable[..., "Future[None]"],
) -> None:
    service = start(settings.model_copy(update={"concurrency": 1}))
    put(database, "a", "b", "c")
    service.score(["c"])
    scorer.entered.clear()
    scorer.gate.clear()
    scored = later(service.score, ["a", "b"])
    assert scorer.entered.wait(PATIENCE_S)
    with database.writing() as session:
        session.execute(text("UPDATE images SET lease_until = created_at"))
    service.renew_leases()
    begun, waits = image_of(database, "a"), image_of(database, "b")
    assert waits.lease_until is not None
    assert (begun.lease_until == begun.created_at, waits.lease_until > waits.created_at) == (True, True)
    service.renew_leases()
    assert image_of(database, "b").lease_until == waits.lease_until  # nothing moves here: others may take it
    scorer.gate.set()
    scored.result(PATIENCE_S)
    service.renew_leases()
    assert image_of(database, "b").lease_until is None


def test_what_the_record_refuses_altogether_is_not_held_for_ever(
    database: Database, service: Service, scorer: Gated, later: Callable[..., "Future[None]"]
) -> None:
    put(database, "a", "b")
    scorer.gate.clear()
    scored = later(service.score, ["a", "b"])
    assert scorer.entered.wait(PATIENCE_S)
    with database.writing() as session:
        session.execute(text("ALTER TABLE images RENAME TO elsewhere"))
    scorer.gate.set()
    with pytest.raises(DatabaseError):
        scored.result(PATIENCE_S)
    with database.writing() as session:
        session.execute(text("ALTER TABLE elsewhere RENAME TO images"))
    until(lambda: service.in_hand == 0)


# The end


def test_a_batch_that_hangs_is_heard_of(
    database: Database,
    start: Callable[[WorkerSettings], Service],
    settings: WorkerSettings,
    scorer: Gated,
    broken: list[str],
    later: Callable[..., "Future[None]"],
) -> None:
    service = start(settings.model_copy(update={"batch_timeout_s": 0.1}))
    put(database, "a")
    scorer.gate.clear()
    scored = later(service.score, ["a"])
    assert scorer.entered.wait(PATIENCE_S)
    while not broken:
        assert not _ends(scored, 0.05)
    with pytest.raises(StoppingError):
        service.score(["b"])
    assert broken == ["a batch of 1 images took longer than 0.1 s on cpu"]


def watched(service: Service, broken: list[str]) -> bool:
    service.check_decodes()
    return bool(broken)


def test_a_decode_that_hangs_is_heard_of(
    start: Callable[[WorkerSettings], Service],
    settings: WorkerSettings,
    database: Database,
    broken: list[str],
    later: Callable[..., "Future[None]"],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def hang(data: bytes) -> Picture:
        entered.set()
        assert go_on.wait(PATIENCE_S)
        return decode(data)

    monkeypatch.setattr("worker.pipeline.bounded_decoder.decode", hang)
    service = start(settings.model_copy(update={"decoder_timeout_s": 0.01}))
    put(database, "a")
    service.check_decodes()
    scored = later(service.score, ["a"])
    assert entered.wait(PATIENCE_S)
    assert broken == []
    until(lambda: watched(service, broken))
    go_on.set()
    scored.result(PATIENCE_S)
    assert set(broken) == {"a decode took longer than 0.01 s"}


def test_a_device_that_broke_is_heard_of_and_no_image_is_blamed(
    database: Database, service: Service, scorer: Gated, broken: list[str]
) -> None:
    put(database, "a")
    scorer.error = RuntimeError("CUDA error: an illegal memory access was encountered\nmore")
    with pytest.raises(StoppingError):
        service.score(["a"])
    assert broken == ["cpu broke: CUDA error: an illegal memory access was encountered"]
    assert (image_of(database, "a").state, image_of(database, "a").reason) == ("pending", None)


def test_an_error_of_the_model_that_is_no_broken_device_is_the_images(
    database: Database, service: Service, scorer: Gated, broken: list[str]
) -> None:
    put(database, "a")
    scorer.error = RuntimeError("CUDA out of memory")
    service.score(["a"])
    assert (image_of(database, "a").reason, broken) == ("out_of_memory", [])


@pytest.mark.parametrize(("lost", "expected"), [(False, (0, 0)), (True, (1, 1))])
def test_what_is_in_hand_is_given_back_and_nothing_more_is_taken(
    database: Database,
    service: Service,
    scorer: Gated,
    later: Callable[..., "Future[None]"],
    lost: bool,
    expected: tuple[int, int],
) -> None:
    put(database, "a", "b")
    scorer.gate.clear()
    later(service.score, ["a"])
    assert scorer.entered.wait(PATIENCE_S)
    service.release_leases(lost=lost)
    image = image_of(database, "a")
    assert (image.lease_owner, image.attempts, image.losses) == (None, *expected)
    with pytest.raises(StoppingError):
        service.score(["b"])


# Statements


@pytest.mark.parametrize("migrated", ["postgresql"], indirect=True)
def test_a_batch_takes_four_statements_however_many_its_images(database: Database, service: Service) -> None:
    ids = [f"{number}" for number in range(50)]
    put(database, *ids)
    heard: list[str] = []
    event.listen(service.database.engine, "before_cursor_execute", lambda _c, _u, sql, *_: heard.append(sql))
    jobs = service._lease_batch(ids)  # noqa: SLF001 - a batch as it comes when many threads hand it in
    assert len(jobs) == 50
    scored = [Scored(i, "default", 0.5, "f" * 64, 1, 2, 3) for i in ids]
    pair = service.models.pair
    attempts = [AttemptResult(job, s, Stopwatch(0, 0), pair) for job, s in zip(jobs, scored, strict=True) if job]
    service._record_batch(attempts)  # noqa: SLF001 - the same
    assert len(heard) == 4, heard


# Leases


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_while_others_are_in_hand_what_comes_is_taken_together(
    start: Callable[[WorkerSettings], Service],
    settings: WorkerSettings,
    database: Database,
    scorer: Gated,
    later: Callable[..., "Future[None]"],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.pipeline.service._GATHER_S", float(PATIENCE_S))
    service, taken = start(settings), list[set[str]]()
    lease = images.lease

    def noted(session: Session, ids: set[str], *others: Any) -> list[LeasedImage]:
        taken.append(ids)
        return lease(session, ids, *others)

    monkeypatch.setattr(images, "lease", noted)
    put(database, "a", "b", "c")
    scorer.gate.clear()
    done = [later(service.score, ["a"])]
    assert scorer.entered.wait(PATIENCE_S)
    assert taken == [{"a"}]  # at once: nothing was in hand
    done += [later(service.score, ["b"]), later(service.score, ["c"])]
    until(lambda: len(service._leases._waiting) == 2)  # noqa: SLF001 - nothing else shows what waits
    scorer.gate.set()
    for each in done:
        each.result(PATIENCE_S)
    assert taken == [{"a"}, {"b", "c"}]


def test_while_others_are_in_hand_what_ends_is_recorded_together(
    start: Callable[[WorkerSettings], Service],
    settings: WorkerSettings,
    database: Database,
    scorer: Gated,
    later: Callable[..., "Future[None]"],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.pipeline.service._GATHER_S", float(PATIENCE_S))
    service, recorded = start(settings.model_copy(update={"max_batch": 1})), list[set[str]]()

    def noted(session: Session, attempts: Sequence[AttemptResult], owner: str) -> None:
        recorded.append({attempt.job.image_id for attempt in attempts})
        record_attempts(session, attempts, owner)

    monkeypatch.setattr("worker.pipeline.service.record_attempts", noted)
    put(database, "a", "b", "c")
    service.score(["a"])
    assert recorded == [{"a"}]  # at once: nothing else was in hand
    scorer.gate.clear()
    done = later(service.score, ["b", "c"])
    until(lambda: len(service._scores._waiting) == 1)  # noqa: SLF001 - one is being scored, and one waits
    scorer.gate.set()
    done.result(PATIENCE_S)
    assert recorded == [{"a"}, {"b", "c"}]


# Decoding


@pytest.mark.parametrize(("cores", "most"), [(1, 1), (2, 1), (4, 2)])
def test_at_most_half_the_cores_decode_while_the_others_score(
    start: Callable[[WorkerSettings], Service],
    settings: WorkerSettings,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    most: int,
) -> None:
    monkeypatch.setattr("worker.pipeline.service.cores", lambda: cores)
    decode, lock, now, seen = preprocess.decode, threading.Lock(), [0], list[int]()

    def slow(data: bytes) -> preprocess.Picture:
        with lock:
            now[0] += 1
            seen.append(now[0])
        until(lambda: max(seen) >= most)
        time.sleep(0.05)  # for one more, that should not come
        with lock:
            now[0] -= 1
        return decode(data)

    monkeypatch.setattr("worker.pipeline.bounded_decoder.decode", slow)
    put(database, "a", "b", "c")
    start(settings).score(["a", "b", "c"])
    assert max(seen) == most


def test_a_device_leaves_all_cores_to_decoding() -> None:
    assert decodes_at_once("cuda", 16) == 16


# At the start


def test_a_model_that_scores_the_same_picture_twice_is_fit_to_serve(loaded: Scorer) -> None:
    self_test(loaded)


def test_a_model_that_does_not_is_refused(loaded: Scorer) -> None:
    class Drifting(Scorer):
        def __init__(self) -> None:
            super().__init__(loaded.detector, loaded.card, "cpu")
            self.scores = [0.5, 0.6]

        def score(self, batch: Sequence[Pixels]) -> list[float]:
            return [self.scores.pop() for _ in batch]

    with pytest.raises(ScoringError, match=r"model tiny gave one picture two scores: 0\.600000 and 0\.500000"):
        self_test(Drifting())


def test_no_two_processes_have_the_same_name() -> None:
    assert len({new_owner() for _ in range(100)}) == 100


def _ends(future: "Future[None]", within_s: float) -> bool:
    try:
        future.result(within_s)
    except TimeoutError:
        return False
    return True
