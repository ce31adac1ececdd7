"""Errors have four parts and name the nearest known name."""

import pytest

from frozenprobe.errors import FrozenprobeError, MissingExtra, some, unknown_name


def test_an_error_says_wanted_found_where_and_what_to_do():
    error = FrozenprobeError("A folder", found="a file", where="data/train", remedy="name a folder")
    assert str(error) == "A folder\n  found:  a file\n  where:  data/train\n  to do:  name a folder"


def test_an_error_without_its_four_parts_cannot_be_made():
    with pytest.raises(TypeError):
        FrozenprobeError("only what was wanted")  # type: ignore[call-arg]


def test_an_unknown_name_gets_the_nearest_and_the_list():
    text = str(unknown_name("recipe", "mlid", ["mild", "report"], where="--recipe"))
    assert "did you mean mild?" in text
    assert "mild, report" in text


def test_a_name_like_no_other_gets_the_list_alone():
    text = str(unknown_name("recipe", "zzzz", ["mild", "report"], where="--recipe"))
    assert "did you mean" not in text
    assert "mild, report" in text


def test_a_missing_extra_gives_the_pip_line():
    assert "pip install 'frozenprobe[timm]'" in str(MissingExtra("timm", "timm"))


def test_long_lists_are_cut_and_counted():
    assert some(range(3)) == "0, 1, 2"
    assert some(range(8)) == "0, 1, 2, 3, 4 and 3 more"
