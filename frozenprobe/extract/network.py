"""A loaded backbone: the network up to its classifier, and reading weights from files that may come from strangers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from frozenprobe.errors import FrozenprobeError, some
from frozenprobe.extract.backbones import BackboneInfo
from frozenprobe.extract.preprocessing import Preprocessing

State = dict[str, torch.Tensor]
WRAPPERS = ("state_dict", "model_state_dict", "model", "model_ema", "teacher")  # where training scripts put weights
PREFIXES = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before every name


@dataclass(frozen=True)
class Backbone:
    """A frozen network that ends where its classification layer begins.

    Attributes:
        info: name, licence and pre-training data.
        network: `(B, 3, S, S)` normalised float -> `(B, D)`, in eval mode, float32.
        classifier: the network's own last layer, `(B, D)` -> logits; None if the weights came without it.
        preprocessing: of the clean view.
        weights_from: the file or the official name that the weights came from.
        architecture: what decides the output but shows in no tensor, such as the number of attention heads.
    """

    info: BackboneInfo
    network: nn.Module
    classifier: nn.Linear | None
    preprocessing: Preprocessing
    weights_from: str
    architecture: str = ""

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the architecture's text and every tensor's name, shape and float32 values, sorted by name."""
        digest = hashlib.sha256(self.architecture.encode())
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} ".encode())
            digest.update(tensor.to(torch.float32).contiguous().numpy().data)
        return digest.hexdigest()


def finish_backbone(
    info: BackboneInfo, network: nn.Module, state: State, *, last: str, preprocessing: Preprocessing, weights_from: str
) -> Backbone:
    """Take the last layer off, load the weights strictly, and freeze.

    Args:
        info: the entry of the list.
        network: the architecture; parameters may be on the meta device.
        state: the weights; those of the last layer may be absent or of any number of classes.
        last: dotted name of the network's classification layer.
        preprocessing: of the clean view.
        weights_from: for the record.

    Raises:
        FrozenprobeError: tensors are missing, left over, or of another shape.
    """
    parent, _, leaf = last.rpartition(".")
    setattr(network.get_submodule(parent), leaf, nn.Identity())
    weight, bias = state.pop(f"{last}.weight", None), state.pop(f"{last}.bias", None)
    require_fit(network, state, info.name, weights_from)
    network.load_state_dict({name: to_float(tensor) for name, tensor in state.items()}, assign=True)
    classifier = None
    if weight is not None and bias is not None and weight.ndim == 2 and bias.shape == weight.shape[:1]:
        classifier = nn.Linear(weight.shape[1], weight.shape[0])
        classifier.load_state_dict({"weight": weight.float(), "bias": bias.float()})
        classifier.requires_grad_(False)
    network.requires_grad_(False).eval()
    if sum(isinstance(module, nn.Conv2d) for module in network.modules()) > 1:
        network = network.to(memory_format=torch.channels_last)  # twice as fast for convolutions on CPU, faster on GPU
    return Backbone(info, network, classifier, preprocessing, weights_from)


def require_fit(network: nn.Module, state: State, name: str, weights_from: str) -> None:
    """Compare names and shapes, and say all that is wrong at once."""
    want = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    have = {key: tuple(tensor.shape) for key, tensor in state.items()}
    optional = {key for key in want if key.endswith("num_batches_tracked")}  # batch counters decide nothing
    for key in optional - set(have):
        state[key] = torch.zeros(())
    missing = [key for key in want if key not in have and key not in optional]
    extra = [key for key in have if key not in want]
    shapes = [f"{key} {have[key]} for {want[key]}" for key in want if key in have and have[key] != want[key]]
    wrong = [("missing", missing), ("left over", extra), ("of another shape", shapes)]
    found = "; ".join(f"{len(names)} {what}: {some(names, most=3)}" for what, names in wrong if names)
    if found:
        raise FrozenprobeError(
            f"Weights that fit the backbone {name}",
            found=f"tensors {found}",
            where=weights_from,
            remedy="choose the --backbone the file was made for (frozenprobe backbones lists them)",
        )


def read_weights(path: Path) -> State:
    """Read a state dict; nothing in the file is run.

    Raises:
        FrozenprobeError: no such file, or not a state dict.
    """

    def broken(found: str) -> FrozenprobeError:
        return FrozenprobeError(
            "A file of weights: a state dict saved by torch.save (.pth, .pt) or as .safetensors",
            found=found,
            where=path,
            remedy="save it with torch.save(model.state_dict(), FILE); a pickled model, which can run code, is refused",
        )

    if not path.is_file():
        raise broken("no such file")
    loaded: Any
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            loaded = load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files make the readers raise a dozen types; all mean the same here
        raise broken(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}") from None
    for key in WRAPPERS:
        inner = loaded.get(key) if isinstance(loaded, Mapping) else None
        loaded = inner if isinstance(inner, Mapping) else loaded
    if not isinstance(loaded, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in loaded.items()
    ):
        raise broken(f"a {type(loaded).__name__} of other things than named tensors")
    state = dict(loaded)
    for prefix in PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state


def to_float(tensor: torch.Tensor) -> torch.Tensor:
    """Weights stored in half precision compute in float32; counters stay whole."""
    return tensor.float() if tensor.is_floating_point() else tensor
