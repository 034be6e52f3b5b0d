"""``unmask cases``: list, search and show cases, and find look-alikes among them."""

from typing import Any, get_args

import click

from db.commands.database import open_database
from db.commands.group import WholeHelpGroup
from db.commands.output import emit, emit_json, json_option
from db.review import cases
from db.review.cases import Order
from db.review.lookalikes import MAX_BITS, find_clusters
from db.schema import CASE_STATES, Case

limit_option = click.option("--limit", type=click.IntRange(1), default=100, show_default=True)


@click.group("cases", cls=WholeHelpGroup)
def cases_group() -> None:
    """Flagged accounts, for reviewers to decide."""


@cases_group.command("list")
@click.option("--state", type=click.Choice([*CASE_STATES, "all"]), default="open", show_default=True)
@click.option("--policy", default=None, help="Only cases of this policy.")
@click.option("--unstable", is_flag=True, help="Only cases with a photo that is unstable, and so not flagged.")
@click.option("--order", type=click.Choice(get_args(Order)), default="age", show_default=True)
@click.option("--after", type=int, metavar="CASE", help="The next page: cases after this one.")
@limit_option
@json_option
def cases_list(
    *, state: str, policy: str | None, unstable: bool, order: Order, after: int | None, limit: int, as_json: bool
) -> None:
    """List cases by age, by score, or by what deciding them is worth."""
    with open_database().reading() as session:
        wanted = None if state == "all" else state
        where = [cases.has_unstable()] if unstable else []
        found = cases.list_cases(session, wanted, policy, limit, order=order, after=after, where=where)
        rows = [_line_row(line) for line in found]
    emit(rows, as_json=as_json, empty="no such cases")


@cases_group.command("search")
@click.argument("account_prefix", metavar="ACCOUNT")
@limit_option
@json_option
def cases_search(*, account_prefix: str, limit: int, as_json: bool) -> None:
    """List cases of accounts whose id starts with ACCOUNT."""
    with open_database().reading() as session:
        rows = [_line_row(line) for line in cases.search_cases(session, account_prefix, limit)]
    emit(rows, as_json=as_json, empty="no such cases")


@cases_group.command("show")
@click.argument("case_id", type=int)
@json_option
def cases_show(*, case_id: int, as_json: bool) -> None:
    """Show a case and its flagged photos."""
    with open_database().reading() as session:
        row = _case_row(cases.get_case(session, case_id))
        photos = [
            {
                "image": flag.image.id,
                "url": flag.image.url,
                "score": flag.score.score,
                "threshold": flag.threshold.value if flag.threshold is not None else None,
                "flagged_by": flag.kind,
                "evidence": flag.evidence,
                "score_low": flag.score.low,
                "score_high": flag.score.high,
                "scored_at": flag.score.created_at,
            }
            for flag in cases.flagged_photos(session, case_id)
        ]
    if as_json:
        emit_json(row | {"photos": photos})
    else:
        emit([row], as_json=False, empty="")
        emit(photos, as_json=False, empty="no photos")


def _line_row(line: cases.CaseSummary) -> dict[str, Any]:
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
    "--max-bits",
    type=click.IntRange(0, 256),
    default=MAX_BITS,
    show_default=True,
    help="Maximum bits, of 256, in which two photos differ.",
)
@json_option
def cases_clusters(*, max_bits: int, as_json: bool) -> None:
    """List cases of several accounts that show one face.

    Photos are compared by a perceptual hash. It survives resizing, re-encoding and mirroring, but rarely a crop.
    Similar photos are a reason to review cases together, not a proof. Photos that a later threshold has flagged are
    hashed, and so included, once workers are idle.
    """
    with open_database().reading() as session:
        found = find_clusters(session, max_bits)
    rows = [
        {"cluster": number, "case": member.case_id, "account": member.account_id, "policy": member.policy}
        | {"state": member.state}
        for number, group in enumerate(found, 1)
        for member in group
    ]
    emit(rows, as_json=as_json, empty="no flagged photos of two accounts look alike")
