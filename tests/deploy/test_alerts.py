"""Nobody can wake the on-call engineer by uploading junk: photos at fault are in no alert that pages."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from db.schema.images import IMAGE_STATES
from db.work.reasons import FAILED, UNUSABLE, outcome_of
from worker.telemetry.metrics import OUTCOMES

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "rules.yaml"
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if "alert" in rule
]
PAGES = [alert for alert in ALERTS if alert["labels"]["severity"] == "page"]
#: What the promises, metrics and events call the outcomes of an image.
VOCABULARY = {"pending", "scored", "unusable", "failed"}


def outcomes_in(expression: str) -> set[str]:
    """The outcomes whose number makes the expression larger: those of its numerator."""
    numerator = expression.split("/", maxsplit=1)[0]
    return {name for found in re.findall(r'outcome=~?"([^"]+)"', numerator) for name in found.split("|")}


def test_there_is_one_vocabulary_of_outcomes() -> None:
    assert set(IMAGE_STATES) == VOCABULARY
    assert set(OUTCOMES) == VOCABULARY - {"pending"} | {"retried"}
    assert {outcome_of(reason) for reason in UNUSABLE} == {"unusable"}
    assert {outcome_of(reason) for reason in FAILED} == {"failed"}


@pytest.mark.parametrize("alert", PAGES, ids=lambda alert: alert["alert"])
def test_no_alert_that_pages_counts_unusable_photos(alert: dict[str, Any]) -> None:
    assert "unusable" not in outcomes_in(alert["expr"])
    assert "unmask_failures_total" not in alert["expr"]  # which counts the reasons of both


def test_junk_alone_never_makes_the_share_of_failures_rise() -> None:
    (failures,) = [alert for alert in PAGES if alert["alert"] == "UnmaskFailures"]
    assert outcomes_in(failures["expr"]) == {"failed"}
    (unusable,) = [alert for alert in ALERTS if alert["alert"] == "UnmaskUnusable"]
    assert (outcomes_in(unusable["expr"]), unusable["labels"]["severity"]) == ({"unusable"}, "ticket")
