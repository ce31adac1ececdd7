"""Photographs of pictograms, made on the spot: an image folder of the mission's shape that needs no download.

    write_photos -> folder/train/<class>/0000.jpg, folder/test/0000.jpg, folder/sample_submission.csv
                    folder/answers/solution.csv (the truth, kept aside), folder/photos.json (written last)

A class is one glyph of DejaVu Sans, the font that matplotlib carries. A photo shows it on a card, a sign or a wall,
at an angle, among clutter, in some light, through a lens and a sensor.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from frozenprobe.errors import FrozenprobeError, MissingExtra

__all__ = ["CLASSES", "VERSION", "PhotoSet", "draw_photo", "glyph_mask", "write_photos"]

Floats = NDArray[np.float32]
Colour = tuple[int, int, int]

VERSION = 1  # of the pictures: raise it when the same settings no longer draw the same bytes

# Class name -> glyph; every word of a name is a word of the glyph's Unicode name. `PhotoSet.classes` takes the first
# ones. No two are mirror images of each other (a flipped view must keep its label), none is a letter or a digit
# (letters are clutter).
CLASSES: dict[str, str] = {
    "sun-with-rays": "☀", "cloud": "☁", "umbrella": "☂", "snowman": "☃", "comet": "☄", "star": "★",
    "telephone": "☎", "hot-beverage": "☕", "shamrock": "☘", "up-pointing-index": "☝", "skull-and-crossbones": "☠",
    "radioactive": "☢", "biohazard": "☣", "peace": "☮", "yin-yang": "☯", "wheel": "☸", "smiling-face": "☺",
    "crescent-moon": "☾", "chess-queen": "♛", "chess-rook": "♜", "chess-knight": "♞", "chess-pawn": "♟",
    "spade": "♠", "club": "♣", "heart": "♥", "hot-springs": "♨", "eighth-note": "♪", "recycling": "♻",
    "wheelchair": "♿", "die-face-5": "⚄", "flag": "⚑", "hammer-and-pick": "⚒", "anchor": "⚓",
    "crossed-swords": "⚔", "scales": "⚖", "alembic": "⚗", "flower": "⚘", "gear": "⚙", "atom": "⚛",
    "fleur-de-lis": "⚜", "warning": "⚠", "high-voltage": "⚡", "scissors": "✂", "airplane": "✈", "envelope": "✉",
    "victory-hand": "✌", "pencil": "✏", "snowflake": "❄", "keyboard": "⌨", "cat-face": "\U0001f431",
    "mouse-face": "\U0001f42d", "cow-face": "\U0001f42e", "monkey-face": "\U0001f435",
    "face-with-medical-mask": "\U0001f637", "playing-card-ace-of-spades": "\U0001f0a1", "writing-hand": "✍",
    "telephone-location": "✆", "tape-drive": "✇", "nib": "✒", "check-mark": "✔", "florette": "✿",
    "floral-heart": "❦", "house": "⌂", "benzene-ring": "⌬", "place-of-interest": "⌘", "eject": "⏏",
    "draughts-king": "⛃", "funeral-urn": "⚱", "rod-of-aesculapius": "⚕", "ankh": "☥", "mercury": "☿",
    "beamed-sixteenth-notes": "♬",
}  # fmt: skip


@dataclass(frozen=True)
class PhotoSet:
    """How many photos of how many classes; `test` is the number of test photos in all."""

    classes: int = 50
    train_per_class: int = 10
    test: int = 300
    seed: int = 0


def write_photos(
    folder: Path, photos: PhotoSet = PhotoSet(), *, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write the photos, the sample submission and the answers; leave a complete folder of the same settings as it is.

    `progress(done, total)` is called after every photo. A folder written with other settings is written anew.

    Raises:
        FrozenprobeError: settings out of range, or a folder whose contents are not ours to replace.
        MissingExtra: matplotlib, which carries the font, is not installed.
    """
    _check(photos)
    settings = {"made_by": __name__, "version": VERSION, **asdict(photos), "complete": True}
    if _is_complete(folder, settings):
        return
    glyph_mask("A")  # a missing font is reported before anything is written
    _clear(folder)
    # The mark of an unfinished folder: after a kill, the next call knows that what it finds is its own.
    _write_aside(folder / "photos.json", json.dumps({**settings, "complete": False}) + "\n")
    shots = _plan(photos)
    for done, shot in enumerate(shots, start=1):
        path = folder / shot.path
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = default_rng([photos.seed, shot.split, ord(CLASSES[shot.label]), shot.index])
        draw_photo(CLASSES[shot.label], rng).save(path, quality=int(rng.integers(45, 93)))
        if progress is not None:
            progress(done, len(shots))
    answers = {shot.path.stem: shot.label for shot in shots if shot.split == 1}
    _write_csv(folder / "answers" / "solution.csv", answers)
    _write_csv(folder / "sample_submission.csv", dict.fromkeys(answers, next(iter(CLASSES))))
    _write_aside(folder / "photos.json", json.dumps(settings) + "\n")


