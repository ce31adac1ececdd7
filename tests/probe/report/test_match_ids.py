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
