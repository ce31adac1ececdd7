"""Feature files made on the spot, of vectors that are there already: what a measurement of heads needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import frozenprobe as fp
from frozenprobe.cache.contents import Contents, Split
from frozenprobe.cache.spec import FeatureSpec
from frozenprobe.cache.store import write_features

SPEC = FeatureSpec(
    backbone="made",
    weights_digest="0" * 64,
    preprocessing='{"name":"weights"}',
    recipe="made",
    recipe_version=1,
    seed=0,
    decoding="full",
    augment_on="cpu",
    tap="head-input",
    engine="none",
    compute_dtype="float32",
    storage_dtype="float32",
)


def written(
    path: Path,
    vectors: np.ndarray,
    labels: np.ndarray,
    *,
    groups: Sequence[str] | None = None,
    test: np.ndarray | None = None,
) -> fp.Features:
    """A feature file of `(N, views, D)` training vectors, the first view the clean one; opened.

    Args:
        path: of the file.
        vectors: `(N, views, D)`.
        labels: `(N,)`.
        groups: of each image, or None.
        test: `(M, D)` clean vectors of test images, or None.
    """
    train = split_of("train", len(labels), labels, groups)
    contents = Contents(
        spec=SPEC,
        taps=(("head-input", vectors.shape[2]),),
        test_views=("clean",),
        augmented_views=tuple(f"aug{view}" for view in range(1, vectors.shape[1])),
        class_names=tuple(f"class {label:04}" for label in range(labels.max() + 1)),
        train=train,
        test=None if test is None else split_of("test", len(test)),
        sample=None,
        about={"created": "2026-01-01T00:00:00.000000+00:00", "licence": "none"},
    )

    def rows(chosen: slice, split: Split, names: Sequence[str]) -> np.ndarray:
        every = vectors if split.labels is not None else test[:, None]
        return every[chosen, : len(names)].copy()

    write_features(path, contents, rows)
    return fp.open_features(path)


def split_of(name: str, count: int, labels: np.ndarray | None = None, groups: Sequence[str] | None = None) -> Split:
    """Images that there are no files of."""
    hashes = tuple(f"{name[0]:0>4}".replace(name[0], str(len(name))) + f"{index:060x}" for index in range(count))
    ids = tuple(f"{name}/{index}.jpg" for index in range(count))
    return Split(ids, hashes, np.ones(count, dtype=bool), labels, None if groups is None else tuple(groups))
