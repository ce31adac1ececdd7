"""The images of several feature files -> one index: by id, sorted, with conflicts named."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from frozenprobe.cache.contents import Contents, Split
from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.errors import FeatureFileError, some
from frozenprobe.system.quantities import utc_now


class Part(NamedTuple):
    """What an input holds, or what it is going to hold, and the rows of that."""

    path: Path
    contents: Contents
    rows: RowStore


class Image(NamedTuple):
    """One image on its way into the merged file."""

    id: str
    content_hash: str
    usable: bool
    label: str
    group: str | None
    fold: str | None
    part: int


def join(
    parts: Sequence[Part], test_views: tuple[str, ...], augmented_views: tuple[str, ...]
) -> tuple[Contents, dict[str, npt.NDArray[np.int64]]]:
    """The merged contents, sorted by id, and for each split the part that each image's rows come from."""
    train = collect(parts, "train", test_views + augmented_views)
    test = collect(parts, "test", test_views)
    if not train:
        raise FeatureFileError(
            "At least one image with all its rows",
            found="none",
            where=some(part.path for part in parts),
            remedy="run the extract command again: it goes on from there",
        )
    class_names = tuple(sorted({image.label for image in train}))
    first = parts[0].contents
    environments = {each for part in parts for each in part.rows.known_environments}
    merged = Contents(
        spec=first.spec,
        taps=first.taps,
        test_views=test_views,
        augmented_views=augmented_views,
        class_names=class_names,
        train=split_of(train, class_names),
        test=split_of(test, None) if test else None,
        sample=next((part.contents.sample for part in parts if part.contents.sample is not None), None),
        about=first.about | {"environments": json.dumps(sorted(environments)), "created": utc_now()},
    )
    origins = {name: np.array([image.part for image in images]) for name, images in (("train", train), ("test", test))}
    return merged, origins


def collect(parts: Sequence[Part], name: str, views: tuple[str, ...]) -> list[Image]:
    """The images of a split whose rows are all there, sorted by id.

    Raises:
        FeatureFileError: two inputs say different things of one id, or only some of them have groups or folds.
    """
    found: dict[str, Image] = {}
    for number, part in enumerate(parts):
        split = next((split for each, split, _ in part.contents.splits if each == name), None)
        if split is None or not part.rows.views.keys() >= {*views}:
            continue
        ids, hashes = listed(parts[:number], part.path, name)
        for row in np.flatnonzero(part.rows.complete(split, views)).tolist():
            image = image_of(part.contents, split, row, number)
            if image.id not in ids and image.content_hash in hashes:
                continue  # the plan has it under another name, and so, perhaps, in another class
            other = found.setdefault(image.id, image)
            if other._replace(part=number) != image and parts[other.part].path != part.path:
                raise contradiction(other, image, parts)
    for column in ("group", "fold"):
        without = [image for image in found.values() if getattr(image, column) is None]
        if 0 < len(without) < len(found):
            raise FeatureFileError(
                f"A {column} for every image, or for none",
                found=f"none for {some(image.id for image in without)}",
                where=parts[without[0].part].path,
                remedy=f"run extract on this file with --{column}-column NAME first",
            )
    return [found[key] for key in sorted(found)]


def listed(parts: Sequence[Part], path: Path, name: str) -> tuple[set[str], set[str]]:
    """The ids and the content hashes that the plan of a file lists, if it is among the parts."""
    splits = [split for part in parts if part.path == path for each, split, _ in part.contents.splits if each == name]
    return {image for split in splits for image in split.ids}, {code for split in splits for code in split.hashes}


def image_of(contents: Contents, split: Split, row: int, part: int) -> Image:
    """One image of a split."""
    return Image(
        id=split.ids[row],
        content_hash=split.hashes[row],
        usable=bool(split.usable[row]),
        label=contents.class_names[split.labels[row]] if split.labels is not None else "",
        group=split.groups[row] if split.groups else None,
        fold=split.folds[row] if split.folds else None,
        part=part,
    )


def contradiction(one: Image, other: Image, parts: Sequence[Part]) -> FeatureFileError:
    """The error for two images of one name that are not one."""
    columns = ("content_hash", "label", "group", "fold", "usable")
    names = [name for name in columns if getattr(one, name) != getattr(other, name)]
    values = " and ".join(str(getattr(image, names[0])) for image in (one, other))
    return FeatureFileError(
        f"The same {names[0].replace('_', ' ')} of an image in every file",
        found=f"{values} for {one.id}",
        where=f"{parts[one.part].path} and {parts[other.part].path}",
        remedy="rename or correct it in one of the image folders, and run extract there: relabelling costs nothing",
    )


def split_of(images: Sequence[Image], class_names: tuple[str, ...] | None) -> Split:
    """Images as a split."""
    labels = None
    if class_names is not None:
        position = {name: label for label, name in enumerate(class_names)}
        labels = np.array([position[image.label] for image in images], dtype=np.int64)
    groups = tuple(image.group for image in images if image.group is not None)
    folds = tuple(image.fold for image in images if image.fold is not None)
    return Split(
        ids=tuple(image.id for image in images),
        hashes=tuple(image.content_hash for image in images),
        usable=np.array([image.usable for image in images], dtype=bool),
        labels=labels,
        groups=groups or None,
        folds=folds or None,
    )
