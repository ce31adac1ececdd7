"""Folders of images become tables whose order nobody else decides."""

import os
import unicodedata
from pathlib import Path

import pytest

from frozenprobe.errors import ImageError
from frozenprobe.images.folders import read_class_folders
from frozenprobe.images.read import read_test


def touch(root: Path, *names: str) -> Path:
    """Empty files: reading tables opens no image."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def test_class_folders_give_sorted_names_and_relative_ids(tmp_path):
    table = read_class_folders(touch(tmp_path, "b/2.jpg", "a/1.PNG", "10/x y.jpeg", "b/deep/er/3.webp", "b/notes.txt"))
    assert table.class_names == ("10", "a", "b")
    assert table.ids == ("10/x y.jpeg", "a/1.PNG", "b/2.jpg", "b/deep/er/3.webp")
    assert table.labels is not None
    assert table.labels.tolist() == [0, 1, 2, 2]


def test_the_order_of_the_listing_changes_nothing(tmp_path, monkeypatch):
    touch(tmp_path, *(f"{label}/{index}.jpg" for label in ("10", "2", "ä", "b") for index in range(3)))
    plain = read_class_folders(tmp_path)
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda *given, **options: reversed(list(walk(*given, **options))))
    turned = read_class_folders(tmp_path)
    assert turned.ids == plain.ids
    assert turned.class_names == plain.class_names == ("10", "2", "b", "ä")


@pytest.mark.parametrize("ending", ["jpg", "JPG", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif", "TIFF", "jfif"])
def test_endings_in_any_case(tmp_path, ending):
    assert len(read_test(touch(tmp_path, f"a.{ending}"))) == 1


def test_hidden_files_and_macos_leftovers_are_left_alone(tmp_path):
    touch(tmp_path, "a/1.jpg", "b/1.jpg", "a/._1.jpg", ".trash/x.jpg", "__MACOSX/a/1.jpg")
    assert read_class_folders(tmp_path).ids == ("a/1.jpg", "b/1.jpg")


def test_decomposed_and_composed_accents_are_one_class(tmp_path):
    touch(
        tmp_path, unicodedata.normalize("NFD", "é") + "/1.jpg", unicodedata.normalize("NFC", "é") + "/2.jpg", "b/3.jpg"
    )
    table = read_class_folders(tmp_path)
    assert table.class_names == ("b", "é")
    assert table.ids == ("b/3.jpg", "é/1.jpg", "é/2.jpg")


def test_one_name_in_two_encodings_is_an_error(tmp_path):
    touch(
        tmp_path, "a/" + unicodedata.normalize("NFD", "é.jpg"), "a/" + unicodedata.normalize("NFC", "é.jpg"), "b/1.jpg"
    )
    with pytest.raises(ImageError, match="more than once"):
        read_class_folders(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path / "elsewhere" / "b", "1.jpg")
    touch(tmp_path / "train", "a/1.jpg")
    (tmp_path / "train" / "b").symlink_to(tmp_path / "elsewhere" / "b")
    (tmp_path / "train" / "a" / "again").symlink_to(tmp_path / "train")
    assert read_class_folders(tmp_path / "train").ids == ("a/1.jpg", "b/1.jpg")


@pytest.mark.skipif(os.name == "nt", reason="file names are always Unicode there")
def test_a_name_that_is_no_utf8_is_an_error_that_can_be_printed(tmp_path):
    touch(tmp_path, "a/1.jpg", "b/1.jpg")
    try:
        (tmp_path / "b" / os.fsdecode(b"\xff.jpg")).touch()
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    with pytest.raises(ImageError, match="UTF-8") as error:
        read_class_folders(tmp_path)
    str(error.value).encode()


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["1.jpg", "2.jpg"], "no class folders"),
        (["a/1.jpg", "b/1.jpg", "stray.jpg"], "stray.jpg"),
        (["a/1.jpg", "a/2.jpg"], "At least two classes"),
        (["a/1.txt"], "found:  none"),
    ],
)
def test_a_folder_that_cannot_be_meant_is_an_error(tmp_path, names, says):
    with pytest.raises(ImageError, match=says):
        read_class_folders(touch(tmp_path, *names))


def test_a_missing_folder_names_the_option(tmp_path):
    with pytest.raises(ImageError, match="--train DIR"):
        read_class_folders(tmp_path / "nowhere")


def test_a_nested_test_folder_keeps_its_folders_in_the_ids(tmp_path):
    assert read_test(touch(tmp_path, "x/2.jpg", "1.jpg", "x/y/3.png")).ids == ("1.jpg", "x/2.jpg", "x/y/3.png")


def test_two_encodings_of_a_folders_name_are_one_class_and_that_is_said(tmp_path, caplog):
    touch(tmp_path, "é/1.jpg", "e\u0301/2.jpg", "b/1.jpg")
    if len([*tmp_path.iterdir()]) < 3:
        pytest.skip("this file system takes them for one")
    assert read_class_folders(tmp_path).class_names == ("b", "é")
    assert "taken for one: é" in caplog.text
