"""The support of a checkpoint: what its head was fitted on, from which it can be refitted without the photos.

It is a file beside the checkpoint, ``NAME.support`` for ``NAME.safetensors``: 8-bit levels of standardised features,
and of each row its label, engine, family, source, group and view. It holds no picture, but it is made of pictures of
people: keep it only as long as you may keep what was computed from them.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from trainer.data.manifest import Example
from trainer.errors import CheckpointError
from trainer.files import atomic_write
from trainer.fitting.embedded import EmbeddedExamples

#: A level is this share of a feature's standard deviation; the levels end at eight deviations.
_LEVEL = 8 / 127
_KEY = "unmask-support"
#: The column of a row's view; empty for a picture as it is.
VIEW = "view"


@dataclass(frozen=True, slots=True)
class Support:
    """The rows of a fit, of the weights with this digest."""

    rows: EmbeddedExamples
    backbone_sha256: str

    def write(self, checkpoint: Path) -> None:
        """Write the file beside a checkpoint, atomically."""
        embeddings = np.asarray(self.rows.embeddings, dtype=np.float32)
        mean, std = embeddings.mean(axis=0), embeddings.std(axis=0) + 1e-6
        levels = np.rint((embeddings - mean) / (std * _LEVEL)).clip(-127, 127).astype(np.int8)
        tensors = {"levels": levels, "mean": mean.astype(np.float32), "std": std.astype(np.float32)}
        told = {"backbone": self.backbone_sha256, "rows": [_told(example) for example in self.rows.examples]}
        with atomic_write(support_path(checkpoint)) as part:
            save_file(
                {name: torch.from_numpy(value) for name, value in tensors.items()}, part, {_KEY: json.dumps(told)}
            )
            part.chmod(0o644)


def read_support(checkpoint: Path, backbone_sha256: str) -> Support:
    """The support of a checkpoint; raises `CheckpointError`, saying what to do, when there is none that fits."""
    path = support_path(checkpoint)
    if not path.is_file():
        raise CheckpointError(
            f"checkpoint {checkpoint} has no {path.name} beside it, which holds what its head was fitted on: copy it "
            "from where the checkpoint was fitted, or fit again, which writes it"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            told = json.loads((file.metadata() or {})[_KEY])
            levels, mean, std = (file.get_tensor(name) for name in ("levels", "mean", "std"))
        examples = [_example(row) for row in told["rows"]]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is not a readable support file: {error}") from error
    if told["backbone"] != backbone_sha256 or len(examples) != len(levels):
        raise CheckpointError(f"{path} does not belong to {checkpoint}: its embeddings come from another backbone")
    embeddings = (levels.astype(np.float32) * (std * _LEVEL) + mean).astype(np.float32)
    return Support(EmbeddedExamples(examples, embeddings), backbone_sha256)


def support_path(checkpoint: Path) -> Path:
    """Where a checkpoint's support lies."""
    return checkpoint.with_suffix(".support")


def _told(example: Example) -> list[str]:
    told = [example.engine, example.family, example.source, example.group, example.columns.get(VIEW, "")]
    return ["fake" if example.fake else "real", *told]


def _example(row: list[str]) -> Example:
    label, engine, family, source, group, view = row
    columns = {"family": family, "source": source, VIEW: view}
    return Example(Path(), label == "fake", engine, "train", group, columns=columns)
