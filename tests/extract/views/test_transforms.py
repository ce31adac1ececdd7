"""Every random step against torchvision's class of the same name: same pixels for the same draws, same distribution."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import ks_2samp
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode

from frozenprobe.extract.views import transforms as steps

DRAWS = 2500


def picture(size: tuple[int, int] = (61, 47), key: int = 0) -> Image.Image:
    """Noise over a smooth picture: every operation changes it."""
    rng = np.random.default_rng(key)
    smooth = Image.fromarray(rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    noisy = np.asarray(smooth).astype(int) + rng.integers(-20, 21, (size[1], size[0], 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


@contextmanager
def scripted(*, randint: Iterable[int] = (), rand: Iterable[float] = ()) -> Iterator[None]:
    """torch's global generator gives these numbers, in this order, and they have to be used up."""
    integers, reals = list(randint), list(rand)
    patch = pytest.MonkeyPatch()
    patch.setattr(torch, "randint", lambda *args, **kwargs: torch.tensor([integers.pop(0)]))
    patch.setattr(torch, "rand", lambda *args, **kwargs: torch.tensor([reals.pop(0)]))
    try:
        yield
    finally:
        patch.undo()
    assert not integers
    assert not reals


def with_params(transform: Any, drawn: Any) -> Any:
    """torchvision's transform with its draw replaced."""
    transform.get_params = lambda *args, **kwargs: drawn
    return transform


def as_integers(operation: steps.Op, *, draws_bin: bool) -> list[int]:
    """One drawn operation as the integers that RandAugment and TrivialAugmentWide ask torch for."""
    index, bin_, negative = operation
    name, signed = steps.OPERATIONS[index]
    has_magnitude = name not in ("Identity", "AutoContrast", "Equalize")
    return [index, *([bin_] if draws_bin and has_magnitude else []), *([int(negative)] if signed else [])]


def generators(count: int) -> Iterator[np.random.Generator]:
    return (np.random.default_rng([7, number]) for number in range(count))


def test_random_crop_cuts_what_torchvision_cuts() -> None:
    step, image = steps.RandomCrop(32), picture()
    for rng in generators(20):
        drawn = step.draw(rng, image.size)
        assert (pixels(step.apply(image, drawn)) == pixels(with_params(T.RandomCrop(32), drawn)(image))).all()


def test_random_crop_of_the_exact_size_is_the_image() -> None:
    image = picture((32, 32))
    step = steps.RandomCrop(32)
    assert (pixels(step.apply(image, step.draw(np.random.default_rng(0), image.size))) == pixels(image)).all()


@pytest.mark.parametrize("mode", [InterpolationMode.BILINEAR, InterpolationMode.BICUBIC])
@pytest.mark.parametrize("size", [(61, 47), (20, 90), (200, 31)])
def test_random_resized_crop_cuts_what_torchvision_cuts(mode: InterpolationMode, size: tuple[int, int]) -> None:
    step, image = steps.RandomResizedCrop(24, scale=(0.5, 1.0), interpolation=mode), picture(size)
    for rng in generators(8):
        drawn = step.draw(rng, image.size)
        theirs = with_params(T.RandomResizedCrop(24, scale=(0.5, 1.0), interpolation=mode), drawn)
        assert (pixels(step.apply(image, drawn)) == pixels(theirs(image))).all()


@pytest.mark.parametrize("size", [(10, 100), (100, 10), (10, 14), (1, 1), (7, 5)])
def test_random_resized_crop_falls_back_to_torchvisions_central_box(size: tuple[int, int]) -> None:
    """A scale that never fits (the area is 100 times the image's) leaves both with their central box."""
    step = steps.RandomResizedCrop(24, scale=(100.0, 100.0), interpolation=InterpolationMode.BILINEAR)
    theirs = T.RandomResizedCrop.get_params(picture(size), scale=[100.0, 100.0], ratio=[3 / 4, 4 / 3])
    assert step.draw(np.random.default_rng(0), size) == theirs


@pytest.mark.parametrize("drawn", [True, False])
def test_flip_flips_as_torchvision_flips(drawn: bool) -> None:
    image = picture()
    with scripted(rand=[0.39 if drawn else 0.41]):
        theirs = T.RandomHorizontalFlip(0.4)(image)
    assert (pixels(steps.RandomHorizontalFlip(0.4).apply(image, drawn)) == pixels(theirs)).all()


def test_rotation_rotates_as_torchvision_rotates() -> None:
    step, image = steps.RandomRotation(10), picture()
    for rng in generators(20):
        drawn = step.draw(rng, image.size)
        assert (pixels(step.apply(image, drawn)) == pixels(with_params(T.RandomRotation(10), drawn)(image))).all()


