"""The model versions that this process scores with: the active one and a shadow, followed without a restart."""

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from sqlalchemy.orm import Session

from db.errors import DatabaseError
from db.models import versions
from db.models.versions import Served, Serving
from db.policy import pauses, thresholds
from db.policy.coverage import noting_policies
from db.policy.effective_policy import bands_in_force
from db.policy.scores import Provenance
from db.stats.stability import ScoreBand
from db.store.session import Database
from db.work import backfills
from trainer.detector.card import Card
from trainer.errors import TrainerError
from trainer.pixels.preprocess import Pixels
from worker.core.errors import StoppingError, WorkerError
from worker.core.outage import FaultLog
from worker.core.settings import WorkerSettings
from worker.inference.batch_limit import BatchLimit
from worker.inference.load_backoff import LoadBackoff
from worker.inference.network_cache import NetworkCache
from worker.inference.scorer import Reading, Scorer, self_test
from worker.inference.tuning import Tuning
from worker.inference.watchdog import WatchedScorer
from worker.telemetry import metrics

log = logging.getLogger(__name__)

#: First pauses before a version is loaded again: one whose file is not there yet, say; and one that did not fit into
#: memory, or that a driver refused, since each try may take what scoring needs.
_LOAD_AGAIN_S, _UNEXPECTED_AGAIN_S = 1.0, 30.0
#: A worker without the active version ends after this time.
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model version in memory; score with ``watched``. Projections of photos from ``keeps_from`` on are kept."""

    served: Served
    scorer: Scorer
    watched: WatchedScorer
    made_by: Provenance
    keeps_from: float = math.inf


@dataclass(frozen=True, slots=True, eq=False)
class ActivePair:
    """The models that score one batch: the active one, and its shadow if there is one."""

    active: LoadedModel
    shadow: LoadedModel | None = None


class ModelServer:
    """Holds the versions that the database names, loaded. Any thread may call its methods.

    A version that cannot be loaded is tried again. Without a shadow the worker goes on; without the active version it
    takes no images.
    """

    def __init__(self, settings: WorkerSettings, database: Database, served: Served, scorer: Scorer) -> None:
        self._settings = settings
        self._database = database
        #: Called with the reason when a version's device can be used no more.
        self.on_broken: Callable[[str], None] = log.critical
        #: Called once with the reason when the active model has been unavailable for `_PATIENCE_S`.
        self.on_model_unavailable: Callable[[str], None] = log.critical
        self._shadow_fault = FaultLog(log, "the shadow model does not score", "model")
        self._read_fault = FaultLog(log, "changes of the active model are not followed", "record")
        self._backoff = LoadBackoff()
        #: How many images one forward pass may have.
        self.batch_limit = BatchLimit(settings.max_batch)
        self._without_since: float | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="models", daemon=True)
        #: The models of the next batch; read once per batch, and replaced as a whole.
        self.pair = ActivePair(self._watched(served, scorer))
        #: Whether images may be leased: the active version is loaded, and scoring is not paused.
        self.accepting = True
        #: Whether a backfill is under way.
        self.rescoring = False
        #: The lowest score that any policy flags.
        self.flags_from = math.inf
        #: The band round its threshold of each policy that notes unstable photos.
        self.bands: Mapping[str, ScoreBand] = {}
        self._bands_of: object = None

    @classmethod
    def open(cls, settings: WorkerSettings, database: Database) -> Self:
        """Load the versions that the database names; raises the failing room's error when the active one cannot be."""
        with database.reading() as session:
            active = versions.active(session)
            served = Served(active.id, active.name, active.sha256)
        models = cls(settings, database, served, _tested_scorer(settings, database, served))
        models.follow()
        return models

    def start(self) -> None:
        """Start the thread that follows changes in the database."""
        self._thread.start()

    def stop(self) -> None:
        """Stop following changes, and wait for the thread."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def version(self, version_id: int) -> LoadedModel | None:
        """The model of this version, if it is loaded."""
        pair = self.pair
        return next((model for model in (pair.active, pair.shadow) if model and model.served.id == version_id), None)

    def read(self, batch: Sequence[Pixels]) -> list[tuple[ActivePair, Reading, float | None]]:
        """Score (512, 512, 3) pictures: for each the pair, its active model's reading, and its shadow's score or None.

        Raises as `WatchedScorer.read` does for the active model; a fault of the shadow fails no image.
        """
        pair = self.pair
        metrics.batch_images.observe(len(batch))
        readings = pair.active.watched.read(batch)
        beside = self._shadow_scores(pair.shadow, batch)
        return [(pair, reading, other) for reading, other in zip(readings, beside, strict=True)]

    def follow(self) -> None:
        """Load the versions that the database names and drop all others; `read` goes on meanwhile.

        Raises `DatabaseError` when the database cannot be read.
        """
        with self._database.reading() as session:
            serving = versions.serving(session)
            paused = "scoring" in pauses.current_pauses(session)
            self.rescoring = backfills.any_running(session)
            standing = thresholds.in_effect(session, serving.active.id) if serving is not None else []
            self._follow_bands(session, serving, [threshold.id for threshold in standing])
        self.flags_from = min((threshold.value for threshold in standing), default=math.inf)
        if serving is not None:
            self._change(serving)
            has_active = self.pair.active.served.id == serving.active.id
            self.accepting = not paused and has_active
            self._check_patience(serving.active, has_active=has_active)

    def _follow_bands(self, session: Session, serving: Serving | None, standing: Sequence[int]) -> None:
        """Read the bands when a threshold or a policy has changed: that takes a whole reference set."""
        if serving is None:
            return
        seen = serving.active.id, tuple(standing), noting_policies(session)
        if seen != self._bands_of:
            self.bands, self._bands_of = bands_in_force(session, serving.active.id), seen

    def _check_patience(self, active: Served, *, has_active: bool) -> None:
        """Report a lasting lack of the active model: this worker takes messages that others could score."""
        now = time.monotonic()
        self._without_since = None if has_active else self._without_since or now
        if self._without_since is not None and now - self._without_since > _PATIENCE_S:
            self._without_since = math.inf  # reported once
            self.on_model_unavailable(f"active model {active.name} has been unavailable here for {_PATIENCE_S:g} s")

    def _change(self, serving: Serving) -> None:
        self._backoff.forget_all_but([served.id for served in (serving.active, serving.shadow) if served is not None])
        active = self._loaded(serving.active)
        if active is None:
            return
        shadow = self._loaded(serving.shadow) if serving.shadow is not None else None
        if (active, shadow) != (self.pair.active, self.pair.shadow):
            self.pair = ActivePair(active, shadow)
            log.info("active model: %s, shadow: %s", active.served.name, shadow.served.name if shadow else "none")

    def _loaded(self, served: Served) -> LoadedModel | None:
        """The version, loaded now unless it was before; None when it cannot be."""
        known = self.version(served.id)
        if known is not None:
            return known
        if not self._backoff.may_load(served.id):
            return None
        try:
            loaded = self._watched(served, _tested_scorer(self._settings, self._database, served))
        except Exception as error:  # noqa: BLE001 - memory or a driver, say: the other version goes on scoring
            expected = isinstance(error, TrainerError | WorkerError)
            self._backoff.failed(served.id, served.name, error, _LOAD_AGAIN_S if expected else _UNEXPECTED_AGAIN_S)
            return None
        self._backoff.loaded(served.id, served.name)
        return loaded

    def _watched(self, served: Served, scorer: Scorer) -> LoadedModel:
        watched = WatchedScorer(scorer, self._settings.batch_timeout_s, self._break, self.batch_limit)
        made_by = Provenance(served.id, scorer.engine, str(scorer.device))
        keeps_from = highest_from(scorer.card, self._settings.projection_share)
        return LoadedModel(served, scorer, watched, made_by, keeps_from)

    def _shadow_scores(self, shadow: LoadedModel | None, batch: Sequence[Pixels]) -> Sequence[float | None]:
        if shadow is None:
            return [None] * len(batch)
        try:
            scores = shadow.watched.score(batch)
        except StoppingError:  # the device failed, which ends this worker
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the active model has scored
            self._shadow_fault.raised(error)
            metrics.shadow_failures.inc(len(batch))
            return [None] * len(batch)
        self._shadow_fault.cleared()
        return scores

    def _break(self, why: str) -> None:
        self.on_broken(why)  # looked up now: the service replaces it after this object is made

    def _loop(self) -> None:
        while not self._stopped.wait(self._settings.follow_s):
            try:
                self.follow()
            except DatabaseError as error:
                self._read_fault.raised(error)
            except Exception:
                log.exception("changes of the active model are not followed")
            else:
                self._read_fault.cleared()


def highest_from(card: Card, share: float) -> float:
    """The score that this share of the card's reference photos reaches; infinite when the card has no reference."""
    scores = card.reference.scores if card.reference is not None else ()
    reached = round(len(scores) * share)
    return scores[-reached] if reached else math.inf


def _tested_scorer(settings: WorkerSettings, database: Database, served: Served) -> Scorer:
    """Load a version from its file and test it; raises a room's error when it cannot serve."""
    path = settings.models_dir / f"{served.sha256}.safetensors"
    with database.reading() as session:
        values = [row.value for row in thresholds.in_effect(session, served.id)]
    tuning = Tuning(settings.max_batch, values, settings.tuning_s, file=settings.models_dir / "gpu-plans")
    scorer = Scorer.open(
        path,
        settings.device,
        served.sha256,
        settings.engine,
        tuning.for_version(served.sha256),
        NetworkCache.below(settings.networks_dir, served.sha256),
    )
    self_test(scorer)
    log.info("model %s loaded on %s with engine %s", served.name, scorer.device, scorer.engine)
    return scorer
