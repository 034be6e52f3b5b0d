"""``unmask review sample|judge|undo-verdict|draw``: sampled photos, judged without their scores."""

from typing import Any

import click

from db.access import audit
from db.commands.database import open_database
from db.commands.options import as_decider, as_lead
from db.commands.output import emit, emit_json, json_option
from db.quality import samples
from db.quality.sampling import SIZES, Sizes, draw_strata
from db.review.settings import ReviewSettings
from db.schema import VERDICTS, Draw, Image


@click.command("sample")
@json_option
def review_sample(*, as_json: bool) -> None:
    """Show your next sampled photo, without its score."""
    with open_database().writing() as session:
        reviewer = as_decider(session)
        found = samples.next_sample(session, reviewer, ReviewSettings.load().review_lease_s)
        if found is not None:
            detail = f"sample {found.sample_id}"
            audit.log(session, reviewer, "viewed_sample", image_id=found.image_id, detail=detail)
        url = session.get_one(Image, found.image_id).url if found is not None else None
    rows = [{"sample": found.sample_id, "image": found.image_id, "url": url}] if found is not None else []
    if as_json:
        emit_json(rows[0] if rows else None)
        return
    emit(rows, as_json=False, empty="no sampled photo is free for you")
    if rows:
        click.echo(f"unmask review judge {rows[0]['sample']} {'|'.join(VERDICTS)}", err=True)


@click.command("judge")
@click.argument("sample_id", type=int, metavar="SAMPLE")
@click.argument("verdict", type=click.Choice(VERDICTS))
@json_option
def review_judge(*, sample_id: int, verdict: str, as_json: bool) -> None:
    """Judge a sampled photo. Fake: AI-generated; unsure passes the photo to another reviewer."""
    with open_database().writing() as session:
        reviewer = as_decider(session)
        samples.record_verdict(session, sample_id, reviewer, verdict)
        audit.log(session, reviewer, "judged_sample", detail=f"sample {sample_id}: {verdict}")
        row = {"sample": sample_id, "verdict": verdict, "waiting": samples.count_waiting(session)}
    emit([row], as_json=as_json, empty="")


@click.command("undo-verdict")
@click.argument("sample_id", type=int, metavar="SAMPLE")
@json_option
def review_undo_verdict(*, sample_id: int, as_json: bool) -> None:
    """Undo your verdict on a sampled photo. Nobody else can judge it for UNMASK_REVIEW_LEASE_S seconds."""
    with open_database().writing() as session:
        reviewer = as_decider(session)
        samples.undo_verdict(session, sample_id, reviewer, ReviewSettings.load().review_lease_s)
        audit.log(session, reviewer, "undone_sample", detail=f"sample {sample_id}")
        row = {"sample": sample_id, "verdict": None, "waiting": samples.count_waiting(session)}
    emit([row], as_json=as_json, empty="")


@click.command("draw")
@click.option(
    "--flagged", type=click.IntRange(1), default=SIZES.flagged, show_default=True, help="Number of flagged photos."
)
@click.option(
    "--below", type=click.IntRange(1), default=SIZES.below, show_default=True, help="Number just below the threshold."
)
@click.option(
    "--unflagged", type=click.IntRange(1), default=SIZES.unflagged, show_default=True, help="Number of other photos."
)
@click.option(
    "--days", type=click.FloatRange(0, 36_500, min_open=True), default=7, show_default=True, help="How many days back."
)
@json_option
def review_draw(*, flagged: int, below: int, unflagged: int, days: float, as_json: bool) -> None:
    """Draw photos for blind judging. They are random, for each policy and week since the last draw."""
    with open_database().writing() as session:
        drawn = draw_strata(session, Sizes(flagged, below, unflagged), as_lead(session), days)
        rows = [_draw_row(row) for row in drawn]
    emit(rows, as_json=as_json, empty="no photo has been scored since the last draw")


def _draw_row(row: Draw) -> dict[str, Any]:
    return {
        "policy": row.policy,
        "since": row.since,
        "until": row.until,
        "stratum": row.stratum,
        "population": row.population,
        "drawn": row.drawn,
    }
