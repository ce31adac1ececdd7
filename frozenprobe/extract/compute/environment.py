"""Rows of one file from several machines or library versions: recorded, and compared before they are mixed.

Versions are no part of the specification: with them in the fingerprint every upgrade would make a paid-for file
useless, though features hardly ever change. Instead a file lists the environments its rows were computed in; in a new
one a few stored rows are computed again first, and have to agree.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from frozenprobe.cache.growing.rows import LEAST_COSINE, RowStore, least_cosine
from frozenprobe.errors import SpecMismatch
from frozenprobe.extract.compute.embedder import Embedder
from frozenprobe.extract.views.cut import Job, ViewSettings, cut_all
from frozenprobe.extract.views.recipes import View
from frozenprobe.images.places import Place

log = logging.getLogger("frozenprobe")

LIBRARIES = ("torch", "torchvision", "pillow", "timm", "onnxruntime", "openvino")  # those that can change what a row is
COMPARED = 8  # stored rows that are computed again


def describe_environment(device: torch.device) -> str:
    """What can change a row besides its specification: libraries that decode, cut and compute, and the device."""
    versions = []
    for name in LIBRARIES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} {platform.machine()}"
    return ", ".join([*versions, kind])


def require_same_rows(
    rows: RowStore,
    paths: Mapping[str, Place],
    settings: ViewSettings,
    embedder: Embedder,
    *,
    known: list[str],
    where: Path,
) -> None:
    """Compute a few stored rows again, here, and compare: rows that differ must not be mixed.

    Args:
        rows: what is stored.
        paths: where an image of each content hash lies, of the images at hand.
        settings: what decides a view's pixels.
        embedder: the backbone.
        known: the environments the stored rows come from.
        where: the feature file.

    Raises:
        SpecMismatch: the cosine of a stored row and the same row computed here is below 0.999.
    """
    chosen = choose_rows(rows, paths)
    if not chosen:
        log.warning(
            "the stored rows are of images that are not at hand: they cannot be compared with rows computed here"
        )
        return
    views: list[View] = []
    for content_hash, view in chosen:
        job = Job(paths[content_hash], content_hash, (view,))
        views += [row.view for row in cut_all(job, settings).rows]
    here = embedder.start([view.pixels for view in views], [view.erased for view in views])()
    taps = rows.contents.taps
    cosines = [least_cosine(rows.row(*key), vector, taps) for key, vector in zip(chosen, here, strict=True)]
    worst = int(np.argmin(cosines))
    log.info(
        "%d stored rows computed again here: cosine %.6f or more (rows so far from: %s)",
        len(chosen), min(cosines), "; ".join(known),
    )  # fmt: skip
    if not cosines[worst] >= LEAST_COSINE:
        content_hash, view = chosen[worst]
        raise SpecMismatch(
            f"The stored rows again (cosine {LEAST_COSINE} or more), since new ones will be mixed with them",
            found=f"cosine {cosines[worst]:.4f} for {paths[content_hash]}, view {view}",
            where=f"{where}, whose rows come from: {'; '.join(known)}",
            remedy="go on where they come from, or make a file of your own with --out FILE",
        )


def choose_rows(rows: RowStore, paths: Mapping[str, Place]) -> list[tuple[str, str]]:
    """Up to 8 stored rows of images at hand, spread over images and views."""
    stored = [key for key in rows.stored() if key[0] in paths]
    return (
        [stored[index] for index in np.unique(np.linspace(0, len(stored) - 1, COMPARED).astype(int))] if stored else []
    )
