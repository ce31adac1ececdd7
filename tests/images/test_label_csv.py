"""A CSV of images and labels: columns are guessed only where one fits, names are found, and none leads out unasked."""

from pathlib import Path

import numpy as np
import pytest

from frozenprobe.errors import ImageError
from frozenprobe.images.label_csv import read_labelled_csv
from frozenprobe.images.sources import CsvColumns
from tests.images.test_folders import touch


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
    with pytest.raises(ImageError, match=r"file \(1\.jpg, 2\.jpg\), kind \(a, b\), place \(x, y\)"):
        read_labelled_csv(path, tmp_path / "img", CsvColumns())
    assert read_labelled_csv(path, tmp_path / "img", CsvColumns(label="place")).class_names == ("x", "y")


def test_an_image_column_that_fits_no_file_lists_the_columns(tmp_path):
    touch(tmp_path / "img", "1.jpg", "2.jpg")
    path = write_csv(tmp_path / "t.csv", "name,label", "7.jpg,a", "8.jpg,b")
    with pytest.raises(ImageError, match="--image-column"):
        read_labelled_csv(path, tmp_path / "img", CsvColumns())
    with pytest.raises(ImageError, match=r"no file for 2 of 2: 7\.jpg, 8\.jpg"):
        read_labelled_csv(path, tmp_path / "img", CsvColumns(image="name"))


def test_an_image_that_is_missing_is_named_also_where_the_column_is_guessed(tmp_path):
    touch(tmp_path / "img", "1.jpg", "2.jpg")
    path = write_csv(tmp_path / "t.csv", "ID,Label", "1.jpg,a", "2.jpg,b", "ghost.jpg,a")
    with pytest.raises(ImageError, match=r"no file for 1 of 3: ghost\.jpg"):
        read_labelled_csv(path, tmp_path / "img", CsvColumns())


def test_the_guessed_columns_are_said(tmp_path, caplog):
    touch(tmp_path / "img", "1.jpg", "2.jpg")
    with caplog.at_level("INFO", logger="frozenprobe"):
        read_labelled_csv(
            write_csv(tmp_path / "t.csv", "file,species,place", "1,a,x", "2,b,x"), tmp_path / "img", CsvColumns()
        )
    assert "images from the column 'file' (matched by name without ending), labels from the column 'species'" in caplog.text


def test_a_name_that_two_files_fit_is_no_match(tmp_path):
    touch(tmp_path / "img", "a/1.jpg", "b/1.jpg")
    path = write_csv(tmp_path / "t.csv", "image,label", "1.jpg,a", "b/1.jpg,b")
    with pytest.raises(ImageError, match=r"no file for 1 of 2: 1\.jpg; nearest to '1.jpg' is 'a/1.jpg' or 'b/1.jpg'"):
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
    with pytest.raises(ImageError, match=r"no file for 1 of 3: \.\./none\.jpg"):
        read_labelled_csv(csv, tmp_path / "img", CsvColumns(image="file"), allow_outside=True)
