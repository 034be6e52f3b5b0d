"""On which terms labelled pictures are taken in: the shortcut guard, and its two remedies."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.data import guard
from trainer.pixels import views
from trainer.data.guard import Guard
from trainer.data.manifest import Example
from trainer.pixels.normalise import normalise

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Intake:
    """``normalise``: one canvas and one re-encoding for all pictures; ``accept_shortcut``: go on, and say so."""

    normalise: bool = False
    accept_shortcut: bool = False

    def check(self, examples: Sequence[Example]) -> Guard:
        """Judge one split as the detector will see it, and warn of what is weak; raises `ShortcutError` otherwise."""
        found = guard.check(examples, accept=self.accept_shortcut, prepare=normalise if self.normalise else None)
        if found.warning is not None:
            log.warning("%s", found.warning)
        return found

    def view(self, name: str = views.ORIGINAL) -> str:
        """The view that takes part in place of this one."""
        return views.joined("normal:0", name) if self.normalise else name
