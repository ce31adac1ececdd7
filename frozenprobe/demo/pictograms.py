"""Photographs of pictograms, made on the spot: an image folder of the mission's shape that needs no download.

    write_photos -> folder/train/<class>/0000.jpg, folder/test/0000.jpg, folder/sample_submission.csv
                    folder/answers/solution.csv (the truth, kept aside), folder/photos.json (written last)

A class is one glyph of DejaVu Sans, the font that matplotlib carries. A photo shows it on a card, a sign or a sticker,
at an angle, among clutter, in some light, through a lens and a sensor.
"""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.random import Generator, default_rng
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from frozenprobe.errors import FrozenprobeError, MissingExtra
from frozenprobe.system.atomic_files import publish_text
from frozenprobe.system.csv_tables import write_table
from frozenprobe.system.files import read_regular

MADE_BY = "frozenprobe.pictograms"  # how a folder says that it is the demo's: written in folders that are there
VERSION = 1  # of the pictures: raise it when the same settings no longer draw the same photos

# Class name -> glyph; every word of a name is a word of the glyph's Unicode name. `PhotoSet.classes` takes the first
# ones. No two are mirror images of each other (a flipped view must keep its label), and none is a letter or a digit
# (those are clutter).
CLASSES: dict[str, str] = {
    "sun": "☀", "cloud": "☁", "umbrella": "☂", "snowman": "☃", "comet": "☄", "star": "★", "telephone": "☎",
    "hot-beverage": "☕", "shamrock": "☘", "up-pointing-index": "☝", "skull-and-crossbones": "☠", "radioactive": "☢",
    "biohazard": "☣", "peace": "☮", "yin-yang": "☯", "wheel": "☸", "smiling-face": "☺", "quarter-moon": "☾",
    "chess-queen": "♛", "chess-rook": "♜", "chess-knight": "♞", "chess-pawn": "♟", "spade": "♠", "club": "♣",
    "heart": "♥", "hot-springs": "♨", "eighth-note": "♪", "recycling": "♻", "wheelchair": "♿", "die-face-5": "⚄",
    "flag": "⚑", "hammer-and-pick": "⚒", "anchor": "⚓", "crossed-swords": "⚔", "scales": "⚖", "alembic": "⚗",
    "flower": "⚘", "gear": "⚙", "atom": "⚛", "warning": "⚠", "high-voltage": "⚡", "scissors": "✂", "airplane": "✈",
    "envelope": "✉", "victory-hand": "✌", "pencil": "✏", "snowflake": "❄", "keyboard": "⌨", "cat-face": "🐱",
    "monkey-face": "🐵", "mouse-face": "🐭", "cow-face": "🐮", "face-with-medical-mask": "😷",
    "smiling-face-with-horns": "😈", "playing-card-ace-of-spades": "🂡", "writing-hand": "✍", "tape-drive": "✇",
    "nib": "✒", "florette": "✿", "floral-heart": "❦", "house": "⌂", "place-of-interest": "⌘", "fleur-de-lis": "⚜",
}  # fmt: skip

_Plane = npt.NDArray[np.float32]  # (height, width)


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
    """Write the photos, the sample submission and the answers; a complete folder of the same settings is left as it is.

    `progress(done, total)` is called after every photo. What a call with other settings wrote is replaced.

    Raises:
        FrozenprobeError: settings out of range, or a folder with photos in it that the demo did not make.
        MissingExtra: matplotlib, which carries the font, is not installed.
    """
    _check(photos)
    marker = {"made_by": MADE_BY, "version": VERSION, **asdict(photos), "complete": True}
    plan = _plan(photos)
    csvs = Path("answers", "solution.csv"), Path("sample_submission.csv")
    files = [*csvs, *(path for path, _, _ in plan)]
    if _read_marker(folder) == marker and all((folder / path).is_file() for path in files):
        return
    _font(64)  # a missing font is reported before anything is removed
    _clear(folder)
    # The mark of an unfinished folder: after a kill, the next call knows that what it finds is its own.
    publish_text(folder / "photos.json", json.dumps({**marker, "complete": False}) + "\n")
    for done, (path, label, key) in enumerate(plan, start=1):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        rng = default_rng([photos.seed, *key])
        draw_photo(CLASSES[label], rng).save(folder / path, quality=int(rng.integers(45, 93)))
        if progress is not None:
            progress(done, len(plan))
    answers = {path.name: label for path, label, _ in plan if path.parts[0] == "test"}
    for name, labels in zip(csvs, [answers, dict.fromkeys(answers, plan[0][1])], strict=True):
        write_table(folder / name, ("ID", "Label"), labels.items())
    publish_text(folder / "photos.json", json.dumps(marker) + "\n")


