"""Folders of images -> ImageTable, in an order that no file system decides; nothing below them is lost in silence."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from frozenprobe.errors import ImageError, some
from frozenprobe.images.kinds import HEAD, IMAGE_FORMATS, Kind, LeftOut, kind_of, named_kind
from frozenprobe.images.layout import check_classes, labels_in_names, require_several
from frozenprobe.images.table import ImageTable, check_ids, labelled_table
from frozenprobe.system.files import NoRegularFile, did_you_mean, first_bytes, why_unreadable
from frozenprobe.system.unicode_text import composed

log = logging.getLogger("frozenprobe")

JUNK = {  # what systems and programs leave behind, in any case: macOS, Synology, QNAP, Windows, Linux, Python
    *("__macosx", "icon\r", "@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "$recycle.bin"),
    *("system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini", "lost+found", "__pycache__"),
}
THUMBNAILS = {"thumbnails", "thumbnail", "thumbs", "thumb", "_thumbs", "_thumbnails"}
PIPE = Kind("a pipe, socket or device file")
THUMBNAIL = Kind("a thumbnail")


def read_class_folders(root: Path) -> ImageTable:
    """Read `root/<class>/**/<image>`: the first folder's name is the class.

    Raises:
        ImageError: no such folder, no images, fewer than two classes, images outside any class folder, or folders that
            are parts of a data set in place of classes.
    """
    found, below = list_all(root)
    names = [name for name, _ in found]
    check_classes(root, names)
    loose = [name for name in names if "/" not in name]
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
            remedy="sort them into class folders, or give the labels as a CSV with --train-csv FILE"
            + labels_in_names(root, names),
        )
    classes = [name.partition("/")[0] for name in names]
    require_own_folders(root, below, set(classes))
    below.left_out.require_none_alone(names)
    require_several(root, names)
    below.tell(root)
    empty = sorted(below.folders - set(classes))
    if empty:
        log.warning("folders in %s without an image, which become no class: %s", root, some(empty))
    return labelled_table(found, [path.relative_to(root).parts[0] for _, path in found], where=root)


def list_images(root: Path) -> list[tuple[str, Path]]:
    """All images below `root` as (id, path), sorted by id; hidden files and folders are left alone.

    Raises:
        ImageError: no such folder, no images, one of its folders cannot be read, or names that are no Unicode or become
            equal in composed form.
    """
    found, below = list_all(root)
    below.tell(root)
    return found


def list_all(root: Path) -> tuple[list[tuple[str, Path]], Below]:
    """As `list_images`, and what else lies there."""
    require_folder(root)
    below = look_below(root)
    below.require_open(root)
    found = sorted(below.images)
    if not found:
        told = below.left_out.describe()
        raise ImageError(
            f"Images ({IMAGE_FORMATS})",
            found=f"none, but {told}" if told else "none",
            where=root.absolute(),
            remedy=below.left_out.advice() or "check the path",
        )
    check_ids([name for name, _ in found], where=root)
    return found, below


def require_folder(root: Path) -> None:
    """Refuse what is no folder.

    Raises:
        ImageError: no such folder, a link to nothing, or a file.
    """
    near = ""
    try:
        if stat.S_ISDIR(os.stat(root).st_mode):
            return
        found = "a file"
    except OSError as error:
        found = why_unreadable(error, root)
        if isinstance(error, FileNotFoundError) and not os.path.islink(root):
            found, near = "no such folder", did_you_mean(root)
    raise ImageError(
        "A folder of images",
        found=found,
        where=root.absolute(),
        remedy=f"{near}check the path, or name the folder with --train DIR / --test DIR",
    )


@dataclass
class Below:
    """What lies below a folder.

    Attributes:
        left_out: files that are no images.
        images: ids and files that are named like images, or begin like one where the name does not say.
        folders: names of the folders directly in it.
        closed: names of what could not be looked into, by the reason.
        again: links to folders that are listed under another name, and where they lead.
    """

    left_out: LeftOut
    images: list[tuple[str, Path]] = field(default_factory=list)
    folders: set[str] = field(default_factory=set)
    closed: dict[str, list[str]] = field(default_factory=dict)
    again: dict[str, str] = field(default_factory=dict)

    def require_open(self, root: Path) -> None:
        """Refuse a folder of which a part cannot be seen: images, or a class, would be gone without a word.

        Raises:
            ImageError: names what cannot be read.
        """
        if self.closed:
            reasons = [f"{reason}: {some(sorted(names))}" for reason, names in sorted(self.closed.items())]
            raise ImageError(
                "Folders that can be read, all of them: else their images would be gone",
                found="; ".join(reasons),
                where=root,
                remedy="connect the disk, correct the link or the permissions "
                f'(chmod -R u+rX "{root}"), or move away what is not meant',
            )

    def tell(self, root: Path) -> None:
        """Log what is not listed."""
        self.left_out.tell()
        if self.again:
            links = some(f"{name} -> {target}" for name, target in sorted(self.again.items()))
            log.info("links in %s to folders that are listed already, left alone: %s", root, links)


def look_below(root: Path) -> Below:
    """List everything below a folder; links to folders are followed, never in a circle, and no folder is listed twice.

    A folder that lies here and is linked to as well is listed where it lies.
    """
    below = Below(LeftOut(root))
    seen: set[str] = set()
    folders: list[tuple[Path, str]] = [(root, os.path.realpath(root))]
    links: list[tuple[Path, str]] = []
    while folders or links:
        if not folders:  # all that lies here is known
            links.sort()
            folders = [links.pop(0)]
        folder, real = folders.pop()
        if real in seen:
            below.again[name_below(root, folder)] = real
            continue
        seen.add(real)
        for subfolder in list_folder(root, folder, below):
            target, own = os.path.realpath(subfolder), os.path.join(real, subfolder.name)
            if target == own:
                folders.append((subfolder, target))
            elif real == target or real.startswith(os.path.join(target, "")):
                below.again[name_below(root, subfolder)] = target
            else:
                links.append((subfolder, target))
    thumbnails = thumbnails_in([name for name, _ in below.images])
    for name in thumbnails:
        below.left_out.add(THUMBNAIL, name)
    below.images = [(name, path) for name, path in below.images if name not in thumbnails]
    return below


def list_folder(root: Path, folder: Path, below: Below) -> list[Path]:
    """Sort the files of one folder; its subfolders are handed back."""
    subfolders: list[Path] = []
    try:
        with os.scandir(folder) as listed:
            entries = [entry for entry in listed if not is_hidden(entry.name)]
    except OSError as error:
        below.closed.setdefault(why_unreadable(error, folder), []).append(name_below(root, folder))
        return []
    above = "" if folder == root else name_below(root, folder) + "/"
    for entry in entries:
        path, name = Path(entry.path), above + composed(entry.name)
        try:
            if entry.is_dir():
                subfolders.append(path)
                continue
            kind = named_kind(name) or kind_of(first_bytes(path, HEAD))
        except NoRegularFile:
            kind = PIPE
        except OSError as error:
            below.closed.setdefault(why_unreadable(error, path), []).append(name)
            continue
        if kind.is_image:
            below.images.append((name, path))
        else:
            below.left_out.add(kind, name)
    if folder == root:
        below.folders = {composed(path.name) for path in subfolders}
    return subfolders


def name_below(root: Path, path: Path) -> str:
    """A path as it is told: below the folder that the user named."""
    return composed(path.relative_to(root).as_posix())


def thumbnails_in(names: Sequence[str]) -> set[str]:
    """The images in folders of thumbnails, where all of them have the names of images beside their folder."""
    folders = {name.rpartition("/")[0] for name in names}
    named = {folder for folder in folders if folder.rpartition("/")[2].lower() in THUMBNAILS}
    stems: dict[str, set[str]] = {}
    for name in names if named else ():
        folder, _, base = name.rpartition("/")
        stems.setdefault(folder, set()).add(base.rpartition(".")[0])
    small = {folder for folder in named if stems[folder] <= stems.get(folder.rpartition("/")[0], set())}
    return {name for name in names if name.rpartition("/")[0] in small}


def require_own_folders(root: Path, below: Below, classes: set[str]) -> None:
    """Refuse a class whose folder is a link to one that is listed under another name.

    Raises:
        ImageError: names the links.
    """
    doubled = {name: target for name, target in below.again.items() if "/" not in name and name not in classes}
    if doubled:
        raise ImageError(
            "A folder of its own for every class",
            found="; ".join(
                f"{name} is a link to {target}, which is listed already" for name, target in doubled.items()
            ),
            where=root,
            remedy="remove the link, or correct where it leads",
        )


def is_hidden(name: str) -> bool:
    """Whether a file or folder is left alone: `.thumbnails`, `._photo.jpg`, and what programs leave behind."""
    return name.startswith(".") or name.lower() in JUNK or name.endswith(".h5.lock")
