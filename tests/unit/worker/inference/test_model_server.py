"""A worker scores with the versions that the record names, follows it without a restart, and a shadow hurts nobody."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sqlalchemy import select

from db.models import versions
from db.models.versions import Served
from db.policy import pauses, thresholds
from db.policy.attribution import ChangeAuthor
from db.policy.case_changes import Budget
from db.rollout import promotions
from db.schema import Case, Image, ModelVersion, Score
from db.store.session import Database
from db.work import images
from db.work.images import NewImage
from trainer.detector import checkpoint
from trainer.errors import CheckpointError
from trainer.pixels.preprocess import Pixels
from worker.commands.model import store_checkpoint
from worker.core.errors import ScoringError
from worker.core.settings import WorkerSettings
from worker.inference.model_server import ActivePair, ModelServer
from worker.inference.scorer import Reading, Scorer
from worker.pipeline.service import Service

ADA = ChangeAuthor("ada", "a test")


class Failing(Scorer):
    """A scorer that raises."""

    def __init__(self, scorer: Scorer) -> None:
        super().__init__(scorer.detector, scorer.card, "cpu", "eager")

    def read(self, batch: Sequence[Pixels]) -> list[Reading]:
        raise RuntimeError(f"no scores for {len(batch)} pictures")


def put(database: Database, *ids: str) -> None:
    with database.writing() as session:
        images.add_images(session, [NewImage(name, name, f"{name}.jpg") for name in ids], 60)


def start_shadow(database: Database, version_id: int) -> None:
    with database.writing() as session:
        versions.start_shadow(session, session.get_one(ModelVersion, version_id))


def scored_by(database: Database, image_id: str) -> dict[int, float]:
    with database.reading() as session:
        statement = select(Score.version_id, Score.score).where(Score.image_id == image_id)
        return dict(session.execute(statement).all())


def state(database: Database, image_id: str) -> str:
    with database.reading() as session:
        return session.get_one(Image, image_id).state


def test_a_shadow_that_begins_is_followed_stored_and_never_flags(
    database: Database, service: Service, registered: list[int]
) -> None:
    active, shadow = registered
    with database.writing() as session:
        thresholds.set_value(session, shadow, "default", 0.0, "ada", "")
    put(database, "a", "b")
    service.score(["a"])
    start_shadow(database, shadow)
    service.models.follow()
    service.score(["b"])
    assert set(scored_by(database, "a")) == {active}
    assert set(scored_by(database, "b")) == {active, shadow}
    assert scored_by(database, "b")[active] == scored_by(database, "a")[active] != scored_by(database, "b")[shadow]
    with database.reading() as session:
        assert session.scalars(select(Case)).all() == []


def test_a_shadow_that_fails_touches_no_score_of_the_active_version(
    database: Database, service: Service, registered: list[int]
) -> None:
    start_shadow(database, registered[1])
    service.models.follow()
    pair = service.models.pair
    assert pair.shadow is not None
    failing = service.models._watched(pair.shadow.served, Failing(pair.shadow.scorer))  # noqa: SLF001
    service.models.pair = ActivePair(pair.active, failing)
    put(database, "a", "b")
    service.score(["a", "b"])
    assert set(scored_by(database, "a")) == set(scored_by(database, "b")) == {registered[0]}
    assert (state(database, "a"), state(database, "b")) == ("scored", "scored")


def test_a_shadow_that_cannot_be_loaded_leaves_the_active_version_at_work(
    database: Database, service: Service, registered: list[int], worker_settings: WorkerSettings
) -> None:
    start_shadow(database, registered[1])
    with database.reading() as session:
        sha256 = session.get_one(ModelVersion, registered[1]).sha256
    (worker_settings.models_dir / f"{sha256}.safetensors").unlink()
    service.models.follow()
    put(database, "a")
    service.score(["a"])
    assert (service.models.pair.shadow, service.models.accepting) == (None, True)
    assert set(scored_by(database, "a")) == {registered[0]}


def test_a_shadow_that_memory_has_no_room_for_is_not_tried_each_second_and_holds_up_nothing(
    database: Database, service: Service, registered: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[object] = []

    def refuse(*what: object) -> Scorer:
        tries.append(what)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Scorer, "open", refuse)
    start_shadow(database, registered[1])
    service.models.follow()
    with database.writing() as session:
        pauses.pause(session, "scoring", ADA)
    service.models.follow()
    assert (service.models.pair.shadow, service.models.accepting, len(tries)) == (None, False, 1)
    service.models._backoff.forget_all_but([])  # noqa: SLF001 - as if the pause were over
    service.models.follow()
    assert len(tries) == 2


def test_without_its_active_version_for_long_a_worker_ends_and_leaves_the_messages_to_others(
    database: Database, service: Service, registered: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    service.models.on_model_unavailable = said.append
    start_shadow(database, registered[1])
    with database.writing() as session:
        after = session.get_one(ModelVersion, registered[1])
        promotions.promote(session, after, ADA, Budget(0), 0.02, force=True)
        name = after.name
    monkeypatch.setattr(Scorer, "open", refused)
    service.models.follow()
    assert (service.models.accepting, said) == (False, [])
    monkeypatch.setattr("worker.inference.model_server._PATIENCE_S", 0.0)
    for _ in range(3):
        service.models.follow()
    assert [f"active model {name} has been unavailable here" in line for line in said] == [True]


def refused(*_: object) -> Scorer:
    raise CheckpointError("it is not there")


def test_a_promotion_and_its_rollback_swap_what_is_loaded_and_load_nothing(
    database: Database, service: Service, registered: list[int]
) -> None:
    start_shadow(database, registered[1])
    service.models.follow()
    before = service.models.pair
    with database.writing() as session:
        after = session.get_one(ModelVersion, registered[1])
        promotions.promote(session, after, ADA, Budget(0), 0.02, force=True)
    put(database, "a", "b")
    service.score(["a"])  # this worker has not heard of it
    assert set(scored_by(database, "a")) == set(registered)
    assert state(database, "a") == "scored"
    service.models.follow()
    assert (service.models.pair.active, service.models.pair.shadow) == (before.shadow, before.active)
    with database.writing() as session:
        promotions.roll_back(session, ADA)
    service.models.follow()
    assert (service.models.pair.active, service.models.pair.shadow) == (before.active, before.shadow)


def test_without_its_active_version_a_worker_takes_nothing_and_goes_on_when_it_has_it(
    database: Database, service: Service, registered: list[int], worker_settings: WorkerSettings
) -> None:
    start_shadow(database, registered[1])
    with database.writing() as session:
        after = session.get_one(ModelVersion, registered[1])
        promotions.promote(session, after, ADA, Budget(0), 0.02, force=True)
        path = worker_settings.models_dir / f"{after.sha256}.safetensors"
    away = path.rename(path.with_suffix(".away"))
    service.models.follow()
    put(database, "a")
    service.score(["a"])
    assert (service.models.accepting, state(database, "a"), scored_by(database, "a")) == (False, "pending", {})
    away.rename(path)
    service.models._backoff.forget_all_but([])  # noqa: SLF001 - as if the pause were over
    service.models.follow()
    service.score(["a"])
    assert registered[1] in scored_by(database, "a")
    assert state(database, "a") == "scored"


def test_while_scoring_is_paused_nothing_is_taken(database: Database, service: Service) -> None:
    put(database, "a")
    with database.writing() as session:
        pauses.pause(session, "scoring", ADA)
    service.models.follow()
    service.score(["a"])
    assert state(database, "a") == "pending"
    with database.writing() as session:
        pauses.resume(session, "scoring", ADA)
    service.models.follow()
    service.score(["a"])
    assert state(database, "a") == "scored"


def test_the_record_is_followed_by_itself(
    database: Database, worker_settings: WorkerSettings, registered: list[int]
) -> None:
    models = ModelServer.open(worker_settings.model_copy(update={"follow_s": 0.05}), database)
    loaded = models.pair
    models.start()
    start_shadow(database, registered[1])
    for _ in range(600):
        if models.pair is not loaded:
            break
        models._stopped.wait(0.1)  # noqa: SLF001 - it sleeps by it
    models.stop()
    assert models.pair.shadow is not None
    assert models.version(registered[1]) is models.pair.shadow
    assert models.version(4711) is None


def test_a_file_that_is_not_the_registered_one_is_refused(
    database: Database, worker_settings: WorkerSettings, registered: list[int]
) -> None:
    with database.reading() as session:
        served = [Served(row.id, row.name, row.sha256) for row in versions.list_versions(session)]
    wrong = replace(served[1], sha256="0" * 64)
    path = worker_settings.models_dir / f"{served[0].sha256}.safetensors"
    (worker_settings.models_dir / f"{wrong.sha256}.safetensors").write_bytes(path.read_bytes())
    with database.writing() as session:
        session.get_one(ModelVersion, registered[0]).sha256 = wrong.sha256
    with pytest.raises(CheckpointError, match="not the registered 0000"):
        ModelServer.open(worker_settings, database)


def test_a_model_that_gives_no_number_is_refused_at_the_start(
    database: Database, worker_settings: WorkerSettings, registered: list[int], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    detector, card = checkpoint.load(tiny_checkpoint)
    first, second = [module for module in detector.head.modules() if isinstance(module, torch.nn.Linear)][:2]
    with torch.no_grad():  # every weight is a number, and the sums of these are infinite, less infinite
        first.weight.zero_()
        first.bias.fill_(3e38)
        second.weight.fill_(3e38)[:, ::2] *= -1
    checkpoint.save(detector, card, tmp_path / "wild.safetensors")
    with database.writing() as session:
        wild = store_checkpoint(tmp_path / "wild.safetensors", worker_settings.models_dir)
        session.get_one(ModelVersion, registered[0]).sha256 = wild
    with pytest.raises(ScoringError, match="gave a score that is not a number"):
        ModelServer.open(worker_settings, database)
