"""How model versions and what becomes of them are shown."""

from typing import Any

import click

from db.commands.show import choice_row, preview_document, say_preview
from db.rollout.comparison import Comparison, Differs
from db.rollout.gate import Gate
from db.output import emit
from db.rollout.plans import Plan
from db.schema import ModelVersion, Promotion


def model_row(version: ModelVersion) -> dict[str, Any]:
    """A version in a list."""
    return {
        "id": version.id,
        "name": version.name,
        "state": version.state,
        "sha256": version.sha256,
        "preprocess": version.preprocess,
        "registered_at": version.created_at,
    }


def promotion_row(row: Promotion, names: dict[int, str]) -> dict[str, Any]:
    """A switch in a list."""
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


def plan_document(plan: Plan) -> dict[str, Any]:
    """What a promotion would do, for programs."""
    carried = [
        {"policy": item.before.policy, "value_before": item.before.value} | choice_row(item.choice)
        for item in plan.carried
    ]
    return {"thresholds": carried, "gate": _gate(plan.gate), "covered": plan.covered} | preview_document(plan.preview)


def _gate(found: Gate) -> dict[str, Any]:
    compared = [{"what": row.what, "before": row.before, "after": row.after} for row in found.compared]
    return {"compared": compared, "unknown": found.unknown}


def say_plan(plan: Plan) -> None:
    """The same, for people."""
    shown = plan_document(plan)
    emit(shown["thresholds"], as_json=False, empty="No policy has a threshold.")
    emit(shown["gate"]["compared"], as_json=False, empty="The cards have no rate in common.")
    for unknown in plan.gate.unknown:
        click.echo(f"Unknown: {unknown}.")
    share = "none came yet" if plan.covered is None else f"{plan.covered:.1%}"
    click.echo(f"Of the latest photos it has scored: {share}.")
    say_preview(plan.preview)


def comparison_document(found: Comparison, first: str, second: str) -> dict[str, Any]:
    """Two versions side by side, for programs."""
    rate = found.disagreement
    return {
        "fpr": found.fpr,
        "thresholds": {first: found.thresholds[0], second: found.thresholds[1]},
        "images": found.images,
        "both": found.both,
        "only": {first: found.only_first, second: found.only_second},
        "disagreement": {"value": rate.value, "low": rate.low, "high": rate.high},
        "accounts": [differs_row(line) for line in found.accounts],
    }


def differs_row(line: Differs) -> dict[str, Any]:
    """An account that changes sides."""
    return {
        "account": line.account_id,
        "policy": line.policy,
        "first": line.first,
        "second": line.second,
        "flagged_by": line.flagged_by,
    }


def say_model(document: dict[str, Any]) -> None:
    """A version, for people."""
    for name, value in document.items():
        if name not in ("card", "references", "thresholds"):
            click.echo(f"{name.replace('_', ' '):<16} {value}")
    for key in ("licence", "intended_use"):
        click.echo(f"{key.replace('_', ' '):<16} {document['card'].get(key, '')}")
    quality = document["card"].get("quality") or {"engines": {}}
    engines = [{"engine": name} | row for name, row in quality["engines"].items()]
    emit(engines, as_json=False, empty="Its card measures no engine.")
    emit(document["references"], as_json=False, empty="It has no reference reals.")
    emit(document["thresholds"], as_json=False, empty="No threshold is set for it.")
