"""What ``robustness.json`` holds: how many photos are flagged under each degradation. No torch here."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from trainer.errors import TrainerError

#: What rows call all engines together.
ALL = "all"

Kind = Literal["native", "resize", "jpeg", "mirror", "flip"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Row(_Part):
    """One engine, or "all" of them, under one degradation.

    ``level`` is pixels for resize, quality for jpeg, and 0 for others. ``fpr`` is of the reals degraded alike.
    """

    kind: Kind
    level: int
    engine: str
    tpr: float
    fpr: float
    refitted_tpr: float
    n: int


class Robustness(_Part):
    """A sweep: ``threshold`` flags at most ``target_fpr`` of the ``reals`` undegraded."""

    checkpoint: str = ""
    checkpoint_sha256: str = ""
    manifest_sha256: str = ""
    split: str
    limit: int | None = None
    target_fpr: float
    threshold: float
    reals: int
    rows: tuple[Row, ...]

    @classmethod
    def read(cls, path: Path) -> Self:
        """The sweep in a ``robustness.json``; raises a `TrainerError` for anything else."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise TrainerError(f"{path} cannot be read: {error.strerror}") from error
        except ValidationError as error:
            raise TrainerError(f"{path} is no sweep: {error.error_count()} fields are wrong") from error

    def write(self, path: Path) -> None:
        """Write it, atomically: the same sweep is the same bytes."""
        part = path.with_name(f".{path.name}.part")
        part.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        part.replace(path)

    def rows_of(self, kind: Kind | None, engine: str = ALL) -> list[Row]:
        """One engine's rows under one degradation (None: under all of them), in the order of the sweep."""
        return [row for row in self.rows if row.engine == engine and kind in (None, row.kind)]

    @property
    def engines(self) -> list[str]:
        """The engines by name, without "all"."""
        return sorted({row.engine for row in self.rows} - {ALL})