def test_affine_moves_as_torchvision_moves() -> None:
    step, image = steps.RandomAffine(15, translate=(0.1, 0.1)), picture()
    for rng in generators(20):
        drawn = step.draw(rng, image.size)
        theirs = with_params(T.RandomAffine(15, translate=(0.1, 0.1)), drawn)
        assert (pixels(step.apply(image, drawn)) == pixels(theirs(image))).all()


@pytest.mark.parametrize("order", list(permutations(range(4))), ids=str)
def test_jitter_in_every_order_is_torchvisions(order: tuple[int, ...]) -> None:
    step, image = steps.ColorJitter(0.2, 0.2, 0.5, 0.2), picture()
    _, *factors = step.draw(np.random.default_rng(order), image.size)
    drawn = (order, *factors)
    theirs = with_params(T.ColorJitter(0.2, 0.2, 0.5, 0.2), drawn)
    assert (pixels(step.apply(image, drawn)) == pixels(theirs(image))).all()


def operations() -> list[tuple[int, bool]]:
    return [
        (index, sign) for index, (_, signed) in enumerate(steps.OPERATIONS) for sign in ((False, True)[: 1 + signed])
    ]


@pytest.mark.parametrize("magnitude", range(steps.BINS))
def test_rand_augment_operates_as_torchvision_operates(magnitude: int) -> None:
    """All 14 operations, both signs, all bins (the report's is 7), on an image that is not square."""
    image = picture((33, 21))
    for index, sign in operations():
        drawn = ((index, magnitude, sign),)
        with scripted(randint=as_integers(drawn[0], draws_bin=False)):
            theirs = T.RandAugment(num_ops=1, magnitude=magnitude)(image)
        ours = steps.RandAugment(num_ops=1, magnitude=magnitude).apply(image, drawn)
        assert (pixels(ours) == pixels(theirs)).all(), steps.OPERATIONS[index]


@pytest.mark.parametrize("bin_", range(steps.BINS))
def test_trivial_augment_operates_as_torchvision_operates(bin_: int) -> None:
    """All 14 operations, both signs, all bins."""
    image = picture((33, 21))
    for index, sign in operations():
        drawn = (index, bin_, sign)
        with scripted(randint=as_integers(drawn, draws_bin=True)):
            theirs = T.TrivialAugmentWide()(image)
        assert (pixels(steps.TrivialAugmentWide().apply(image, drawn)) == pixels(theirs)).all(), steps.OPERATIONS[index]


def test_two_operations_in_a_row_are_torchvisions() -> None:
    step, image = steps.RandAugment(num_ops=2, magnitude=7), picture()
    for rng in generators(30):
        drawn = step.draw(rng, image.size)
        with scripted(randint=[number for operation in drawn for number in as_integers(operation, draws_bin=False)]):
            theirs = T.RandAugment(num_ops=2, magnitude=7)(image)
        assert (pixels(step.apply(image, drawn)) == pixels(theirs)).all()


@pytest.mark.parametrize(("kind", "bits"), [(T.RandAugment, 4), (T.TrivialAugmentWide, 6)])
def test_the_list_of_operations_is_torchvisions(kind: type, bits: int) -> None:
    """Names, order, signs and the magnitude of every bin, read from torchvision's own table."""
    table = kind()._augmentation_space(31, *([(80, 100)] if kind is T.RandAugment else []))
    assert [(name, signed) for name, (_, signed) in table.items()] == list(steps.OPERATIONS)
    if kind is T.TrivialAugmentWide:
        ranges = dict.fromkeys(("ShearX", "ShearY", *steps.ADJUST), 0.99)
        ranges |= {"Rotate": 135.0, "TranslateX": 32.0, "TranslateY": 32.0}
    else:
        ranges = dict.fromkeys(("ShearX", "ShearY"), 0.3) | dict.fromkeys(steps.ADJUST, 0.9) | {"Rotate": 30.0}
        ranges |= {"TranslateX": 150.0 / 331.0 * 100, "TranslateY": 150.0 / 331.0 * 80}
    for index, (magnitudes, _) in enumerate(table.values()):
        for bin_ in range(steps.BINS):
            theirs = float(magnitudes[bin_]) if magnitudes.ndim else 0.0
            assert steps.magnitude_of((index, bin_, False), ranges, posterize_bits=bits)[1] == theirs


def test_erasing_draws_no_box_as_often_as_torchvision_leaves_the_image() -> None:
    step = steps.RandomErasing(p=0.3)
    none = sum(step.draw(rng, (40, 40)) is None for rng in generators(DRAWS))
    assert none / DRAWS == pytest.approx(0.7, abs=0.03)


def test_erasing_that_never_fits_erases_nothing() -> None:
    assert steps.RandomErasing(p=1.0, scale=(4.0, 4.0)).draw(np.random.default_rng(0), (40, 40)) is None


