"""``unmask cases``: flagged accounts, for people to decide."""

from typing import Any

import click

from db.review import cases
from db.cli import open_database
from db.review.lookalikes import MAX_BITS, clusters
from db.output import emit, emit_json, json_option
from db.schema import CASE_STATES, Case

limit_option = click.option("--limit", type=click.IntRange(1), default=100, show_default=True)


@click.group("cases")
def cases_group() -> None:
    """Flagged accounts, for people to decide."""


@cases_group.command("list")
@click.option("--state", type=click.Choice([*CASE_STATES, "all"]), default="open", show_default=True)
@click.option("--policy", default=None, help="Only this policy's.")
@click.option("--order", type=click.Choice(["age", "score"]), default="age", show_default=True)
@click.option("--after", type=int, metavar="CASE", help="The page after the one that ends with this case.")
@limit_option
@json_option
def cases_list(
    *, state: str, policy: str | None, order: cases.Order, after: int | None, limit: int, as_json: bool
) -> None:
    """Cases, the oldest first, or the highest score first."""
    with open_database().reading() as session:
        wanted = None if state == "all" else state
        found = cases.list_cases(session, wanted, policy, limit, order=order, after=after)
        rows = [_line_row(line) for line in found]
    emit(rows, as_json=as_json, empty="no such cases")


@cases_group.command("search")
@click.argument("account_prefix", metavar="ACCOUNT")
@limit_option
@json_option
def cases_search(*, account_prefix: str, limit: int, as_json: bool) -> None:
    """Cases of accounts whose id begins with ACCOUNT."""
    with open_database().reading() as session:
        rows = [_line_row(line) for line in cases.search(session, account_prefix, limit)]
    emit(rows, as_json=as_json, empty="no such cases")


@cases_group.command("show")
@click.argument("case_id", type=int)
@json_option
def cases_show(*, case_id: int, as_json: bool) -> None:
    """One case: its account, and each flagged photo with its score and threshold."""
    with open_database().reading() as session:
        case, flags = cases.show_case(session, case_id)
        row = _case_row(case)
        photos = [
            {
                "image": flag.image.id,
                "url": flag.image.url,
                "score": flag.score.score,
                "threshold": flag.threshold.value,
                "scored_at": flag.score.created_at,
            }
            for flag in flags
        ]
    if as_json:
        emit_json(row | {"photos": photos})
    else:
        emit([row], as_json=False, empty="")
        emit(photos, as_json=False, empty="no photos")


def _line_row(line: cases.CaseLine) -> dict[str, Any]:
    return _case_row(line.case) | {"photos": line.photos, "highest": line.highest}


def _case_row(case: Case) -> dict[str, Any]:
    return {
        "case": case.id,
        "account": case.account_id,
        "policy": case.policy,
        "state": case.state,
        "reason": case.reason,
        "opened_at": case.created_at,
    }


@cases_group.command("clusters")
@click.option(
    "--max-bits", type=click.IntRange(0, 256), default=MAX_BITS, show_default=True, help="Of 256, that differ."
)
@json_option
def cases_clusters(*, max_bits: int, as_json: bool) -> None:
    """Cases of several accounts whose flagged photos look alike: one face, many accounts.

    By a perceptual hash that survives another size, another encoding and a mirror, and hardly a crop. A likeness is a
    reason to look at cases together, and proves nothing. Photos that a later threshold flagged join when workers had
    nothing else to do.
    """
    with open_database().reading() as session:
        found = clusters(session, max_bits)
    rows = [
        {"cluster": number, "case": member.case_id, "account": member.account_id, "policy": member.policy}
        | {"state": member.state}
        for number, group in enumerate(found, 1)
        for member in group
    ]
    emit(rows, as_json=as_json, empty="no two accounts' flagged photos look alike")
