"""The clean view: the geometry and normalisation that belong to a set of weights."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from frozenprobe.errors import FrozenprobeError, unknown_name
from frozenprobe.extract.options import PREPROCESSINGS, TEST_VIEWS

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
IMAGENETS = "what the weights were trained with, such as --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225"
LEVELS = 255  # of a channel of 8 bits: the scale of the other convention
LEAST_STD = 0.9 / LEVELS  # 1/255, however it was rounded: of a network that wants pixels in 0 to 255
CAFFE_BGR = (103.9, 116.8, 123.7)  # the means that Caffe's networks subtract, in its order: B, G, R

Triple = tuple[float, float, float]  # a number for each channel: R, G, B


class Resize(NamedTuple):
    """How an image is resized, antialiased: `sides` in px are (the short one,) or (height, width)."""

    sides: tuple[int, ...]
    mode: InterpolationMode


class Resized:
    """An image, and what it is resized to, each size made once however many views are cut from it."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self.made: dict[Resize, Image.Image] = {}

    def to(self, how: Resize | None) -> Image.Image:
        """The image resized; None: as it is."""
        if how is None:
            return self.image
        if how not in self.made:
            resized: Image.Image = F.resize(self.image, list(how.sides), interpolation=how.mode, antialias=True)
            self.made[how] = resized
        return self.made[how]


@dataclass(frozen=True)
class Preprocessing:
    """How a backbone wants its input.

    Attributes:
        resize: length in px of the short side after resizing.
        size: S, side in px of the centre crop.
        interpolation: `nearest`, `bilinear` or `bicubic`, antialiased.
        mean: of each channel (R, G, B), for values in [0, 1].
        std: likewise.
        name: `weights` for what the weights were made with, `report` for the project report's.
        squash: both sides get `resize` px, whatever the aspect ratio.
    """

    resize: int
    size: int
    interpolation: str = "bilinear"
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    name: str = "weights"
    squash: bool = False

    def canonical(self) -> str:
        """All fields as JSON with sorted keys: what goes into the specification."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @property
    def how(self) -> Resize:
        """The resizing: the short side to `resize` px, or both, if it squashes."""
        return Resize((self.resize,) * (2 if self.squash else 1), self.mode)

    @property
    def mode(self) -> InterpolationMode:
        """Torchvision's name of the interpolation."""
        return InterpolationMode(self.interpolation)


def require_unit_scale(mean: Triple | None, std: Triple | None) -> None:
    """Refuse channel means and deviations that are not of pixels in [0, 1]; None: not given.

    Raises:
        FrozenprobeError: says the values that were likely meant, ready to paste.
    """
    likely = (("--mean", likely_mean(mean)), ("--std", likely_std(mean, std)))
    meant = " ".join(f"{flag} {numbers(values)}" for flag, values in likely if values is not None)
    order = "; yours is Caffe's order, B G R: were the first convolution's channels turned round?"
    for flag, values, least, what in (("--mean", mean, 0.0, "means"), ("--std", std, LEAST_STD, "deviations")):
        if values is not None and not all(least <= value <= 1 for value in values):
            raise FrozenprobeError(
                f"Channel {what} (R, G, B) of pixels in [0, 1]",
                found=numbers(values),
                where=flag,
                remedy=f"give {meant or IMAGENETS}, or leave them out: then the backbone's own are taken"
                + order * (mean is not None and is_bgr(mean)),
            )


def likely_mean(mean: Triple | None) -> Triple | None:
    """What was meant by means of pixels in 0 to 255, or with the sign of an addend; as given where nothing is known."""
    if mean is None or all(0 <= value <= 1 for value in mean):
        return mean
    if all(0 <= value <= LEVELS for value in mean):
        red, green, blue = (value / LEVELS for value in mean)
        return (blue, green, red) if is_bgr(mean) else (red, green, blue)
    if all(-1 < value <= 0 for value in mean):
        return -mean[0], -mean[1], -mean[2]
    return None


def likely_std(mean: Triple | None, std: Triple | None) -> Triple | None:
    """What was meant by deviations of another scale; as given where nothing is wrong, None where nothing is known.

    Caffe's networks subtract a mean in 0 to 255 and divide by 1: they want pixels in that range.
    """
    if std is None or not all(0 < value < math.inf for value in std):
        return None
    if set(std) == {1} and mean is not None and max(mean) > 1:
        return 1 / LEVELS, 1 / LEVELS, 1 / LEVELS
    if min(std) >= LEAST_STD and max(std) <= 1:
        return std
    for red, green, blue in (
        [value / LEVELS for value in std],
        [1 / value for value in std],  # what pixels are multiplied by
        [value * LEVELS for value in std],  # divided twice
    ):
        if min(red, green, blue) >= 0.05 and max(red, green, blue) <= 1:
            return red, green, blue
    return None


def is_bgr(mean: Triple) -> bool:
    """Whether these are the means of Caffe's networks in Caffe's order."""
    return all(abs(value - known) < 2 for value, known in zip(mean, CAFFE_BGR, strict=True))


def numbers(values: Triple) -> str:
    """Three numbers as they are typed."""
    return " ".join(f"{value:.3g}" if value < 100 else f"{value:.4g}" for value in values)


def choose_preprocessing(of_weights: Preprocessing, name: str) -> Preprocessing:
    """The preprocessing called `name` for a backbone.

    `weights` is the weights' own; `report` is the project report's: Resize(S), CenterCrop(S), bilinear.

    Raises:
        FrozenprobeError: no such name.
    """
    if name == "weights":
        return of_weights
    if name == "report":
        return replace(of_weights, resize=of_weights.size, interpolation="bilinear", name="report", squash=False)
    raise unknown_name("preprocessing", name, PREPROCESSINGS, where="--preprocess")


def clean_view(image: Resized, preprocessing: Preprocessing) -> Image.Image:
    """The `S x S` image the weights were evaluated on: resized short side, centre crop."""
    clean: Image.Image = F.center_crop(image.to(preprocessing.how), [preprocessing.size])
    return clean


def cut_test_view(image: Resized, name: str, preprocessing: Preprocessing) -> Image.Image:
    """A fixed test-time view by name.

    `clean`; `hflip`, the clean view mirrored; `direct`, Resize((S, S)), the project report's way for its submission.

    Raises:
        FrozenprobeError: no such view.
    """
    if name == "clean":
        return clean_view(image, preprocessing)
    if name == "hflip":
        flipped: Image.Image = F.hflip(clean_view(image, preprocessing))
        return flipped
    if name == "direct":
        return image.to(Resize((preprocessing.size, preprocessing.size), preprocessing.mode))
    raise unknown_name("test-time view", name, TEST_VIEWS, where="--test-views")
