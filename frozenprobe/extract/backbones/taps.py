"""Taps: the vectors of one forward pass that are stored, by name; side by side they become the network's output."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torchvision import models

from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.backbones.backbone import Backbone, Pool, Pooled, TappedNetwork
from frozenprobe.extract.options import TAPS

log = logging.getLogger("frozenprobe")

AUTO = "auto"
CLS, MEAN, HEAD_INPUT = "cls", "mean", "head-input"
LAST = 4  # blocks whose class tokens DINOv2's linear evaluation takes (Oquab et al. 2023, section B.3)
TOKENS = ("VisionTransformer", "Eva", "Beit", "VisionTransformerRelPos")  # timm's, whose tokens all mean the same


# What the authors of timm's families classify with, where the weights come without a classifier. The first pattern that
# matches timm's name of the network counts; networks in no row, as those with a classifier, give what timm pools.
FAMILIES = (
    # DINOv3 (Siméoni et al. 2025): the class token, or it and the mean, as in the authors' hub/classifiers.py. timm
    # pools the mean and keeps that for what was built on it, though its maintainer found the class token to be better
    # (its issue 2681, pull request 2730). EUPE comes in the same networks, and by its cards with the same token.
    (r"vit_\w+_dinov3", CLS),
    # Their ConvNeXts, and others, have no class token: what the authors call so is the normed mean, timm's head input.
    (r"convnext", HEAD_INPUT),
    # DINOv2 (Oquab et al. 2023, section B.3); TIPS (Maninis et al. 2025) and TIPSv2, whose first token is the global
    # one; LingBot and Sapiens 2, as timm pools them.
    (r"vit_\w+_(dinov2|tipsv2|lingbot|sapiens2)", CLS),
    # SigLIP (Zhai et al. 2023), SigLIP 2 (Tschannen et al. 2025), PE core (Bolya et al. 2025): a pooling by attention,
    # trained with the rest, and never the mean. Where timm left it away (gap), the mean is what there is.
    (r"(vit|naflexvit)_\w+_siglip|vit_pe_core", HEAD_INPUT),
    # PE lang and spatial (Bolya et al. 2025) come without a pooling; AIMv2 (Fini et al. 2025), I-JEPA (Assran et al.
    # 2023) and timm's SoViTs with GAP without a class token; EVA-02 (Fang et al. 2023) classifies with the mean.
    (r"vit_pe_(lang|spatial)|aimv2|eva02_\w+_patch14_\d+$|vit_\w+_gap_", HEAD_INPUT),
)


@dataclass(frozen=True)
class Offer:
    """What a network can give.

    Attributes:
        own: what its classification layer sees: `cls`, or `head-input` where that is no class token.
        names: of everything it can give besides.
        pool: (network, images, last blocks wanted) -> vectors by name, `(B, D)` each.
    """

    own: str
    names: tuple[str, ...] = ()
    pool: Pool = lambda network, images, last: {}

    def gives(self, tap: str) -> bool:
        """Whether the network has all vectors of a tap."""
        return {*names_of(tap)} <= {self.own, *self.names}


def names_of(tap: str) -> tuple[str, ...]:
    """Names of the vectors that a tap stores, in the order in which they are."""
    if tap == "last4":
        return (CLS, *(f"cls-{back}" for back in range(2, LAST + 1)), MEAN)
    return tuple(tap.split("+"))


def tap_backbone(backbone: Backbone, tap: str) -> Backbone:
    """The backbone with a tap as the output of its network; what it is by itself stays as it is.

    Args:
        backbone: as loaded.
        tap: a name of `TAPS`; `auto`: what the network's own classification layer sees; where the weights come without
            one, what the authors of its family classify with (`FAMILIES`).

    Raises:
        FrozenprobeError: the network cannot give it; says what it can.
    """
    offer = offer_of(backbone.network)
    side = backbone.preprocessing.size
    if tap == AUTO:
        tap = authors_tap(backbone, offer)
    if tap not in (AUTO, offer.own) and getattr(backbone.network, "attn_pool", None) is not None:
        log.warning(
            "tap %s of %s: its pooling by attention was trained, and head-input is what comes out of it; the tokens "
            "themselves classify worse as a rule (leave --tap out)",
            *(tap, backbone.info.name),
        )
    if tap in (AUTO, offer.own):
        dim = output_width(backbone.network, side) or backbone.info.dim
        return replace(backbone, tap=offer.own, taps=((offer.own, dim),))
    names = names_of(tap)
    network = TappedNetwork(backbone.network, names, offer.pool).eval()
    width = output_width(network, side) if offer.gives(tap) else None
    if width is None:
        others = [name for name in TAPS if name not in (AUTO, offer.own, tap) and offer.gives(name)]
        raise FrozenprobeError(
            f"A network that has the tap {tap}",
            found=f"{backbone.info.name}, whose classification layer sees {offer.own}; besides it has "
            + (", ".join(others) or "none that is known here"),
            where="--tap",
            remedy="leave --tap out, or choose one that it has",
        )
    taps = tuple((name, width // len(names)) for name in names)  # tokens of one network are all as wide
    return replace(backbone, network=network, tap=tap, taps=taps)


def authors_tap(backbone: Backbone, offer: Offer) -> str:
    """What `auto` stands for: the own classifier's input, or what the authors of the family take in place of one."""
    if backbone.classifier is not None:
        return offer.own
    tap = next((tap for family, tap in FAMILIES if re.match(family, backbone.design)), offer.own)
    if tap == offer.own or not offer.gives(tap):
        return offer.own
    name = backbone.info.name
    log.info("tap %s of %s, which its authors classify with; --tap cls+mean stores the patches' mean, too", tap, name)
    return tap


