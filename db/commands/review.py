"""``unmask review``: what the console does, in a terminal; the same rules, by `UNMASK_ACTOR`."""

from typing import Any

import click
from sqlalchemy.orm import Session

from db.quality import samples
from db.review import queue, reviews
from db.review.blind import shown_blind
from db.review.cases import Order
from db.cli import open_database
from db.commands.options import signed
from db.commands.show_case import case_document, say_case
from db.quality.draws import SIZES, Sizes, draw
from db.output import emit, emit_json, json_option
from db.review.review_settings import ReviewSettings
from db.review.reviews import DECIDED, Decision
from db.schema import VERDICTS, Case, Draw, Image

case_argument = click.argument("case_id", type=int, metavar="CASE")
version_option = click.option("--version", type=int, required=True, help="As `review next` or `show` said.")


@click.command("next")
@click.option("--policy", help="Only this policy's.")
@click.option("--order", type=click.Choice(["age", "score"]), default="age", show_default=True)
@json_option
def next_case(*, policy: str | None, order: Order, as_json: bool) -> None:
    """The case that you should look at next, kept for you for UNMASK_REVIEW_LEASE_S seconds."""
    settings, reviewer = ReviewSettings.load(), signed("").author
    with open_database().writing() as session:
        case_id = queue.next_case(session, reviewer, policy=policy, order=order, lease_s=settings.review_lease_s)
        document = _document(session, case_id, reviewer, settings) if case_id is not None else None
    say_case(document, as_json=as_json, empty="no case waits for you")


@click.command()
@case_argument
@json_option
def show(*, case_id: int, as_json: bool) -> None:
    """A case: its photos, what their scores mean, and everything that happened."""
    with open_database().reading() as session:
        document = _document(session, case_id, signed("").author, ReviewSettings.load())
    say_case(document, as_json=as_json, empty="")


@click.command()
@case_argument
@click.argument("decision", type=click.Choice([*DECIDED, "unsure"]))
@version_option
@click.option("--reason", help="One of UNMASK_REVIEW_REASONS.")
@click.option("--note", help="Whatever else is to be said.")
@json_option
def decide(*, case_id: int, decision: str, version: int, reason: str | None, note: str | None, as_json: bool) -> None:
    """Say that a case is confirmed (AI-generated) or dismissed (real), or that you are unsure: then another decides."""
    settings, reviewer = ReviewSettings.load(), signed("").author
    blind = shown_blind(case_id, reviewer, settings.blind_share)
    with open_database().writing() as session:
        made = Decision(case_id, version, reviewer, decision, reason, note, blind)
        reviews.decide(session, made, settings)
        row = _case_row(session, case_id)
    emit([row], as_json=as_json, empty="")


@click.command()
@click.argument("decision", type=click.Choice([*DECIDED, "unsure"]))
@click.argument("cases", nargs=-1, required=True, metavar="CASE:VERSION...")
@click.option("--reason", help="One of UNMASK_REVIEW_REASONS.")
@click.option("--note", help="Whatever else is to be said.")
@click.option("--confirm", type=click.IntRange(1), metavar="N", help="Yes, N cases.")
@json_option
def bulk(
    *, decision: str, cases: tuple[str, ...], reason: str | None, note: str | None, confirm: int | None, as_json: bool
) -> None:
    """Decide several cases alike, such as those of one face: all, or none when one of them cannot be decided."""
    settings, reviewer = ReviewSettings.load(), signed("").author
    share = settings.blind_share
    made = [
        Decision(case_id, version, reviewer, decision, reason, note, shown_blind(case_id, reviewer, share))
        for case_id, version in map(_case_and_version, cases)
    ]
    with open_database().writing() as session:
        reviews.decide_all(session, made, confirm, settings)
        rows = [_case_row(session, each.case_id) for each in made]
    emit(rows, as_json=as_json, empty="")


@click.command()
@case_argument
@version_option
@click.option("--lead", is_flag=True, help="Also another person's decision, as a lead.")
@json_option
def undo(*, case_id: int, version: int, lead: bool, as_json: bool) -> None:
    """Take your last decision about a case back."""
    with open_database().writing() as session:
        reviews.undo(session, case_id, version, signed("").author, lead=lead)
        row = _case_row(session, case_id)
    emit([row], as_json=as_json, empty="")


