"""Writes results that came after the fit into a checkpoint's card: the header changes, the tensors do not.

The file's SHA-256 changes with its card, so do this before registering the file. No torch here.
"""

import json
import shutil
from pathlib import Path

import numpy as np

from trainer.detector.card import KEY, Card
from trainer.detector.card_fields import Text, field_faults
from trainer.detector.card_results import DegradationFinding, Findings, LeftOutFinding, RobustnessFinding
from trainer.errors import TrainerError
from trainer.files import atomic_write, read_bounded
from trainer.judging.metrics import thinned
from trainer.judging.results import Evaluation, Robustness

_MOST_BYTES = 1_000_000


def collect_findings(judged: Evaluation, swept: Robustness | None, experiments: tuple[str, ...] = ()) -> Findings:
    """What a card carries of an evaluation, a robustness sweep, and lines of text on what else was tried."""
    scores, engines = judged.scores.get("eval", {}), [row.engine for row in judged.engines]
    left_out = LeftOutFinding.model_validate(judged.left_out.model_dump()) if judged.left_out else None
    return Findings(
        judged_sha256=judged.checkpoint_sha256,
        robustness=_sweep(swept) if swept else None,
        left_out=left_out,
        fake_scores={name: thinned(np.array(scores[name])) for name in engines if name in scores},
        experiments=experiments,
    )


def read_experiments(path: Path) -> tuple[str, ...]:
    """The non-empty lines of a text file; raises `TrainerError` for a line that a card would refuse."""
    try:
        text = read_bounded(path, _MOST_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise TrainerError(f"experiments {path} cannot be read: {error}") from error
    rows = tuple(line.strip() for line in text.splitlines() if line.strip())
    for row in rows:
        for fault in field_faults(Text, f"experiments {path}: the line", row):
            raise TrainerError(fault)
    return rows


def annotate(source: Path, found: Findings, target: Path) -> Card:
    """Write ``source`` with these findings in its card to ``target``, atomically; both may be the same file.

    Raises `CheckpointError` when ``source`` is not a checkpoint. The layout is that of safetensors: eight bytes of
    length, a JSON header, and tensors at offsets from its end (github.com/huggingface/safetensors, "Format").
    """
    card = Card.read(source).model_copy(update={"findings": found})
    with atomic_write(target) as part, source.open("rb") as old, part.open("wb") as new:
        header = json.loads(old.read(int.from_bytes(old.read(8), "little")))
        header["__metadata__"][KEY] = card.json_text()
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # safetensors aligns the tensors to eight bytes
        new.write(len(text).to_bytes(8, "little") + text)
        shutil.copyfileobj(old, new)
    return card


def _sweep(swept: Robustness) -> RobustnessFinding:
    rows = swept.rows_of(None)
    return RobustnessFinding(
        target_fpr=swept.target_fpr,
        threshold=swept.threshold,
        reals=swept.reals,
        fakes=rows[0].n if rows else 0,
        rows=tuple(DegradationFinding.model_validate(row.model_dump()) for row in rows),
    )