def output_width(network: nn.Module, side: int) -> int | None:
    """D of what a network gives for images of a side in px, by a pass without numbers; None where there is none."""
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    shadow = {name: tensor.to("meta") for name, tensor in tensors.items()}
    try:
        images = torch.zeros(1, 3, side, side, device="meta")
        output: torch.Tensor = torch.func.functional_call(network, shadow, (images,))
        return int(output.shape[1])
    except Exception:  # any of timm's thousand networks: what it raises where something is missing is its own
        return None


def offer_of(network: nn.Module) -> Offer:
    """What a network can give, of the families that are known; of others only what their classifier sees."""
    if isinstance(network, models.VisionTransformer):
        return Offer(CLS, class_tokens(len(network.encoder.layers)), pool_torchvision_vit)
    if isinstance(network, models.ConvNeXt):
        return Offer(HEAD_INPUT, (MEAN,), pool_convnext)
    if isinstance(network, models.ResNet):
        return Offer(HEAD_INPUT, (MEAN,), pool_head_input)
    if any(each.__name__ in TOKENS and each.__module__.startswith("timm.") for each in type(network).__mro__):
        timm: Any = network
        if timm.cls_token is None:
            return Offer(HEAD_INPUT, (MEAN,), pool_timm_tokens)
        seen = timm.global_pool == "token" and getattr(timm, "attn_pool", None) is None
        return Offer(CLS if seen else HEAD_INPUT, class_tokens(len(timm.blocks)), pool_timm_tokens)
    if hasattr(network, "forward_features") and hasattr(network, "num_features"):
        return Offer(HEAD_INPUT, (MEAN,), pool_timm_features)
    return Offer(HEAD_INPUT)


def class_tokens(blocks: int) -> tuple[str, ...]:
    """What a network of so many blocks with a class token has."""
    return (CLS, MEAN, *(f"cls-{back}" for back in range(2, min(LAST, blocks) + 1)))


def pool_torchvision_vit(network: Any, images: torch.Tensor, last: int) -> Pooled:
    """torchvision's VisionTransformer.forward, with the class tokens of earlier blocks kept."""
    patches = network._process_input(images)
    tokens = torch.cat([network.class_token.expand(patches.shape[0], -1, -1), patches], dim=1)
    encoder = network.encoder
    tokens = encoder.dropout(tokens + encoder.pos_embedding)
    seen = []
    for block in encoder.layers:
        tokens = block(tokens)
        seen.append(tokens[:, 0])
    pooled = {f"cls-{back}": encoder.ln(seen[-back]) for back in range(2, last + 1)}
    tokens = encoder.ln(tokens)
    return pooled | {CLS: tokens[:, 0], MEAN: tokens[:, 1:].mean(dim=1)}


def pool_timm_tokens(network: Any, images: torch.Tensor, last: int) -> Pooled:
    """timm's vision transformers: class token first, then registers, then patches.

    The final norm stands before the pooling (`norm`) or behind it (`fc_norm`); the other one is an Identity.
    """
    finish = getattr(network, "fc_norm", nn.Identity())
    pooled: Pooled = {}
    if last == 1:
        tokens = network.forward_features(images)
    else:
        tokens, blocks = network.forward_intermediates(
            images, indices=last, return_prefix_tokens=True, norm=False, output_fmt="NLC"
        )
        pooled = {f"cls-{back}": finish(network.norm(blocks[-back][1][:, 0])) for back in range(2, last + 1)}
    if network.cls_token is not None:
        pooled[CLS] = finish(tokens[:, 0])
    return pooled | {MEAN: finish(tokens[:, network.num_prefix_tokens :].mean(dim=1))}


def pool_timm_features(network: Any, images: torch.Tensor, last: int) -> Pooled:
    """timm's other networks: the mean over the places of the last feature map, or over tokens where no class token is.

    Nothing, where it cannot be told which numbers are the places.
    """
    features = network.forward_features(images)
    if features.ndim == 4 and getattr(network, "output_fmt", "NCHW") == "NHWC":
        mean = features.mean(dim=(1, 2))
    elif features.ndim == 4:
        mean = features.mean(dim=(2, 3))
    elif features.ndim == 3 and (hasattr(network, "num_prefix_tokens") or not hasattr(network, "cls_token")):
        mean = features[:, getattr(network, "num_prefix_tokens", 0) :].mean(dim=1)
    else:
        return {}
    return {MEAN: mean} if mean.shape[1] == network.num_features else {}


def pool_convnext(network: Any, images: torch.Tensor, last: int) -> Pooled:
    """torchvision's ConvNeXt: its classifier sees this mean after one more norm."""
    return {MEAN: network.avgpool(network.features(images)).flatten(1)}


def pool_head_input(network: Any, images: torch.Tensor, last: int) -> Pooled:
    """Networks whose classifier sees the mean of the last feature map and nothing else."""
    return {MEAN: network(images)}
