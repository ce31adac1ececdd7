"""Names find their images by the strictest reading that serves all of them; none is guessed, none found twice."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frozenprobe.system.match_names import KnownNames, caseless, numeric, unended


def match(known, wanted):
    return KnownNames(known).match(wanted)


@pytest.mark.parametrize(
    ("known", "wanted", "how"),
    [
        (["a/1.jpg", "b/1.jpg"], ["a/1.jpg", "b/1.jpg"], "exact id"),
        (["a/1.jpg", "b/1.jpg"], ["a\\1.jpg", " b\\1.jpg "], "exact id"),
        (["é.jpg", "b.jpg"], [unicodedata.normalize("NFD", "é.jpg"), "b.jpg"], "exact id"),
        (["a/1.jpg", "b/2.jpg"], ["1.jpg", "2.jpg"], "base name"),
        (["a/1.jpg", "b/2.jpg"], ["x/1.jpg", "x/2.jpg"], "base name"),
        (["1.jpg", "2.jpg"], ["C:\\data\\train\\1.jpg", "C:\\data\\train\\2.jpg"], "base name"),
        (["a/1.jpg", "b/1.jpg"], ["C:\\data\\a\\1.jpg", "C:\\data\\b\\1.jpg"], "path without its first 2 folders"),
        (["a/1.jpg", "b/1.jpg"], ["/home/me/a/1.jpg", "/home/me/b/1.jpg"], "path without its first 3 folders"),
        (["p/a/1.jpg", "q/b/1.jpg"], ["a/1.jpg", "b/1.jpg"], "path below the images' first folder"),
        (["a/1.jpg", "b/1.jpg"], ["a/1", "b/1"], "id without ending"),
        (["a/1.jpg", "b/1.jpg"], ["x/a/1", "x/b/1"], "path without its first folder, without ending"),
        (["1.jpg", "2.PNG"], ["1", "2"], "name without ending"),
        (["1.jpg", "2.jpg"], ["1.png", "2.dcm"], "name without ending"),
        (["1.jpg", "sub/3.jpg"], ["1", "./sub//3.jpg"], "name without ending"),
        (["v1.2.jpg", "v1.3.jpg"], ["v1.2", "v1.3"], "name without ending"),
        (["IMG_a.JPG", "My Photo.jpg"], ["img_A.jpg", "my%20photo"], "name without ending, in any case"),
        (["red\u200b.jpg", "b  c.jpg"], ["red.jpg", "b\u00a0c"], "name without ending, in any case"),
        (["0007.jpg", "0010.jpg"], ["7", "10"], "name without ending and leading zeros"),
        (["0007.jpg", "0000.jpg"], ["7.0", "0.0"], "name without ending and leading zeros"),
        (["IMG_0007.jpg", "IMG_10.jpg"], ["img_7.png", "img_10.png"], "name without ending and leading zeros"),
    ],
)
def test_the_strictest_way_in_which_every_name_finds_its_own_image(known, wanted, how):
    found = match(known, wanted)
    assert (found.found, found.how) == ((0, 1), how)
    assert match(known[::-1], wanted).found == (1, 0), "whatever the order"


@pytest.mark.parametrize(
    ("known", "wanted", "found"),
    [
        (["a/1.jpg", "b/1.jpg"], ["1.jpg"], (None,)),  # two fit
        (["7.jpg", "07.jpg"], ["007"], (None,)),
        (["1.jpg", "2.jpg"], ["1.jpg", "1"], (0, None)),  # both mean the same
        (["a.jpg", "A.jpg"], ["a.png", "A.png"], (0, 1)),
        (["1.jpg"], ["2.jpg"], (None,)),
        ([], ["1"], (None,)),
        (["a/1.jpg", "b/2.jpg", "c/9.jpg"], ["a/1.jpg", "b/2.jpg", "d/9.jpg"], (0, 1, None)),
        (["a/1.jpg", "c/9.jpg"], ["a/1", "d/9"], (0, None)),
    ],
)
def test_what_is_not_sure_is_not_found(known, wanted, found):
    assert match(known, wanted).found == found


def test_base_names_are_not_taken_where_other_folders_are_right():
    """`dog/9.jpg` is missing: that `cat/9.jpg` is there and nobody's must not make a dog of it."""
    found = match(["cat/1.jpg", "dog/2.jpg", "cat/9.jpg"], ["cat/1.jpg", "dog/2.jpg", "dog/9.jpg"])
    assert found.found == (0, 1, None)


def test_where_some_are_missing_the_others_are_found_by_the_way_that_finds_most():
    found = match(["0001.jpg", "0002.jpg", "0003.jpg"], ["1", "2", "9", "0003"])
    assert (found.found, found.count, found.is_likely) == ((0, 1, None, 2), 3, True)


names = st.lists(st.text("aB01/._ é", min_size=1, max_size=6), min_size=1, max_size=8, unique_by=str.strip)


@given(names, st.data())
def test_names_as_they_are_always_find_themselves(known, data):
    order = data.draw(st.permutations(range(len(known))))
    assert match(known, [known[index] for index in order]).found == tuple(order)


@given(names, names)
def test_no_image_is_found_twice(known, wanted):
    found = [number for number in match(known, wanted).found if number is not None]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("title", "cells", "row"),
    [
        ("1.jpg", ["2.jpg", "3.jpg"], True),
        ("1", ["2", "3"], True),
        ("0001", ["2", "3"], True),
        ("image", ["1.jpg", "2.jpg"], False),
        ("1", ["0", "1", "0"], False),  # a column of a class called 1
        ("9.jpg", ["1.jpg", "2.jpg"], False),
        ("ID", ["1", "2"], False),
        ("frog", ["1", "2"], True),
    ],
)
def test_a_title_that_is_an_image_as_its_cells_are_is_a_row(title, cells, row):
    known = KnownNames(["1.jpg", "2.jpg", "3.jpg", "image.jpg", "frog.jpg"])
    assert known.is_row(title, cells) is row


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("7.jpg", ["0007.jpg"]), ("img_17", ["IMG 17.png"]), ("9", ["a/9.jpg", "b/9.jpg"]), ("xyz", ["xyy.jpg"])],
)
def test_the_nearest_name_is_one_that_a_person_would_think_of(name, nearest):
    known = ["0007.jpg", "0017.jpg", "IMG 17.png", "a/9.jpg", "b/9.jpg", "xyy.jpg"]
    assert KnownNames(known).nearest(name) == nearest
    assert KnownNames([]).nearest(name) == []


def test_a_name_ends_where_its_ending_begins():
    assert [*map(unended, ("a/b.JPG", "v1.2", "v1.2.tiff", "x.jpg.png", ".jpg", "7.0"))] == [
        "a/b", "v1.2", "v1.2", "x.jpg", "", "7.0",
    ]  # fmt: skip
    assert caseless("A  b%20C.jpg") == "a b c"
    assert [*map(numeric, ("a007b00.jpg", "0", "000", "10", "7.00", "v1.0"))] == ["a7b0", "0", "0", "10", "7", "v1.0"]
