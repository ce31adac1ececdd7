"""A CSV of images and labels: columns are guessed only where one fits, names are found, and none leads out unasked."""

from pathlib import Path

import numpy as np
import pytest

from frozenprobe.errors import ImageError
from frozenprobe.images.listed.label_csv import read_labelled_csv
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
    assert (
        "images from the column 'file' (matched by name without ending), labels from the column 'species'"
        in caplog.text
    )


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


def read(tmp_path, *lines, images=("1.jpg", "2.jpg", "3.jpg", "4.jpg"), columns=None, **how):
    touch(tmp_path / "img", *images)
    return read_labelled_csv(write_csv(tmp_path / "t.csv", *lines), tmp_path / "img", columns or CsvColumns(), **how)


def refused(tmp_path, *lines, **how):
    with pytest.raises(ImageError) as caught:
        read(tmp_path, *lines, **how)
    return caught.value


@pytest.mark.parametrize(
    "lines",
    [
        ("1.jpg,a", "2.jpg,b", "3.jpg,a", "4.jpg,b"),
        ("1,a", "2,b", "3,a", "4,b"),
        ("a;0001.png", "b;2.png", "a;3.png", "b;4.png"),
        ("0001.jpg,a,x", "2.jpg,b,x", "3.jpg,a,x", "4.jpg,b,x"),
    ],
)
def test_a_file_without_header_is_read_as_data_and_that_is_said(tmp_path, lines, caplog):
    with caplog.at_level("INFO", logger="frozenprobe"):
        table = read(tmp_path, *lines)
    assert table.labels.tolist() == [0, 1, 0, 1]
    assert [place.name for place in table.places] == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]
    assert "no header line; columns are called 1, 2" in caplog.text


def test_columns_of_a_file_without_header_are_named_by_number(tmp_path):
    lines = ("1.jpg,a,x", "2.jpg,b,y", "3.jpg,a,y", "4.jpg,b,x")
    assert "2 (a, b), 3 (x, y)" in refused(tmp_path, *lines).found
    table = read(tmp_path, *lines, columns=CsvColumns(image="1", label="2", group="3"))
    assert (table.labels.tolist(), table.groups) == ([0, 1, 0, 1], ("x", "y", "y", "x"))


def test_a_header_without_an_image_behind_it_is_no_column_name_either(tmp_path):
    """The first image is missing: its row must not become the header."""
    error = refused(tmp_path, "9.jpg,a", "2.jpg,b", "3.jpg,a", "4.jpg,b")
    assert "no file for 1 of 4: 9.jpg" in error.found


def test_what_pandas_and_kaggle_add_to_a_table_is_no_label(tmp_path):
    table = read(tmp_path, ",ID,Label,Usage", "0,1,a,Public", "1,2,b,Private", "2,3,a,Public", "3,4,b,Public")
    assert (table.ids, table.labels.tolist()) == (("1", "2", "3", "4"), [0, 1, 0, 1])
    table = read(tmp_path, ",ID,breed,Usage", "0,1,a,Public", "1,2,b,Private", "2,3,a,Public", "3,4,b,Public")
    assert table.class_names == ("a", "b")


def test_an_index_that_names_the_images_is_taken_for_names(tmp_path):
    table = read(tmp_path, ",label", "0,a", "1,b", images=("0.jpg", "1.jpg"))
    assert table.ids == ("0", "1")


def test_of_two_columns_that_name_images_the_stricter_one_is_taken(tmp_path):
    table = read(tmp_path, "n,file,label", "1,4.jpg,a", "2,3.jpg,b", "3,2.jpg,a", "4,1.jpg,b")
    assert table.ids == ("4.jpg", "3.jpg", "2.jpg", "1.jpg")
    table = read(tmp_path, "file,path,label", "1.jpg,1.jpg,a", "2.jpg,2.jpg,b", "3.jpg,3.jpg,a", "4.jpg,4.jpg,b")
    assert table.class_names == ("a", "b"), "both mean the same"


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("1.0", "0.0"), ("True", "False")])
def test_one_hot_labels_are_read_as_the_names_of_their_columns(tmp_path, yes, no, caplog):
    lines = ["image,MEL,NV,BCC,UNK,age", *(f"{i}.jpg,{no},{no},{no},{no},5{i}" for i in range(1, 5))]
    for row, column in ((1, 1), (2, 2), (3, 2), (4, 3)):
        cells = lines[row].split(",")
        cells[column] = yes
        lines[row] = ",".join(cells)
    with caplog.at_level("INFO", logger="frozenprobe"):
        table = read(tmp_path, *lines)
    assert [table.class_names[label] for label in table.labels] == ["MEL", "NV", "NV", "BCC"]
    assert "labels from 4 columns of 0 and 1 (MEL, NV, BCC, UNK)" in caplog.text
    assert "no row has a 1 in UNK" in caplog.text


