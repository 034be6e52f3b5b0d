"""What a worker counts of itself, as Prometheus reads it. The names are a contract: rules and dashboards use them.

Base units, and labels of which there are few: what comes from outside (a policy's name) is held to a number of values.
"""

from collections.abc import Callable, Iterable, Mapping

import prometheus_client
from prometheus_client import Counter, Histogram

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, of a time that nobody asks for

#: Policies that have a label of their own; what comes after them is "other" together.
MAX_POLICIES = 50
OTHER = "other"
#: Why an image may fail. A code that is not here counts as "other".
REASONS = frozenset(
    {
        *("address_not_allowed", "animated", "connection", "changed", "content_encoding", "corrupt", "decoder_killed"),
        *("decoder_memory", "decoder_timeout", "empty", "erased", "host_not_allowed", "http_not_allowed"),
        *("http_status", "internal_error", "metadata_too_large", "name_not_resolved", "not_an_image", "not_found"),
        *("out_of_memory", "path_not_allowed", "side_too_long", "side_too_short", "timeout", "too_elongated"),
        *("too_many_bytes", "too_many_parts", "too_many_pixels", "too_many_redirects", "too_many_scans", "too_small"),
        *("truncated", "unreadable", "url_not_supported", "worker_lost"),
    }
)
_STAGE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
#: The promise is 60 s; a backlog may take a day.
_IMAGE_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900, 3600, 14_400, 86_400)
#: Finer at both ends: real photos crowd at one, thresholds lie at the other.
_SCORES = (0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

images = Counter("unmask_images", "Images that this worker was done with, by what came of them.", ["outcome"])
failures = Counter("unmask_failures", "Images that were not scored (or not yet), by reason.", ["reason"])
stage_seconds = Histogram("unmask_stage_seconds", "What a stage of an image took.", ["stage"], buckets=_STAGE_S)
image_seconds = Histogram(
    "unmask_image_seconds",
    "From the commit of an image's row to its score, or to the reason why not.",
    buckets=_IMAGE_S,
)
batch_images = Histogram("unmask_batch_images", "Images in one forward pass.", buckets=_BATCHES)
scores = Histogram("unmask_score", "Scores: 0 real, 1 AI-generated.", ["version"], buckets=_SCORES)
shadow_failures = Counter("unmask_shadow_failures", "Images that the active model scored and its shadow did not.")
webhook_retries = Counter("unmask_webhook_retries", "Webhooks that were not delivered, and are tried again.")
case_events = Counter("unmask_cases", "What happened to cases while this worker led the sweep.", ["event"])

#: Outcomes of an image, and events of a case: there from the start, so that the first of them is seen as one.
OUTCOMES = ("scored", "failed", "not_scorable", "retried")
CASE_EVENTS = ("opened", "withdrawn", "confirmed", "dismissed", "unsure", "undone")
for _outcome in OUTCOMES:
    images.labels(_outcome)
for _event in CASE_EVENTS:
    case_events.labels(_event)


def reason_label(reason: str) -> str:
    """A reason that is known, or "other"."""
    return reason if reason in REASONS else OTHER


def own_labels(sizes: Mapping[str, float]) -> frozenset[str]:
    """The policies with a label of their own: the largest, and of equals always the same."""
    return frozenset(sorted(sizes, key=lambda policy: (-sizes[policy], policy))[:MAX_POLICIES])


def merged(
    values: Mapping[str, float], own: frozenset[str], merge: Callable[[Iterable[float]], float]
) -> dict[str, float]:
    """By label: those of policies without one of their own are merged into one."""
    rest = [value for policy, value in values.items() if policy not in own]
    mine = {policy: value for policy, value in values.items() if policy in own}
    return mine | ({OTHER: merge([*rest, *([mine[OTHER]] if OTHER in mine else [])])} if rest else {})
