"""Which CSV beside the images is the sample submission, and what is said of the others."""

import os
from pathlib import Path

import pytest

from frozenprobe.errors import ImageError
from frozenprobe.images.listed.samples import find_sample, is_sample_name, tables_in, tell_unused


@pytest.fixture
def data(tmp_path):
    (tmp_path / "test").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        *("sample_submission", "sampleSubmission", "SampleSubmission", "Sample Submission", "sample_submission (1)"),
        *("sample_submission - Copy", "sample_submission_stage1", "sample_sub", "sampleSub", "submission_sample"),
        *("submission_format", "SubmissionFormat", "submission_example", "example_submission", "gender_submission"),
        *("submission_template", "sample_solution", "sampleEntry", "sample", "SAMPLE", "samples", "sample (1)"),
    ],
)
def test_usual_names_of_a_sample_are_known(name):
    assert is_sample_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("submission", "submission (1)", "my_submission_final", "train", "test", "labels", "solution", "answers"),
        *("sample_subset", "sample_images", "train_sample", "test_format", "subject_examples", "resample"),
    ],
)
def test_other_tables_are_no_sample(name):
    assert not is_sample_name(name)


@pytest.mark.parametrize(
    "name", ["sample_submission.csv", "SAMPLE_SUBMISSION.CSV", "sampleSubmission.Csv", "sample_submission.tsv"]
)
def test_any_case_and_hidden_files_beside_it(name, data):
    (data / "._sample_submission.csv").write_bytes(b"\0\5\x16\7Mac OS X")
    (data / "~$sample_submission.csv").write_bytes(b"lock")
    (data / ".sample_submission.csv.swp").write_bytes(b"swap")
    (data / "sample_submission_folder.csv").mkdir()
    (data / name).write_text("id,label\n")
    assert find_sample(data / "test") == data / name


def test_only_hidden_files_are_no_sample(data):
    (data / "._sample_submission.csv").write_bytes(b"\0")
    assert find_sample(data / "test") is None


def test_a_sample_among_the_images_comes_before_one_beside_them(data):
    (data / "sample_submission.csv").write_text("id,label\n")
    (data / "test" / "sample_submission.csv").write_text("id,other\n")
    assert find_sample(data / "test") == data / "test" / "sample_submission.csv"


def test_identical_copies_are_one_and_the_plain_name_is_taken(data):
    for name in ("sample_submission (1).csv", "sample_submission.csv", "copy of sample_submission.csv"):
        (data / name).write_text("id,label\n")
    assert find_sample(data / "test") == data / "sample_submission.csv"


def test_different_candidates_are_an_error_with_what_to_paste(data):
    (data / "sample_submission.csv").write_text("id,label\n")
    (data / "sample_submission (1).csv").write_text("id,species\n")
    with pytest.raises(ImageError) as caught:
        find_sample(data / "test")
    assert "2 that differ" in caught.value.found
    assert f"--sample {data / 'sample_submission.csv'}" in caught.value.remedy
    assert f'--sample "{data / "sample_submission (1).csv"}"' in caught.value.remedy


def test_a_packed_sample_is_named(data, caplog):
    caplog.set_level("INFO", "frozenprobe")
    (data / "sample_submission.csv.zip").write_bytes(b"PK")
    (data / "photos.zip").write_bytes(b"PK")
    assert find_sample(data / "test") is None
    assert caplog.messages == [
        f"{data / 'sample_submission.csv.zip'} may be the sample submission: unpack it, or save it as CSV"
    ]


def test_the_working_folder_has_something_beside_it(data, monkeypatch):
    (data / "sample_submission.csv").write_text("id,label\n")
    monkeypatch.chdir(data / "test")
    for name in (".", "../test", "./."):
        assert find_sample(Path(name)).resolve() == data / "sample_submission.csv"
    monkeypatch.chdir(data)
    assert find_sample(Path("test")) == Path("sample_submission.csv")


def test_unused_tables_are_named_with_the_option_that_each_may_be_for(data, caplog):
    caplog.set_level("INFO", "frozenprobe")
    for name in ("classes.csv", "sample_submission.csv", "test.csv", "train.csv"):
        (data / name).write_text("a,b\n")
    listed = ", ".join(str(data / name) for name in ("classes.csv", "test.csv", "train.csv"))
    for labels, sample, told in (
        (
            True,
            True,
            f"labels: --train-csv {data / 'train.csv'}, or the sample submission: --sample {data / 'test.csv'}",
        ),
        (True, False, f"labels: --train-csv {data / 'train.csv'}"),
        (False, True, f"the sample submission: --sample {data / 'test.csv'}"),
    ):
        tell_unused([data, data], used=(), labels=labels, sample=sample)
        assert caplog.messages.pop() == f"not used: {listed}; if one holds {told}"
        caplog.clear()
    tell_unused([data], used=(data / "train.csv", None), labels=False, sample=False)
    assert caplog.messages == [f"not used: {data / 'classes.csv'}, {data / 'test.csv'}"]
    caplog.clear()
    tell_unused(
        [data], used=[data / name for name in ("train.csv", "test.csv", "classes.csv")], labels=True, sample=True
    )
    assert caplog.messages == []


def test_a_folder_that_may_not_be_listed_has_no_tables(data, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", refuse)
    assert tables_in([data]) == []
