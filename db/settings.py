"""Settings from the environment: ``UNMASK_*``, or ``UNMASK_*_FILE`` naming a file that holds the value."""

import getpass
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from db.errors import SettingsError

PREFIX = "UNMASK_"


class Environment(BaseModel):
    """Settings of one role. Keys that nobody knows are left alone: Kubernetes adds some for a service "unmask-..."."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read and check all settings; raises one `SettingsError` that names every bad key."""
        values, wrong = _values(environ, cls.model_fields)
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            wrong += [f"{PREFIX}{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()]
        if wrong:
            raise SettingsError("; ".join(wrong))
        return settings


class DatabaseSettings(Environment):
    """Where the record is kept: SQLite beside you, or ``postgresql://...``."""

    database_url: str = Field(default="sqlite:///unmask.db", repr=False)  # it may hold a password


class PolicySettings(Environment):
    """What policy people may do without being asked twice."""

    #: More cases than this are not opened or withdrawn at once, unless the number is confirmed.
    flood_budget: NonNegativeInt = 200


def actor(environ: Mapping[str, str] = os.environ) -> str:
    """Who is doing this: ``UNMASK_ACTOR``, else the system's user name."""
    return environ.get(f"{PREFIX}ACTOR") or getpass.getuser()


def _values(environ: Mapping[str, str], names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """The values that are given, and which files cannot be read. Empty is the same as not given."""
    values, wrong = {}, []
    for name in names:
        key = PREFIX + name.upper()
        path = environ.get(f"{key}_FILE")
        try:
            values[name] = Path(path).read_text().strip() if path else environ.get(key, "")
        except (OSError, ValueError) as error:
            wrong.append(f"{key}_FILE: {path} cannot be read: {type(error).__name__}")
    return {name: value for name, value in values.items() if value}, wrong
