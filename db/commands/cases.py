"""``unmask cases``: list, search and show cases, and find those that use the same photo."""

from collections.abc import Callable, Mapping
from typing import Any

import click

from db.commands.database import open_database
from db.commands.group import WholeHelpGroup
from db.commands.output import emit, emit_json, json_option
from db.queue.case_filter import ME, PARAMETERS, CaseFilter, find_cases
from db.review import cases
from db.review.lookalikes import MAX_BITS, find_clusters
from db.schema import Case
from db.settings import actor

#: The filters of the console's queue, in its words; each is an option of `cases list`.
_FILTERS: Mapping[str, str] = {
    "state": "Only cases in this state. Confirmed: AI-generated; dismissed: real.",
    "policy": "Only cases of this policy.",
    "order": "By what a decision is worth, by age, or by the highest score.",
    "appealed": "Only cases that were appealed, or that were not.",
    "due": "Only cases that are due soon or late; or only those that are late.",
    "assignee": "Only cases that this person holds now; also: me, nobody.",
    "decided_by": "Only cases that this person has decided; also: me.",
    "since": "Only cases opened on this day (UTC) or later.",
    "until": "Only cases opened on this day (UTC) or earlier.",
    "disagreed": "Only cases on which reviewers disagree.",
    "unstable": "Only cases with a photo that is unstable, and so not flagged; no: without one.",
    "signal": "Only cases with a flagged photo whose file has this signal.",
    "generator": "Only cases with a flagged photo whose file names this generator.",
    "model": "Only cases with a photo that this model version's threshold flagged.",
}
_DEFAULTS = {"state": "open", "order": "age"}
_METAVARS = {"assignee": "PERSON", "decided_by": "PERSON", "since": "DAY", "until": "DAY"}
#: Options that mean "yes" without a value.
_FLAGS = ("disagreed", "unstable")

limit_option = click.option("--limit", type=click.IntRange(1), default=100, show_default=True)


@click.group("cases", cls=WholeHelpGroup)
def cases_group() -> None:
    """Flagged accounts, for reviewers to decide."""


def filter_options(command: Callable[..., None]) -> Callable[..., None]:
    """An option for each filter of the queue."""
    for name in reversed(tuple(PARAMETERS)):
        command = _filter_option(name)(command)
    return command


def _filter_option(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    allowed, default = PARAMETERS[name], _DEFAULTS.get(name)
    return click.option(
        f"--{name.replace('_', '-')}",
        type=str if allowed is None else click.Choice(allowed),
        metavar=_METAVARS.get(name, name.upper() if allowed is None else None),
        default=default,
        show_default=default is not None,
        is_flag=False,
        flag_value="yes" if name in _FLAGS else None,
        help=_FILTERS[name],
    )


@cases_group.command("list")
@filter_options
@click.option("--after", type=int, metavar="CASE", help="The next page: cases after this one.")
@limit_option
@json_option
def cases_list(*, after: int | None, limit: int, as_json: bool, **filters: str | None) -> None:
    """List cases by age, by score, or by what deciding them is worth.

    The filters are those of the console's queue.
    """
    given = {name: value for name, value in filters.items() if value}
    wanted = CaseFilter.parse(given, actor() if ME in given.values() else "")
    with open_database().reading() as session:
        rows = [_line_row(line) for line in find_cases(session, wanted, limit, after)]
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
    """List cases of several accounts that use the same photo.

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
    emit(rows, as_json=as_json, empty="no two accounts use the same photo")
