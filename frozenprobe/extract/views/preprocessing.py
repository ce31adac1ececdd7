"""The clean view: the geometry and normalisation that belong to a set of weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Generic, NamedTuple

from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from frozenprobe.errors import unknown_name
from frozenprobe.extract.options import PREPROCESSINGS, TEST_VIEWS
from frozenprobe.extract.views.operations import P

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Resize(NamedTuple):
    """How an image is resized, antialiased: `sides` in px are (the short one,) or (height, width)."""

    sides: tuple[int, ...]
    mode: InterpolationMode


class Resized(Generic[P]):
    """An image, and what it is resized to, each size made once however many views are cut from it."""

    def __init__(self, image: P) -> None:
        self.image: P = image
        self.made: dict[Resize, P] = {}

    def to(self, how: Resize | None) -> P:
        """The image resized; None: as it is."""
        if how is None:
            return self.image
        if how not in self.made:
            resized: P = F.resize(self.image, list(how.sides), interpolation=how.mode, antialias=True)
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
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
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
        """Torchvision's name of the interpolation; on tensors its `nearest` takes other pixels than Pillow's."""
        return InterpolationMode("nearest-exact" if self.interpolation == "nearest" else self.interpolation)


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


def clean_view(image: Resized[P], preprocessing: Preprocessing) -> P:
    """The `S x S` image the weights were evaluated on: resized short side, centre crop."""
    clean: P = F.center_crop(image.to(preprocessing.how), [preprocessing.size])
    return clean


def cut_test_view(image: Resized[Image.Image], name: str, preprocessing: Preprocessing) -> Image.Image:
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
