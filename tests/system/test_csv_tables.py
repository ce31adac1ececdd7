"""CSVs: every cell a string, in and out."""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frozenprobe.errors import FrozenprobeError
from frozenprobe.system.csv_tables import read_table, write_table

cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=8)


@given(rows=st.lists(st.tuples(cells, cells.filter(str.strip)), max_size=6))
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


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_usual_delimiters_and_excels_byte_order_mark(tmp_path, delimiter):
    path = tmp_path / "a.csv"
    path.write_text(f"ID{delimiter}Label\r\n1{delimiter}a b\r\n", encoding="utf-8-sig")
    assert read_table(path).columns == ("ID", "Label")
    assert read_table(path).rows == (("1", "a b"),)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"\n \n,,\n", "empty"),
        (b"ID,Label\n\n0.jpg,pear\n1.jpg,apple, red\n", r"3 cells in line 4 \(1.jpg \| apple \|  red\), but 2 columns"),
        (b"ID,Kind,Label\n0.jpg,pear\n", "2 cells in line 2"),
        (b"ID,ID\n1,2\n", "same name, 'ID'"),
        (b"ID,Label\n\xff\xfe,a\n", r"not UTF-8 in line 2: \\xff\\xfe,a"),
        ("ID,Label\n1,рыба\n".encode("cp1251"), "UTF-8"),
        ("ID,Label\n1,猫狗图片\n".encode("gb18030"), "UTF-8"),
        ("ID,Label\n1,żółw\n".encode("cp1250"), "UTF-8"),
        ("ID,Label\n1,Äpfel\n".encode("mac-roman"), "UTF-8"),
        (b"PK\x03\x04[Content_Types].xml", "spreadsheet"),
        (b"ID,Label\n1,a\x00b\n", "NUL character in line 2"),
        (b'ID,Label\n1,"a\n2,b\n', "row that begins in line 2"),
        ("ID,Label\n1,a\n".encode("utf-16")[:-1], "UTF-16"),
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


WRITTEN = "ID,Label\n1,Äpfel\n2,b\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (WRITTEN.encode("utf-8-sig"), ""),
        (b"\xef\xbb\xbf" + WRITTEN.encode("utf-8-sig"), ""),
        (WRITTEN.encode("utf-16"), "read as UTF-16"),
        (WRITTEN.encode("utf-16-le"), "read as UTF-16-LE"),
        (WRITTEN.encode("utf-16-be"), "read as UTF-16-BE"),
        (WRITTEN.encode("utf-32"), "read as UTF-32"),
        (WRITTEN.encode("cp1252"), "read as Windows' cp1252, for example '1,Äpfel'"),
        (WRITTEN.replace("\n", "\r").encode(), ""),
        (WRITTEN.replace("\n", "\n\n").encode(), ""),
        (f"\n{WRITTEN}\n\n".encode(), ""),
        (b"sep=;\r\n" + WRITTEN.replace(",", ";").encode(), "cells parted by ';', as its first line says"),
        (f"{WRITTEN},\n , \n,,,,\n".encode(), "3 empty rows left out, in line 4, 5, 6"),
        (WRITTEN.replace("1", ",\n\n1").encode(), "1 empty rows left out, in line 2"),
        (WRITTEN.replace("\n", ",,\n").encode(), "column 3 left out: no name and no cells"),
        (WRITTEN.replace("l\n", "l,\n", 1).encode(), "column 3 left out"),
        ("ID,Label\n1,Äpfel,\n2,b,\n".encode(), ""),
        ('ID, Label\n1, "Äpfel"\n2, "b"\n'.encode(), ""),
        ("'ID','Label'\n'1','Äpfel'\n'2','b'\n".encode(), ""),
        ("ID,Label,ID\n1,Äpfel,1\n2,b,2\n".encode(), "column 3 left out: 'ID' again"),
    ],
)
def test_what_spreadsheets_write_is_read_and_said(tmp_path, caplog, content, said):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with caplog.at_level("INFO", logger="frozenprobe"):
        table = read_table(path)
    assert (table.columns, table.rows) == (("ID", "Label"), (("1", "Äpfel"), ("2", "b")))
    assert said in caplog.text
    assert bool(said) == bool(caplog.text), "what changes nothing needs no remark"


@pytest.mark.parametrize(
    "lines",
    [
        ['"ID, all";Label', "1;red, ripe, cut", '2;"a; b, c"'],
        ["ID;Label, or kind", "1;a", "2;b"],
        ["ID;Label, or kind", "1;a, x", "2;b"],
        ["ID;Label", "1,5;a", "2,5;b"],
    ],
)
def test_commas_in_cells_do_not_delimit_where_semicolons_do(tmp_path, lines):
    path = tmp_path / "a.csv"
    path.write_text("\n".join(lines) + "\n")
    table = read_table(path)
    assert len(table.columns) == 2
    assert len(table.rows) == 2


def test_an_index_without_a_name_is_called_as_in_pandas(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(",ID\n0,a.jpg\n1,b.jpg\n")
    assert read_table(path).columns == ("Unnamed: 0", "ID")


def test_a_file_without_header_has_numbered_columns(tmp_path, caplog):
    path = tmp_path / "a.csv"
    path.write_text("1.jpg,a\n2.jpg,b\n")
    with caplog.at_level("INFO", logger="frozenprobe"):
        table = read_table(path).without_header()
    assert table.columns == ("1", "2")
    assert table.rows == (("1.jpg", "a"), ("2.jpg", "b"))
    assert "no header line; columns are called 1, 2, the first row is 1.jpg, a" in caplog.text
