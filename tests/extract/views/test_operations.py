"""Operations on Pillow images are torchvision's to the pixel; on tensors they are Pillow's within measured bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from frozenprobe.extract.options import RECIPES
from frozenprobe.extract.views import operations
from frozenprobe.extract.views import transforms as steps
from frozenprobe.extract.views.preprocessing import Preprocessing, Resize, Resized
from frozenprobe.extract.views.recipes import cut_augmented, make_recipe, pixels_of
from tests.extract.views.test_transforms import picture

SIZES = st.tuples(st.integers(3, 70), st.integers(3, 70))
ANGLES = st.one_of(st.floats(-180, 180), st.sampled_from([-180.0, -90.0, 0.0, 90.0, 180.0]))


def tensor(image: Image.Image) -> torch.Tensor:
    return pixels_of(image).permute(2, 0, 1)


def differences(image: Image.Image, operation: Callable[[Any], Any]) -> np.ndarray:
    """In levels, between Pillow's image and the tensor, each through the operation."""
    one, other = pixels_of(operation(image)), pixels_of(operation(tensor(image)))
    assert other.dtype == torch.uint8
    return np.abs(one.numpy().astype(int) - other.numpy())


@settings(max_examples=100, deadline=None)
@given(size=SIZES, angle=ANGLES)
def test_tensors_rotate_as_pillow_rotates(size: tuple[int, int], angle: float) -> None:
    """Every pixel: both round the same fixed-point numbers."""
    assert differences(picture(size), lambda image: operations.rotate(image, angle)).max() == 0


@settings(max_examples=100, deadline=None)
@given(
    size=SIZES,
    angle=ANGLES,
    shift=st.tuples(st.integers(-40, 40), st.integers(-40, 40)),
    shear=st.tuples(st.floats(-45, 45), st.floats(-45, 45)),
    center=st.one_of(st.none(), st.just((0.0, 0.0))),
)
def test_tensors_move_as_pillow_moves(size: tuple[int, int], angle: float, **motion: Any) -> None:
    """Every pixel but a few: the matrix may differ in its last bits, which can decide at a border between two."""
    found = differences(picture(size), lambda image: operations.affine(image, angle=angle, **motion))
    assert (found.max(axis=2) > 0).mean() < 0.01


@pytest.mark.parametrize("angle", [-12.5, 3.0, 41.0])
def test_tensors_move_as_torchvision_moves_tensors(angle: float) -> None:
    """But for pixels that come from a border between two: torchvision rounds there in float32."""
    image = tensor(picture((61, 48)))
    pairs = [
        (operations.rotate(image, angle), F.rotate(image, angle)),
        (
            operations.affine(image, angle=angle, shift=(5, -3), shear=(4.0, 9.0)),
            F.affine(image, angle, [5, -3], 1.0, [4.0, 9.0]),
        ),
        (
            operations.affine(image, shear=(0.0, 9.0), center=(0.0, 0.0)),
            F.affine(image, 0.0, [0, 0], 1.0, [0.0, 9.0], center=[0, 0]),
        ),
    ]
    for ours, theirs in pairs:
        assert (ours != theirs).any(dim=0).float().mean() < 0.005


@settings(max_examples=60, deadline=None)
@given(key=st.integers(0, 50), factor=st.floats(0, 3))
def test_tables_give_torchvisions_pixels(key: int, factor: float) -> None:
    image = picture(key=key)
    for ours, theirs in (
        (operations.adjust_brightness, F.adjust_brightness),
        (operations.adjust_contrast, F.adjust_contrast),
    ):
        assert np.array_equal(ours(image, factor), theirs(image, factor))


LEVELS = {"Color": 1, "Contrast": 1, "Sharpness": 1, "AutoContrast": 1}  # others: none


