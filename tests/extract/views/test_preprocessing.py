"""The clean view equals, pixel for pixel, what torchvision's and timm's own evaluation transforms make of an image."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn
from torchvision import models
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode

from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.backbones.backbone import Backbone
from frozenprobe.extract.backbones.catalogue import BACKBONES, TORCHVISION, find_backbone
from frozenprobe.extract.backbones.timm_models import timm_preprocessing
from frozenprobe.extract.backbones.torchvision_models import enum_preprocessing
from frozenprobe.extract.compute.embedder import Embedder
from frozenprobe.extract.views.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
    Resize,
    Resized,
    choose_preprocessing,
    clean_view,
    cut_test_view,
    require_unit_scale,
)
from tests.extract.views.test_transforms import picture

ODD_SIZES = [(611, 433), (257, 700), (90, 61)]  # larger, long and thin, smaller than every crop


def normalised(view: Image.Image, preprocessing: Preprocessing) -> torch.Tensor:
    """What the network gets: the view through the Embedder, with a network that hands its input on."""
    backbone = Backbone(find_backbone("resnet18.in1k"), nn.Flatten(), None, preprocessing, "")
    flat = Embedder(backbone, torch.device("cpu"), "float32").embed(np.array(view)[None], [None])
    return torch.from_numpy(flat).view(3, view.height, view.width)


@pytest.mark.parametrize("size", ODD_SIZES, ids=str)
@pytest.mark.parametrize("info", [info for info in BACKBONES if info.loader == TORCHVISION], ids=lambda info: info.name)
def test_clean_view_is_what_torchvisions_weights_want(info, size: tuple[int, int]) -> None:
    """Bit for bit, normalisation included."""
    enum, image = models.get_weight(info.source), picture(size)
    preprocessing = enum_preprocessing(enum)
    assert torch.equal(normalised(clean_view(Resized(image), preprocessing), preprocessing), enum.transforms()(image))


@pytest.mark.parametrize("size", ODD_SIZES, ids=str)
@pytest.mark.parametrize("crop_mode", ["center", "squash"])
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet10t", "test_vit"])
def test_clean_view_is_what_timms_config_wants(name: str, crop_mode: str, size: tuple[int, int]) -> None:
    """Bit for bit, also where timm squashes instead of cropping."""
    model, image = timm.create_model(name), picture(size)
    config = timm.data.resolve_model_data_config(model) | {"crop_mode": crop_mode}
    preprocessing = timm_preprocessing(config, name)
    theirs = timm.data.create_transform(**config)(image)
    assert torch.equal(normalised(clean_view(Resized(image), preprocessing), preprocessing), theirs)


@pytest.mark.parametrize(
    "config", [{"crop_mode": "border"}, {"input_size": (3, 224, 192)}, {"input_size": (1, 28, 28)}], ids=str
)
def test_timm_configs_that_cannot_be_honoured_are_refused(config: dict[str, object]) -> None:
    whole = {
        "input_size": (3, 224, 224),
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }
    assert timm_preprocessing(whole, "timm:x") == Preprocessing(256, 224, "bicubic", (0.5,) * 3, (0.5,) * 3)
    with pytest.raises(FrozenprobeError, match="square RGB images"):
        timm_preprocessing(whole | config, "timm:x")


@pytest.mark.parametrize("size", ODD_SIZES, ids=str)
def test_report_preprocessing_is_the_reports_validation_transform(size: tuple[int, int]) -> None:
    of_weights = enum_preprocessing(models.ViT_L_16_Weights.IMAGENET1K_SWAG_LINEAR_V1)
    image, preprocessing = picture(size), choose_preprocessing(replace(of_weights, squash=True), "report")
    mean_std = T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    theirs = T.Compose([T.Resize(224), T.CenterCrop(224), T.ToTensor(), mean_std])(image)
    assert torch.equal(normalised(clean_view(Resized(image), preprocessing), preprocessing), theirs)


def test_preprocessing_of_the_weights_is_left_as_it_is() -> None:
    assert choose_preprocessing(Preprocessing(40, 32), "weights") == Preprocessing(40, 32)


def test_direct_view_is_the_reports_submission_transform() -> None:
    image = picture((131, 90))
    view = cut_test_view(Resized(image), "direct", Preprocessing(72, 64, "bicubic"))
    assert np.array_equal(view, T.Resize((64, 64), interpolation=InterpolationMode.BICUBIC)(image))


def test_flipped_view_mirrors_the_clean_one() -> None:
    """The clean view of an odd size is mirrored, not the clean view of the mirrored image: its crop is the same."""
    preprocessing = Preprocessing(73, 64, "bicubic")
    image = Resized(picture((131, 90)))
    clean = np.asarray(cut_test_view(image, "clean", preprocessing))
    assert np.array_equal(cut_test_view(image, "hflip", preprocessing), clean[:, ::-1])
    assert clean.shape == (64, 64, 3)


def test_preprocessing_in_the_specification_tells_every_field() -> None:
    one = Preprocessing(256, 224, "bicubic")
    others = [
        replace(one, **change)
        for change in (
            {"resize": 255},
            {"size": 223},
            {"interpolation": "bilinear"},
            {"mean": (0.0, 0.0, 0.1)},
            {"std": (1.0, 1.0, 1.1)},
            {"name": "report"},
            {"squash": True},
        )
    ]
    texts = [preprocessing.canonical() for preprocessing in (one, *others)]
    assert len(set(texts)) == 8
    assert set(json.loads(texts[0])) == set(vars(one))


@pytest.mark.parametrize(
    ("call", "option"),
    [
        (lambda: choose_preprocessing(Preprocessing(8, 8), "raport"), "--preprocess"),
        (lambda: cut_test_view(Resized(picture()), "flip", Preprocessing(8, 8)), "--test-views"),
    ],
)
def test_unknown_names_are_errors_that_list_the_known(call, option: str) -> None:
    with pytest.raises(FrozenprobeError, match=r"did you mean (report|hflip)\?") as caught:
        call()
    assert caught.value.where == option


SCALES = [  # what was given, and what was meant
    ((123.7, 116.3, 103.5), (58.4, 57.1, 57.4), "--mean 0.485 0.456 0.406 --std 0.229 0.224 0.225"),
    ((123.675, 116.28, 103.53), None, "--mean 0.485 0.456 0.406"),
    ((123.68, 116.779, 103.939), (1.0, 1.0, 1.0), "--mean 0.485 0.458 0.408 --std 0.00392 0.00392 0.00392"),
    ((103.939, 116.779, 123.68), (1.0, 1.0, 1.0), "--mean 0.485 0.458 0.408 --std 0.00392"),
    ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5), "--mean 0.5 0.5 0.5 --std 0.5 0.5 0.5"),
    ((0.485, 0.456, 0.406), (58.4, 57.1, 57.4), "--mean 0.485 0.456 0.406 --std 0.229 0.224 0.225"),
    ((123.7, 116.3, 103.5), (0.229, 0.224, 0.225), "--mean 0.485 0.456 0.406 --std 0.229 0.224 0.225"),
    ((-0.485, -0.456, -0.406), None, "--mean 0.485 0.456 0.406"),
    (None, (4.367, 4.464, 4.444), "--std 0.229 0.224 0.225"),
    (None, (0.000898, 0.000878, 0.000882), "--std 0.229 0.224 0.225"),
    (None, (255.0, 255.0, 255.0), "--std 1 1 1"),
    (None, (2.0, 2.0, 2.0), "--std 0.5 0.5 0.5"),
]


@pytest.mark.parametrize(("mean", "std", "meant"), SCALES)
def test_means_and_deviations_of_another_scale_are_refused_with_what_was_meant(mean, std, meant) -> None:
    with pytest.raises(FrozenprobeError, match=r"of pixels in \[0, 1\]") as caught:
        require_unit_scale(mean, std)
    assert f"give {meant}" in caught.value.remedy
    assert ("B G R" in caught.value.remedy) == (mean is not None and mean[0] < mean[2] and mean[0] > 1)


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        *((None, (0.0, 0.2, 0.2)), (None, (-1.0, 1.0, 1.0)), (None, (float("nan"),) * 3), (None, (float("inf"),) * 3)),
        *(((float("nan"),) * 3, None), ((300.0, 0.0, 0.0), None), ((-2.0, 0.0, 0.0), None), ((0.5, -0.1, 0.5), None)),
    ],
)
def test_what_no_scale_explains_is_refused_with_an_example(mean, std) -> None:
    with pytest.raises(FrozenprobeError, match=r"such as --mean 0\.485 0\.456 0\.406 --std 0\.229"):
        require_unit_scale(mean, std)


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        *((None, None), (IMAGENET_MEAN, IMAGENET_STD), ((0.5,) * 3, (0.5,) * 3), ((0.0,) * 3, (1.0,) * 3)),
        *(((0.485, 0.456, 0.406), (1 / 255,) * 3), ((0.0,) * 3, (0.0039,) * 3), ((1.0,) * 3, (1.0,) * 3)),
    ],
)
def test_what_networks_are_made_with_passes(mean, std) -> None:
    """[0, 1], [-1, 1], 0 to 255, and ImageNet's."""
    require_unit_scale(mean, std)


def test_an_image_is_resized_once_a_size() -> None:
    source = Resized(picture())
    one, other = Resize((20,), InterpolationMode.BICUBIC), Resize((20, 20), InterpolationMode.BICUBIC)
    assert source.to(one) is source.to(one)
    assert source.to(other).size == (20, 20)
    assert source.to(None) is source.image
