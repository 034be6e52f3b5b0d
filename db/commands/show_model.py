"""Model versions, promotions and comparisons as JSON documents and as text."""

from dataclasses import asdict
from typing import Any

import click

from db.commands.output import emit
from db.commands.show import choice_row, effect_document, estimate_document, estimate_words, print_effect
from db.rollout.comparison import Disagreement, VersionComparison
from db.rollout.promotion_plan import PromotionPlan
from db.rollout.quality_gate import MeasuredRate
from db.schema import ModelVersion, Promotion


def model_row(version: ModelVersion) -> dict[str, Any]:
    """A row of the list of versions."""
    return {
        "id": version.id,
        "name": version.name,
        "state": version.state,
        "sha256": version.sha256,
        "preprocess": version.preprocess,
        "registered_at": version.created_at,
    }


def promotion_row(row: Promotion, names: dict[int, str]) -> dict[str, Any]:
    """A row of the list of promotions and rollbacks."""
    return {
        "kind": row.kind,
        "from": names[row.from_version_id],
        "to": names[row.to_version_id],
        "opened": row.opened,
        "withdrawn": row.withdrawn,
        "max_drop": row.max_drop,
        "author": row.author,
        "reason": row.reason,
        "at": row.created_at,
    }


def plan_document(plan: PromotionPlan) -> dict[str, Any]:
    """What a promotion would do, for programs."""
    carried = [
        {"policy": item.before.policy, "value_before": item.before.value} | choice_row(item.choice)
        for item in plan.carried
    ]
    gate = asdict(plan.gate) | {"warning": plan.gate.warning}
    return {"thresholds": carried, "gate": gate, "covered": plan.covered} | effect_document(plan.preview)


def print_plan(plan: PromotionPlan) -> None:
    """Print what a promotion would do, for people."""
    shown = plan_document(plan)
    emit(shown["thresholds"], as_json=False, empty="No policy has a threshold.")
    if plan.gate.measured:
        emit([_measured_row(found) for found in plan.gate.measured], as_json=False, empty="")
    emit(shown["gate"]["compared"], as_json=False, empty="The cards have no rate in common.")
    for unknown in plan.gate.unknown:
        click.echo(f"Unknown: {unknown}.")
    share = "no photo came yet" if plan.covered is None else f"{plan.covered:.1%}"
    click.echo(f"Share of the latest photos that it has scored: {share}.")
    print_effect(plan.preview)


def _measured_row(found: MeasuredRate) -> dict[str, Any]:
    """A false positive rate of both versions, measured on the same photos."""
    return {
        "policy": found.policy,
        "reference": found.reference,
        "reals": found.reals,
        "accepted": f"{found.accepted:.3%}",
        "before": estimate_words(found.before, ".3%"),
        "after": estimate_words(found.after, ".3%"),
    }


def comparison_document(found: VersionComparison, first: str, second: str) -> dict[str, Any]:
    """Two versions side by side, for programs."""
    return {
        "fpr": found.fpr,
        "thresholds": {first: found.thresholds[0], second: found.thresholds[1]},
        "images": found.images,
        "both": found.both,
        "only": {first: found.only_first, second: found.only_second},
        "disagreement": estimate_document(found.disagreement),
        "accounts": [difference_row(line) for line in found.accounts],
    }


def difference_row(line: Disagreement) -> dict[str, Any]:
    """An account that only one version flags."""
    return {
        "account": line.account_id,
        "policy": line.policy,
        "first": line.first,
        "second": line.second,
        "flagged_by": line.flagged_by,
    }


def print_model(document: dict[str, Any]) -> None:
    """Print a version, for people."""
    for name, value in document.items():
        if name not in ("card", "references", "thresholds"):
            click.echo(f"{name.replace('_', ' '):<16} {value}")
    for key in ("licence", "intended_use"):
        click.echo(f"{key.replace('_', ' '):<16} {document['card'].get(key, '')}")
    quality = document["card"].get("quality") or {"engines": {}}
    engines = [{"engine": name} | row for name, row in quality["engines"].items()]
    emit(engines, as_json=False, empty="Its card has no rates by engine.")
    emit(document["references"], as_json=False, empty="It has no reference set.")
    emit(document["thresholds"], as_json=False, empty="It has no threshold.")
