"""A loaded backbone: the network up to its classifier, with weights that fit it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from frozenprobe.errors import FrozenprobeError, some
from frozenprobe.extract.backbones.catalogue import BackboneInfo
from frozenprobe.extract.backbones.weights_file import State
from frozenprobe.extract.views.preprocessing import Preprocessing

Pooled = dict[str, torch.Tensor]  # vectors by name, `(B, D)` each
Pool = Callable[[Any, torch.Tensor, int], Pooled]  # (network, images, last blocks wanted)


@dataclass(frozen=True)
class Backbone:
    """A frozen network that ends where its classification layer begins.

    Attributes:
        info: name, licence and pre-training data.
        network: `(B, 3, S, S)` normalised float -> `(B, D)`, in eval mode, float32; D is the sum over `taps`.
        classifier: the network's own last layer, `(B, D)` -> logits; None if the weights came without it.
        preprocessing: of the clean view.
        weights_from: the file or the official name that the weights came from.
        architecture: what decides the output but shows in no tensor, such as the number of attention heads.
        tap: which vectors the network gives; see `tap_backbone`.
        taps: name and D of each of them, in the order in which they stand side by side.
    """

    info: BackboneInfo
    network: nn.Module
    classifier: nn.Linear | None
    preprocessing: Preprocessing
    weights_from: str
    architecture: str = ""
    tap: str = "head-input"
    taps: tuple[tuple[str, int], ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the architecture's text and every tensor's name, shape and float32 values, sorted by name.

        It is that of the network alone, whatever is tapped.
        """
        network = self.network.network if isinstance(self.network, TappedNetwork) else self.network
        digest = hashlib.sha256(self.architecture.encode())
        for name, tensor in sorted(network.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} ".encode())
            digest.update(tensor.to(torch.float32).contiguous().numpy().data)
        return digest.hexdigest()


class TappedNetwork(nn.Module):
    """A network with the wanted vectors side by side as its output: `(B, 3, S, S)` -> `(B, sum of their D)`.

    Args:
        network: that ends where its classification layer begins.
        names: of the vectors, in the order of the output.
        pool: what computes them.
    """

    def __init__(self, network: nn.Module, names: tuple[str, ...], pool: Pool) -> None:
        super().__init__()
        self.network, self.names, self.pool = network, names, pool
        self.last = max([1, *(int(name.removeprefix("cls-")) for name in names if name.startswith("cls-"))])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The vectors side by side."""
        pooled = self.pool(self.network, images, self.last)
        return torch.cat([pooled[name] for name in self.names], dim=1)


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
    # weights stored in half precision compute in float32; counters stay whole
    single = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    network.load_state_dict(single, assign=True)
    classifier = None
    if weight is not None and bias is not None and weight.ndim == 2 and bias.shape == weight.shape[:1]:
        classifier = nn.Linear(weight.shape[1], weight.shape[0])
        classifier.load_state_dict({"weight": weight.float(), "bias": bias.float()})
        classifier.requires_grad_(False)
    network.requires_grad_(False).eval()
    if is_convolutional(network):
        network = network.to(memory_format=torch.channels_last)  # twice as fast for convolutions on CPU, faster on GPU
    return Backbone(info, network, classifier, preprocessing, weights_from)


def is_convolutional(network: nn.Module) -> bool:
    """Whether a network convolves more than once: a transformer does only to cut its patches."""
    return sum(isinstance(module, nn.Conv2d) for module in network.modules()) > 1


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
