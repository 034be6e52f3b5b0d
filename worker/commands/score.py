"""``unmask score``: photos in, scores out, without database or queue."""

import sys
import time
from pathlib import Path
from typing import Any

import click

from db.commands.output import emit, json_option


@click.command()
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PHOTO...")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="The detector; by default the shipped one.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@json_option
def score(*, photos: tuple[Path, ...], checkpoint: Path | None, device: str, as_json: bool) -> None:
    """Score photos here and now: 0 is real, 1 is AI-generated.

    A photo gets the answer that a worker gives it: the same pixels, limits and reasons. Exits with 1 when a photo could
    not be scored; its row gives the reason. Notes about odd files go to stderr.
    """
    from trainer.detector.card import Card
    from trainer.detector.checkpoint import SHIPPED
    from worker.core.settings import ModelSettings
    from worker.inference.engines import reference_engine
    from worker.inference.scorer import Scorer

    min_side = ModelSettings.load().min_side
    path = checkpoint or SHIPPED
    scorer = Scorer.open(path, device, engine=reference_engine(Card.read(path)))
    rows = [_row(photo, scorer, min_side) for photo in photos]
    emit(rows, as_json=as_json, empty="")
    sys.exit(1 if any(row["reason"] for row in rows) else 0)


def _row(photo: Path, scorer: Any, min_side: int | None) -> dict[str, Any]:
    from trainer.errors import Rejected
    from trainer.files import open_file
    from trainer.pixels.file_end import NOTES
    from trainer.pixels.limits import LIMITS
    from trainer.pixels.preprocess import decode
    from worker.core.errors import OutOfDomainError
    from worker.inference.scorer import check_domain

    start = time.perf_counter()
    value, reason = None, None
    try:
        with open_file(photo) as file:
            picture = decode(file.read(LIMITS.max_bytes + 1))
        check_domain(picture, scorer.card, min_side)
        value = scorer.score([picture.pixels])[0]
        for note in picture.notes:
            click.echo(f"{photo}: {NOTES[note]}", err=True)
    except (Rejected, OutOfDomainError) as error:
        reason = error.reason
    except OSError as error:
        reason = "not_found" if isinstance(error, FileNotFoundError) else "unreadable"
    return {"photo": str(photo), "score": value, "reason": reason, "seconds": round(time.perf_counter() - start, 4)}
