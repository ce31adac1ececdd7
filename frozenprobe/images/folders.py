"""Folders of images -> ImageTable, in an order that no file system decides."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from frozenprobe.errors import ImageError, some
from frozenprobe.images.table import ImageTable, check_ids, labelled_table
from frozenprobe.system.unicode_text import composed

IMAGE_ENDINGS = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")


def read_class_folders(root: Path) -> ImageTable:
    """Read `root/<class>/**/<image>`: the first folder's name is the class.

    Raises:
        ImageError: no such folder, no images, fewer than two classes, or images outside any class folder.
    """
    found = list_images(root)
    loose = [name for name, _ in found if "/" not in name]
    if loose and len(loose) < len(found):
        raise ImageError(
            "Every training image inside a class folder",
            found=f"{len(loose)} images directly in the folder: {some(loose)}",
            where=root,
            remedy="move them into class folders or away",
        )
    if loose:
        raise ImageError(
            "One folder a class with images in it (train/<class>/*.jpg)",
            found=f"{len(loose)} images and no class folders",
            where=root,
            remedy="sort them into class folders, or give the labels as a CSV with --train-csv FILE",
        )
    return labelled_table(found, [path.relative_to(root).parts[0] for _, path in found], where=root)


def list_images(root: Path) -> list[tuple[str, Path]]:
    """All images below `root` as (id, path), sorted by id; hidden files and folders are left alone.

    Raises:
        ImageError: no such folder, no images, or names that are no Unicode or become equal in composed form.
    """
    if not root.is_dir():
        raise ImageError(
            "A folder of images",
            found="a file" if root.exists() else "no such folder",
            where=root.absolute(),
            remedy="check the path, or name the folder with --train DIR / --test DIR",
        )
    found = sorted((composed(path.relative_to(root).as_posix()), path) for path in walk_images(root))
    if not found:
        raise ImageError(
            f"Images ({', '.join(ending[1:] for ending in IMAGE_ENDINGS)})",
            found="none",
            where=root.absolute(),
            remedy="check the path; other formats have to be converted first",
        )
    check_ids([name for name, _ in found], where=root)
    return found


def walk_images(root: Path) -> Iterator[Path]:
    """Every image file below `root`; links to folders are followed, but never in a circle."""
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = [name for name in subfolders if not is_hidden(name)]
        for name in files:
            if not is_hidden(name) and name.lower().endswith(IMAGE_ENDINGS):
                yield Path(folder, name)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is left alone: `.thumbnails`, `._photo.jpg`, macOS's `__MACOSX`."""
    return name.startswith(".") or name == "__MACOSX"
