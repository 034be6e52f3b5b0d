"""Where in a photo the detector sees its evidence: integrated gradients, the map itself.

For a picture x and a baseline b, a pixel's share in the logit is (x - b) · ∫₀¹ ∂logit(b + t·(x - b))/∂x dt, summed over
its channels (Sundararajan, Taly, Yan: "Axiomatic Attribution for Deep Networks", ICML 2017, equation 1; the paper that
we follow shows such maps too). The shares add up to logit(x) - logit(b): completeness, measured for every map made.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor

from trainer.errors import TrainerError
from trainer.detector.model import Detector
from trainer.pixels.preprocess import SIZE, Pixels

#: The baseline is the photo without its fine detail, which is where generators leave their traces: blurred, by this
#: many pixels. From mid-grey the levels of dark cloth and bright walls outweighed the faces; and the logit changes so
#: wildly where contrast sets in that for a StyleGAN2 face 48 steps missed the completeness that 17 meet from here.
BASELINE_BLUR_PIXELS = 4.0
#: How far the shares' sum may lie from the logit's change: a part of that change, but no less than the floor.
TOLERANCE, TOLERANCE_FLOOR = 0.02, 0.02
#: Gradients taken at most, each kept until the end (1 MB), and at once (0.6 GB each for EfficientNet-Lite1).
MAX_STEPS, BATCH = 256, 2
#: Where the first elements meet: closer where there is least detail and the logit changes most.
EDGES = (0.0, 1 / 8, 1 / 4, 1 / 2, 1.0)

Map = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Every pixel's share in a photo's logit: (512, 512), positive where it speaks for "AI".

    ``completeness_error`` lies between the shares' sum and ``logit - baseline_logit``; ``steps`` counts the gradients.
    """

    attribution: Map
    score: float
    logit: float
    baseline_logit: float
    completeness_error: float
    steps: int


class _Place(NamedTuple):
    """What was seen at one place of the way: the logit, and how it changes per unit of the way, by pixel and in all."""

    logit: float
    slopes: Tensor
    slope: float


class _Element(NamedTuple):
    """A piece of the way from the baseline (0) to the picture (1)."""

    start: float
    end: float

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2

    def halves(self) -> tuple["_Element", "_Element"]:
        return _Element(self.start, self.middle), _Element(self.middle, self.end)


#: Places that a refinement adds.
_ADDED = 4

#: The way itself.
_WHOLE = _Element(0.0, 1.0)


class _Path:
    """The straight way from the baseline to the picture, and the places visited so far."""

    def __init__(self, detector: Detector, pixels: Pixels) -> None:
        self.places: dict[float, _Place] = {}
        self._detector = detector
        self._baseline = torch.tensor(baseline(pixels), dtype=torch.float32, device=detector.mean.device)
        self._difference = torch.tensor(pixels, dtype=torch.float32, device=detector.mean.device) - self._baseline

    def visit(self, elements: list[_Element]) -> None:
        wanted = {place for element in elements for place in (element.start, element.middle, element.end)}
        new = sorted(wanted - self.places.keys())
        for start in range(0, len(new), BATCH):
            self._differentiate(new[start : start + BATCH])

    def _differentiate(self, fractions: list[float]) -> None:
        """Take one batch of gradients; only the picture asks for one, so that none is left in the parameters."""
        along = torch.tensor(fractions, device=self._difference.device).view(-1, 1, 1, 1)
        points = (self._baseline + along * self._difference).requires_grad_()
        logits = self._detector(points)
        (gradients,) = torch.autograd.grad(logits.sum(), points)
        # A standard deviation has no gradient where nothing varies; were zero wrong there, completeness would show it.
        maps = (gradients.nan_to_num(0, 0, 0) * self._difference).sum(dim=3).cpu()
        for fraction, logit, slopes in zip(fractions, logits.tolist(), maps, strict=True):
            self.places[fraction] = _Place(logit, slopes, float(slopes.double().sum()))

    def change(self, element: _Element = _WHOLE) -> float:
        return self.places[element.end].logit - self.places[element.start].logit

    def missing(self, element: _Element) -> float:
        """What the rule's sum lacks of the logit's change over an element."""
        slope = sum(weight * self.places[place].slope for place, weight in _simpson(element))
        return self.change(element) - slope

    def attribution(self, elements: list[_Element]) -> Map:
        total = torch.zeros(SIZE, SIZE, dtype=torch.float64)
        for element in elements:
            for place, weight in _simpson(element):
                total += weight * self.places[place].slopes
        return total.float().numpy()


def _simpson(element: _Element) -> tuple[tuple[float, float], ...]:
    """Places and weights of Simpson's rule: exact for cubics, and its places serve again when an element is halved."""
    sixth = (element.end - element.start) / 6
    return (element.start, sixth), (element.middle, 4 * sixth), (element.end, sixth)


def explain(detector: Detector, pixels: Pixels, max_steps: int = MAX_STEPS) -> Explanation:
    """Integrated gradients of the logit, for a detector in ``eval`` mode and (512, 512, 3) uint8 pixels.

    A network with kinks wants many steps in few places, so steps are added where completeness is missed most, until it
    holds for the whole. Raises `TrainerError` when ``max_steps`` are not enough: a map that does not add up would show
    reviewers something else than what the detector saw.
    """
    path, elements = _Path(detector, pixels), [_Element(*edges) for edges in pairwise(EDGES)]
    path.visit(elements)
    limit = max(TOLERANCE * abs(path.change()), TOLERANCE_FLOOR)
    while not (error := abs(sum(map(path.missing, elements)))) <= limit:  # what is not a number is not complete
        if len(path.places) + _ADDED > max_steps:
            steps = len(path.places)
            raise TrainerError(
                f"the map misses the logit's change by {error:.3g} after {steps} steps ({limit:.3g} allowed)"
            )
        elements = _refined(elements, path)
        path.visit(elements)
    return _explanation(path, path.attribution(elements))


def baseline(pixels: Pixels) -> Pixels:
    """What a photo is compared with: its blurred copy."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(BASELINE_BLUR_PIXELS)))


def _refined(elements: list[_Element], path: _Path) -> list[_Element]:
    """The two elements that miss most of their logit's change, halved."""
    *kept, second, worst = sorted(elements, key=lambda element: abs(path.missing(element)))
    return [*kept, *second.halves(), *worst.halves()]


def _explanation(path: _Path, attribution: Map) -> Explanation:
    logit = path.places[1.0].logit
    return Explanation(
        attribution=attribution,
        score=float(torch.sigmoid(torch.tensor(logit))),
        logit=logit,
        baseline_logit=path.places[0.0].logit,
        completeness_error=abs(float(attribution.sum(dtype=np.float64)) - path.change()),
        steps=len(path.places),
    )
