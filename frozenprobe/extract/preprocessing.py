"""The clean view: the geometry and normalisation that belong to a set of weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from frozenprobe.errors import unknown_name
from frozenprobe.extract.settings import PREPROCESSINGS, TEST_VIEWS
from frozenprobe.extract.steps import Image

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


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
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    name: str = "weights"
    squash: bool = False

    def canonical(self) -> str:
        """All fields as JSON with sorted keys: what goes into the specification."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @property
    def mode(self) -> InterpolationMode:
        """Torchvision's name of the interpolation."""
        return InterpolationMode(self.interpolation)


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


class Resizer:
    """Resizes one image, to each size once: clean view, mirrored view and the base of a recipe share it."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.made: dict[tuple[tuple[int, ...], InterpolationMode], Image] = {}

    def resize(self, sides: tuple[int, ...], mode: InterpolationMode) -> Image:
        """The short side, or height and width, in px; antialiased."""
        if (sides, mode) not in self.made:
            self.made[sides, mode] = F.resize(self.image, list(sides), interpolation=mode, antialias=True)
        return self.made[sides, mode]


def resize_short(image: Resizer, preprocessing: Preprocessing) -> Image:
    """Resize so that the short side has `preprocessing.resize` px (both sides, if the preprocessing squashes)."""
    return image.resize((preprocessing.resize,) * (2 if preprocessing.squash else 1), preprocessing.mode)


def clean_view(image: Resizer, preprocessing: Preprocessing) -> Image:
    """The `S x S` image the weights were evaluated on: resized short side, centre crop."""
    clean: Image = F.center_crop(resize_short(image, preprocessing), [preprocessing.size])
    return clean


def cut_test_view(image: Resizer, name: str, preprocessing: Preprocessing) -> Image:
    """A fixed test-time view by name.

    `clean`; `hflip`, the clean view mirrored; `direct`, Resize((S, S)), the project report's way for its submission.

    Raises:
        FrozenprobeError: no such view.
    """
    if name == "clean":
        return clean_view(image, preprocessing)
    if name == "hflip":
        flipped: Image = F.hflip(clean_view(image, preprocessing))
        return flipped
    if name == "direct":
        return clean_view(image, replace(preprocessing, resize=preprocessing.size, squash=True))
    raise unknown_name("test-time view", name, TEST_VIEWS, where="--test-views")
