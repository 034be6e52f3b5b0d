"""A worker's Prometheus metrics. Their names are a contract: alert rules and dashboards use them.

Metrics have base units and few label values: a label that comes from outside (a policy's name) is bounded in number.
"""

from collections.abc import Callable, Iterable, Mapping

import prometheus_client
from prometheus_client import Counter, Histogram

from db.work.reasons import REASONS

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # it would double the series with times that nobody uses

#: Policies with a label of their own; all further ones share "other".
MAX_POLICIES = 50
OTHER = "other"
_STAGE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
#: The promise is 60 s; a backlog may take a day.
_IMAGE_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900, 3600, 14_400, 86_400)
#: Finer at both ends: real photos crowd at the lower, thresholds lie at the upper.
_SCORES = (0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

images = Counter("unmask_images", "Attempts that this worker recorded, by outcome.", ["outcome"])
failures = Counter("unmask_failures", "Images that were not scored (or not yet), by reason.", ["reason"])
stage_seconds = Histogram("unmask_stage_seconds", "Time that an image spent in a stage.", ["stage"], buckets=_STAGE_S)
image_seconds = Histogram(
    "unmask_image_seconds",
    "Time from the commit of an image's row to its score or its failure.",
    buckets=_IMAGE_S,
)
batch_images = Histogram("unmask_batch_images", "Images in one forward pass.", buckets=_BATCHES)
scores = Histogram("unmask_score", "Scores: 0 real, 1 AI-generated.", ["version"], buckets=_SCORES)
shadow_failures = Counter("unmask_shadow_failures", "Images that the active model scored and the shadow model did not.")
redelivered = Counter(
    "unmask_redelivered", "Photos near a threshold that were scored again as other deliveries, by outcome.", ["outcome"]
)
adopted_messages = Counter(
    "unmask_adopted_messages", "Messages of other applications' Celery that this worker's relay took over."
)
webhook_retries = Counter("unmask_webhook_retries", "Webhook attempts that failed and will be repeated.")
case_events = Counter(
    "unmask_cases", "Case events counted while this worker read the metrics of the database.", ["event"]
)

#: Outcomes of an image and events of a case. All exist from the start, so that the first occurrence shows as a rise.
OUTCOMES = ("scored", "unusable", "failed", "retried")
CASE_EVENTS = ("opened", "withdrawn", "confirmed", "dismissed", "unsure", "undone")
for _outcome in OUTCOMES:
    images.labels(_outcome)
for _outcome in ("scored", "failed"):
    redelivered.labels(_outcome)
for _event in CASE_EVENTS:
    case_events.labels(_event)


def reason_label(reason: str) -> str:
    """The reason itself when it is a known one (see `db.work.reasons`), else "other"."""
    return reason if reason in REASONS else OTHER


def own_labels(sizes: Mapping[str, float]) -> frozenset[str]:
    """The policies with a label of their own: the largest by ``sizes``; ties go by name, so that labels stay."""
    return frozenset(sorted(sizes, key=lambda policy: (-sizes[policy], policy))[:MAX_POLICIES])


def merged(
    values: Mapping[str, float], own: frozenset[str], merge: Callable[[Iterable[float]], float]
) -> dict[str, float]:
    """Values by label: ``merge`` combines those of policies without a label of their own into "other"."""
    rest = [value for policy, value in values.items() if policy not in own]
    mine = {policy: value for policy, value in values.items() if policy in own}
    return mine | ({OTHER: merge([*rest, *([mine[OTHER]] if OTHER in mine else [])])} if rest else {})
