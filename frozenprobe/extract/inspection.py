"""Before the hours are spent: the content hash of every image, and which ones cannot be decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from frozenprobe.errors import ImageError, some
from frozenprobe.extract.decode import check_image
from frozenprobe.extract.loader import read_image

Progress = Callable[[str, int, int], None]  # (what is being done, done, total)


def inspect_images(
    paths: Sequence[Path], *, known: Container[str], side: int, max_pixels: int, threads: int, progress: Progress
) -> tuple[list[str], dict[Path, ImageError]]:
    """SHA-256 of each file (empty for one that cannot be read), and the images that cannot be used.

    Args:
        paths: the images.
        known: hashes of images that have been decoded before; they are not decoded again.
        side: short side in px that images are resized to.
        max_pixels: width x height allowed.
        threads: Pillow decodes outside Python's lock, so threads share the work.
        progress: called after every image.
    """

    def inspect(path: Path) -> tuple[str, ImageError | None]:
        content_hash = ""
        try:
            content = read_image(path)
            content_hash = hashlib.sha256(content).hexdigest()
            if content_hash not in known:
                check_image(content, path, side=side, max_pixels=max_pixels)
        except ImageError as error:
            return content_hash, error
        return content_hash, None

    hashes: list[str] = []
    bad: dict[Path, ImageError] = {}
    with ThreadPoolExecutor(threads) as pool:
        for path, (content_hash, error) in zip(paths, pool.map(inspect, paths), strict=True):
            hashes.append(content_hash)
            if error is not None:
                bad[path] = error
            progress("checking images", len(hashes), len(paths))
    return hashes, bad


def all_bad(errors: Sequence[ImageError], what: str) -> ImageError:
    """One error for all bad images: the first in full, the names of the next, and how many there are."""
    first = errors[0]
    others = f"; and {len(errors) - 1} more: {some(error.where for error in errors[1:])}" if errors[1:] else ""
    return ImageError(f"Whole {what} images", found=f"{first.found}{others}", where=first.where, remedy=first.remedy)
