"""Which of the stored views a probe trains on, scores on and answers on, and reading them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frozenprobe.cache.store import Features
from frozenprobe.errors import FrozenprobeError, some, unknown_name
from frozenprobe.probe.arrays import Floats
from frozenprobe.probe.options import ProbeOptions


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
