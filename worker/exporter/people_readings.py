"""What metrics say of what people judged, and of what the platform was told."""

from sqlalchemy.orm import Session

from db.models import versions
from db.work import deliveries
from db.quality.live import LiveLine, live
from worker.telemetry.metrics import merged, own_labels
from worker.exporter.readings import Families, by_policy, gauge


class LiveReading:
    """How often the active model is right by blind verdicts, over the weeks that `db.quality.live` looks at."""

    every_s = 900.0

    def __init__(self) -> None:
        self._lines: list[LiveLine] = []

    def read(self, session: Session) -> None:
        """Estimate; nothing where nobody judged."""
        active = versions.find_active(session)
        lines = live(session) if active is not None else []
        self._lines = [line for line in lines if line.week is None and active is not None and line.model == active.name]

    def forget(self) -> None:
        """Nothing."""
        self._lines = []

    def families(self) -> Families:
        """By policy."""
        own = own_labels({line.policy: line.judged for line in self._lines})
        right = {line.policy: line.precision.value for line in self._lines if line.precision is not None}
        wrong = {line.policy: line.fpr.value for line in self._lines if line.fpr is not None}
        yield by_policy("live_precision", "The share of flagged photos that people call AI.", merged(right, own, min))
        yield by_policy("live_fpr", "The share of real photos that is flagged, by people.", merged(wrong, own, max))


class DeliveriesReading:
    """What the platform was not told."""

    every_s = 30.0

    def __init__(self) -> None:
        self._dead: int | None = None

    def read(self, session: Session) -> None:
        """Count."""
        self._dead = deliveries.counts(session).get("dead", 0)

    def forget(self) -> None:
        """Nothing."""
        self._dead = None

    def families(self) -> Families:
        """One."""
        yield gauge("webhook_dead_letters", "Webhooks that were tried to the end and not taken.", self._dead)
