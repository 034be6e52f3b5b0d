"""Attribution by integrated gradients: each pixel's share in a photo's logit.

For a picture x and a baseline b, a pixel's share in the logit is (x - b) · ∫₀¹ ∂logit(b + t·(x - b))/∂x dt, summed over
its channels (Sundararajan, Taly, Yan: "Axiomatic Attribution for Deep Networks", ICML 2017, equation 1; the paper that
we follow shows such maps too). The shares add up to logit(x) - logit(b): completeness, measured for each map.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor

from trainer.detector.model import Detector
from trainer.errors import TrainerError
from trainer.pixels.preprocess import SIZE, Pixels

#: The baseline is the photo without its fine detail, where generators leave their traces: blurred by this many pixels.
#: From mid-grey, the levels of dark cloth and bright walls outweighed the faces; and the logit changes so abruptly
#: where contrast begins that for a StyleGAN2 face 48 steps missed the completeness that 17 steps reach from here.
BASELINE_BLUR_PIXELS = 4.0
#: How far the shares' sum may be from the logit's change: a fraction of that change, but at least the floor.
TOLERANCE, TOLERANCE_FLOOR = 0.02, 0.02
#: The most gradients, each kept until the end (1 MB), and how many at once (0.6 GB each for EfficientNet-Lite1).
MAX_STEPS, BATCH = 256, 2
#: The borders of the first elements: closer where there is least detail and the logit changes most.
EDGES = (0.0, 1 / 8, 1 / 4, 1 / 2, 1.0)

Map = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Every pixel's share in a photo's logit: (512, 512), positive where it is evidence for "AI".

    ``completeness_error`` is the gap between the shares' sum and ``logit - baseline_logit``; ``steps`` is
    the number of gradients.
    """

    attribution: Map
    score: float
    logit: float
    baseline_logit: float
    completeness_error: float
    steps: int


class _Place(NamedTuple):
    """One point of the path: the logit, and its change per unit of the path, by pixel and in total."""

    logit: float
    slopes: Tensor
    slope: float


class _Element(NamedTuple):
    """A section of the path from the baseline (0) to the picture (1)."""

    start: float
    end: float

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2

    def halves(self) -> tuple["_Element", "_Element"]:
        return _Element(self.start, self.middle), _Element(self.middle, self.end)


#: The number of points that a refinement adds.
_ADDED = 4

#: The whole path.
_WHOLE = _Element(0.0, 1.0)


class _Path:
    """The straight path from the baseline to the picture, and the points evaluated so far."""

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
        """Take one batch of gradients with respect to the picture only, so that none stays in the parameters."""
        along = torch.tensor(fractions, device=self._difference.device).view(-1, 1, 1, 1)
        points = (self._baseline + along * self._difference).requires_grad_()
        logits = self._detector(points)
        (gradients,) = torch.autograd.grad(logits.sum(), points)
        # A standard deviation has no gradient where nothing varies. Completeness would show it if zero were wrong.
        maps = (gradients.nan_to_num(0, 0, 0) * self._difference).sum(dim=3).cpu()
        for fraction, logit, slopes in zip(fractions, logits.tolist(), maps, strict=True):
            self.places[fraction] = _Place(logit, slopes, float(slopes.double().sum()))

    def change(self, element: _Element = _WHOLE) -> float:
        return self.places[element.end].logit - self.places[element.start].logit

    def missing(self, element: _Element) -> float:
        """The part of the logit's change over an element that the rule's sum misses."""
        slope = sum(weight * self.places[place].slope for place, weight in _simpson(element))
        return self.change(element) - slope

    def attribution(self, elements: list[_Element]) -> Map:
        total = torch.zeros(SIZE, SIZE, dtype=torch.float64)
        for element in elements:
            for place, weight in _simpson(element):
                total += weight * self.places[place].slopes
        return total.float().numpy()


def _simpson(element: _Element) -> tuple[tuple[float, float], ...]:
    """Points and weights of Simpson's rule: exact for cubics, and halving an element uses its points again."""
    sixth = (element.end - element.start) / 6
    return (element.start, sixth), (element.middle, 4 * sixth), (element.end, sixth)


def explain(detector: Detector, pixels: Pixels, max_steps: int = MAX_STEPS) -> Explanation:
    """Integrated gradients of the logit, for a detector in ``eval`` mode and (512, 512, 3) uint8 pixels.

    A network with kinks needs many steps in few places, so it adds steps where completeness is worst, until it holds
    for the whole. Raises `TrainerError` when ``max_steps`` are not enough: a map that does not add up would show
    reviewers something other than the detector's evidence.
    """
    path, elements = _Path(detector, pixels), [_Element(*edges) for edges in pairwise(EDGES)]
    path.visit(elements)
    limit = max(TOLERANCE * abs(path.change()), TOLERANCE_FLOOR)
    while not (error := abs(sum(map(path.missing, elements)))) <= limit:  # "not <=" because NaN is not complete either
        if len(path.places) + _ADDED > max_steps:
            steps = len(path.places)
            raise TrainerError(
                f"the map misses the logit's change by {error:.3g} after {steps} steps ({limit:.3g} allowed)"
            )
        elements = _refined(elements, path)
        path.visit(elements)
    return _explanation(path, path.attribution(elements))


def baseline(pixels: Pixels) -> Pixels:
    """The baseline of a photo, its blurred copy: (512, 512, 3) uint8."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(BASELINE_BLUR_PIXELS)))


def _refined(elements: list[_Element], path: _Path) -> list[_Element]:
    """Halve the two elements with the largest errors."""
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
