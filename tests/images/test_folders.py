"""Folders of images become tables whose order nobody else decides."""

import os
import unicodedata
from contextlib import contextmanager
from pathlib import Path

import pytest

from frozenprobe.errors import ImageError
from frozenprobe.images.folders import read_class_folders
from frozenprobe.images.read import read_test, read_training
from tests.conftest import write_image


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


def turn_listings(monkeypatch, turn):
    """Have every folder list its entries as `turn` hands them out."""
    scandir = os.scandir

    @contextmanager
    def listed(folder):
        with scandir(folder) as entries:
            yield turn(folder, list(entries))

    monkeypatch.setattr(os, "scandir", listed)


def refuse(monkeypatch, *refused):
    """Have folders of these names refuse to be listed: the tests may run as one who may read everything."""

    def turn(folder, entries):
        if Path(folder).name in refused:
            raise PermissionError(13, "Permission denied", str(folder))
        return entries

    turn_listings(monkeypatch, turn)


def test_the_order_of_the_listing_changes_nothing(tmp_path, monkeypatch):
    touch(tmp_path, *(f"{label}/{index}.jpg" for label in ("10", "2", "ä", "b") for index in range(3)))
    plain = read_class_folders(tmp_path)
    turn_listings(monkeypatch, lambda folder, entries: sorted(entries, key=lambda entry: entry.name)[::-1])
    turned = read_class_folders(tmp_path)
    assert turned.ids == plain.ids
    assert turned.class_names == plain.class_names == ("10", "2", "b", "ä")


@pytest.mark.parametrize(
    "ending", ["jpg", "JPG", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif", "TIFF", "jfif", "jpe", "PPM", "avif"]
)
def test_endings_in_any_case(tmp_path, ending):
    assert len(read_test(touch(tmp_path, f"a.{ending}"))) == 1


def test_hidden_files_and_macos_leftovers_are_left_alone(tmp_path):
    touch(tmp_path, "a/1.jpg", "b/1.jpg", "a/._1.jpg", ".trash/x.jpg", "__MACOSX/a/1.jpg")
    assert read_class_folders(tmp_path).ids == ("a/1.jpg", "b/1.jpg")


@pytest.mark.parametrize(
    "junk", ["@eaDir", "$RECYCLE.BIN", "System Volume Information", "#recycle", "lost+found", ".ipynb_checkpoints"]
)
def test_what_programs_leave_behind_is_skipped_without_a_word(tmp_path, caplog, junk):
    caplog.set_level("INFO", "frozenprobe")
    touch(tmp_path, "a/1.jpg", "b/1.jpg", f"{junk}/1.jpg", f"a/{junk}/2.jpg", "a/Thumbs.db", "Desktop.ini", "f.h5.lock")
    assert read_class_folders(tmp_path).ids == ("a/1.jpg", "b/1.jpg")
    assert caplog.text == ""


def test_thumbnails_are_left_out_only_where_the_images_lie_beside_their_folder(tmp_path, caplog):
    caplog.set_level("INFO", "frozenprobe")
    touch(tmp_path, "a/1.jpg", "a/2.png", "a/thumbs/1.jpg", "a/thumbs/2.jpg", "b/1.jpg", "b/thumbs/9.jpg")
    assert read_class_folders(tmp_path).ids == ("a/1.jpg", "a/2.png", "b/1.jpg", "b/thumbs/9.jpg")
    assert "2 thumbnails (a/thumbs/1.jpg, a/thumbs/2.jpg)" in caplog.text


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


LINKS = pytest.mark.skipif(os.name == "nt", reason="links need rights there")


@LINKS
def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path / "elsewhere" / "b", "1.jpg")
    touch(tmp_path / "train", "a/1.jpg")
    (tmp_path / "train" / "b").symlink_to(tmp_path / "elsewhere" / "b")
    (tmp_path / "train" / "a" / "again").symlink_to(tmp_path / "train")
    assert read_class_folders(tmp_path / "train").ids == ("a/1.jpg", "b/1.jpg")


