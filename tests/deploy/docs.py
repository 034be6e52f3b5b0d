"""``make docs``: the references of settings, commands and events in ``deploy/``, read off the software itself."""

import ast
import importlib
import inspect
import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from db.settings import PREFIX, Environment
from worker.background import events as catalogue
from worker.cli import root

PROJECT = Path(__file__).parents[2]
CONFIGURATION = PROJECT / "deploy" / "CONFIGURATION.md"
COMMANDS = PROJECT / "deploy" / "COMMANDS.md"
EVENTS = PROJECT / "deploy" / "EVENTS.md"

_WIDTH = 100
_CONFIGURATION_HEAD = """# Settings

Made by `make docs` of the classes that read them; a test keeps it in step. All come from the environment. Each
`UNMASK_X` may be given as `UNMASK_X_FILE` instead, which names a file that holds the value: made for secrets. What is
empty counts as not given. Wrong values are all named at once, and the command ends with exit status 2.

`UNMASK_ACTOR` says who is doing what people do by commands; else it is the system's user name. Once people are added
(`unmask reviewer add`), it must be one of them, in the role that the console would ask for.
"""
_COMMANDS_HEAD = """# Commands

Made by `make docs` of the commands themselves; a test keeps it in step. Exit status: 0 all well, 1 some items failed,
2 wrong use or configuration. Listings take `--json`: one JSON document on stdout; messages go to stderr.
"""
#: What people write of events is above it.
_EVENTS_MARK = "<!-- From here on `make docs` writes this page, of worker/background/events.py. -->\n"


@dataclass(frozen=True, slots=True)
class Setting:
    """One or more fields that one comment speaks of."""

    names: tuple[str, ...]
    comment: str


def configuration() -> str:
    """The text of CONFIGURATION.md."""
    return "\n".join([_CONFIGURATION_HEAD, *(line for kind in settings_classes() for line in _class_lines(kind))])


def commands() -> str:
    """The text of COMMANDS.md."""
    parts = [_COMMANDS_HEAD]
    for path, command in every_command(root, ("unmask",)):
        title = " ".join(path)
        context = click.Context(command, info_name=title, terminal_width=_WIDTH, max_content_width=_WIDTH)
        context.help_option_names = ["-h", "--help"]
        parts.append(f"{'#' * min(len(path) + 1, 4)} {title}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def events() -> str:
    """The text of EVENTS.md: what people wrote, then the kinds of events and their schemas."""
    written, _, _ = EVENTS.read_text().partition(_EVENTS_MARK)
    kinds = "\n".join(f"| `{kind}` | {when} |" for kind, when in catalogue.WHEN.items())
    parts = [f"## The kinds\n\n| kind | when it is sent |\n|---|---|\n{kinds}\n"]
    for event in catalogue.EVENTS:
        schema = json.dumps(event.model_json_schema(mode="serialization"), indent=2)
        parts.append(f"## Schema: {event.__name__}\n\n```json\n{schema}\n```\n")
    return written + _EVENTS_MARK + "\n" + "\n".join(parts)


def every_command(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """The command and all below it, in the order of their help."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                yield from every_command(below, (*path, name))


def settings_classes() -> list[type[Environment]]:
    """Every class that reads settings of its own, by where it is."""
    for source in sorted([*PROJECT.glob("db/**/*.py"), *PROJECT.glob("worker/**/*.py")]):
        if re.search(r"^class \w+\(.*(Environment|Settings)\b.*\):", source.read_text(), re.MULTILINE):
            importlib.import_module(".".join(source.relative_to(PROJECT).with_suffix("").parts))
    found = set(_below(Environment))
    return sorted((kind for kind in found if _settings(kind)), key=lambda kind: (kind.__module__, _line(kind)))


def _below(kind: type[Environment]) -> Iterator[type[Environment]]:
    for subclass in kind.__subclasses__():
        if subclass.__module__.split(".")[0] in {"db", "worker"}:
            yield subclass
            yield from _below(subclass)


def _line(kind: type) -> int:
    return inspect.getsourcelines(kind)[1]


def _class_lines(kind: type[Environment]) -> Iterator[str]:
    yield f"## {kind.__name__}\n"
    yield f"{inspect.cleandoc(kind.__doc__ or '')}\n"
    yield "| setting | default | meaning |\n|---|---|---|"
    for setting in _settings(kind):
        names = ", ".join(f"`{PREFIX}{name.upper()}`" for name in setting.names)
        defaults = ", ".join(_default(kind, name) for name in setting.names)
        yield f"| {names} | {defaults} | {setting.comment} |"
    yield ""


def _settings(kind: type[Environment]) -> list[Setting]:
    """A class's own fields, with the ``#:`` comment above; fields without one go with the field before."""
    lines = inspect.getsource(kind).splitlines()
    (tree,) = ast.parse("\n".join(lines)).body
    assert isinstance(tree, ast.ClassDef)
    found: list[Setting] = []
    for node in tree.body:
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and node.target.id in kind.model_fields
        ):
            comment = _comment(lines, node.lineno - 1)
            if comment or not found:
                found.append(Setting((node.target.id,), comment))
            else:
                found[-1] = Setting((*found[-1].names, node.target.id), found[-1].comment)
    return found


def _comment(lines: list[str], line: int) -> str:
    said: list[str] = []
    while line > 0 and lines[line - 1].strip().startswith("#:"):
        line -= 1
        said.insert(0, lines[line].strip().removeprefix("#:").strip())
    return " ".join(said)


def _default(kind: type[Environment], name: str) -> str:
    field = kind.model_fields[name]
    if field.is_required():
        return "must be set"
    value: Any = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value in ((), ""):
        return "none"
    if isinstance(value, tuple):
        return f"`{','.join(map(str, value))}`"
    if isinstance(value, bool):
        return "yes" if value else "no"
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    # What differs from machine to machine.
    shown = shown.replace(tempfile.gettempdir(), "/tmp").replace(f"-{os.getuid()}", "-UID")  # noqa: S108 - shown, not used
    return f"`{shown}`"


if __name__ == "__main__":
    CONFIGURATION.write_text(configuration())
    COMMANDS.write_text(commands())
    EVENTS.write_text(events())
