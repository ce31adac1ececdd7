"""A run folder -> its out-of-fold predictions; light: loads neither features nor heads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import Doubles, Ints
from frozenprobe.system.files import read_regular, require_regular


@dataclass(frozen=True)
class OutOfFold:
    """What comparisons need of a run.

    Attributes:
        path: the folder.
        config: as in config.json.
        class_names: C names.
        ids: of the N training images.
        labels: `(N,)`.
        folds: `(N,)`.
        clusters: `(N,)` images that belong together.
        scored: `(N,)` bool.
        oof: `(N, C)` out-of-fold probabilities; of the first repeat where there are several.
        repeat_predicted: `(R, N)` most probable class in each repeat; R is 1 where the run has no repeats.
        repeat_folds: `(R, N)` folds of each repeat.
    """

    path: Path
    config: dict[str, Any]
    class_names: tuple[str, ...]
    ids: tuple[str, ...]
    labels: Ints
    folds: Ints
    clusters: Ints
    scored: npt.NDArray[np.bool_]
    oof: Doubles
    repeat_predicted: Ints
    repeat_folds: Ints


def load_predictions(path: Path) -> OutOfFold:
    """Read a run's out-of-fold predictions.

    Raises:
        FrozenprobeError: no run there, or a damaged one.
    """
    with opened_run(path) as (config, arrays):
        oof, folds = arrays["oof"].astype(np.float64), arrays["folds"].astype(np.int64)
        repeated = "repeat_oof" in arrays
        read = OutOfFold(
            path=path,
            config=dict(config),
            class_names=tuple(arrays["class_names"].tolist()),
            ids=tuple(arrays["ids"].tolist()),
            labels=arrays["labels"].astype(np.int64),
            folds=folds,
            clusters=arrays["clusters"].astype(np.int64),
            scored=arrays["scored"].astype(bool),
            oof=oof,
            repeat_predicted=(arrays["repeat_oof"] if repeated else oof[None]).argmax(axis=2),
            repeat_folds=arrays["repeat_folds"].astype(np.int64) if repeated else folds[None],
        )
        check_shapes(read)
    return read


@contextmanager
def opened_run(path: Path) -> Iterator[tuple[dict[str, Any], Any]]:
    """The configuration of a run and its arrays; whatever is wrong with them is one error.

    Raises:
        FrozenprobeError: no run there, or a damaged one.
    """
    try:
        config = json.loads(read_regular(path / "config.json"))
        require_regular(path / "predictions.npz")
        with np.load(path / "predictions.npz", allow_pickle=False) as arrays:
            yield config, arrays
    except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError, BadZipFile) as error:
        raise FrozenprobeError(
            "The folder of a run (config.json, predictions.npz)",
            found=f"{type(error).__name__}: {error}",
            where=path,
            remedy="make one with: frozenprobe probe, or name another",
        ) from None


def check_shapes(read: OutOfFold) -> None:
    """Raise ValueError where the arrays do not fit each other."""
    images, classes, repeats = len(read.ids), len(read.class_names), len(read.repeat_predicted)
    wanted = {
        **dict.fromkeys(("labels", "folds", "clusters", "scored"), (images,)),
        "oof": (images, classes),
        "repeat_predicted": (repeats, images),
        "repeat_folds": (repeats, images),
    }
    for name, shape in wanted.items():
        if getattr(read, name).shape != shape:
            raise ValueError(f"{name} of shape {getattr(read, name).shape}, not {shape}")
    if images and not 0 <= read.labels.min() <= read.labels.max() < classes:
        raise ValueError(f"labels outside of the {classes} classes")
    if len(set(read.ids)) < images:
        raise ValueError("image ids that occur twice")


def newest_runs(folder: Path, count: int) -> list[Path]:
    """The `count` newest runs in a folder by the creation time stored inside, oldest of them first.

    Raises:
        FrozenprobeError: there are fewer.
    """
    runs: list[tuple[str, Path]] = []
    for config in folder.glob("[!.]*/config.json"):
        try:
            runs.append((str(json.loads(read_regular(config))["created"]), config.parent))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    if len(runs) < count:
        raise FrozenprobeError(
            "A run" if count == 1 else f"{count} runs",
            found=str(len(runs) or "none"),
            where=folder.absolute(),
            remedy="make one with: frozenprobe probe",
        )
    return [path for _, path in sorted(runs)[-count:]]
