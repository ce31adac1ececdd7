"""Contents <-> the attributes and small arrays of a sealed file, and whether they agree (docs/format.md)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from frozenprobe.cache.container.hdf5 import as_texts
from frozenprobe.cache.container.read import SealedFile
from frozenprobe.cache.contents import Contents, Split, environments_of
from frozenprobe.cache.spec import FeatureSpec
from frozenprobe.errors import FeatureFileError
from frozenprobe.system.csv_tables import Table

FEATURES = "frozenprobe.features"
PLAN = "frozenprobe.plan"
VERSION = 3
TAP = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")  # the name of a dataset; taps are joined by `+` where several are named


def attributes_of(contents: Contents, form: str) -> dict[str, str | int]:
    """The root's attributes."""
    attributes: dict[str, str | int] = {
        "format": form,
        "version": VERSION,
        "spec": contents.spec.canonical(),
        "fingerprint": contents.spec.fingerprint(),
        "about": json.dumps(contents.about, sort_keys=True),
        "taps": json.dumps(contents.taps),
        "test_views": len(contents.test_views),
    }
    if contents.sample is not None:
        attributes["sample_path"] = str(contents.sample.path).encode(errors="replace").decode()
    return attributes


def arrays_of(contents: Contents) -> dict[str, Any]:
    """All datasets but the feature arrays."""
    arrays: dict[str, Any] = {"class_names": contents.class_names, "views": contents.views}
    for name, split, _ in contents.splits:
        columns = {"ids": split.ids, "hashes": split.hashes, "groups": split.groups, "folds": split.folds}
        arrays |= {f"{name}/{key}": texts for key, texts in columns.items() if texts is not None}
        arrays[f"{name}/usable"] = split.usable.astype(np.uint8)
        if split.labels is not None:
            arrays[f"{name}/labels"] = split.labels.astype("<i8")
    if contents.sample is not None:
        cells = [cell for row in contents.sample.rows for cell in row]
        arrays["sample/columns"] = contents.sample.columns
        arrays["sample/cells"] = as_texts(cells).reshape(len(contents.sample.rows), len(contents.sample.columns))
    return arrays


def contents_of(sealed: SealedFile, form: str) -> Contents:
    """All but the rows, if the parts agree.

    Raises:
        FeatureFileError: another format, version or specification, or parts that contradict each other.
    """
    found = sealed.attributes.get("format"), sealed.attributes.get("version")
    if found != (form, VERSION):
        raise FeatureFileError(
            f"A file with the attributes format = {form} and version = {VERSION}",
            found=f"format = {found[0]}, version = {found[1]}",
            where=sealed.path,
            remedy="name a file that this version of frozenprobe extract has written (see frozenprobe --version)",
        )
    try:
        contents = parse_contents(sealed)
        check_contents(contents)
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise contradiction(sealed.path, f"{type(error).__name__}: {error}") from None
    return contents


def contradiction(path: Path, found: str) -> FeatureFileError:
    """The error for a file whose digests are right and whose parts do not fit each other: nobody's accident."""
    return FeatureFileError(
        "A feature file whose parts agree", found=found, where=path, remedy="do not use it; extract the features again"
    )


def parse_contents(sealed: SealedFile) -> Contents:
    """Read all but the rows."""
    attributes = sealed.attributes
    spec = FeatureSpec.parse(str(attributes["spec"]), where=sealed.path)
    if spec.fingerprint() != attributes["fingerprint"]:
        raise ValueError("the fingerprint is not that of the specification")
    views, fixed = sealed.texts("views"), int(attributes["test_views"])
    sample = None
    if "sample/cells" in sealed.arrays:
        columns, cells = sealed.texts("sample/columns"), sealed.texts("sample/cells")
        rows = tuple(cells[start : start + len(columns)] for start in range(0, len(cells), max(1, len(columns))))
        sample = Table(Path(str(attributes["sample_path"])), columns, rows)
    return Contents(
        spec=spec,
        taps=tuple((str(name), int(dim)) for name, dim in json.loads(str(attributes["taps"]))),
        test_views=views[:fixed],
        augmented_views=views[fixed:],
        class_names=sealed.texts("class_names"),
        train=parse_split(sealed, "train"),
        test=parse_split(sealed, "test") if "test/ids" in sealed.arrays else None,
        sample=sample,
        about={str(name): str(value) for name, value in json.loads(str(attributes["about"])).items()},
    )


def parse_split(sealed: SealedFile, name: str) -> Split:
    """Read one split's index."""
    arrays = sealed.arrays
    return Split(
        ids=sealed.texts(f"{name}/ids"),
        hashes=sealed.texts(f"{name}/hashes"),
        usable=arrays[f"{name}/usable"].astype(bool),
        labels=arrays[f"{name}/labels"].astype(np.int64) if f"{name}/labels" in arrays else None,
        groups=sealed.texts(f"{name}/groups") if f"{name}/groups" in arrays else None,
        folds=sealed.texts(f"{name}/folds") if f"{name}/folds" in arrays else None,
    )


def check_contents(contents: Contents) -> None:
    """Hold the parts against each other.

    Raises:
        ValueError: what does not fit.
    """
    if contents.spec.storage_dtype not in ("float16", "float32"):
        raise ValueError(f"features stored as {contents.spec.storage_dtype}")
    if "name" not in dict(json.loads(contents.spec.preprocessing)):
        raise ValueError("a preprocessing without a name")
    names = {name for name, _ in contents.taps}
    if len(names) < len(contents.taps) or not all(TAP.fullmatch(name) and dim > 0 for name, dim in contents.taps):
        raise ValueError(f"taps {contents.taps}")
    environments_of(contents.about)  # raises ValueError if it is no list
    if contents.test_views[:1] != ("clean",) or len(set(contents.views)) < len(contents.views):
        raise ValueError(f"views {contents.views}, of which {len(contents.test_views)} are test-time views")
    if list(contents.class_names) != sorted(set(contents.class_names)):
        raise ValueError("class names that are not sorted, or not different")
    if contents.train.labels is None or not contents.train.usable.all():
        raise ValueError("training images without labels or features")
    labels = contents.train.labels
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(contents.class_names):
        raise ValueError(f"labels from {labels.min()} to {labels.max()} for {len(contents.class_names)} classes")
    for name, split, _ in contents.splits:
        columns = (split.hashes, split.usable, split.labels, split.groups, split.folds)
        if any(column is not None and len(column) != len(split) for column in columns):
            raise ValueError(f"columns of different lengths in {name}")
        if len(set(split.ids)) < len(split):
            raise ValueError(f"ids in {name} that are not different")
