"""Harm to commands: killed in the middle while uploads go on, and then run again, as a person would."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, insert, select

from db.models import versions
from db.schema import Image, ModelVersion, Score
from tests.chaos.fault import Fault
from tests.chaos.kinds import Upload
from tests.chaos.world import World, unmask
from trainer.detector.checkpoint import load, save

#: Rows past their period: three batches of a retention run.
_OLD = 2500
_OLD_DAYS = {"UNMASK_KEEP_SCORES_DAYS": "30", "UNMASK_KEEP_ACCOUNTS_DAYS": "30"}
_TWIN = "twin"


def _kill_retention(world: World) -> None:
    _add_old_rows(world)
    environment = {**world.environment, **_OLD_DAYS}
    _kill(world, environment, "retention", "run")
    _kill(world, environment, "retention", "run")
    unmask(environment, "retention", "run")
    with world.database.reading() as session:
        for what, column in (("images", Image.id), ("scores", Score.image_id)):
            left = session.scalar(select(func.count()).where(column.like("old.%")))
            if left:
                world.pool.surprises.append(f"{left} {what} are left past their period")


def _kill_rescore(world: World) -> None:
    """A backfill that is begun by a killed command or by the next one scores every image of the last seconds once."""
    since = datetime.now(UTC).replace(microsecond=0)
    if _is_shadow(world):
        unmask(world.environment, "model", "shadow", _TWIN, "--off")
    for _ in range(5):
        world.some_uploads()  # only the active version scores these
    _start_shadow(world)
    words = ("rescore", "--model", _TWIN, "--rate", "1000", "--since", f"{since:%Y-%m-%dT%H:%M:%S}")
    _kill(world, world.environment, *words)
    _again(world, lambda: _unscored(world, since) == 0, *words)
    world.uploads.halt()  # workers that have nothing else to do score old images
    world.until(lambda: _unscored(world, since) == 0, "the backfill has scored every image")


def _kill_promote(world: World) -> None:
    """Promoted and rolled back: each is killed twice, and run again unless it was done when it died."""
    _start_shadow(world)
    for words, active in ((("model", "promote", _TWIN, "--force"), _TWIN), (("model", "rollback"), "chaos")):
        world.some_uploads()
        whole = (*words, "--reason", "chaos")
        for _ in range(2):
            if _active(world) != [active]:
                _kill(world, world.environment, *whole)
        _again(world, lambda wanted=active: _active(world) == [wanted], *whole)  # type: ignore[misc]  # its default binds it
        if _active(world) != [active]:
            world.pool.surprises.append(f"active after {words}: {_active(world)}, and not {active}")


def _kill(world: World, environment: Mapping[str, str], *words: str) -> None:
    """Start a command and kill it: during its imports, its work, or just after."""
    command = [sys.executable, "-m", "worker", *words]
    process = subprocess.Popen(command, env=dict(environment), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + world.random.uniform(0.3, 4.0)
    while process.poll() is None and time.monotonic() < end:
        world.pause(0.05)
    process.kill()
    process.wait()


def _again(world: World, done: Callable[[], bool], *words: str) -> None:
    """Run a command until what it is for is so: a shadow proves itself on a few images first."""
    start = time.monotonic()
    while not done():
        try:
            unmask(world.environment, *words)
        except RuntimeError:
            if time.monotonic() - start > 60:
                raise
            world.pause(1.0)
        else:
            return


def _add_old_rows(world: World) -> None:
    """Scored images of months ago, in one transaction, so that no check sees them without their scores."""
    then = datetime.now(UTC) - timedelta(days=100)
    new = [Upload("old", "p0").new_id() for _ in range(_OLD)]
    columns = {"account_id": "account-old", "url": "p0.jpg", "state": "scored", "created_at": then, "changed_at": then}
    with world.database.writing() as session:
        version = versions.active(session).id
        session.execute(insert(Image), [{"id": image_id, **columns} for image_id in new])
        made = {"version_id": version, "score": world.expected["p0"], "engine": "eager-fp32", "device": "cpu"}
        session.execute(insert(Score), [{"image_id": image_id, **made} for image_id in new])


def _start_shadow(world: World) -> None:
    """Have the workers serve a second model: the first one under another name, so that every score is as expected."""
    with world.database.reading() as session:
        known = session.scalar(select(ModelVersion.state).where(ModelVersion.name == _TWIN))
    if known is None:
        detector, card = load(world.folder / "chaos.safetensors")
        save(detector, card.model_copy(update={"name": _TWIN}), world.folder / "twin.safetensors")
        unmask(world.environment, "model", "register", str(world.folder / "twin.safetensors"))
    if known != "shadow":
        unmask(world.environment, "model", "shadow", _TWIN)


def _active(world: World) -> list[str]:
    with world.database.reading() as session:
        return list(session.scalars(select(ModelVersion.name).where(ModelVersion.state == "active")))


def _is_shadow(world: World) -> bool:
    with world.database.reading() as session:
        return session.scalar(select(ModelVersion.state).where(ModelVersion.name == _TWIN)) == "shadow"


def _unscored(world: World, since: datetime) -> int:
    """How many images that were added since then, and are scored, the twin has not scored."""
    with world.database.reading() as session:
        twin = versions.by_name(session, _TWIN)
        theirs = select(Score.id).where(Score.image_id == Image.id, Score.version_id == twin.id)
        wanted = (Image.state == "scored", Image.created_at >= since, ~theirs.exists())
        return session.scalar(select(func.count(Image.id)).where(*wanted)) or 0


RETENTION = Fault("command: retention killed in the middle", _kill_retention, 3, 1)
RESCORE = Fault("command: rescore killed in the middle", _kill_rescore, 1, 0)
PROMOTE = Fault("command: promote killed under load", _kill_promote, 2, 1)
