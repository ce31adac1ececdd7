"""torchvision's networks and weights, and any state dict in the layout of its VisionTransformer."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.error import URLError

import torch
from torch import nn
from torchvision import models

from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.backbones.architectures import LAST_LAYER, empty_network
from frozenprobe.extract.backbones.backbone import Backbone, finish_backbone, fitting_state
from frozenprobe.extract.backbones.catalogue import ANY_VIT, BackboneInfo, find_backbone
from frozenprobe.extract.backbones.fit import renamed
from frozenprobe.extract.backbones.misfit import choose_another, contents_of
from frozenprobe.extract.backbones.weights_file import State, States, read_states
from frozenprobe.extract.options import WeightsOptions
from frozenprobe.extract.views.preprocessing import Preprocessing, require_unit_scale

TELLING = ("conv_proj.weight", "encoder.pos_embedding", "encoder.layers.encoder_layer_0.mlp.0.weight")


@dataclass(frozen=True)
class VitShape:
    """What the tensors of a VisionTransformer tell: patch and image side in px, width, number of blocks, MLP width."""

    patch: int
    width: int
    depth: int
    mlp: int
    size: int

    def __str__(self) -> str:
        return f"patch {self.patch}, width {self.width}, {self.depth} blocks, MLP {self.mlp}, {self.size} px"


# What the tensors do not tell. Attention heads by (patch, width, depth): Dosovitskiy et al. 2021, table 1, and
# torchvision's builders; width 384 as in DeiT-S (Touvron et al. 2021). Preprocessing by (patch, width, depth, size)
# where only one is in use: torchvision's weights of that size; 224 px at patch 14 resizes to 256 (DINOv2's evaluation).
KNOWN_HEADS = {
    (14, 384, 12): 6,
    (16, 384, 12): 6,
    (16, 768, 12): 12,
    (32, 768, 12): 12,
    (16, 1024, 24): 16,
    (32, 1024, 24): 16,
    (14, 1280, 32): 16,
}
KNOWN_PREPROCESSING = {
    (16, 768, 12, 384): Preprocessing(384, 384, "bicubic"),
    (16, 1024, 24, 512): Preprocessing(512, 512, "bicubic"),
    (14, 1280, 32, 518): Preprocessing(518, 518, "bicubic"),
    (14, 384, 12, 224): Preprocessing(256, 224, "bicubic"),
}


def load_torchvision(info: BackboneInfo, weights: Path | None, options: WeightsOptions) -> Backbone:
    """Load one of torchvision's networks with its official weights or a local file.

    A file in VisionTransformer's layout but of another shape than the name says is loaded as what it is.
    """
    enum = models.get_weight(info.source)
    network, last = empty_network(info)
    if weights is None:
        require_heads(heads_of(network), options, info.name)
        state, weights_from = with_present_names(download(enum, info.name)), info.source
    else:
        states = read_vit_states(weights)
        shape = find_vit_shape(states) if heads_of(network) else None
        if shape is not None and shape != read_vit_shape(network.state_dict()):
            return shaped_vit(states, shape, options, weights)
        require_heads(heads_of(network), options, info.name)
        state, weights_from = fitting_state(states, network, last=last, name=info.name, path=weights), str(weights)
    preprocessing = adjust(enum_preprocessing(enum), options)
    return finish_backbone(info, network, state, last=last, preprocessing=preprocessing, weights_from=weights_from)


def load_shaped_vit(info: BackboneInfo, weights: Path | None, options: WeightsOptions) -> Backbone:
    """Load a VisionTransformer whose shape is read off the file's tensors."""
    if weights is None:
        raise FrozenprobeError(
            f"A file of weights for {info.name}", found="none", where="--weights", remedy="add --weights FILE"
        )
    states = read_vit_states(weights)
    shape = find_vit_shape(states)
    if shape is None:
        raise FrozenprobeError(
            "Tensors named as in torchvision's VisionTransformer (conv_proj.weight, encoder.pos_embedding ...)",
            found=contents_of(states),
            where=weights,
            remedy=choose_another(states),
        )
    return shaped_vit(states, shape, options, weights)


def shaped_vit(states: States, shape: VitShape, options: WeightsOptions, weights: Path) -> Backbone:
    """A VisionTransformer of this shape; what the tensors do not tell comes from the tables or the options."""
    heads = options.heads if options.heads is not None else KNOWN_HEADS.get((shape.patch, shape.width, shape.depth))
    preprocessing = KNOWN_PREPROCESSING.get((shape.patch, shape.width, shape.depth, shape.size))
    if preprocessing is None and options.resize and options.interpolation and options.mean and options.std:
        preprocessing = Preprocessing(options.resize, shape.size)
    if heads is None or preprocessing is None:
        unknown = ["--attention-heads"] if heads is None else []
        unknown += ["--resize", "--interpolation", "--mean", "--std"] if preprocessing is None else []
        raise FrozenprobeError(
            "What the tensors cannot tell: attention heads and preprocessing",
            found=f"a VisionTransformer of {shape}, which is not in the table of known shapes",
            where=weights,
            remedy=f"give {' '.join(unknown)} as the weights were trained with, or the --backbone they belong to",
        )
    if heads < 1 or shape.width % heads:
        raise FrozenprobeError(
            f"A number of attention heads that divides the width {shape.width}",
            found=str(heads),
            where="--attention-heads",
            remedy="give the number that the weights were trained with",
        )
    with torch.device("meta"):
        network = models.VisionTransformer(
            image_size=shape.size,
            patch_size=shape.patch,
            num_layers=shape.depth,
            num_heads=heads,
            hidden_dim=shape.width,
            mlp_dim=shape.mlp,
        )
    last = LAST_LAYER["vit"]
    state = fitting_state(states, network, last=last, name=ANY_VIT, path=weights)
    info = replace(
        find_backbone(ANY_VIT),
        size=shape.size,
        dim=shape.width,
        parameters=sum(tensor.numel() for tensor in state.values()),
    )
    preprocessing = adjust(preprocessing, options)
    backbone = finish_backbone(info, network, state, last=last, preprocessing=preprocessing, weights_from=str(weights))
    return replace(backbone, architecture=f"{heads} heads")


