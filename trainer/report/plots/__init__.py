"""Pictures of how well a detector does, for people who read no code: plain data in, the finding as title.

Figures are drawn without a display and without matplotlib's global state. Names come from manifests, which nobody
vouches for: they are shown as text, never read as formulas.
"""

from trainer.report.plots.curve import roc
from trainer.report.plots.degraded import Line, sweep
from trainer.report.plots.engines import Bar, bars
from trainer.report.plots.look import looks_of, png, shown, wrong_flags
from trainer.report.plots.spread import Spread, histograms

__all__ = ["Bar", "Line", "Spread", "bars", "histograms", "looks_of", "png", "roc", "shown", "sweep", "wrong_flags"]
