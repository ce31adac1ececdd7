"""Folders that are no classes are refused with the folder that was meant, or remarked on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from frozenprobe.errors import ImageError
from frozenprobe.images.folders import read_class_folders
from frozenprobe.images.layout import (
    check_classes,
    inner_folder,
    labels_in_names,
    part_of,
    require_several,
    shared_folders,
)
from frozenprobe.images.listed.label_csv import read_labelled_csv
from frozenprobe.images.sources import CsvColumns
from tests.images.test_folders import touch

ROOT = Path("data")


def images(*folders: str) -> list[str]:
    return [f"{folder}/{key}.jpg" for folder in folders for key in range(2)]


SPLIT = images("train/cat", "train/dog")


@pytest.mark.parametrize(
    ("names", "meant"),
    [
        ([*SPLIT, *images("test")], '--train "data/train" --test "data/test"'),
        ([*SPLIT, *images("test", "test/more")], '--test "data/test"'),
        ([*SPLIT, *images("test/test")], '--train "data/train" --test "data/test/test"'),
        ([*SPLIT, *images("test/cat", "test/dog")], '--train "data/train" --test "data/test"'),
        ([*SPLIT, *images("val/cat", "val/dog")], '--train "data/train"'),
        ([*SPLIT, *images("valid/cat", "Test/cat", "Test/dog")], '--train "data/train" --test "data/Test"'),
        ([*images("train/set/cat", "train/set/dog", "holdout")], '--train "data/train/set"'),
        ([*images("Training/cat", "Training/dog", "Validation/cat")], '--train "data/Training"'),
        ([*images("seg_train/seg_train/a", "seg_train/seg_train/b", "seg_pred/seg_pred")], "data/seg_train/seg_train"),
        ([*images("train2017/a", "train2017/b", "val2017/a")], '--train "data/train2017"'),
        ([*images("train_images/a", "train_images/b", "test_images")], '--test "data/test_images"'),
        ([*images("val/cat", "test/cat")], "with --train DIR"),
        ([*images("train", "test")], '--train "data/train" --train-csv FILE --test "data/test"'),
    ],
)
def test_parts_of_a_data_set_are_refused_with_what_was_meant(names: list[str], meant: str) -> None:
    with pytest.raises(ImageError, match="parts of a data set") as caught:
        check_classes(ROOT, names)
    assert meant in caught.value.remedy.replace("\\", "/")


@pytest.mark.parametrize(
    "names",
    [
        images("freight_train", "passenger_train"),  # both are trains
        images("train", "bus"),
        images("valid", "invalid"),
        images("test tube", "flask"),
        images("cat", "dog"),
    ],
)
def test_classes_that_only_sound_like_parts_are_classes(names: list[str]) -> None:
    check_classes(ROOT, names)


@pytest.mark.parametrize("odd", ["train", "Images", "labels", "masks", "annotations", "data", "thumbnails", "fold_3"])
def test_other_odd_names_are_remarked_on(odd: str, caplog: pytest.LogCaptureFixture) -> None:
    check_classes(ROOT, images("cat", "dog", odd))
    assert f"named like parts of a data set: {odd} (" in caplog.text


def test_ordinary_names_are_not_remarked_on(caplog: pytest.LogCaptureFixture) -> None:
    check_classes(ROOT, images("cat", "dog", "database", "imagery", "valley", "n01440764/images", "training shoe"))
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("names", "folder"),
    [
        (images("set/cat", "set/dog"), "set"),
        (images("a/b/c/cat", "a/b/c/dog"), "a/b/c"),
        ([*images("images/train/cat", "images/train/dog", "images/val/cat")], "images/train"),
    ],
)
def test_a_folder_around_the_classes_is_named(names: list[str], folder: str) -> None:
    with pytest.raises(ImageError, match="At least two classes") as caught:
        require_several(ROOT, names)
    assert f'--train "data/{folder}"' in caught.value.remedy.replace("\\", "/")
    assert "cat, dog" in caught.value.found


def test_one_folder_of_images_has_no_inner_one() -> None:
    require_several(ROOT, images("cat"))
    assert inner_folder(images("cat")) == inner_folder(images("a/b")) == ""


def test_folds_that_hold_the_classes_are_remarked_on(caplog: pytest.LogCaptureFixture) -> None:
    check_classes(ROOT, images("site a/cat", "site a/dog", "site b/cat", "site b/dog"))
    assert "the same folders in it: cat, dog" in caplog.text
    assert f'--train "{ROOT / "site a"}"' in caplog.text
    for names in (images("a/images", "b/images"), images("a/x", "a/y", "b/x", "b"), images("a/x", "a/y")):
        assert shared_folders(names) == []


def test_words_in_front_and_behind_leave_the_part() -> None:
    assert [part_of(name) for name in ("TRAIN", "my-test_set", "val2017", "hold-out", "contest", "trains", "")] == [
        *("train", "test", "val", "hold-out", "", "", ""),
    ]


def test_labels_in_names_become_a_csv_by_the_line_that_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way Dogs vs. Cats, Oxford's pets and many a camera's folder come."""
    monkeypatch.chdir(tmp_path)
    names = ["cat.0.jpg", "cat.1.jpg", "sea lion (1).png", "sea lion (2).png"]
    touch(Path("flat"), *names, ".DS_Store", "Thumbs.db")
    with pytest.raises(ImageError) as caught:
        read_class_folders(Path("flat"))
    line = caught.value.remedy.partition("\n")[2].strip()
    assert line.startswith('python -c "')
    assert not set('"$%`') & set(line.removeprefix('python -c "').removesuffix('"'))
    subprocess.run([sys.executable, "-c", line.removeprefix('python -c "').removesuffix('"')], check=True)
    table = read_labelled_csv(Path("labels.csv"), Path("flat"), CsvColumns())
    assert table.class_names == ("cat", "sea lion")
    assert table.ids == tuple(names)


@pytest.mark.parametrize(
    "names", [["1.jpg", "2.jpg", "3.jpg", "4.jpg"], ["a.jpg", "b.jpg"], ["a1.jpg", "b1.jpg", "c1.jpg"]]
)
def test_names_without_labels_are_no_labels(names: list[str]) -> None:
    assert labels_in_names(Path("x"), names) == ""
