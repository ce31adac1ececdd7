"""CSVs: every cell a string, in and out."""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frozenprobe.errors import FrozenprobeError
from frozenprobe.system.csv_tables import read_table, write_table

cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=8)


@given(rows=st.lists(st.tuples(cells, cells.filter(bool)), max_size=6))
def test_what_is_written_is_read_again(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    write_table(path, ("ID", "Label"), rows)
    assert list(read_table(path).rows) == rows


def test_numbers_and_na_stay_text(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("ID,Label\n007,NA\n1e3,nan\n", encoding="utf-8")
    table = read_table(path)
    assert table.column("ID") == ("007", "1e3")
    assert table.column("Label") == ("NA", "nan")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_usual_delimiters_and_excels_byte_order_mark(tmp_path, delimiter):
    path = tmp_path / "a.csv"
    path.write_text(f"ID{delimiter}Label\r\n1{delimiter}a b\r\n", encoding="utf-8-sig")
    assert read_table(path).columns == ("ID", "Label")
    assert read_table(path).rows == (("1", "a b"),)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"ID,Label\n1,a,b\n", "row 2"),
        (b"ID,ID\n1,2\n", "same name"),
        (b"ID,Label\n\xff\xfe,a\n", "utf-8"),
    ],
)
def test_a_broken_csv_is_an_error_that_names_the_file(tmp_path, content, says):
    path = tmp_path / "broken.csv"
    path.write_bytes(content)
    with pytest.raises(FrozenprobeError, match=says) as error:
        read_table(path)
    assert "broken.csv" in str(error.value)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(FrozenprobeError, match="no such file"):
        read_table(tmp_path / "none.csv")


def test_a_missing_column_lists_those_there_are(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("ID,Label\n1,a\n")
    with pytest.raises(FrozenprobeError, match="ID, Label"):
        read_table(path).column("Class")


def test_other_programs_read_what_is_written(tmp_path):
    path = tmp_path / "a.csv"
    write_table(path, ("ID", "Label"), [("a,b", 'say "x"'), ("c", "two\nlines")])
    with open(path, newline="", encoding="utf-8") as file:
        assert list(csv.reader(file))[1:] == [["a,b", 'say "x"'], ["c", "two\nlines"]]
