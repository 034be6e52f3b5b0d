"""The detector: the paper's size, a backbone that never changes, and scores that know nothing of their neighbours."""

import pytest
import torch
from torch import Tensor, nn

from trainer.detector.embedding import embedding_size, input_fingerprint, input_size
from trainer.detector.model import Detector, Head, build_backbone, count_trainable_parameters
from trainer.detector.weights import LITE1
from trainer.errors import WeightsError
from trainer.pixels.preprocess import FINGERPRINT, SIZE

#: DERIVED from the paper: a head of 1280 → 2048 → 2048 → 1.
PAPERS_PARAMETERS = 6_821_889
HALF = (0.5, 0.5, 0.5)


class Colours(nn.Module):
    """The least of backbones: a picture's mean colour, normalised as the detector does it."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


def pictures(count: int) -> Tensor:
    return torch.randint(0, 256, (count, SIZE, SIZE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def untrained() -> Detector:
    """EfficientNet-B1 and the paper's head, both with random weights."""
    torch.manual_seed(0)
    return Detector(build_backbone("efficientnet_b1"), Head(1280), HALF, HALF)


@pytest.mark.parametrize("name", ["efficientnet_b1", LITE1])
def test_as_many_parameters_train_as_in_the_paper(name: str) -> None:
    backbone = build_backbone(name)
    detector = Detector(backbone, Head(embedding_size(backbone)), HALF, HALF)

    assert count_trainable_parameters(detector) == PAPERS_PARAMETERS
    assert count_trainable_parameters(detector.backbone) == 0


@pytest.mark.parametrize(("widths", "parameters"), [((), 1281), ((8,), 1281 * 8 + 9), ((8, 4), 1281 * 8 + 36 + 5)])
def test_a_head_has_the_hidden_layers_that_it_is_asked_for(widths: tuple[int, ...], parameters: int) -> None:
    assert count_trainable_parameters(Head(1280, widths)) == parameters


def test_the_head_is_two_hidden_layers_with_relu_and_dropout_before_the_score() -> None:
    layers = [layer for layer in Head(1280).modules() if isinstance(layer, nn.Linear | nn.ReLU | nn.Dropout)]

    assert [type(layer) for layer in layers] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert [layer.p for layer in layers if isinstance(layer, nn.Dropout)] == [0.8]


class TestTheFrozenBackbone:
    def test_it_stays_in_eval_when_the_head_trains(self, untrained: Detector) -> None:
        untrained.train()

        assert untrained.head.training
        assert not any(module.training for module in untrained.backbone.modules())

        untrained.eval()

        assert not untrained.head.training

    def test_a_training_step_changes_the_head_and_no_bit_of_it(self, untrained: Detector) -> None:
        untrained.train()
        before = {name: value.clone() for name, value in untrained.state_dict().items()}
        optimizer = torch.optim.Adagrad(untrained.parameters(), lr=0.01)

        nn.BCEWithLogitsLoss()(untrained(pictures(2)), torch.tensor([0.0, 1.0])).backward()
        optimizer.step()

        changed = {name for name, value in untrained.state_dict().items() if not torch.equal(value, before[name])}
        assert changed == {f"head.{name}" for name, _ in untrained.head.named_parameters()}


class TestScores:
    def test_there_is_one_logit_for_each_picture(self, small: Detector) -> None:
        with torch.inference_mode():
            assert small(pictures(2)).shape == (2,)
            assert small.embed(pictures(1)).shape == (1, 1280)

    def test_they_do_not_depend_on_the_batch(self, small: Detector) -> None:
        batch = pictures(3)
        batch[1] //= 4

        with torch.inference_mode():
            together = torch.sigmoid(small(batch))
            alone = torch.cat([torch.sigmoid(small(batch[i : i + 1])) for i in range(3)])

        assert torch.allclose(together, alone, rtol=0, atol=1e-5)
        assert len(set(together.tolist())) == 3

    def test_pixels_are_normalised_channel_by_channel_with_the_backbones_mean_and_std(self) -> None:
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        detector = Detector(Colours(), Head(3, 1), mean, std)
        orange = torch.tensor([255, 128, 0], dtype=torch.uint8).expand(1, SIZE, SIZE, 3)

        expected = [(level / 255 - m) / s for level, m, s in zip((255, 128, 0), mean, std, strict=True)]

        assert detector.embed(orange)[0].tolist() == pytest.approx(expected, abs=1e-4)

    def test_the_normalisation_is_no_part_of_the_weights(self) -> None:
        assert not {"mean", "std"} & Detector(Colours(), Head(3, 1), HALF, HALF).state_dict().keys()


