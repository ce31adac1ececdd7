"""A file's bytes -> an upright 8-bit RGB image, or an ImageError that names the file."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

from frozenprobe.errors import FrozenprobeError, ImageError
from frozenprobe.extract.options import MAX_PIXELS
from frozenprobe.images.kinds import ANSWER, AVIF, EMPTY, HEAD, IMAGE, TEXT, UNKNOWN, kind_of
from frozenprobe.images.places import Place

WHITE = (255, 255, 255)
Image.init()
FORMATS = tuple(  # by content; Pillow would hand others on, EPS to Ghostscript. Not every Pillow has the last two
    name for name in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF") if name in Image.OPEN
)
DARK = 16  # parts of the scale: an image without a value above the first is nearly black


def decode_image(
    content: bytes,
    path: Place,
    *,
    max_pixels: int = MAX_PIXELS,
    enough: Callable[[tuple[int, int]], bool] | None = None,
) -> Image.Image:
    """Decode the first frame: EXIF orientation applied, alpha laid over white, 16 bits scaled by 1/257.

    Args:
        content: the file's bytes.
        path: for messages.
        max_pixels: width x height allowed.
        enough: whether an image of (width, height) px, or of (height, width), would do. A JPEG is decoded at the
            smallest of 1/8, 1/4 and 1/2 that does, in a part of the time: libjpeg leaves out the high frequencies of
            every block of 8 x 8 px. Other formats, and None: in full.

    Raises:
        ImageError: not an image, truncated, too many pixels, or values that have no place on a scale of 0 to 255.
    """
    image = open_image(content, path, max_pixels=max_pixels)
    try:
        if enough is not None:
            shrink(image, enough)
        image.load()  # first by itself: what `upright` lets pass must never be damaged pixels
        return to_rgb(upright(image))
    except FrozenprobeError:
        raise
    except Exception as error:  # Pillow's decoders raise a dozen types on damaged data; all mean the same here
        raise bad_image(path, f"{type(error).__name__}: {error}") from None


def check_image(content: bytes, path: Place, *, side: int, max_pixels: int = MAX_PIXELS) -> str:
    """Find out as cheaply as possible whether `decode_image` will succeed; JPEGs decode at 1/8 size.

    Args:
        content: the file's bytes.
        path: for messages.
        side: short side in px after resizing, for the limit on very long images.
        max_pixels: width x height allowed.

    Returns:
        why nothing will be seen in it; empty if there is no reason to think so.

    Raises:
        ImageError: as `decode_image`; or so long that resizing its short side to `side` passes `max_pixels`.
    """
    image = open_image(content, path, max_pixels=max_pixels)
    whole = image.size
    short, long = sorted(whole)
    if side * side * long // short > max_pixels:
        raise bad_image(path, f"{image.width} x {image.height} px, too long and thin to resize to {side} px")
    try:
        image.draft("RGB", (1, 1))
        if image.mode in ("I", "F"):
            to_rgb(image)
        image.load()
        reason = why_invisible(image)
        if reason and image.size != whole:  # an eighth of a small image may be a single pixel
            reason = why_invisible(open_image(content, path, max_pixels=max_pixels))
        return reason
    except FrozenprobeError:
        raise
    except Exception as error:  # as in decode_image
        raise bad_image(path, f"{type(error).__name__}: {error}") from None


def open_image(content: bytes, path: Place, *, max_pixels: int) -> Image.Image:
    """Read the header and hold the size against the limit, before any pixel is decoded.

    Raises:
        ImageError: no bytes, no image, or too many pixels.
    """
    Image.MAX_IMAGE_PIXELS = None  # the limit is ours: Pillow's knows no option and only warns up to twice its value
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Exception as error:  # as in decode_image
        raise no_image(content, path, type(error).__name__) from None
    pixels = image.width * image.height
    if not 0 < pixels <= max_pixels:
        raise ImageError(
            f"An image of 1 to {max_pixels:,} pixels",
            found=f"{image.width} x {image.height} = {pixels:,} pixels, more than {max_pixels:,}",
            where=path,
            remedy="shrink it, leave it out with --skip-bad, or raise --max-pixels if you trust the file",
        )
    return image


def shrink(image: Image.Image, enough: Callable[[tuple[int, int]], bool]) -> None:
    """Have libjpeg decode at the smallest scale that leaves enough; other decoders have no scales."""
    width, height = image.size
    for part in (8, 4, 2):
        if width >= part <= height and enough((-(-width // part), -(-height // part))):
            image.draft(None, (width // part, height // part))
            return


def upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; unreadable EXIF counts as none."""
    try:
        return ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError):
        return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Any of Pillow's modes as RGB.

    Raises:
        ValueError: 32-bit values beyond 16 bits, or floating point.
    """
    if image.mode == "F":
        raise ValueError("floating-point pixels; convert it to 8 or 16 bits")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"values from {values.min()} to {values.max()}; convert it to 8 or 16 bits")
        return Image.fromarray(np.rint(values / 257).astype(np.uint8)).convert("RGB")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        layer = image.convert("RGBA")
        ground = Image.new("RGB", layer.size, WHITE)
        ground.paste(layer, mask=layer.getchannel("A"))
        return ground
    return image.convert("RGB")


def why_invisible(image: Image.Image) -> str:
    """Why nothing will be seen in a decoded image; empty if there is no reason to think so.

    12 bits in a file of 16 are a 16th of the scale, 8 bits a 256th.
    """
    if "transparency" in image.info:
        image = image.convert("RGBA")
    low, high = extrema(image)
    if image.getbands()[-1] == "A":
        if high[-1] < 256 // DARK:
            return "white, since all of it is transparent: save without the alpha channel"
        low, high = low[:-1], high[:-1]
    if low == high:
        return "one colour all over"
    scale = 65536 if image.mode.startswith("I") else 256 if image.mode in ("L", "LA", "RGB", "RGBA") else 0
    if max(high) < scale // DARK:
        return f"nearly black, all values in the lowest {DARK}th (12 or 8 bits in a 16-bit file?): stretch them"
    return ""


def extrema(image: Image.Image) -> tuple[list[float], list[float]]:
    """The least and the greatest value of every band."""
    if image.mode.startswith("I"):  # of these modes Pillow knows some
        values = np.asarray(image)
        return [int(values.min())], [int(values.max())]
    pairs = np.reshape(np.array(image.getextrema()), (-1, 2))
    return pairs[:, 0].tolist(), pairs[:, 1].tolist()


def no_image(content: bytes, path: Place, reason: str) -> ImageError:
    """The error for bytes that no decoder takes; says what they are."""
    kind = kind_of(content[:HEAD])
    if kind in (IMAGE, UNKNOWN):
        return bad_image(path, f"{'damaged: ' if kind is IMAGE else ''}not an image in {', '.join(FORMATS)} ({reason})")
    if kind is AVIF and "AVIF" in FORMATS:
        return bad_image(path, f"a damaged AVIF image ({reason})")
    if kind is EMPTY:
        return bad_image(path, "an empty file (0 bytes)", kind.remedy)
    text = content[:60].decode("utf-8", errors="replace") if kind in (TEXT, ANSWER) else ""
    found = f"{kind.name}, not an image{' that this Pillow can decode' if kind is AVIF else ''}"
    return bad_image(path, found + (f": {text!r}" if text else ""), kind.advice(path))


def bad_image(path: Place, found: str, remedy: str = "") -> ImageError:
    """The error for one image that cannot be used."""
    remedy = f"{remedy or 'replace or remove the file'}, or leave it out with --skip-bad"
    return ImageError("A whole image", found=found, where=path, remedy=remedy)
