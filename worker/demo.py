"""``make demo``: the whole system on one machine, on real photographs, with nothing to set up and nothing left behind.

A Valkey of its own, SQLite below ``var/demo``, a real worker process: what runs in production, in small.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from sqlalchemy import func, select

from db.access import people, sign_ins
from db.models import versions
from db.policy import thresholds
from db.work import images, pictures
from db.output import emit
from db.schema import Case, Flag, Image, Score
from db.store.session import Database
from db.settings import actor
from trainer.detector.card import Card
from trainer.detector.checkpoint import SHIPPED
from worker.embedded import broker

HOME = Path("var/demo")
#: The sample is photographs of real people and things: at the model's own threshold a newcomer would see no flag.
SAMPLE_THRESHOLD = 0.0001
#: A worker that scores nothing for so long is stuck.
PATIENCE_S = 180
_ENOUGH_FOR_A_RATE = 100
#: Of so many flagged photos the console has pictures at once; of others as soon as a worker runs again.
_PREVIEWS = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """What this run scores, and from which score on it flags."""

    photos: list[Path]
    root: Path
    threshold: float
    why: str


@click.command()
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Your own photos.")
def demo(*, images: Path | None) -> None:
    """Score photographs end to end, on this machine alone."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    plan = _plan(images)
    database = Database(f"sqlite:///{HOME}/unmask.db")
    with broker(HOME / "valkey") as broker_url:
        os.environ |= _settings(broker_url, plan.root)
        _prepare(database, plan)
        with _worker() as process:
            _enqueue(database, plan)
            _watch(database, len(plan.photos), process)
            _make_previews(database, process)
    sys.exit(_report(database, plan))


def _plan(folder: Path | None) -> Plan:
    if folder is None:
        root = _sample(HOME / "photos")
        why = "set low on purpose, so that this sample of real photos shows a flag and a case"
        return Plan(_files(root), root, SAMPLE_THRESHOLD, why)
    quality = Card.read(SHIPPED).quality
    if quality is None:
        raise click.ClickException(f"{SHIPPED} says nothing of its quality, so there is no threshold to use")
    why = f"the model's own: it flagged {quality.measured_fpr:.2%} of {quality.reals} real photos"
    return Plan(_files(folder), folder, quality.threshold, why)


