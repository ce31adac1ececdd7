"""The threshold: copies are within it, photos are not, and it knows how many photos there are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from frozenprobe.probe.folds.duplicates import near_duplicates
from frozenprobe.probe.folds.threshold import (
    CHANCE,
    choose_threshold,
    copies_reach,
    find_strangers,
    fit_power,
    share_by_chance,
)

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def unit(rows: npt.ArrayLike) -> Floats:
    array = np.asarray(rows, dtype=np.float64)
    return (array / np.linalg.norm(array, axis=1, keepdims=True)).astype(np.float32)


def photos(count: int = 60, dim: int = 40, classes: int = 5, seed: int = 0) -> tuple[Floats, Floats, Ints]:
    """Vectors of photos, of their mirror images (0.4 of a photo's own noise away), and labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    clean = rng.normal(size=(classes, dim))[labels] + rng.normal(size=(count, dim))
    return unit(clean), unit(clean + 0.4 * rng.normal(size=(count, dim))), labels


def test_the_mirror_image_says_how_far_a_copy_may_be() -> None:
    clean, mirror, labels = photos()
    threshold = choose_threshold(clean, labels, mirror).cosine
    assert threshold == pytest.approx(np.quantile((clean * mirror).sum(axis=1), 0.05), abs=1e-6)
    copies = unit(clean + 0.005 * np.random.default_rng(1).normal(size=clean.shape))
    pairs, _ = near_duplicates(np.concatenate([clean, copies]), threshold)
    assert set(map(tuple, pairs.tolist())) == {(image, image + 60) for image in range(60)}  # all copies, no strangers


@pytest.mark.parametrize(("mirror", "part"), [("another picture", 6), ("not seen at all", 16), ("not stored", 8)])
def test_a_mirror_image_that_says_nothing_is_not_believed(mirror: str, part: int) -> None:
    clean, _, labels = photos()
    other = {"another picture": unit(np.roll(clean, 7, axis=0)), "not seen at all": clean, "not stored": None}[mirror]
    found = choose_threshold(clean, labels, other)
    classes = [clean[labels == label] for label in range(5)]
    typical = np.median([np.median((own @ own.T)[np.triu_indices(12, 1)]) for own in classes])
    assert found.cosine == found.reach == pytest.approx(1 - (1 - typical) / part)
    copies = unit(clean + 0.003 * np.random.default_rng(1).normal(size=clean.shape))
    pairs, _ = near_duplicates(np.concatenate([clean, copies]), found.cosine)
    assert set(map(tuple, pairs.tolist())) == {(image, image + 60) for image in range(60)}


def test_copies_of_most_images_do_not_hide_each_other() -> None:
    clean, mirror, labels = photos(count=20)
    thrice = np.concatenate([clean, clean + np.float32(1e-3), clean - np.float32(1e-3)])
    threshold = choose_threshold(unit(thrice), np.tile(labels, 3), np.tile(mirror, (3, 1))).cosine
    assert len(near_duplicates(thrice, threshold)[0]) == 3 * 20


@pytest.mark.filterwarnings("error")
def test_single_images_a_class_tell_no_distance_and_only_equal_rows_count() -> None:
    clean, mirror, _ = photos(count=8)
    assert choose_threshold(clean, np.arange(8), mirror).cosine == 1


# Chance


def dense(count: int, dimensions: int, *, seed: int = 0, classes: int = 10) -> tuple[Floats, Ints]:
    """Photos that differ in so many dimensions, whatever the number of features; and labels."""
    rng = np.random.default_rng([seed, dimensions])
    labels = np.arange(count) % classes
    inner = rng.normal(size=(classes, dimensions))[labels] + rng.normal(size=(count, dimensions))
    turned = np.linalg.qr(rng.normal(size=(64, dimensions)))[0]
    return unit(inner @ turned.T + np.sqrt(dimensions / 64) * rng.normal(size=64)), labels


def joined(clean: Floats, threshold: float) -> float:
    """Share of the images with a near duplicate."""
    return len(np.unique(near_duplicates(clean, threshold)[0])) / len(clean)


@pytest.mark.parametrize("dimensions", [4, 8])
def test_among_many_images_of_few_dimensions_chance_pairs_stay_few(dimensions: int) -> None:
    clean, labels = dense(2000, dimensions)
    found = choose_threshold(clean, labels, None)
    assert joined(clean, found.reach) > 0.15
    assert joined(clean, found.cosine) < 0.025
    assert found.cosine < 1 - (1 - found.reach) / 1000  # not by giving up


def test_the_forecast_of_chance_is_about_what_happens() -> None:
    clean, labels = dense(2000, 8)
    reach = copies_reach(clean, labels, None)
    for part in (1.0, 0.7):
        forecast = share_by_chance(find_strangers(clean, labels, reach), part)
        assert forecast == pytest.approx(joined(clean, 1 - part * reach), rel=0.4)


def test_among_more_images_of_the_same_kind_copies_must_be_closer() -> None:
    clean, labels = dense(3000, 8)
    few, many = (choose_threshold(clean[:count], labels[:count], None) for count in (300, 3000))
    assert few.reach == pytest.approx(many.reach, abs=0.01)
    assert many.cosine > few.cosine + 0.2 * (1 - few.cosine)


def test_of_few_images_two_may_be_near_by_chance() -> None:
    clean, labels = dense(60, 12, classes=4)
    found = choose_threshold(clean, labels, None)
    assert CHANCE < share_by_chance(find_strangers(clean, labels, copies_reach(clean, labels, None)), 1.0) < 2 / 60
    assert found.cosine == found.reach


@pytest.mark.parametrize("classes", [10, 300])
def test_where_photos_differ_in_many_dimensions_the_threshold_is_how_far_copies_reach(classes: int) -> None:
    clean, labels = dense(900, 40, classes=classes)
    found = choose_threshold(clean, labels, None)
    assert found.cosine == found.reach < 0.98


def test_classes_of_few_images_far_from_each_other_are_not_taken_for_dense() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(100), 3)
    clean = unit(4 * rng.normal(size=(100, 40))[labels] + rng.normal(size=(300, 40)))
    found = choose_threshold(clean, labels, None)
    assert found.cosine == found.reach < 0.999


