"""Tar shards as WebDataset writes them -> ImageTable, from the headers of their members; no image is read."""

from __future__ import annotations

import json
import logging
import os
import sys
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from frozenprobe.errors import ImageError, some
from frozenprobe.images.folders import THUMBNAIL, is_hidden, thumbnails_in
from frozenprobe.images.kinds import HEAD, IMAGE_FORMATS, Kind, LeftOut, kind_of, named_kind
from frozenprobe.images.layout import check_classes
from frozenprobe.images.places import Member
from frozenprobe.images.table import ImageTable, check_ids, labelled_table
from frozenprobe.images.tar_headers import broken, walk_tar
from frozenprobe.system.unicode_text import composed, has_surrogates

log = logging.getLogger("frozenprobe")

LABEL_ENDINGS = (".cls", ".json")  # in the order in which they are asked
LABEL_KEYS = ("label", "cls", "class")  # of a .json, likewise
MOST_LABEL_BYTES = 1 << 20
LINK = Kind("a link or special file")


class Label(NamedTuple):
    """A label and the ending of the member that says it."""

    name: str
    ending: str


def read_labelled_shards(shards: Sequence[Path], *, where: Path) -> ImageTable:
    """Read training shards: labels from `<key>.cls` or `<key>.json` beside `<key>.jpg`, else from the first folder.

    The first folder is the first in which the images differ: a tar of the folder `train` has that name in every member.

    Args:
        shards: uncompressed tars.
        where: what the user named.

    Raises:
        ImageError: a shard cannot be used, images have no label or labels of another kind, or fewer than two classes.
    """
    members: list[Member] = []
    labels: list[Label | None] = []
    left_out = LeftOut(where, packed=True)
    for shard in shards:
        images, sidecars = index_shard(shard, left_out)
        members += images
        labels += read_labels(shard, images, sidecars)
    found = [*zip(ids_of(members, left_out, where=where), members, strict=True)]
    if not any(labels):
        left_out.require_none_alone([member.name for member in members])
    left_out.tell()
    if not any(labels):
        return labelled_table(found, classes_by_folder(members, where=where), where=where)
    counts = Counter(label.ending for label in labels if label)
    absent = [member for member, label in zip(members, labels, strict=True) if label is None]
    if absent or len(counts) > 1:
        others = [f"{count} in {ending}" for ending, count in sorted(counts.items())]
        raise ImageError(
            "A label for every image, in members of one kind (.cls, or .json with a label)",
            found=", ".join(others) + (f"; none for {len(absent)}: {some(absent)}" if absent else ""),
            where=where,
            remedy="complete the shards, or give the labels as a CSV with --train-csv FILE",
        )
    return labelled_table(found, [label.name for label in labels if label], where=where)


def list_members(shards: Sequence[Path], *, where: Path) -> list[tuple[str, Member]]:
    """All images of the shards as (id, member), in the order in which they lie; labels beside them are left alone.

    Raises:
        ImageError: a shard cannot be used, or there are no images.
    """
    left_out = LeftOut(where, packed=True)
    members = [member for shard in shards for member in index_shard(shard, left_out)[0]]
    ids = ids_of(members, left_out, where=where)
    check_ids(ids, where=where)
    left_out.tell()
    return [*zip(ids, members, strict=True)]


def index_shard(shard: Path, left_out: LeftOut) -> tuple[list[Member], dict[str, Member]]:
    """The images of a shard, in its order, and the members that may hold labels, by name; others are left out.

    Raises:
        ImageError: it is no whole tar, or an image in it is a link, sparse, or named as no file below a folder can be.
    """
    images: list[Member] = []
    sidecars: dict[str, Member] = {}
    for header in walk_tar(shard):
        name = "/".join(part for part in header.name.split("/") if part not in ("", "."))
        if header.isdir() or any(is_hidden(part) and part != ".." for part in name.split("/")):
            continue
        is_label = name.lower().endswith(LABEL_ENDINGS)
        kind = named_kind(name) or kind_of_member(header, shard)
        if kind is None or not (is_label or kind.is_image):
            left_out.add(kind or LINK, name)
            continue
        require_plain(header, shard)
        member = Member(shard, name, header.offset_data, header.size)
        if is_label:
            sidecars[name] = member
        else:
            images.append(member)
    thumbnails = thumbnails_in([image.name for image in images])
    for name in thumbnails:
        left_out.add(THUMBNAIL, name)
    return [image for image in images if image.name not in thumbnails], sidecars


def kind_of_member(header: tarfile.TarInfo, shard: Path) -> Kind | None:
    """What the first bytes of a member say; None if it has none of its own.

    Raises:
        ImageError: the shard cannot be read.
    """
    if not header.isreg() or header.issparse():
        return None
    try:
        return kind_of(Member(shard, header.name, header.offset_data, min(header.size, HEAD)).read_bytes())
    except OSError as error:
        raise broken(shard, str(error)) from None


