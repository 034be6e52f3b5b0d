"""``unmask review``: the console's review work in a terminal, by the same rules, as `UNMASK_ACTOR`."""

from functools import partial
from typing import Any, get_args

import click
from sqlalchemy.orm import Session

from db.access import actors, audit
from db.commands.blind_samples import review_draw, review_judge, review_sample, review_undo_verdict
from db.commands.database import open_database
from db.commands.group import WholeHelpGroup
from db.commands.options import as_decider, as_lead
from db.commands.output import emit, json_option
from db.commands.reports import review_decisions, review_statements, review_transparency
from db.commands.show_case import case_document, print_case
from db.errors import ConflictError
from db.review import blindness, case_queue, reviews
from db.review.cases import Order, get_case
from db.review.restrictions import RESTRICTIONS, restrict_case
from db.review.reviews import FINAL_DECISIONS, Decision
from db.review.settings import ReviewSettings
from db.schema import ROLES, Case
from db.settings import actor

case_argument = click.argument("case_id", type=int, metavar="CASE")
version_option = click.option(
    "--version", type=int, required=True, help="The case's version, as `review next` or `show` printed it."
)


@click.group("review", cls=WholeHelpGroup)
def review_group() -> None:
    """Decide cases, undo and appeal decisions, judge sampled photos."""


@review_group.command("next")
@click.option("--policy", help="Only cases of this policy.")
@click.option("--order", type=click.Choice(get_args(Order)), default="age", show_default=True)
@json_option
def review_next(*, policy: str | None, order: Order, as_json: bool) -> None:
    """Show your next case, and hold it for you. Nobody else can decide it for UNMASK_REVIEW_LEASE_S seconds."""
    settings = ReviewSettings.load()
    with open_database().writing() as session:
        reviewer = as_decider(session)
        hidden = partial(blindness.hidden_from, session, settings, reviewer)
        lease_s = settings.review_lease_s
        case_id = case_queue.next_case(session, reviewer, policy=policy, order=order, lease_s=lease_s, hidden=hidden)
        document = _document(session, case_id, reviewer, settings) if case_id is not None else None
    print_case(document, as_json=as_json, empty="no case is free for you")


@review_group.command("show")
@case_argument
@json_option
def review_show(*, case_id: int, as_json: bool) -> None:
    """Show a case: its photos, their scores and its history."""
    with open_database().writing() as session:
        reviewer = actors.require_actor(session, actor(), ROLES)
        document = _document(session, case_id, reviewer, ReviewSettings.load())
    print_case(document, as_json=as_json, empty="")


@review_group.command("decide")
@case_argument
@click.argument("decision", type=click.Choice([*FINAL_DECISIONS, "unsure"]))
@version_option
@click.option("--reason", help="One of UNMASK_REVIEW_REASONS.")
@click.option("--note", help="A note for the case's history.")
@json_option
def review_decide(
    *, case_id: int, decision: str, version: int, reason: str | None, note: str | None, as_json: bool
) -> None:
    """Decide a case. Confirmed: AI-generated; dismissed: real; unsure passes the case to another reviewer."""
    settings = ReviewSettings.load()
    with open_database().writing() as session:
        reviewer = as_decider(session)
        blind = blindness.decides_blind(session, settings, get_case(session, case_id), reviewer)
        made = Decision(case_id, version, reviewer, decision, reason, note, blind)
        reviews.decide_case(session, made, settings)
        audit.log(session, reviewer, "decided", case_id=case_id, detail=decision)
        row = _case_row(session, case_id)
    emit([row], as_json=as_json, empty="")


@review_group.command("bulk")
@click.argument("decision", type=click.Choice([*FINAL_DECISIONS, "unsure"]))
@click.argument("cases", nargs=-1, required=True, metavar="CASE:VERSION...")
@click.option("--reason", help="One of UNMASK_REVIEW_REASONS.")
@click.option("--note", help="A note for the case's history.")
@click.option("--confirm", type=click.IntRange(1), metavar="N", help="Confirm the number of cases.")
@json_option
def review_bulk(
    *, decision: str, cases: tuple[str, ...], reason: str | None, note: str | None, confirm: int | None, as_json: bool
) -> None:
    """Decide several cases alike. If one of them cannot be decided, none is."""
    settings, chosen = ReviewSettings.load(), [_case_and_version(case) for case in cases]
    with open_database().writing() as session:
        reviewer = as_decider(session)
        blind = blindness.hidden_from(session, settings, reviewer, [case_id for case_id, _ in chosen])
        made = [
            Decision(case_id, version, reviewer, decision, reason, note, case_id in blind)
            for case_id, version in chosen
        ]
        reviews.decide_cases(session, made, confirm, settings)
        for each in made:
            audit.log(
                session, reviewer, "decided", case_id=each.case_id, detail=f"{decision}, with {len(made) - 1} more"
            )
        rows = [_case_row(session, each.case_id) for each in made]
    emit(rows, as_json=as_json, empty="")


