"""``unmask webhook``: what the platform was told of cases, and what it would not hear."""

from typing import Any

import click

from db.work import deliveries
from db.cli import open_database
from db.output import emit, json_option
from db.schema import DELIVERY_STATES, Delivery


@click.group("webhook")
def webhook() -> None:
    """What the platform was told of opened and decided cases, and what it was not."""


@webhook.command("list")
@click.option("--state", type=click.Choice([*DELIVERY_STATES, "all"]), default="all", show_default=True)
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True)
@json_option
def list_deliveries(*, state: str, limit: int, as_json: bool) -> None:
    """Deliveries, the latest first: pending, done, dead (given up), or erased with the account."""
    with open_database().reading() as session:
        found = deliveries.list_deliveries(session, None if state == "all" else state, limit)
        rows = [_row(row) for row in found]
        switched_on = deliveries.switched_on(session)
    hint = "" if switched_on else ": it is off, until a worker starts with UNMASK_WEBHOOK_URL"
    emit(rows, as_json=as_json, empty=f"the platform was told nothing{hint}")


@webhook.command()
@click.argument("delivery_ids", nargs=-1, type=int, metavar="[ID]...")
@click.option("--dead", is_flag=True, help="All that were given up.")
def replay(*, delivery_ids: tuple[int, ...], dead: bool) -> None:
    """Tell it again: the same message, under the same webhook-id, signed anew."""
    if bool(delivery_ids) == dead:
        raise click.UsageError("needs the IDs of deliveries, or --dead")
    with open_database().writing() as session:
        ids = deliveries.dead(session) if dead else list(delivery_ids)
        deliveries.replay(session, ids)
    click.echo(f"{len(set(ids))} deliveries are told again", err=True)


@webhook.command()
def off() -> None:
    """Write down nothing more to be told, until a worker starts with UNMASK_WEBHOOK_URL."""
    with open_database().writing() as session:
        deliveries.switch_off(session)


def _row(row: Delivery) -> dict[str, Any]:
    return {
        "id": row.id,
        "case": row.case_id,
        "version": row.version,
        "event": f"case.{row.event}",
        "state": row.state,
        "attempts": row.attempts,
        "reason": row.reason,
        "next_attempt_at": row.next_attempt_at if row.state == "pending" else None,
        "created_at": row.created_at,
    }
