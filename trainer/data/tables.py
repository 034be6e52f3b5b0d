"""Tables of text on disk, CSV or Parquet, as rows: column name to cell."""

import csv
import io
from importlib import import_module
from pathlib import Path
from typing import Any

from trainer.errors import ManifestError

#: A row; a CSV line that is too short lacks (None) its last cells.
Row = dict[str, str | None]


def parse(path: Path, data: bytes) -> list[Row]:
    """The rows of a table whose bytes are ``data``; Parquet when ``path`` says so. Raises `ManifestError`."""
    return _parquet(path, data) if _is_parquet(path) else _csv(path, data)


def load(path: Path) -> bytes:
    """The bytes of a table; raises `ManifestError`."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ManifestError(f"manifest {path} does not exist") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _csv(path: Path, data: bytes) -> list[Row]:
    try:
        rows: list[dict[str | None, Any]] = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, error) from error
    return [{name: cell for name, cell in row.items() if name is not None} for row in rows]


def _parquet(path: Path, data: bytes) -> list[Row]:
    try:
        parquet = import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        message = (
            f"manifest {path} is a Parquet file, which needs pyarrow: pip install 'unmask[parquet]'; or save it as CSV"
        )
        raise ManifestError(message) from error
    try:
        rows: list[dict[str, Any]] = parquet.read_table(io.BytesIO(data)).to_pylist()
    except (OSError, ValueError, NotImplementedError) as error:  # what pyarrow's errors derive from
        raise _unreadable(path, error) from error
    return [{name: None if cell is None else str(cell) for name, cell in row.items()} for row in rows]


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def _unreadable(path: Path, error: Exception) -> ManifestError:
    kind = "Parquet" if _is_parquet(path) else "CSV"
    return ManifestError(f"manifest {path} is not a readable {kind} file: {' '.join(str(error).split())}")
