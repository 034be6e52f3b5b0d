"""Measures a detector on photos that are scaled down, recompressed, mirrored or flipped: the paper's Figure 3.

    unmask robustness --checkpoint C --manifest M --out DIR
    torchrun --standalone --nproc-per-node 8 -m trainer robustness --checkpoint C --manifest M --out DIR

Every degradation is measured twice: at the threshold set on undegraded reals, as in operation, and at one refitted to
the reals degraded in the same way, which tells a lost signal from a shifted one.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from db.stats.empirical_fpr import few_reals
from db.stats.hash_fraction import hash_fraction
from trainer.data.manifest import Example, read_manifests
from trainer.data.shortcut_guard import ShortcutOptions
from trainer.detector import checkpoint
from trainer.detector.card import Card
from trainer.detector.model import Detector
from trainer.distributed import ranks
from trainer.distributed.process import StopSignal
from trainer.errors import ManifestError, TrainerError
from trainer.fitting.embed import Embedder, sources_of
from trainer.fitting.head import score_embeddings
from trainer.judging.conditions import is_non_face
from trainer.judging.evaluate import TARGET_FPR
from trainer.judging.metrics import Scores, lowest_threshold, rate_at
from trainer.judging.results import ALL_ENGINES, DegradationKind, Robustness, RobustnessRow
from trainer.pixels import views

#: The levels of the paper's Figure 3: the longer side in pixels, and IJG's JPEG quality.
RESOLUTIONS = (512, 256, 128, 64, 32)
QUALITIES = (100, 80, 60, 40, 20)
AS_IT_IS = ShortcutOptions()


def robustness_files(  # noqa: PLR0913 - one for each option of the command
    checkpoint_path: Path,
    manifests: Path | Sequence[Path],
    out: Path,
    fpr: float = TARGET_FPR,
    cache: Path = Path("var/embeddings"),
    device: str = "auto",
    limit: int | None = None,
    *,
    resolutions: Sequence[int] = RESOLUTIONS,
    qualities: Sequence[int] = QUALITIES,
    intake: ShortcutOptions = AS_IT_IS,
    skip_unreadable: bool = False,
) -> Robustness:
    """Sweep a checkpoint over the faces in split "eval" of a manifest, and write ``out/robustness.json``.

    ``limit`` is the most reals, and the most pictures of each engine, to take: always the same ones. Raises a
    `TrainerError` when there are no reals or no fakes, and `trainer.distributed.process.Stopped` after SIGTERM. Where
    the reals are too few for the target, the result has a warning, as an evaluation's does.
    """
    detector, card = checkpoint.load(checkpoint_path)
    _refuse(card)
    paths = [manifests] if isinstance(manifests, Path) else manifests
    manifest = read_manifests(paths, skip_unreadable=skip_unreadable)
    examples = subset(faces(manifest.split("eval")), limit)
    check_examples(examples)
    out.mkdir(parents=True, exist_ok=True)
    with (
        StopSignal() as stop,
        ranks.join_ranks(device, stop) as place,
        TemporaryDirectory(prefix=".robustness-", dir=out) as scratch,
    ):
        embedder = Embedder(detector, cache, place, stop)
        one = Path(scratch) / "one.npy"
        found = sweep(detector, examples, embedder, one, fpr, resolutions, qualities, intake=intake)
        found = found.model_copy(
            update={
                "checkpoint": card.name,
                "checkpoint_sha256": checkpoint.file_sha256(checkpoint_path),
                "manifest_sha256": manifest.sha256,
                "limit": limit,
                "skipped": len(manifest.skipped),
            }
        )
        if place.first:
            found.write(out / "robustness.json")
    return found


def _refuse(card: Card) -> None:
    """Raise `TrainerError` for two keys and for an int8 network: neither gives embeddings."""
    if card.fusion is not None:
        raise TrainerError(f"robustness measures one detector, but {card.name!r} has two keys: name one of them")
    if card.quantised is not None:
        raise TrainerError(f"robustness needs embeddings, but {card.name!r} is int8: name {card.quantised.of.name!r}")


def sweep(  # noqa: PLR0913 - what is judged, by what, and how
    detector: Detector,
    examples: Sequence[Example],
    embedder: Embedder,
    scratch: Path,
    target_fpr: float = TARGET_FPR,
    resolutions: Sequence[int] = RESOLUTIONS,
    qualities: Sequence[int] = QUALITIES,
    *,
    intake: ShortcutOptions = AS_IT_IS,
) -> Robustness:
    """Measure examples under each degradation; every rank embeds its share and computes the same result.

    ``scratch`` is a file for one degradation's embeddings, used by this rank alone. Raises a `TrainerError` when there
    are no fakes or no reals.
    """
    check_examples(examples)
    scores = {
        step: _scores(detector, examples, embedder, scratch, intake.view(_view(*step)))
        for step in degradations(resolutions, qualities)
    }
    reals = scores["native", 0][~_fake(examples)]
    threshold = lowest_threshold(reals, target_fpr)
    rows = [
        row
        for (kind, level), found in scores.items()
        for row in _rows(kind, level, examples, found, threshold, target_fpr)
    ]
    return Robustness(
        split=examples[0].split,
        target_fpr=target_fpr,
        threshold=threshold,
        reals=len(reals),
        warning=few_reals(len(reals), target_fpr),
        rows=tuple(rows),
    )


def degradations(resolutions: Sequence[int], qualities: Sequence[int]) -> Iterator[tuple[DegradationKind, int]]:
    """Every degradation of a sweep with its level, first "native", which is none."""
    yield "native", 0
    yield from (("resize", side) for side in resolutions)
    yield from (("jpeg", quality) for quality in qualities)
    yield "mirror", 0
    yield "flip", 0


def faces(examples: Sequence[Example]) -> list[Example]:
    """The examples without the fakes that show no face, which an evaluation counts apart; all reals stay."""
    return [example for example in examples if not (example.fake and is_non_face(example))]


def subset(examples: Sequence[Example], limit: int | None) -> list[Example]:
    """At most ``limit`` reals and ``limit`` pictures of each engine, in their order.

    The picture's own digest draws them, so that the order of the manifest does not matter.
    """
    if limit is None:
        return list(examples)
    strata: dict[str | None, list[Example]] = {}
    for example in examples:
        strata.setdefault(example.engine if example.fake else None, []).append(example)
    chosen = {id(one) for stratum in strata.values() for one in sorted(stratum, key=_draw)[:limit]}
    return [example for example in examples if id(example) in chosen]


def check_examples(examples: Sequence[Example]) -> None:
    """Raise `ManifestError` for examples that cannot be measured, before hours of work."""
    for fake, what in ((True, "AI-generated pictures"), (False, "real photos")):
        if not any(example.fake == fake for example in examples):
            raise ManifestError(f"a sweep needs {what} in split eval, but there are none")


def _draw(example: Example) -> float:
    return hash_fraction(f"robustness {example.sha256}".encode())


def _fake(examples: Sequence[Example]) -> np.ndarray:
    return np.array([example.fake for example in examples], dtype=bool)


def _view(kind: DegradationKind, level: int) -> str:
    return views.ORIGINAL if kind == "native" else f"{kind}:{level}"


def _scores(detector: Detector, examples: Sequence[Example], embedder: Embedder, scratch: Path, view: str) -> Scores:
    return score_embeddings(detector, embedder.embed(sources_of(examples, view), scratch, view or "native"))


def _rows(
    kind: DegradationKind, level: int, examples: Sequence[Example], scores: Scores, threshold: float, target_fpr: float
) -> Iterator[RobustnessRow]:
    fake = _fake(examples)
    engines = np.array([example.engine for example in examples])
    refitted = lowest_threshold(scores[~fake], target_fpr)
    for engine in (ALL_ENGINES, *sorted(set(engines[fake]))):
        of = scores[fake] if engine == ALL_ENGINES else scores[fake & (engines == engine)]
        yield RobustnessRow(
            kind=kind,
            level=level,
            engine=engine,
            tpr=rate_at(of, threshold),
            fpr=rate_at(scores[~fake], threshold),
            refitted_tpr=rate_at(of, refitted),
            n=len(of),
        )
