"""Parts of a table of images are tables of images."""

import numpy as np

from frozenprobe.images.folders import read_class_folders
from frozenprobe.images.table import limit_training


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
