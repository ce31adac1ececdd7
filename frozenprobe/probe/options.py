"""What a probe can be asked for: light enough to import for `--help`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral, Real

from frozenprobe.errors import FrozenprobeError

SCALES = ("global", "standard", "l2", "none")
AGGREGATES = ("rows", "logit", "mean", "clean")
AUTO = "auto"
Setting = float | int | str | None
CURVE_HEAD = "lda"  # in closed form, at one shrinkage: dozens of fits take seconds, and nothing is tuned at each size
CURVE_SHRINKAGE = 0.3


@dataclass(frozen=True)
class ProbeOptions:
    """What to train and how to score it.

    Attributes:
        head: a name of `HEADS`, or `auto`; None: the head that the settings belong to, `auto` without any.
        settings: hyper-parameters of the head; those left out keep its defaults.
        folds: K; None: the fold column of the feature file if it has one, else 5.
        seed: of the folds and of whatever is random in a head.
        views: use only the first so many augmented views; None: all.
        test_views: use only these of the stored test-time views; None: all.
        tap: use only this of the stored taps, or several joined by `+`; None: all, side by side.
        scale: a name of `SCALES`; None: the head's own, or chosen by `auto`.
        aggregate: a name of `AGGREGATES`; None: `rows`, or chosen by `auto`.
        calibrate: fit a temperature inside the training folds (`auto` always does).
        budget: of `auto`: seconds of work on two slow cores that it may take, near duplicates and choosing among them;
            None: 12, and of more than 4,800 images one for every 400.
        class_weight: `balanced` gives every class the same total weight; None: every image.
        near_duplicates: cosine of clean features from which two images are near duplicates, and stay in one fold; None:
            found from the features; 0: only equal content counts.
        transductive: let the unlabelled features of the images to be predicted take part in predicting them.
        tripwire: also run everything on shuffled labels, which must score at chance.
        memory: bytes that features may take; what needs more is streamed from the file. None: half of what there is.
    """

    head: str | None = None
    settings: dict[str, Setting] = field(default_factory=dict)
    folds: int | None = None
    seed: int = 0
    views: int | None = None
    test_views: tuple[str, ...] | None = None
    tap: str | None = None
    scale: str | None = None
    class_weight: str | None = None
    aggregate: str | None = None
    calibrate: bool = False
    budget: float | None = None
    near_duplicates: float | None = None
    transductive: bool = False
    tripwire: bool = False
    memory: float | None = None

    def __post_init__(self) -> None:
        require_types(vars(self), ProbeOptions)

    def describe(self, how: str = "") -> str:
        """Head, hyper-parameters, scaling and folds in a line; `how` stands behind the head's name."""
        settings = "".join(f", {name} = {value}" for name, value in self.settings.items() if value is not None)
        scaling = "" if self.scale is None else f"; scaling {self.scale}"
        views = "" if self.aggregate in (None, "rows") else f"; views as {self.aggregate}"
        folds = f"{self.folds} fold" if self.folds == 1 else f"{self.folds} folds"
        loud = "; TRANSDUCTIVE" if self.transductive else ""
        return f"head {self.head}{how}{settings}{scaling}{views}; {folds}, seed {self.seed}{loud}"


DEFAULT_FOLDS = 5
TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {  # in an annotation: what may be given, and what to call it
    "int": (Integral, "A whole number"),
    "float": (Real, "A number"),
    "str": (str, "A text"),
    "bool": (bool, "True or False"),
    "dict": (dict, "A dict"),
    "tuple": ((tuple, list), "A tuple"),
    "None": (type(None), "None"),
}


def require_types(given: Mapping[str, object], settings: type) -> None:
    """Refuse values that a dataclass of settings has no such type for, before anything computes with them.

    Args:
        given: field -> value.
        settings: the dataclass; fields of other types than those in `TYPES` are left to it.

    Raises:
        FrozenprobeError: names the option.
    """
    for field_ in fields(settings):
        names = [name.partition("[")[0] for name in str(field_.type).split(" | ")]
        if field_.name not in given or not set(names) <= TYPES.keys():
            continue
        if not any(isinstance(given[field_.name], TYPES[name][0]) for name in names):
            raise FrozenprobeError(
                " or ".join([TYPES[names[0]][1], *(TYPES[name][1].lower() for name in names[1:] if name != "None")]),
                found=repr(given[field_.name]),
                where=f"--{field_.name.replace('_', '-')}",
                remedy="give one, or leave it out",
            )


def read_near_duplicates(text: str) -> float | None:
    """`auto`, `off` or a cosine, as typed -> `ProbeOptions.near_duplicates`.

    Raises:
        FrozenprobeError: something else.
    """
    try:
        cosine = {"auto": None, "off": 0.0}[text] if text in ("auto", "off") else float(text)
    except ValueError:
        cosine = math.nan
    if cosine is not None and not 0 <= cosine <= 1:
        raise FrozenprobeError(
            "auto, off, or a cosine above 0 up to 1",
            found=text,
            where="--near-duplicates",
            remedy="leave it out for auto; the notes of a run name examples with their cosines",
        )
    return cosine