@review_group.command("undo")
@case_argument
@version_option
@click.option(
    "--with",
    "others",
    multiple=True,
    metavar="CASE:VERSION",
    help="Also undo the decision about this case, which was made together with it.",
)
@click.option("--lead", is_flag=True, help="As a lead, also undo another reviewer's decision.")
@json_option
def review_undo(*, case_id: int, version: int, others: tuple[str, ...], lead: bool, as_json: bool) -> None:
    """Undo your last decision about a case. If one of several cannot be undone, none is."""
    seen = {case_id: version} | dict(map(_case_and_version, others))
    with open_database().writing() as session:
        reviewer = actors.require_actor(session, actor(), actors.LEADS if lead else actors.DECIDERS)
        reviews.undo_decisions(session, seen, reviewer, lead=lead)
        for one in sorted(seen):
            detail = f"with {len(seen) - 1} others" if others else None
            audit.log(session, reviewer, "undone", case_id=one, detail=detail)
        rows = [_case_row(session, one) for one in sorted(seen)]
    emit(rows, as_json=as_json, empty="")


@review_group.command("hold")
@case_argument
@json_option
def review_hold(*, case_id: int, as_json: bool) -> None:
    """Hold a case for you, or hold it for longer. Nobody else can decide it for UNMASK_REVIEW_LEASE_S seconds."""
    with open_database().writing() as session:
        reviewer = as_decider(session)
        case_queue.acquire_case(session, case_id, reviewer, ReviewSettings.load().review_lease_s)
        audit.log(session, reviewer, "took", case_id=case_id)
        row = _case_row(session, case_id)
    emit([row], as_json=as_json, empty="")


@review_group.command("leave")
@case_argument
@json_option
def review_leave(*, case_id: int, as_json: bool) -> None:
    """Leave a case that you hold, so that others can decide it."""
    with open_database().writing() as session:
        reviewer = as_decider(session)
        if not case_queue.release_case(session, case_id, reviewer):
            raise ConflictError(f"{reviewer} does not hold case {case_id}: there is nothing to leave")
        audit.log(session, reviewer, "left", case_id=case_id)
        row = _case_row(session, case_id)
    emit([row], as_json=as_json, empty="")


@review_group.command("restrict")
@case_argument
@click.option("--reason", type=click.Choice(list(RESTRICTIONS)), required=True, help="Why it needs special handling.")
@json_option
def review_restrict(*, case_id: int, reason: str, as_json: bool) -> None:
    """Restrict a case to leads: only they see its photos and decide it. `review unrestrict` undoes this."""
    with open_database().writing() as session:
        reviewer = as_decider(session)
        restrict_case(session, case_id, reviewer, reason)
        audit.log(session, reviewer, "restricted", case_id=case_id, detail=reason)
        row = _case_row(session, case_id)
    emit([row], as_json=as_json, empty="")


@review_group.command("unrestrict")
@case_argument
@json_option
def review_unrestrict(*, case_id: int, as_json: bool) -> None:
    """As a lead, open a restricted case to all reviewers again."""
    with open_database().writing() as session:
        lead = as_lead(session)
        if get_case(session, case_id).restricted is None:
            raise ConflictError(f"case {case_id} is not restricted: all reviewers can decide it")
        restrict_case(session, case_id, lead, None)
        audit.log(session, lead, "restricted", case_id=case_id, detail="lifted")
        row = _case_row(session, case_id)
    emit([row], as_json=as_json, empty="")


@review_group.command("appeal")
@case_argument
@version_option
@click.option("--reason", required=True, help="Why the case should be decided again.")
@json_option
def review_appeal(*, case_id: int, version: int, reason: str, as_json: bool) -> None:
    """Reopen a decided case for another reviewer. Nobody who has decided it may decide it again."""
    with open_database().writing() as session:
        reviewer = as_decider(session)
        reviews.appeal_decision(session, case_id, version, reviewer, reason)
        audit.log(session, reviewer, "appealed", case_id=case_id)
        row = _case_row(session, case_id)
    emit([row], as_json=as_json, empty="")


def _case_and_version(text: str) -> tuple[int, int]:
    case_id, _, version = text.partition(":")
    if not (case_id.isdecimal() and version.isdecimal()):
        raise click.UsageError(f"{text!r} is not CASE:VERSION, such as 7:3")
    return int(case_id), int(version)


def _document(session: Session, case_id: int, reviewer: str, settings: ReviewSettings) -> dict[str, Any]:
    """A case as this person may see it, which the audit log notes."""
    blind = blindness.decides_blind(session, settings, get_case(session, case_id), reviewer)
    audit.log(session, reviewer, "viewed", case_id=case_id, detail="blind" if blind else None)
    return case_document(session, case_id, blind=blind)


def _case_row(session: Session, case_id: int) -> dict[str, Any]:
    case = session.get_one(Case, case_id, populate_existing=True)
    return {"case": case.id, "state": case.state, "version": case.version, "second_person": case.second}


_SAMPLES = (review_sample, review_judge, review_undo_verdict, review_draw)
_REPORTS = (review_decisions, review_statements, review_transparency)
for _command in (*_SAMPLES, *_REPORTS):
    review_group.add_command(_command)
