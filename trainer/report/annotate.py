"""Puts what was found after the fit into a checkpoint's card: the header changes, the tensors stay as they are.

The file's SHA-256 changes with its card, so this comes before the file is registered. No torch here.
"""

import json
import shutil
from pathlib import Path

from trainer.detector.card import KEY, Card
from trainer.errors import TrainerError
from trainer.judging.evaluation import Evaluation
from trainer.detector.fields import Text, faults
from trainer.detector.findings import Degraded, Findings, Sweep, Unknown
from trainer.judging.sweeps import Robustness


def findings(judged: Evaluation, swept: Robustness | None, experiments: tuple[str, ...] = ()) -> Findings:
    """What the card is to carry of an evaluation, a sweep, and rows of text on what else was tried."""
    left_out = [Unknown.model_validate(row.model_dump()) for row in judged.leave_one_engine_out or ()]
    return Findings(
        judged_sha256=judged.checkpoint_sha256,
        robustness=_sweep(swept) if swept else None,
        leave_one_engine_out=tuple(left_out),
        experiments=experiments,
    )


def rows_of(path: Path) -> tuple[str, ...]:
    """The lines of a text, without empty ones; raises `TrainerError` for one that a card would refuse."""
    rows = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    for row in rows:
        for fault in faults(Text, f"experiments {path}: the row", row):
            raise TrainerError(fault)
    return rows


def annotate(source: Path, found: Findings, target: Path) -> Card:
    """Write ``source`` with these findings in its card to ``target``, atomically; both may be the same file.

    Raises `CheckpointError` when ``source`` is not a checkpoint. The layout is that of safetensors: eight bytes of
    length, a header of JSON, and tensors at places counted from its end (github.com/huggingface/safetensors, "Format").
    """
    card = Card.read(source).model_copy(update={"findings": found})
    part = target.with_name(f".{target.name}.part")
    with source.open("rb") as old, part.open("wb") as new:
        header = json.loads(old.read(int.from_bytes(old.read(8), "little")))
        header["__metadata__"][KEY] = card.json_text()
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight
        new.write(len(text).to_bytes(8, "little") + text)
        shutil.copyfileobj(old, new)
    part.replace(target)
    return card


def _sweep(swept: Robustness) -> Sweep:
    rows = swept.rows_of(None)
    return Sweep(
        target_fpr=swept.target_fpr,
        threshold=swept.threshold,
        reals=swept.reals,
        fakes=rows[0].n if rows else 0,
        rows=tuple(Degraded.model_validate(row.model_dump()) for row in rows),
    )
