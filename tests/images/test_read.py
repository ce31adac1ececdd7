"""What the user names, read as what it turns out to mean; and what lies beside it, found."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from frozenprobe.errors import FrozenprobeError, ImageError
from frozenprobe.images.read import read_images, read_test, read_training
from frozenprobe.images.sources import ImageSources
from tests.images.shard_files import write_tar
from tests.images.test_folders import touch


def test_the_sample_is_found_beside_the_test_folder(photo_folder):
    train, test, sample = read_images(ImageSources(photo_folder / "train", photo_folder / "test"))
    assert len(train) == 12
    assert test is not None
    assert len(test) == 5
    assert sample is not None
    assert sample.columns == ("ID", "Label")


def test_the_sample_is_found_beside_shards_and_lists(photo_folder, tmp_path):
    files = {path.name: path.read_bytes() for path in sorted((photo_folder / "test").iterdir())}
    write_tar(photo_folder / "test.tar", files)
    write_tar(photo_folder / "tars" / "t-0.tar", files)
    (photo_folder / "test.txt").write_text("".join(f"test/{name}\n" for name in files))
    for named in ("test.tar", "tars", "tars/t-0.tar", "tars/t-{0..0}.tar", "tars/*.tar", "test.txt"):
        train, test, sample = read_images(ImageSources(photo_folder / "train", photo_folder / named))
        assert [name.rpartition("/")[2] for name in test.ids] == list(files), named
        assert sample is not None, named
        assert len(train) == 12
    (photo_folder / "tars" / "SampleSubmission.csv").write_text("Id,Other\n")
    assert read_images(ImageSources(photo_folder / "train", photo_folder / "tars/t-0.tar"))[2].columns == (
        "Id",
        "Other",
    )


@pytest.mark.parametrize(
    ("there", "train", "expected"),
    [
        (["train/", "test/"], "train", "test"),
        (["train/"], "train", None),
        (["train.tar", "test.tar"], "train.tar", "test.tar"),
        (["train.txt", "test.txt", "test/"], "train.txt", "test.txt"),
        (["train.txt", "test/"], "train.txt", "test"),
        (["train/0.tar", "test/"], "train/{0..0}.tar", "test"),
        (["train/0.tar", "test/"], "train/0.tar", "test"),
        (["train/0.tar", "train/test/", "test/"], "train/0.tar", "train/test"),
        (["shards/0.tar", "test/"], "shards/0.tar", None),
        (["shards/train-0.tar", "shards/test/"], "shards/train-{0..0}.tar", "shards/test"),
    ],
)
def test_the_test_images_are_found_beside_the_training_images(tmp_path, monkeypatch, there, train, expected):
    for name in there:
        (tmp_path / name).mkdir(parents=True) if name.endswith("/") else touch(tmp_path, name)
    found = ImageSources.test_beside(tmp_path / train)
    assert found == (tmp_path / expected if expected else None)
    monkeypatch.chdir(tmp_path)
    assert ImageSources.test_beside(Path(train)) == (Path(expected) if expected else None)


@pytest.mark.parametrize(
    ("start", "train"), [("train", "."), ("train", "./"), ("train/cat", ".."), (".", "train/"), ("test", "../train")]
)
def test_the_test_images_are_found_from_wherever_one_is(tmp_path, monkeypatch, start, train):
    for name in ("train/cat", "train/dog", "test"):
        touch(tmp_path, f"{name}/1.jpg")
    monkeypatch.chdir(tmp_path / start)
    sources = ImageSources(train)
    test = ImageSources.test_beside(sources.train)
    assert test is not None
    assert test.samefile(tmp_path / "test")
    assert read_images(replace(sources, test=test))[0].class_names == ("cat", "dog")


def test_the_test_images_of_a_shard_in_the_folder_one_is_in_are_found(tmp_path, monkeypatch):
    touch(tmp_path, "train/0.tar", "test/1.jpg", "elsewhere/x")
    for start, train in (("train", "0.tar"), ("elsewhere", "../train/0.tar")):
        monkeypatch.chdir(tmp_path / start)
        assert ImageSources.test_beside(Path(train)).samefile(tmp_path / "test")


def test_sources_may_be_named_by_text(photo_folder, tmp_path, monkeypatch):
    data = str(photo_folder)
    named = ImageSources(f"{data}/train", os.path.join(data, "test"), sample=f"{data}/sample_submission.csv")
    assert named == ImageSources(
        photo_folder / "train", photo_folder / "test", sample=photo_folder / "sample_submission.csv"
    )
    monkeypatch.setenv("HOME", data)
    monkeypatch.setenv("USERPROFILE", data)
    assert ImageSources("~/train").train == photo_folder / "train"
    assert ImageSources.train == Path("data/train")


@pytest.mark.parametrize("name", ["train", "test", "train_csv", "sample"])
def test_an_empty_name_is_an_error_and_not_the_folder_one_is_in(name):
    with pytest.raises(FrozenprobeError, match="a variable of the shell") as caught:
        ImageSources(**{name: ""})
    assert caught.value.where == f"--{name.replace('_', '-')}"


def test_a_folder_that_the_system_does_not_tell_of_is_an_error_that_says_so(tmp_path, monkeypatch):
    """Below a folder without permission; the tests may run as one who may go everywhere."""
    stat = os.stat

    def refused(path, *given, **options):
        if str(path).startswith(str(tmp_path / "shut")):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *given, **options)

    monkeypatch.setattr(os, "stat", refused)
    for read in (read_training, read_test):
        with pytest.raises(ImageError, match="found:  Permission denied"):
            read(tmp_path / "shut" / "train")


@pytest.mark.parametrize("name", ["labels.csv", "photo.jpg", "noending"])
def test_a_file_that_is_neither_shard_nor_list_says_what_can_be_named(tmp_path, name):
    touch(tmp_path, name)
    for read in (read_training, read_test):
        with pytest.raises(ImageError, match=r"tar shards \(\.tar\), or a list of images") as caught:
            read(tmp_path / name)
        assert ("--train-csv" in caught.value.remedy) == (name == "labels.csv")


def test_what_is_read_and_what_is_not_is_said_before_the_images_are_read(photo_folder, caplog):
    """A flat folder with its labels in a CSV beside it is refused: the note before says what to paste."""
    caplog.set_level("INFO", "frozenprobe")
    (photo_folder / "train.csv").write_text("image,label\n")
    with pytest.raises(ImageError):
        read_images(ImageSources(photo_folder / "test", photo_folder / "test"))
    told = f"not used: {photo_folder / 'train.csv'}; if one holds labels: --train-csv {photo_folder / 'train.csv'}"
    assert caplog.messages == [told]
    caplog.clear()
    read_images(ImageSources(photo_folder / "train", photo_folder / "test"))
    assert caplog.messages == [
        told,
        f"sample submission: {photo_folder / 'sample_submission.csv'}, 5 rows of ID, Label",
    ]