@click.command()
@case_argument
@version_option
@click.option("--reason", required=True, help="Why it should be decided again, by somebody else.")
@json_option
def appeal(*, case_id: int, version: int, reason: str, as_json: bool) -> None:
    """Open a decided case again; whoever decided it may not decide it this time."""
    with open_database().writing() as session:
        reviews.appeal(session, case_id, version, signed("").author, reason)
        row = _case_row(session, case_id)
    emit([row], as_json=as_json, empty="")


@click.command()
@json_option
def sample(*, as_json: bool) -> None:
    """The sampled photo that you should judge next, without its score."""
    with open_database().writing() as session:
        found = samples.next_sample(session, signed("").author, ReviewSettings.load().review_lease_s)
        url = session.get_one(Image, found.image_id).url if found is not None else None
    rows = [{"sample": found.sample_id, "image": found.image_id, "url": url}] if found is not None else []
    if as_json:
        emit_json(rows[0] if rows else None)
        return
    emit(rows, as_json=False, empty="no sampled photo waits for you")
    if rows:
        click.echo(f"unmask review judge {rows[0]['sample']} {'|'.join(VERDICTS)}", err=True)


@click.command()
@click.argument("sample_id", type=int, metavar="SAMPLE")
@click.argument("verdict", type=click.Choice(VERDICTS))
@json_option
def judge(*, sample_id: int, verdict: str, as_json: bool) -> None:
    """Say that a sampled photo is fake (AI-generated) or real, or that you are unsure: then another judges it."""
    with open_database().writing() as session:
        samples.judge(session, sample_id, signed("").author, verdict)
        row = {"sample": sample_id, "verdict": verdict, "waiting": samples.waiting(session)}
    emit([row], as_json=as_json, empty="")


@click.command("draw")
@click.option("--flagged", type=click.IntRange(1), default=SIZES.flagged, show_default=True, help="Flagged photos.")
@click.option("--below", type=click.IntRange(1), default=SIZES.below, show_default=True, help="Photos just below.")
@click.option("--unflagged", type=click.IntRange(1), default=SIZES.unflagged, show_default=True, help="All the rest.")
@click.option("--days", type=click.FloatRange(0, min_open=True), default=7, show_default=True, help="How far back.")
@json_option
def draw_samples(*, flagged: int, below: int, unflagged: int, days: float, as_json: bool) -> None:
    """Draw photos at random for blind judging, of each policy and week, from what came in since the last draw."""
    with open_database().writing() as session:
        rows = [_draw_row(row) for row in draw(session, Sizes(flagged, below, unflagged), signed("").author, days)]
    emit(rows, as_json=as_json, empty="nothing has been scored since the last draw")


COMMANDS = (next_case, show, decide, bulk, undo, appeal, sample, judge, draw_samples)


def _case_and_version(text: str) -> tuple[int, int]:
    case_id, _, version = text.partition(":")
    if not (case_id.isdecimal() and version.isdecimal()):
        raise click.UsageError(f"{text!r} is no CASE:VERSION, such as 7:3")
    return int(case_id), int(version)


def _document(session: Session, case_id: int, reviewer: str, settings: ReviewSettings) -> dict[str, Any]:
    case = session.get(Case, case_id)
    # What is decided is no secret any more.
    blind = case is not None and case.state == "open" and shown_blind(case_id, reviewer, settings.blind_share)
    return case_document(session, case_id, blind=blind)


def _case_row(session: Session, case_id: int) -> dict[str, Any]:
    case = session.get_one(Case, case_id, populate_existing=True)
    return {"case": case.id, "state": case.state, "version": case.version, "second_person": case.second}


def _draw_row(row: Draw) -> dict[str, Any]:
    return {
        "policy": row.policy,
        "since": row.since,
        "until": row.until,
        "stratum": row.stratum,
        "population": row.population,
        "drawn": row.drawn,
    }
