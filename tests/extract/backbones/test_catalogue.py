"""The list of backbones agrees with torchvision, timm and the networks that are built from it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import timm
import torch
from torchvision import models

from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.backbones.catalogue import (
    ANY_VIT,
    BACKBONES,
    FAMILIES,
    IN1K,
    SWAG_LICENCE,
    TORCHVISION,
    BackboneInfo,
    find_backbone,
)
from frozenprobe.extract.backbones.load import load_backbone
from frozenprobe.extract.backbones.torchvision_models import LAST_LAYER, enum_preprocessing
from frozenprobe.extract.options import FeatureOptions

OFFICIAL = [info for info in BACKBONES if info.loader == TORCHVISION]
by_name = pytest.mark.parametrize("info", OFFICIAL, ids=lambda info: info.name)


@by_name
def test_table_agrees_with_torchvisions_weights(info: BackboneInfo) -> None:
    enum = models.get_weight(info.source)
    assert info.parameters == enum.meta["num_params"]
    assert info.size == enum.transforms().crop_size[0] == enum_preprocessing(enum).size
    assert enum.__class__.__name__.removesuffix("_Weights").lower() == info.name.split(".")[0]


@by_name
def test_table_agrees_with_the_built_network(info: BackboneInfo) -> None:
    """Built without memory for its parameters."""
    architecture = info.name.split(".")[0]
    side = {"image_size": info.size} if architecture.startswith("vit") else {}
    with torch.device("meta"):
        network = models.get_model(architecture, weights=None, **side)
    last = network.get_submodule(LAST_LAYER[architecture.split("_")[0].rstrip("0123456789")])
    assert sum(parameter.numel() for parameter in network.parameters()) == info.parameters
    assert last.in_features == info.dim
    assert last.out_features == 1000


@by_name
def test_licence_is_told_from_the_weights(info: BackboneInfo) -> None:
    """SWAG's weights are for non-commercial use; torchvision's own come with its BSD licence."""
    if "SWAG" in info.source:
        assert info.licence == SWAG_LICENCE == "CC-BY-NC-4.0 (no commercial use)"
        assert "Instagram" in info.pretraining
        assert "SWAG" in models.get_weight(info.source).meta["license"]
    else:
        assert (info.licence, info.pretraining) == ("BSD-3-Clause", IN1K)
        assert "license" not in models.get_weight(info.source).meta


def test_remarks_say_licence_data_and_what_follows_from_them() -> None:
    """A permissive alternative for SWAG's weights; the overlap with ImageNet for all that saw its labels."""
    for info in BACKBONES + FAMILIES:
        said = " ".join(info.remarks)
        assert info.licence in said
        assert info.pretraining in said
        assert ("for commercial use take another backbone" in said) == ("swag" in info.name)
    assert "for commercial use" in replace(FAMILIES[0], licence="cc-by-nc-4.0").remarks[1]
    saw_labels = [info.name for info in BACKBONES + FAMILIES if "ImageNet's labels shaped" in " ".join(info.remarks)]
    assert saw_labels == [info.name for info in BACKBONES if info.name != "vit_l_16.swag_linear"]


def test_table_agrees_with_timms_efficientnet() -> None:
    info = find_backbone("efficientnet_lite0")
    model = timm.create_model(info.source)
    assert sum(parameter.numel() for parameter in model.parameters()) == info.parameters
    assert (model.num_features, model.default_cfg["input_size"]) == (info.dim, (3, info.size, info.size))


def test_the_list_has_what_was_promised() -> None:
    names = {info.name for info in BACKBONES + FAMILIES}
    assert FeatureOptions.backbone == "vit_l_16.swag_e2e"
    assert names >= {"vit_l_16.swag_e2e", "vit_l_16.swag_linear", "vit_l_16.in1k", "vit_b_16.swag_e2e", ANY_VIT}
    assert names >= {"vit_h_14.swag_e2e", "convnext_tiny.in1k", "resnet50.in1k_v2", "resnet18.in1k", "timm:NAME"}
    assert len(names) == len(BACKBONES) + len(FAMILIES)


def test_timm_names_are_taken_as_they_are() -> None:
    assert find_backbone("timm:resnet10t.c3_in1k").source == "resnet10t.c3_in1k"
    assert find_backbone("timm:resnet10t.c3_in1k").name == "timm:resnet10t.c3_in1k"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("vit_l_16", "vit_l_16"), ("resnet18", "resnet18.in1k"), ("timm:", "timm:NAME"), ("efficientnet-lite0", "_lite0")],
)
@pytest.mark.parametrize("call", [find_backbone, load_backbone])
def test_unknown_backbone_names_the_nearest_and_the_list(call, name: str, nearest: str) -> None:
    with pytest.raises(FrozenprobeError) as caught:
        call(name)
    assert caught.value.where == "--backbone"
    assert nearest in caught.value.remedy.split("Known")[0]
    assert all(info.name in caught.value.remedy for info in BACKBONES + FAMILIES)


def test_the_list_is_there_without_torch() -> None:
    code = (
        "import sys, frozenprobe.extract.backbones.catalogue as catalogue\n"
        "catalogue.find_backbone('timm:x'); print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
