"""Recipes: `report` is the project report's transform chain, and a view depends on nothing but its own key."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode

from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.compute.loader import Seconds, load_batches
from frozenprobe.extract.options import RECIPES
from frozenprobe.extract.views.cut import Job, ViewSettings, cut_all
from frozenprobe.extract.views.preprocessing import Preprocessing, Resize, Resized, clean_view
from frozenprobe.extract.views.recipes import (
    Recipe,
    View,
    cut_view,
    leaves_enough,
    make_recipe,
    view_generator,
)
from frozenprobe.extract.views.transforms import RandomErasing
from tests.conftest import write_image
from tests.extract.views.test_transforms import as_integers, scripted, with_params

SIDE = 64
PREPROCESSING = Preprocessing(resize=72, size=SIDE, interpolation="bicubic")
RANDOM = [name for name in RECIPES if name != "none"]


def picture(size: tuple[int, int] = (131, 97), key: int = 0) -> Image.Image:
    rng = np.random.default_rng(key)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 4, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def cut(
    image: Image.Image,
    name: str,
    view: int = 1,
    *,
    seed: int = 0,
    content: str = "ab" * 32,
    p: Preprocessing = PREPROCESSING,
) -> View:
    recipe = make_recipe(name, p)
    return cut_view(Resized(image), recipe, view_generator(content, view, recipe=recipe, seed=seed))


def draws_of(recipe: Recipe, rng: np.random.Generator, size: tuple[int, int]) -> list[object]:
    return [step.draw(rng, size) for step in recipe.steps]


def reports_chain(image: Any, recipe: Recipe, view: int) -> Any:
    """torchvision's classes, composed as the report composed them, with our draws put in place of theirs."""
    rng = view_generator("ab" * 32, view, recipe=recipe, seed=0)
    crop = recipe.steps[0].draw(rng, T.Resize(SIDE)(image).size)
    flip, operations, angle, jitter, motion = (step.draw(rng, (SIDE, SIDE)) for step in recipe.steps[1:])
    chain = T.Compose(
        [
            T.Resize(SIDE),
            with_params(T.RandomCrop(SIDE), crop),
            T.RandomHorizontalFlip(0.4),
            T.RandAugment(num_ops=2, magnitude=7),
            with_params(T.RandomRotation(10), angle),
            with_params(T.ColorJitter(0.2, 0.2, 0.5, 0.2), jitter),
            with_params(T.RandomAffine(15, translate=(0.1, 0.1)), motion),
        ]
    )
    integers = [number for operation in operations for number in as_integers(operation, draws_bin=False)]
    with scripted(rand=[0.0 if flip else 0.99], randint=integers):
        return chain(image)


@pytest.mark.parametrize("size", [(131, 97), (97, 131), (64, 64), (40, 55)])
def test_report_is_the_reports_train_transform_pixel_for_pixel(size: tuple[int, int]) -> None:
    image, recipe = picture(size), make_recipe("report", PREPROCESSING)
    for view in range(1, 13):
        assert np.array_equal(cut(image, "report", view).pixels, reports_chain(image, recipe, view))


def test_erase_is_report_and_a_box_for_some_views() -> None:
    image = picture()
    views = [cut(image, "erase", view) for view in range(1, 60)]
    erased = [view.erased for view in views if view.erased is not None]
    assert make_recipe("erase", PREPROCESSING).steps == make_recipe("report", PREPROCESSING).steps
    assert make_recipe("erase", PREPROCESSING).erase == RandomErasing(p=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3))
    assert 15 < len(erased) < 45
    assert len(set(erased)) == len(erased)


def test_mild_cuts_half_to_all_of_the_original_image() -> None:
    image, (crop, flip) = picture(), make_recipe("mild", PREPROCESSING).steps
    boxes = [crop.draw(np.random.default_rng(key), image.size) for key in range(300)]
    areas = [height * width / (image.width * image.height) for _, _, height, width in boxes]
    assert min(areas) > 0.49
    assert max(areas) <= 1
    assert crop.interpolation.value == "bicubic"
    assert flip.p == 0.5


@pytest.mark.parametrize("name", ["crop-flip", "trivial"])
def test_other_recipes_begin_with_the_resizing_of_the_weights(name: str) -> None:
    recipe = make_recipe(name, PREPROCESSING)
    assert recipe.base == PREPROCESSING.how == Resize((72,), InterpolationMode.BICUBIC)
    assert [type(step).__name__ for step in recipe.steps][:2] == ["RandomCrop", "RandomHorizontalFlip"]
    assert [type(step).__name__ for step in recipe.steps][2:] == (["TrivialAugmentWide"] if name == "trivial" else [])


