"""What an extraction can be asked for, each option once, and the defaults: light enough to import for `--help`.

An option is a field of `ExtractRequest`, or of `FeatureOptions` (or of `WeightsOptions`) if it decides the features:
the command line, what a file was made with, the specification and the messages follow from it.
"""

from __future__ import annotations

import os
from dataclasses import Field, dataclass, field, fields, is_dataclass, make_dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from frozenprobe.errors import FrozenprobeError, unknown_name
from frozenprobe.images.sources import ImageSources
from frozenprobe.system.files import StrPath, named_path

AUTO = "auto"
INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
RECIPES = ("mild", "report", "crop-flip", "trivial", "erase", "none")
TEST_VIEWS = ("clean", "hflip", "direct")
PREPROCESSINGS = ("weights", "report")
DECODINGS = ("full", "scaled")
TAPS = (AUTO, "cls", "mean", "cls+mean", "last4", "head-input")
ENGINES = (AUTO, "torch", "compile", "onnxruntime", "openvino")
STORAGE_DTYPES = ("float16", "float32")
MAX_PIXELS = 178_956_970  # width x height; where Pillow stops too: 0.5 GB of RGB


@dataclass(frozen=True)
class Option:
    """What is known of an option besides its name, type and default, which are its field's.

    Attributes:
        flag: what a user types.
        help: for `--help`; `{}` stands for the names it takes.
        kind: what such a name is called in a message.
        names: those it takes; empty: any, or a number.
        least: the smallest number it takes.
        default_help: for `--help`, where the field's own says too little.
    """

    flag: str
    help: str
    kind: str = ""
    names: tuple[str, ...] = ()
    least: int | None = None
    default_help: str = ""

    def check(self, value: Any) -> None:
        """Refuse a name that is in no list, or a number out of range.

        Raises:
            FrozenprobeError: says the nearest name and the list, or the range.
        """
        for name in value if isinstance(value, tuple) else (value,):
            if self.names and name not in self.names:
                raise unknown_name(self.kind, name, self.names, where=self.flag)
        if self.least is not None and value < self.least:
            raise FrozenprobeError(
                f"A number from {self.least} on",
                found=str(value),
                where=self.flag,
                remedy=f"give {self.least} or more",
            )


def option(default: Any, flag: str, help: str, **about: Any) -> Any:
    """A field of a dataclass that is an option; see `Option`."""
    return field(default=default, metadata={"option": Option(flag, help, **about)})


def options_of(kind: type) -> dict[Field[Any], Option]:
    """The fields of a dataclass that are options, with those of the dataclasses in it, in the order of `--help`."""
    found: dict[Field[Any], Option] = {}
    for each in fields(kind):
        if "option" in each.metadata:
            found[each] = each.metadata["option"]
        elif is_dataclass(each.default):
            found |= options_of(type(each.default))
    return found


@dataclass(frozen=True)
class WeightsOptions:
    """What a file of weights cannot tell, where no table knows it. None: not given.

    `mean` and `std` are those of the channels (R, G, B), for values in [0, 1].
    """

    heads: int | None = option(None, "--attention-heads", "Attention heads, if --weights is a ViT of unknown shape.")
    resize: int | None = option(None, "--resize", "Short side in px before the crop, for such weights.")
    interpolation: str | None = option(
        None, "--interpolation", "For such weights: {}.", kind="way to interpolate", names=INTERPOLATIONS
    )
    mean: tuple[float, float, float] | None = option(None, "--mean", "Channel means in [0, 1], for such weights.")
    std: tuple[float, float, float] | None = option(None, "--std", "Channel deviations in [0, 1], for such weights.")


