"""A projection is the same numbers everywhere, keeps distances, and fits into bytes."""

import hashlib

import numpy as np
import torch

from trainer.detector.projection import SIZE, Projection, levels_of


def test_the_signs_are_the_same_on_every_machine_and_in_every_release() -> None:
    signs = (Projection(96).signs > 0).numpy()
    assert signs.shape == (96, SIZE)
    assert hashlib.sha256(np.packbits(signs).tobytes()).hexdigest().startswith("18bb057edca32480")
    assert abs(signs.mean() - 0.5) < 0.03


def test_it_keeps_distances_and_is_of_the_size_of_a_feature() -> None:
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(40, 1600)).astype(np.float32))
    found = Projection(1600)(features)
    assert found.std().item() > 0.8
    assert found.std().item() < 1.2
    kept = torch.pdist(found) / (torch.pdist(features) * (SIZE / 1600) ** 0.5)
    assert kept.min().item() > 0.6
    assert kept.max().item() < 1.4


def test_in_bytes_a_number_has_steps_of_a_thirty_second_and_ends_at_four() -> None:
    numbers = np.array([0, 1 / 32, -1, 3.9, 100, -100, np.nan, np.inf], np.float32)
    assert levels_of(numbers).tolist() == [0, 1, -32, 125, 127, -127, 0, 127]
