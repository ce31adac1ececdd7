"""How the tensors of a file fit a network: under which keys, and without which prefix of their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from frozenprobe.errors import some
from frozenprobe.extract.backbones.weights_file import State, States

Shapes = Mapping[str, tuple[int, ...]]
COUNTERS = "num_batches_tracked"  # of batch norm: they decide nothing
WRAPPING = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")  # torch's, anywhere in a name
INSIDE = "*"  # stands for these in place of a prefix
ANCHORS = 8  # names of the network that prefixes are looked for with


@dataclass(frozen=True)
class Fit:
    """How a state dict of a file, under its keys and without a prefix, fits a network.

    Attributes:
        keys: that the state dict lies under in the file.
        prefix: taken off its names; `INSIDE`: torch's wrapping, wherever it is.
        state: what is left, the classification layer included.
        missing: names of the network that it has not.
        extra: names that the network has not.
        misshapen: `name shape for wanted shape`.
        matching: how many tensors fit.
    """

    keys: tuple[str, ...]
    prefix: str
    state: State
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    misshapen: tuple[str, ...]
    matching: int

    @property
    def is_exact(self) -> bool:
        """Whether every tensor fits."""
        return not (self.missing or self.extra or self.misshapen)

    @property
    def found(self) -> str:
        """What does not fit, in numbers and examples."""
        wrong = (("missing", self.missing), ("left over", self.extra), ("of another shape", self.misshapen))
        return "; ".join(f"{len(names)} {what}: {some(names, most=3)}" for what, names in wrong if names)

    @property
    def is_unpacked(self) -> bool:
        """Whether keys or a prefix had to be taken off."""
        return bool(self.keys or self.prefix)

    @property
    def origin(self) -> str:
        """Where in the file it was found, for a person."""
        under = f"under {' / '.join(map(repr, self.keys))}" if self.keys else "at the top"
        prefix = "what torch's wrappers put into the names" if self.prefix == INSIDE else f"the prefix {self.prefix!r}"
        return f"{under}, without {prefix}" if self.prefix else under


def shapes_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors of a network."""
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def fits_of(states: States, wanted: Shapes, last: str = "") -> Iterator[Fit]:
    """How each state dict, under each prefix that could be meant, fits the names and shapes of a network."""
    layer = {f"{last}.weight", f"{last}.bias"}
    wanted = {key: shape for key, shape in wanted.items() if key not in layer}
    for keys, prefix, state in renamed(states, wanted):
        yield compare(
            wanted, {name: tensor for name, tensor in state.items() if name not in layer}, keys, prefix, state
        )


def renamed(states: States, wanted: Mapping[str, object]) -> Iterator[tuple[tuple[str, ...], str, State]]:
    """Each state dict of a file as it is, without each prefix that could be meant, and without torch's wrapping."""
    anchors = sorted(wanted)[:: max(1, len(wanted) // ANCHORS)]
    for keys, state in states.items():
        found = Counter(name[: -len(anchor)] for anchor in anchors for name in state if name.endswith(f".{anchor}"))
        for prefix in ("", *(prefix for prefix, _ in found.most_common())):
            names = {name: name.removeprefix(prefix) for name in state}
            if len({*names.values()}) == len(state):
                yield keys, prefix, {names[name]: tensor for name, tensor in state.items()}
        plain = {".".join(part for part in name.split(".") if part not in WRAPPING): name for name in state}
        if len(plain) == len(state) and plain.keys() != state.keys():
            yield keys, INSIDE, {name: state[whole] for name, whole in plain.items()}


def compare(
    wanted: Shapes, have: State, keys: tuple[str, ...] = (), prefix: str = "", state: State | None = None
) -> Fit:
    """Hold tensors against the names and shapes of a network; counters of batches may be missing."""
    shapes = {name: tuple(tensor.shape) for name, tensor in have.items()}
    missing = tuple(name for name in wanted if name not in shapes and not name.endswith(COUNTERS))
    extra = tuple(name for name in shapes if name not in wanted)
    both = [name for name in wanted if name in shapes]
    misshapen = tuple(f"{name} {shapes[name]} for {wanted[name]}" for name in both if shapes[name] != wanted[name])
    return Fit(keys, prefix, have if state is None else state, missing, extra, misshapen, len(both) - len(misshapen))
