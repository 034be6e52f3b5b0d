"""Options in a TOML file, with the same words as on the command line: ``--config FILE.toml``.

The command line goes before the file, and the file before the defaults. A fit writes the options that it was given to
``config.toml`` beside its checkpoint: ``--config`` repeats it.
"""

import json
import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from trainer.errors import TrainerError
from trainer.files import read_bounded

#: Options that say how a command is called, and not what it does.
_NOT_IN_FILES = ("config", "help", "quiet")
_MOST_BYTES = 1_000_000


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a click command the option ``--config``."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_take,
        help="TOML file with any of these options, for example: steps = 2000. The command line takes precedence.",
    )(command)


def _take(context: click.Context, _option: click.Parameter, path: Path | None) -> None:
    if path is not None:
        context.default_map = read_config(path, context.command)


def read_config(path: Path, command: click.Command) -> dict[str, Any]:
    """The values in a file by the names of the command's parameters.

    Raises `TrainerError` for a file that is no TOML, and for words that the command does not know.
    """
    try:
        found = tomllib.loads(read_bounded(path, _MOST_BYTES).decode())
    except OSError as error:
        raise TrainerError(f"config file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainerError(f"config file {path} is not TOML: {error}") from error
    known = option_names(command)
    unknown = [_unknown(word, known) for word in found if word.replace("_", "-") not in known]
    if unknown:
        raise TrainerError(f"config file {path} has {'; '.join(unknown)}")
    for word, value in found.items():
        if isinstance(value, dict) or (isinstance(value, list) and not known[word.replace("_", "-")].multiple):
            raise TrainerError(f"config file {path}: {word} takes one value, not {value!r}")
    return {str(known[word.replace("_", "-")].name): _text(value) for word, value in found.items()}


def _text(value: Any) -> Any:
    """A value as the command line would give it: click would make 1 of 1.5 where it wants a whole number."""
    if isinstance(value, list):
        return [_text(each) for each in value]
    return value if isinstance(value, bool) else str(value)


def option_names(command: click.Command) -> dict[str, click.Option]:
    """A command's options by their words, without the dashes at the front."""
    options = [each for each in command.params if isinstance(each, click.Option) and each.name not in _NOT_IN_FILES]
    return {max(each.opts, key=len).lstrip("-"): each for each in options}


def write_config(command: click.Command, values: Mapping[str, Any]) -> str:
    """The text of a file that gives a command these values, by the names of its parameters; None is left out."""
    rows = [(word, values.get(str(each.name))) for word, each in option_names(command).items()]
    return "".join(f"{word} = {_toml(value)}\n" for word, value in rows if value is not None and value != ())


def _toml(value: object) -> str:
    if isinstance(value, bool | int | float):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML's strings are JSON's otherwise


def _unknown(word: str, known: Mapping[str, object]) -> str:
    near = get_close_matches(word.replace("_", "-"), known, n=1)
    return f"an unknown word {word!r}: " + (f"did you mean {near[0]!r}?" if near else f"it knows {', '.join(known)}")