def test_erased_box_is_smaller_than_the_image_on_both_sides() -> None:
    """On 4 x 4 px, sqrt(16 x 0.33 x 3.3) rounds to 4 for some draws: torchvision draws those again."""
    boxes = [steps.RandomErasing(p=1.0).draw(rng, (4, 4)) for rng in generators(DRAWS)]
    assert {max(box[2:]) for box in boxes} == {1, 2, 3}


def test_erased_box_is_what_torchvision_erases_after_normalisation() -> None:
    """Our box, replayed in torchvision's class on a normalised tensor, sets exactly the pixels in the box to 0."""
    tensor = torch.randn(3, 40, 50, generator=torch.Generator().manual_seed(0))
    for rng in generators(20):
        top, left, height, width = drawn = steps.RandomErasing(p=1.0).draw(rng, (50, 40))
        with scripted(rand=[0.0]):
            theirs = with_params(T.RandomErasing(), (*drawn, torch.zeros(1, 1, 1)))(tensor)
        ours = tensor.clone()
        ours[:, top : top + height, left : left + width] = 0
        assert torch.equal(ours, theirs)
        assert top + height <= 40
        assert left + width <= 50


def columns_of(draw: Callable[[], Any], count: int = DRAWS) -> np.ndarray:
    """Many draws as columns of numbers."""
    return np.array([np.hstack([np.ravel(part) for part in draw()]) for _ in range(count)], dtype=float)


def parts(drawn: Any) -> Any:
    return drawn if isinstance(drawn, tuple) else (drawn,)


def same_distributions(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Kolmogorov-Smirnov on every column; seeds are fixed, so this never fails by chance."""
    assert ours.shape[1] == theirs.shape[1]
    for mine, other in zip(ours.T, theirs.T, strict=True):
        assert ks_2samp(mine, other).pvalue > 1e-3


@pytest.mark.parametrize("size", [(61, 47), (25, 80)])
@pytest.mark.parametrize(
    ("step", "theirs"),
    [
        (steps.RandomCrop(20), lambda image: T.RandomCrop.get_params(image, (20, 20))),
        (
            steps.RandomResizedCrop(24, scale=(0.5, 1.0), interpolation=InterpolationMode.BILINEAR),
            lambda image: T.RandomResizedCrop.get_params(image, [0.5, 1.0], [3 / 4, 4 / 3]),
        ),
        (steps.RandomRotation(10), lambda image: [T.RandomRotation.get_params([-10.0, 10.0])]),
        (
            steps.RandomAffine(15, (0.1, 0.1)),
            lambda image: T.RandomAffine.get_params([-15.0, 15.0], [0.1, 0.1], None, None, list(image.size)),
        ),
        (
            steps.ColorJitter(0.2, 0.2, 0.5, 0.2),
            lambda image: T.ColorJitter.get_params([0.8, 1.2], [0.8, 1.2], [0.5, 1.5], [-0.2, 0.2]),
        ),
        (
            steps.RandomErasing(p=1.0),
            lambda image: T.RandomErasing.get_params(torch.zeros(3, *image.size[::-1]), (0.02, 0.33), (0.3, 3.3), [0])[
                :4
            ],
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_draws_are_distributed_as_torchvisions(step: Any, theirs: Any, size: tuple[int, int]) -> None:
    rng, image = np.random.default_rng(1), picture(size)
    torch.manual_seed(1)
    drawn = columns_of(lambda: parts(step.draw(rng, size)))
    same_distributions(drawn, columns_of(lambda: theirs(image)))


def test_flip_is_drawn_with_its_probability() -> None:
    flips = [steps.RandomHorizontalFlip(0.4).draw(rng, (9, 9)) for rng in generators(DRAWS)]
    assert np.mean(flips) == pytest.approx(0.4, abs=0.03)


def test_augmentations_draw_every_operation_bin_and_sign_equally_often() -> None:
    rng = np.random.default_rng(0)
    trivial = np.array([steps.TrivialAugmentWide().draw(rng, (9, 9)) for _ in range(14_000)])
    assert np.bincount(trivial[:, 0], minlength=14) == pytest.approx(1000, abs=120)
    assert np.bincount(trivial[:, 1], minlength=31) == pytest.approx(14_000 / 31, abs=100)
    signed = np.array([steps.OPERATIONS[index][1] for index in trivial[:, 0]])
    assert trivial[signed, 2].mean() == pytest.approx(0.5, abs=0.03)
    assert not trivial[~signed, 2].any()
    two = [steps.RandAugment(2, 7).draw(rng, (9, 9)) for _ in range(2000)]
    assert {bin_ for pair in two for _, bin_, _ in pair} == {7}
    assert np.mean([pair[0][0] == pair[1][0] for pair in two]) == pytest.approx(1 / 14, abs=0.02)  # with repetition
