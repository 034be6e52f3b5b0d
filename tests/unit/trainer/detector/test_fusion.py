"""The minimum rule: both detectors must find a photo suspicious, each by its own measure of rarity."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainer.detector.fusion import LEAST_REALS, fuse, fuse_scores, scales_from
from trainer.errors import TrainerError

SCALES = torch.tensor([[-4.0, -2.0], [1.0, 2.0]])
LOGITS = st.floats(-30, 30)


@given(LOGITS, LOGITS, LOGITS)
def test_a_fused_logit_is_at_or_above_a_threshold_only_if_both_keys_are(first: float, second: float, at: float) -> None:
    fused = float(fuse(torch.tensor([[first], [second]], dtype=torch.float64), SCALES)[0])
    scaled = (first + 4) / 2, (second - 1) / 1
    assert (fused >= at) == all(value >= at for value in scaled)


def test_one_in_ten_and_one_in_a_hundred_reals_have_the_same_place_for_both_keys() -> None:
    reals = torch.sigmoid(torch.stack([torch.linspace(-9, 3, 1001), torch.linspace(2, 5, 1001)]).double())
    scales = scales_from(reals)
    for key in range(2):
        alone = torch.ones(2, 1001).double()  # the other key finds every photo suspicious
        alone[key] = reals[key]
        scaled = torch.logit(fuse_scores(alone, scales))
        assert float((scaled >= 0).double().mean()) == pytest.approx(0.1, abs=0.002)
        assert float((scaled >= 1).double().mean()) == pytest.approx(0.01, abs=0.002)


@pytest.mark.parametrize(
    ("reals", "words"),
    [
        (torch.rand(2, LEAST_REALS - 1), "two keys need 200 real photos in split eval, 199 given"),
        (torch.full((2, LEAST_REALS), 0.5), "the same score"),
        (torch.ones(2, LEAST_REALS), "the same score"),
    ],
)
def test_reals_that_cannot_scale_a_detector_are_refused(reals: Tensor, words: str) -> None:
    with pytest.raises(TrainerError, match=words):
        scales_from(reals)


def test_scores_of_exactly_0_and_1_stay_scores() -> None:
    fused = fuse_scores(torch.tensor([[0.0, 1.0], [1.0, 1.0]]).double(), SCALES)
    assert bool(((fused >= 0) & (fused <= 1)).all())
    assert fused[0] < fused[1]