class TestMultilevel:
    def test_it_is_the_mean_and_deviation_of_the_stem_and_of_every_block(self) -> None:
        torch.manual_seed(0)
        backbone = build_backbone("test_efficientnet")
        maps: list[Tensor] = []
        for part in (backbone.get_submodule("bn1"), *backbone.get_submodule("blocks").children()):
            part.register_forward_hook(lambda _module, _inputs, output: maps.append(output))
        detector = Detector(backbone, Head(1, 1), HALF, HALF, "multilevel")

        with torch.inference_mode():
            found = detector.embed(pictures(2))

        moments = [moment for map_ in maps for moment in (map_.mean((2, 3)), map_.std((2, 3), correction=0))]
        assert torch.allclose(found, torch.cat(moments, dim=1), atol=1e-3)
        assert len(maps) == 1 + len(list(backbone.get_submodule("blocks").children()))
        assert found.shape == (2, embedding_size(backbone, "multilevel"))

    def test_a_flat_picture_has_finite_moments(self, small: Detector) -> None:
        detector = Detector(small.backbone, Head(1, 1), HALF, HALF, "multilevel")

        with torch.inference_mode():
            assert bool(torch.isfinite(detector.embed(torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8))).all())

    def test_a_convolutional_network_of_another_kind_has_moments_of_each_stage(self) -> None:
        resnet = build_backbone("resnet18")

        assert embedding_size(resnet, "multilevel") == 2 * (64 + 64 + 128 + 256 + 512)

    def test_a_transformer_has_the_class_token_and_the_mean_token_of_each_block(self) -> None:
        torch.manual_seed(0)
        tiny = build_backbone("test_vit")
        detector = Detector(tiny, Head(1, 1), HALF, HALF, "multilevel", input_size=input_size(tiny))

        with torch.inference_mode():
            found = detector.embed(pictures(2))

        blocks = list(tiny.get_submodule("blocks").children())
        assert found.shape == (2, 2 * 64 * len(blocks))
        assert not torch.equal(found[0], found[1])

    def test_a_network_without_stages_is_refused(self) -> None:
        with pytest.raises(WeightsError, match="Colours has no forward_intermediates, which --embedding multilevel"):
            embedding_size(Colours(), "multilevel")


class TestInputSize:
    def test_a_network_that_takes_one_size_gets_pictures_of_that_size(self) -> None:
        vit = build_backbone("vit_tiny_patch16_224")

        assert (input_size(vit), embedding_size(vit)) == (224, 192)

    def test_others_get_the_pictures_as_they_are(self) -> None:
        assert input_size(build_backbone("test_efficientnet")) == SIZE

    def test_pictures_are_scaled_as_torch_scales_them_antialiased(self) -> None:
        sheet = Detector(nn.Flatten(), Head(1, 1), HALF, HALF, input_size=224)
        pixels = pictures(1)

        scaled = sheet.embed(pixels).view(1, 3, 224, 224)

        floats = (pixels.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
        expected = nn.functional.interpolate(floats, size=(224, 224), mode="bicubic", antialias=True)
        assert torch.allclose(scaled, expected, atol=1e-4)

    def test_the_fingerprint_tells_size_and_normalisation(self) -> None:
        ours = input_fingerprint(224, (0.1, 0.2, 0.3), HALF)

        assert ours.startswith(FINGERPRINT)
        others = [(512, (0.1, 0.2, 0.3), HALF), (224, HALF, HALF), (224, (0.1, 0.2, 0.3), (0.1, 0.2, 0.3))]
        assert ours not in [input_fingerprint(*other) for other in others]


class TestBackbones:
    @pytest.mark.parametrize(
        "name",
        [
            "",
            "resnet-fifty",
            "../efficientnet_b1",
            "timm/efficientnet_b1",
            "hf-hub:timm/efficientnet_b1",
            "local-dir:/tmp",
            "https://example.org/b1",
            "efficientnet_b1.no_such_tag",
        ],
    )
    def test_a_name_that_timm_does_not_know_itself_is_refused_by_name(self, name: str) -> None:
        with pytest.raises(WeightsError) as caught:
            build_backbone(name)

        assert f"backbone {name!r} is not a network that timm knows" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_network_that_gives_no_embedding_is_refused(self) -> None:
        with pytest.raises(WeightsError, match=r"Conv2d gives \(1, 4, 510, 510\), not one embedding for each picture"):
            embedding_size(nn.Conv2d(3, 4, 3))
