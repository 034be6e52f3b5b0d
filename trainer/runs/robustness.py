"""What is left of a detector when photos are scaled down, recompressed, mirrored or turned: the paper's Figure 3.

    unmask robustness --checkpoint C --manifest M --out DIR
    torchrun --standalone --nproc-per-node 8 -m trainer robustness --checkpoint C --manifest M --out DIR

Every degradation is judged twice: at the threshold that the reals as they are set, which is how it would be met in
operation, and at one refitted to the reals degraded alike, which tells a lost signal from a shifted one.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from trainer.detector import checkpoint
from trainer.distributed import ranks
from trainer.pixels import views
from trainer.judging.conditions import is_non_face
from trainer.fitting.embed import Embedder, Source
from trainer.errors import ManifestError, TrainerError
from trainer.judging.evaluate import TARGET_FPR
from trainer.fitting.head import score_embeddings
from trainer.data.intake import Intake
from trainer.data.manifest import Example, read
from trainer.judging.metrics import Scores, rate_at, threshold_at_fpr
from trainer.detector.model import Detector
from trainer.distributed.stop import Stop
from trainer.judging.sweeps import ALL, Kind, Robustness, Row

#: The levels of the paper's Figure 3: the longer side in pixels, and IJG's JPEG quality.
RESOLUTIONS = (512, 256, 128, 64, 32)
QUALITIES = (100, 80, 60, 40, 20)
AS_IT_IS = Intake()


def robustness_files(  # noqa: PLR0913 - one for each option of the command
    checkpoint_path: Path,
    manifest_path: Path,
    out: Path,
    fpr: float = TARGET_FPR,
    cache: Path = Path("var/embeddings"),
    device: str = "auto",
    limit: int | None = None,
    *,
    resolutions: Sequence[int] = RESOLUTIONS,
    qualities: Sequence[int] = QUALITIES,
    intake: Intake = AS_IT_IS,
) -> Robustness:
    """Sweep a checkpoint over the faces in split "eval" of a manifest, and write ``out/robustness.json``.

    ``limit`` is how many reals, and how many pictures of each engine, are taken at most: always the same ones.
    Raises a `TrainerError` when these are too few to show the target FPR.
    """
    stop = Stop()
    detector, card = checkpoint.load(checkpoint_path)
    manifest = read(manifest_path)
    examples = subset(faces(manifest.split("eval")), limit)
    check(examples, fpr, limit)
    out.mkdir(parents=True, exist_ok=True)
    with (
        ranks.joined(device, lambda: stop.asked) as place,
        TemporaryDirectory(prefix=".robustness-", dir=out) as scratch,
    ):
        embedder = Embedder(detector, cache, place, lambda: stop.asked)
        one = Path(scratch) / "one.npy"
        found = sweep(detector, examples, embedder, one, fpr, resolutions, qualities, intake=intake)
        found = found.model_copy(
            update={
                "checkpoint": card.name,
                "checkpoint_sha256": checkpoint.file_sha256(checkpoint_path),
                "manifest_sha256": manifest.sha256,
                "limit": limit,
            }
        )
        if place.first:
            found.write(out / "robustness.json")
    return found


def sweep(  # noqa: PLR0913 - what is judged, by what, and how
    detector: Detector,
    examples: Sequence[Example],
    embedder: Embedder,
    scratch: Path,
    target_fpr: float = TARGET_FPR,
    resolutions: Sequence[int] = RESOLUTIONS,
    qualities: Sequence[int] = QUALITIES,
    *,
    intake: Intake = AS_IT_IS,
) -> Robustness:
    """Judge examples under each degradation; every rank embeds its share, and comes to the same result.

    ``scratch`` is a file of this rank's own for one degradation's embeddings. Raises a `TrainerError` when there are no
    fakes, or too few reals for the target.
    """
    check(examples, target_fpr)
    scores = {
        step: _scores(detector, examples, embedder, scratch, intake.view(_view(*step)))
        for step in steps(resolutions, qualities)
    }
    reals = scores["native", 0][~_fake(examples)]
    threshold = threshold_at_fpr(reals, target_fpr)
    rows = [
        row
        for (kind, level), found in scores.items()
        for row in _rows(kind, level, examples, found, threshold, target_fpr)
    ]
    return Robustness(
        split=examples[0].split, target_fpr=target_fpr, threshold=threshold, reals=len(reals), rows=tuple(rows)
    )


def steps(resolutions: Sequence[int], qualities: Sequence[int]) -> Iterator[tuple[Kind, int]]:
    """Every degradation of a sweep and its level, the undegraded first."""
    yield "native", 0
    yield from (("resize", side) for side in resolutions)
    yield from (("jpeg", quality) for quality in qualities)
    yield "mirror", 0
    yield "flip", 0


def faces(examples: Sequence[Example]) -> list[Example]:
    """Without what engines made that is no face: an evaluation counts that apart. Reals are kept, as they are there."""
    return [example for example in examples if not (example.fake and is_non_face(example))]


def subset(examples: Sequence[Example], limit: int | None) -> list[Example]:
    """At most ``limit`` reals and ``limit`` of each engine, in their order: a digest of the picture's own draws them.

    A picture is in or out whatever else is in the manifest, or in which order.
    """
    if limit is None:
        return list(examples)
    strata: dict[str | None, list[Example]] = {}
    for example in examples:
        strata.setdefault(example.engine if example.fake else None, []).append(example)
    chosen = {id(one) for stratum in strata.values() for one in sorted(stratum, key=_draw)[:limit]}
    return [example for example in examples if id(example) in chosen]


def check(examples: Sequence[Example], target_fpr: float, limit: int | None = None) -> None:
    """Refuse what cannot be judged, before hours go by."""
    fakes = int(_fake(examples).sum())
    reals, needed = len(examples) - fakes, math.ceil(1 / target_fpr - 1e-9)
    if not fakes:
        raise ManifestError("a sweep needs AI-generated pictures in split eval: there are none")
    if reals < needed:
        cut = "" if limit is None else f" under a limit of {limit} for each engine"
        raise TrainerError(f"an FPR of {target_fpr:g} needs at least {needed} real photos, there are {reals}{cut}")


def _draw(example: Example) -> str:
    return hashlib.sha256(f"robustness {example.sha256}".encode()).hexdigest()


def _fake(examples: Sequence[Example]) -> np.ndarray:
    return np.array([example.fake for example in examples], dtype=bool)


def _view(kind: Kind, level: int) -> str:
    return views.ORIGINAL if kind == "native" else f"{kind}:{level}"


def _scores(detector: Detector, examples: Sequence[Example], embedder: Embedder, scratch: Path, view: str) -> Scores:
    sources = [Source(example.path, example.sha256, view) for example in examples]
    return score_embeddings(detector, embedder.embed(sources, scratch, view or "native"))


def _rows(
    kind: Kind, level: int, examples: Sequence[Example], scores: Scores, threshold: float, target_fpr: float
) -> Iterator[Row]:
    fake = _fake(examples)
    engines = np.array([example.engine for example in examples])
    refitted = threshold_at_fpr(scores[~fake], target_fpr)
    for engine in (ALL, *sorted(set(engines[fake]))):
        of = scores[fake] if engine == ALL else scores[fake & (engines == engine)]
        yield Row(
            kind=kind,
            level=level,
            engine=engine,
            tpr=rate_at(of, threshold),
            fpr=rate_at(scores[~fake], threshold),
            refitted_tpr=rate_at(of, refitted),
            n=len(of),
        )
