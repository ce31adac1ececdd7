"""Tags: what data shaped the weights, and whether ImageNet's labels did."""

from __future__ import annotations

import pytest
from timm.models._registry import _model_pretrained_cfgs

from frozenprobe.extract.backbones.catalogue import find_backbone
from frozenprobe.extract.backbones.pretraining import UNKNOWN, pretraining_of, saw_imagenet_labels


@pytest.mark.parametrize(
    ("tag", "told", "labels"),
    [
        ("a1_in1k", "ImageNet-1k, supervised", True),
        ("augreg_in21k", "ImageNet-21k, supervised", True),
        ("augreg_in21k_ft_in1k", "ImageNet-21k, then fine-tuned on ImageNet-1k", True),
        ("sw_in12k_ft_in1k", "ImageNet-12k, then fine-tuned on ImageNet-1k", True),
        ("fb_in22k_ft_in1k_384", "ImageNet-22k, then fine-tuned on ImageNet-1k", True),
        ("laion2b_ft_in12k_in1k", "LAION-2B captions, then fine-tuned on ImageNet-12k and ImageNet-1k", True),
        ("openai", "OpenAI's CLIP captions", False),
        ("v2_webli", "WebLI captions", False),
        ("lvd142m", "LVD-142M, without labels", False),
        ("dinov3_lvd1689m", "LVD-1689M, without labels", False),
        ("sat493m", "SAT-493M satellite images, without labels", False),
        ("mim_in22k", "ImageNet-22k, without labels", False),
        ("in1k_ijepa", "ImageNet-1k, without labels", False),
        ("dino", "ImageNet-1k, without labels", False),
        ("mae", "ImageNet-1k, without labels", False),
        ("mae_in1k_ft_in1k", "ImageNet-1k, without labels, then fine-tuned on ImageNet-1k", True),
        ("fcmae_ft_in22k_in1k", "ImageNet-1k, without labels, then fine-tuned on ImageNet-22k and ImageNet-1k", True),
        ("swag_lc_in1k", "SWAG); only its classifier saw ImageNet-1k", False),
        ("fb", UNKNOWN, False),
        ("", UNKNOWN, False),
    ],
)
def test_a_tag_tells_data_and_labels(tag: str, told: str, labels: bool) -> None:
    assert pretraining_of(tag).endswith(told)
    assert saw_imagenet_labels(pretraining_of(tag)) == labels


def test_no_tag_of_timm_that_names_imagenet_is_passed_over() -> None:
    tags = {each.tag for each in _model_pretrained_cfgs.values() if each.tag}
    assert [tag for tag in tags if "in1k" in tag and "ImageNet-1k" not in pretraining_of(tag)] == []
    assert [tag for tag in tags if "ft_in" in tag and not saw_imagenet_labels(pretraining_of(tag))] == []


def test_the_name_alone_says_it_before_anything_is_loaded() -> None:
    said = " ".join(find_backbone("timm:vit_base_patch16_224.augreg_in21k_ft_in1k").remarks)
    assert "ImageNet's labels shaped these features" in said
    assert "labels" not in " ".join(find_backbone("timm:hf-hub:someone/net.in1k").remarks)
