"""``unmask policy``: the names that give photos their threshold."""

from typing import Any

import click

from db.access import audit
from db.commands.database import open_database
from db.commands.group import WholeHelpGroup
from db.commands.options import as_lead, author, budget, confirm_option, reason_option
from db.commands.output import emit, json_option
from db.policy import case_changes, policies, signal_actions, signal_changes
from db.queue import targets
from db.schema import Policy
from db.schema.policy import KEYS, STABILITIES


@click.group(cls=WholeHelpGroup)
def policy() -> None:
    """Policies: names that give photos their threshold."""


@policy.command("add")
@click.argument("name")
@click.option(
    "--weight",
    type=click.IntRange(1, policies.MAX_WEIGHT),
    default=1,
    show_default=True,
    help="Its share of the workers while photos of several policies wait.",
)
@reason_option
@json_option
def policy_add_command(*, name: str, weight: int, reason: str, as_json: bool) -> None:
    """Add a policy. Until it has its own threshold, that of the policy default applies."""
    with open_database().writing() as session:
        as_lead(session)
        row = _row(policies.add_policy(session, name, author(reason), weight))
    emit([row], as_json=as_json, empty="")


@policy.command("set")
@click.argument("name")
@click.option(
    "--max-fpr",
    type=click.FloatRange(0, 1),
    metavar="F",
    help="No threshold of this policy has a higher FPR, in place of UNMASK_MAX_FPR; 0: UNMASK_MAX_FPR applies again.",
)
@click.option("--keys", type=click.Choice(KEYS), help="Flag when one signal says so, or only when two agree.")
@click.option(
    "--stability",
    "stable",
    type=click.Choice(STABILITIES),
    help="note: photos near the threshold are scored again as other deliveries, and those that land on both sides are "
    "unstable: a person sees them, and they are not flagged. off: the score alone decides.",
)
@click.option(
    "--on",
    "actions",
    multiple=True,
    metavar="CONDITION:ACTION",
    help="What to do with photos whose file says so: provenance=ai (generated) or provenance=ai_edited (in part); flag "
    "opens a case, note marks the signal in verdicts, off does nothing.",
)
@reason_option
@confirm_option
@json_option
def policy_set_command(
    *,
    name: str,
    max_fpr: float | None,
    keys: str | None,
    stable: str | None,
    actions: tuple[str, ...],
    reason: str,
    confirm: int | None,
    as_json: bool,
) -> None:
    """Change a policy. Thresholds in effect stay as they are.

    With --keys two, only a model that `unmask fuse` made of two detectors may be active.

    With --stability note, a photo within the band round the threshold that holds 2 % of the reference photos is scored
    again as eight other deliveries of it: recompressed, scaled by 0.5 to 2, cropped by up to 5 %. It is flagged when
    all nine scores reach the threshold, and unstable when only some do. That takes flags away and adds none, so the
    threshold's certified rate holds. An unstable photo opens a case, for a person to decide. Photos in the record keep
    their verdict. A policy without a choice has that of the policy default, which is off at first.

    --on says what happens to photos whose own metadata says that they are AI-generated. flag also flags the photos in
    the record that say so, within UNMASK_FLOOD_BUDGET. off and note withdraw no case. A manifest whose signature does
    not hold acts on nothing, and neither does a camera's name, which proves nothing. A file that says nothing means
    nothing: metadata is easily removed. Without an action of its own for a condition, a policy has that of the policy
    default.
    """
    if max_fpr is None and keys is None and stable is None and not actions:
        raise click.UsageError("say what to change: --max-fpr, --keys, --stability or --on")
    changes = dict(signal_actions.parse_action(text) for text in actions)
    said, opened = list(actions), 0
    with open_database().writing() as session:
        who = as_lead(session)
        if max_fpr is not None:
            changed = policies.set_max_fpr(session, name, max_fpr or None)
            said.append(f"max_fpr {changed.max_fpr or 'of the settings'}")
        if keys is not None:
            said.append(f"keys {policies.set_keys(session, name, keys).keys}")
        if stable is not None:
            case_changes.lock_versions(session)
            said.append(f"stability {policies.set_stability(session, name, stable).stability}")
        if changes:
            opened = signal_changes.set_actions(session, name, changes, budget(confirm))
        audit.log(session, who, "policy_set", detail=f"{name}: {', '.join(said)}: {reason or 'no reason given'}")
        row = _row(policies.find_policy(session, name)) | {"opened": opened}
    emit([row], as_json=as_json, empty="")


@policy.command("target")
@click.argument("name")
@click.argument("hours", type=click.FloatRange(0, min_open=True), required=False)
@click.option("--none", "no_target", is_flag=True, help="Cases of this policy have no target time any more.")
@json_option
def policy_target_command(*, name: str, hours: float | None, no_target: bool, as_json: bool) -> None:
    """Set within how many HOURS each case of a policy should be decided. What is about to miss it comes first."""
    if (hours is None) != no_target:
        raise click.UsageError("give HOURS, or --none")
    with open_database().writing() as session:
        as_lead(session)
        row = _row(targets.set_target(session, name, 3600 * hours if hours is not None else None))
    emit([row], as_json=as_json, empty="")


@policy.command("list")
@json_option
def policy_list_command(*, as_json: bool) -> None:
    """List every policy, with who added it and why."""
    with open_database().reading() as session:
        rows = [_row(row) for row in policies.list_policies(session)]
    emit(rows, as_json=as_json, empty="there are no policies")


def _row(row: Policy) -> dict[str, Any]:
    return {
        "name": row.name,
        "weight": row.weight,
        "max_fpr": row.max_fpr,
        "keys": row.keys,
        "stability": row.stability,
        "on": {word: (row.signal_actions or {}).get(kind) for word, kind in signal_actions.CONDITIONS.items()},
        "target_hours": row.target_s / 3600 if row.target_s is not None else None,
        "by": row.created_by,
        "reason": row.reason,
        "at": row.created_at,
    }
