"""A pipe that nobody writes to, in place of any file that a user may name: an error that names it, and no waiting."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from frozenprobe.cache.care.repair import repair_features
from frozenprobe.cache.care.verify import verify_features
from frozenprobe.cache.paths import piece_files, pieces_folder
from frozenprobe.cache.store import open_features
from frozenprobe.demo.run import read_pixels
from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.backbones.weights_file import read_weights
from frozenprobe.images.listed.label_csv import read_labelled_csv
from frozenprobe.images.places import Member
from frozenprobe.images.read import read_images, read_training
from frozenprobe.images.shards import read_label
from frozenprobe.images.sources import CsvColumns, ImageSources
from frozenprobe.probe.report.runs import load_predictions, newest_runs
from frozenprobe.probe.report.submission import read_label_map
from tests.cache.care.test_merge import begun
from tests.conftest import MakeFeatures, rewrite
from tests.faults.synthetic import world

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here"),
    pytest.mark.usefixtures("no_waiting"),
]


def pipe(path: Path) -> Path:
    """A pipe of this name, in place of a file if there is one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return path


def test_a_verification_tells_of_images_that_are_pipes(make_features: MakeFeatures, photo_folder: Path) -> None:
    features = make_features(classes=2, per_class=2, test=0)
    ids = ("10/0.jpg", "10/x.jpg", "2/0.jpg", "2/x.jpg")
    features = rewrite(features, "photos.h5", train=replace(features.train, ids=ids))
    pipe(photo_folder / "train" / "10" / "x.jpg")
    pipe(photo_folder / "train" / "2" / "x.jpg")
    report = verify_features(features.path, images=photo_folder)
    assert not report.sound
    assert report.images_checked == 4
    assert report.image_problems[0] == (
        "2 images cannot be read: train 10/x.jpg (no regular file (a folder, a pipe or a device)), "
        "train 2/x.jpg (no regular file (a folder, a pipe or a device))"
    )
    assert report.image_problems[1].startswith("2 images have another content")


def csv(path: Path, folder: Path) -> None:
    read_labelled_csv(path, folder / "train", CsvColumns())


def sample(path: Path, folder: Path) -> None:
    read_images(ImageSources(folder / "train", folder / "test", sample=path))


def member(path: Path, folder: Path) -> None:
    read_label(Member(path, "0.cls", 512, 4))


def pixels(path: Path, folder: Path) -> None:
    read_pixels((path,))


READERS: dict[str, Callable[[Path, Path], object]] = {
    "labels.csv": csv,
    "sample.csv": sample,
    "list.txt": lambda path, folder: read_training(path),
    "shard.tar": lambda path, folder: read_training(path),
    "member.tar": member,
    "photo.jpg": pixels,
    "weights.pth": lambda path, folder: read_weights(path),
    "weights.safetensors": lambda path, folder: read_weights(path),
    "map.csv": lambda path, folder: read_label_map(path, ("a", "b")),
    "features.h5": lambda path, folder: open_features(path),
}


@pytest.mark.parametrize("name", READERS)
def test_whoever_is_to_read_a_pipe_says_so_at_once(name: str, photo_folder: Path) -> None:
    path = pipe(photo_folder / name)
    with pytest.raises(FrozenprobeError, match=r"no (regular|such) file") as caught:
        READERS[name](path, photo_folder)
    assert str(path) in caught.value.where


@pytest.mark.parametrize("name", ["config.json", "predictions.npz"])
def test_a_run_with_a_pipe_in_it_is_none(tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text('{"created": "now"}')
    np.savez(run / "predictions.npz", oof=np.zeros((1, 2)))
    pipe(run / name)
    with pytest.raises(FrozenprobeError, match="no regular file") as caught:
        load_predictions(run)
    assert str(run) in caught.value.where
    with pytest.raises(FrozenprobeError, match="runs"):
        newest_runs(tmp_path, 2)


def test_a_piece_that_is_a_pipe_is_told_and_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    begun(path, world(7), 2)
    whole = verify_features(path)
    pipe(pieces_folder(path) / "00000009-00000000.h5")
    report = verify_features(path)
    assert report.problems == ["piece 00000009-00000000.h5: no regular file (a folder, a pipe or a device)"]
    assert (report.there, whole.problems) == (whole.there, [])
    assert repair_features(path).pieces_dropped == 1
    assert len(piece_files(path)) == whole.pieces
    assert verify_features(path).problems == []