def draw_photo(glyph: str, rng: Generator) -> Image.Image:
    """One photo of `glyph`, RGB, sides odd and between 225 and 321 px, either one the longer; all chance is `rng`'s."""
    long, short = 2 * int(rng.integers(138, 161)) + 1, 2 * int(rng.integers(112, 138)) + 1
    scene = _surface(rng, (long, short) if rng.random() < 0.5 else (short, long))
    _scatter(rng, scene, int(rng.integers(2, 9)))
    _place(rng, scene, _carrier(rng, glyph))
    if rng.random() < 0.2:  # something in the way
        ends = (rng.uniform(0, scene.width), 0, rng.uniform(0, scene.width), scene.height)
        ImageDraw.Draw(scene).line(ends, fill=_colour(rng, rng.uniform(0.1, 0.9)), width=int(rng.integers(4, 13)))
    return _expose(rng, scene)


@lru_cache(maxsize=256)
def glyph_mask(glyph: str) -> Image.Image:
    """The glyph's ink as a grey image, its longer side 176 px; a cached image, not to be changed."""
    canvas = Image.new("L", (500, 500))
    ImageDraw.Draw(canvas).text((150, 120), glyph, fill=255, font=_font(200))
    return ImageOps.contain(canvas.crop(canvas.getbbox()), (176, 176), Image.Resampling.LANCZOS)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Found, not imported: importing matplotlib costs half a second and writes a font cache.
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise MissingExtra("matplotlib", "demo")
    path = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    if not path.is_file():
        found, remedy = "none (some Linux distributions take it out)", "pip install --force-reinstall matplotlib"
        raise FrozenprobeError("The font DejaVu Sans inside matplotlib", found=found, where=path, remedy=remedy)
    # Basic layout: Raqm, where Pillow was built with it, may place a glyph elsewhere.
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def _plan(photos: PhotoSet) -> list[tuple[Path, str, list[int]]]:
    """Path in the folder, class name and random key (split, glyph, index) of every photo, the test photos last."""
    # Keyed by the glyph, not by its place in the table: a photo stays itself when classes are added.
    classes = [(name, ord(glyph)) for name, glyph in CLASSES.items()][: photos.classes]
    train = [
        (Path("train", name, f"{index:04d}.jpg"), name, [0, glyph, index])
        for name, glyph in classes
        for index in range(photos.train_per_class)
    ]
    # Classes take turns, so that their test counts differ by at most one; the shuffle keeps the file names silent.
    turns = default_rng([photos.seed, 2]).permutation(photos.test).tolist()
    test = [
        (Path("test", f"{number:04d}.jpg"), name, [1, glyph, turn // len(classes)])
        for number, turn in enumerate(turns)
        for name, glyph in [classes[turn % len(classes)]]
    ]
    return train + test


def _check(photos: PhotoSet) -> None:
    limits = {"classes": (2, len(CLASSES)), "train_per_class": (1, 9999), "test": (1, 9999), "seed": (0, 2**32 - 1)}
    for name, (low, high) in limits.items():
        if not low <= (value := getattr(photos, name)) <= high:
            wanted, remedy = f"{name} from {low} to {high} was wanted", "choose a number in that range"
            raise FrozenprobeError(wanted, found=str(value), where="the settings of the demo's photos", remedy=remedy)


def _read_marker(folder: Path) -> dict[str, object] | None:
    try:
        marker = json.loads(read_regular(folder / "photos.json"))
    except (OSError, ValueError):
        return None
    return marker if isinstance(marker, dict) and marker.get("made_by") == MADE_BY else None


def _clear(folder: Path) -> None:
    """Remove the photos of an earlier call; without its marker, nothing in the folder is ours to remove."""
    paths = [folder / name for name in ("train", "test", "answers", "sample_submission.csv", "photos.json")]
    foreign = [folder] if folder.is_file() else [path for path in paths if path.exists()]
    if foreign and _read_marker(folder) is None:
        raise FrozenprobeError(
            "A folder without photos of your own was wanted, for the demo to write its photos to",
            found=f"{', '.join(path.name for path in foreign)}, not made by the demo",
            where=folder,
            remedy="name a new or an empty folder",
        )
    for path in paths[:3]:
        if path.exists():
            shutil.rmtree(path)


def _colour(rng: Generator, light: float, *, vivid: float = 0.4) -> tuple[int, int, int]:
    """A random hue of luminance `light` (0 to 1, before clipping) and a saturation of up to `vivid`."""
    hue = rng.uniform(0, 2 * math.pi)
    tint = np.cos([hue, hue - 2 * math.pi / 3, hue + 2 * math.pi / 3])
    rgb = light + rng.uniform(0.03, vivid) * (tint - tint @ (0.299, 0.587, 0.114))
    red, green, blue = (np.clip(rgb, 0, 1) * 255).astype(int).tolist()
    return red, green, blue


def _noise(rng: Generator, size: tuple[int, int], cells: float) -> _Plane:
    """Smooth noise from 0 to 1, with about `cells` bumps along the longer side."""
    columns, rows = (max(2, round(cells * side / max(size))) for side in size)
    grid = Image.fromarray(rng.integers(0, 256, (rows, columns), dtype=np.uint8))
    return np.asarray(grid.resize(size, Image.Resampling.BICUBIC), dtype=np.float32) / np.float32(255)


def _ramp(rng: Generator, size: tuple[int, int]) -> _Plane:
    """A slope across the picture in a random direction, 0 in the middle, rising by about 1."""
    angle = rng.uniform(0, 2 * math.pi)
    x, y = (np.linspace(-0.5, 0.5, side, dtype=np.float32) for side in size)
    return y[:, None] * np.float32(math.sin(angle)) + x * np.float32(math.cos(angle))


def _surface(rng: Generator, size: tuple[int, int]) -> Image.Image:
    """A wall, a table, a cloth: two colours mixed by a pattern, and grain."""
    slope, clouds = _ramp(rng, size), _noise(rng, size, rng.uniform(3, 12))
    cells, line = rng.uniform(3, 12), rng.uniform(0.06, 0.5)
    kind = rng.integers(5)
    mix: npt.NDArray[np.floating] = clouds  # stone, carpet
    if kind == 1:  # a wall
        mix = 0.5 + slope + 0.3 * clouds
    elif kind == 2:  # wood
        mix = 0.5 + 0.5 * np.sin(np.float32(7 * cells) * (slope + 0.12 * clouds))
    elif kind > 2:  # stripes, or in two directions a checked cloth, tiles
        across = clouds if kind == 3 else _ramp(rng, size) * cells % 1 > line
        mix = 0.6 * (slope * cells % 1 > line) + 0.4 * across
    grain = rng.uniform(20, 110) * (_noise(rng, size, 110) - 0.5)
    pixels = Image.fromarray(np.clip(40 + 175 * mix + grain, 0, 255).astype(np.uint8))
    light, more = rng.uniform(0.15, 0.6), rng.uniform(0.1, 0.35)
    return ImageOps.colorize(pixels, _colour(rng, light, vivid=0.2), _colour(rng, light + more, vivid=0.2))


def _scatter(rng: Generator, scene: Image.Image, count: int) -> None:
    """Clutter on `scene`, in place: discs, blocks, sticks and letters, which no class is made of."""
    draw = ImageDraw.Draw(scene)
    for kind in rng.integers(4, size=count):
        x, y, reach = rng.uniform(0, scene.width), rng.uniform(0, scene.height), rng.uniform(8, 50)
        fill = _colour(rng, rng.uniform(0.1, 0.9))
        if kind == 0:
            flat = reach * rng.uniform(0.4, 1)
            draw.ellipse((x - reach, y - flat, x + reach, y + flat), fill=fill)
        elif kind == 1:
            turns = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(3, 6))))
            draw.polygon([(x + reach * math.cos(turn), y + reach * math.sin(turn)) for turn in turns], fill=fill)
        elif kind == 2:
            draw.line((x, y, x + rng.normal(0, 90), y + rng.normal(0, 90)), fill=fill, width=int(rng.integers(2, 10)))
        else:
            letter = "ABCDEFGHJKLMNPRSTUVWXYZ2346789?&%"[int(rng.integers(33))]
            draw.text((x - 20, y - 20), letter, fill=fill, font=_font((24, 40, 64)[int(rng.integers(3))]))


