"""A ProbeResult as a folder: numbers and options as JSON, probabilities and head as plain arrays; and back."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from frozenprobe._version import __version__
from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import Doubles, Ints
from frozenprobe.probe.result import ProbeResult
from frozenprobe.system.atomic_files import sync_folder
from frozenprobe.system.csv_tables import Table, write_table
from frozenprobe.system.files import StrPath, open_regular, read_regular
from frozenprobe.system.json_text import to_json

if TYPE_CHECKING:
    from frozenprobe.cache.store import Features  # `compare` reads runs without h5py, opened

FORMAT, VERSION = "frozenprobe.run", 1  # of a run folder; those of frozenprobe 0.4.0 and before, without them, are read


@dataclass(frozen=True)
class Run:
    """What `submit` needs of a run.

    Attributes:
        path: the folder.
        config: as in config.json.
        class_names: C names.
        test_ids: of the M test images.
        test: `(M, C)` probabilities.
        test_usable: `(M,)` bool; False: a bad image, predicted by the class shares.
        sample: the sample submission kept in the feature file, or None.
    """

    path: Path
    config: dict[str, Any]
    class_names: tuple[str, ...]
    test_ids: tuple[str, ...]
    test: Doubles
    test_usable: npt.NDArray[np.bool_]
    sample: Table | None


@dataclass(frozen=True)
class OutOfFold:
    """What comparisons need of a run.

    Attributes:
        path: the folder.
        config: as in config.json.
        class_names: C names.
        ids: of the N training images.
        labels: `(N,)`.
        folds: `(N,)`; -1: never held out.
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


