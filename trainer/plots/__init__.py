"""Pictures of how well a detector does, for people who read no code: plain data in, the finding as title.

Figures are drawn without a display and without matplotlib's global state. Names come from manifests, which nobody
vouches for: they are shown as text, never read as formulas.
"""

from trainer.plots.curve import roc
from trainer.plots.degraded import Line, sweep
from trainer.plots.engines import Bar, bars
from trainer.plots.look import looks_of, png, shown, wrong_flags
from trainer.plots.spread import Spread, histograms

__all__ = ["Bar", "Line", "Spread", "bars", "histograms", "looks_of", "png", "roc", "shown", "sweep", "wrong_flags"]