@LINKS
@pytest.mark.parametrize("target", [".", "..", "../..", "../../..", "../b", "../b/deep", "../a/own"])
@pytest.mark.parametrize("name", ["0", "zz"])
def test_no_link_lists_an_image_twice_or_takes_it_to_another_class(tmp_path, caplog, target, name):
    """To itself, the root, what is above the root with all that lies there, another class, a part of one, a sibling."""
    caplog.set_level("INFO", "frozenprobe")
    touch(tmp_path, "stranger.jpg", "other/2.jpg")
    root = touch(tmp_path / "train", "a/own/1.jpg", "a/2.jpg", "b/1.jpg", "b/deep/2.jpg")
    (root / "a" / name).symlink_to(target)
    assert read_class_folders(root).ids == ("a/2.jpg", "a/own/1.jpg", "b/1.jpg", "b/deep/2.jpg")
    assert f"a/{name} -> " in caplog.text


@LINKS
def test_two_links_to_one_folder_list_it_once_whatever_the_order(tmp_path, monkeypatch):
    touch(tmp_path / "elsewhere", "1.jpg", "deep/2.jpg")
    (tmp_path / "elsewhere" / "deep" / "up").symlink_to(tmp_path / "elsewhere")
    root = touch(tmp_path / "train", "a/1.jpg", "b/1.jpg")
    for name in ("a/x", "b/y"):
        (root / name).symlink_to(tmp_path / "elsewhere")
    expected = ("a/1.jpg", "a/x/1.jpg", "a/x/deep/2.jpg", "b/1.jpg")
    assert read_class_folders(root).ids == expected
    turn_listings(monkeypatch, lambda folder, entries: sorted(entries, key=lambda entry: entry.name))
    assert read_class_folders(root).ids == expected


@LINKS
@pytest.mark.parametrize("target", ["b", ".", "../train/b"])
def test_a_class_that_is_a_link_to_another_is_an_error(tmp_path, target):
    root = touch(tmp_path / "train", "a/1.jpg", "b/1.jpg")
    (root / "aa").symlink_to(target)
    with pytest.raises(ImageError, match="A folder of its own for every class") as caught:
        read_class_folders(root)
    assert "aa is a link to " in caught.value.found


@LINKS
def test_links_to_nothing_are_an_error_that_names_them(tmp_path):
    root = touch(tmp_path / "train", "a/1.jpg", "b/1.jpg")
    (root / "lost").symlink_to(tmp_path / "unmounted")
    (root / "a" / "more").symlink_to("more")
    for read in (read_class_folders, read_test):
        with pytest.raises(ImageError, match=r"a link to nothing .*unmounted\): lost") as caught:
            read(root)
        assert "a/more" in caught.value.found
        assert "connect the disk" in caught.value.remedy
    with pytest.raises(ImageError, match="a link to nothing"):
        read_class_folders(root / "lost")


@LINKS
def test_a_link_to_nothing_that_is_named_like_an_image_is_listed_and_one_like_a_note_is_not(tmp_path):
    """The first is a bad image when it is read; the second would not have been opened anyway."""
    root = touch(tmp_path, "a/1.jpg", "b/1.jpg")
    (root / "a" / "2.jpg").symlink_to("nowhere")
    (root / "a" / "2.txt").symlink_to("nowhere")
    assert read_class_folders(root).ids == ("a/1.jpg", "a/2.jpg", "b/1.jpg")


@pytest.mark.parametrize("shut", [["b"], ["deep"], ["b", "deep"]])
def test_a_folder_that_cannot_be_read_is_an_error_that_names_it(tmp_path, monkeypatch, shut):
    touch(tmp_path, "a/1.jpg", "a/deep/2.jpg", "b/1.jpg", "c/1.jpg")
    refuse(monkeypatch, *shut)
    for read in (read_class_folders, read_test):
        with pytest.raises(ImageError, match="Permission denied: ") as caught:
            read(tmp_path)
        assert all(name in caught.value.found for name in shut)
        assert f'chmod -R u+rX "{tmp_path}"' in caught.value.remedy


