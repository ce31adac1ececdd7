"""The backbones by name: what is known about them without loading torch, and where their loader is."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from frozenprobe.errors import FrozenprobeError, unknown_name
from frozenprobe.extract.backbones.licences import remark_on
from frozenprobe.extract.backbones.pretraining import FINE_TUNED, IN1K, UNKNOWN, pretraining_of, saw_imagenet_labels

SWAG_LICENCE = "CC-BY-NC-4.0 (no commercial use)"
BSD = "BSD-3-Clause"
SWAG = "3.6 billion Instagram images with hashtags (SWAG)"
SWAG_E2E = f"{SWAG}, then all of it {FINE_TUNED}-1k"
SWAG_LINEAR = f"{SWAG}; only its classifier saw ImageNet-1k"


@dataclass(frozen=True)
class BackboneInfo:
    """What a name stands for.

    Attributes:
        name: architecture and weights.
        size: S, side of the input in px; 0 where the weights decide.
        dim: D, length of the feature; 0 where the weights decide.
        parameters: of the whole network, classifier included; 0 where the weights decide.
        licence: of the weights.
        pretraining: the data that the weights were trained on.
        loader: `module:function` that makes a Backbone of (info, weights file or None, WeightsOptions).
        source: what the loader needs to know: torchvision's weights enum member or timm's model name.
    """

    name: str
    size: int
    dim: int
    parameters: int
    licence: str
    pretraining: str
    loader: str
    source: str

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the weights may be used for and what they have seen, said plainly."""
        lines = [f"licence of the weights: {self.licence}"]
        if self.licence not in (UNKNOWN, OF_FILE) and (remark := remark_on(self.licence)):
            lines.append(remark)
        lines.append(f"pre-training data: {self.pretraining}")
        if saw_imagenet_labels(self.pretraining):
            lines.append(
                "ImageNet's labels shaped these features: classes like its own (dogs, birds, vehicles, household "
                "things) score higher than classes unlike them; test images taken from ImageNet would not be unseen"
            )
        return tuple(lines)


TORCHVISION = "frozenprobe.extract.backbones.torchvision_models:load_torchvision"
SHAPED = "frozenprobe.extract.backbones.torchvision_models:load_shaped_vit"
TIMM = "frozenprobe.extract.backbones.timm_models:load_timm"
LITE0 = "frozenprobe.extract.backbones.timm_models:load_efficientnet_lite0"

OF_FILE = "that of the file (--weights FILE)"
ANY_VIT = "torchvision:VisionTransformer"

BACKBONES = (
    BackboneInfo(
        "vit_l_16.swag_e2e", 512, 1024, 305_174_504, SWAG_LICENCE, SWAG_E2E, TORCHVISION,
        "ViT_L_16_Weights.IMAGENET1K_SWAG_E2E_V1",
    ),
    BackboneInfo(
        "vit_l_16.swag_linear", 224, 1024, 304_326_632, SWAG_LICENCE, SWAG_LINEAR, TORCHVISION,
        "ViT_L_16_Weights.IMAGENET1K_SWAG_LINEAR_V1",
    ),
    BackboneInfo(
        "vit_l_16.in1k", 224, 1024, 304_326_632, BSD, IN1K, TORCHVISION, "ViT_L_16_Weights.IMAGENET1K_V1"
    ),
    BackboneInfo(
        "vit_b_16.swag_e2e", 384, 768, 86_859_496, SWAG_LICENCE, SWAG_E2E, TORCHVISION,
        "ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1",
    ),
    BackboneInfo(
        "vit_h_14.swag_e2e", 518, 1280, 633_470_440, SWAG_LICENCE, SWAG_E2E, TORCHVISION,
        "ViT_H_14_Weights.IMAGENET1K_SWAG_E2E_V1",
    ),
    BackboneInfo(
        "convnext_tiny.in1k", 224, 768, 28_589_128, BSD, IN1K, TORCHVISION, "ConvNeXt_Tiny_Weights.IMAGENET1K_V1"
    ),
    BackboneInfo(
        "resnet50.in1k_v2", 224, 2048, 25_557_032, BSD, IN1K, TORCHVISION, "ResNet50_Weights.IMAGENET1K_V2"
    ),
    BackboneInfo("resnet18.in1k", 224, 512, 11_689_512, BSD, IN1K, TORCHVISION, "ResNet18_Weights.IMAGENET1K_V1"),
    BackboneInfo("efficientnet_lite0", 224, 1280, 4_652_008, "Apache-2.0", IN1K, LITE0, "tf_efficientnet_lite0"),
)  # fmt: skip

FAMILIES = (
    BackboneInfo("timm:NAME", 0, 0, 0, UNKNOWN, UNKNOWN, TIMM, ""),
    BackboneInfo(ANY_VIT, 0, 0, 0, OF_FILE, "that of the file", SHAPED, ""),
)


def find_backbone(name: str) -> BackboneInfo:
    """The entry for a name, without loading torch.

    Raises:
        FrozenprobeError: no such name; says the nearest one and the list.
    """
    for info in BACKBONES + FAMILIES:
        if info.name == name:
            return info
    if name.startswith("timm:") and len(name) > 5:
        told = pretraining_of("" if ":" in name[5:] else name.partition(".")[2])
        return replace(FAMILIES[0], name=name, source=name[5:], pretraining=told)
    if re.match("(hf[-_]hub|local-dir):", name):
        raise FrozenprobeError(
            "The name of a backbone was wanted",
            found=repr(name),
            where="--backbone",
            remedy=f"timm takes models from there: --backbone timm:{name}",
        )
    raise unknown_name("backbone", name, [info.name for info in BACKBONES + FAMILIES], where="--backbone")
