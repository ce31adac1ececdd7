"""A loaded backbone: the network up to its classifier, with weights that fit it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from frozenprobe.extract.backbones.catalogue import BackboneInfo
from frozenprobe.extract.backbones.fit import compare, fits_of, shapes_of
from frozenprobe.extract.backbones.misfit import misfit, saving
from frozenprobe.extract.backbones.weights_file import State, States
from frozenprobe.extract.views.preprocessing import Preprocessing

log = logging.getLogger("frozenprobe")

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
        design: timm's name of the network, without the tag of its weights; empty for others.
        tap: which vectors the network gives; see `tap_backbone`.
        taps: name and D of each of them, in the order in which they stand side by side.
    """

    info: BackboneInfo
    network: nn.Module
    classifier: nn.Linear | None
    preprocessing: Preprocessing
    weights_from: str
    architecture: str = ""
    design: str = ""
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
    """Compare names and shapes, and say all that is wrong at once; counters that are missing are put in."""
    fit = compare(shapes_of(network), state)
    if not fit.is_exact:
        raise misfit(fit, {(): state}, name, Path(weights_from))
    for key in network.state_dict().keys() - state.keys():
        state[key] = torch.zeros(())


def fitting_state(states: States, network: nn.Module, *, last: str, name: str, path: Path) -> State:
    """The tensors of a file that are a network's, by its names; says what was taken off, and what else would fit.

    Args:
        states: the state dicts of the file.
        network: with its classification layer or without.
        last: dotted name of that layer, whose tensors may be absent or of any number of classes.
        name: of the backbone.
        path: of the file.

    Raises:
        FrozenprobeError: nothing in the file fits as a whole; says what is in it, and what may be dropped.
    """
    fits = list(fits_of(states, shapes_of(network), last))
    exact = [fit for fit in fits if fit.is_exact]
    if not exact:
        raise misfit(max(fits, key=lambda fit: fit.matching), states, name, path)
    taken, others = exact[0], [fit for fit in exact if fit.keys != exact[0].keys]
    if others:
        log.warning(
            "weights in %s: took those %s; those %s would fit, too (plain weights go before averaged ones, a teacher "
            "before its student). To have others, save them alone, and name that file:\n    %s",
            *(path, taken.origin, ", ".join(fit.origin for fit in others), saving(others[0], path)),
        )
    elif taken.is_unpacked:
        log.info("weights in %s: took those %s; all %d tensors fit", path, taken.origin, taken.matching)
    return taken.state