def test_several_classes_of_an_image_are_named_and_refused(tmp_path):
    error = refused(tmp_path, "image,MEL,NV", "1.jpg,1,0", "2.jpg,1,1", "3.jpg,0,0", "4.jpg,0,1")
    assert "2 of 4 rows: 2.jpg (MEL and NV), 3.jpg (none)" in error.found
    assert "images of several classes are not for this program" in error.remedy


def test_a_label_column_goes_before_columns_of_0_and_1(tmp_path):
    assert read(tmp_path, "image,label,x,y", "1,a,1,0", "2,b,0,1", "3,a,1,0", "4,b,1,0").class_names == ("a", "b")


def test_missing_images_are_left_out_on_request_and_named(tmp_path, caplog):
    lines = ("image,label", "1.jpg,a", "2.jpg,b", "4.jpg,b", "8.jpg,a", "9.jpg,c")
    assert "--skip-missing" in refused(tmp_path, *lines).remedy
    with caplog.at_level("INFO", logger="frozenprobe"):
        table = read(tmp_path, *lines, skip_missing=True)
    assert (table.ids, table.missing, table.class_names) == (
        ("1.jpg", "2.jpg", "4.jpg"),
        ("8.jpg", "9.jpg"),
        ("a", "b"),
    )
    assert "2 of 5 rows are left out" in caplog.text
    assert "8.jpg, 9.jpg" in caplog.text
    assert "no image is left of 1 classes, which are left out: c" in caplog.text
    assert "1 images in" in caplog.text, "and those that no row names"
    assert "have no row in" in caplog.text
    assert "t.csv: 3.jpg\n" in caplog.text


def test_more_than_half_of_the_images_are_never_left_out(tmp_path):
    """A folder that is not mounted, or another one, must not leave a small rest in silence."""
    lines = ("image,label", "1.jpg,a", "2.jpg,b", "7.jpg,a", "8.jpg,a", "9.jpg,b")
    error = refused(tmp_path, *lines, skip_missing=True, columns=CsvColumns(image="image"))
    assert "3 of 5: 7.jpg, 8.jpg, 9.jpg" in error.found
    assert "--skip-missing" not in error.remedy


def test_a_missing_image_is_shown_beside_the_nearest_one(tmp_path):
    error = refused(tmp_path, "image,label", "0001.jpg,a", "0002.jpg,b", "IMG_3.jpg,a", columns=CsvColumns("image"))
    assert error.found.endswith("no file for 1 of 3: IMG_3.jpg; nearest to 'IMG_3.jpg' is '3.jpg'")
    error = refused(tmp_path, "image,label", "1.jpg,a", "2.jpg,b", "1,b")
    assert error.found.endswith("nearest to '1' is '1.jpg', which another row means")


def test_a_path_of_another_machine_is_found_by_its_base_name(tmp_path):
    table = read(tmp_path, "image,label", "C:\\data\\x\\1.jpg,a", "C:\\data\\x\\2.jpg,b")
    assert table.places[0] == tmp_path / "img" / "1.jpg"
    table = read(tmp_path, "image,label", "/nowhere/x/1.jpg,a", "/nowhere/x/2.jpg,b")
    assert table.places[1] == tmp_path / "img" / "2.jpg"


ROWS = ("1.jpg,a,{},{}", "2.jpg,a,{},{}", "3.jpg,b,{},{}", "4.jpg,b,{},{}")