def _carrier(rng: Generator, glyph: str) -> Image.Image:
    """What the photographer found, RGBA, 240 px square: the glyph on a card, a round sign or a sticker."""
    paper = rng.uniform(0.1, 0.9)
    radius = 120 if rng.random() < 0.25 else int(rng.integers(0, 40))
    card, shape = _blank(rng, paper, radius)
    mask = ImageOps.scale(glyph_mask(glyph), rng.uniform(0.75, 1.05) * (0.85 if radius == 120 else 1))
    left, top = ((240 - side) // 2 + int(rng.integers(-9, 10)) for side in mask.size)
    # Ink and paper differ by about 0.4 or more in luminance: a glyph that nobody can see would be a wrong label.
    darker = paper > 0.55 or (paper > 0.45 and rng.random() < 0.5)
    ink = _colour(rng, rng.uniform(0.02, paper - 0.4) if darker else rng.uniform(paper + 0.4, 0.98))
    card.paste(ink, (left, top), mask)
    if rng.random() < 0.15:
        # A sticker, cut out with a margin of paper: a wall of the ink's colour would swallow a bare glyph.
        shape = Image.new("L", card.size)
        shape.paste(255, (left, top), mask)
        shape = shape.filter(ImageFilter.BoxBlur(4)).point([min(255, 8 * value) for value in range(256)])
    card.putalpha(shape)
    return card


def _blank(rng: Generator, light: float, radius: int) -> tuple[Image.Image, Image.Image]:
    """An empty card of this luminance with a rim or ruled lines, and the shape to cut it to, its corners rounded."""
    card, shape = Image.new("RGB", (240, 240), _colour(rng, light)), Image.new("L", (240, 240))
    ImageDraw.Draw(shape).rounded_rectangle((0, 0, 239, 239), radius, fill=255)
    draw, rim, inset = ImageDraw.Draw(card), _colour(rng, rng.uniform(0.1, 0.9)), int(rng.integers(4, 16))
    if rng.random() < 0.2:
        for y in range(inset, 240, int(rng.integers(12, 28))):
            draw.line((0, y, 240, y), fill=rim)
    else:
        box, width = (inset, inset, 239 - inset, 239 - inset), int(rng.integers(0, 9))
        draw.rounded_rectangle(box, max(radius - inset, 0), outline=rim, width=width)
    return card, shape


def _place(rng: Generator, scene: Image.Image, card: Image.Image) -> None:
    """Paste `card` into `scene`, in place, as seen at an angle, with the shadow that it throws."""
    size = np.array(scene.size)
    half, turn = rng.uniform(0.37, 0.5) * size.min(), math.radians(np.clip(rng.normal(0, 10), -30, 30))
    rotation = np.array([(math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))])
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (1, rng.uniform(0.75, 1))
    corners = (
        half * (corners + rng.uniform(-0.16, 0.16, (4, 2))) @ rotation
        + size / 2
        + rng.uniform(-0.8, 0.8, 2) * (size / 2 - half)
    )
    view = _homography(corners, card.width)
    seen = card.transform(scene.size, Image.Transform.PERSPECTIVE, view, Image.Resampling.BILINEAR)
    alpha = seen.getchannel("A")
    shadow = alpha.filter(ImageFilter.BoxBlur(int(rng.integers(1, 7)))).point([value // 2 for value in range(256)])
    dx, dy = rng.integers(-7, 8, 2).tolist()
    scene.paste((0, 0, 0), (dx, dy), shadow)
    scene.paste(seen.convert("RGB"), (0, 0), alpha)


def _homography(corners: npt.NDArray[np.float64], side: int) -> list[float]:
    """The numbers a..h that take a point (x, y) of the scene back to (u, v) on the card, as `Image.transform` wants."""
    # u = (a x + b y + c) / w and v = (d x + e y + f) / w with w = g x + h y + 1. Times w, both are linear in a..h:
    # a x + b y + c - u x g - u y h = u, the same for v, and four corners give eight equations.
    rows, values = [], []
    for (x, y), (u, v) in zip(corners.tolist(), [(0, 0), (side, 0), (side, side), (0, side)], strict=True):
        rows += [(x, y, 1, 0, 0, 0, -u * x, -u * y), (0, 0, 0, x, y, 1, -v * x, -v * y)]
        values += [u, v]
    return [float(value) for value in np.linalg.solve(np.array(rows), np.array(values))]


def _expose(rng: Generator, scene: Image.Image) -> Image.Image:
    """What the camera makes of `scene`: lens blur, uneven light, a shadow, a colour cast, sensor noise."""
    blur = rng.uniform(0, 0.8) if rng.random() < 0.7 else rng.uniform(0.8, 1.8)
    pixels = np.array(scene.filter(ImageFilter.BoxBlur(blur)), dtype=np.float32)
    light = 1 + rng.uniform(0, 0.8) * _ramp(rng, scene.size)
    if rng.random() < 0.5:  # a shadow with a soft edge
        edge = _ramp(rng, scene.size) + 0.15 * _noise(rng, scene.size, 4) + rng.uniform(-0.3, 0.3)
        light *= 1 - rng.uniform(0.2, 0.5) * np.clip(0.5 + edge * rng.uniform(4, 30), 0, 1)
    cast = rng.uniform(0.88, 1.12, 3) * rng.uniform(0.9, 1.25)
    pixels *= light[:, :, None] * cast.astype(np.float32)
    # Uniform, not normal: it costs a third, and nobody can tell them apart in a JPEG.
    pixels += (rng.random(pixels.shape, dtype=np.float32) - 0.5) * np.float32(rng.uniform(0, 36))
    return Image.fromarray(np.clip(pixels, 0, 255, out=pixels).astype(np.uint8))