def test_crop_flip_views_are_crops_of_the_resized_image() -> None:
    image = picture()
    resized = np.asarray(T.Resize(72, InterpolationMode.BICUBIC)(image))
    windows = np.lib.stride_tricks.sliding_window_view(resized, (SIDE, SIDE), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    for view in range(1, 8):
        pixels = cut(image, "crop-flip", view).pixels.numpy()
        found = [(windows == candidate).all(axis=(2, 3, 4)).any() for candidate in (pixels, pixels[:, ::-1])]
        assert any(found)


@pytest.mark.parametrize("squash", [False, True])
@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("size", [(131, 97), (9, 300), (1, 1)])
def test_every_recipe_gives_uint8_squares_whatever_the_image(name: str, size: tuple[int, int], squash: bool) -> None:
    p = Preprocessing(resize=72, size=SIDE, interpolation="bicubic", squash=squash)
    pixels = cut(picture(size), name, p=p).pixels
    assert pixels.shape == (SIDE, SIDE, 3)
    assert pixels.dtype == torch.uint8


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(FrozenprobeError, match=r"did you mean trivial\?.*Known: mild, report"):
        make_recipe("trivail", PREPROCESSING)


@pytest.mark.parametrize("name", RANDOM)
def test_recipes_keep_their_golden_draws(name: str) -> None:
    """A changed hash means other pixels for everybody's files: raise the recipe's version and write the new one here.

    Of the drawn parameters, not of pixels: those may differ in a bit between versions of Pillow.
    """
    golden = {
        "mild": "666b93c208073a3b",
        "report": "96614381cca17b31",
        "crop-flip": "9b46245a7f6f3525",
        "trivial": "42379ea68cacf9c8",
        "erase": "d8271f86bad0319a",
    }
    recipe = make_recipe(name, PREPROCESSING)
    rng = view_generator("ab" * 32, 3, recipe=recipe, seed=5)
    drawn = [*draws_of(recipe, rng, (131, 97)), recipe.erase.draw(rng, (SIDE, SIDE)) if recipe.erase else None]
    assert recipe.version == 1
    assert hashlib.sha256(repr(drawn).encode()).hexdigest()[:16] == golden[name]


# Invariant 1: a view is a function of (recipe, seed, content, view) and of nothing else.

FOLDER_IMAGES = 5


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("photos")
    paths = [write_image(folder / f"{index}.png", index, (50 + 7 * index, 41)) for index in range(FOLDER_IMAGES)]
    return [(path, hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths]


def views_of(
    jobs: list[tuple[Path, str]],
    names: list[tuple[str, ...]],
    *,
    recipe: str,
    seed: int = 0,
    batch: int = 4,
    workers: int = 0,
) -> dict[tuple[str, str], tuple[bytes, object]]:
    """The views of some images, as they come out of the loader: (content, name) -> pixels and box."""
    asked = [Job(path, content, views) for (path, content), views in zip(jobs, names, strict=True)]
    how = ViewSettings(Preprocessing(24, 20, "bicubic"), recipe, seed, 10**6)
    batches = load_batches(asked, how, batch_size=batch, workers=workers, seconds=Seconds())
    return {
        (row.content_hash, row.name): (row.view.pixels.numpy().tobytes(), row.view.erased)
        for batch_ in batches
        for row in batch_
    }


ALL_VIEWS = ("clean", "hflip", "aug1", "aug2", "aug3")


@settings(max_examples=25, deadline=None)
@given(
    recipe=st.sampled_from(RANDOM),
    seed=st.integers(0, 2**40),
    order=st.permutations(range(FOLDER_IMAGES)),
    asked=st.lists(st.sets(st.sampled_from(ALL_VIEWS), min_size=1), min_size=FOLDER_IMAGES, max_size=FOLDER_IMAGES),
    batch=st.integers(1, 30),
)
def test_a_view_depends_on_its_own_key_alone(
    jobs: list[tuple[Path, str]], order: list[int], asked: list[set[str]], batch: int, **how: Any
) -> None:
    """Not on the order of images or views, the batch size, or how many views were asked for of which image."""
    whole = views_of(jobs, [ALL_VIEWS] * FOLDER_IMAGES, **how)
    some = views_of([jobs[i] for i in order], [tuple(asked[i]) for i in order], batch=batch, **how)
    assert len(some) == sum(map(len, asked))
    assert some == {key: whole[key] for key in some}


def test_views_are_the_same_from_worker_processes(jobs: list[tuple[Path, str]]) -> None:
    """And from the thread that cuts all of an image at once; in inference mode too."""
    names = [ALL_VIEWS] * FOLDER_IMAGES
    here = views_of(jobs, names, workers=0, recipe="erase")
    assert views_of(jobs, names, workers=2, recipe="erase") == here
    with torch.inference_mode():
        assert views_of(jobs, names, workers=0, recipe="erase") == here
    settings = ViewSettings(Preprocessing(24, 20, "bicubic"), "erase", 0, 10**6)
    rows = [row for path, content in jobs for row in cut_all(Job(path, content, ALL_VIEWS), settings).rows]
    assert {(row.content_hash, row.name): (row.view.pixels.numpy().tobytes(), row.view.erased) for row in rows} == here


@given(size=st.tuples(st.integers(60, 4000), st.integers(60, 4000)), key=st.integers(0, 10**6))
@settings(max_examples=200, deadline=None)
@pytest.mark.parametrize("name", RANDOM)
def test_what_leaves_enough_leaves_twice_the_pixels_of_every_view(name: str, size: tuple[int, int], key: int) -> None:
    recipe = make_recipe(name, PREPROCESSING)
    crop = recipe.steps[0]
    box = crop.draw(np.random.default_rng(key), size) if name == "mild" else (0, 0, min(size), min(size))
    enough = leaves_enough(size, recipe=recipe, preprocessing=PREPROCESSING)
    assert not enough or (min(box[2:]) + 1 >= 2 * SIDE and min(size) >= 2 * PREPROCESSING.resize)  # boxes are rounded
    assert enough == leaves_enough(size[::-1], recipe=recipe, preprocessing=PREPROCESSING)
    assert enough or min(size) < 2 * PREPROCESSING.resize / 0.6


def test_a_view_depends_on_the_content_not_on_the_name(tmp_path: Path, jobs: list[tuple[Path, str]]) -> None:
    path, content = jobs[0]
    copy = tmp_path / "another name.png"
    copy.write_bytes(path.read_bytes())
    here, there = (views_of([(file, content)], [ALL_VIEWS], recipe="report") for file in (path, copy))
    assert here == there


@settings(max_examples=60, deadline=None)
@given(
    recipe=st.sampled_from(RANDOM),
    keys=st.lists(st.tuples(st.integers(0, 2**70), st.integers(1, 10**6)), min_size=2, max_size=6, unique=True),
)
def test_another_seed_or_view_draws_otherwise(recipe: str, keys: list[tuple[int, int]]) -> None:
    made = make_recipe(recipe, PREPROCESSING)
    streams = [view_generator("ab" * 32, view, recipe=made, seed=seed).random(4).tobytes() for seed, view in keys]
    assert len(set(streams)) == len(keys)


def test_another_content_or_recipe_or_version_draws_otherwise() -> None:
    recipes = [make_recipe(name, PREPROCESSING) for name in RANDOM]
    recipes.append(Recipe("mild", 2, None, ()))
    contents = [hashlib.sha256(bytes([number])).hexdigest() for number in range(20)]
    streams = {
        view_generator(content, 1, recipe=recipe, seed=0).random(4).tobytes()
        for recipe in recipes
        for content in contents
    }
    assert len(streams) == len(recipes) * len(contents)


@pytest.mark.parametrize("name", RANDOM)
def test_views_of_one_image_differ(name: str) -> None:
    image = picture()
    assert len({cut(image, name, view).pixels.numpy().tobytes() for view in range(1, 9)}) == 8


def test_the_clean_view_does_not_depend_on_the_recipe(jobs: list[tuple[Path, str]]) -> None:
    clean = {views_of(jobs[:1], [("aug1", "clean")], recipe=name)[jobs[0][1], "clean"] for name in RANDOM}
    assert len(clean) == 1
    with Image.open(jobs[0][0]) as image:
        assert clean.pop()[0] == clean_view(Resized(image), Preprocessing(24, 20, "bicubic")).tobytes()


def test_global_generators_decide_nothing(jobs: list[tuple[Path, str]]) -> None:
    def seeded(number: int) -> dict[tuple[str, str], tuple[bytes, object]]:
        torch.manual_seed(number)
        np.random.seed(number)
        random.seed(number)
        return views_of(jobs, [ALL_VIEWS] * FOLDER_IMAGES, recipe="erase")

    assert seeded(1) == seeded(2)
