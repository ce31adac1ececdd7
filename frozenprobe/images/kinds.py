"""What a file is, by its ending where that says enough, else by its first bytes; and a word about those left out."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from frozenprobe.errors import ImageError, some

log = logging.getLogger("frozenprobe")

IMAGE_ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif"),
)
IMAGE_FORMATS = "JPEG, PNG, WebP, BMP, TIFF, GIF, PPM, JPEG 2000, AVIF"
OTHER_ENDINGS = (  # what lies beside images, one for each at times: never opened
    *(".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".md", ".cls", ".log", ".ini", ".cfg"),
    *(".py", ".ipynb", ".npy", ".npz", ".pt", ".pth", ".pkl", ".h5", ".hdf5", ".parquet", ".tar", ".db"),
)
RAW_ENDINGS = (".nef", ".cr2", ".cr3", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw")  # many are TIFFs inside
HEAD = 512  # bytes that tell


class Kind(NamedTuple):
    """What a file is.

    Attributes:
        name: with its article.
        remedy: how to get an image out of it, `{}` for the file; empty if there was never one in it.
        is_image: whether the decoder reads it.
        endings: usual ones.
    """

    name: str
    remedy: str = ""
    is_image: bool = False
    endings: tuple[str, ...] = ()

    def advice(self, files: object) -> str:
        """How to get an image out of each of these files."""
        return self.remedy.format(f'"{files}"')


CONVERT = "convert with ImageMagick, for instance: magick mogrify -format jpg {}"
FETCH = "copy or download it again"
IMAGE = Kind("an image", is_image=True)
AVIF = Kind("an AVIF image", "pip install --upgrade 'pillow>=11.3', which can decode it, or " + CONVERT, is_image=True)
JXL = Kind("a JPEG XL image", CONVERT, endings=(".jxl",))
HEIC = Kind("a HEIC photo", CONVERT, endings=(".heic", ".heif", ".hif"))
RAW = Kind("a raw camera file", "export as JPEG, with darktable for instance: darktable-cli {} OUTPUT.jpg")
VIDEO = Kind("a video", "cut images out: ffmpeg -i {} -vf fps=1 frame-%05d.jpg")
ARCHIVE = Kind("an archive", "unpack")
PDF = Kind("a PDF or PostScript document", "export the pages as images")
SVG = Kind("an SVG drawing", CONVERT)
PAGE = Kind("an HTML page", "the download failed: " + FETCH)
ANSWER = Kind("a JSON file", "a download that failed? " + FETCH)
POINTER = Kind("a Git LFS pointer", "fetch the images: git lfs install, then git lfs pull")
ANNEXED = Kind("a git-annex pointer", "fetch the images: git annex get {}")
EMPTY = Kind("an empty file", FETCH)
ZEROS = Kind("a zero-filled file", "a copy or download that was cut off: " + FETCH)
TEXT = Kind("a text file")
UNKNOWN = Kind("an unrecognised file", "convert to JPEG or PNG, if these are images")

PAGE_START = re.compile(
    r"(<!--.*?-->\s*|<\?xml[^>]*>\s*)*<(!doctype\s+html|(html|head|body|script|title|meta)\b)", re.DOTALL
)
SIGNATURES: tuple[tuple[int, bytes, Kind], ...] = (  # offset, bytes there
    (0, b"\xff\xd8\xff", IMAGE),
    (0, b"\x89PNG\r\n\x1a\n", IMAGE),
    (0, b"GIF87a", IMAGE),
    (0, b"GIF89a", IMAGE),
    (8, b"WEBPVP8", IMAGE),
    (8, b"CR\x02", RAW),
    (0, b"II*\0", IMAGE),
    (0, b"MM\0*", IMAGE),
    (0, b"II+\0", IMAGE),
    (0, b"MM\0+", IMAGE),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", IMAGE),
    (0, b"\xff\x4f\xff\x51", IMAGE),
    (0, b"IIRO", RAW),
    (0, b"IIU\0", RAW),
    (0, b"FUJIFILM", RAW),
    (0, b"\xff\x0a", JXL),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", JXL),
    (0, b"8BPS", Kind("a Photoshop file", CONVERT)),
    (128, b"DICM", Kind("a DICOM file", "convert with dcmtk, for instance: dcmj2pnm +on {} OUTPUT.png")),
    (0, b"\0\0\1\0", Kind("an icon", CONVERT)),
    (0, b"%PDF", PDF),
    (0, b"%!PS", PDF),
    (0, b"\xc5\xd0\xd3\xc6", PDF),
    (0, b"PK\3\4", ARCHIVE),
    (0, b"PK\5\6", ARCHIVE),
    (0, b"\x1f\x8b", ARCHIVE),
    (0, b"BZh", ARCHIVE),
    (0, b"\xfd7zXZ", ARCHIVE),
    (0, b"\x28\xb5\x2f\xfd", ARCHIVE),
    (0, b"7z\xbc\xaf\x27\x1c", ARCHIVE),
    (0, b"Rar!", ARCHIVE),
    (257, b"ustar", ARCHIVE),
    (8, b"AVI LIST", VIDEO),
    (0, b"\x1a\x45\xdf\xa3", VIDEO),
    (0, b"\0\0\1\xba", VIDEO),
    (0, b"version https://git-lfs", POINTER),
    (0, b"/annex/objects/", ANNEXED),
)
BRANDS = {  # of the boxes that AVIF, HEIC and MP4 share; an earlier one counts
    **dict.fromkeys((b"avif", b"avis"), AVIF),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), HEIC),
    b"crx ": RAW,
}


@cache
def kind_beside(ending: str) -> Kind:
    """What lies beside images under such an ending."""
    return Kind(f"a {ending} file")


def named_kind(name: str) -> Kind | None:
    """What the ending of a file's name says; None: its first bytes have to be asked."""
    ending = name[name.rfind(".") :].lower() if "." in name else ""
    if ending in IMAGE_ENDINGS:
        return IMAGE
    if ending in OTHER_ENDINGS:
        return kind_beside(ending)
    return RAW if ending in RAW_ENDINGS else None


