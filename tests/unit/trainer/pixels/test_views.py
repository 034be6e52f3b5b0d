"""Views of pictures: the same bytes for the same name and picture, pictures all of them, and each does what it says."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from trainer.errors import TrainerError
from trainer.pixels import views
from trainer.pixels.limits import LIMITS
from trainer.pixels.preprocess import decode

SHA256 = "a" * 64
#: Enough random views for every change to occur, and to be left out, beyond doubt.
MANY = 60


def encoded(image: Image.Image, format_: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_)
    return buffer.getvalue()


def noise(width: int = 200, height: int = 160) -> Image.Image:
    """Colours and detail everywhere, darker to the left: no change goes unnoticed."""
    pixels = np.random.default_rng(0).integers(60, 120, (height, width, 3)).astype(np.uint8)
    pixels[:, width // 2 :] += 120
    return Image.fromarray(pixels)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def array(data: bytes) -> np.ndarray:
    return np.asarray(opened(data), dtype=np.int16)


@pytest.fixture(scope="module")
def picture() -> bytes:
    return encoded(noise())


@pytest.fixture(scope="module")
def seen(picture: bytes) -> list[np.ndarray]:
    """Many random views of one picture."""
    return [array(views.apply_view(f"random:0:{number}", picture, SHA256)) for number in range(1, MANY + 1)]


def detail(data: bytes) -> float:
    return float(np.abs(np.diff(array(data), axis=1)).mean())


class TestNames:
    def test_the_original_is_the_file_itself(self, picture: bytes) -> None:
        assert views.apply_view(views.ORIGINAL, picture, SHA256) is picture

    def test_a_picture_has_its_original_and_as_many_random_views_as_asked(self) -> None:
        assert views.random_views(2, 7) == ["", "upload:7:1", "upload:7:2"]

    @pytest.mark.parametrize("name", ["sepia:1", "resize", "resize:", "jpeg:much", "mirror:-1", ":3"])
    def test_an_unknown_view_is_a_clear_error(self, name: str, picture: bytes) -> None:
        with pytest.raises(
            TrainerError, match=f"view '{name}' is unknown: use upload:SEED:N, delivery:SEED:N, edit:SEED:N, resize"
        ):
            views.apply_view(name, picture, SHA256)


class TestRandomViews:
    def test_the_same_name_and_picture_give_the_same_bytes(self, picture: bytes) -> None:
        one, again = (views.apply_view("random:0:1", picture, SHA256) for _ in range(2))

        assert one == again

    @pytest.mark.parametrize(("name", "sha256"), [("random:1:1", SHA256), ("random:0:2", SHA256), ("random:0:1", "b")])
    def test_another_seed_number_or_picture_gives_others(self, name: str, sha256: str, picture: bytes) -> None:
        assert views.apply_view(name, picture, sha256) != views.apply_view("random:0:1", picture, SHA256)

    def test_what_was_drawn_before_makes_no_difference(self, picture: bytes) -> None:
        alone = views.apply_view("random:0:3", picture, SHA256)
        np.random.seed(1)  # noqa: NPY002 - the global state that must not matter
        views.apply_view("random:0:2", picture, SHA256)

        assert views.apply_view("random:0:3", picture, SHA256) == alone

    def test_some_are_mirrored_and_some_are_not(self, seen: list[np.ndarray]) -> None:
        lighter_left = [view[:, :40].mean() > view[:, -40:].mean() for view in seen]

        assert MANY / 4 < sum(lighter_left) < 3 * MANY / 4

    def test_a_few_are_grey(self, seen: list[np.ndarray]) -> None:
        grey = [bool((np.ptp(view, axis=2) <= 6).all()) for view in seen]

        assert 0 < sum(grey) < MANY / 2

    def test_some_are_cropped_by_a_little(self, seen: list[np.ndarray]) -> None:
        sizes = [view.shape[:2] for view in seen]

        assert (160, 200) in sizes
        assert MANY / 4 < sum(size != (160, 200) for size in sizes) < 3 * MANY / 4
        assert all(height > 160 * 0.83 and width > 200 * 0.83 for height, width in sizes)

    def test_all_are_recompressed_at_many_qualities(self, picture: bytes) -> None:
        files = [views.apply_view(name, picture, SHA256) for name in views.random_views(20, 1)[1:]]

        assert {Image.open(io.BytesIO(data)).format for data in files} == {"JPEG"}
        assert len({str(getattr(Image.open(io.BytesIO(data)), "quantization")) for data in files}) > 10  # noqa: B009

    def test_uploads_are_scaled_down_to_small_avatars_and_stay_small(self, picture: bytes) -> None:
        sides = {max(opened(views.apply_view(f"upload:0:{number}", picture, SHA256)).size) for number in range(MANY)}

        assert min(sides) < 110
        assert max(sides) <= 200
        assert len(sides) > MANY / 3

    @pytest.mark.parametrize("number", range(12))
    def test_an_edit_is_the_same_each_time_and_keeps_the_picture(self, number: int, picture: bytes) -> None:
        one, again = (views.apply_view(f"edit:0:{number}", picture, SHA256) for _ in range(2))

        assert one == again
        assert decode(one).pixels.shape == (512, 512, 3)
        assert abs(array(one).mean() - array(picture).mean()) < 40


SIZES = [(16, 16), (17, 160), (160, 16), (200, 160), (1500, 300)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_view_of_every_allowed_size_decodes(size: tuple[int, int]) -> None:
    data = encoded(noise(*size))

    for name in [*views.random_views(25, 0), "resize:32", "resize:1", "jpeg:20", "mirror:0", "flip:0"]:
        assert decode(views.apply_view(name, data, SHA256)).pixels.shape == (512, 512, 3), name


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "I;16", "CMYK"])
def test_every_kind_of_picture_has_views(mode: str) -> None:
    plain = Image.fromarray(np.full((40, 60), 30000, np.uint16)) if mode == "I;16" else noise(60, 40).convert(mode)
    data = encoded(plain, "JPEG" if mode == "CMYK" else "PNG")

    for name in ("random:0:1", "resize:16", "flip:0"):
        assert decode(views.apply_view(name, data, SHA256)).pixels.shape == (512, 512, 3)


def test_a_big_picture_has_views_within_the_limits_for_files() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2600, 3400, 3), dtype=np.uint8)  # 27 MB as PNG, were it kept
    data = encoded(Image.fromarray(pixels), "JPEG")

    view = views.apply_view("mirror:0", data, SHA256)

    assert len(view) < LIMITS.max_bytes
    assert min(opened(view).size) >= 512


class TestRedeliveries:
    def test_deliveries_are_scaled_by_half_to_twice_and_cropped_by_little(self, picture: bytes) -> None:
        sizes = [
            opened(views.apply_view(f"delivery:0:{number}", picture, SHA256)).size for number in range(1, MANY + 1)
        ]
        assert all(0.95 * 0.5 * 200 - 1 <= width <= 2 * 200 for width, _ in sizes)
        assert min(width for width, _ in sizes) < 150
        assert max(width for width, _ in sizes) > 250

    def test_a_big_picture_is_not_made_bigger_than_the_detector_sees(self) -> None:
        wide = encoded(noise(1500, 700))
        assert max(opened(views.apply_view(f"delivery:0:{number}", wide, SHA256)).width for number in range(20)) <= 1500

    def test_a_files_own_digest_draws_them(self, picture: bytes) -> None:
        first, again, other = (views.redeliveries(data) for data in (picture, picture, picture + b"\0"))
        assert len(first) == views.REDELIVERIES
        assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
        assert not any(np.array_equal(one, two) for one, two in zip(first, other, strict=True))

    def test_a_picture_at_the_limit_of_size_stays_within_it(self) -> None:
        least = encoded(noise(LIMITS.min_side, LIMITS.min_side))
        assert len(views.redeliveries(least)) == views.REDELIVERIES


class TestDegradations:
    @pytest.mark.parametrize("side", [64, 128])
    def test_resizing_loses_detail_and_keeps_the_size(self, side: int, picture: bytes) -> None:
        degraded = views.apply_view(f"resize:{side}", picture, SHA256)

        assert opened(degraded).size == (200, 160)
        assert detail(degraded) < 0.5 * detail(picture)

    def test_the_smaller_the_less_is_left(self, picture: bytes) -> None:
        left = [detail(views.apply_view(f"resize:{side}", picture, SHA256)) for side in (150, 100, 64, 32)]

        assert left == sorted(left, reverse=True)

    @pytest.mark.parametrize("side", [200, 512])
    def test_no_picture_is_scaled_up_first(self, side: int, picture: bytes) -> None:
        assert np.array_equal(array(views.apply_view(f"resize:{side}", picture, SHA256)), array(picture))

    def test_the_lower_the_quality_the_more_is_lost(self, picture: bytes) -> None:
        lost = [
            np.abs(array(views.apply_view(f"jpeg:{quality}", picture, SHA256)) - array(picture)).mean()
            for quality in (100, 90, 60, 20)
        ]

        assert lost == sorted(lost)
        assert lost[-1] > 1.2 * lost[0]

    @pytest.mark.parametrize(
        ("name", "turned"), [("mirror:0", lambda pixels: pixels[:, ::-1]), ("flip:0", lambda pixels: pixels[::-1])]
    )
    def test_turns_lose_nothing(self, name: str, turned: Callable[[np.ndarray], np.ndarray], picture: bytes) -> None:
        assert np.array_equal(array(views.apply_view(name, picture, SHA256)), turned(array(picture)))
