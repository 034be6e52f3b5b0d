"""Plots of how well a detector does, for people who read no code: each title states the finding.

Figures are drawn without a display and without matplotlib's global state. Names come from manifests, which are not
trusted: they are shown as text, never interpreted as formulas.
"""

from trainer.report.plots.engines import EngineBar, engine_plot
from trainer.report.plots.histograms import ScoreSample, histogram_plot
from trainer.report.plots.learning import LearningCurve, learning_plot
from trainer.report.plots.robustness import RobustnessLine, robustness_plot
from trainer.report.plots.roc import roc_plot
from trainer.report.plots.style import drawable_name, fpr_in_words, line_styles, png

__all__ = [
    "EngineBar",
    "LearningCurve",
    "RobustnessLine",
    "ScoreSample",
    "drawable_name",
    "engine_plot",
    "fpr_in_words",
    "histogram_plot",
    "learning_plot",
    "line_styles",
    "png",
    "robustness_plot",
    "roc_plot",
]
