"""Reads tables of text, CSV or Parquet, as rows: ``{column: cell}``."""

import csv
import io
from importlib import import_module
from pathlib import Path
from typing import Any

from trainer.errors import ManifestError
from trainer.files import read_bounded

#: The most bytes of a manifest: some three million rows.
MOST_BYTES = 500_000_000
#: A row; a CSV line that is too short has None for its last cells.
TableRow = dict[str, str | None]


def parse_table(path: Path, data: bytes) -> list[TableRow]:
    """The rows of a table with the bytes ``data``; Parquet when ``path`` ends in .parquet. Raises `ManifestError`."""
    return _parquet(path, data) if _is_parquet(path) else _csv(path, data)


def read_table(path: Path) -> bytes:
    """The bytes of a table; raises `ManifestError` when the file cannot be read."""
    try:
        return read_bounded(path, MOST_BYTES)
    except FileNotFoundError as error:
        raise ManifestError(f"manifest {path} does not exist") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _csv(path: Path, data: bytes) -> list[TableRow]:
    try:
        rows: list[dict[str | None, Any]] = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, error) from error
    return [{name: cell for name, cell in row.items() if name is not None} for row in rows]


def _parquet(path: Path, data: bytes) -> list[TableRow]:
    try:
        parquet = import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        message = (
            f"manifest {path} is a Parquet file, which needs pyarrow: pip install 'unmask[parquet]'; or save it as CSV"
        )
        raise ManifestError(message) from error
    try:
        rows: list[dict[str, Any]] = parquet.read_table(io.BytesIO(data)).to_pylist()
    except (OSError, ValueError, NotImplementedError) as error:  # the bases of pyarrow's errors
        raise _unreadable(path, error) from error
    return [{name: None if cell is None else str(cell) for name, cell in row.items()} for row in rows]


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def _unreadable(path: Path, error: Exception) -> ManifestError:
    kind = "Parquet" if _is_parquet(path) else "CSV"
    return ManifestError(f"manifest {path} is not a readable {kind} file: {' '.join(str(error).split())}")