def test_a_root_that_cannot_be_read_is_an_error_too(tmp_path, monkeypatch):
    refuse(monkeypatch, touch(tmp_path / "train", "a/1.jpg").name)
    with pytest.raises(ImageError, match=r"Permission denied: \."):
        read_training(tmp_path / "train")


def test_a_file_whose_first_bytes_are_asked_and_refused_is_an_error(tmp_path, monkeypatch):
    touch(tmp_path, "a/1.jpg", "b/1.jpg", "b/noending")

    def refused(path, count):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("frozenprobe.images.folders.first_bytes", refused)
    with pytest.raises(ImageError, match="Permission denied: b/noending"):
        read_class_folders(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_left_out_and_nobody_waits_for_it(tmp_path, caplog, no_waiting):
    caplog.set_level("INFO", "frozenprobe")
    os.mkfifo(touch(tmp_path, "a/1.jpg", "b/1.jpg") / "a" / "pipe")
    assert len(read_class_folders(tmp_path)) == 2
    assert "a pipe, socket or device file (a/pipe)" in caplog.text


def test_content_decides_where_the_ending_does_not(tmp_path, caplog):
    caplog.set_level("INFO", "frozenprobe")
    touch(tmp_path, "a/1.jpg", "b/notes.txt", "c/1.png", "c/2.csv")
    photo = write_image(tmp_path / "x.jpg", 1).read_bytes()
    (tmp_path / "x.jpg").unlink()
    for name in ("a/1.jpg!d=1", "a/photo", "a/3.heic", "b/1.download"):
        (tmp_path / name).write_bytes(photo)
    (tmp_path / "a" / "page").write_bytes(b"<html>")
    assert read_class_folders(tmp_path).ids == (
        *("a/1.jpg", "a/1.jpg!d=1", "a/3.heic", "a/photo", "b/1.download", "c/1.png"),
    )
    assert "left out of" in caplog.text
    assert "an HTML page (a/page)" in caplog.text
    assert "a .txt file (b/notes.txt)" in caplog.text
    assert "a .csv file (c/2.csv)" in caplog.text


def test_a_file_with_a_known_ending_is_never_opened(tmp_path, monkeypatch):
    monkeypatch.setattr("frozenprobe.images.folders.first_bytes", None)
    touch(tmp_path, "a/1.jpg", "b/1.PPM", "b/1.txt", "b/1.json", "b/1.xml", "b/1.NEF")
    assert len(read_class_folders(tmp_path)) == 2


def test_a_class_of_undecodable_pictures_is_an_error_and_an_empty_one_a_warning(tmp_path, caplog):
    touch(tmp_path, "a/1.jpg", "b/1.jpg", "only notes/1.txt", "photos/1.heic")
    (tmp_path / "empty" / "inside").mkdir(parents=True)
    with pytest.raises(ImageError, match="none in photos, but an empty file"):
        read_class_folders(tmp_path)
    (tmp_path / "photos" / "1.heic").unlink()
    assert read_class_folders(tmp_path).class_names == ("a", "b")
    assert "without an image, which become no class: empty, only notes, photos" in caplog.text


def test_a_folder_without_images_says_what_is_there_instead(tmp_path):
    (touch(tmp_path, "a/1.txt") / "set.zip").write_bytes(b"PK\3\4")
    with pytest.raises(ImageError, match=r"none, but .*an archive \(set\.zip\)") as caught:
        read_class_folders(tmp_path)
    assert caught.value.remedy == "unpack"


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
        (["train/a/1.jpg", "train/b/2.jpg", "test/1.jpg", "cover.png"], "the parts of a data set: test, train"),
        (["set/a/1.jpg", "set/b/2.jpg"], "only the folder set; in set there are 2: a, b"),
        (["train/a/1.jpg", "train/b/2.jpg", "test/1.jpg"], "the parts of a data set: test, train"),
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