def require_plain(header: tarfile.TarInfo, shard: Path) -> None:
    """Refuse a member whose bytes are not simply there, or whose name leads out.

    Raises:
        ImageError: names shard and member.
    """
    found = None
    if header.islnk() or header.issym():
        found = f"a link to {header.linkname!a}"
    elif header.issparse():
        found = "a sparse file"
    elif not header.isreg():
        found = "a device, a pipe or something else that is no file"
    elif header.name.startswith("/") or ".." in header.name.split("/"):
        found = "a name that is absolute or leads out through `..`"
    elif has_surrogates(header.name) or "\0" in header.name:
        found = "a name that is no UTF-8, or has a NUL in it"
    if found is not None:
        raise ImageError(
            "Images and labels that are plain files below the shard's top",
            found=found,
            where=f"{shard}, member {header.name!a}",
            remedy="make the shard again from a folder: tar --dereference --hard-dereference -cf shard.tar -C folder .",
        )


def ids_of(members: Sequence[Member], left_out: LeftOut, *, where: Path) -> list[str]:
    """An id for each image: its name; where shards share one, all get their shard's name before theirs.

    Raises:
        ImageError: there are no images.
    """
    if not members:
        told = left_out.describe()
        raise ImageError(
            f"Images ({IMAGE_FORMATS})",
            found="none in the shards" + (f", but {told}" if told else ""),
            where=where,
            remedy=left_out.advice() or "check the path",
        )
    names = [composed(member.name) for member in members]
    if len(set(names)) == len(names):
        return names
    shards = {member.tar: member.tar.absolute().with_suffix("") for member in members}
    top = os.path.commonpath([path.parent for path in shards.values()])
    before = {shard: composed(path.relative_to(top).as_posix()) for shard, path in shards.items()}
    return [f"{before[member.tar]}/{name}" for member, name in zip(members, names, strict=True)]


def classes_by_folder(members: Sequence[Member], *, where: Path) -> list[str]:
    """The class of each image: its first folder below those that all images are in.

    Raises:
        ImageError: images outside any class folder.
    """
    folders = [sys.intern(member.name.rpartition("/")[0]) for member in members]
    distinct = set(folders)
    shared = os.path.commonpath(distinct).replace(os.sep, "/") if all(distinct) and len(distinct) > 1 else ""
    depth = shared.count("/") + 1 if shared else 0
    loose = [member for member, folder in zip(members, folders, strict=True) if folder == shared]
    if loose:
        raise ImageError(
            "A label for every image: <key>.cls or <key>.json beside <key>.jpg, or class folders (cat/1.jpg)",
            found=f"none for {len(loose)} of {len(members)}: {some(loose)}",
            where=where,
            remedy="complete the shards, or give the labels as a CSV with --train-csv FILE",
        )
    check_classes(where, [f"{folder}/".split("/", depth)[depth] for folder in distinct], packed=True)
    classes = {folder: folder.split("/")[depth] for folder in distinct}
    return [classes[folder] for folder in folders]


def read_labels(shard: Path, images: Sequence[Member], sidecars: dict[str, Member]) -> list[Label | None]:
    """The label that lies beside each image: of `a.b.jpg` that of `a.b`, else of WebDataset's key `a`.

    Raises:
        ImageError: a label cannot be read, or several images lie beside one.
    """
    labels: list[Label | None] = []
    owners: dict[str, Member] = {}
    for image in images:
        folder, slash, base = image.name.rpartition("/")
        keys = dict.fromkeys((base.rpartition(".")[0], base.partition(".")[0]))
        names = [f"{folder}{slash}{key}{ending}" for ending in LABEL_ENDINGS for key in keys]
        label = None
        for sidecar in [sidecars[name] for name in names if name in sidecars]:
            label = read_label(sidecar)
            if label is not None:
                if owners.setdefault(sidecar.name, image) is not image:
                    raise ImageError(
                        "One image for a label",
                        found=f"{owners[sidecar.name].name} and {image.name}, both beside {sidecar.name}",
                        where=shard,
                        remedy="make the shards again with one image a sample (a mask is no image of its class)",
                    )
                break
        labels.append(label)
    return labels


def read_label(sidecar: Member) -> Label | None:
    """What a `.cls` or a `.json` says; None for a `.json` without a label.

    Raises:
        ImageError: it is empty, no text, no JSON, or its label neither text nor a whole number.
    """

    def unusable(found: str) -> ImageError:
        return ImageError(
            "A label: text or a whole number", found=found, where=sidecar, remedy="correct the member, or leave it out"
        )

    if sidecar.size > MOST_LABEL_BYTES:
        raise unusable(f"{sidecar.size:,} bytes")
    try:
        text = sidecar.read_bytes().decode("utf-8-sig")
        if sidecar.name.endswith(".json"):
            said = json.loads(text)
            values = [said[key] for key in LABEL_KEYS if said.get(key) is not None] if isinstance(said, dict) else []
            if not values:
                return None
            if isinstance(values[0], bool) or not isinstance(values[0], int | str):
                raise unusable(f"{values[0]!r}"[:80])
            text = str(values[0])
    except (OSError, ValueError, RecursionError) as error:
        raise unusable(f"{type(error).__name__}: {error}"[:200]) from None
    name = text.strip()
    if not name or has_surrogates(name) or any(letter < " " for letter in name):
        raise unusable("nothing" if not name else f"several lines or control characters: {ascii(name)[:80]}")
    return Label(sys.intern(name), ".json" if sidecar.name.endswith(".json") else ".cls")
