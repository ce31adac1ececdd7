"""A list of images means the same however it was saved, and no file that is not meant."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frozenprobe.errors import ImageError
from frozenprobe.images.listed.lists import is_list, read_labelled_list
from frozenprobe.images.read import read_test
from tests.images.test_folders import touch

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write_list(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def names_of(table) -> list[str]:
    return [table.class_names[label] for label in table.labels]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("gap", ["\t", " ", "   ", " \t "])
def test_byte_order_mark_line_ends_and_gaps_change_nothing(tmp_path, encoding, end, gap):
    touch(tmp_path, "a/1.jpg", "my photo 2.jpg", "ä.PNG")
    lines = [f"a/1.jpg{gap}7", "", f"  my photo 2.jpg{gap}x ", f"./ä.PNG{gap}7"]
    table = read_labelled_list(write_list(tmp_path / "t.txt", end.join(lines), encoding))
    assert table.ids == ("a/1.jpg", "my photo 2.jpg", "ä.PNG")
    assert names_of(table) == ["7", "x", "7"]
    assert [place.name for place in table.places] == ["1.jpg", "my photo 2.jpg", "ä.PNG"]


def test_a_label_with_spaces_needs_a_tab(tmp_path):
    touch(tmp_path, "1.jpg", "2.jpg")
    path = write_list(tmp_path / "t.txt", "1.jpg\tred apple\n2.jpg\tgreen apple\n")
    assert names_of(read_labelled_list(path)) == ["red apple", "green apple"]
    with pytest.raises(ImageError, match=r"no file for 2 of 2: 1\.jpg red, 2\.jpg green") as caught:
        read_labelled_list(write_list(path, "1.jpg red apple\n2.jpg green apple\n"))
    assert "a tab before a label with spaces" in caught.value.remedy


def test_quotes_are_part_of_a_name(tmp_path):
    touch(tmp_path, '"1".jpg', "it's.jpg", "2.jpg")
    table = read_labelled_list(write_list(tmp_path / "t.lst", "\"1\".jpg a\nit's.jpg 'b'\n"))
    assert table.ids == ('"1".jpg', "it's.jpg")
    assert names_of(table) == ["a", "'b'"]
    with pytest.raises(ImageError, match=r'"2\.jpg"') as caught:
        read_test(write_list(tmp_path / "u.txt", '"2.jpg"\n'))
    assert "no quotes" in caught.value.remedy


def test_accents_are_found_in_whichever_encoding_the_disk_has_them(tmp_path):
    decomposed = unicodedata.normalize("NFD", "é.jpg")
    touch(tmp_path, decomposed, "2.jpg")
    table = read_labelled_list(write_list(tmp_path / "t.txt", "é.jpg a\n2.jpg b\n"))
    assert table.ids == ("é.jpg", "2.jpg")
    assert table.places[0].is_file()


def test_a_test_list_may_hold_labels_which_are_left_alone(tmp_path):
    touch(tmp_path, "1 x.jpg", "2.jpg", "noending")
    table = read_test(write_list(tmp_path / "t.txt", "1 x.jpg\n2.jpg cat\nnoending\n"))
    assert (table.ids, table.labels) == (("1 x.jpg", "2.jpg", "noending"), None)


@pytest.mark.parametrize("name", ["my photo", "my photo.JPE", "my photo.heic", "a b/my photo"])
def test_a_name_with_spaces_is_a_name_where_such_a_file_is_there(tmp_path, name):
    touch(tmp_path, name, "my")
    assert read_test(write_list(tmp_path / "t.txt", f"{name}\nmy cat\n")).ids == (name, "my")


def test_an_image_with_a_known_ending_keeps_its_label_whatever_lies_there(tmp_path):
    touch(tmp_path, "1.jpg", "1.jpg cat", "2.jpg")
    assert names_of(read_labelled_list(write_list(tmp_path / "t.txt", "1.jpg cat\n2.jpg dog\n"))) == ["cat", "dog"]


def test_windows_separators_and_detours_give_the_same_ids(tmp_path):
    touch(tmp_path, "a/b/1.jpg", "a/2.jpg", "3.jpg", "4.jpg")
    lines = ["a\\b\\1.jpg x", "./a//b/../2.jpg x", f"{tmp_path}/3.jpg y", f"../{tmp_path.name}/4.jpg y"]
    assert read_labelled_list(write_list(tmp_path / "t.txt", "\n".join(lines))).ids == (
        *("a/b/1.jpg", "a/2.jpg", "3.jpg", "4.jpg"),
    )


@pytest.mark.parametrize("name", ["../other/9.jpg", "a/../../other/9.jpg", "{}/other/9.jpg"])
def test_a_list_that_leads_out_of_its_folder_is_refused_unless_allowed(tmp_path, name):
    touch(tmp_path / "img", "1.jpg", "a/2.jpg")
    touch(tmp_path / "other", "9.jpg")
    outside = name.format(tmp_path)
    path = write_list(tmp_path / "img" / "t.txt", f"1.jpg\tx\n{outside}\ty\n")
    for read in (read_labelled_list, read_test):
        with pytest.raises(ImageError, match="files elsewhere") as caught:
            read(path)
        assert "--allow-outside" in caught.value.remedy
        table = read(path, allow_outside=True)
        assert table.places[1].samefile(tmp_path / "other" / "9.jpg")


def test_a_folder_whose_name_begins_with_dots_is_inside(tmp_path):
    touch(tmp_path, "..x/1.jpg")
    assert read_test(write_list(tmp_path / "t.txt", "..x/1.jpg\n")).ids == ("..x/1.jpg",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1.jpg\n2.jpg a\n", r"A label behind every image[\s\S]*none for 1 of 2: 1\.jpg"),
        ("1.jpg\t\n2.jpg a\n", r"none for 1 of 2: 1\.jpg"),
        ("1.jpg a\n3.jpg b\n", r"no file for 1 of 2: 3\.jpg"),
        ("1.jpg a\n./1.jpg b\n", r"more than once: 1\.jpg"),
        ("1.jpg a\n2.jpg a\n", "At least two classes"),
        ("1.jpg\ta\tb\n0\t1\t2.jpg\n", "more than one tab in line 1, 2"),
        ("", "an empty file"),
        (" \r\n\n", "an empty file"),
        ("a b\x00.jpg\tx\n", "a NUL character in line 1"),
    ],
)
def test_a_list_that_cannot_be_meant_is_an_error(tmp_path, text, says):
    touch(tmp_path, "1.jpg", "2.jpg")
    with pytest.raises(ImageError, match=says):
        read_labelled_list(write_list(tmp_path / "t.txt", text))


def test_a_list_in_another_encoding_and_one_that_is_not_there_are_errors(tmp_path):
    with pytest.raises(ImageError, match="UTF-8"):
        read_test(write_list(tmp_path / "t.txt", "猫狗图片.jpg", "gb18030"))
    with pytest.raises(ImageError, match="no such file"):
        read_test(tmp_path / "u.txt")


def test_lines_whose_image_is_missing_are_left_out_on_request_if_they_are_few(tmp_path, caplog):
    touch(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    path = write_list(tmp_path / "t.txt", "1.jpg a\n2.jpg b\n8.jpg c\n9.jpg a\n3.jpg a\n")
    with pytest.raises(ImageError, match="--skip-missing"):
        read_labelled_list(path)
    table = read_labelled_list(path, skip_missing=True)
    assert (table.ids, table.missing) == (("1.jpg", "2.jpg", "3.jpg"), ("8.jpg", "9.jpg"))
    assert table.labels.tolist() == [0, 1, 0]
    assert "2 of 5 rows are left out" in caplog.text
    (tmp_path / "3.jpg").unlink()
    with pytest.raises(ImageError, match="no file for 3 of 5"):
        read_labelled_list(path, skip_missing=True)


def test_labels_in_two_encodings_of_accents_are_one_class(tmp_path, caplog):
    touch(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    path = write_list(tmp_path / "t.txt", "1.jpg\té\n2.jpg\te\u0301\n3.jpg\tb\n")
    assert read_labelled_list(path).class_names == ("b", "é")
    assert "taken for one: é" in caplog.text


def test_only_endings_of_lists_are_lists(tmp_path):
    (tmp_path / "folder.txt").mkdir()
    assert is_list(tmp_path / "a.TXT")
    assert is_list(tmp_path / "a.lst")
    assert not is_list(tmp_path / "a.csv")
    assert not is_list(tmp_path / "folder.txt")


@QUICK
@given(
    names=st.lists(st.text(st.sampled_from("aé漢 '\",;#"), max_size=9), min_size=2, max_size=6, unique=True),
    labels=st.lists(st.text(st.sampled_from("xß '\",;#"), max_size=9), min_size=6, max_size=6),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_any_name_and_any_label_survive_a_tab(tmp_path, names, labels, end):
    root = tmp_path / "lists"
    files = [f"n{name}.jpg" for name in names]
    touch(root, *files)
    said = [f"{index % 2}{label}z" for index, label in enumerate(labels[: len(files)])]
    lines = [f"{name}\t{label}" for name, label in zip(files, said, strict=True)]
    table = read_labelled_list(write_list(root / "t.txt", end.join(lines)))
    assert (list(table.ids), names_of(table)) == (files, said)