def test_classes_of_few_images_of_which_some_are_out_of_reach_are_not_taken_for_dense() -> None:
    clean, labels = dense(600, 14, classes=120)  # counted class by class, twice as many would be near as may be
    found = choose_threshold(clean, labels, None)
    assert found.cosine == found.reach < 0.98
    assert joined(clean, found.cosine) < 0.01


@pytest.mark.parametrize("copies", [1, 19])
def test_copies_within_reach_are_no_strangers(copies: int) -> None:
    clean, labels = dense(400, 40)
    rng = np.random.default_rng(1)
    changed = [unit(clean + 0.01 * rng.normal(size=clean.shape)) for _ in range(copies)]
    found = choose_threshold(np.concatenate([clean, *changed]), np.tile(labels, copies + 1), None)
    assert found.cosine == found.reach < 0.98
    assert len(near_duplicates(np.concatenate([clean, changed[0]]), found.cosine)[0]) == 400


@pytest.mark.parametrize("power", [1.0, 4.0, 20.0])
def test_the_power_of_points_in_a_ring_is_found(power: float) -> None:
    rng = np.random.default_rng(0)
    width = rng.uniform(0.1, 1.0, 1000)
    count = rng.integers(0, 9, 1000)
    inside = np.exp(-power * width)  # the share of a full disc that lies inside the ring's hole
    logs = [-np.log(rng.uniform(hole, 1, size=each)).sum() / power for hole, each in zip(inside, count, strict=True)]
    assert fit_power(width, np.array(logs), count) == pytest.approx(power, rel=0.15)