@pytest.mark.parametrize("name", [name for name, _ in steps.OPERATIONS])
def test_operations_on_tensors_are_pillows_within_a_level(name: str) -> None:
    magnitudes = {"Posterize": [2, 4, 8], "Solarize": [0.0, 100.0, 255.0], "Rotate": [-90.0, 7.3, 30.0]}
    magnitudes |= {"TranslateX": [-20.0, 11.9], "TranslateY": [-20.0, 11.9]}
    for key, size in enumerate([(61, 47), (64, 64), (3, 40)]):
        for magnitude in magnitudes.get(name, [-0.99, -0.3, 0.0, 0.27, 0.9]):
            found = differences(picture(size, key), partial(steps.operate, name=name, magnitude=magnitude))
            assert found.max() <= LEVELS.get(name, 0)


def test_flat_images_are_left_alone_by_both() -> None:
    """Where a histogram has one level, and where grey has no hue."""
    flat = Image.new("RGB", (9, 8), (40, 40, 40))
    for name in ("Equalize", "AutoContrast"):
        assert differences(flat, partial(steps.operate, name=name, magnitude=0.0)).max() == 0
    assert differences(flat, lambda image: operations.adjust_hue(image, 0.3)).max() == 0


def test_hue_on_tensors_is_pillows_within_a_few_levels() -> None:
    """Pillow rounds hue and saturation to 256 levels, a tensor does not: up to 12 levels were seen, 1.3 on average."""
    factors = np.linspace(-0.5, 0.5, 11).tolist()
    found = np.array([differences(picture(), partial(operations.adjust_hue, hue_factor=factor)) for factor in factors])
    assert 0 < found.mean() < 1.5
    assert found.max() <= 16


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_resizing_of_tensors_is_pillows_within_a_level(mode: str) -> None:
    how = Resize((40,), Preprocessing(40, 40, mode).mode)
    for size in ((131, 97), (33, 41), (40, 80)):
        found = differences(picture(size), lambda image: Resized(image).to(how))
        assert found.max() <= (0 if mode == "nearest" else 1)
        assert found.mean() < 0.05


def test_an_image_is_resized_once_a_size() -> None:
    source = Resized(picture())
    one, other = Resize((20,), InterpolationMode.BICUBIC), Resize((20, 20), InterpolationMode.BICUBIC)
    assert source.to(one) is source.to(one)
    assert source.to(other).size == (20, 20)
    assert source.to(None) is source.image


class Watch(TorchDispatchMode):
    """Fails where a tensor goes from one kind of device to another in a way that the host has to wait for."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        devices = {leaf.device.type for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)}
        assert len(devices) < 2 or (kwargs or {}).get("non_blocking"), function
        return result


@contextmanager
def nothing_waits() -> Iterator[None]:
    """Tensors on `meta` have no values: what needs one fails, as `item`, `bool` and `nonzero` do."""
    patch, make = pytest.MonkeyPatch(), torch.tensor

    def made(*args: Any, device: Any = None, **kwargs: Any) -> torch.Tensor:
        assert device is None or torch.device(device).type == "cpu", "a tensor made of numbers on the host is sent"
        return make(*args, **kwargs)

    patch.setattr(torch, "tensor", made)
    try:
        with Watch():
            yield
    finally:
        patch.undo()


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("name", [name for name in RECIPES if name != "none"])
def test_cutting_on_a_device_never_waits_for_it(name: str, mode: str) -> None:
    p, image = Preprocessing(24, 20, mode), torch.empty(47, 61, 3, dtype=torch.uint8, device="meta").permute(2, 0, 1)
    with nothing_waits():
        recipe = make_recipe(name, p)
        views = cut_augmented(Resized(image), range(1, 30), content_hash="ab" * 32, recipe=recipe, seed=0)
    assert {(view.pixels.device.type, tuple(view.pixels.shape)) for view in views} == {("meta", (20, 20, 3))}


@pytest.mark.parametrize(
    "waits",
    [lambda image: F.equalize(image), lambda image: F.rotate(image, 3.0), lambda image: image.float().mean().item()],
)
def test_waiting_would_be_noticed(waits: Callable[[torch.Tensor], Any]) -> None:
    image = torch.empty(3, 47, 61, dtype=torch.uint8, device="meta")
    with pytest.raises((AssertionError, NotImplementedError, RuntimeError)), nothing_waits():
        waits(image)