@dataclass(frozen=True)
class FeatureOptions:
    """What decides the features, every question answered. A field of FeatureSpec has its name, unless it has a default.

    `test_views` are the T fixed views of every image, of which `clean` is always the first; `views` is V, the augmented
    views of every training image.
    """

    backbone: str = option("vit_l_16.swag_e2e", "--backbone", "See `frozenprobe backbones`.")
    weights: Path | None = option(None, "--weights", "Local state dict (.pth, .safetensors) in place of the download.")
    weights_options: WeightsOptions = WeightsOptions()
    recipe: str = option("mild", "--recipe", "Of the augmented views: {}.", kind="recipe", names=RECIPES)
    views: int = option(8, "--views", "Augmented views a training image.", least=0)
    test_views: tuple[str, ...] = option(
        ("clean", "hflip"),
        "--test-views",
        "Fixed views, comma-separated: {}.",
        kind="test-time view",
        names=TEST_VIEWS,
    )
    preprocessing: str = option("weights", "--preprocess", "{}.", kind="preprocessing", names=PREPROCESSINGS)
    seed: int = option(0, "--seed", "Of the augmented views.", least=0)
    decoding: str = option(
        "full",
        "--decode",
        "JPEGs: {} (large ones sooner, pixels not equal).",
        kind="way of decoding",
        names=DECODINGS,
    )
    tap: str = option(AUTO, "--tap", "Vectors to store: {}.", kind="tap", names=TAPS)
    engine: str = option(AUTO, "--engine", "What runs the network: {}.", kind="engine", names=ENGINES)
    compute_dtype: str = option(
        AUTO,
        "--dtype",
        "Compute dtype.",
        default_help="bf16 or fp16 on CUDA; bf16 for transformers on a CPU with units for it; else fp32",
    )
    storage_dtype: str = option("float16", "--storage", "Stored dtype: {}.", kind="storage dtype", names=STORAGE_DTYPES)


Typed: Any = make_dataclass(
    "Typed", [(each.name, f"{each.type} | None", None) for each in fields(FeatureOptions)], frozen=True
)


class Choices(Typed):  # type: ignore[misc]  # a field for each of FeatureOptions
    """Some of `FeatureOptions`, as typed. None: not typed; then as in the existing file, else the default.

    Raises:
        FrozenprobeError: no such option; says the nearest one and the list. Or an empty text as a path.
    """

    __signature__ = signature(Typed)  # what editors show

    def __init__(self, *values: Any, **named: Any) -> None:
        known = [each.name for each in fields(FeatureOptions)]
        for name in named:
            if name not in known:
                raise unknown_name("choice", name, known, where="Choices")
        super().__init__(*values, **named)
        if self.weights is not None:
            object.__setattr__(self, "weights", named_path(self.weights, "--weights"))


@dataclass(frozen=True)
class ExtractRequest:
    """What to extract, from where, into which file, and how.

    Attributes:
        sources: the images.
        choices: what decides the features.

    The others are options, each with its help; `batch_size` is B, `max_pixels` width x height, and `limit` counts
    training and test images each.
    """

    sources: ImageSources = ImageSources()
    choices: Choices = Choices()
    out: Path | None = option(None, "--out", "Feature file.", default_help="features/<backbone>-<recipe>.h5")
    device: str = option("auto", "--device", "auto, cuda, cuda:1, mps or cpu.")
    batch_size: int | None = option(
        None, "--batch-size", "Views in a forward pass.", least=1, default_help="what suits the device"
    )
    workers: int | None = option(
        None, "--workers", "Threads on a CPU, processes that cut views with a GPU.", least=0, default_help="all cores"
    )
    skip_bad: bool = option(False, "--skip-bad", "Leave bad training images out; keep bad test images unanswered.")
    max_pixels: int = option(MAX_PIXELS, "--max-pixels", "Larger images count as bad.", least=1)
    limit: int | None = option(
        None, "--limit", "Smoke run on about so many images; a full run reuses its rows.", least=1
    )
    drop_missing: bool = option(False, "--drop-missing", "Let more than half of the file's training images leave it.")
    break_lock: bool = option(False, "--break-lock", "Write even if a lock says that another process does.")

    def __post_init__(self) -> None:
        if self.out is not None:
            require_file_name(self.out)
            object.__setattr__(self, "out", named_path(self.out, "--out"))


def require_file_name(out: StrPath) -> None:
    """Refuse a folder where a file is to be written.

    Raises:
        FrozenprobeError: names a file in it.
    """
    text = os.fspath(out)
    if text.endswith(("/", os.sep)) or (text and os.path.isdir(os.path.expanduser(text))):
        raise FrozenprobeError(
            "The name of a feature file",
            found="a folder",
            where=f"--out {text}",
            remedy=f'name a file in it: --out "{os.path.join(text, "features.h5")}"',
        )
