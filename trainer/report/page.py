"""The report: one page on how well a detector does, for people who decide whether and how to use it.

    unmask report --checkpoint C --evaluation metrics.json --robustness robustness.json --out DIR

The page is one file with its pictures and styles: it loads nothing and runs no scripts. Names in it come from
manifests, which are not trusted: the template escapes them all. No torch here.
"""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from db.stats.empirical_fpr import PREVALENCE, positive_predictive_value
from trainer.detector.card import Card
from trainer.errors import TrainerError
from trainer.files import atomic_write
from trainer.judging.results import ALL_ENGINES, REALS, ConditionRow, DegradationKind, Evaluation, Robustness
from trainer.report import plots
from trainer.report.annotate import annotate, collect_findings, read_experiments
from trainer.report.learning_log import read_log
from trainer.report.plots import EngineBar, RobustnessLine, ScoreSample

#: The shares of AI-generated uploads for which the page gives the precision of flags: as measured, and higher ones.
PREVALENCES = (PREVALENCE, 0.001, 0.01)
#: Rates below this are shown with two decimals.
_SMALL = 0.01

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class ReportFigure:
    """A picture of the page: its file's name, its alternative text, and its PNG bytes."""

    name: str
    alt: str
    data: bytes

    @property
    def source(self) -> str:
        """The picture as a data URL."""
        return f"data:image/png;base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True, slots=True)
class FlagPrecision:
    """The precision of flags, with its interval, where ``prevalence`` of uploads are AI-generated."""

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

    ``evaluation`` is a ``metrics.json``, ``robustness`` a ``robustness.json``. ``annotated`` is where to write the
    checkpoint with both in its card, and with the lines of ``experiments``. Raises a `TrainerError` when a file cannot
    be read, is of another checkpoint, or holds no AI-generated faces or no reals.
    """
    card, judged = Card.read(checkpoint), Evaluation.read(evaluation)
    swept = Robustness.read(robustness) if robustness else None
    _check(checkpoint, card, judged, swept)
    if annotated:
        found = collect_findings(judged, swept, read_experiments(experiments) if experiments else ())
        card = annotate(checkpoint, found, annotated)
    learning = read_log(checkpoint, card.training.steps)
    drawn = [*_judged(judged), *(_swept(swept) if swept else ())]
    drawn += [_picture("learning", plots.learning_plot(learning))] if learning else []
    pictures = {picture.name: picture for picture in drawn}
    out.mkdir(parents=True, exist_ok=True)
    for picture in pictures.values():
        (out / f"{picture.name}.png").write_bytes(picture.data)
    index = out / "index.html"
    with atomic_write(index) as part:
        part.write_text(page(card, judged, swept, pictures), encoding="utf-8")
    return index


def page(card: Card, judged: Evaluation, swept: Robustness | None, pictures: dict[str, ReportFigure]) -> str:
    """The page as HTML, with those of the ``pictures`` that are there, by name."""
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
        meanings=flag_precisions(judged),
        unknown=min(judged.left_out.fakes if judged.left_out else (), key=lambda row: row.tpr, default=None),
        all_engines=ALL_ENGINES,
    )


def percent(share: float) -> str:
    """A share in percent: two decimals below one percent (``0.50 %``), one above (``84.5 %``)."""
    return f"{100 * share:.2f} %" if 0 < share < _SMALL else f"{100 * share:.1f} %"


def odds(share: float) -> str:
    """A share as ``1 in 200``; ``none`` for 0."""
    return f"1 in {1 / share:,.0f}" if share > 0 else "none"


def flag_precisions(judged: Evaluation) -> list[FlagPrecision]:
    """The precision of flags for engines that were trained on and for others, at each prevalence.

    Its interval takes both rates at the bad ends of their intervals, and both at the good ends: wider than 95 %.
    """
    chosen = [condition for condition in judged.conditions if condition.name in ("in-engine", "out-of-engine")]
    return [_meaning(judged, condition, prevalence) for condition in chosen for prevalence in PREVALENCES]


def _meaning(judged: Evaluation, condition: ConditionRow, prevalence: float) -> FlagPrecision:
    return FlagPrecision(
        condition.name,
        prevalence,
        positive_predictive_value(condition.tpr, judged.fpr, prevalence),
        positive_predictive_value(condition.tpr_low, judged.fpr_high, prevalence),
        positive_predictive_value(condition.tpr_high, judged.fpr_low, prevalence),
    )


def _check(checkpoint: Path, card: Card, judged: Evaluation, swept: Robustness | None) -> None:
    with checkpoint.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    known = {sha256, card.findings.judged_sha256 if card.findings else sha256}
    for what, found in (("evaluation", judged.checkpoint_sha256), ("sweep", swept and swept.checkpoint_sha256)):
        if found and found not in known:
            raise TrainerError(f"the {what} is of a checkpoint with SHA-256 {found}, but {checkpoint} has {sha256}")
    if not judged.engines or not judged.scores.get("eval", {}).get(REALS):
        raise TrainerError("the evaluation holds no AI-generated faces, or no real photos: there is nothing to report")


def _judged(judged: Evaluation) -> list[ReportFigure]:
    scores = judged.scores["eval"]
    reals = ScoreSample("real photos", np.array(scores[REALS]), judged.fpr)
    engines = [ScoreSample(row.engine, np.array(scores[row.engine]), row.tpr) for row in judged.engines]
    bars = [
        EngineBar(row.engine, row.tpr, row.tpr_low, row.tpr_high, row.fakes, row.in_training) for row in judged.engines
    ]
    return [
        _picture("engines", plots.engine_plot(bars, plots.fpr_in_words(judged.fpr, judged.reals, judged.target_fpr))),
        _picture("roc", plots.roc_plot(reals, engines, judged.target_fpr)),
        _picture("histograms", plots.histogram_plot(reals, engines, judged.threshold)),
    ]


def _swept(swept: Robustness) -> list[ReportFigure]:
    kinds: tuple[DegradationKind, ...] = ("resize", "jpeg")
    return [_picture(kind, _sweep(swept, kind)) for kind in kinds if swept.rows_of(kind)]


def _sweep(swept: Robustness, kind: DegradationKind) -> Figure:
    rows = [*swept.rows_of("native"), *swept.rows_of(kind)]
    wrong = [row.fpr_interval(swept.reals) for row in rows]
    lines = [_line(swept, kind, engine) for engine in (ALL_ENGINES, *swept.engines)]
    return plots.robustness_plot(
        kind, lines, [row.fpr for row in rows], swept.target_fpr, [(each.low, each.high) for each in wrong]
    )


def _line(swept: Robustness, kind: DegradationKind, engine: str) -> RobustnessLine:
    rows = [*swept.rows_of("native", engine), *swept.rows_of(kind, engine)]
    return RobustnessLine(
        "all engines" if engine == ALL_ENGINES else engine,
        tuple(row.level for row in rows),
        tuple(row.tpr for row in rows),
        tuple(row.refitted_tpr for row in rows),
        bold=engine == ALL_ENGINES,
        kept_intervals=tuple((row.tpr_interval.low, row.tpr_interval.high) for row in rows),
        refitted_intervals=tuple((row.refitted_interval.low, row.refitted_interval.high) for row in rows),
    )


def _picture(name: str, figure: Figure) -> ReportFigure:
    return ReportFigure(name, " ".join(figure.get_suptitle().split()), plots.png(figure))
