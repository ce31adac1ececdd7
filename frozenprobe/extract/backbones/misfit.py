"""What to say of weights that do not fit: what is in the file, what may be dropped and how, what it was made for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container
from pathlib import Path

from frozenprobe.errors import FrozenprobeError, some
from frozenprobe.extract.backbones.architectures import describe, fitting_backbone
from frozenprobe.extract.backbones.fit import COUNTERS, INSIDE, WRAPPING, Fit
from frozenprobe.extract.backbones.weights_file import States, cleaned_name

DROPPABLE = (  # what is left over of training, and what it was for
    (r"mask_tokens?\b", "stands for hidden patches, in pre-training only"),
    (r"decoder", "the decoder of masked pre-training (MAE)"),
    (r"(\w+_)?head\.(mlp|last_layer)\b|(dino|ibot)_head\b", "DINO's projection head, of pre-training only"),
    (
        r"(projector|projection_head|predictor|prototypes|queue|queue_ptr|instance_head)\b",
        "of contrastive pre-training",
    ),
    (r"(fc|heads?|classifier|last_linear|linear|probe)\b", "a classification layer of another make"),
    (r"(aux|head_dist|dist_token)", "of distillation"),
    (r"(text|text_\w+|token_embedding|logit_scale|logit_bias|visual_projection)\b", "the text side"),
    (r"(criterion|loss\w*|metric\w*|\w*_metrics?)\b", "of the loss or a metric"),
    (rf".*\b({COUNTERS}|n_averaged)$", "a counter"),
)


def misfit(fit: Fit, states: States, name: str, path: Path) -> FrozenprobeError:
    """The error for a file of which nothing fits a backbone as a whole.

    Args:
        fit: the best one.
        states: all that is in the file.
        name: of the backbone.
        path: of the file.
    """
    whole = not fit.missing and not fit.misshapen
    return FrozenprobeError(
        f"Weights that fit the backbone {name}",
        found=f"tensors {fit.found}{f' ({fit.origin})' * fit.is_unpacked}\n  in it:  {contents_of(states)}",
        where=path,
        remedy=drop_leftovers(fit, path) if whole else choose_another(states),
    )


def drop_leftovers(fit: Fit, path: Path) -> str:
    """The remedy where the whole network is there and something besides: what that is, and the line that drops it."""
    kept = fit.state.keys() - {*fit.extra}
    groups: dict[str, list[str]] = {}
    for name in fit.extra:
        groups.setdefault(purpose_of(name, kept), []).append(name)
    told = "; ".join(f"{some(names, most=2)}: {purpose}" for purpose, names in groups.items())
    may = "if the features need none of what is left over" if UNKNOWN in groups else "what is left over may be dropped"
    return (
        f"all of the network is there; {may} ({told}):\n    {saving(fit, path)}\n"
        f"  then give --weights {cleaned_name(path)}"
    )


def choose_another(states: States) -> str:
    """The remedy where tensors of the network are missing or of another shape: what the file seems to be."""
    like = next((words for state in states.values() if (words := describe(state))), "")
    other = fitting_backbone(states)
    looks = f"it looks like {like}; " if like else ""
    if other:
        return f"{looks}all of it fits --backbone {other}"
    return f"{looks}choose the --backbone the file was made for (frozenprobe backbones lists them; timm:NAME has more)"


UNKNOWN = "not known here"


def purpose_of(name: str, kept: Container[str]) -> str:
    """What a tensor that is left over was for."""
    if any(name[place + 1 :] in kept for place, letter in enumerate(name) if letter == "."):
        return "another copy of the network, as of a student or a momentum encoder"
    return next((purpose for pattern, purpose in DROPPABLE if re.match(pattern, name)), UNKNOWN)


def contents_of(states: States) -> str:
    """What is in a file: its keys, the first parts of the names under them with their numbers, and an example."""
    parts = []
    for keys, state in list(states.items())[:3]:
        counts = Counter(name.partition(".")[0] for name in state)
        most = some([f"{first} ({count})" if count > 1 else first for first, count in counts.most_common()], most=6)
        parts.append(f"{' / '.join(keys) + ': ' if keys else ''}{most}, such as {max(state, key=len)}")
    return "; ".join(parts) + (f"; and {len(states) - 3} more" if len(states) > 3 else "")


def saving(fit: Fit, path: Path) -> str:
    """A line for the shell that saves the tensors of the network, by its names, and nothing else."""
    keys = "".join(f"[{key!r}]" for key in fit.keys)
    load = f"torch.load({path.as_posix()!r}, map_location='cpu', weights_only=True)"
    if path.suffix == ".safetensors":
        load = f"__import__('safetensors.torch').torch.load_file({path.as_posix()!r})"
    inside = f"'.'.join(p for p in k.split('.') if p not in {WRAPPING})"
    name = {"": "k", INSIDE: inside}.get(fit.prefix, f"k[{len(fit.prefix)}:]")
    conditions = ["torch.is_tensor(t)"]
    if fit.prefix not in ("", INSIDE):
        conditions.append(f"k.startswith({fit.prefix!r})")
    if dropped := beginnings(fit):
        conditions.append(f"not {name if fit.prefix != INSIDE else f'({inside})'}.startswith({dropped})")
    kept = f"{{{name}: t for k, t in {load}{keys}.items() if {' and '.join(conditions)}}}"
    return f'python -c "import torch; torch.save({kept}, {cleaned_name(path)!r})"'


def beginnings(fit: Fit) -> tuple[str, ...]:
    """What the names of tensors that are left over begin with, and those of the others do not; as few as do."""
    kept = fit.state.keys() - {*fit.extra}
    found: dict[str, None] = {}
    for name in fit.extra:
        parts = name.split(".")
        starts = [".".join(parts[:count]) + "." for count in range(1, len(parts))]
        found[next((start for start in starts if not any(other.startswith(start) for other in kept)), name)] = None
    return tuple(found)
