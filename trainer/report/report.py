"""One page that says how well a detector does, for people who decide whether and how to use it.

    unmask report --checkpoint C --evaluation metrics.json --robustness robustness.json --out DIR

The page is one file: pictures and styles are in it, it loads nothing and runs nothing. Names in it come from manifests,
which nobody vouches for: the template escapes them all. No torch here.
"""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from trainer.report import plots
from trainer.report.annotate import annotate, findings, rows_of
from trainer.detector.card import Card
from trainer.errors import TrainerError
from trainer.judging.evaluation import REALS, Condition, Evaluation
from trainer.report.plots import Bar, Line, Spread
from trainer.judging.sweeps import ALL, Kind, Robustness

#: Shares of AI-generated uploads for which the page says what a flag means.
PREVALENCES = (0.001, 0.01, 0.05)
#: Rates below this are shown with two digits after the point.
_SMALL = 0.01

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of the page: its file's name, what it says to those who cannot see it, and its PNG."""

    name: str
    alt: str
    data: bytes

    @property
    def source(self) -> str:
        """The picture itself, as what the page shows."""
        return f"data:image/png;base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a flag means where ``prevalence`` of uploads are AI-generated: the share of flags that are right."""

    condition: str
    prevalence: float
    precision: float
    low: float
    high: float


def report_files(
    checkpoint: Path,
    evaluation: Path,
    robustness: Path | None,
    out: Path,
    experiments: Path | None = None,
    annotated: Path | None = None,
) -> Path:
    """Write the page, ``out/index.html``, and its pictures beside it; returns the page's path.

    ``evaluation`` is a ``metrics.json``, ``robustness`` a ``robustness.json``. ``annotated`` is where the checkpoint is
    to be written with both in its card, and with the lines of ``experiments``. Raises a `TrainerError` when one of them
    cannot be read, is of another checkpoint, or holds no AI-generated faces.
    """
    card, judged = Card.read(checkpoint), Evaluation.read(evaluation)
    swept = Robustness.read(robustness) if robustness else None
    _check(checkpoint, card, judged, swept)
    if annotated:
        found = findings(judged, swept, rows_of(experiments) if experiments else ())
        card = annotate(checkpoint, found, annotated)
    pictures = {picture.name: picture for picture in [*_judged(judged), *(_swept(swept) if swept else ())]}
    out.mkdir(parents=True, exist_ok=True)
    for picture in pictures.values():
        (out / f"{picture.name}.png").write_bytes(picture.data)
    return _write(out / "index.html", page(card, judged, swept, pictures))


def page(card: Card, judged: Evaluation, swept: Robustness | None, pictures: dict[str, Picture]) -> str:
    """The page as HTML; ``pictures`` by name, those that are missing are left out."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, odds=odds)
    return environment.get_template("report.html").render(
        card=card,
        judged=judged,
        swept=swept,
        pictures=pictures,
        engines=sorted(judged.engines, key=lambda row: row.tpr),
        conditions={condition.name: condition for condition in judged.conditions},
        meanings=meanings(judged),
        unknown=min(judged.leave_one_engine_out or (), key=lambda row: row.tpr, default=None),
        all_engines=ALL,
    )


def percent(share: float) -> str:
    """A share in percent: ``0.50 %`` below one percent, ``84.5 %`` above."""
    return f"{100 * share:.2f} %" if 0 < share < _SMALL else f"{100 * share:.1f} %"


def odds(share: float) -> str:
    """A share as ``1 in 200``, or ``none``."""
    return f"1 in {1 / share:,.0f}" if share > 0 else "none"


def precision(tpr: float, fpr: float, prevalence: float) -> float:
    """The share of flags that are right: π·TPR / (π·TPR + (1 - π)·FPR), by Bayes' theorem.

    The "positive predictive value" of D. G. Altman and J. M. Bland, "Diagnostic tests 2: predictive values", BMJ 309
    (1994), p. 102. With no flags at all there is nothing to be right about: 0.
    """
    right, wrong = prevalence * tpr, (1 - prevalence) * fpr
    return right / (right + wrong) if right + wrong > 0 else 0.0


def meanings(judged: Evaluation) -> list[Meaning]:
    """What a flag means for engines that were trained on and for others, at each prevalence.

    Its interval takes both rates at the bad end of theirs, and both at the good end: wider than 95 %, to be safe.
    """
    chosen = [condition for condition in judged.conditions if condition.name in ("in-engine", "out-of-engine")]
    return [_meaning(judged, condition, prevalence) for condition in chosen for prevalence in PREVALENCES]


def _meaning(judged: Evaluation, condition: Condition, prevalence: float) -> Meaning:
    return Meaning(
        condition.name,
        prevalence,
        precision(condition.tpr, judged.fpr, prevalence),
        precision(condition.tpr_low, judged.fpr_high, prevalence),
        precision(condition.tpr_high, judged.fpr_low, prevalence),
    )


def _check(checkpoint: Path, card: Card, judged: Evaluation, swept: Robustness | None) -> None:
    with checkpoint.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    known = {sha256, card.findings.judged_sha256 if card.findings else sha256}
    for what, found in (("evaluation", judged.checkpoint_sha256), ("sweep", swept and swept.checkpoint_sha256)):
        if found and found not in known:
            raise TrainerError(f"the {what} is of a checkpoint with SHA-256 {found}; {checkpoint} has {sha256}")
    if not judged.engines or not judged.scores.get("eval", {}).get(REALS):
        raise TrainerError("the evaluation holds no AI-generated faces, or no real photos: there is nothing to report")


def _judged(judged: Evaluation) -> list[Picture]:
    scores = judged.scores["eval"]
    reals = Spread("real photos", np.array(scores[REALS]), judged.fpr)
    engines = [Spread(row.engine, np.array(scores[row.engine]), row.tpr) for row in judged.engines]
    bars = [Bar(row.engine, row.tpr, row.tpr_low, row.tpr_high, row.fakes, row.in_training) for row in judged.engines]
    return [
        _picture("engines", plots.bars(bars, plots.wrong_flags(judged.fpr, judged.reals, judged.target_fpr))),
        _picture("roc", plots.roc(reals, engines, judged.target_fpr)),
        _picture("histograms", plots.histograms(reals, engines, judged.threshold)),
    ]


def _swept(swept: Robustness) -> list[Picture]:
    kinds: tuple[Kind, ...] = ("resize", "jpeg")
    return [_picture(kind, _sweep(swept, kind)) for kind in kinds if swept.rows_of(kind)]


def _sweep(swept: Robustness, kind: Kind) -> Figure:
    wrong = [row.fpr for row in (*swept.rows_of("native"), *swept.rows_of(kind))]
    lines = [_line(swept, kind, engine) for engine in (ALL, *swept.engines)]
    return plots.sweep(kind, lines, wrong, swept.target_fpr)


def _line(swept: Robustness, kind: Kind, engine: str) -> Line:
    rows = [*swept.rows_of("native", engine), *swept.rows_of(kind, engine)]
    return Line(
        "all engines" if engine == ALL else engine,
        tuple(row.level for row in rows),
        tuple(row.tpr for row in rows),
        tuple(row.refitted_tpr for row in rows),
        bold=engine == ALL,
    )


def _picture(name: str, figure: Figure) -> Picture:
    return Picture(name, " ".join(figure.get_suptitle().split()), plots.png(figure))


def _write(path: Path, text: str) -> Path:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    return path
