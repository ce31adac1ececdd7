"""Networks without weights, and which of them, of the list's and of timm's, the tensors of a file are made for."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from torchvision import models

from frozenprobe.extract.backbones.catalogue import BACKBONES, TORCHVISION, BackboneInfo
from frozenprobe.extract.backbones.fit import Shapes, fits_of, shapes_of
from frozenprobe.extract.backbones.weights_file import State, States

LAST_LAYER = {"vit": "heads.head", "convnext": "classifier.2", "resnet": "fc"}
VIT_SIZES = {  # timm's words for (width, blocks)
    (192, 12): "tiny",
    (384, 12): "small",
    (768, 12): "base",
    (1024, 24): "large",
    (1280, 32): "huge",
    (1408, 40): "giant",
    (1536, 40): "giant",
}
CLASSIFIERS = r"(.*\.)?(head|heads|fc|classifier)(\.(head|fc|\d+))?\.weight"


def empty_network(info: BackboneInfo) -> tuple[nn.Module, str]:
    """One of torchvision's networks on the meta device, and the name of its classification layer.

    Weights replace every tensor: drawing random ones first would cost seconds.
    """
    architecture = info.name.split(".")[0]
    side = {"image_size": info.size} if architecture.startswith("vit") else {}
    with torch.device("meta"):
        network = models.get_model(architecture, weights=None, **side)
    return network, LAST_LAYER[re.match("[a-z]+", architecture)[0]]  # type: ignore[index]  # names begin with letters


def fitting_backbone(states: States) -> str | None:
    """The name of a backbone that something in a file fits as a whole; None where none of those tried does."""
    for name, shapes, last in (*torchvision_shapes(), *timm_shapes(states)):
        if any(fit.is_exact for fit in fits_of(states, shapes, last)):
            return name
    return None


@cache
def torchvision_shapes() -> tuple[tuple[str, Shapes, str], ...]:
    """Name, tensors and classification layer of torchvision's networks in the list."""
    built = [(info.name, *empty_network(info)) for info in BACKBONES if info.loader == TORCHVISION]
    return tuple((name, shapes_of(network), last) for name, network, last in built)


def timm_shapes(states: States) -> Iterator[tuple[str, Shapes, str]]:
    """The same of those of timm's vision transformers that have the width, depth and patch of one in the file."""
    if find_spec("timm") is None:
        return
    timm: Any = import_module("timm")
    for name in dict.fromkeys(name for state in states.values() for name in vit_names(state)):
        if timm.is_model(name):
            with torch.device("meta"):
                network = timm.create_model(name)
            yield f"timm:{name}", shapes_of(network), str(network.default_cfg["classifier"])


def vit_names(state: State) -> list[str]:
    """What timm could call the vision transformer that is in a state dict."""
    patches = next((tensor for name, tensor in state.items() if name.endswith("patch_embed.proj.weight")), None)
    if patches is None or patches.ndim != 4:
        return []
    size, patch = VIT_SIZES.get((patches.shape[0], depth_of(state))), patches.shape[2]
    if size is None:
        return []
    positions = [tensor for name, tensor in state.items() if name.endswith("pos_embed") and tensor.ndim == 3]
    sides = [math.isqrt(tensor.shape[1]) * patch for tensor in positions]  # a class token more is less than a row more
    rests = ("_dinov2", "_reg4_dinov2", "_dinov3", "_dinov3_qkvb", *(f"_{side}" for side in (*sides, 224)))
    return [f"{kind}_{size}_patch{patch}{rest}" for kind in ("vit", "deit") for rest in rests]


def depth_of(state: State) -> int:
    """The number of blocks that the names tell."""
    pattern = re.compile(r"(?:.*\.)?(?:blocks|layers|layer|resblocks|encoder_layer)[._](\d+)\.")
    return len({found[1] for name in state if (found := pattern.match(name))})


def describe(state: State) -> str:
    """What kind of network a state dict seems to be of, in words; empty where that cannot be told."""
    telling = (
        (
            "embeddings.patch_embeddings.projection.weight",
            "a vision transformer in the names of Hugging Face's transformers",
        ),
        ("patch_embed.proj.weight", "a vision transformer in timm's and DINO's names"),
        ("conv_proj.weight", "a vision transformer in torchvision's names"),
        ("visual.conv1.weight", "a CLIP model in OpenAI's names"),
        ("stages.0.blocks.0.conv_dw.weight", "a ConvNeXt in timm's names"),
        ("features.0.0.weight", "one of torchvision's convolutional networks"),
        ("layer1.0.conv1.weight", "a ResNet"),
        ("downsample_layers.0.0.weight", "a ConvNeXt in its authors' names"),
    )
    for name, words in telling:
        first = next((tensor for key, tensor in state.items() if key == name or key.endswith(f".{name}")), None)
        if first is not None:
            return ", ".join([words, *measures(state, first)])
    return ""


def measures(state: State, first: torch.Tensor) -> list[str]:
    """Width, patch, depth and number of classes, as far as they can be told."""
    told = []
    if first.ndim == 4 and first.shape[2] == first.shape[3] and first.shape[2] > 7:
        told = [f"patch {first.shape[2]}, width {first.shape[0]}, {depth_of(state)} blocks"]
    stages = [
        len({found[1] for name in state if (found := re.match(rf"(?:.*\.)?layer{number}\.(\d+)\.", name))})
        for number in (1, 2, 3, 4)
    ]
    told += [f"{' + '.join(map(str, stages))} blocks"] if all(stages) else []
    classes = [
        tensor.shape[0] for name, tensor in state.items() if re.fullmatch(CLASSIFIERS, name) and tensor.ndim == 2
    ]
    told += ["pooled by the mean (fc_norm)"] if any("fc_norm." in name for name in state) else []
    return [*told, f"{classes[-1]} classes" if classes else "no classification layer"]
