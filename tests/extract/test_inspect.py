"""What is found out before the pass: hashes, bad images all at once, and which images a smoke run takes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from frozenprobe.errors import ImageError
from frozenprobe.extract import inspect as inspection
from frozenprobe.extract.backbones.catalogue import ANY_VIT
from frozenprobe.extract.inspect import (
    Inspected,
    all_bad,
    announce_images,
    inspect,
    inspect_images,
    limited,
    make_split,
    planned_contents,
)
from frozenprobe.extract.options import Choices, ExtractRequest, FeatureOptions, WeightsOptions
from frozenprobe.extract.run import extract_features
from frozenprobe.extract.target import Target, open_target
from frozenprobe.images.read import read_images
from frozenprobe.images.sources import ImageSources
from frozenprobe.system.progress import ignore_progress
from tests.cache.test_contents import SAMPLE, opened
from tests.cache.test_contents import split as split_of
from tests.conftest import write_image

OPTIONS = WeightsOptions(3, 36, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture
def request_(photo_folder: Path, tiny_vit: Path, tmp_path: Path) -> ExtractRequest:
    """All of the photo folder through the tiny network, clean views only."""
    return ExtractRequest(
        sources=ImageSources(photo_folder / "train", photo_folder / "test"),
        choices=Choices(ANY_VIT, tiny_vit, OPTIONS, recipe="none", test_views=("clean",)),
        out=tmp_path / "f.h5",
        workers=0,
    )


def inspected(request: ExtractRequest) -> Inspected:
    return inspect(request, open_target(request, torch.device("cpu")), ignore_progress)


def truncate(path: Path) -> str:
    path.write_bytes(path.read_bytes()[:-100])
    return str(path)


def test_every_image_is_listed_with_the_hash_of_its_bytes(request_: ExtractRequest) -> None:
    found = inspected(request_)
    train, test, sample = read_images(request_.sources)
    for split, table in ((found.train, train), (found.test, test)):
        assert split.ids == table.ids
        assert split.hashes == tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in table.places)
        assert split.usable.all()
        assert all(found.places[code] == path for code, path in zip(split.hashes, table.places, strict=True))
    assert found.class_names == ("10", "2", "äpfel rot")
    assert np.array_equal(found.train.labels, train.labels)
    assert found.sample == sample
    assert found.skipped == []


def test_bad_training_images_are_one_error_that_names_the_first_and_the_rest(request_: ExtractRequest) -> None:
    folder = request_.sources.train
    bad = [truncate(folder / "10" / "1.jpg"), truncate(folder / "2" / "0.jpg"), truncate(folder / "2" / "3.jpg")]
    with pytest.raises(ImageError, match="Whole training images") as caught:
        inspected(request_)
    assert caught.value.where == bad[0]
    assert f"and 2 more: {bad[1]}, {bad[2]}" in caught.value.found
    assert "--skip-bad" in caught.value.remedy


def test_bad_test_image_is_an_error_too(request_: ExtractRequest) -> None:
    bad = truncate(request_.sources.test / "003.jpg")
    with pytest.raises(ImageError, match="Whole test images") as caught:
        inspected(request_)
    assert caught.value.where == bad


def test_skip_bad_leaves_training_images_out_and_keeps_test_images_marked(request_: ExtractRequest) -> None:
    bad = [truncate(request_.sources.train / "2" / "0.jpg"), truncate(request_.sources.test / "003.jpg")]
    found = inspected(replace(request_, skip_bad=True))
    assert "2/0.jpg" not in found.train.ids
    assert len(found.train) == 11
    assert found.test.ids[3] == "003.jpg"
    assert found.test.usable.tolist() == [True, True, True, False, True]
    assert found.test.hashes[3] not in found.places
    assert [text.split(": ")[0] for text in found.skipped] == bad


def test_skip_bad_cannot_leave_one_class_alone(request_: ExtractRequest) -> None:
    for name in ("10", "2"):
        for path in (request_.sources.train / name).iterdir():
            truncate(path)
    with pytest.raises(ImageError, match="and 7 more"):
        inspected(replace(request_, skip_bad=True))


def test_class_that_lost_all_its_images_is_not_listed(request_: ExtractRequest) -> None:
    for path in (request_.sources.train / "2").iterdir():
        truncate(path)
    found = inspected(replace(request_, skip_bad=True))
    assert found.class_names == ("10", "äpfel rot")
    assert sorted(set(found.train.labels.tolist())) == [0, 1]


@pytest.mark.parametrize("threads", [1, 4])
def test_hashes_and_errors_are_in_the_order_of_the_images(tmp_path: Path, threads: int) -> None:
    paths = [write_image(tmp_path / f"{index}.png", index) for index in range(8)]
    paths[5].write_bytes(b"")
    paths[2].unlink()
    paths[2].mkdir()
    seen: list[tuple[str, int, int]] = []
    hashes, bad = inspect_images(
        paths,
        remarks={},
        known=set(),
        side=32,
        max_pixels=10**6,
        threads=threads,
        progress=lambda *step: seen.append(step),
    )
    expected = ["" if index == 2 else hashlib.sha256(path.read_bytes()).hexdigest() for index, path in enumerate(paths)]
    assert hashes == expected
    assert list(bad) == [paths[2], paths[5]]
    assert "0 bytes" in bad[paths[5]].found
    assert seen == [("checking images", done, 8) for done in range(1, 9)]


def test_known_images_are_hashed_but_not_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write_image(tmp_path / f"{index}.png", index) for index in range(3)]
    known = {hashlib.sha256(paths[1].read_bytes()).hexdigest()}
    decoded: list[Path] = []
    monkeypatch.setattr(inspection, "check_image", lambda content, path, **limits: decoded.append(path))
    inspect_images(paths, remarks={}, known=known, side=32, max_pixels=10**6, threads=1, progress=ignore_progress)
    assert decoded == [paths[0], paths[2]]


def test_images_are_counted_before_any_is_opened(
    request_: ExtractRequest, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, test, _ = read_images(request_.sources)
    caplog.set_level("INFO", "frozenprobe")
    caplog.clear()
    announce_images(train, test)
    assert caplog.messages == ["images: 12 training in 3 classes, 4 each; 5 test"]
    monkeypatch.setattr(inspection, "inspect_images", None)
    with pytest.raises(TypeError):  # whoever opens images
        inspected(replace(request_, limit=4))
    assert caplog.messages[-2:] == [
        "images: 12 training in 3 classes, 4 each; 5 test",
        "of these for the smoke run: 4 training in 2 classes, 2 each; 4 test",
    ]


def test_odd_counts_and_folders_named_like_classes_are_told(
    request_: ExtractRequest, caplog: pytest.LogCaptureFixture
) -> None:
    train, test, _ = read_images(request_.sources)
    caplog.set_level("INFO", "frozenprobe")
    caplog.clear()
    announce_images(train.take([0, 1, 2, 3, 4]), None)
    announce_images(train, replace(test, ids=("10/a.jpg", "2/b.jpg", "x/c.jpg", "d.jpg", "e.jpg")))
    announce_images(train, replace(test, ids=("10/a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg")))
    assert caplog.messages[:2] == [
        "images: 5 training in 2 classes, from 1 (2) to 4 (10); no test images",
        "classes of one image, which cannot be scored: 2",
    ]
    assert "named like classes (10, 2): their ids keep the folder" in caplog.messages[3]
    assert len(caplog.messages) == 5


def test_a_test_folder_around_the_training_images_is_told(
    request_: ExtractRequest, caplog: pytest.LogCaptureFixture
) -> None:
    train, test, _ = read_images(replace(request_.sources, test=request_.sources.train.parent))
    announce_images(train, test)
    assert "12 test images are training images, too" in caplog.text


def test_images_in_which_nothing_will_be_seen_are_one_warning(
    request_: ExtractRequest, caplog: pytest.LogCaptureFixture
) -> None:
    names = [request_.sources.train / "2" / "1.jpg", request_.sources.test / "004.jpg"]
    for path in names:
        Image.new("RGB", (40, 30)).save(path)
    inspected(request_)
    expected = f"next to nothing is to be seen in 2 images (one colour all over): {names[0]}, {names[1]}"
    assert [text for text in caplog.messages if "seen" in text] == [expected]


def test_bad_images_of_several_kinds_each_say_what_they_are(request_: ExtractRequest) -> None:
    folder = request_.sources.train / "10"
    for name, content in (("0", b"<html>"), ("1", b"<html>x"), ("2", b""), ("3", b"%PDF-1")):
        (folder / f"{name}.jpg").write_bytes(content)
    with pytest.raises(ImageError) as caught:
        inspected(request_)
    assert caught.value.found == (
        f"an HTML page, not an image; and 3 more: {folder / '1.jpg'}, {folder / '2.jpg'} (an empty file (0 bytes)), "
        f"{folder / '3.jpg'} (a PDF or PostScript document, not an image)"
    )


def test_one_bad_image_alone_has_no_and_more() -> None:
    error = ImageError("A whole image", found="0 bytes", where="a.jpg", remedy="x")
    assert all_bad([error], "test").found == "0 bytes"


def test_limit_takes_a_few_images_of_a_few_classes_and_of_the_test_folder(request_: ExtractRequest) -> None:
    train, test, _ = read_images(request_.sources)
    few, few_test = limited(train, test, 4, None)
    assert few.ids == ("10/0.jpg", "10/1.jpg", "2/0.jpg", "2/1.jpg")
    assert few_test.ids == test.ids[:4]
    assert limited(train, test, None, None) == (train, test)
    assert limited(train, None, 4, None)[1] is None


def test_limit_drops_nothing_that_the_file_has(request_: ExtractRequest) -> None:
    """A smoke run on a complete file asks for all of it; one on a part asks for the part."""
    extract_features(request_)
    found = inspected(replace(request_, limit=4))
    assert (len(found.train), len(found.test)) == (12, 5)


def test_without_a_test_folder_the_files_test_images_and_sample_stay(request_: ExtractRequest) -> None:
    extract_features(request_)
    found = inspected(replace(request_, sources=replace(request_.sources, test=None)))
    assert found.test.ids == tuple(f"{index:03d}.jpg" for index in range(5))
    assert found.sample is not None
    assert not set(found.test.hashes) & set(found.places)


def test_split_keeps_groups_and_folds(request_: ExtractRequest) -> None:
    train, _, _ = read_images(request_.sources)
    table = replace(train, groups=tuple("abc" * 4), folds=tuple("12" * 6))
    split = make_split(table, {path: path.name for path in table.places}, {})
    assert (split.groups, split.folds) == (table.groups, table.folds)
    assert split.hashes == tuple(path.name for path in table.places)


def test_the_file_will_have_the_views_and_images_asked_for() -> None:
    existing = opened()
    target = Target(
        existing.path,
        existing,
        None,
        FeatureOptions(views=2, test_views=("clean", "direct")),
        torch.device("cpu"),
        None,
    )
    train, test = split_of("a", "b"), split_of("c", labels=False)
    wanted = planned_contents(target, Inspected(train, test, ("a", "b"), SAMPLE, {}, []))
    assert wanted.views == ("clean", "direct", "aug1", "aug2")
    assert (wanted.train, wanted.test, wanted.sample, wanted.class_names) == (train, test, SAMPLE, ("a", "b"))
    assert (wanted.spec, wanted.dim, wanted.about) == (existing.spec, existing.dim, existing.about)


def test_listed_images_that_were_skipped_are_remembered(request_: ExtractRequest, tmp_path: Path) -> None:
    names = [path.relative_to(request_.sources.train).as_posix() for path in read_images(request_.sources)[0].places]
    rows = [f"{name},{name.split('/')[0]}" for name in [*names, "2/gone.jpg"]]
    (tmp_path / "t.csv").write_text("\n".join(["image,label", *rows]), encoding="utf-8")
    sources = replace(request_.sources, train_csv=tmp_path / "t.csv", skip_missing=True)
    found = inspected(replace(request_, sources=sources))
    assert (len(found.train), found.missing) == (12, ("2/gone.jpg",))
