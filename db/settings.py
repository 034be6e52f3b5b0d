"""Settings from the environment: ``UNMASK_*``, or ``UNMASK_*_FILE`` naming a file that holds the value.

A field that ``repr`` leaves out is a secret: `db.redaction` hides it in all that this process writes.
"""

import getpass
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    ValidationError,
)

from db.errors import SettingsError
from db.hostnames import parse_host
from db.redaction import KNOWN, redacted
from db.server_urls import check_database_url

PREFIX = "UNMASK_"
#: The highest false positive rate that a threshold may have, by default.
MAX_FPR = 0.02


class Environment(BaseModel):
    """Settings of one role. Unknown keys are ignored here: `worker.core.unknown_settings` names the misspelt ones."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read and check all settings; raises one `SettingsError` that names every bad key."""
        values, wrong = _values(environ, cls.model_fields)
        for name in values.keys() & {name for name, field in cls.model_fields.items() if not field.repr}:
            KNOWN.add(values[name])
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            wrong += [_fault(found) for found in error.errors()]
        if wrong:
            # Not a ValidationError as the cause: a traceback would show the values.
            raise SettingsError(redacted("; ".join(wrong))) from None
        return settings


def check_settings(kinds: Iterable[type[Environment]], environ: Mapping[str, str] = os.environ) -> None:
    """Check the settings of several roles; raises one `SettingsError` that names every bad key once."""
    wrong: dict[str, None] = {}
    for kind in kinds:
        try:
            kind.load(environ)
        except SettingsError as error:
            wrong |= dict.fromkeys(str(error).split("; "))
    if wrong:
        raise SettingsError("; ".join(wrong))


def _fault(found: Any) -> str:
    """One fault in pydantic's list: the key and what is wrong, without the value."""
    keys = [str(part).upper() for part in found["loc"] if isinstance(part, str)]
    text = found["msg"].removeprefix("Value error, ")
    return f"{PREFIX}{'_'.join(keys)}: {text}" if keys else text


def split_commas(value: object) -> object:
    """The parts of a comma-separated value, for validators of tuples."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _hosts(names: tuple[str, ...]) -> tuple[str, ...]:
    if any("@" in name or "://" in name for name in names):  # a URL, perhaps with a password: no part of it is shown
        raise ValueError("must be hosts, like cdn.example.com or cdn.example.com:8443, without a scheme or a user name")
    for name in names:
        parse_host(name)
    return names


class DatabaseSettings(Environment):
    """Where the record is kept: SQLite in the working directory, or ``postgresql://...``."""

    database_url: Annotated[str, AfterValidator(check_database_url)] = Field(default="sqlite:///unmask.db", repr=False)
    #: On PostgreSQL, the schema that holds our tables: the database may be your application's.
    db_schema: str = Field(default="unmask", pattern=r"^[a-z_][a-z0-9_]{0,62}$")
    #: "transaction": a pooler such as PgBouncer gives each transaction another server connection, so nothing is kept
    #: between two: no prepared statements, and no LISTEN.
    db_pooler: Literal["none", "transaction"] = "none"


class PhotoSourceSettings(Environment):
    """Where photos may come from. The HTTP API, if it has these settings too, refuses URLs that no worker fetches."""

    #: Photos by path come from below this folder; without it, paths are refused.
    media_root: Path | None = None
    #: Photos by URL come from these hosts ("cdn.example.com,img.example.com:8443"); without any, URLs are refused.
    allowed_hosts: Annotated[tuple[str, ...], BeforeValidator(split_commas), AfterValidator(_hosts)] = ()
    #: Allow http as well as https; a host without a port then allows port 80, too.
    allow_http: bool = False


class PolicySettings(Environment):
    """What policy people may change without a confirmation."""

    #: A change opens and withdraws no more cases than this, unless the number is confirmed.
    flood_budget: NonNegativeInt = 200
    #: No threshold flags a larger share of the real photos of its reference set, unless --max-fpr accepts it once.
    max_fpr: float = Field(default=MAX_FPR, gt=0, le=1)


def actor(environ: Mapping[str, str] = os.environ) -> str:
    """The name of whoever runs this: ``UNMASK_ACTOR``, else the system's user name."""
    return environ.get(f"{PREFIX}ACTOR") or getpass.getuser()


def _values(environ: Mapping[str, str], names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """The values that are set, and which files cannot be read. An empty value counts as not set."""
    values, wrong = {}, []
    for name in names:
        key = PREFIX + name.upper()
        path = environ.get(f"{key}_FILE")
        try:
            values[name] = Path(path).read_text().strip() if path else environ.get(key, "")
        except (OSError, ValueError) as error:
            # Somebody may have put the secret itself there.
            shown = path if path and re.fullmatch(r"[\w./-]+", path) else "the file"
            wrong.append(f"{key}_FILE: {shown} cannot be read: {type(error).__name__}")
    return {name: value for name, value in values.items() if value}, wrong
