"""Parts of a table of images are tables of images."""

import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from frozenprobe.errors import ImageError
from frozenprobe.images.folders import read_class_folders
from frozenprobe.images.table import check_ids, labelled_table, limit_training


def test_a_smoke_run_keeps_enough_images_a_class_for_folds(photo_folder):
    table = limit_training(read_class_folders(photo_folder / "train"), 6)
    assert table.class_names == ("10", "2")
    assert np.bincount(table.labels).tolist() == [3, 3]


def test_taking_rows_drops_classes_that_are_gone(photo_folder):
    table = read_class_folders(photo_folder / "train")
    kept = table.take([index for index in range(12) if not table.ids[index].startswith("2/")])
    assert kept.class_names == ("10", "äpfel rot")
    assert kept.labels is not None
    assert kept.labels.tolist() == [0] * 4 + [1] * 4


def table_of(*names: str):
    found = [(f"{number}.jpg", Path(f"{number}.jpg")) for number in range(len(names))]
    return labelled_table(found, names, where=Path("train"))


def test_two_encodings_of_an_accent_are_one_class_and_that_is_said(caplog):
    table = table_of("Äpfel", unicodedata.normalize("NFD", "Äpfel"), "Birnen")
    assert (table.class_names, table.labels.tolist()) == (("Birnen", "Äpfel"), [1, 1, 0])
    assert "classes in two encodings of accents are taken for one: Äpfel" in caplog.text


def test_classes_that_only_look_alike_stay_apart_and_are_named(caplog):
    table = table_of("red apple", "Red_Apple", "red apple", "07", "7.0", "fig")
    assert len(table.class_names) == 5
    assert "'red apple' (2) and 'Red_Apple' (1), '07' (1) and '7.0' (1)" in caplog.text
    caplog.clear()
    table_of("fig", "figs", "1-2", "12", "é", "e")
    assert caplog.text == ""


def test_characters_that_nobody_sees_are_shown(caplog):
    table_of("fig", "kiwi\u200b")
    assert r"classes with characters that nobody sees: 'kiwi\u200b'" in caplog.text


@pytest.mark.parametrize(("encoding", "told"), [("utf-8", ""), ("ascii", ", or set PYTHONUTF8=1")])
def test_bytes_that_are_no_utf8_may_be_the_locales_fault(encoding, told, monkeypatch, tmp_path):
    """LC_ALL=C without Python's UTF-8 mode reads every other letter of a file's name as such bytes."""
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: encoding)
    with pytest.raises(ImageError) as caught:
        check_ids(["\udce7.jpg"], where=tmp_path)
    assert caught.value.remedy.startswith(f"rename these files{told}")
    assert ("PYTHONUTF8" in caught.value.remedy) == bool(told)
