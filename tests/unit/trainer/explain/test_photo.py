"""Explanations: shares that add up to the logit, from a detector that is left as it was, as a picture and numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from trainer.detector.card import Card
from trainer.detector.checkpoint import SHIPPED, load, save
from trainer.detector.model import Detector, Head
from trainer.errors import TrainerError
from trainer.explain.attribution import Explanation, baseline
from trainer.explain.overlay import GAP_PIXELS, LEGEND_PIXELS
from trainer.explain.photo import explain, explain_file, explanation_summary, layer, overlay, with_legend
from trainer.pixels.preprocess import SIZE, Pixels, decode

HALF = (0.5, 0.5, 0.5)
#: Gradients that every explanation starts with.
FIRST_STEPS = 9


class Spread(nn.Module):
    """A small backbone: each channel's standard deviation, whose gradient is not a number where nothing varies."""

    def forward(self, images: Tensor) -> Tensor:
        return images.std(dim=(2, 3))


class Waves(nn.Module):
    """A head that goes up and down so often along the way that few steps miss it."""

    def __init__(self, waves: float) -> None:
        super().__init__()
        self.waves = waves

    def forward(self, embedding: Tensor) -> Tensor:
        return torch.sin(self.waves * embedding.sum(dim=1, keepdim=True))


def wavy(waves: float) -> Detector:
    detector = Detector(Spread(), Head(3, 1), HALF, HALF)
    detector.head = nn.Sequential(Waves(waves))  # type: ignore[assignment]
    return detector.eval()


def holds(explanation: Explanation) -> bool:
    change = explanation.logit - explanation.baseline_logit
    missed = abs(float(explanation.attribution.sum(dtype=np.float64)) - change)
    assert missed == pytest.approx(explanation.completeness_error, abs=1e-9)
    return missed <= max(0.02 * abs(change), 0.02)


@pytest.fixture(scope="module")
def picture(photo: Path) -> Pixels:
    return decode(photo.read_bytes()).pixels


@pytest.fixture(scope="module")
def disc() -> Pixels:
    """A red disc on grey: flat but for its edge."""
    y, x = np.mgrid[:SIZE, :SIZE]
    pixels = np.full((SIZE, SIZE, 3), 128, dtype=np.uint8)
    pixels[(x - 200) ** 2 + (y - 200) ** 2 < 90**2] = (220, 40, 90)
    return pixels


@pytest.fixture(scope="module")
def explained(small: Detector, disc: Pixels) -> Explanation:
    """The disc, for the small detector."""
    return explain(small, disc)


