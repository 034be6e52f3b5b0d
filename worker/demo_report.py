"""What ``make demo`` prints at its end: the outcomes, and what to type next."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from db.access import people, sign_ins
from db.commands.output import emit
from db.schema import Case, Result, Score
from db.store.session import Database
from trainer.detector.card_results import Quality

HOME = Path("var/demo")
#: Where the HTTP API listens if nobody else does.
PORT = 8080
_ENOUGH_FOR_A_RATE = 100


def report(database: Database, quality: Quality) -> int:
    """Print the table and what to type next; returns the exit status."""
    with database.reading() as session:
        rows = _rows(session)
        cases = session.scalar(select(func.count(Case.id))) or 0
        rate = _rate(session)
    emit([_shown(row) for row in rows], as_json=False, empty="no images")
    states = Counter(row.state for row in rows)
    outcomes = ", ".join(f"{states[state]} {state}" for state in ("scored", "unusable", "failed"))
    click.echo(f"{outcomes}; {cases} accounts flagged.")
    if rate is not None:
        click.echo(f"{rate:.1f} images a second, measured from the first score to the last.")
    click.echo(_threshold(quality))
    if not cases and rows[0].score is not None:
        _preview(rows[0].score)
    click.echo(_NEXT)
    click.echo(_console(database))
    if states["pending"]:
        _complain(states["pending"])
    return 1 if states["pending"] else 0


def _threshold(quality: Quality) -> str:
    share = f"{quality.measured_fpr:.2%} of {quality.reals} real photos"
    return f"Threshold {quality.threshold:.4f}: the model's own, which flagged {share}.\n"


def _preview(highest: float) -> None:
    """Show what a threshold would do that is low enough for the highest of these scores."""
    from worker.cli import root

    digits = 1 - math.floor(math.log10(highest)) if highest else 0
    value = math.floor(highest * 10**digits) / 10**digits
    words = ["threshold", "preview", "--value", f"{value:.{digits}f}"]
    click.echo(f"A lower threshold would flag more. What it would do, without doing it: unmask {' '.join(words)}")
    root.main(words, "unmask", standalone_mode=False)
    click.echo()


def _complain(pending: int) -> None:
    log = (HOME / "worker.log").read_text(errors="replace").splitlines()[-5:]
    click.echo(f"{pending} images have neither a score nor a reason; the worker's last log lines:", err=True)
    click.echo("\n".join(log), err=True)


def curl_command(port: int = PORT) -> str:
    """The shell command that sends a photo to the HTTP API of the demo."""
    return f"""\
  curl -H "Authorization: Bearer $(cat {HOME}/key)" -H "Prefer: wait=30" \\
    -F account_id=me -F photo=@photo.jpg http://127.0.0.1:{port}/v1/images"""


_NEXT = f"""\
The database is {HOME}/unmask.db, the worker's log {HOME}/worker.log. Next:
  export UNMASK_DATABASE_URL=sqlite:///{HOME}/unmask.db UNMASK_ACTOR=demo
  .venv/bin/unmask cases list            the flagged accounts
  .venv/bin/unmask image show ID         one image: its state, score and reason
  .venv/bin/unmask failures list         the images that have no score, and why
  .venv/bin/unmask score PHOTO...        score a photo here and now
  make demo IMAGES=folder                the same on your own photos
Send a photo of yours to the HTTP API: run `make demo SERVE=1`, and in another terminal, in this folder:
{curl_command()}"""


def _console(database: Database) -> str:
    """How to open the console as a lead, by a link that works once."""
    with database.writing() as session:
        token = sign_ins.make_link(session, people.add_person(session, "demo", "lead"))
    return f"""\
Open the console, where reviewers decide about flagged accounts:
  .venv/bin/unmask console
and then this link, which works once and within {sign_ins.LINK_S / 60:.0f} minutes:
  http://127.0.0.1:8000/link/{token}"""


def _rows(session: Session) -> Sequence[Row[Any]]:
    """What became of each image, the highest score first."""
    return session.execute(select(Result).order_by(Result.c.score.desc().nulls_last(), Result.c.image_id)).all()


def _shown(row: Row[Any]) -> dict[str, Any]:
    outcome = "flagged" if row.flagged else row.reason or ""
    shown = {"account": row.account_id, "image": row.image_id, "state": row.state, "score": row.score}
    return shown | {"outcome": outcome}


def _rate(session: Session) -> float | None:
    first, last, count = session.execute(
        select(func.min(Score.created_at), func.max(Score.created_at), func.count())
    ).one()
    return (count - 1) / (last - first).total_seconds() if count >= _ENOUGH_FOR_A_RATE else None