def read_vit_states(weights: Path) -> States:
    """The state dicts of a file, by the present names of torchvision's layers."""
    return {keys: with_present_names(state) for keys, state in read_states(weights).items()}


def with_present_names(state: State) -> State:
    """torchvision 0.14 renamed the MLP's layers; the official files of its VisionTransformers have the old names."""
    return {
        name.replace(".mlp.linear_1.", ".mlp.0.").replace(".mlp.linear_2.", ".mlp.3."): tensor
        for name, tensor in state.items()
    }


def find_vit_shape(states: States) -> VitShape | None:
    """The shape of the first VisionTransformer in a file, whatever it lies under; None if there is none."""
    shapes = (read_vit_shape(state) for _, _, state in renamed(states, dict.fromkeys(TELLING)))
    return next((shape for shape in shapes if shape is not None), None)


def read_vit_shape(state: State) -> VitShape | None:
    """The shape of a VisionTransformer's state dict; None if it is something else."""
    blocks = {int(found[1]) for key in state if (found := re.match(r"encoder\.layers\.encoder_layer_(\d+)\.", key))}
    if not set(TELLING) <= set(state):
        return None
    patches, positions, mlp = (state[name] for name in TELLING)
    if patches.ndim != 4 or positions.ndim != 3 or positions.shape[1] < 2 or mlp.ndim != 2:
        return None
    grid = math.isqrt(positions.shape[1] - 1)
    return VitShape(patches.shape[2], patches.shape[0], len(blocks), mlp.shape[0], grid * patches.shape[2])


def enum_preprocessing(enum: models.WeightsEnum) -> Preprocessing:
    """The preprocessing that torchvision keeps with its weights."""
    preset = enum.transforms()
    (resize,), (size,) = preset.resize_size, preset.crop_size
    return Preprocessing(resize, size, preset.interpolation.value, tuple(preset.mean), tuple(preset.std))


def heads_of(network: nn.Module) -> int | None:
    """Attention heads of one of torchvision's VisionTransformers; None: it is something else."""
    return network.encoder.layers[0].num_heads if isinstance(network, models.VisionTransformer) else None


def require_heads(own: int | None, options: WeightsOptions, name: str) -> None:
    """Refuse a number of attention heads for a network whose own is known; None: it has none to choose.

    Raises:
        FrozenprobeError: another number was given.
    """
    if options.heads not in (None, own):
        raise FrozenprobeError(
            f"--attention-heads, which is only for a VisionTransformer of a shape that is in no table ({ANY_VIT})",
            found=f"{options.heads} for {name}, "
            + (f"which has {own}" if own else "to which it does not apply")
            + "; it has nothing to do with the heads of `probe --head`",
            where="--attention-heads",
            remedy="leave it out",
        )


def adjust(preprocessing: Preprocessing, options: WeightsOptions) -> Preprocessing:
    """Put the options that were given in place of the table's values.

    Raises:
        FrozenprobeError: a value that no preprocessing can have.
    """
    require_unit_scale(options.mean, options.std)
    if options.resize is not None and options.resize < preprocessing.size:
        raise FrozenprobeError(
            f"A short side from {preprocessing.size} px on, the side of the backbone's input, which is cut out of it",
            found=str(options.resize),
            where="--resize",
            remedy=f"give --resize {preprocessing.size} or more, as the weights were trained with, or leave it out",
        )
    return replace(
        preprocessing,
        resize=options.resize or preprocessing.resize,
        interpolation=options.interpolation or preprocessing.interpolation,
        mean=options.mean or preprocessing.mean,
        std=options.std or preprocessing.std,
    )


def download(enum: models.WeightsEnum, name: str) -> State:
    """torchvision's official weights: downloaded once, checked against the hash in their file name.

    Raises:
        FrozenprobeError: no connection or another content; names the address, the target and the way without.
    """
    target = Path(torch.hub.get_dir(), "checkpoints", enum.url.rsplit("/", 1)[-1])
    try:
        state: State = dict(enum.get_state_dict(progress=True, check_hash=True, weights_only=True))
    except (URLError, OSError, RuntimeError) as error:
        raise FrozenprobeError(
            f"The official weights of {name}",
            found=f"{type(error).__name__}: {error}",
            where=f"{enum.url} -> {target}",
            remedy="check the connection and the free disk space; or fetch the file elsewhere and add --weights FILE "
            "(Kaggle: switch Internet on)",
        ) from None
    return state
