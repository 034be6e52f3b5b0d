"""``unmask score``: photos in, scores out; no database, no queue."""

import sys
import time
from pathlib import Path
from typing import Any

import click

from db.output import emit, json_option


@click.command()
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PHOTO...")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Which detector; the shipped one when not given.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@json_option
def score(*, photos: tuple[Path, ...], checkpoint: Path | None, device: str, as_json: bool) -> None:
    """Score photos here and now: 0 is real, 1 is AI-generated.

    Exits with 1 when some could not be scored; their reason stands beside them.
    """
    from trainer.detector.checkpoint import SHIPPED
    from worker.inference.scorer import Scorer

    scorer = Scorer.open(checkpoint or SHIPPED, device, engine="eager")  # starts at once
    rows = [_row(photo, scorer) for photo in photos]
    emit(rows, as_json=as_json, empty="")
    sys.exit(1 if any(row["reason"] for row in rows) else 0)


def _row(photo: Path, scorer: Any) -> dict[str, Any]:
    from trainer.errors import Rejected
    from trainer.pixels.preprocess import decode

    start = time.perf_counter()
    value, reason = None, None
    try:
        value = scorer.score([decode(photo.read_bytes()).pixels])[0]
    except Rejected as error:
        reason = error.reason
    except OSError as error:
        reason = "not_found" if isinstance(error, FileNotFoundError) else "unreadable"
    return {"photo": str(photo), "score": value, "reason": reason, "seconds": round(time.perf_counter() - start, 4)}