def draw_photo(glyph: str, rng: Generator) -> Image.Image:
    """One photo of `glyph`, RGB, sides odd and between 225 and 321 px, either one the longer; all chance is `rng`'s."""
    long, short = 2 * int(rng.integers(138, 161)) + 1, 2 * int(rng.integers(112, 138)) + 1
    size = (long, short) if rng.random() < 0.5 else (short, long)
    scene = _surface(rng, size)
    _scatter(rng, scene, int(rng.integers(2, 9)))
    _place(rng, scene, _carrier(rng, glyph))
    if rng.random() < 0.35:
        _obstruct(rng, scene)
    return _expose(rng, scene)


@lru_cache(maxsize=256)
def glyph_mask(glyph: str) -> Image.Image:
    """The glyph as a grey image cropped to its ink, its longer side 176 px; the cached image is not to be changed.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    mask = Image.new("L", (500, 500))
    ImageDraw.Draw(mask).text((150, 120), glyph, fill=255, font=_font(200))
    ink = mask.crop(mask.getbbox())
    scale = 176 / max(ink.size)
    return ink.resize((max(round(ink.width * scale), 1), max(round(ink.height * scale), 1)), Image.Resampling.LANCZOS)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Found, not imported: importing matplotlib costs half a second and writes a font cache.
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise MissingExtra("matplotlib", "demo")
    path = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    if not path.is_file():
        raise FrozenprobeError(
            f"The demo draws with the font DejaVu Sans of matplotlib; there is no {path}. "
            "Install matplotlib from PyPI: pip install --force-reinstall matplotlib"
        )
    # Basic layout: Raqm, where Pillow was built with it, may place glyphs differently from one machine to the next.
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


# ---------------------------------------------------------------------------------------------- which photos, where


@dataclass(frozen=True)
class _Shot:
    split: int  # 0 train, 1 test: with the seed, the glyph and the index, all that decides what a photo looks like
    label: str
    index: int
    path: Path


def _plan(photos: PhotoSet) -> list[_Shot]:
    names = list(CLASSES)[: photos.classes]
    train = [
        _Shot(split=0, label=name, index=index, path=Path("train", name, f"{index:04d}.jpg"))
        for name in names
        for index in range(photos.train_per_class)
    ]
    # Classes take turns, so that their test counts differ by at most one; the shuffle keeps the names silent.
    turns = default_rng([photos.seed, 2]).permutation(photos.test)
    test = [
        _Shot(split=1, label=names[turn % len(names)], index=int(turn) // len(names), path=Path("test", f"{i:04d}.jpg"))
        for i, turn in enumerate(turns)
    ]
    return train + test


def _check(photos: PhotoSet) -> None:
    limits = {"classes": (2, len(CLASSES)), "train_per_class": (1, 9999), "test": (1, 9999), "seed": (0, 2**32 - 1)}
    for name, (low, high) in limits.items():
        value = getattr(photos, name)
        if not low <= value <= high:
            raise FrozenprobeError(f"PhotoSet.{name} must be {low} to {high}, not {value}: choose one in that range.")


def _is_complete(folder: Path, settings: dict[str, object]) -> bool:
    written = sum(1 for _ in folder.glob("train/*/*.jpg")), sum(1 for _ in folder.glob("test/*.jpg"))
    asked = settings["classes"], settings["train_per_class"], settings["test"]
    return _read_marker(folder) == settings and written == (asked[0] * asked[1], asked[2])


def _read_marker(folder: Path) -> dict[str, object] | None:
    try:
        marker = json.loads((folder / "photos.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return marker if isinstance(marker, dict) and marker.get("made_by") == __name__ else None


def _clear(folder: Path) -> None:
    """Remove what an earlier call wrote; only a folder with our marker is ours."""
    ours = [folder / name for name in ("train", "test", "answers", "sample_submission.csv", "photos.json")]
    if _read_marker(folder) is None:
        for path in ours:
            if path.exists():
                raise FrozenprobeError(
                    f"The demo wants to write its photos to {folder}, but {path.name} is already there and no "
                    "photos.json of the demo stands beside it: give an empty or a new folder."
                )
    for path in ours[:3]:
        shutil.rmtree(path, ignore_errors=True)


def _write_csv(path: Path, labels: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_aside(path, "".join(f"{image_id},{label}\n" for image_id, label in [("ID", "Label"), *labels.items()]))


def _write_aside(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".partial")
    aside.write_text(text, encoding="utf-8", newline="\n")
    os.replace(aside, path)


# ------------------------------------------------------------------------------------------------- drawing a photo


def _colour(rng: Generator, light: float, *, vivid: float = 0.9) -> Colour:
    """A random hue whose luminance is about `light` (0 to 1)."""
    rgb = rng.random(3)
    rgb = light + rng.uniform(0.05, vivid) * (rgb - rgb @ (0.299, 0.587, 0.114))
    red, green, blue = (int(value) for value in np.clip(rgb, 0, 1) * 255)
    return red, green, blue


def _noise(rng: Generator, size: tuple[int, int], cells: float) -> Floats:
    """Smooth noise, 0 to 1, shape (height, width), with about `cells` bumps along the longer side."""
    columns, rows = (max(2, round(cells * side / max(size))) for side in size)
    grid = Image.fromarray(rng.integers(0, 256, (rows, columns), dtype=np.uint8))
    return np.asarray(grid.resize(size, Image.Resampling.BICUBIC), dtype=np.float32) / 255


def _ramp(rng: Generator, size: tuple[int, int]) -> Floats:
    """A plane that rises about 1 across the image in a random direction; shape (height, width)."""
    angle = rng.uniform(0, 2 * math.pi)
    x = np.linspace(-0.5, 0.5, size[0], dtype=np.float32)[None, :] * math.cos(angle)
    y = np.linspace(-0.5, 0.5, size[1], dtype=np.float32)[:, None] * math.sin(angle)
    return np.asarray(x + y, dtype=np.float32)


def _surface(rng: Generator, size: tuple[int, int]) -> Image.Image:
    """A wall, a table, a cloth: two colours mixed by a pattern, and grain."""
    kind = int(rng.integers(5))
    plane, clouds = _ramp(rng, size), _noise(rng, size, float(rng.uniform(3, 12)))
    if kind == 0:  # a wall
        mix = 0.5 + plane + 0.3 * clouds
    elif kind == 1:  # stone, carpet
        mix = clouds
    elif kind == 2:  # wood
        mix = 0.5 + 0.5 * np.sin(rng.uniform(20, 90) * (plane + 0.12 * clouds))
    elif kind == 3:  # planks, stripes
        mix = ((plane * rng.uniform(3, 12)) % 1 > rng.uniform(0.06, 0.5)) + 0.3 * clouds
    else:  # tiles, a checked cloth
        cells = rng.uniform(3, 9)
        width = rng.uniform(0.06, 0.5)
        mix = 0.5 * ((plane * cells) % 1 > width) + 0.5 * ((_ramp(rng, size) * cells) % 1 > width)
    mix = 40 + 175 * mix + rng.uniform(20, 110) * (_noise(rng, size, 110) - 0.5)
    light = rng.uniform(0.25, 0.7)
    dark, bright = _colour(rng, light - 0.1, vivid=0.4), _colour(rng, light + rng.uniform(0.0, 0.25), vivid=0.4)
    return ImageOps.colorize(Image.fromarray(np.clip(mix, 0, 255).astype(np.uint8)), dark, bright)


def _scatter(rng: Generator, scene: Image.Image, count: int) -> None:
    """Clutter on `scene`, in place: discs, blocks, sticks and letters, which no class is made of."""
    draw = ImageDraw.Draw(scene)
    for _ in range(count):
        x, y = rng.uniform(0, scene.width), rng.uniform(0, scene.height)
        reach = rng.uniform(8, 55)
        fill = _colour(rng, rng.uniform(0.1, 0.9))
        kind = int(rng.integers(4))
        if kind == 0:
            flat = reach * rng.uniform(0.4, 1)
            draw.ellipse((x - reach, y - flat, x + reach, y + flat), fill=fill, outline=_colour(rng, 0.5), width=2)
        elif kind == 1:
            draw.polygon(_polygon(rng, (x, y), reach), fill=fill)
        elif kind == 2:
            end = (x + rng.normal(0, 90), y + rng.normal(0, 90))
            draw.line((x, y, *end), fill=fill, width=int(rng.integers(2, 10)))
        else:
            letter = "ABCDEFGHJKLMNPRSTUVWYZ2346789?&%"[int(rng.integers(32))]
            draw.text((x - 20, y - 20), letter, fill=fill, font=_font((24, 40, 64)[int(rng.integers(3))]))


def _polygon(rng: Generator, centre: tuple[float, float], reach: float) -> list[tuple[float, float]]:
    turns = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(3, 6))))
    return [(centre[0] + reach * math.cos(turn), centre[1] + reach * math.sin(turn)) for turn in turns]


def _carrier(rng: Generator, glyph: str) -> Image.Image:
    """What the photographer found: RGBA, 240 px square, the glyph on a card, a round sign or a sticker."""
    side, middle = 240, 120
    paper = rng.uniform(0.1, 0.9)
    # Ink and paper differ by at least 0.3 in luminance: a glyph that nobody could see would be a wrong label.
    ink = rng.uniform(0.02, paper - 0.3) if paper > 0.65 or (paper > 0.35 and rng.random() < 0.5) else None
    ink = rng.uniform(paper + 0.3, 0.98) if ink is None else ink
    card = Image.new("RGB", (side, side), _colour(rng, paper))
    shape = Image.new("L", (side, side))
    draw, cut = ImageDraw.Draw(card), ImageDraw.Draw(shape)
    kind = int(rng.integers(4))
    inset = int(rng.integers(4, 16))
    box = (inset, inset, side - inset, side - inset)
    rim = _colour(rng, rng.uniform(0.1, 0.9))
    stroke = int(rng.integers(0, 9))
    if kind == 0:
        cut.ellipse((0, 0, side, side), fill=255)
        draw.ellipse(box, outline=rim, width=stroke)
    else:
        radius = int(rng.integers(0, 40))
        cut.rounded_rectangle((0, 0, side - 1, side - 1), radius, fill=255)
        if kind == 1:
            gap = int(rng.integers(12, 28))
            for at in range(gap, side, gap):
                draw.line((0, at, side, at), fill=rim, width=1)
        else:
            draw.rounded_rectangle(box, radius, outline=rim, width=stroke)
    scale = rng.uniform(0.75, 1.05) * (0.85 if kind == 0 else 1.0)
    mask = glyph_mask(glyph)
    mask = mask.resize((max(1, round(mask.width * scale)), max(1, round(mask.height * scale))), Image.Resampling.BILINEAR)
    at = (middle - mask.width // 2 + int(rng.integers(-9, 10)), middle - mask.height // 2 + int(rng.integers(-9, 10)))
    card.paste(_colour(rng, ink), at, mask)
    if kind == 3 and rng.random() < 0.6:  # a sticker
        shape = Image.new("L", (side, side))
        shape.paste(255, at, mask)
        # Die-cut: a margin of paper stays around the ink, for a wall of the ink's colour would swallow it.
        shape = shape.filter(ImageFilter.BoxBlur(4)).point([min(255, 8 * v) for v in range(256)])
    card.putalpha(shape)
    return card


def _place(rng: Generator, scene: Image.Image, card: Image.Image) -> None:
    """Paste `card` into `scene`, in place, as seen at an angle, with the shadow that it throws."""
    half = rng.uniform(0.34, 0.5) * min(scene.size)
    turn = math.radians(float(np.clip(rng.normal(0, 11), -30, 30)))
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (1, rng.uniform(0.75, 1.0))
    corners += rng.uniform(-0.16, 0.16, (4, 2))
    rotation = np.array([(math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))])
    spare = np.maximum(np.array(scene.size) / 2 - half, 0)
    corners = half * (corners @ rotation) + np.array(scene.size) / 2 + rng.uniform(-0.8, 0.8, 2) * spare
    seen = card.transform(scene.size, Image.Transform.PERSPECTIVE, _homography(corners, card.width), Image.Resampling.BILINEAR)
    alpha = seen.getchannel("A")
    shadow = alpha.filter(ImageFilter.BoxBlur(int(rng.integers(1, 7)))).point([int(v * 0.55) for v in range(256)])
    dx, dy = (int(value) for value in rng.integers(-7, 8, 2))
    scene.paste((0, 0, 0), (dx, dy), shadow)
    scene.paste(seen.convert("RGB"), (0, 0), alpha)


def _homography(corners: NDArray[np.float64], side: int) -> list[float]:
    """The eight numbers that take a point of the scene back to the card, as `Image.transform` wants them."""
    # (u, v) = ((a x + b y + c) / w, (d x + e y + f) / w) with w = g x + h y + 1, linear in a..h once multiplied by w:
    # a x + b y + c - u (g x + h y) = u, and the same for v; four corners give eight equations.
    target = [(0, 0), (side, 0), (side, side), (0, side)]
    rows, values = [], []
    for (x, y), (u, v) in zip(corners, target, strict=True):
        rows += [(x, y, 1, 0, 0, 0, -u * x, -u * y), (0, 0, 0, x, y, 1, -v * x, -v * y)]
        values += [u, v]
    return [float(value) for value in np.linalg.solve(np.array(rows), np.array(values, dtype=np.float64))]


def _obstruct(rng: Generator, scene: Image.Image) -> None:
    """Something in the way, in place: a stick across the picture, or a blob that enters from an edge."""
    draw = ImageDraw.Draw(scene)
    fill = _colour(rng, rng.uniform(0.1, 0.9))
    edge = rng.uniform(0, 1, 4) * (scene.width, scene.height, scene.width, scene.height)
    if rng.random() < 0.5:
        ends = (edge[0], 0, edge[2], scene.height) if rng.random() < 0.5 else (0, edge[1], scene.width, edge[3])
        draw.line(ends, fill=fill, width=int(rng.integers(4, 13)))
    else:
        corner = (scene.width * int(rng.integers(2)), scene.height * int(rng.integers(2)))
        draw.polygon(_polygon(rng, corner, rng.uniform(50, 120)), fill=fill)


def _expose(rng: Generator, scene: Image.Image) -> Image.Image:
    """Light and shadow over `scene`, then the lens (blur) and the sensor (cast, gamma, noise)."""
    blur = rng.uniform(0, 0.8) if rng.random() < 0.7 else rng.uniform(0.8, 1.8)
    pixels = np.array(scene.filter(ImageFilter.BoxBlur(blur)), dtype=np.float32)
    light = 1 + rng.uniform(0, 0.8) * _ramp(rng, scene.size)
    if rng.random() < 0.5:  # a shadow with a soft edge
        edge = _ramp(rng, scene.size) + 0.15 * _noise(rng, scene.size, 4) + rng.uniform(-0.3, 0.3)
        light *= 1 - rng.uniform(0.2, 0.5) * np.clip(0.5 + edge * rng.uniform(4, 30), 0, 1)
    cast = rng.uniform(0.88, 1.12, 3) * rng.uniform(0.9, 1.25)
    pixels *= light[:, :, None] * cast.astype(np.float32)
    pixels += rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(rng.uniform(0, 11))
    return Image.fromarray(np.clip(pixels, 0, 255, out=pixels).astype(np.uint8))
