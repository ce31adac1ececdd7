"""Folders and CSVs of images become tables whose order nobody else decides."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from frozenprobe.errors import ImageError
from frozenprobe.images.folders import read_class_folders, read_unlabelled
from frozenprobe.images.label_csv import read_labelled_csv
from frozenprobe.images.read import find_sample, read_images, read_test, read_training
from frozenprobe.images.sources import CsvColumns, ImageSources
from frozenprobe.images.table import limit_training
from tests.images.shard_files import write_tar


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
    assert len(read_unlabelled(touch(tmp_path, f"a.{ending}"))) == 1


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
    assert read_unlabelled(touch(tmp_path, "x/2.jpg", "1.jpg", "x/y/3.png")).ids == ("1.jpg", "x/2.jpg", "x/y/3.png")


def write_csv(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_csv_columns_are_guessed_when_unambiguous(tmp_path):
    touch(tmp_path / "img", "1.jpg", "2.jpg", "sub/3.jpg")
    table = read_labelled_csv(
        write_csv(tmp_path / "t.csv", "ID,Label", "1,NA", "2.jpg,007", "sub/3.jpg,NA"), tmp_path / "img", CsvColumns()
    )
    assert table.ids == ("1", "2.jpg", "sub/3.jpg")
    assert [path.name for path in table.places] == ["1.jpg", "2.jpg", "3.jpg"]
    assert table.class_names == ("007", "NA")
    assert np.array_equal(table.labels, [1, 0, 1])


def test_ambiguous_label_columns_are_listed(tmp_path):
    touch(tmp_path / "img", "1.jpg", "2.jpg")
    path = write_csv(tmp_path / "t.csv", "file,kind,place", "1.jpg,a,x", "2.jpg,b,y")
    with pytest.raises(ImageError, match="file, kind, place"):
        read_labelled_csv(path, tmp_path / "img", CsvColumns())
    assert read_labelled_csv(path, tmp_path / "img", CsvColumns(label="place")).class_names == ("x", "y")


def test_an_image_column_that_fits_no_file_lists_the_columns(tmp_path):
    touch(tmp_path / "img", "1.jpg", "2.jpg")
    path = write_csv(tmp_path / "t.csv", "name,label", "7.jpg,a", "8.jpg,b")
    with pytest.raises(ImageError, match="--image-column"):
        read_labelled_csv(path, tmp_path / "img", CsvColumns())
    with pytest.raises(ImageError, match=r"no file for 7\.jpg, 8\.jpg"):
        read_labelled_csv(path, tmp_path / "img", CsvColumns(image="name"))


def test_an_image_that_is_missing_is_named_also_where_the_column_is_guessed(tmp_path):
    touch(tmp_path / "img", "1.jpg", "2.jpg")
    path = write_csv(tmp_path / "t.csv", "ID,Label", "1.jpg,a", "2.jpg,b", "ghost.jpg,a")
    with pytest.raises(ImageError, match=r"no file for ghost\.jpg"):
        read_labelled_csv(path, tmp_path / "img", CsvColumns())


def test_the_guessed_columns_are_said(tmp_path, caplog):
    touch(tmp_path / "img", "1.jpg", "2.jpg")
    with caplog.at_level("INFO", logger="frozenprobe"):
        read_labelled_csv(
            write_csv(tmp_path / "t.csv", "file,species,place", "1,a,x", "2,b,x"), tmp_path / "img", CsvColumns()
        )
    assert "images from the column 'file', labels from 'species'" in caplog.text


def test_a_name_that_two_files_fit_is_no_match(tmp_path):
    touch(tmp_path / "img", "a/1.jpg", "b/1.jpg")
    path = write_csv(tmp_path / "t.csv", "image,label", "1.jpg,a", "b/1.jpg,b")
    with pytest.raises(ImageError, match=r"no file for 1\.jpg"):
        read_labelled_csv(path, tmp_path / "img", CsvColumns(image="image"))


def test_groups_and_folds_come_from_their_columns(tmp_path):
    touch(tmp_path / "img", "1.jpg", "2.jpg")
    path = write_csv(tmp_path / "t.csv", "image,label,patient,fold", "1.jpg,a,p1,x", "2.jpg,b,p2,y")
    table = read_labelled_csv(path, tmp_path / "img", CsvColumns(group="patient", fold="fold"))
    assert table.groups == ("p1", "p2")
    assert table.folds == ("x", "y")
    assert table.class_names == ("a", "b")


def test_an_image_twice_and_an_empty_label_are_errors(tmp_path):
    touch(tmp_path / "img", "1.jpg", "2.jpg")
    with pytest.raises(ImageError, match="more than once"):
        read_labelled_csv(
            write_csv(tmp_path / "t.csv", "i,l", "1.jpg,a", "1.jpg,b", "2.jpg,b"), tmp_path / "img", CsvColumns()
        )
    with pytest.raises(ImageError, match=r"empty cells in the column 'l' for 2\.jpg"):
        read_labelled_csv(write_csv(tmp_path / "t.csv", "i,l", "1.jpg,a", "2.jpg,"), tmp_path / "img", CsvColumns())


def test_the_sample_is_found_beside_the_test_folder(photo_folder):
    train, test, sample = read_images(ImageSources(photo_folder / "train", photo_folder / "test"))
    assert len(train) == 12
    assert test is not None
    assert len(test) == 5
    assert sample is not None
    assert sample.columns == ("ID", "Label")
    (photo_folder / "another_sample_submission.csv").write_text("ID,Label\n")
    assert find_sample(photo_folder) is None, "two candidates are no answer"


def test_the_sample_is_found_beside_shards_and_lists(photo_folder, tmp_path):
    files = {path.name: path.read_bytes() for path in sorted((photo_folder / "test").iterdir())}
    write_tar(photo_folder / "test.tar", files)
    write_tar(photo_folder / "tars" / "t-0.tar", files)
    (photo_folder / "test.txt").write_text("".join(f"test/{name}\n" for name in files))
    for named in ("test.tar", "tars", "tars/t-0.tar", "tars/t-{0..0}.tar", "tars/*.tar", "test.txt"):
        train, test, sample = read_images(ImageSources(photo_folder / "train", photo_folder / named))
        assert [name.rpartition("/")[2] for name in test.ids] == list(files), named
        assert sample is not None, named
        assert len(train) == 12
    (photo_folder / "tars" / "SampleSubmission.csv").write_text("Id,Other\n")
    assert read_images(ImageSources(photo_folder / "train", photo_folder / "tars/t-0.tar"))[2].columns == (
        "Id",
        "Other",
    )


@pytest.mark.parametrize(
    ("there", "train", "expected"),
    [
        (["train/", "test/"], "train", "test"),
        (["train/"], "train", None),
        (["train.tar", "test.tar"], "train.tar", "test.tar"),
        (["train.txt", "test.txt", "test/"], "train.txt", "test.txt"),
        (["train.txt", "test/"], "train.txt", "test"),
        (["train/0.tar", "test/"], "train/{0..0}.tar", "test"),
        (["train/0.tar", "test/"], "train/0.tar", "test"),
        (["train/0.tar", "train/test/", "test/"], "train/0.tar", "train/test"),
        (["shards/0.tar", "test/"], "shards/0.tar", None),
        (["shards/train-0.tar", "shards/test/"], "shards/train-{0..0}.tar", "shards/test"),
    ],
)
def test_the_test_images_are_found_beside_the_training_images(tmp_path, monkeypatch, there, train, expected):
    for name in there:
        (tmp_path / name).mkdir(parents=True) if name.endswith("/") else touch(tmp_path, name)
    found = ImageSources.test_beside(tmp_path / train)
    assert found == (tmp_path / expected if expected else None)
    monkeypatch.chdir(tmp_path)
    assert ImageSources.test_beside(Path(train)) == (Path(expected) if expected else None)


@pytest.mark.parametrize("name", ["labels.csv", "photo.jpg", "noending"])
def test_a_file_that_is_neither_shard_nor_list_says_what_can_be_named(tmp_path, name):
    touch(tmp_path, name)
    for read in (read_training, read_test):
        with pytest.raises(ImageError, match=r"tar shards \(\.tar\), or a list of images") as caught:
            read(tmp_path / name)
        assert ("--train-csv" in caught.value.remedy) == (name == "labels.csv")


def test_a_smoke_run_keeps_enough_images_a_class_for_folds(photo_folder):
    table = limit_training(read_class_folders(photo_folder / "train"), 6)
    assert table.class_names == ("10", "2")
    assert np.bincount(table.labels).tolist() == [3, 3]


def test_taking_rows_drops_classes_that_are_gone(photo_folder):
    table = read_class_folders(photo_folder / "train")
    kept = table.take([index for index in range(12) if not table.ids[index].startswith("2/")])
    assert kept.class_names == ("10", "äpfel rot")
    assert kept.labels is not None
    assert kept.labels.tolist() == [0] * 4 + [1] * 4


@pytest.mark.parametrize("name", ["../elsewhere/9.jpg", "sub/../../elsewhere/9.jpg", "{}/elsewhere/9.jpg"])
def test_a_list_that_leads_out_of_the_folder_is_refused_unless_allowed(tmp_path, name):
    """A stranger's CSV must not make any file of this machine a training image."""
    touch(tmp_path / "img", "1.jpg", "sub/3.jpg")
    touch(tmp_path / "elsewhere", "9.jpg")
    outside = name.format(tmp_path)
    csv = write_csv(tmp_path / "t.csv", "file,label", "1.jpg,a", "sub/3.jpg,b", f"{outside},a")
    with pytest.raises(ImageError, match="names of files elsewhere") as caught:
        read_labelled_csv(csv, tmp_path / "img", CsvColumns())
    assert outside in caught.value.found
    assert "--allow-outside" in caught.value.remedy
    table = read_labelled_csv(csv, tmp_path / "img", CsvColumns(), allow_outside=True)
    assert table.ids == ("1.jpg", "sub/3.jpg", outside)
    assert table.places[2].samefile(tmp_path / "elsewhere" / "9.jpg")


@pytest.mark.parametrize("name", ["sub/../1.jpg", "{}/img/1.jpg"])
def test_a_name_that_leads_back_into_the_folder_is_inside(tmp_path, name):
    touch(tmp_path / "img", "1.jpg", "sub/3.jpg")
    csv = write_csv(tmp_path / "t.csv", "file,label", f"{name.format(tmp_path)},a", "sub/3.jpg,b")
    table = read_labelled_csv(csv, tmp_path / "img", CsvColumns())
    assert table.places[0] == tmp_path / "img" / "1.jpg"


def test_a_name_outside_that_is_nowhere_is_a_missing_image(tmp_path):
    touch(tmp_path / "img", "1.jpg", "2.jpg")
    csv = write_csv(tmp_path / "t.csv", "file,label", "1.jpg,a", "2.jpg,b", "../none.jpg,a")
    with pytest.raises(ImageError, match=r"no file for \.\./none\.jpg"):
        read_labelled_csv(csv, tmp_path / "img", CsvColumns(image="file"), allow_outside=True)