def save_run(
    result: ProbeResult,
    summary: dict[str, Any],
    files: Features | StrPath | Sequence[Features | StrPath],
    folder: StrPath,
) -> Path:
    """Write a run into a new folder `folder/<timestamp>-<head>`, aside first, then renamed.

    config.json has the format, the options and the features' origin, metrics.json the numbers, oof.csv a row an image,
    predictions.npz the probabilities with ids and class names, head.npz the refitted head and its scaling (of several
    repeats all of them: see `ProbeResult.model`), whose test predictions are those in predictions.npz.

    Returns:
        the folder.
    """
    from frozenprobe.cache.store import opened

    features, folder = opened(files), Path(folder)
    created = datetime.now(timezone.utc)
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{secrets.token_hex(4)}.partial"
    aside.mkdir()
    try:
        config = {
            "format": FORMAT,
            "version": VERSION,
            "created": created.isoformat(timespec="microseconds"),
            "frozenprobe": __version__,
            **origin_of(features[0]),
            "more_features": [origin_of(each) for each in features[1:]],
            "options": asdict(result.options),
        }
        (aside / "config.json").write_text(to_json(config), encoding="utf-8")
        (aside / "metrics.json").write_text(to_json(summary), encoding="utf-8")
        write_oof(aside / "oof.csv", result)
        head: dict[str, Any] = {**result.model, "class_names": np.array(result.class_names, dtype=str)}
        np.savez(aside / "predictions.npz", **prediction_arrays(result, features[0].sample))
        np.savez(aside / "head.npz", **head)
        for file in aside.iterdir():
            with open(file, "rb+") as handle:
                os.fsync(handle.fileno())
        sync_folder(aside)
        target = take_name(aside, folder, f"{created.astimezone():%Y%m%d-%H%M%S}-{result.options.head}")
        sync_folder(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def load_run(path: StrPath) -> Run:
    """Read a run.

    Raises:
        FrozenprobeError: no run there, or a damaged one.
    """
    path = Path(path)
    with opened_run(path) as (config, arrays):
        sample = None
        if "sample_columns" in arrays:
            rows = tuple(tuple(map(str, row)) for row in arrays["sample_cells"])
            sample = Table(Path(str(arrays["sample_path"][0])), tuple(map(str, arrays["sample_columns"])), rows)
        return Run(
            path,
            config,
            tuple(map(str, arrays["class_names"])),
            tuple(map(str, arrays["test_ids"])),
            arrays["test"].astype(np.float64),
            arrays["test_usable"],
            sample,
        )


def load_predictions(path: StrPath) -> OutOfFold:
    """Read a run's out-of-fold predictions.

    Raises:
        FrozenprobeError: no run there, or a damaged one.
    """
    path = Path(path)
    with opened_run(path) as (config, arrays):
        oof, folds = arrays["oof"].astype(np.float64), arrays["folds"].astype(np.int64)
        repeated = "repeat_oof" in arrays
        read = OutOfFold(
            path=path,
            config=config,
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


def newest_run(folder: StrPath) -> Path:
    """The run in `folder` with the newest creation time stored inside.

    Raises:
        FrozenprobeError: there is none.
    """
    return newest_runs(Path(folder), 1)[0]


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


def origin_of(features: Features) -> dict[str, Any]:
    """Where features come from."""
    return {
        "features": str(features.path.absolute()),
        "fingerprint": features.spec.fingerprint(),
        "spec": asdict(features.spec),
        "licence": features.about.get("licence", ""),
    }


def write_oof(path: Path, result: ProbeResult) -> None:
    """`ProbeResult.columns` as a tidy CSV: a row a training image, probabilities to six decimals."""
    columns = result.columns()
    rounded = {
        name: ["" if np.isnan(p) else f"{p:.6f}" for p in columns[name]]
        for name in ("probability", "probability_of_label")
    }
    cells = columns | rounded | {"scored": result.scored.astype(int)}
    write_table(path, tuple(cells), zip(*cells.values(), strict=True))


def prediction_arrays(result: ProbeResult, sample: Table | None) -> dict[str, Any]:
    """Everything `submit` and comparisons need, without pickled objects: texts are unicode of a fixed width."""
    arrays: dict[str, Any] = {
        "class_names": np.array(result.class_names, dtype=str),
        "ids": np.array(result.ids, dtype=str),
        "labels": result.labels,
        "folds": result.folds,
        "clusters": result.clusters,
        "scored": result.scored,
        "oof": result.oof.astype(np.float32),
        "test_ids": np.array(result.test_ids, dtype=str),
        "test": result.test.astype(np.float32),
        "test_usable": result.test_usable,
    }
    if result.repeats:
        arrays["repeat_oof"] = np.stack([one.oof for one in result.repeats]).astype(np.float32)
        arrays["repeat_folds"] = np.stack([one.folds for one in result.repeats])
    if sample is not None:
        arrays["sample_path"] = np.array([str(sample.path)], dtype=str)
        arrays["sample_columns"] = np.array(sample.columns, dtype=str)
        cells = [cell for row in sample.rows for cell in row]
        arrays["sample_cells"] = np.array(cells, dtype=str).reshape(len(sample.rows), len(sample.columns))
    return arrays


def take_name(aside: Path, folder: Path, name: str) -> Path:
    """Rename `aside` to `folder/name`, or with -2, -3 ... if another run has taken it."""
    number = 1
    while True:
        target = folder / (name if number == 1 else f"{name}-{number}")
        try:
            if not target.exists():
                os.rename(aside, target)
                return target
        except OSError:
            if not target.exists():
                raise
        number += 1


@contextmanager
def opened_run(path: Path) -> Iterator[tuple[dict[str, Any], Any]]:
    """The configuration of a run and its arrays; whatever is wrong with them is one error.

    Raises:
        FrozenprobeError: no run there, a damaged one, or one of another format.
    """
    try:
        config = dict(json.loads(read_regular(path / "config.json")))
        check_format(config, path)
        with open_regular(path / "predictions.npz") as file, np.load(file, allow_pickle=False) as arrays:
            yield config, arrays
    except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError, BadZipFile) as error:
        raise FrozenprobeError(
            "The folder of a run (config.json, predictions.npz)",
            found=f"{type(error).__name__}: {error}",
            where=path,
            remedy="make one with: frozenprobe probe, or name another",
        ) from None


def check_format(config: dict[str, Any], path: Path) -> None:
    """Refuse what is no run, and runs of a version that is not known yet.

    Raises:
        FrozenprobeError: says so.
    """
    form, version = config.get("format", FORMAT), config.get("version", VERSION)
    if form != FORMAT or version not in range(1, VERSION + 1):
        raise FrozenprobeError(
            f"A run: a folder whose config.json has format = {FORMAT} and a version up to {VERSION}",
            found=f"format = {form}, version = {version!r}",
            where=path,
            remedy="upgrade frozenprobe if the run is of a newer one; else make a run with: frozenprobe probe",
        )


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
