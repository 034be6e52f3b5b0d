"""Output of commands: one JSON document for programs on stdout, or a table for people; messages go to stderr."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import click

_PIPE_WIDTH = 400

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")


def emit(rows: Sequence[Mapping[str, Any]], *, as_json: bool, empty: str) -> None:
    """Print rows as a JSON array of objects, or as a table under their keys; without rows, ``empty``."""
    if as_json:
        emit_json(list(rows))
    elif rows:
        _table(rows)
    else:
        click.echo(empty)


def emit_json(document: Any) -> None:
    """Print any document as JSON, times in ISO 8601."""
    click.echo(json.dumps(document, default=_plain, indent=2))


class ProgressLines:
    """How far a long command is: a line on stderr every few seconds where stderr is no terminal, which has a bar."""

    def __init__(self, *, quiet: bool, every_s: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._off = quiet or sys.stderr.isatty()
        self._every_s = every_s
        self._clock = clock
        self._last = clock()

    def show(self, text: str) -> None:
        """Print the line if the last one is old enough."""
        if not self._off and self._clock() - self._last >= self._every_s:
            self._last = self._clock()
            click.echo(text, err=True)


def _table(rows: Sequence[Mapping[str, Any]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name, value in rows[0].items():
        number = isinstance(value, int | float)
        table.add_column(name.replace("_", " "), justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*[Text(_shown(value)) for value in row.values()])  # as text: a name may look like markup
    # In a file or pipe, lines do not wrap.
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return value.isoformat(" ", "seconds") if isinstance(value, datetime) else str(value)


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
