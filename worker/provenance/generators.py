"""The table of generators and source types (`generators.toml`): what a field says of a picture's origin."""

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from db.file_signals import AI, AI_EDITED, CAMERA, UNSIGNED, FileSignal
from worker.provenance.fields import MetadataField

_FILE = Path(__file__).with_name("generators.toml")
#: What entries of the table say, as kinds of signals.
_SAYS = {"ai": AI, "ai_edited": AI_EDITED, "camera": CAMERA}


@dataclass(frozen=True, slots=True)
class GeneratorTrace:
    """An entry: a pattern which in one of its fields means this generator."""

    name: str
    kind: str
    pattern: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class OriginTable:
    """All entries by field, and the kind of each source type by its name in small letters."""

    traces: Mapping[str, list[GeneratorTrace]]
    source_types: Mapping[str, tuple[str, str]]

    def signals(self, fields: Iterable[MetadataField], trust: str = UNSIGNED) -> Iterator[FileSignal]:
        """A signal for each entry that a field matches."""
        for field in fields:
            for trace in self.traces.get(field.name, ()):
                if trace.pattern.search(field.text):
                    yield FileSignal.of(trace.kind, trace.name, field.name, trust)

    def source_type(self, text: str) -> tuple[str, str] | None:
        """(kind, name) of a source type by its URL or name; None for one that says nothing of AI or a camera."""
        return self.source_types.get(text.strip().rstrip("/").rpartition("/")[2].lower())


@lru_cache(maxsize=1)
def origin_table() -> OriginTable:
    """The table, read once."""
    with _FILE.open("rb") as file:
        table = tomllib.load(file)
    traces: dict[str, list[GeneratorTrace]] = defaultdict(list)
    for entry in table["generators"]:
        pattern = re.compile(entry["pattern"], re.IGNORECASE)
        for field in entry["fields"]:
            traces[field].append(GeneratorTrace(entry["name"], _SAYS[entry["says"]], pattern))
    types = {name.lower(): (_SAYS[says], name) for name, says in table["source_types"].items()}
    return OriginTable(traces, types)
