"""Submission: names in the sample's rows and columns, or an error with examples and nothing written."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenprobe.errors import FrozenprobeError, SubmissionError
from frozenprobe.probe.report.runs import Run
from frozenprobe.probe.report.sample_columns import is_number
from frozenprobe.probe.report.submission import SubmissionReport, render_submission, write_submission
from frozenprobe.system.csv_tables import Table

NAMES = ("apple", "pear", "plum")


def make_run(
    test_ids: Sequence[str] = ("a.jpg", "b.jpg", "c.jpg", "d.jpg"),
    predicted: Sequence[int] = (2, 0, 1, 1),
    *,
    names: Sequence[str] = NAMES,
    bad: Sequence[int] = (),
    sample: Table | None = None,
) -> Run:
    """A run whose predictions are these indices of names."""
    test = np.full((len(test_ids), len(names)), 0.1)
    test[np.arange(len(test_ids)), list(predicted)] = 0.9
    usable = np.array([index not in bad for index in range(len(test_ids))], dtype=bool)
    return Run(
        Path("runs/one"), {}, tuple(names), tuple(test_ids), test / test.sum(axis=1, keepdims=True), usable, sample
    )


def make_sample(
    ids: Sequence[str], labels: Sequence[str] | str = "apple", columns: tuple[str, str] = ("ID", "Label")
) -> Table:
    cells = [labels] * len(ids) if isinstance(labels, str) else labels
    return Table(Path("data/sample_submission.csv"), columns, tuple(zip(ids, cells, strict=True)))


def read(path: Path) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8") as handle:
        return list(csv.reader(handle))


def refuse(match: str, run: Run, out: Path, **options: object) -> FrozenprobeError:
    """The error of a submission that must not be written."""
    with pytest.raises(SubmissionError, match=match) as caught:
        write_submission(run, out, **options)  # type: ignore[arg-type]
    assert not out.exists()
    return caught.value


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "submission.csv"


# Rows: which prediction belongs to which id


def test_without_a_sample_all_test_images_are_answered_under_id_and_label(out: Path) -> None:
    report = write_submission(make_run(), out)
    assert read(out) == [["ID", "Label"], ["a.jpg", "plum"], ["b.jpg", "apple"], ["c.jpg", "pear"], ["d.jpg", "pear"]]
    assert (report.path, report.rows, report.changed, report.warnings) == (out, 4, None, [])
    assert report.matched_by == "no sample: all test images"
    assert "the header is ID,Label, the ids are those of the images (a.jpg)" in report.notes[0]
    assert "frozenprobe submit --sample FILE" in render_submission(report)


def test_the_order_and_the_columns_of_the_sample_are_kept(out: Path) -> None:
    sample = make_sample(["c.jpg", "a.jpg", "d.jpg", "b.jpg"], columns=("filename", "species"))
    report = write_submission(make_run(), out, sample=sample)
    assert read(out) == [
        ["filename", "species"],
        ["c.jpg", "pear"],
        ["a.jpg", "plum"],
        ["d.jpg", "pear"],
        ["b.jpg", "apple"],
    ]
    assert report.matched_by == "exact id"


def test_the_label_column_may_come_first(out: Path) -> None:
    sample = Table(
        Path("s.csv"), ("Label", "ID"), (("apple", "b.jpg"), ("apple", "a.jpg"), ("", "c.jpg"), ("", "d.jpg"))
    )
    write_submission(make_run(), out, sample=sample)
    assert read(out) == [["Label", "ID"], ["apple", "b.jpg"], ["plum", "a.jpg"], ["pear", "c.jpg"], ["pear", "d.jpg"]]


def test_a_label_that_is_also_the_name_of_an_image_does_not_make_its_column_the_ids(out: Path) -> None:
    run = make_run(("1.jpg", "2.jpg", "3.jpg"), (1, 2, 0), names=("1", "2", "3"))
    sample = Table(Path("s.csv"), ("Label", "ID"), (("1", "3"), ("1", "1"), ("1", "2")))
    write_submission(run, out, sample=sample)
    assert read(out) == [["Label", "ID"], ["1", "3"], ["2", "1"], ["3", "2"]]


def test_the_sample_of_the_run_is_used_unless_another_is_named(out: Path) -> None:
    run = make_run(sample=make_sample(["d", "c", "b", "a"]))
    assert write_submission(run, out).matched_by == "name without ending"
    assert [row[0] for row in read(out)] == ["ID", "d", "c", "b", "a"]
    write_submission(run, out, sample=make_sample(["b.jpg", "a.jpg", "c.jpg", "d.jpg"]))
    assert [row[0] for row in read(out)] == ["ID", "b.jpg", "a.jpg", "c.jpg", "d.jpg"]


@pytest.mark.parametrize(
    ("test_ids", "ids", "matched_by"),
    [
        (("x/1.jpg", "x/2.jpg"), ("x/1.jpg", "x/2.jpg"), "exact id"),
        (("x/1.jpg", "y/2.jpg"), ("1.jpg", "2.jpg"), "base name"),
        (("1.jpg", "2.jpg"), ("images/test/1.jpg", "images/test/2.jpg"), "base name"),
        (("x/1.jpg", "y/2.PNG"), ("1", "2"), "name without ending"),
        (("1.jpg", "2.jpg"), ("1.png", "2.JPEG"), "name without ending"),
        (("007.jpg", "7.jpg"), ("007", "7"), "name without ending"),
        (("007.jpg", "08.jpg"), ("007.jpg", "08.jpg"), "exact id"),
        (("v1.2.jpg", "v1.3.jpg"), ("v1.2", "v1.3"), "name without ending"),
        (("1.jpg", "2.jpg"), (" 1.jpg", "2.jpg "), "exact id"),
        (("x/1.jpg", "y/1.jpg"), ("x\\1.jpg", "y\\1.jpg"), "exact id"),
        (("1.jpg", "2.jpg"), ("C:\\data\\test\\1.jpg", "C:\\data\\test\\2.jpg"), "base name"),
        (
            ("Käse.jpg", "é.jpg"),
            tuple(unicodedata.normalize("NFD", name) for name in ("Käse.jpg", "é.jpg")),
            "exact id",
        ),
        (
            tuple(unicodedata.normalize("NFD", name) for name in ("Käse.jpg", "é.jpg")),
            ("Käse", "é"),
            "name without ending",
        ),
        (("1.jpg", "1.png"), ("1.png", "1.jpg"), "exact id"),
    ],
)
def test_ids_match_exactly_else_by_base_name_else_by_stem_and_are_written_as_the_sample_has_them(
    test_ids: tuple[str, ...], ids: tuple[str, ...], matched_by: str, out: Path
) -> None:
    predicted = (2, 1) if ids != ("1.png", "1.jpg") else (1, 2)  # by the sample's rows: plum, pear
    report = write_submission(make_run(test_ids, predicted), out, sample=make_sample(ids))
    assert report.matched_by == matched_by
    assert read(out)[1:] == [[ids[0], "plum"], [ids[1], "pear"]]


@given(
    ids=st.lists(st.text("ab01é/. ", min_size=1, max_size=6), min_size=1, max_size=12, unique=True),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_every_id_gets_the_answer_of_its_own_image_and_never_an_index(
    ids: list[str], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    predicted = data.draw(st.lists(st.integers(0, 2), min_size=len(ids), max_size=len(ids)))
    order = data.draw(st.permutations(range(len(ids))))
    target = tmp_path_factory.mktemp("any") / "submission.csv"
    sample = make_sample([ids[index] for index in order], "")
    try:
        write_submission(make_run(ids, predicted), target, sample=sample)
    except SubmissionError:  # ids that differ only in spaces around them
        assert len({name.strip() for name in ids}) < len(ids)
        assert not target.exists()
        return
    assert read(target)[1:] == [[ids[index], NAMES[predicted[index]]] for index in order]


# Rows that do not fit


def test_ids_without_an_image_and_images_without_an_id_are_shown(out: Path) -> None:
    error = refuse("4 ids", make_run(), out, sample=make_sample(["a.jpg", "b.jpg", "x.jpg", "y.jpg"]))
    assert "2 ids of the sample without a test image: x.jpg, y.jpg" in error.found
    assert "2 test images that are not in the sample: c.jpg, d.jpg" in error.found
    assert error.where == "data/sample_submission.csv"
    assert "--sample FILE" in error.remedy


def test_images_that_are_not_in_the_sample_alone_are_an_error(out: Path) -> None:
    error = refuse("2 ids", make_run(), out, sample=make_sample(["b", "c"]))
    assert error.found == "2 test images that are not in the sample: a.jpg, d.jpg"


def test_many_missing_ids_are_counted_and_a_few_shown(out: Path) -> None:
    error = refuse(
        "1004 ids", make_run(), out, sample=make_sample(["a", "b", "c", "d", *(f"x{i}" for i in range(1000))])
    )
    assert "1000 ids of the sample without a test image: x0, x1, x2, x3, x4 and 995 more" in error.found


def test_an_id_twice_is_an_error(out: Path) -> None:
    error = refuse("Every id once", make_run(), out, sample=make_sample(["a.jpg", "b.jpg", "c.jpg", "d.jpg", "a.jpg"]))
    assert "1 ids more than once: a.jpg" in error.found


def test_a_sample_without_rows_is_an_error(out: Path) -> None:
    assert "4 test images that are not in the sample" in refuse("0 ids", make_run(), out, sample=make_sample([])).found


@pytest.mark.parametrize(
    ("test_ids", "ids"),
    [
        (("1.jpg", "1.png"), ("1", "2")),
        (("x/1.jpg", "y/1.jpg"), ("1.jpg", "2.jpg")),
        (("1.jpg",), ("1", "1.png")),
        (("x/1.jpg", "y/1.jpg"), ("1.jpg",)),
    ],
)
def test_names_that_are_not_unique_are_never_guessed(
    test_ids: tuple[str, ...], ids: tuple[str, ...], out: Path
) -> None:
    refuse("ids of the sample submission", make_run(test_ids, [0] * len(test_ids)), out, sample=make_sample(ids))


def test_a_run_without_test_images_says_how_to_get_answers(out: Path) -> None:
    assert "extract --test DIR" in refuse("Answers to test images", make_run((), ()), out).remedy


def test_an_error_leaves_the_submission_that_was_there(out: Path) -> None:
    write_submission(make_run(), out)
    before = out.read_bytes()
    with pytest.raises(SubmissionError):
        write_submission(make_run(), out, sample=make_sample(["a.jpg"]))
    assert out.read_bytes() == before


# Labels


AWKWARD = ("NA", "nan", "null", "007", "7", "1e5", 'comma, "quote"', "new\nline", "Ä", " ", "True")


def test_awkward_class_names_are_written_as_they_are(out: Path) -> None:
    run = make_run([f"{index}.jpg" for index in range(11)], range(11), names=AWKWARD)
    write_submission(run, out)
    assert [row[1] for row in read(out)[1:]] == list(AWKWARD)


@pytest.mark.parametrize("names", [("10", "2", "33"), ("1", "0", "2"), ("class 10", "class 2", "x")])
def test_an_index_never_reaches_the_csv(names: tuple[str, ...], out: Path) -> None:
    write_submission(make_run(predicted=(0, 1, 2, 0), names=names), out)
    assert [row[1] for row in read(out)[1:]] == [names[0], names[1], names[2], names[0]]


def test_empty_labels_and_known_labels_of_a_sample_are_fine(out: Path) -> None:
    ids = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    for labels in ("", "pear", ["", "plum", " pear ", ""]):
        write_submission(make_run(), out, sample=make_sample(ids, labels))
        assert [row[1] for row in read(out)[1:]] == ["plum", "apple", "pear", "pear"]


def test_labels_in_another_encoding_of_accents_are_known(out: Path) -> None:
    sample = make_sample(["a.jpg"], unicodedata.normalize("NFD", "Äpfel"))
    write_submission(make_run(["a.jpg"], [1], names=("Birne", "Äpfel")), out, sample=sample)
    assert read(out)[1] == ["a.jpg", "Äpfel"]


def test_unknown_labels_are_an_error_with_examples(out: Path) -> None:
    sample = make_sample(["a.jpg", "b.jpg", "c.jpg", "d.jpg"], ["apple", "fig", "date", "pear"])
    error = refuse("among the classes", make_run(), out, sample=sample)
    assert "2 unknown labels in the sample: date, fig" in error.found
    assert "apple, pear, plum" in error.found


@pytest.mark.parametrize(
    ("names", "label", "kinds"),
    [
        (NAMES, "0", "holds numbers, the classes here are names"),
        (NAMES, "1.0", "holds numbers, the classes here are names"),
        (("0", "1", "2"), "apple", "holds names, the classes here are numbers"),
    ],
)
def test_numbers_where_names_are_or_the_reverse_need_a_label_map(
    names: tuple[str, ...], label: str, kinds: str, out: Path
) -> None:
    sample = make_sample(["a.jpg", "b.jpg", "c.jpg", "d.jpg"], label)
    error = refuse(kinds, make_run(names=names), out, sample=sample)
    assert "--label-map FILE" in error.remedy
    assert label in error.found
    assert error.where == "data/sample_submission.csv, column Label"


def test_other_numbers_than_ours_are_unknown_labels(out: Path) -> None:
    sample = make_sample(["a.jpg", "b.jpg", "c.jpg", "d.jpg"], "01")
    assert (
        "1 unknown labels in the sample: 01"
        in refuse("among", make_run(names=("0", "1", "2")), out, sample=sample).found
    )


def test_what_a_number_is() -> None:
    assert all(map(is_number, ("7", "007", "1.0", "-3", " 4 ", "+1")))
    assert not any(map(is_number, ("", "1e5", "nan", "NA", "1 2", "v1", "1.", "\u00b2")))


def test_more_columns_than_id_and_label_point_to_probabilities(out: Path) -> None:
    sample = Table(Path("s.csv"), ("ID", *NAMES), tuple((f"{name}.jpg", "0", "0", "0") for name in "abcd"))
    assert "--probabilities" in refuse("two columns", make_run(), out, sample=sample).remedy


# The label map


def write_map(path: Path, *rows: tuple[str, ...]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("class", "label"), *rows])
    return path


def test_a_label_map_gives_the_labels_to_write(out: Path, tmp_path: Path) -> None:
    labels = write_map(tmp_path / "map.csv", ("plum", "0"), ("apple", "01"), (" pear ", " 2 "), ("other", "9"))
    sample = make_sample(["a.jpg", "b.jpg", "c.jpg", "d.jpg"], "0")
    report = write_submission(make_run(), out, sample=sample, label_map=labels)
    assert [row[1] for row in read(out)[1:]] == ["0", "01", "2", "2"]
    assert report.histogram == [("2", 2), ("0", 1), ("01", 1)]


def test_a_label_map_without_header_is_read_as_rows(out: Path, tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text("plum,0\napple,1\npear,2\n")
    write_submission(make_run(), out, label_map=path)
    assert [row[1] for row in read(out)[1:]] == ["0", "1", "2", "2"]


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([("apple", "0"), ("pear", "1")], "none for plum"),
        ([("apple", "0"), ("pear", "1"), ("plum", "")], "none for plum"),
        ([("apple", "0"), ("pear", "1"), ("plum", "1")], "the same label for several classes: 1"),
        ([("apple", "0"), ("pear", "1"), ("plum", "2"), ("apple", "3")], "several labels for apple"),
        ([("0", "apple"), ("1", "pear"), ("2", "plum")], "none for apple, pear, plum"),
    ],
)
def test_a_label_map_without_one_label_a_class_is_an_error(
    rows: list[tuple[str, str]], found: str, out: Path, tmp_path: Path
) -> None:
    error = refuse("One label of its own", make_run(), out, label_map=write_map(tmp_path / "map.csv", *rows))
    assert error.found == found
    assert error.where == str(tmp_path / "map.csv")


def test_a_label_map_of_another_shape_or_none_at_all_is_an_error(out: Path, tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text("a,b,c\n1,2,3\n")
    refuse("two columns, class name and label", make_run(), out, label_map=path)
    with pytest.raises(FrozenprobeError, match="no such file"):
        write_submission(make_run(), out, label_map=tmp_path / "absent.csv")


def test_labels_of_the_sample_that_are_not_in_the_map_are_an_error(out: Path, tmp_path: Path) -> None:
    labels = write_map(tmp_path / "map.csv", ("apple", "0"), ("pear", "1"), ("plum", "2"))
    sample = make_sample(["a.jpg", "b.jpg", "c.jpg", "d.jpg"], "7")
    refuse("among the classes of the label map", make_run(), out, sample=sample, label_map=labels)


# Probabilities


def columns_of(path: Path) -> dict[str, list[str]]:
    head, *rows = read(path)
    return {name: [row[index] for row in rows] for index, name in enumerate(head)}


def test_probabilities_without_a_sample_are_one_column_a_class(out: Path) -> None:
    run = make_run()
    write_submission(run, out, probabilities=True)
    assert read(out)[0] == ["ID", *NAMES]
    written = np.array([row[1:] for row in read(out)[1:]], dtype=float)
    np.testing.assert_allclose(written, run.test, atol=1e-6)


def test_probabilities_against_a_sample_of_id_and_label(out: Path) -> None:
    run = make_run()
    write_submission(run, out, probabilities=True, sample=make_sample(["d", "c", "b", "a"]))
    assert read(out)[0] == ["ID", *NAMES]
    assert columns_of(out)["ID"] == ["d", "c", "b", "a"]
    np.testing.assert_allclose(np.array(columns_of(out)["plum"], dtype=float), run.test[::-1, 2], atol=1e-6)


def test_probabilities_go_under_their_own_class_in_the_samples_order(out: Path) -> None:
    run = make_run()
    sample = Table(
        Path("s.csv"), ("plum", "id", "apple", "pear"), tuple(("0", f"{name}.jpg", "0", "0") for name in "badc")
    )
    report = write_submission(run, out, probabilities=True, sample=sample)
    assert read(out)[0] == ["plum", "id", "apple", "pear"]
    for label, name in enumerate(NAMES):
        np.testing.assert_allclose(
            np.array(columns_of(out)[name], dtype=float), run.test[[1, 0, 3, 2], label], atol=1e-6
        )
    assert report.changed is None


def test_columns_in_another_encoding_of_accents_are_found_and_kept(out: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "Äpfel")
    sample = Table(Path("s.csv"), ("ID", decomposed, "Birne"), (("a.jpg", "0", "0"),))
    run = make_run(["a.jpg"], [1], names=("Birne", "Äpfel"))
    write_submission(run, out, probabilities=True, sample=sample)
    assert read(out) == [["ID", decomposed, "Birne"], ["a.jpg", "0.900000", "0.100000"]]


def test_probabilities_under_the_labels_of_a_map(out: Path, tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "é")
    labels = write_map(tmp_path / "map.csv", ("plum", decomposed), ("apple", "0"), ("pear", "1"))
    write_submission(make_run(), out, probabilities=True, label_map=labels)
    assert read(out)[0] == ["ID", "0", "1", decomposed]
    assert columns_of(out)[decomposed][0] == f"{0.9 / 1.1:.6f}"


def test_columns_that_are_not_the_classes_are_an_error_that_shows_them(out: Path) -> None:
    sample = Table(
        Path("s.csv"), ("ID", "apple", "pear", "fig"), tuple((f"{name}.jpg", "0", "0", "0") for name in "abcd")
    )
    error = refuse("one column a class", make_run(), out, probabilities=True, sample=sample)
    assert "fig" in error.found
    assert "plum" in error.found
    assert "apple" not in error.found


def test_a_class_called_like_the_id_column_cannot_have_a_column_of_its_own(out: Path) -> None:
    refuse("a class that is called ID", make_run(names=("ID", "x", "y")), out, probabilities=True)
    write_submission(make_run(names=("ID", "x", "y")), out)
    assert read(out)[2] == ["b.jpg", "ID"]


# What is told


def test_the_histogram_counts_answers_most_frequent_first(out: Path) -> None:
    assert write_submission(make_run(), out).histogram == [("pear", 2), ("plum", 1), ("apple", 1)]


def test_the_answers_that_changed_against_the_last_submission_are_counted(out: Path) -> None:
    assert write_submission(make_run(), out).changed is None
    assert write_submission(make_run(), out).changed == 0
    assert write_submission(make_run(predicted=(2, 1, 1, 0)), out).changed == 2
    reordered = make_sample(["d.jpg", "c.jpg", "b.jpg", "a.jpg"])
    assert write_submission(make_run(predicted=(2, 1, 1, 1)), out, sample=reordered).changed == 1


@pytest.mark.parametrize(
    "content", ["", "not\na\nsubmission", "ID,Label\nother.jpg,plum\n", "ID,x,y\na.jpg,1,2\n", "\x00"]
)
def test_another_file_in_the_place_of_the_submission_is_replaced_and_not_compared(content: str, out: Path) -> None:
    out.write_text(content)
    assert write_submission(make_run(), out).changed is None
    assert len(read(out)) == 5


def test_answers_in_few_classes_are_warned_about(out: Path) -> None:
    names = [f"class {index}" for index in range(20)]
    ids = [f"{index}.jpg" for index in range(40)]
    two = write_submission(make_run(ids, [index % 2 for index in range(40)], names=names), out)
    assert two.warnings == ["all 40 answers fall into 2 of 20 classes"]
    three = write_submission(make_run(ids, [index % 3 for index in range(40)], names=names), out)
    assert three.warnings == []
    few = write_submission(make_run(ids[:5], [0] * 5, names=names), out)
    assert few.warnings == []  # five images cannot fill twenty classes


def test_the_same_answer_to_everything_is_warned_about_even_with_two_classes(out: Path) -> None:
    assert write_submission(make_run(predicted=(1, 1, 1, 1), names=("a", "b")), out).warnings


def test_guesses_for_bad_images_are_warned_about_with_their_ids(out: Path) -> None:
    report = write_submission(make_run(bad=(0, 3)), out)
    assert report.warnings == ["2 images could not be decoded, their answers are guesses: a.jpg, d.jpg"]
    assert len(read(out)) == 5  # and answered all the same


def test_the_report_is_shown_with_bars_and_warnings(out: Path) -> None:
    write_submission(make_run(), out)
    shown = render_submission(write_submission(make_run(predicted=(1, 1, 1, 0), bad=(2,)), out))
    lines = shown.split("\n")
    assert lines[0] == f"submission {out}: 4 answers in 2 classes; no sample: all test images"
    assert lines[1].split() == ["pear", "3", "#" * 30]
    assert lines[2].split() == ["apple", "1", "#" * 10]
    assert lines[3] == "3 of 4 answers differ from the submission that was there before"
    assert lines[4].startswith("note: no sample submission")
    assert lines[5].startswith("WARNING: 1 images could not be decoded")


def test_a_long_histogram_is_cut_and_the_rest_counted() -> None:
    histogram = [(f"class {index}", 20 - index) for index in range(13)]
    shown = render_submission(SubmissionReport(Path("s.csv"), 182, "exact id", histogram, None, []))
    assert "class 9 " in shown
    assert "class 10" not in shown
    assert "... 3 more classes with 8 to 10 answers each" in shown


def test_the_file_ends_its_lines_with_newlines_and_is_utf8(out: Path) -> None:
    write_submission(make_run(["ä.jpg"], [0], names=("Ö", "x")), out)
    assert out.read_bytes() == "ID,Label\nä.jpg,Ö\n".encode()


# One column of probabilities, and columns that are not called as the classes


def write_one(names: Sequence[str], out: Path, column: str = "label", cells: str = "0.5", **more: object) -> list[str]:
    """Writes probabilities of two classes, P = 0.9 of the second for a.jpg, into a sample of one column; its notes."""
    options = {"probabilities": True, "sample": make_sample(["b", "a"], cells, ("id", column)), **more}
    report = write_submission(make_run(["a.jpg", "b.jpg"], [1, 0], names=names), out, **options)  # type: ignore[arg-type]
    assert read(out)[0] == ["id", column]
    return report.notes


@pytest.mark.parametrize(
    ("names", "column", "cells", "second"),
    [
        (("0", "1"), "label", "0.5", True),
        (("0", "1"), "label", "0", True),
        (("0", "1"), "label", "", True),
        (("no", "yes"), "label", "1", True),
        (("Neg", "Pos"), "label", "0", True),
        (("cat", "dog"), "dog", "0.5", True),
        (("cat", "dog"), "is_cat", "0.5", False),
        (("hot dog", "not hot dog"), "target", "0.5", False),
        (("hotDog", "notHotDog"), "target", "0.5", False),
        (("hotdog", "not_hotdog"), "is_hotdog", "0.5", False),
    ],
)
def test_one_column_of_numbers_gets_the_probability_of_the_class_that_the_names_tell(
    names: tuple[str, str], column: str, cells: str, second: bool, out: Path
) -> None:
    notes = write_one(names, out, column, cells)
    assert columns_of(out)[column] == (["0.100000", "0.900000"] if second else ["0.900000", "0.100000"])
    assert notes == [f"{column} is the probability of {names[second]}"]


def test_where_names_do_not_tell_the_class_has_to_be_named(out: Path) -> None:
    sample = make_sample(["a", "b"], "0.5", ("id", "label"))
    run = make_run(["a.jpg", "b.jpg"], [1, 0], names=("cats", "de node"))
    error = refuse("The class whose probability the column label holds", run, out, sample=sample, probabilities=True)
    assert error.remedy.startswith("frozenprobe submit --probabilities --positive cats   or   ")
    assert 'frozenprobe submit --probabilities --positive "de node"' in error.remedy
    for named, cells in (("cats", ["0.100000", "0.900000"]), ("de node", ["0.900000", "0.100000"])):
        report = write_submission(run, out, sample=sample, probabilities=True, positive=named)
        assert columns_of(out)["label"] == cells
        assert report.notes == [f"label is the probability of {named}"]
        assert f"label is the probability of {named}" in render_submission(report)


@pytest.mark.parametrize(("no", "yes"), [("de", "node"), ("cat", "dog"), ("0", "2"), ("yes", "maybe")])
def test_a_class_is_not_the_opposite_of_another_by_its_letters(no: str, yes: str, out: Path) -> None:
    with pytest.raises(SubmissionError, match="--positive"):
        write_one((no, yes), out)


def test_a_label_map_tells_which_class_is_the_one(out: Path, tmp_path: Path) -> None:
    notes = write_one(("cat", "dog"), out, label_map=write_map(tmp_path / "map.csv", ("cat", "1"), ("dog", "0")))
    assert notes == ["label is the probability of cat"]
    assert columns_of(out)["label"] == ["0.900000", "0.100000"]


def test_an_unknown_positive_class_is_refused_and_so_is_one_without_probabilities(out: Path) -> None:
    with pytest.raises(FrozenprobeError, match="did you mean dog"):
        write_one(("cat", "dog"), out, positive="dogs")
    refuse("Probabilities to write one class of", make_run(), out, positive="plum")


def test_one_class_of_many_can_be_asked_for(out: Path) -> None:
    ids = ["a", "b", "c", "d"]
    sample = make_sample(ids, "0.5", ("id", "target"))
    error = refuse("The class whose probability", make_run(), out, sample=sample, probabilities=True)
    assert "one column cannot hold the probabilities of 3 classes" in error.remedy
    write_submission(make_run(), out, sample=sample, probabilities=True, positive="plum")
    assert columns_of(out)["target"] == [f"{p:.6f}" for p in make_run().test[:, 2]]
    write_submission(make_run(), out, probabilities=True, positive="plum")
    assert read(out)[0] == ["ID", "plum"]


@pytest.mark.parametrize("names", [("0", "1"), ("cat", "dog"), ("a", "b", "c")])
def test_a_sample_of_fractions_without_probabilities_says_what_to_add(names: tuple[str, ...], out: Path) -> None:
    run = make_run(["a.jpg", "b.jpg"], [1, 0], names=names)
    error = refuse("--probabilities", run, out, sample=make_sample(["a", "b"], ["0.5", "0.25"]))
    assert "frozenprobe submit --probabilities" in error.remedy
    assert ("--positive" in error.remedy) == (names != ("0", "1"))


def test_zeros_for_two_named_classes_may_be_labels_or_probabilities(out: Path) -> None:
    run = make_run(["a.jpg", "b.jpg"], [1, 0], names=("cat", "dog"))
    error = refuse("holds numbers", run, out, sample=make_sample(["a", "b"], "0"))
    assert "--label-map FILE" in error.remedy
    assert "--probabilities --positive cat" in error.remedy


def test_a_label_column_that_gives_way_to_columns_of_classes_is_said(out: Path) -> None:
    report = write_submission(make_run(), out, sample=make_sample(["a", "b", "c", "d"]), probabilities=True)
    assert report.notes == ["the sample's column Label is for a label: instead of it there is a column for each class"]
    assert report.columns == ("ID", *NAMES)


@pytest.mark.parametrize(
    ("names", "columns", "classes"),
    [
        (("1", "10", "2"), ("Class_10", "Class_1", "Class_2"), (1, 0, 2)),
        (("1", "10", "2"), ("p(2)", "p(10)", "p(1)"), (2, 1, 0)),
        (("multiple_diseases", "Rust", "scab"), ("rust", "scab", "multiple diseases"), (1, 2, 0)),
        (("cat", "catfish", "dog"), ("prob_dog", "prob_cat", "prob_catfish"), (2, 0, 1)),
        (("a", "b", "c"), ("banana_c", "banana_a", "banana_b"), (2, 0, 1)),
    ],
)
def test_columns_that_pair_with_the_classes_one_to_one_are_taken_and_said(
    names: tuple[str, ...], columns: tuple[str, ...], classes: tuple[int, ...], out: Path
) -> None:
    sample = Table(Path("s.csv"), ("id", *columns), tuple((f"{name}.jpg", "0", "0", "0") for name in "abcd"))
    run = make_run(names=names)
    report = write_submission(run, out, sample=sample, probabilities=True)
    assert read(out)[0] == ["id", *columns]
    assert [row[1:] for row in read(out)[1:]] == [[f"{p:.6f}" for p in row] for row in run.test[:, classes]]
    assert f"{columns[0]} is " in report.notes[0]


@pytest.mark.parametrize("columns", [("1", "2", "4"), ("x1", "y2", "z3"), ("a", "b", "c", "d"), ("A", "a", "b")])
def test_columns_that_do_not_pair_are_never_guessed(columns: tuple[str, ...], out: Path) -> None:
    sample = Table(Path("s.csv"), ("id", *columns), tuple((f"{n}.jpg", *"0" * len(columns)) for n in "abcd"))
    names = ("a", "b", "c") if columns[0] in ("a", "A") else ("1", "2", "3")
    refuse("one column a class", make_run(names=names), out, sample=sample, probabilities=True)


def test_columns_without_an_answer_stay_as_they_are(out: Path) -> None:
    rows = tuple((str(n), f"{name}.jpg", "", "Public") for n, name in enumerate("abcd"))
    sample = Table(Path("s.csv"), ("Unnamed: 0", "id", "label", "Usage"), rows)
    report = write_submission(make_run(), out, sample=sample)
    assert read(out)[1] == ["0", "a.jpg", "plum", "Public"]
    assert report.notes == ["as in the sample: column Unnamed: 0, Usage"]
    sample = Table(Path("s.csv"), ("id", "label", "split"), tuple((f"{name}.jpg", "pear", "test") for name in "abcd"))
    write_submission(make_run(), out, sample=sample)
    assert read(out)[1] == ["a.jpg", "plum", "test"]


def test_a_usage_column_beside_one_of_probabilities_stays(out: Path) -> None:
    sample = Table(Path("s.csv"), ("id", "p", "Usage"), (("a.jpg", "0.5", "Public"), ("b.jpg", "0.5", "Private")))
    run = make_run(["a.jpg", "b.jpg"], [1, 0], names=("0", "1"))
    write_submission(run, out, sample=sample, probabilities=True)
    assert read(out)[1:] == [["a.jpg", "0.900000", "Public"], ["b.jpg", "0.100000", "Private"]]


def test_a_sample_of_ids_alone_is_refused(out: Path) -> None:
    sample = Table(Path("test.csv"), ("id",), tuple((f"{name}.jpg",) for name in "abcd"))
    assert refuse("id and label", make_run(), out, sample=sample).found == "only the column id"
    refuse("one column a class", make_run(), out, sample=sample, probabilities=True)


def test_a_label_map_is_shown_with_the_names_that_are_nearest(out: Path) -> None:
    run = make_run(["a.jpg", "b.jpg"], [1, 0], names=("cat", "dog"))
    error = refuse("among the classes", run, out, sample=make_sample(["a", "b"], ["Bird", "Dogs"]))
    assert "--label-map FILE, a CSV with the lines class,label and dog,Dogs and so on" in error.remedy
    assert "--probabilities" not in error.remedy
    error = refuse("of one kind", run, out, sample=make_sample(["a", "b"], ["3", "3"]))
    assert "the lines class,label and cat,3 and so on" in error.remedy


def test_ones_and_zeros_as_fractions_may_be_probabilities(out: Path) -> None:
    run = make_run(["a.jpg", "b.jpg"], [1, 0], names=("0", "1"))
    error = refuse("among the classes", run, out, sample=make_sample(["a", "b"], "0.0"))
    assert error.remedy.endswith("frozenprobe submit --probabilities   (Label is then the probability of 1)")


@pytest.mark.parametrize(
    ("columns", "found", "remedy"),
    [
        (("cat", "dog", "bird"), "1 columns that are no class here: bird", "train on images of bird, too; or"),
        (
            ("cat", "dogs"),
            "1 columns that are no class here: dogs; 1 classes without a column: dog",
            "dog,dogs and so on",
        ),
    ],
)
def test_columns_that_do_not_pair_are_told_apart(columns: tuple[str, ...], found: str, remedy: str, out: Path) -> None:
    run = make_run(["a.jpg", "b.jpg"], [1, 0], names=("cat", "dog"))
    sample = Table(Path("s.csv"), ("id", *columns), tuple((name, *"0" * len(columns)) for name in "ab"))
    error = refuse("one column a class", run, out, probabilities=True, sample=sample)
    assert error.found == found
    assert remedy in error.remedy
    error = refuse("One column for the probability", run, out, probabilities=True, sample=sample, positive="cat")
    assert "leave --positive out" in error.remedy
