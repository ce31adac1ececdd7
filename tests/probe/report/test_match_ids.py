"""Ids of a sample find the test images they mean, in any order and naming, or nothing is written."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frozenprobe.errors import SubmissionError
from frozenprobe.probe.report.match_ids import find_id_column, match_ids
from frozenprobe.system.csv_tables import Table

TEST_IDS = ("a/1.jpg", "a/2.PNG", "b/3.webp", "4.tiff")
NAMINGS = {
    "exact id": TEST_IDS,
    "base name": ("1.jpg", "2.PNG", "3.webp", "4.tiff"),
    "name without ending": ("1", "2", "3", "4"),
}


def sample_of(ids: tuple[str, ...]) -> Table:
    return Table(Path("sample.csv"), ("Label", "ID"), tuple(("x", name) for name in ids))


@given(order=st.permutations(range(4)), naming=st.sampled_from(sorted(NAMINGS)))
def test_any_order_and_naming_finds_every_image_once(order, naming):
    ids = tuple(NAMINGS[naming][index] for index in order)
    assert match_ids(sample_of(ids), ids, TEST_IDS) == (list(order), naming)


def test_the_id_column_is_the_one_with_test_images_in_it():
    assert find_id_column(sample_of(NAMINGS["name without ending"]), TEST_IDS) == "ID"


def test_the_keys_of_samples_in_shards_find_their_images():
    """Base names repeat from folder to folder, the endings are no part of a key."""
    sample = sample_of(("b/1", "a/1"))
    assert find_id_column(sample, ("a/1.jpg", "b/1.jpg")) == "ID"
    assert match_ids(sample, ("b/1", "a/1"), ("a/1.jpg", "b/1.jpg")) == ([1, 0], "id without ending")


def test_a_base_name_that_two_images_share_is_no_match():
    with pytest.raises(SubmissionError, match=r"not unique|without a test image"):
        match_ids(sample_of(("1.jpg", "2.jpg")), ("1.jpg", "2.jpg"), ("a/1.jpg", "b/1.jpg"))


def test_an_extra_test_image_is_shown_and_the_remedy_is_another_sample():
    with pytest.raises(SubmissionError, match=r"1 test images that are not in the sample: 4\.tiff") as error:
        match_ids(sample_of(TEST_IDS[:3]), TEST_IDS[:3], TEST_IDS)
    assert "--limit" not in error.value.remedy


def test_an_id_without_an_image_is_shown_beside_the_nearest_one():
    ids = ("a/1.jpg", "a/2.PNG", "b/3.webp", "5")
    with pytest.raises(SubmissionError, match=r"1 ids .* without a test image: 5; nearest to '5' is"):
        match_ids(sample_of(ids), ids, TEST_IDS)


@pytest.mark.parametrize(
    ("ids", "how"),
    [
        (("1", "2", "10"), "name without ending and leading zeros"),
        (("1.0", "2.0", "10.0"), "name without ending and leading zeros"),
        (("C:\\test\\0001.jpg", "C:\\test\\0002.jpg", "C:\\test\\0010.jpg"), "base name"),
        (("0001.png", "0002.png", "0010.png"), "name without ending"),
    ],
)
def test_ids_are_read_as_loosely_as_names_in_a_csv_of_labels(ids, how):
    assert match_ids(sample_of(ids), ids, ("0010.jpg", "0001.jpg", "0002.jpg")) == ([1, 2, 0], how)


@pytest.mark.parametrize("first", [("0001.jpg", "cat"), ("1", "cat")])
def test_a_sample_without_header_is_an_error_as_nobody_knows_the_columns(first):
    sample = Table(Path("sample.csv"), first, (("0002.jpg", "cat"), ("0003.jpg", "cat")))
    with pytest.raises(SubmissionError, match=r"header line[\s\S]*0*1(\.jpg)?, cat[\s\S]*ID,Label"):
        find_id_column(sample, ("0001.jpg", "0002.jpg", "0003.jpg"))


def test_columns_of_classes_called_1_and_2_are_no_rows():
    sample = Table(Path("sample.csv"), ("id", "1", "2"), (("1.jpg", "0", "1"), ("2.jpg", "0", "1")))
    assert find_id_column(sample, ("1.jpg", "2.jpg")) == "id"
