"""Limits of what a command line may hold, for every option and argument of every command.

Without them a number of 30 digits, a NaN or a path of 10,000 characters would fail somewhere in a database, in PyTorch
or in the file system, in words that name neither the value nor the limit.
"""

import math
import os
from functools import cache
from pathlib import Path
from typing import Any

import click

#: The largest number of rows, steps or seconds, where an option has no limit of its own.
MAX_COUNT = 10**9
#: The largest id that a row can have.
MAX_ROW = 2**63 - 1
#: Longest path, which is Linux's own limit, and longest text, which is that of a field of the console.
MAX_PATH, MAX_TEXT = 4096, 20_000
#: Characters of a refused value that are shown.
_SHOWN = 60


@cache
def limited(command: click.Command) -> click.Command:
    """The command, whose values are checked from now on; and its own commands, if it is a group."""
    for parameter in command.params:
        _check_values(parameter)
    for each in command.commands.values() if isinstance(command, click.Group) else ():
        limited(each)
    return command


def _check_values(parameter: click.Parameter) -> None:
    then = parameter.callback

    def check(context: click.Context, given: click.Parameter, value: Any) -> Any:
        for each in value if isinstance(value, tuple | list) else (value,):
            if why := _fault(given.type, each):
                raise click.BadParameter(why, context, given)
        return value if then is None else then(context, given, value)

    parameter.callback = check


def _fault(kind: click.ParamType[Any], value: object) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is not a finite number"
    if isinstance(value, int) and not isinstance(value, bool):
        limit = MAX_COUNT if isinstance(kind, click.IntRange) else MAX_ROW
        return f"{str(value)[:_SHOWN]} is beyond the limit of {limit}" if abs(value) > limit else None
    return _fault_of_text(os.fspath(value) if isinstance(value, Path) else value, isinstance(kind, click.Path))


def _fault_of_text(text: object, is_path: bool) -> str | None:
    limit = MAX_PATH if is_path else MAX_TEXT
    if isinstance(text, str) and len(text) > limit:
        return f"{_short(text)} has {len(text)} characters; the limit is {limit}"
    return f"{_short(text)} has a NUL character" if isinstance(text, str) and "\0" in text else None


def _short(text: str) -> str:
    return ascii(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!a}..."
