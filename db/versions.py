"""Model versions: which checkpoints are known, and which one scores."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.errors import ConflictError, NotFoundError
from db.schema import ModelVersion


def register(session: Session, name: str, sha256: str, preprocess: str, card: dict[str, Any]) -> ModelVersion:
    """Enter a checkpoint. The first becomes active; the same file again is the same version."""
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
    """The version that scores, if there is one."""
    return session.scalar(select(ModelVersion).where(ModelVersion.state == "active"))


def active(session: Session) -> ModelVersion:
    """The version that scores; raises `NotFoundError` saying how to get one."""
    version = find_active(session)
    if version is None:
        raise NotFoundError("no model version is active: run `unmask model register CHECKPOINT`")
    return version


def list_versions(session: Session) -> list[ModelVersion]:
    """All versions, the oldest first."""
    return list(session.scalars(select(ModelVersion).order_by(ModelVersion.id)))
