"""The parts of ``unmask model`` that need only the record: list, show, compare, promote, novelty, ..."""

import click

from db.commands.database import open_database
from db.commands.drift import model_drift
from db.commands.live import model_live
from db.commands.novelty import model_novelty
from db.commands.options import as_lead, author, budget_with_rate, confirm_option, max_fpr_option, reason_option
from db.commands.output import emit, emit_json, json_option
from db.commands.show_model import (
    comparison_document,
    difference_row,
    model_row,
    plan_document,
    print_model,
    print_plan,
    promotion_row,
)
from db.models import references, versions
from db.policy import case_changes, thresholds
from db.rollout import promotion_plan, promotions
from db.rollout.comparison import compare_versions
from db.rollout.quality_gate import MAX_DROP

max_drop_option = click.option(
    "--max-drop",
    type=click.FloatRange(0, 1),
    default=MAX_DROP,
    show_default=True,
    help="By how much the share found of any engine, size or JPEG quality may fall, by the cards.",
)
force_option = click.option(
    "--force", is_flag=True, help="Accept few real photos, or a shadow that workers have not proven; needs --reason."
)


@click.command("list")
@json_option
def model_list(*, as_json: bool) -> None:
    """List all registered checkpoints, the oldest first."""
    with open_database().reading() as session:
        rows = [model_row(version) for version in versions.list_versions(session)]
    emit(rows, as_json=as_json, empty="no model is registered: run `unmask model register CHECKPOINT`")


@click.command("show")
@click.argument("name")
@json_option
def model_show(*, name: str, as_json: bool) -> None:
    """Show a checkpoint: its card, reference sets and thresholds."""
    with open_database().reading() as session:
        version = versions.by_name(session, name)
        row = model_row(version)
        card = {key: value for key, value in version.card.items() if key != "reference"}
        reals = version.card.get("reference")
        sets = [{"name": reals["name"], "reals": len(reals["scores"]), "source": "card"}] if reals else []
        sets += [
            {"name": found.name, "reals": found.reals, "source": found.source}
            for found in references.list_references(session, version.id)
        ]
        effective = thresholds.in_effect(session, version.id)
        values = [{"policy": threshold.policy, "value": threshold.value} for threshold in effective]
    document = row | {"references": sets, "thresholds": values, "card": card}
    if as_json:
        emit_json(document)
    else:
        print_model(document)


@click.command("shadow")
@click.argument("name")
@click.option("--off", is_flag=True, help="Stop scoring with it.")
@json_option
def model_shadow(*, name: str, off: bool, as_json: bool) -> None:
    """Score every photo with this version too, beside the active one, without flagging."""
    with open_database().writing() as session:
        as_lead(session)
        case_changes.lock_versions(session)  # a promotion in progress may be making it active
        version = versions.by_name(session, name)
        (versions.stop_shadow if off else versions.start_shadow)(session, version)
        row = model_row(version)
    emit([row], as_json=as_json, empty="")


@click.command("compare")
@click.argument("first")
@click.argument("second")
@click.option("--fpr", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.005, show_default=True)
@click.option("--reference", help="The reference set for both; by default that of each model's card.")
@json_option
def model_compare(*, first: str, second: str, fpr: float, reference: str | None, as_json: bool) -> None:
    """Show on which photos and accounts two versions disagree, at the same FPR."""
    with open_database().reading() as session:
        found = compare_versions(
            session, versions.by_name(session, first), versions.by_name(session, second), fpr, reference
        )
    if as_json:
        emit_json(comparison_document(found, first, second))
        return
    rate = found.disagreement
    click.echo(f"Of {found.images} photos with both scores they disagree on {found.only_first + found.only_second}:")
    click.echo(f"{rate.value:.3%} ({rate.low:.3%} to {rate.high:.3%}), at an FPR of {found.fpr:g}.")
    click.echo(f"Both flag {found.both}, only {first} {found.only_first}, only {second} {found.only_second}.")
    emit([difference_row(line) for line in found.accounts], as_json=False, empty="Both flag the same accounts.")


@click.command("promote")
@click.argument("name")
@max_drop_option
@force_option
@reason_option
@confirm_option
@max_fpr_option
@click.option("--preview", "preview_only", is_flag=True, help="Only show what it would do.")
@json_option
def model_promote(
    *,
    name: str,
    max_drop: float,
    force: bool,
    reason: str,
    confirm: int | None,
    max_fpr: float | None,
    preview_only: bool,
    as_json: bool,
) -> None:
    """Make the shadow the active version, at the same false positive rates.

    Each policy's threshold is matched by its rate. The promotion is refused when the new version flags more real
    photos of a reference set that both have scored, or finds fewer fakes by the cards. Workers follow without a
    restart. The previous version stays as the shadow, so that `unmask model rollback` is exact; `unmask model shadow
    --off` stops it.
    """
    by = author(reason)
    limits = budget_with_rate(confirm, max_fpr, by)
    database = open_database()
    with database.reading() as session:
        plan = promotion_plan.plan_promotion(session, versions.by_name(session, name), force=force)
    if plan.gate.warning:
        click.echo(f"WARNING: {plan.gate.warning}", err=True)
    if not as_json:
        print_plan(plan)
    if preview_only:
        with database.reading() as session:
            promotion_plan.check_quality(session, plan, limits, max_drop)
        if as_json:
            emit_json(plan_document(plan))
        return
    with database.writing() as session:
        as_lead(session)
        after = versions.by_name(session, name)
        row = promotions.promote(session, after, by, limits, max_drop, force=force)
        done = promotion_row(row, {version.id: version.name for version in versions.list_versions(session)})
    if as_json:
        emit_json(plan_document(plan) | done)
    else:
        emit([done], as_json=False, empty="")


@click.command("rollback")
@reason_option
@json_option
def model_rollback(*, reason: str, as_json: bool) -> None:
    """Make the previous version active again, with its thresholds and cases."""
    with open_database().writing() as session:
        as_lead(session)
        row = promotions.roll_back(session, author(reason))
        done = promotion_row(row, {version.id: version.name for version in versions.list_versions(session)})
    emit([done], as_json=as_json, empty="")


@click.command("history")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True)
@json_option
def model_history(*, limit: int, as_json: bool) -> None:
    """List promotions and rollbacks, the latest first."""
    with open_database().reading() as session:
        names = {version.id: version.name for version in versions.list_versions(session)}
        rows = [promotion_row(row, names) for row in promotions.list_promotions(session, limit)]
    emit(rows, as_json=as_json, empty="no version has been promoted")


COMMANDS = (
    *(model_list, model_show, model_shadow, model_compare, model_promote, model_rollback, model_history),
    *(model_live, model_drift, model_novelty),
)
