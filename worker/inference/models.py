"""Which versions this process scores with: the active one, and a shadow beside it; followed without a restart."""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from db.models import versions
from db.policy import pauses, thresholds
from db.work import rescores
from db.errors import DatabaseError
from db.policy.scores import Provenance
from db.store.session import Database
from db.models.versions import Served, Serving
from trainer.errors import TrainerError
from trainer.pixels.preprocess import Pixels
from worker.inference import selftest
from worker.telemetry import metrics
from worker.inference.batches import Watched
from worker.core.errors import StoppingError, WorkerError
from worker.core.outage import Trouble
from worker.inference.scorer import Scorer
from worker.core.settings import WorkerSettings

log = logging.getLogger(__name__)

#: A version that memory or a driver refused is tried again after so many seconds.
_LOAD_AGAIN_S = 30.0
#: A worker without the active version ends after so many seconds.
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A version in memory; one thread at a time may score with it."""

    served: Served
    scorer: Scorer
    watched: Watched
    made_by: Provenance
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def score(self, batch: Sequence[Pixels]) -> list[float]:
        """Scores of (512, 512, 3) pictures; raises as `Watched.score` does."""
        with self._lock:
            return self.watched.score(batch)


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """What one batch is scored with."""

    active: Loaded
    shadow: Loaded | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """What a picture was given, and by which versions; ``beside`` is None where the shadow gave nothing."""

    pair: Pair
    score: float
    beside: float | None


class Models:
    """The versions that the record says, loaded; `score` is for one thread, the rest for any.

    A version that cannot be loaded is tried again: without a shadow the worker serves on, without the active version it
    takes nothing.
    """

    def __init__(self, settings: WorkerSettings, database: Database, served: Served, scorer: Scorer) -> None:
        self._settings = settings
        self._database = database
        #: Called with the reason when a version's device can be used no more.
        self.broken: Callable[[str], None] = log.critical
        #: Called once with the reason when the active version was not to be had for a while.
        self.hopeless: Callable[[str], None] = log.critical
        self._shadow_trouble = Trouble(log, "the shadow scores nothing")
        self._load_trouble = Trouble(log, "a model version cannot be loaded")
        self._read_trouble = Trouble(log, "model versions are not followed")
        self._not_before: dict[int, float] = {}
        self._without_since: float | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="models", daemon=True)
        #: What the next batch is scored with; read once a batch, and replaced whole.
        self.pair = Pair(self._held(served, scorer))
        #: Whether images may be taken in hand: the active version is loaded, and nobody has paused scoring.
        self.taking = True
        #: Whether a backfill is under way.
        self.rescoring = False
        #: The lowest score that flags by any policy.
        self.flags_from = math.inf

    @classmethod
    def open(cls, settings: WorkerSettings, database: Database) -> Self:
        """Load what the record says; raises a room's error when the active version cannot be."""
        with database.reading() as session:
            active = versions.active(session)
            served = Served(active.id, active.name, active.sha256)
        models = cls(settings, database, served, _scorer(settings, served))
        models.follow()
        return models

    def start(self) -> None:
        """Follow the record from here on."""
        self._thread.start()

    def stop(self) -> None:
        """Follow it no more."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def version(self, version_id: int) -> Loaded | None:
        """A version, if it is loaded."""
        pair = self.pair
        return next((model for model in (pair.active, pair.shadow) if model and model.served.id == version_id), None)

    def score(self, batch: Sequence[Pixels]) -> list[Said]:
        """By the active version and the shadow; what is wrong with the shadow is no image's failure."""
        pair = self.pair
        metrics.batch_images.observe(len(batch))
        scores = pair.active.score(batch)
        beside = self._beside(pair.shadow, batch)
        return [Said(pair, score, other) for score, other in zip(scores, beside, strict=True)]

    def follow(self) -> None:
        """Load what the record says, and let go of what it does not say any more; waits while a model loads."""
        with self._database.reading() as session:
            serving = versions.serving(session)
            paused = "scoring" in pauses.standing(session)
            self.rescoring = rescores.running(session)
            standing = thresholds.standing(session, serving.active.id) if serving is not None else {}
        self.flags_from = min((threshold.value for threshold in standing.values()), default=math.inf)
        if serving is not None:
            self._change(serving)
            has_active = self.pair.active.served.id == serving.active.id
            self.taking = not paused and has_active
            self._despair(serving.active, has_active=has_active)

    def _despair(self, active: Served, *, has_active: bool) -> None:
        """Who takes messages and scores nothing takes them from the others: for a while only."""
        now = time.monotonic()
        self._without_since = None if has_active else self._without_since or now
        if self._without_since is not None and now - self._without_since > _PATIENCE_S:
            self._without_since = math.inf  # said once
            self.hopeless(f"model {active.name} is active, and was not to be had here for {_PATIENCE_S:g} s")

    def _change(self, serving: Serving) -> None:
        active = self._loaded(serving.active)
        if active is None:
            return
        shadow = self._loaded(serving.shadow) if serving.shadow is not None else None
        if (active, shadow) != (self.pair.active, self.pair.shadow):
            self.pair = Pair(active, shadow)
            log.info("model %s scores, %s beside it", active.served.name, shadow.served.name if shadow else "none")

    def _loaded(self, served: Served) -> Loaded | None:
        """A version that is in memory, or comes there; None when it cannot."""
        known = self.version(served.id)
        if known is not None:
            return known
        if time.monotonic() < self._not_before.get(served.id, 0.0):
            return None
        try:
            loaded = self._held(served, _scorer(self._settings, served))
        except (TrainerError, WorkerError) as error:
            self._load_trouble.met(error)
            return None
        except Exception as error:  # noqa: BLE001 - of memory, of a driver: the other version scores on
            self._load_trouble.met(error)
            self._not_before[served.id] = time.monotonic() + _LOAD_AGAIN_S  # each attempt may take what scoring needs
            return None
        self._load_trouble.over()
        return loaded

    def _held(self, served: Served, scorer: Scorer) -> Loaded:
        watched = Watched(scorer, self._settings.batch_timeout_s, self._break)
        return Loaded(served, scorer, watched, Provenance(served.id, scorer.engine, str(scorer.device)))

    def _beside(self, shadow: Loaded | None, batch: Sequence[Pixels]) -> Sequence[float | None]:
        if shadow is None:
            return [None] * len(batch)
        try:
            scores = shadow.score(batch)
        except StoppingError:  # the device broke: that is everybody's
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the active version has scored
            self._shadow_trouble.met(error)
            metrics.shadow_failures.inc(len(batch))
            return [None] * len(batch)
        self._shadow_trouble.over()
        return scores

    def _break(self, why: str) -> None:
        self.broken(why)  # which the service sets when it begins

    def _loop(self) -> None:
        while not self._stopped.wait(self._settings.follow_s):
            try:
                self.follow()
            except DatabaseError as error:
                self._read_trouble.met(error)
            except Exception:
                log.exception("model versions are not followed")
            else:
                self._read_trouble.over()


def _scorer(settings: WorkerSettings, served: Served) -> Scorer:
    """A version from its file, tried once; raises a room's error when it cannot serve."""
    scorer = Scorer.open(
        settings.models_dir / f"{served.sha256}.safetensors", settings.device, served.sha256, settings.engine
    )
    selftest.check(scorer)
    log.info("model %s loaded on %s with %s", served.name, scorer.device, scorer.engine)
    return scorer
