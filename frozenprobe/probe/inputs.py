"""Feature files -> the arrays that heads are fitted, scored and tested on: which views, and how they become rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from frozenprobe.cache.store import Features
from frozenprobe.errors import FrozenprobeError, some, unknown_name
from frozenprobe.probe.arrays import Floats, Ints
from frozenprobe.probe.heads.parts.scaling import normalise
from frozenprobe.probe.options import AGGREGATES, ProbeOptions


@dataclass(frozen=True)
class Views:
    """Which columns of the stored features are used for what.

    Attributes:
        train: indices into all views of a training image.
        val: indices of the views whose probabilities are averaged for a held-out image.
        test: likewise for a test image.
    """

    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]


def choose_views(features: Features, options: ProbeOptions, *, augmented_only: bool) -> Views:
    """Which stored views to use.

    Raises:
        FrozenprobeError: more views than are stored, or a test-time view that is not.
    """
    stored = len(features.augmented_views)
    views = stored if options.views is None else options.views
    if not 0 <= views <= stored:
        raise FrozenprobeError(
            f"0 to {stored} augmented views (the file has {stored})",
            found=str(views),
            where="--views",
            remedy="choose a number in this range"
            + (f", or compute more: the same extract command with --views {views}" if views > 0 else ""),
        )
    for name in options.test_views or ():
        if name not in features.test_views:
            raise unknown_name("stored test-time view", name, features.test_views, where="--test-views")
    fixed = tuple(
        index for index, name in enumerate(features.test_views) if name in (options.test_views or features.test_views)
    )
    augmented = tuple(range(len(features.test_views), len(features.test_views) + views))
    if not augmented_only:
        return Views(fixed + augmented, fixed, fixed)
    if not augmented:
        raise FrozenprobeError(
            "At least one augmented view (the project report's head trains on nothing else)",
            found="none",
            where=features.path,
            remedy="the same extract command as before with --recipe report --views 9 (and another --out)",
        )
    direct = features.test_views.index("direct") if "direct" in features.test_views else 0
    return Views(augmented, (0,), (direct,)) if options.test_views is None else Views(augmented, fixed, fixed)


@dataclass(frozen=True)
class Inputs:
    """Features of one source: a feature file, or several side by side.

    Attributes:
        name: what it is called in tables; empty for the only one.
        train: `(N, v, D)` views that heads are fitted on.
        val: `(N, t, D)` views that a held-out image is scored on.
        test: `(M, t', D)` views that a test image is predicted on; M = 0 without test images.
        file: where they are from, for messages.
    """

    name: str
    train: Floats
    val: Floats
    test: Floats
    file: str = "the features"

    def aggregated(self, how: str) -> Inputs:
        """The same with one way of treating views.

        `rows`, `logit`: a row a view, an image's predictions averaged (as probabilities, as their logarithms).
        `mean`: one row an image, the mean of its views. `clean`: the clean view alone.

        Raises:
            FrozenprobeError: no such way.
        """
        if how not in AGGREGATES:
            raise unknown_name("way to treat views", how, AGGREGATES, where="--aggregate")
        if how in ("rows", "logit"):
            return self
        train, val, test = (aggregate_views(array, how) for array in (self.train, self.val, self.test))
        return replace(self, train=train, val=val, test=test)


def aggregate_views(vectors: Floats, how: str) -> Floats:
    """`(n, views, D)` -> `(n, 1, D)` for `mean` and `clean`; the views as they are for `rows` and `logit`."""
    if how == "clean":
        return vectors[:, :1]
    return vectors.mean(axis=1, keepdims=True) if how == "mean" else vectors


def read_inputs(files: Sequence[Features], views: Sequence[Views]) -> list[Inputs]:
    """One source a file; with several, also all of them side by side, each L2-normalised so that they weigh the same.

    Raises:
        FrozenprobeError: files of other images than the first's.
    """
    sources = [read_source(features, chosen) for features, chosen in zip(files, views, strict=True)]
    if len(files) == 1:
        return [replace(sources[0], name="")]
    for number, features in enumerate(files[1:], start=1):
        train, test = (match_images(files[0], features, split) for split in ("train", "test"))
        source = sources[number]
        sources[number] = replace(source, train=source.train[train], val=source.val[train], test=source.test[test])
    joined = {of: side_by_side([getattr(source, of) for source in sources]) for of in ("train", "val", "test")}
    together = ", ".join(source.file for source in sources)
    return [*sources, Inputs("side by side", **joined, file=together)]


def read_source(features: Features, views: Views) -> Inputs:
    """Read one file."""
    test = np.zeros((0, len(views.test), features.dim), dtype=np.float32)
    return Inputs(
        name=features.path.stem,
        train=read_finite(features, "train", views.train),
        val=read_finite(features, "train", views.val),
        test=test if features.test is None else read_finite(features, "test", views.test),
        file=str(features.path),
    )


def read_finite(features: Features, split: str, views: Sequence[int], images: slice = slice(None)) -> Floats:
    """Read features, of all images or of some, and refuse NaN and infinity.

    Raises:
        FrozenprobeError: names the images.
    """
    vectors = features.read(split, views, images)
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=(1, 2))) + (images.start or 0)
    if len(broken):
        ids = (features.train if split == "train" or features.test is None else features.test).ids
        raise FrozenprobeError(
            "Finite features",
            found=f"NaN or infinity in {len(broken)} {split} images: {some(ids[image] for image in broken)}",
            where=features.path,
            remedy=f"frozenprobe repair {features.path}   drops them; then the extract command computes them again",
        )
    return vectors


def side_by_side(arrays: Sequence[Floats]) -> Floats:
    """`(n, v, D1)`, `(n, w, D2)` ... -> `(n, fewest views, D1 + D2 + ...)`."""
    fewest = min(array.shape[1] for array in arrays)
    return np.concatenate([normalise(array[:, :fewest]) for array in arrays], axis=2)


def match_images(first: Features, other: Features, split: str) -> Ints:
    """Where the images of the first file stand in the other.

    Raises:
        FrozenprobeError: other images (by id and content), or other labels.
    """
    wanted, there = facts_of(first, split), facts_of(other, split)
    odd = [name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name)]
    if odd:
        raise FrozenprobeError(
            f"The same {split} images, by id, content and label, in all feature files",
            found=f"{len(odd)} that are not: {some(sorted(odd))}",
            where=f"{first.path}, {other.path}",
            remedy="extract the same images with each backbone",
        )
    place = {name: row for row, name in enumerate(there)}
    return np.array([place[name] for name in wanted], dtype=np.int64)


def facts_of(features: Features, split: str) -> dict[str, tuple[str, str]]:
    """Content hash and class name (empty for test images) of each image by id."""
    images = features.train if split == "train" else features.test
    if images is None:
        return {}
    labels = [""] * len(images) if images.labels is None else [features.class_names[label] for label in images.labels]
    return dict(zip(images.ids, zip(images.hashes, labels, strict=True), strict=True))
