"""The demo's photos: the mission's layout, the same bytes every time, true answers, and no folder of a user touched."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.random import Generator, default_rng
from PIL import Image

from frozenprobe.demo import pictograms
from frozenprobe.demo.pictograms import CLASSES, PhotoSet, draw_photo, glyph_mask, write_photos
from frozenprobe.errors import FrozenprobeError, MissingExtra

SMALL = PhotoSet(classes=3, train_per_class=2, test=7, seed=5)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read_labels(path: Path) -> dict[str, str]:
    with open(path, newline="", encoding="utf-8") as handle:
        head, *rows = csv.reader(handle)
    assert head == ["ID", "Label"]
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0]: row[1] for row in rows}


def draw_class_as_grey(glyph: str, rng: Generator) -> Image.Image:
    """In place of `draw_photo`: a small plain picture whose grey says which glyph it was asked to draw."""
    return Image.new("RGB", (16, 16), (20 * list(CLASSES.values()).index(glyph),) * 3)


def read_grey(path: Path) -> str:
    with Image.open(path) as image:
        return list(CLASSES)[round(float(np.asarray(image).mean()) / 20)]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictograms, "draw_photo", draw_class_as_grey)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos") / "new"
    write_photos(folder, SMALL)
    return folder


def test_the_folder_has_the_missions_layout(small: Path) -> None:
    names = list(CLASSES)[:3]
    train = [f"train/{name}/{index:04d}.jpg" for name in names for index in range(2)]
    test = [f"test/{index:04d}.jpg" for index in range(7)]
    csvs = ["sample_submission.csv", "answers/solution.csv"]
    assert sorted(contents(small)) == sorted([*train, *test, *csvs, "photos.json"])
    sample = read_labels(small / "sample_submission.csv")
    assert [f"test/{image_id}" for image_id in sample] == test
    assert set(sample.values()) == {names[0]}
    assert list(read_labels(small / "answers" / "solution.csv")) == list(sample)


def test_the_same_settings_give_the_same_bytes(small: Path, tmp_path: Path) -> None:
    write_photos(tmp_path, SMALL)
    assert contents(tmp_path) == contents(small)


def test_no_two_photos_are_the_same_and_another_seed_gives_others(small: Path, tmp_path: Path) -> None:
    write_photos(tmp_path, PhotoSet(classes=2, train_per_class=2, test=2, seed=6))
    photos = [*small.rglob("*.jpg"), *tmp_path.rglob("*.jpg")]
    assert len({path.read_bytes() for path in photos}) == len(photos) == 13 + 6


def test_a_photo_does_not_depend_on_how_many_are_asked_for(small: Path, tmp_path: Path) -> None:
    write_photos(tmp_path, PhotoSet(classes=4, train_per_class=3, test=1, seed=5))
    before, after = contents(small / "train"), contents(tmp_path / "train")
    assert {name: after[name] for name in before} == before


@pytest.mark.usefixtures("quick")
def test_folders_and_answers_name_the_class_that_was_drawn(tmp_path: Path) -> None:
    write_photos(tmp_path, PhotoSet(classes=7, train_per_class=2, test=45))
    assert all(read_grey(path) == path.parent.name for path in tmp_path.glob("train/*/*.jpg"))
    answers = read_labels(tmp_path / "answers" / "solution.csv")
    assert {path.name: read_grey(path) for path in tmp_path.glob("test/*.jpg")} == answers


@pytest.mark.usefixtures("quick")
def test_test_classes_are_balanced_and_their_order_tells_nothing(tmp_path: Path) -> None:
    write_photos(tmp_path, PhotoSet(classes=7, train_per_class=1, test=45))
    labels = list(read_labels(tmp_path / "answers" / "solution.csv").values())
    assert sorted(Counter(labels).values()) == [6, 6, 6, 6, 7, 7, 7]
    places = [list(CLASSES).index(label) for label in labels]
    in_turn = sum(place == index % 7 for index, place in enumerate(places))
    assert in_turn < 20  # 45 would be turn by turn, 45 / 7 is chance
    assert abs(np.corrcoef(places, np.arange(45))[0, 1]) < 0.45  # three standard deviations of chance


def test_a_complete_folder_is_left_as_it_is(small: Path) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in small.rglob("*")}
    write_photos(small, SMALL, progress=lambda done, total: pytest.fail("a photo was drawn again"))
    assert {path: path.stat().st_mtime_ns for path in small.rglob("*")} == stamps


@pytest.mark.usefixtures("quick")
def test_a_lost_photo_and_other_settings_are_written_anew(tmp_path: Path) -> None:
    write_photos(tmp_path, PhotoSet(classes=4, train_per_class=2, test=9))
    (tmp_path / "features.h5").write_bytes(b"mine")
    write_photos(tmp_path, SMALL)
    whole = contents(tmp_path)
    assert len(whole) == 3 * 2 + 7 + 3 + 1
    assert whole["features.h5"] == b"mine"
    for lost in ("test/0003.jpg", "sample_submission.csv"):
        (tmp_path / lost).unlink()
        write_photos(tmp_path, SMALL)
        assert contents(tmp_path) == whole


@pytest.mark.usefixtures("quick")
def test_a_killed_call_is_made_good_by_the_next(tmp_path: Path) -> None:
    def kill(done: int, total: int) -> None:
        assert total == 13
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_photos(tmp_path / "killed", SMALL, progress=kill)
    assert not json.loads((tmp_path / "killed" / "photos.json").read_text())["complete"]
    seen: list[tuple[int, int]] = []
    write_photos(tmp_path / "killed", SMALL, progress=lambda done, total: seen.append((done, total)))
    write_photos(tmp_path / "whole", SMALL)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert seen == [(done, 13) for done in range(1, 14)]


@pytest.mark.parametrize("mine", ["train/cat/1.jpg", "test/1.jpg", "answers/a.txt", "sample_submission.csv"])
@pytest.mark.parametrize("marker", [None, "[]", '{"made_by": "me"}', "\ufffd not json"])
def test_a_folder_of_the_user_is_refused_and_not_touched(tmp_path: Path, mine: str, marker: str | None) -> None:
    (tmp_path / mine).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / mine).write_text("mine")
    if marker is not None:
        (tmp_path / "photos.json").write_text(marker, encoding="utf-8")
    before = contents(tmp_path)
    with pytest.raises(FrozenprobeError, match="not made by the demo"):
        write_photos(tmp_path, SMALL)
    assert contents(tmp_path) == before


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").write_text("mine")
    with pytest.raises(FrozenprobeError, match="photos, not made by the demo"):
        write_photos(tmp_path / "photos", SMALL)


@pytest.mark.parametrize(
    "photos",
    [
        PhotoSet(classes=1),
        PhotoSet(classes=len(CLASSES) + 1),
        PhotoSet(train_per_class=0),
        PhotoSet(test=0),
        PhotoSet(seed=-1),
    ],
)
def test_settings_out_of_range_are_refused_before_anything_is_written(tmp_path: Path, photos: PhotoSet) -> None:
    with pytest.raises(FrozenprobeError, match=r"from \d+ to \d+ was wanted"):
        write_photos(tmp_path / "new", photos)
    assert not (tmp_path / "new").exists()


def test_without_matplotlib_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictograms._font.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'frozenprobe\[demo\]'"):
        write_photos(tmp_path / "new", SMALL)
    assert not (tmp_path / "new").exists()


def test_matplotlib_is_found_without_being_imported() -> None:
    code = "import sys; from frozenprobe.demo.pictograms import glyph_mask; glyph_mask('A')"
    code += "; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_default_is_50_of_at_least_60_classes() -> None:
    assert PhotoSet() == PhotoSet(classes=50, train_per_class=10, test=300, seed=0)
    assert len(CLASSES) >= 60


def test_a_class_is_named_by_words_of_its_unicode_name() -> None:
    for name, glyph in CLASSES.items():
        words = unicodedata.name(glyph).lower().replace("-", " ").split()
        assert set(name.split("-")) <= set(words), (name, words)


def test_every_glyph_is_in_the_font_and_no_two_look_alike_even_in_a_mirror() -> None:
    missing = glyph_mask("\U0010ffff")  # a code point that no font has: drawn as the box of a missing glyph
    boxes = {name: np.asarray(glyph_mask(glyph).resize((32, 32)), float) for name, glyph in CLASSES.items()}
    shapes = np.stack([np.asarray(missing.resize((32, 32)), float), *boxes.values()])
    for view in (shapes, shapes[:, :, ::-1]):
        distance = np.abs(shapes[:, None] - view[None]).mean(axis=(2, 3)) + 255 * np.eye(len(shapes))
        assert distance.min() > 12  # grey levels; identical glyphs have 0


def test_photos_are_odd_sized_colour_photos_of_both_orientations() -> None:
    glyphs = list(CLASSES.values())
    photos = [draw_photo(glyphs[index], default_rng([9, index])) for index in range(12)]
    sizes = [photo.size for photo in photos]
    assert all(side % 2 == 1 and 225 <= side <= 321 for size in sizes for side in size)
    assert {width > height for width, height in sizes} == {True, False}
    assert len(set(sizes)) > 9
    for photo in photos:
        pixels = np.asarray(photo, float)
        assert photo.mode == "RGB"
        assert pixels.std() > 10
        assert np.ptp(pixels, axis=2).mean() > 1  # a colour photo, not a grey one


def test_the_glyph_is_all_that_the_class_changes_in_a_photo() -> None:
    sun, cloud = (np.asarray(draw_photo(glyph, default_rng(3)), float) for glyph in "☀☁")
    changed = np.abs(sun - cloud).max(axis=2) > 0
    assert 0.02 < changed.mean() < 0.5


def test_a_glyph_stands_out_from_its_paper() -> None:
    for seed in range(60):
        colours = pictograms._carrier(default_rng(seed), "■").convert("RGB").getcolors(240 * 240)
        (inked, ink), (blank, paper) = sorted(colours or [], reverse=True)[
            :2
        ]  # two flat colours cover most of the card
        assert inked + blank > 0.7 * 240 * 240
        assert abs((np.array(ink, float) - paper) @ (0.299, 0.587, 0.114)) > 70
