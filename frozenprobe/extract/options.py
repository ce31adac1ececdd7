"""What an extraction can be asked for, and the defaults: light enough to import for `--help`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from frozenprobe.extract.backbones.catalogue import DEFAULT_BACKBONE, WeightsOptions
from frozenprobe.images.sources import ImageSources

TEST_VIEWS = ("clean", "hflip", "direct")
RECIPES = ("mild", "report", "crop-flip", "trivial", "erase", "none")
PREPROCESSINGS = ("weights", "report")
STORAGE_DTYPES = ("float16", "float32")
DECODINGS = ("full", "scaled")
AUGMENT_ON = ("cpu", "device")
TAPS = ("auto", "cls", "mean", "cls+mean", "last4", "head-input")
ENGINES = ("auto", "torch", "compile", "onnxruntime")
MAX_PIXELS = 178_956_970  # width x height; where Pillow stops too: 0.5 GB of RGB


@dataclass(frozen=True)
class Choices:
    """What decides the features. None: as in the existing file, else as in `DEFAULTS`.

    Attributes:
        backbone: a name from `frozenprobe backbones`.
        weights: a local state dict in place of the official weights.
        weights_options: what such a file cannot tell.
        recipe: how the augmented views are cut.
        views: V, augmented views of every training image.
        test_views: the T fixed views of every image; `clean` is always the first.
        preprocess: `weights` or `report`.
        seed: of the augmented views.
        dtype: of the forward pass: `auto`, `float32`, `bfloat16` or `float16`.
        storage: dtype of the stored features: `float16` or `float32`.
        decode: `full` or `scaled`.
        augment_on: where augmented views are cut: `cpu` or `device`.
        tap: which vectors of the network are stored.
        engine: what runs the network: `auto`, `torch`, `compile` or `onnxruntime`.
    """

    backbone: str | None = None
    weights: Path | None = None
    weights_options: WeightsOptions | None = None
    recipe: str | None = None
    views: int | None = None
    test_views: tuple[str, ...] | None = None
    preprocess: str | None = None
    seed: int | None = None
    dtype: str | None = None
    storage: str | None = None
    decode: str | None = None
    augment_on: str | None = None
    tap: str | None = None
    engine: str | None = None


@dataclass(frozen=True)
class Settled:
    """Choices with every question answered."""

    backbone: str = DEFAULT_BACKBONE
    weights: Path | None = None
    weights_options: WeightsOptions = WeightsOptions()
    recipe: str = "mild"
    views: int = 8
    test_views: tuple[str, ...] = ("clean", "hflip")
    preprocess: str = "weights"
    seed: int = 0
    dtype: str = "auto"
    storage: str = "float16"
    decode: str = "full"
    augment_on: str = "cpu"
    tap: str = "auto"
    engine: str = "auto"


DEFAULTS = Settled()


@dataclass(frozen=True)
class ExtractRequest:
    """What to extract, from where, into which file, and how.

    Attributes:
        sources: the images.
        choices: what decides the features.
        out: the feature file; None: `features/<backbone>-<recipe>.h5`.
        device: `auto`, `cuda`, `cuda:1`, `mps` or `cpu`.
        batch_size: B, views in one forward pass; None: what suits the device.
        workers: threads that do all of it on a CPU, processes that decode and cut elsewhere; None: all cores.
        skip_bad: leave bad training images out, and keep bad test images without features.
        max_pixels: width x height above which an image counts as bad.
        limit: a smoke run on about this many training images and this many test images; None: all.
        drop_missing: let more than half of the existing file's training images leave it.
        break_lock: write even if the feature file's lock says that another process does.
    """

    sources: ImageSources = ImageSources()
    choices: Choices = Choices()
    out: Path | None = None
    device: str = "auto"
    batch_size: int | None = None
    workers: int | None = None
    skip_bad: bool = False
    max_pixels: int = MAX_PIXELS
    limit: int | None = None
    drop_missing: bool = False
    break_lock: bool = False
