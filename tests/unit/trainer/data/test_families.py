"""The family of each engine: from the manifest, or by its name."""

from pathlib import Path

import pytest

from trainer.data.families import family_of
from trainer.data.manifest import Example


@pytest.mark.parametrize(
    ("engine", "family"),
    [
        ("stylegan2-sfhq", "GAN"),
        ("StyleGAN 3", "GAN"),
        ("gan-unverified", "GAN"),
        ("stable-diffusion-2.1", "latent diffusion"),
        ("sdxl", "latent diffusion"),
        ("Stable Diffusion 3", "rectified flow"),
        ("flux.1-dev", "rectified flow"),
        ("camera", "camera"),
        ("something new", "unknown"),
    ],
)
def test_a_known_engine_has_a_family_by_its_name(engine: str, family: str) -> None:
    assert family_of(engine) == family


def test_the_manifests_own_family_counts_also_one_that_nobody_knows() -> None:
    columns = {"family": "dreams"}

    assert Example(Path(), fake=True, engine="sdxl", split="train", group="", columns=columns).family == "dreams"
