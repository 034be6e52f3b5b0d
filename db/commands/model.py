"""What ``unmask model`` does on the record alone: list, show, shadow, compare, promote, rollback."""

import click

from db.models import references, versions
from db.policy import changes, thresholds
from db.rollout import plans, promotions
from db.cli import open_database
from db.commands.options import budget, confirm_option, reason_option, signed
from db.commands.show_model import (
    comparison_document,
    differs_row,
    model_row,
    plan_document,
    promotion_row,
    say_model,
    say_plan,
)
from db.rollout.comparison import compare
from db.rollout.gate import MAX_DROP
from db.output import emit, emit_json, json_option

max_drop_option = click.option(
    "--max-drop",
    type=click.FloatRange(0, 1),
    default=MAX_DROP,
    show_default=True,
    help="How much less of any engine, size or JPEG quality it may find, by the cards.",
)
force_option = click.option(
    "--force", is_flag=True, help="Also on few reals, or before workers have shown that they have it; needs --reason."
)


@click.command("list")
@json_option
def list_models(*, as_json: bool) -> None:
    """All registered checkpoints, the oldest first."""
    with open_database().reading() as session:
        rows = [model_row(version) for version in versions.list_versions(session)]
    emit(rows, as_json=as_json, empty="no model is registered: unmask model register CHECKPOINT")


@click.command()
@click.argument("name")
@json_option
def show(*, name: str, as_json: bool) -> None:
    """One checkpoint: what its card says, its reference sets, and the thresholds that stand for it."""
    with open_database().reading() as session:
        version = versions.named(session, name)
        row = model_row(version)
        card = {key: value for key, value in version.card.items() if key != "reference"}
        reals = version.card.get("reference")
        sets = [{"name": reals["name"], "reals": len(reals["scores"]), "source": "card"}] if reals else []
        sets += [
            {"name": found.name, "reals": found.reals, "source": found.source}
            for found in references.list_sets(session, version.id)
        ]
        standing = [{"policy": t.policy, "value": t.value} for t in thresholds.latest(session, version.id)]
    document = row | {"references": sets, "thresholds": standing, "card": card}
    if as_json:
        emit_json(document)
    else:
        say_model(document)


@click.command()
@click.argument("name")
@click.option("--off", is_flag=True, help="Score with it no longer.")
@json_option
def shadow(*, name: str, off: bool, as_json: bool) -> None:
    """Score every photo with this version too, beside the active one: stored, and never flagging."""
    with open_database().writing() as session:
        changes.lock(session)  # a promotion under way may be making it the active one
        version = versions.named(session, name)
        (versions.stop_shadow if off else versions.start_shadow)(session, version)
        row = model_row(version)
    emit([row], as_json=as_json, empty="")


@click.command("compare")
@click.argument("first")
@click.argument("second")
@click.option("--fpr", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.005, show_default=True)
@click.option("--reference", help="The set of real photos, for both; each model's own when not given.")
@json_option
def compare_models(*, first: str, second: str, fpr: float, reference: str | None, as_json: bool) -> None:
    """Where two versions disagree at the same false positive rate, and for which accounts that makes a difference."""
    with open_database().reading() as session:
        found = compare(session, versions.named(session, first), versions.named(session, second), fpr, reference)
    if as_json:
        emit_json(comparison_document(found, first, second))
        return
    rate = found.disagreement
    click.echo(f"Of {found.images} photos with both scores they disagree on {found.only_first + found.only_second}:")
    click.echo(f"{rate.value:.3%} ({rate.low:.3%} to {rate.high:.3%}), at an FPR of {found.fpr:g}.")
    click.echo(f"Both flag {found.both}, only {first} {found.only_first}, only {second} {found.only_second}.")
    emit([differs_row(line) for line in found.accounts], as_json=False, empty="No account changes.")


@click.command()
@click.argument("name")
@max_drop_option
@force_option
@reason_option
@confirm_option
@click.option("--preview", "preview_only", is_flag=True, help="Only say what it would do.")
@json_option
def promote(
    *, name: str, max_drop: float, force: bool, reason: str, confirm: int | None, preview_only: bool, as_json: bool
) -> None:
    """Make the shadow the active version, each policy's threshold at the same false positive rate.

    Workers follow without a restart. The version before stays as the shadow: `unmask model rollback` is exact, and
    `unmask model shadow --off` ends it.
    """
    database = open_database()
    with database.reading() as session:
        plan = plans.plan(session, versions.named(session, name), force=force)
    if not as_json:
        say_plan(plan)
    if preview_only:
        plan.gate.check(max_drop)
        if as_json:
            emit_json(plan_document(plan))
        return
    with database.writing() as session:
        after = versions.named(session, name)
        row = promotions.promote(session, after, signed(reason), budget(confirm), max_drop, force=force)
        done = promotion_row(row, {version.id: version.name for version in versions.list_versions(session)})
    if as_json:
        emit_json(plan_document(plan) | done)
    else:
        emit([done], as_json=False, empty="")


@click.command()
@reason_option
@json_option
def rollback(*, reason: str, as_json: bool) -> None:
    """Make the version before the last switch active again, with its thresholds and their cases."""
    with open_database().writing() as session:
        row = promotions.roll_back(session, signed(reason))
        done = promotion_row(row, {version.id: version.name for version in versions.list_versions(session)})
    emit([done], as_json=as_json, empty="")


@click.command()
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True)
@json_option
def history(*, limit: int, as_json: bool) -> None:
    """Every switch from one version to another, the latest first."""
    with open_database().reading() as session:
        names = {version.id: version.name for version in versions.list_versions(session)}
        rows = [promotion_row(row, names) for row in promotions.history(session, limit)]
    emit(rows, as_json=as_json, empty="no version was ever promoted")
