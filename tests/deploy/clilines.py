"""Commands of ours that documents and manifests name, and whether there are such words and options."""

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from worker.cli import root


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language in Markdown."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def in_markdown(path: Path) -> Iterator[list[str]]:
    """Every ``unmask ...`` in a document: lines of fenced blocks, and code in its sentences that is a whole command."""
    text = path.read_text()
    fenced = [
        line
        for block in re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    for line in [*fenced, *(span for span in spans if span.startswith(("unmask ", "UNMASK_")))]:
        yield from _in_words(_split(line))


def in_document(node: Any) -> Iterator[list[str]]:
    """Every list of words beginning with ``unmask`` in what YAML or JSON says."""
    if isinstance(node, dict):
        for value in node.values():
            yield from in_document(value)
    elif isinstance(node, list):
        words = [str(word) for word in node if not isinstance(word, dict | list)]
        yield from _in_words(words)
        for value in node:
            yield from in_document(value)


def wrong(words: Sequence[str]) -> str | None:
    """What is wrong with a command, if anything: a word, an option or a number of arguments that does not exist."""
    try:
        _walk(root, list(words[1:]), " ".join(words))
    except click.UsageError as error:
        return f"{shlex.join(words)}: {error.format_message()}"
    return None


def _walk(command: click.Command, words: list[str], title: str) -> None:
    """As click would, without running anything; arguments that examples leave out are no fault."""
    context = click.Context(command, info_name=title)
    _, rest, _ = command.make_parser(context).parse_args(words)
    if isinstance(command, click.Group):
        if not rest:
            return
        below = command.get_command(context, rest[0])
        if below is None:
            raise click.UsageError(f"no such word: {rest[0]}")
        _walk(below, rest[1:], title)


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # prose, with an apostrophe
        return []


def words_of(line: str) -> list[list[str]]:
    """The command in a line of a unit or of a Dockerfile, if it is ours."""
    return list(_in_words(_split(line)))


def _in_words(words: list[str]) -> Iterator[list[str]]:
    """The part from ``unmask`` on, up to what ends a command."""
    for start, word in enumerate(words):
        if word.split("/")[-1] == "unmask" and _begins(words[:start]):
            end = next(
                (n for n, part in enumerate(words[start:], start) if part in {"|", "&&", ";", ">", "&"}), len(words)
            )
            yield words[start:end]
            return


def _begins(before: list[str]) -> bool:
    """``unmask`` is a command here, and not a name: after settings, ``--``, or docker's or kubectl's words."""
    if not before or all("=" in word for word in before):
        return True
    return before[-1] in {"--", "worker", "admin", "keeper", "console"} or before[-1].endswith("CMD")
