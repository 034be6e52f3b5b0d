"""Two detectors as one: a photo is suspicious only when both say so (score fusion by the minimum rule).

After Kittler, Hatef, Duin and Matas, "On combining classifiers" (IEEE TPAMI 20, 1998). Detectors differ in the units of
their logits, so each is scaled first: 0 is what one real photo in ten exceeds, 1 what one in a hundred exceeds. Then
both keys ask for about the same rarity at any threshold. The rule is measured and certified as a whole, on the fused
scores of real photos: nothing assumes that the two are independent.
"""

import numpy as np
import torch
from torch import Tensor

from trainer.detector.model import Detector
from trainer.errors import TrainerError, WeightsError

#: The shares of real photos that lie below 0 and below 1 after scaling.
QUANTILES = (0.9, 0.99)
#: One real in a hundred must be a photo that was seen, and not a guess.
LEAST_REALS = 200
KEYS = 2


class FusedDetector(Detector):
    """Two detectors whose score is the smaller of their scaled ones. What is said of one detector is the first's.

    ``scales`` is (2, 2): a row for each detector, the logits that become 0 and 1. Raises `WeightsError` for others.
    """

    scales: Tensor

    def __init__(self, first: Detector, second: Detector, scales: Tensor) -> None:
        statistics = (0.0,) * 3, (1.0,) * 3
        super().__init__(first.backbone, first.head, *statistics, first.embedding, input_size=first.input_size)
        self.mean.copy_(first.mean)
        self.std.copy_(first.std)
        if scales.shape != (KEYS, KEYS) or not bool((scales[:, 1] > scales[:, 0]).all()):
            raise WeightsError(f"tensor head.scales is not two rising pairs of logits, one for each detector: {scales}")
        self.second = second
        self.register_buffer("scales", scales.float())

    def detectors(self) -> tuple[Detector, Detector]:
        """The two detectors, each by itself."""
        mean, std = ((values / 255).flatten().tolist() for values in (self.mean, self.std))
        statistics = tuple(mean), tuple(std)
        first = Detector(self.backbone, self.head, *statistics, self.embedding, input_size=self.input_size)
        return first.eval(), self.second

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 512, 512, 3) uint8 RGB → (B,) logits of the fused score."""
        return fuse(torch.stack([super().forward(pixels), self.second(pixels)]), self.scales)

    def logits_and_features(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 512, 512, 3) uint8 RGB → (B,) logits of the fused score, and the first detector's (B, D) features."""
        logits, features, _ = self.key_readings(pixels)
        return logits, features

    keys = KEYS

    def key_readings(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The fused logits, the first detector's features, and the (2, B) logits of both."""
        logits, features = super().logits_and_features(pixels)
        both = torch.stack([logits, self.second(pixels)])
        return fuse(both, self.scales), features, both


def fuse(logits: Tensor, scales: Tensor) -> Tensor:
    """(2, B) logits of both detectors and their (2, 2) scales → (B,): the smaller of both after scaling."""
    low, high = scales[:, :1].to(logits), scales[:, 1:].to(logits)
    return ((logits - low) / (high - low)).amin(dim=0)


def fuse_scores(scores: Tensor, scales: Tensor) -> Tensor:
    """(2, B) scores of both detectors, 0 to 1 → (B,) fused scores, 0 to 1."""
    return torch.sigmoid(fuse(torch.logit(scores.double(), eps=1e-15), scales))


def scales_from(reals: Tensor) -> Tensor:
    """(2, N) scores of both detectors for N real photos → their (2, 2) scales.

    Raises `TrainerError` for too few photos, or when a detector gives them nearly all the same score.
    """
    if reals.shape[1] < LEAST_REALS:
        raise TrainerError(f"two keys need {LEAST_REALS} real photos in split eval, {reals.shape[1]} given")
    logits = torch.logit(reals.double(), eps=1e-15).numpy()
    scales = torch.from_numpy(np.quantile(logits, QUANTILES, axis=1).T.copy())
    if not bool((scales[:, 1] > scales[:, 0]).all()):
        raise TrainerError("a detector gives a tenth of the real photos the same score: it cannot be a key")
    return scales.float()
