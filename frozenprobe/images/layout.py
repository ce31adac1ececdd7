"""Folders that are no classes: parts of a data set, a folder around the classes; and which one was probably meant."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from frozenprobe.errors import ImageError, some

log = logging.getLogger("frozenprobe")

TRAINING = r"train|training|trn"
PARTS = rf"{TRAINING}|test|testing|tst|val|valid|validation|dev|devel|eval|evaluation|holdout|hold[-_ ]?out|pred"
AROUND = r"([a-z0-9]+[-_])?({})([-_ ]?(set|data|images?|imgs?|photos|split|\d+))*"  # seg_train, test_images, val2017
NUMBERED = "[ ._(-]*[0-9]"  # what follows a label in the name of an image
SUSPICIOUS = re.compile(
    rf"{PARTS}|images?|imgs?|data|dataset|labels?|masks?|annotations?|thumbnails?|thumbs?|(fold|split|part)[-_ ]?\d+"
)


def part_of(name: str) -> str:
    """The part of a data set that a folder is named after (`test` of `Test_images`); empty if it is none."""
    found = re.fullmatch(AROUND.format(PARTS), name.casefold())
    return found[2] if found else ""


def is_training(name: str) -> bool:
    """Whether a folder is named after the training part."""
    return re.fullmatch(TRAINING, part_of(name)) is not None


def check_classes(where: Path, names: Sequence[str], *, packed: bool = False) -> None:
    """Refuse parts of a data set in place of classes, and remark on folders that are probably none.

    Args:
        where: the folder, or the shards, that the user named.
        names: of the images; the first folder is the class.
        packed: whether they are in shards.

    Raises:
        ImageError: all folders are parts of a data set; names the one that was meant.
    """
    classes = folders_of(names)
    parts = {part_of(each) for each in classes}
    if "" not in parts and len(parts) > 1:
        raise ImageError(
            "Class folders (train/<class>/*.jpg)",
            found=f"the parts of a data set: {some(classes)}",
            where=where,
            remedy="make shards of the training folder alone: tar -cf train.tar -C FOLDER/train --dereference ."
            if packed
            else meant(where, names),
        )
    odd = [each for each in classes if SUSPICIOUS.fullmatch(each.casefold())]
    if odd:
        text = "class folders in %s named like parts of a data set: %s (if they are no classes, move them away)"
        log.warning(text, where, some(odd))
    shared = shared_folders(names)
    if shared:
        text = (
            "every class folder in %s has the same folders in it: %s (if those are the classes, name what holds them%s)"
        )
        log.warning(text, where, some(shared), "" if packed else f': --train "{where / classes[0]}"')


def require_several(where: Path, names: Sequence[str]) -> None:
    """Refuse one folder around the classes.

    Raises:
        ImageError: names the folder that was meant.
    """
    classes = folders_of(names)
    inner = inner_folder(names)
    if len(classes) == 1 and inner:
        within = folders_of(names, inner + "/")
        raise ImageError(
            "At least two classes",
            found=f"only the folder {classes[0]}; in {inner} there are {len(within)}: {some(within)}",
            where=where,
            remedy=meant(where, names),
        )


def labels_in_names(root: Path, names: Sequence[str]) -> str:
    """What to add to a remedy where images are named after their labels (`cat.0.jpg`): how to make a CSV of them."""
    parted = [re.split(NUMBERED, name, maxsplit=1) for name in names]
    labels = sorted({label for label, *_ in parted})
    if any(len(each) < 2 for each in parted) or labels[0] == "" or not 2 <= len(labels) <= len(names) / 2:
        return ""
    code = (  # as it is typed in any shell: no double quotes, no $, no %
        f"import csv, os, re; names = sorted(os.listdir(r'{root}')); "
        f"parted = [[name, *re.split('{NUMBERED}', name)] for name in names]; "
        "out = csv.writer(open('labels.csv', 'w', newline='', encoding='utf-8')); out.writerow(['image', 'label']); "
        "out.writerows(each[:2] for each in parted if len(each) > 2)"
    )
    return (
        f". Where names begin with labels ({some(labels, most=3)}), this makes one, for --train-csv labels.csv:\n"
        f'    python -c "{code}"'
    )


def meant(where: Path, names: Sequence[str]) -> str:
    """The options that were probably meant."""
    inner = inner_folder(names)
    tests = [each for each in folders_of(names) if part_of(each) in ("test", "testing", "tst")]
    test = f' --test "{where / inner_folder(names, tests[0] + "/", flat=True)}"' if tests else ""
    if inner:
        return f'name the folder whose folders are the classes: --train "{where / inner}"{test}'
    training = [each for each in folders_of(names) if is_training(each)]
    if training:
        table = f'--train "{where / training[0]}" --train-csv FILE{test}'
        return f"no class folders are in {training[0]}: give the labels as a CSV: {table}"
    return "name the folder whose folders are the classes with --train DIR"


def inner_folder(names: Sequence[str], start: str = "", *, flat: bool = False) -> str:
    """The folder in which several classes are, down from `start` through single folders and the training part.

    Args:
        names: of images.
        start: a folder with `/` behind it, or nothing.
        flat: where there are images without classes, take that.

    Returns:
        nothing if there is no such folder but `start` itself.
    """
    below = start
    while True:
        folders = folders_of(names, below)
        training = [each for each in folders if is_training(each)]
        loose = any("/" not in name.removeprefix(below) for name in names if name.startswith(below))
        if len(folders) == 1 and not loose:
            below += folders[0] + "/"
        elif training and all(part_of(each) for each in folders):
            below += training[0] + "/"
        else:
            return below.removesuffix("/") if folders or flat else ""


def folders_of(names: Sequence[str], below: str = "") -> list[str]:
    """The folders that images lie in, directly below a folder; sorted."""
    inside = (name.removeprefix(below) for name in names if name.startswith(below))
    return sorted({name.partition("/")[0] for name in inside if "/" in name})


def shared_folders(names: Sequence[str]) -> list[str]:
    """The folders that every class has in it, if there are several and no image lies beside them."""
    found: dict[str, set[str]] = {}
    for name in names:
        folder, _, inside = name.partition("/")
        found.setdefault(folder, set()).add(inside.rpartition("/")[0].partition("/")[0])
    first, *others = found.values()
    same = others and "" not in first and all(each == first for each in others)
    return sorted(first) if same and len(first) > 1 else []