def _files(root: Path) -> list[Path]:
    found = [path for path in sorted(root.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    if not found:
        raise click.ClickException(f"{root} holds no files")
    return [path.relative_to(root) for path in found]


def _sample(folder: Path) -> Path:
    """Photographs that our dependencies carry, and a file that only looks like one."""
    import matplotlib as mpl
    import sklearn

    folder.mkdir(parents=True)
    shutil.copy(Path(mpl.get_data_path()) / "sample_data" / "grace_hopper.jpg", folder)
    for name in ("china.jpg", "flower.jpg"):
        shutil.copy(Path(sklearn.__file__).parent / "datasets" / "images" / name, folder)
    whole = (folder / "grace_hopper.jpg").read_bytes()
    (folder / "half_an_upload.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "not_a_photo.jpg").write_text("<!doctype html><title>404</title>")
    return folder


def _settings(broker_url: str, root: Path) -> dict[str, str]:
    return {
        "UNMASK_DATABASE_URL": f"sqlite:///{HOME}/unmask.db",
        "UNMASK_BROKER_URL": broker_url,
        "UNMASK_MEDIA_ROOT": str(root.resolve()),
        "UNMASK_MODELS_DIR": str(HOME / "models"),
    }


def _prepare(database: Database, plan: Plan) -> None:
    from worker.commands.model import store

    database.upgrade()
    card = Card.read(SHIPPED)
    sha256 = store(SHIPPED, HOME / "models")
    with database.writing() as session:
        version = versions.register(session, card.name, sha256, card.preprocess, card.model_dump(mode="json"))
        thresholds.set_value(session, version.id, "default", plan.threshold, actor(), f"demo: {plan.why}")


@contextmanager
def _worker() -> Iterator[subprocess.Popen[bytes]]:
    """A real worker process, stopped as an operator would: SIGTERM, and it finishes what it has in hand."""
    with (HOME / "worker.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "worker", "worker"], stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()


def _enqueue(database: Database, plan: Plan) -> None:
    from worker.client import enqueue_many, new_image  # reads where the broker is when it is imported

    new = [new_image(account_id=_id(path.with_suffix("")), url=str(path), image_id=_id(path)) for path in plan.photos]
    with database.writing() as session:
        enqueue_many(session, new)


def _id(path: Path) -> str:
    return str(path)[-128:]


def _watch(database: Database, total: int, worker: subprocess.Popen[bytes]) -> None:
    """A progress bar until every image has its score or its reason."""
    done, last_change = 0, time.monotonic()
    with click.progressbar(length=total, label="scored", file=sys.stderr, show_pos=True) as bar:
        while done < total and worker.poll() is None and time.monotonic() - last_change < PATIENCE_S:
            time.sleep(0.2)
            with database.reading() as session:
                now_done = total - images.counts(session)["pending"]
            if now_done > done:
                bar.update(now_done - done)
                done, last_change = now_done, time.monotonic()


def _make_previews(database: Database, worker: subprocess.Popen[bytes]) -> None:
    """What the console shows, while there is a worker to make it: of the oldest cases, for no longer than patience."""
    until = time.monotonic() + PATIENCE_S
    with database.writing() as session:
        flagged = list(
            session.scalars(select(Flag.image_id).group_by(Flag.image_id).order_by(func.min(Flag.id)).limit(_PREVIEWS))
        )
        pictures.ask_missing(session, pictures.states(session, flagged, pictures.PHOTO).values(), actor())
    waiting = bool(flagged)
    while waiting and worker.poll() is None and time.monotonic() < until:
        time.sleep(0.2)
        with database.reading() as session:
            found = pictures.states(session, flagged, pictures.PHOTO).values()
        waiting = any(picture.state == "making" for picture in found)


def _report(database: Database, plan: Plan) -> int:
    """The table, and what to type next; the exit status."""
    with database.reading() as session:
        rows = _rows(session)
        pending = images.counts(session)["pending"]
        cases = session.scalar(select(func.count(Case.id))) or 0
        rate = _rate(session)
    emit(rows, as_json=False, empty="nothing")
    scored = sum(row["score"] is not None for row in rows)
    click.echo(f"{scored} scored, {len(rows) - scored - pending} not scorable, {cases} accounts flagged.")
    if rate is not None:
        click.echo(f"{rate:.1f} images a second, from the first score to the last.")
    click.echo(f"Threshold {plan.threshold:.4f} ({plan.why}).\n")
    click.echo(_NEXT)
    click.echo(_console(database))
    if pending:
        log = (HOME / "worker.log").read_text(errors="replace").splitlines()[-5:]
        click.echo(f"{pending} images were left without a score or a reason; the worker's last words:", err=True)
        click.echo("\n".join(log), err=True)
    return 1 if pending else 0


_NEXT = f"""\
The record is {HOME}/unmask.db, the worker's log {HOME}/worker.log. Next:
  export UNMASK_DATABASE_URL=sqlite:///{HOME}/unmask.db
  .venv/bin/unmask cases list            the flagged accounts
  .venv/bin/unmask cases show 1          one of them, photo by photo
  .venv/bin/unmask failures list         what could not be scored, and why
  .venv/bin/unmask score PHOTO...        score a photo here and now
  make demo IMAGES=folder                the same on your own photos, at the model's own threshold"""


def _console(database: Database) -> str:
    """How to open the console on what was flagged, as a lead, by a link that works once."""
    with database.writing() as session:
        token = sign_ins.make_link(session, people.add(session, "demo", "lead"))
    return f"""\
The console, on what was flagged:
  .venv/bin/unmask console
and then, once and within {sign_ins.LINK_S / 60:.0f} minutes:
  http://127.0.0.1:8000/link/{token}"""


def _rows(session: Any) -> list[dict[str, Any]]:
    statement = (
        select(Image, Score.score, Flag.case_id)
        .outerjoin(Score, Score.image_id == Image.id)
        .outerjoin(Flag, Flag.score_id == Score.id)
        .order_by(Score.score.desc().nulls_last(), Image.id)
    )
    return [
        {
            "account": image.account_id,
            "image": image.id,
            "score": score,
            "outcome": f"flagged: case {case}" if case else image.reason or ("" if score is not None else "pending"),
        }
        for image, score, case in session.execute(statement)
    ]


def _rate(session: Any) -> float | None:
    first, last, count = session.execute(
        select(func.min(Score.created_at), func.max(Score.created_at), func.count())
    ).one()
    return (count - 1) / (last - first).total_seconds() if count >= _ENOUGH_FOR_A_RATE else None


if __name__ == "__main__":
    demo(prog_name="make demo")
