"""Model versions: the registered checkpoints, the active one, and the shadow that scores beside it without flagging."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from db.errors import ConflictError, NotFoundError
from db.schema import ModelVersion, Promotion
from db.schema.clock import moment


@dataclass(frozen=True, slots=True)
class Served:
    """A version that workers score with, and the SHA-256 that names its file."""

    id: int
    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Serving:
    """What workers score with: the active version, and a shadow beside it."""

    active: Served
    shadow: Served | None


def register(session: Session, name: str, sha256: str, preprocess: str, card: dict[str, Any]) -> ModelVersion:
    """Register a checkpoint. The first becomes active; the same file again is the same version.

    Raises `ConflictError` when another file has the name.
    """
    known = session.scalar(select(ModelVersion).where(ModelVersion.sha256 == sha256))
    if known is not None:
        return known
    if session.scalar(select(ModelVersion).where(ModelVersion.name == name)) is not None:
        raise ConflictError(f"model version {name!r} is another file: give this one another --name")
    state = "candidate" if find_active(session) is not None else "active"
    version = ModelVersion(name=name, sha256=sha256, preprocess=preprocess, card=card, state=state)
    session.add(version)
    session.flush()
    return version


def find_active(session: Session) -> ModelVersion | None:
    """The active version; None before the first is registered."""
    return session.scalar(select(ModelVersion).where(ModelVersion.state == "active"))


def active(session: Session) -> ModelVersion:
    """The active version; raises `NotFoundError`, which says how to get one."""
    version = find_active(session)
    if version is None:
        raise NotFoundError("no model version is active: run `unmask model register CHECKPOINT`")
    return version


def by_name(session: Session, name: str) -> ModelVersion:
    """A version by its name or its SHA-256; raises `NotFoundError`, which lists the registered ones."""
    version = session.scalar(select(ModelVersion).where(or_(ModelVersion.name == name, ModelVersion.sha256 == name)))
    if version is None:
        known = ", ".join(row.name for row in list_versions(session)) or "none"
        raise NotFoundError(f"model version {name!r} is not registered; registered: {known}")
    return version


def list_versions(session: Session) -> list[ModelVersion]:
    """All versions, the oldest first."""
    return list(session.scalars(select(ModelVersion).order_by(ModelVersion.id)))


def serving(session: Session) -> Serving | None:
    """The versions that workers score with; None before the first is registered."""
    statement = select(ModelVersion.state, ModelVersion.id, ModelVersion.name, ModelVersion.sha256)
    rows = session.execute(statement.where(ModelVersion.state.in_(("active", "shadow")))).all()
    found = {row.state: Served(row.id, row.name, row.sha256) for row in rows}
    return Serving(found["active"], found.get("shadow")) if "active" in found else None


def has_two_keys(version: ModelVersion) -> bool:
    """Whether its score fuses two detectors, so that both must find a photo suspicious."""
    return bool(version.card.get("fusion"))


def start_shadow(session: Session, version: ModelVersion) -> None:
    """Let workers score with a version beside the active one, without flagging.

    Raises `ConflictError` when it is active, or when another version is the shadow.
    """
    if version.state == "active":
        raise ConflictError(f"model {version.name} is active")
    other = session.scalar(select(ModelVersion).where(ModelVersion.state == "shadow"))
    if other is not None and other.id != version.id:
        raise ConflictError(f"model {other.name} is the shadow: stop it first: unmask model shadow --off {other.name}")
    if other is None:
        version.state, version.shadow_since = "shadow", moment()
        session.flush()


def stop_shadow(session: Session, version: ModelVersion) -> None:
    """Stop scoring with the shadow: it becomes retired if it was ever active, else a candidate again.

    Raises `ConflictError` when it is not the shadow.
    """
    if version.state != "shadow":
        raise ConflictError(f"model {version.name} is not the shadow: it is {version.state}")
    once = or_(Promotion.from_version_id == version.id, Promotion.to_version_id == version.id)
    switched = session.scalar(select(Promotion.id).where(once).limit(1))
    version.state = "retired" if switched is not None else "candidate"
    version.shadow_since = None
    session.flush()