def kind_of(head: bytes) -> Kind:
    """What the first `HEAD` bytes of a file say."""
    if not head.strip(b"\0"):
        return ZEROS if head else EMPTY
    for offset, magic, kind in SIGNATURES:
        if head.startswith(magic, offset):
            return kind
    if head[4:8] == b"ftyp":
        box = head[8 : max(12, int.from_bytes(head[:4], "big"))]
        brands = {box[start : start + 4] for start in range(0, len(box), 4)}
        return next((kind for brand, kind in BRANDS.items() if brand in brands), VIDEO)
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0" and head[14:15] in b"\x0c\x28\x34\x38\x40\x6c\x7c":
        return IMAGE
    if re.match(rb"P[1-6]\s+[\d#]", head):
        return IMAGE
    return kind_of_text(head)


def kind_of_text(head: bytes) -> Kind:
    """What the first bytes of a text are the beginning of; UNKNOWN if they are no text."""
    start = head.decode("latin-1").removeprefix("\xef\xbb\xbf").lstrip().lower()
    if PAGE_START.match(start):
        return PAGE
    if start.startswith("<") and "<svg" in start:
        return SVG
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else the last letter is cut
            return UNKNOWN
        text = head[: error.start].decode("utf-8")
    if not all(letter.isprintable() or letter in "\t\r\n\f\ufeff" for letter in text):
        return UNKNOWN
    return ANSWER if start.startswith(("{", "[")) else TEXT


class LeftOut:
    """Files that are no images: none leaves a listing without a word.

    Args:
        where: what is listed.
        packed: whether that are shards.
    """

    def __init__(self, where: Path, *, packed: bool = False) -> None:
        self.where, self.packed = where, packed
        self.names: dict[Kind, list[str]] = {}

    def add(self, kind: Kind, name: str) -> None:
        """One more, by its name in the listing."""
        self.names.setdefault(kind, []).append(name)

    def describe(self) -> str:
        """How many of each kind, with examples; empty if there are none."""
        return "; ".join(describe(kind, names) for kind, names in self.names.items())

    def advice(self) -> str:
        """What to do about the first kind that may hold images; empty if none does."""
        return next((self.advice_on(kind, names) for kind, names in self.names.items() if kind.remedy), "")

    def advice_on(self, kind: Kind, names: Sequence[str]) -> str:
        """What to do to get images out of these files; where their ending says their kind, out of all of a folder."""
        first = Path(min(names)) if self.packed else self.where / min(names)
        files = first.with_name(f"*{first.suffix}") if first.suffix.lower() in kind.endings else first
        return kind.advice(files) + ("; then make the shards again" if self.packed else "")

    def tell(self) -> None:
        """Log them: what may hold an image with what to do, all else in one line."""
        others = LeftOut(self.where)
        for kind, names in self.names.items():
            if kind.remedy:
                use = f"to use {'them' if len(names) > 1 else 'it'}: {self.advice_on(kind, names)}"
                log.warning("left out of %s: %s; %s", self.where, describe(kind, names), use)
            else:
                others.names[kind] = names
        if others.names:
            log.info("no images in %s, left alone: %s", self.where, others.describe())

    def require_none_alone(self, kept: Iterable[str]) -> None:
        """Refuse a class folder whose only pictures cannot be decoded: the class would be gone.

        Args:
            kept: names of the images.

        Raises:
            ImageError: names the folder and how to convert what is in it.
        """

        def folder_of(name: str) -> str:  # in shards a class is not always the first folder
            return name.rpartition("/")[0] if self.packed else name.partition("/")[0]

        there = {folder_of(name) for name in kept}
        for kind, names in self.names.items():
            lost = [name for name in names if "/" in name and folder_of(name) not in there]
            if kind.remedy and lost:
                raise ImageError(
                    "Images that can be read in every class folder",
                    found=f"none in {some(sorted({folder_of(name) for name in lost}))}, but {describe(kind, lost)}",
                    where=self.where,
                    remedy=f"{self.advice_on(kind, lost)}; or move the folder away if it is no class",
                )


def describe(kind: Kind, names: Sequence[str]) -> str:
    """How many files are of a kind, with examples."""
    noun = kind.name if len(names) == 1 else f"{len(names):,} {kind.name.partition(' ')[2]}s"
    return f"{noun} ({some(sorted(names), most=3)})"
