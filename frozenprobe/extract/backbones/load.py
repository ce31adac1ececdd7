"""A backbone by its name, with the weights that belong to it or those of a file."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from frozenprobe.extract.backbones.backbone import Backbone
from frozenprobe.extract.backbones.catalogue import TIMM, BackboneInfo, find_backbone
from frozenprobe.extract.options import WeightsOptions


def load_backbone(name: str, weights: Path | None = None, options: WeightsOptions | None = None) -> Backbone:
    """Load the network and its weights.

    Args:
        name: see `BACKBONES`; or `timm:NAME`; or `torchvision:VisionTransformer`, whose shape the file decides.
        weights: a local state dict (`.pth`, `.pt`, `.safetensors`); None: the official weights, downloaded once.
        options: what the file cannot tell.

    Raises:
        FrozenprobeError: unknown name, failed download, a file that is no state dict or does not fit.
    """
    info = find_backbone(name)
    module, function = info.loader.split(":")
    backbone: Backbone = getattr(import_module(module), function)(info, weights, options or WeightsOptions())
    return backbone


def look_up(name: str) -> BackboneInfo:
    """What is known of a backbone before it is loaded; a model of timm is looked up in timm.

    Raises:
        FrozenprobeError: unknown name.
    """
    info = find_backbone(name)
    if info.loader != TIMM:
        return info
    from frozenprobe.extract.backbones.timm_models import look_up_timm

    return look_up_timm(info)