@pytest.mark.parametrize("kind", ["group", "fold"])
@pytest.mark.parametrize(
    ("values", "found"),
    [("xxyy", "(x, y); it says the same as the labels"), ("xxxx", "every class in a single"), ("aabb", "single")],
)
def test_groups_and_folds_that_part_no_class_are_an_error_that_names_the_column(tmp_path, kind, values, found):
    lines = ["image,label,site,x", *(row.format(value, value) for row, value in zip(ROWS, values, strict=True))]
    error = refused(tmp_path, *lines, columns=CsvColumns(**{kind: "site"}))
    assert found in error.found
    assert "'site'" in error.found
    assert f"--{kind}-column" in error.remedy


def test_the_label_column_as_groups_is_named(tmp_path):
    lines = [row.format("x", "y") for row in ROWS]
    for columns in (CsvColumns(group="label"), CsvColumns(label="label", fold="label")):
        assert "'label'" in refused(tmp_path, "image,label,x,y", *lines, columns=columns).found
    assert "'label'" in refused(
        tmp_path, "image,label", "1,a", "2,a", "3,b", "4,b", columns=CsvColumns(group="label")
    ).found  # fmt: skip


MANY = tuple(f"{number}.jpg" for number in range(12))


def test_a_column_of_ids_is_not_guessed_to_be_labels(tmp_path, caplog):
    lines = ("image,score", *(f"{number}.jpg,{number / 4}" for number in range(12)))
    error = refused(tmp_path, *lines, images=MANY)
    assert "12 different values in 12 rows of the column 'score': 0.0, 0.25" in error.found
    assert "--label-column" in error.remedy
    assert len(read(tmp_path, *lines, images=MANY, columns=CsvColumns(label="score")).class_names) == 12
    assert "are these labels?" in caplog.text
    assert len(read(tmp_path, "image,label", *lines[1:], images=MANY).class_names) == 12, "called a label it is one"


def test_groups_of_one_image_are_noted(tmp_path, caplog):
    lines = ("image,label,g", *(f"{number}.jpg,{number % 2},{number}" for number in range(12)))
    read(tmp_path, *lines, images=MANY, columns=CsvColumns(group="g"))
    assert "every image has a group of its own in the column 'g'" in caplog.text


def test_cells_that_look_like_missing_values_are_noted(tmp_path, caplog):
    assert read(tmp_path, "image,label", "1,a", "2,nan", "3,a", "4,nan").class_names == ("a", "nan")
    assert "'nan' in 2 rows of the column 'label'" in caplog.text


def test_labels_and_folds_that_look_alike_are_named(tmp_path, caplog):
    read(
        tmp_path, "image,label,fold", "1,Red apple,0", "2,red_apple,0.0", "3,pear,1", "4,pear\u200b,1",
        columns=CsvColumns(fold="fold"),
    )  # fmt: skip
    assert r"'Red apple' (1) and 'red_apple' (1), 'pear' (1) and 'pear\u200b' (1)" in caplog.text
    assert "'0' (1) and '0.0' (1)" in caplog.text
    assert "classes that look alike" in caplog.text
    assert "folds that look alike" in caplog.text


def test_the_column_to_name_is_one_that_may_hold_labels(tmp_path):
    """As in HAM10000's metadata: the lesion is no label, the diagnosis may be one."""
    error = refused(tmp_path, "lesion,image,dx,sex", "H1,1,nv,m", "H2,2,nv,f", "H3,3,mel,f", "H4,4,mel,f")
    assert "dx (nv, mel)" in error.found
    assert error.remedy.startswith("name it, for example --label-column 'dx'")
    assert "add such a column" in refused(tmp_path, "image", "1.jpg", "2.jpg").remedy


def test_a_column_that_names_no_image_is_shown_beside_the_nearest(tmp_path):
    error = refused(tmp_path, "label,file", "a,x1.jpg", "b,x2.jpg")
    assert "nearest to 'x1.jpg' is '1.jpg'" in error.found
    assert "column 'file'" in error.where
    assert "--train DIR" in error.remedy


def test_a_table_without_rows_is_an_error(tmp_path):
    assert refused(tmp_path, "image,label").found == "none"