@pytest.fixture(scope="module")
def checkpoint(small: Detector, card: Card, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small detector's. Shared: not to be changed."""
    path = tmp_path_factory.mktemp("small") / "checkpoint.safetensors"
    save(small, card, path)
    return path


@pytest.fixture
def spread() -> Detector:
    torch.manual_seed(0)
    return Detector(Spread(), Head(3, 8), HALF, HALF).eval()


class TestCompleteness:
    def test_it_holds_for_an_untrained_head_on_a_synthetic_picture(
        self, explained: Explanation, small: Detector, disc: Pixels
    ) -> None:
        with torch.inference_mode():
            logits = small(torch.from_numpy(np.stack([disc, baseline(disc)])))

        assert holds(explained)
        assert [explained.logit, explained.baseline_logit] == pytest.approx(logits.tolist(), abs=1e-5)
        assert explained.score == pytest.approx(float(torch.sigmoid(logits[0])))

    def test_it_holds_for_an_untrained_head_on_a_photo(self, small: Detector, picture: Pixels) -> None:
        assert holds(explain(small, picture))

    @pytest.mark.slow
    def test_it_holds_for_the_detector_that_comes_with_this_software(self, picture: Pixels) -> None:
        detector, _ = load(SHIPPED)

        explanation = explain(detector, picture)

        assert holds(explanation)
        assert abs(explanation.logit - explanation.baseline_logit) > 0.1, "the floor alone would be no test"

    def test_steps_are_added_until_it_holds(self, disc: Pixels) -> None:
        explanation = explain(wavy(3000), disc)

        assert holds(explanation)
        assert explanation.steps > FIRST_STEPS

    def test_a_map_that_does_not_add_up_is_refused_with_what_it_misses(self, disc: Pixels) -> None:
        with pytest.raises(
            TrainerError, match=r"misses the logit's change by \d.* after 13 steps \(0\.02\d* allowed\)"
        ):
            explain(wavy(3000), disc, max_steps=16)

    def test_a_logit_that_is_not_a_number_is_refused(self, disc: Pixels) -> None:
        with pytest.raises(TrainerError, match="misses the logit's change by nan"):
            explain(wavy(float("inf")), disc, max_steps=16)


class TestShares:
    def test_they_are_zero_where_the_picture_is_the_baseline(self, explained: Explanation, disc: Pixels) -> None:
        same = (disc == baseline(disc)).all(axis=2)

        assert explained.attribution.shape == (SIZE, SIZE)
        assert explained.attribution.dtype == np.float32
        assert 0.9 < same.mean() < 1
        assert not explained.attribution[same].any()
        assert explained.attribution[~same].any()

    def test_a_picture_that_is_its_own_baseline_has_none_even_where_no_gradient_exists(self, spread: Detector) -> None:
        flat = np.full((SIZE, SIZE, 3), (10, 128, 250), dtype=np.uint8)

        explanation = explain(spread, flat)

        assert not explanation.attribution.any()
        assert explanation.completeness_error == 0
        assert explanation.logit == explanation.baseline_logit

    def test_of_a_linear_detector_they_are_its_weights_times_the_difference(self, disc: Pixels) -> None:
        detector = Detector(nn.AdaptiveAvgPool2d(1), Head(3, 1), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        detector.head = nn.Sequential(nn.Flatten(), weighing := nn.Linear(3, 1))  # type: ignore[assignment]
        weighing.weight.data = torch.tensor([[1000.0, -500.0, 0.0]])
        difference = disc.astype(np.float64) - baseline(disc)

        found = explain(detector.eval(), disc).attribution

        expected = (1000 * difference[..., 0] - 500 * difference[..., 1]) / 255 / SIZE**2
        assert np.allclose(found, expected, rtol=1e-4, atol=1e-9)


def test_the_detector_is_left_as_it_was(spread: Detector, picture: Pixels) -> None:
    before = {name: value.clone() for name, value in spread.state_dict().items()}

    assert explain(spread, picture).attribution.any()

    assert all(parameter.grad is None for parameter in spread.parameters())
    assert not any(module.training for module in spread.modules())
    assert all(torch.equal(value, before[name]) for name, value in spread.state_dict().items())


class TestOverlay:
    def test_it_is_the_photo_and_beside_it_the_evidence(self, picture: Pixels) -> None:
        drawn = np.asarray(overlay(picture, np.zeros((SIZE, SIZE), dtype=np.float32)))

        assert drawn.shape == (SIZE, 2 * SIZE + GAP_PIXELS, 3)
        assert np.array_equal(drawn[:, :SIZE], picture)
        assert (drawn[:, SIZE : SIZE + GAP_PIXELS] == 255).all()
        evidence = drawn[:, SIZE + GAP_PIXELS :]
        assert (evidence == evidence[..., :1]).all(), "without evidence there is no colour"
        assert np.ptp(evidence) > 100, "the photo can still be seen"

    def test_ai_is_orange_and_real_is_blue_where_they_are_found(self, picture: Pixels) -> None:
        attribution = np.zeros((SIZE, SIZE), dtype=np.float32)
        attribution[80:150, 80:150], attribution[300:370, 300:370] = 1e-4, -1e-4

        for sign in (1, -1):
            drawn = np.asarray(overlay(picture, sign * attribution))[:, SIZE + GAP_PIXELS :].astype(int)
            warmth = sign * (drawn[..., 0] - drawn[..., 2])
            assert warmth[115, 115] > 100
            assert warmth[335, 335] < -100
            assert warmth[115, 335] == warmth[335, 115] == 0

    def test_a_layer_has_the_evidence_alone_and_is_clear_elsewhere(self) -> None:
        attribution = np.zeros((SIZE, SIZE), dtype=np.float32)
        attribution[80:150, 80:150], attribution[300:370, 300:370] = 1e-4, -1e-4

        drawn = np.asarray(layer(attribution)).astype(int)

        assert drawn.shape == (SIZE, SIZE, 4)
        assert drawn[115, 115, 3] > 150
        assert drawn[335, 335, 3] > 150
        assert drawn[115, 335, 3] == 0
        assert drawn[115, 115, 0] > drawn[115, 115, 2]
        assert drawn[335, 335, 0] < drawn[335, 335, 2]


def test_the_legend_is_below_the_picture_and_goes_from_blue_to_orange(picture: Pixels) -> None:
    drawn = overlay(picture, np.zeros((SIZE, SIZE), dtype=np.float32))

    whole = np.asarray(with_legend(drawn, 0.5)).astype(int)

    assert whole.shape == (SIZE + LEGEND_PIXELS, 2 * SIZE + GAP_PIXELS, 3)
    assert np.array_equal(whole[:SIZE], np.asarray(drawn))
    warmth = (whole[..., 0] - whole[..., 2])[SIZE + LEGEND_PIXELS // 2]
    (coloured,) = np.nonzero(abs(warmth) > 60)
    assert coloured.min() > SIZE
    assert warmth[coloured.min()] < -60
    assert warmth[coloured.max()] > 60


def test_a_summary_says_in_which_cells_the_evidence_for_ai_lies() -> None:
    attribution = np.full((SIZE, SIZE), -1, dtype=np.float32)
    attribution[:128, 384:], attribution[300, :2] = 0.5, 4096

    found = explanation_summary(Explanation(attribution, 0.7, 0.85, -1.0, 0.01, 9))

    assert found.pop("positive_share") == [[0, 0, 0, 0.5], [0, 0, 0, 0], [0.5, 0, 0, 0], [0, 0, 0, 0]]
    assert found == {"score": 0.7, "logit": 0.85, "baseline_logit": -1.0, "completeness_error": 0.01, "steps": 9}


class TestFiles:
    def test_a_photo_is_explained_the_same_again_as_a_png_and_nothing_else(
        self, checkpoint: Path, disc: Pixels, explained: Explanation, tmp_path: Path
    ) -> None:
        photo, out = tmp_path / "disc.png", tmp_path / "map.png"
        Image.fromarray(disc).save(photo)
        out.write_bytes(b"what was here before")

        found = explain_file(checkpoint, photo, out, "cpu")

        assert found == explanation_summary(explained)
        assert sorted(tmp_path.iterdir()) == [photo, out]
        with Image.open(out) as drawn:
            assert drawn.format == "PNG"
            expected = with_legend(overlay(disc, explained.attribution), explained.score)
            assert np.array_equal(np.asarray(drawn), np.asarray(expected))

    @pytest.mark.parametrize(
        ("photo", "out", "device", "message"),
        [
            ("none.jpg", "map.png", "cpu", r"photo \S*none\.jpg does not exist"),
            ("folder", "map.png", "cpu", r"photo \S*folder cannot be read: Is a directory"),
            ("text.jpg", "map.png", "cpu", r"photo \S*text\.jpg is refused: not_an_image"),
            ("good.png", "none/map.png", "cpu", r"folder \S*none for the map does not exist"),
            ("good.png", "folder", "cpu", r"map \S*folder is a folder"),
            ("good.png", "map.png", "abacus", r"device 'abacus' is not available: "),
            ("good.png", "map.png", "cuda:99", r"device 'cuda:99' is not available: "),
        ],
    )
    def test_what_will_not_do_is_named_in_one_line(
        self, photo: str, out: str, device: str, message: str, checkpoint: Path, disc: Pixels, tmp_path: Path
    ) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "text.jpg").write_text("no picture")
        Image.fromarray(disc).save(tmp_path / "good.png")
        before = sorted(tmp_path.iterdir())

        with pytest.raises(TrainerError, match=message) as caught:
            explain_file(checkpoint, tmp_path / photo, tmp_path / out, device)

        assert "\n" not in str(caught.value)
        assert sorted(tmp_path.iterdir()) == before

    def test_a_missing_checkpoint_is_named(self, photo: Path, tmp_path: Path) -> None:
        with pytest.raises(TrainerError, match=r"none\.safetensors does not exist"):
            explain_file(tmp_path / "none.safetensors", photo, tmp_path / "map.png", "cpu")
