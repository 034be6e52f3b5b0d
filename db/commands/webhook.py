"""``unmask webhook``: deliveries of events to the platform."""

from typing import Any

import click

from db.commands.database import open_database
from db.commands.group import WholeHelpGroup
from db.commands.options import as_lead
from db.commands.output import emit, json_option
from db.schema import DELIVERY_STATES, Delivery
from db.work import deliveries


@click.group("webhook", cls=WholeHelpGroup)
def webhook() -> None:
    """Webhook deliveries: what the platform was sent about its cases and images."""


@webhook.command("list")
@click.option("--state", type=click.Choice([*DELIVERY_STATES, "all"]), default="all", show_default=True)
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True)
@json_option
def webhook_list(*, state: str, limit: int, as_json: bool) -> None:
    """List deliveries, the latest first: pending, done, dead (given up), or erased."""
    with open_database().reading() as session:
        found = deliveries.list_deliveries(session, None if state == "all" else state, limit)
        rows = [_row(row) for row in found]
        recorded = ", ".join(deliveries.recorded_kinds(session))
    hint = f" of {recorded}" if recorded else ": webhooks are off (set UNMASK_WEBHOOK_URL and restart a worker)"
    emit(rows, as_json=as_json, empty=f"no deliveries{hint}")


@webhook.command("replay")
@click.argument("delivery_ids", nargs=-1, type=int, metavar="[ID]...")
@click.option("--dead", is_flag=True, help="All deliveries that were given up.")
def webhook_replay(*, delivery_ids: tuple[int, ...], dead: bool) -> None:
    """Send deliveries again: the same message and webhook-id, with a new signature."""
    if bool(delivery_ids) == dead:
        raise click.UsageError("give the IDs of deliveries, or --dead")
    with open_database().writing() as session:
        as_lead(session)
        ids = deliveries.list_dead(session) if dead else list(delivery_ids)
        deliveries.redeliver(session, ids)
    click.echo(f"{len(set(ids))} deliveries will be sent again", err=True)


@webhook.command("off")
def webhook_off() -> None:
    """Record no more deliveries, until a worker starts with UNMASK_WEBHOOK_URL."""
    with open_database().writing() as session:
        as_lead(session)
        deliveries.switch_off(session)


def _row(row: Delivery) -> dict[str, Any]:
    return {
        "id": row.id,
        "case": row.case_id,
        "version": row.version,
        "image": row.image_id,
        "event": row.kind,
        "state": row.state,
        "attempts": row.attempts,
        "reason": row.reason,
        "next_attempt_at": row.next_attempt_at if row.state == "pending" else None,
        "created_at": row.created_at,
    }
