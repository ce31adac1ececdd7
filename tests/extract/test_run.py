"""The one pass, end to end on real files with a tiny real network: what it computes, reuses, refuses and survives."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode

from frozenprobe.cache.care.merge import merge_features
from frozenprobe.cache.care.repair import repair_features
from frozenprobe.cache.care.verify import verify_features
from frozenprobe.cache.growing import finish as growth
from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.cache.store import Features, open_features
from frozenprobe.errors import DiskFull, FrozenprobeError, ImageError, SpecMismatch
from frozenprobe.extract import run, work
from frozenprobe.extract.backbones.catalogue import ANY_VIT
from frozenprobe.extract.compute import dtypes, loader
from frozenprobe.extract.compute import embedder as compute
from frozenprobe.extract.compute.loader import SPARE
from frozenprobe.extract.compute.pipeline import NO_PIXELS, Embedded, embed_jobs, embed_on_device
from frozenprobe.extract.forecast import forecast
from frozenprobe.extract.options import Choices, ExtractRequest, WeightsOptions
from frozenprobe.extract.ranks import rank
from frozenprobe.extract.ranks import share as together
from frozenprobe.extract.report import ExtractReport, render_report
from frozenprobe.extract.run import PieceWriter, extract_features
from frozenprobe.extract.views.cut import Cut, Row, cut_all
from frozenprobe.extract.views.preprocessing import Preprocessing, Resized
from frozenprobe.extract.views.recipes import cut_view, make_recipe, view_generator
from frozenprobe.images import places
from frozenprobe.images.folders import list_images
from frozenprobe.images.sources import CsvColumns, ImageSources
from frozenprobe.probe.crossval import cross_validate
from frozenprobe.probe.options import ProbeOptions
from tests.conftest import rewrite, write_image
from tests.faults.synthetic import DIM, vector, world
from tests.images.shard_files import write_tar

HALF = (0.5, 0.5, 0.5)
OPTIONS = WeightsOptions(3, 36, "bicubic", HALF, HALF)
Rows = dict[tuple[str, str], np.ndarray]
PREPROCESSING = Preprocessing(36, 32, "bicubic", HALF, HALF)
ROWS = 12 * 4 + 5 * 2  # 12 training images with 2 + 2 views, 5 test images with 2


@pytest.fixture
def request_(photo_folder: Path, tiny_vit: Path, tmp_path: Path) -> ExtractRequest:
    return ExtractRequest(
        sources=ImageSources(photo_folder / "train", photo_folder / "test"),
        choices=Choices(ANY_VIT, tiny_vit, OPTIONS, recipe="erase", views=2, storage_dtype="float32"),
        out=tmp_path / "f.h5",
        workers=0,
    )


def choosing(request: ExtractRequest, **choices: Any) -> ExtractRequest:
    return replace(request, choices=replace(request.choices, **choices))


def untyped(request: ExtractRequest, **choices: Any) -> ExtractRequest:
    """The same images and file, with nothing typed but these choices."""
    return replace(request, choices=Choices(**choices))


def extracted(request: ExtractRequest) -> tuple[ExtractReport, Features]:
    report = extract_features(request)
    return report, open_features(report.path)


def rows_of(features: Features) -> Rows:
    """(content hash, view) -> feature, of all usable images."""
    rows = {}
    for name, split, views in features.splits:
        for code, usable, vectors in zip(
            split.hashes, split.usable, features.read(name, range(len(views))), strict=True
        ):
            rows |= {(code, view): vector for view, vector in zip(views, vectors, strict=True) if usable}
    return rows


def same(one: Rows, other: Rows, *, atol: float = 0.0) -> bool:
    return set(one) == set(other) and all(np.allclose(one[key], other[key], rtol=0, atol=atol) for key in one)


def kept(old: Rows, new: Rows) -> bool:
    """All old rows are there, bit for bit."""
    return all(np.array_equal(old[key], new[key]) for key in old)


def index_of(features: Features) -> tuple[Any, ...]:
    train, test = features.train, features.test
    return (train.ids, train.hashes, train.labels.tolist(), test.ids, test.hashes, features.class_names, features.views)


def piece_bytes(rows: int, dim: int = 24) -> int:
    """Of a piece of so many rows; by default as wide as the tiny network's."""
    return rows * dim * 4


class Killed(BaseException):
    """Stands for a kill: nothing in the program handles it."""


def kill_after(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, calls: int = 0) -> None:
    """The call after so many calls of a function never happens."""
    original, made = getattr(owner, name), []

    def counted(*args: Any, **kwargs: Any) -> Any:
        if len(made) == calls:
            raise Killed
        made.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)


def run_killed(monkeypatch: pytest.MonkeyPatch, request: ExtractRequest, *, pieces: int = 0) -> None:
    """An extraction, a piece for every batch, that is killed when so many pieces are on disk."""
    with monkeypatch.context() as patch:
        patch.setattr(run, "PIECE_BYTES", piece_bytes(request.batch_size or 64))
        kill_after(patch, RowStore, "add", pieces)
        with pytest.raises(Killed):
            extract_features(request)


# What a row is.


def test_rows_equal_a_naive_loop(request_: ExtractRequest, tiny_vit: Path) -> None:
    """One image at a time, torchvision's own network and transforms; augmented views cut by the recipe alone."""
    report, features = extracted(request_)
    network = models.VisionTransformer(32, 8, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=48, num_classes=5)
    network.load_state_dict(torch.load(tiny_vit, weights_only=True))
    network.eval().heads = torch.nn.Identity()
    to_tensor = T.Compose([T.ToTensor(), T.Normalize(HALF, HALF)])
    clean = T.Compose([T.Resize(36, interpolation=InterpolationMode.BICUBIC), T.CenterCrop(32)])
    recipe, erased = make_recipe("erase", PREPROCESSING), 0
    for folder, split in ((request_.sources.train, features.train), (request_.sources.test, features.test)):
        for name, code in zip(split.ids, split.hashes, strict=True):
            image = Image.open(folder / name).convert("RGB")
            views = [to_tensor(clean(image)), to_tensor(clean(image)).flip(2)]
            for number in (1, 2) if split is features.train else ():
                rng = view_generator(code, number, recipe=recipe, seed=0)
                pixels, box = cut_view(Resized(image), recipe, rng)
                view = to_tensor(Image.fromarray(pixels.numpy()))
                if box is not None:
                    erased += 1
                    view[:, box[0] : box[0] + box[2], box[1] : box[1] + box[3]] = 0
                views.append(view)
            with torch.no_grad():
                expected = np.concatenate([network(view[None]) for view in views])
            found = np.stack([rows_of(features)[code, view] for view in features.views[: len(views)]])
            assert np.abs(found - expected).max() < 1e-5
    assert erased > 3
    assert (report.computed, report.reused, report.images, report.written) == (ROWS, 0, 17, True)


def test_a_file_of_views_cut_on_a_device_serves_as_before_but_does_not_grow(request_: ExtractRequest) -> None:
    """Until 0.6.0 that was a choice; nothing cuts such views any more, so new rows would be of other pixels."""
    here = extracted(request_)[1]
    spec = replace(here.spec, augment_on="device")
    there, other = (rewrite(here, name, spec=spec) for name in ("there.h5", "other.h5"))
    assert verify_features(there.path).problems == []
    assert cross_validate(there, ProbeOptions(head="ridge", folds=2)).test.shape == (5, 3)
    assert open_features(merge_features([there.path, other.path]).path).spec == spec
    content, request = there.path.read_bytes(), replace(request_, out=there.path)
    for again in (request, untyped(request), choosing(request, views=4)):
        with pytest.raises(SpecMismatch, match="augment_on = device") as caught:
            extract_features(again)
        assert caught.value.where == str(there.path)
        assert "another file with --out FILE; probe, submit and merge take this one" in caught.value.remedy
    assert there.path.read_bytes() == content


def test_file_holds_what_was_asked_for_and_where_it_came_from(request_: ExtractRequest, tiny_vit: Path) -> None:
    _, features = extracted(request_)
    assert features.views == ("clean", "hflip", "aug1", "aug2")
    assert features.class_names == ("10", "2", "äpfel rot")
    assert features.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert features.test.ids == tuple(f"{index:03d}.jpg" for index in range(5))
    assert features.sample.columns == ("ID", "Label")
    assert features.dim == 24
    assert (features.spec.recipe, features.spec.seed, features.spec.storage_dtype) == ("erase", 0, "float32")
    assert features.spec.preprocessing == PREPROCESSING.canonical()
    about = features.about
    assert about["weights"] == about["weights_file"] == str(tiny_vit)
    assert f"torch {torch.__version__.split('+')[0]}" in about["libraries"]
    assert "licence of the weights" in about["remarks"]
    assert about["created"] > "2020"


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_rows_do_not_depend_on_the_batch_size(request_: ExtractRequest, tmp_path: Path, batch_size: int) -> None:
    _, one = extracted(request_)
    _, other = extracted(replace(request_, batch_size=batch_size, out=tmp_path / "other.h5"))
    assert same(rows_of(one), rows_of(other), atol=1e-5)
    assert index_of(one) == index_of(other)


def test_rows_do_not_depend_on_the_workers(request_: ExtractRequest, tmp_path: Path) -> None:
    """But for rounding: with more threads in a call some processors (AMD's) sum in another order."""
    _, one = extracted(request_)
    _, other = extracted(replace(request_, workers=2, out=tmp_path / "other.h5"))
    assert same(rows_of(one), rows_of(other), atol=1e-6)


@pytest.mark.parametrize(
    "choices",
    [{"seed": 1}, {"recipe": "mild"}, {"recipe": "report"}, {"preprocessing": "report"}, {"compute_dtype": "bfloat16"}],
    ids=str,
)
def test_rows_depend_on_every_choice_in_the_specification(
    request_: ExtractRequest, tmp_path: Path, choices: dict[str, Any]
) -> None:
    _, one = extracted(request_)
    _, other = extracted(replace(choosing(request_, **choices), out=tmp_path / "other.h5"))
    assert one.spec.fingerprint() != other.spec.fingerprint()
    mine, others = rows_of(one), rows_of(other)
    assert any(not np.array_equal(mine[key], others[key]) for key in mine)
    same_clean = all(np.allclose(mine[key], others[key], atol=1e-5) for key in mine if key[1] == "clean")
    assert same_clean == (set(choices) <= {"seed", "recipe"})


def test_float16_storage_is_float32_rounded(request_: ExtractRequest, tmp_path: Path) -> None:
    _, whole = extracted(request_)
    _, half = extracted(replace(choosing(request_, storage_dtype="float16"), out=tmp_path / "half.h5"))
    mine, others = rows_of(whole), rows_of(half)
    assert all(np.array_equal(mine[key].astype(np.float16).astype(np.float32), others[key]) for key in mine)


def test_equal_files_are_computed_once_and_stored_for_each(request_: ExtractRequest) -> None:
    shutil.copy(request_.sources.train / "2" / "0.jpg", request_.sources.train / "2" / "copy.jpg")
    shutil.copy(request_.sources.train / "2" / "0.jpg", request_.sources.test / "copy.jpg")
    report, features = extracted(request_)
    assert report.computed == ROWS
    train = features.read("train", range(4))
    first, second = features.train.ids.index("2/0.jpg"), features.train.ids.index("2/copy.jpg")
    assert np.array_equal(train[first], train[second])
    assert np.array_equal(features.read("test", range(2))[features.test.ids.index("copy.jpg")], train[first, :2])


def test_a_csv_with_groups_and_folds_is_read(request_: ExtractRequest) -> None:
    folder = request_.sources.train
    paths = sorted(folder.rglob("*.jpg"))
    lines = [f"{path.relative_to(folder)},{path.parent.name},p{path.stem},{path.stem}" for path in paths]
    csv = folder.parent / "train.csv"
    csv.write_text("\n".join(["file,label,patient,fold", *lines]), encoding="utf-8")
    columns = CsvColumns("file", "label", "patient", "fold")
    _, features = extracted(replace(request_, sources=replace(request_.sources, train_csv=csv, columns=columns)))
    assert features.train.folds == tuple(name[-5] for name in features.train.ids)
    assert features.train.groups == tuple(f"p{name[-5]}" for name in features.train.ids)


@pytest.mark.parametrize("workers", [0, 2])
def test_shards_give_the_rows_of_the_folder_they_were_made_of(
    request_: ExtractRequest, tmp_path: Path, workers: int
) -> None:
    sources = in_shards(request_.sources, tmp_path)
    _, one = extracted(replace(request_, workers=workers))
    report, other = extracted(replace(request_, sources=sources, workers=workers, out=tmp_path / "other.h5"))
    assert report.computed == ROWS
    assert same(rows_of(one), rows_of(other))
    assert index_of(one) == index_of(other)
    assert other.sample.rows == one.sample.rows


def in_shards(sources: ImageSources, folder: Path) -> ImageSources:
    """The training images in two shards, named by a pattern, the test images in one with a folder at its top."""
    files = dict(list_images(sources.train))
    cut = dict(list(files.items())[:5])
    write_tar(folder / "s" / "train-0.tar", {name: path.read_bytes() for name, path in cut.items()})
    write_tar(folder / "s" / "train-1.tar", {name: files[name].read_bytes() for name in files if name not in cut})
    test = write_tar(folder / "data" / "t.tar", {name: path.read_bytes() for name, path in list_images(sources.test)})
    return replace(sources, train=folder / "s" / "train-{0..1}.tar", test=test)


# Growing: only what is missing is computed.


def test_after_shards_the_folder_and_a_list_compute_nothing(request_: ExtractRequest, tmp_path: Path) -> None:
    """Rows are kept by content: where it lies is nothing to them."""
    sources = in_shards(request_.sources, tmp_path)
    assert extract_features(replace(request_, sources=sources)).computed == ROWS
    before = request_.out.read_bytes()
    report = extract_features(request_)
    assert (report.computed, report.reused, report.written) == (0, ROWS, False)
    lines = [f"train/{name}\t{name.split('/')[0]}" for name, _ in list_images(request_.sources.train)]
    (tmp_path / "data" / "train.txt").write_text("\n".join(lines), encoding="utf-8")
    listed = replace(request_.sources, train=tmp_path / "data" / "train.txt")
    assert request_.out.read_bytes() == before
    report, features = extracted(replace(request_, sources=listed))
    assert (report.computed, report.reused, report.written) == (0, ROWS, True)
    assert features.train.ids[0] == "train/10/0.jpg"


def test_a_bad_member_is_named_by_shard_and_name_and_can_be_skipped(request_: ExtractRequest, tmp_path: Path) -> None:
    good = {name: path.read_bytes() for name, path in list_images(request_.sources.train)}
    shard = write_tar(tmp_path / "x.tar", good | {"2/bad.jpg": good["2/0.jpg"][:-20], "2/empty.jpg": b""})
    request = replace(request_, sources=replace(request_.sources, train=shard))
    with pytest.raises(ImageError, match="and 1 more") as caught:
        extract_features(request)
    assert caught.value.where == f"{shard}/2/bad.jpg"
    report, _ = extracted(replace(request, skip_bad=True))
    assert [text.split(":")[0] for text in report.skipped] == [f"{shard}/2/bad.jpg", f"{shard}/2/empty.jpg"]
    assert report.computed == ROWS


def test_a_shard_that_changes_during_extraction_is_told(
    request_: ExtractRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rewritten with its images elsewhere: other bytes at the same place must not become rows."""
    sources = in_shards(request_.sources, tmp_path)
    missing_jobs = work.missing_jobs

    def jobs_of(*given: Any) -> Any:
        with (tmp_path / "s" / "train-0.tar").open("r+b") as file:
            file.write(b"x" * 20_000)
        return missing_jobs(*given)

    monkeypatch.setattr(work, "missing_jobs", jobs_of)
    with pytest.raises(ImageError, match="another content"):
        extract_features(replace(request_, sources=sources))


def test_second_run_finds_nothing_left_to_do(request_: ExtractRequest) -> None:
    extract_features(request_)
    before = request_.out.read_bytes()
    report = extract_features(request_)
    assert (report.written, report.computed, report.reused) == (False, 0, ROWS)
    assert "nothing left to do" in render_report(report)
    assert request_.out.read_bytes() == before
    assert sorted(path.name for path in request_.out.parent.iterdir()) == ["data", "f.h5"]


def test_second_run_does_not_even_load_the_backbone(request_: ExtractRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    extract_features(request_)
    kill_after(monkeypatch, sys.modules["frozenprobe.extract.target"], "load_backbone")
    assert not extract_features(untyped(request_)).written


def test_options_that_are_not_typed_are_the_files(request_: ExtractRequest, tmp_path: Path) -> None:
    """Recipe, seed, weights, heads ... all come from the file when another view is asked for."""
    request = choosing(request_, recipe="crop-flip", seed=9, preprocessing="report", test_views=("clean",))
    _, before = extracted(request)
    report, after = extracted(untyped(request_, views=3))
    assert report.computed == 12
    assert after.spec == before.spec
    _, whole = extracted(replace(choosing(request, views=3), out=tmp_path / "whole.h5"))
    assert same(rows_of(after), rows_of(whole), atol=1e-5)


def test_more_views_compute_only_those(request_: ExtractRequest, tmp_path: Path) -> None:
    """Old rows stay bit-equal; the new ones are those a fresh file would have."""
    old = rows_of(extracted(request_)[1])
    report, after = extracted(choosing(request_, views=5, test_views=("clean", "hflip", "direct")))
    assert report.computed == 12 * (3 + 1) + 5
    assert report.reused == ROWS
    assert after.views == ("clean", "hflip", "direct", "aug1", "aug2", "aug3", "aug4", "aug5")
    assert kept(old, rows_of(after))
    whole = replace(choosing(request_, views=5, test_views=("direct", "hflip")), out=tmp_path / "whole.h5")
    assert same(rows_of(after), rows_of(extracted(whole)[1]), atol=1e-5)


def test_fewer_views_leave_the_file_as_it_is(request_: ExtractRequest) -> None:
    extract_features(request_)
    before = request_.out.read_bytes()
    report = extract_features(choosing(request_, views=1, test_views=("clean",)))
    assert not report.written
    assert request_.out.read_bytes() == before


def test_new_photo_computes_only_itself(request_: ExtractRequest) -> None:
    old = rows_of(extracted(request_)[1])
    write_image(request_.sources.train / "2" / "new.png", 555)
    report, after = extracted(request_)
    assert (report.computed, report.written) == (4, True)
    assert "2/new.png" in after.train.ids
    assert kept(old, rows_of(after))
    assert len(rows_of(after)) == len(old) + 4


def test_new_class_moves_the_labels_but_no_rows(request_: ExtractRequest) -> None:
    extract_features(request_)
    write_image(request_.sources.train / "11" / "new.png", 555)
    report, after = extracted(request_)
    assert report.computed == 4
    assert after.class_names == ("10", "11", "2", "äpfel rot")
    named = {name: after.class_names[label] for name, label in zip(after.train.ids, after.train.labels, strict=True)}
    assert all(name.split("/")[0] == label for name, label in named.items())


def test_renamed_and_relabelled_photos_keep_their_rows(request_: ExtractRequest) -> None:
    old = rows_of(extracted(request_)[1])
    folder = request_.sources.train
    (folder / "2" / "0.jpg").rename(folder / "10" / "from 2.jpg")
    (folder / "2" / "1.jpg").rename(folder / "2" / "ünder.JPG")
    report, after = extracted(request_)
    assert (report.computed, report.written) == (0, True)
    assert same(old, rows_of(after))
    assert after.train.labels[after.train.ids.index("10/from 2.jpg")] == 0
    assert "2/ünder.JPG" in after.train.ids
    code = hashlib.sha256((folder / "10" / "from 2.jpg").read_bytes()).hexdigest()
    assert after.train.hashes[after.train.ids.index("10/from 2.jpg")] == code


def test_changed_photo_is_computed_again(request_: ExtractRequest) -> None:
    extract_features(request_)
    write_image(request_.sources.train / "2" / "0.jpg", 777)
    report, after = extracted(request_)
    assert report.computed == 4
    assert len(rows_of(after)) == ROWS


def test_removed_photos_leave_the_file_and_that_is_said(
    request_: ExtractRequest, caplog: pytest.LogCaptureFixture
) -> None:
    extract_features(request_)
    (request_.sources.train / "2" / "0.jpg").unlink()
    with caplog.at_level(logging.INFO, "frozenprobe"):
        report, after = extracted(request_)
    assert (report.computed, len(after.train)) == (0, 11)
    assert "images that are no longer there and leave the feature file: 1" in caplog.text


def test_other_images_under_the_files_name_are_refused(request_: ExtractRequest, tmp_path: Path) -> None:
    extract_features(request_)
    before = request_.out.read_bytes()
    for key in range(4):
        write_image(tmp_path / "other" / "ab"[key % 2] / f"{key}.png", 3000 + key)
    with pytest.raises(FrozenprobeError, match="these are other images"):
        extract_features(replace(request_, sources=ImageSources(tmp_path / "other", None)))
    assert request_.out.read_bytes() == before


def test_changed_sample_is_taken_over_without_computing(request_: ExtractRequest) -> None:
    extract_features(request_)
    sample = request_.sources.test.parent / "sample_submission.csv"
    sample.write_text(sample.read_text().replace("Label", "Class"))
    report, after = extracted(request_)
    assert (report.computed, report.written) == (0, True)
    assert after.sample.columns == ("ID", "Class")


def test_limited_run_is_reused_by_the_full_one(request_: ExtractRequest, tmp_path: Path) -> None:
    report, part = extracted(replace(request_, limit=4))
    assert (len(part.train), len(part.test), report.computed) == (4, 4, 24)
    assert len(part.class_names) == 2
    report, whole = extracted(request_)
    assert (report.computed, report.reused) == (ROWS - 24, 24)
    _, fresh = extracted(replace(request_, out=tmp_path / "fresh.h5"))
    assert same(rows_of(whole), rows_of(fresh), atol=1e-5)


def test_limit_on_a_complete_file_drops_nothing(request_: ExtractRequest) -> None:
    extract_features(request_)
    before = request_.out.read_bytes()
    assert not extract_features(replace(request_, limit=4)).written
    assert request_.out.read_bytes() == before


def test_without_test_images_the_files_stay(request_: ExtractRequest) -> None:
    _, before = extracted(request_)
    rows = before.read("test", [0, 1])
    alone = replace(request_, sources=replace(request_.sources, test=None))
    assert not extract_features(alone).written
    report, after = extracted(choosing(alone, views=3))
    assert report.computed == 12
    assert after.test.ids == before.test.ids
    assert np.array_equal(after.read("test", [0, 1]), rows)
    with pytest.raises(FrozenprobeError, match="--test DIR"):
        extract_features(choosing(alone, test_views=("direct",)))


def test_test_images_can_come_later(request_: ExtractRequest) -> None:
    _, before = extracted(replace(request_, sources=replace(request_.sources, test=None)))
    assert before.test is None
    report, after = extracted(request_)
    assert (report.computed, len(after.test)) == (10, 5)


@pytest.mark.parametrize(
    ("choices", "field"),
    [
        ({"seed": 1}, "seed"),
        ({"recipe": "mild"}, "recipe"),
        ({"storage_dtype": "float16"}, "storage_dtype"),
        ({"compute_dtype": "bf16"}, "compute_dtype"),
        ({"preprocessing": "report"}, "preprocessing"),
        ({"weights_options": replace(OPTIONS, heads=4)}, "weights_digest"),
        ({"weights_options": replace(OPTIONS, resize=40)}, "preprocessing"),
        ({"backbone": "resnet18.in1k"}, "backbone"),
    ],
    ids=str,
)
@pytest.mark.parametrize("more", [0, 1])
def test_typed_choice_that_differs_is_an_error_and_the_file_stays(
    request_: ExtractRequest, choices: dict[str, Any], field: str, more: int
) -> None:
    """Whether anything is left to compute or not."""
    extract_features(request_)
    before = request_.out.read_bytes()
    with pytest.raises(SpecMismatch, match=f"Features with {field} = "):
        extract_features(untyped(request_, views=2 + more, **choices))
    assert request_.out.read_bytes() == before


def test_other_weights_under_the_same_name_are_an_error(request_: ExtractRequest, tmp_path: Path) -> None:
    extract_features(request_)
    state = torch.load(request_.choices.weights, weights_only=True)
    torch.save({name: tensor * 1.01 for name, tensor in state.items()}, tmp_path / "other.pth")
    with pytest.raises(SpecMismatch, match="weights_digest"):
        extract_features(untyped(request_, weights=tmp_path / "other.pth"))


# Bad images.


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def test_bad_training_images_stop_the_run_before_it_costs_anything(
    request_: ExtractRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(request_.sources.train / "2" / "0.jpg")
    damage(request_.sources.train / "10" / "0.jpg")
    kill_after(monkeypatch, run, "compute")
    with pytest.raises(ImageError, match="and 1 more: ") as caught:
        extract_features(request_)
    assert caught.value.where.endswith("10/0.jpg")
    assert not request_.out.exists()


def test_skip_bad_leaves_them_out_lists_them_and_stays_that_way(request_: ExtractRequest) -> None:
    damage(request_.sources.train / "2" / "0.jpg")
    damage(request_.sources.test / "003.jpg")
    request = replace(request_, skip_bad=True)
    report, features = extracted(request)
    assert report.computed == 11 * 4 + 4 * 2
    assert [Path(text.split(": ")[0]).name for text in report.skipped] == ["0.jpg", "003.jpg"]
    assert "bad images, skipped: 2" in render_report(report)
    assert "2/0.jpg" not in features.train.ids
    assert features.test.usable.tolist() == [True, True, True, False, True]
    assert not features.read("test", [0, 1])[3].any()
    again = extract_features(request)
    assert (again.written, again.skipped) == (False, report.skipped)


def test_repaired_image_is_computed_and_usable(request_: ExtractRequest) -> None:
    path = request_.sources.test / "003.jpg"
    whole = path.read_bytes()
    damage(path)
    extract_features(replace(request_, skip_bad=True))
    path.write_bytes(whole)
    report, features = extracted(request_)
    assert report.computed == 2
    assert features.test.usable.all()


def test_image_that_changes_under_the_run_is_an_error(
    request_: ExtractRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, original = request_.sources.train / "2" / "3.jpg", run.compute

    def meddle(*args: Any, **kwargs: Any) -> Any:
        write_image(path, 4242)
        return original(*args, **kwargs)

    monkeypatch.setattr(run, "compute", meddle)
    with pytest.raises(ImageError, match="another content") as caught:
        extract_features(replace(request_, batch_size=4))
    assert caught.value.where == str(path)
    assert not request_.out.exists()


# Vectors that cannot be stored.


def changed_weights(request: ExtractRequest, path: Path, change: Callable[[dict[str, Any]], Any]) -> ExtractRequest:
    state = torch.load(request.choices.weights, weights_only=True)
    change(state)
    torch.save(state, path)
    return choosing(request, weights=path)


def test_nan_weights_are_an_error_that_names_an_image(request_: ExtractRequest, tmp_path: Path) -> None:
    request = changed_weights(request_, tmp_path / "w.pth", lambda state: state["conv_proj.bias"].fill_(torch.nan))
    with pytest.raises(FrozenprobeError, match="NaN or infinity") as caught:
        extract_features(request)
    assert caught.value.where == f"{request.sources.train / '10' / '0.jpg'}, view clean"
    assert not request.out.exists()


@pytest.mark.filterwarnings("error")
def test_feature_beyond_float16_asks_for_float32_storage(request_: ExtractRequest, tmp_path: Path) -> None:
    request = changed_weights(request_, tmp_path / "w.pth", lambda state: state["encoder.ln.weight"].mul_(1e6))
    with pytest.raises(FrozenprobeError, match="beyond float16's 65504") as caught:
        extract_features(choosing(request, storage_dtype="float16"))
    assert "--storage float32" in caught.value.remedy
    _, features = extracted(request)
    assert np.abs(features.read("train", [0])).max() > 65504


# Kills: at any instant, at most the batch in flight is lost.


def test_killed_run_goes_on_where_it_was(
    request_: ExtractRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed when 3 of 15 batches of 4 were on disk: the next run computes the rest, and the file is the same."""
    request = replace(request_, batch_size=4)
    run_killed(monkeypatch, request, pieces=3)
    assert not request.out.exists()
    report, resumed = extracted(request)
    assert (report.computed, report.reused) == (ROWS - 12, 12)
    _, whole = extracted(replace(request, out=tmp_path / "whole.h5"))
    assert index_of(resumed) == index_of(whole)
    assert same(rows_of(resumed), rows_of(whole))  # bit for bit: the kill fell between batches of equal shape
    assert not request.out.with_name("f.h5.pieces").exists()


@pytest.mark.parametrize("instant", ["utc_now", "write_features"])
def test_run_killed_before_publishing_computes_nothing_again(
    request_: ExtractRequest, monkeypatch: pytest.MonkeyPatch, instant: str
) -> None:
    with monkeypatch.context() as patch:
        kill_after(patch, growth, instant)
        with pytest.raises(Killed):
            extract_features(request_)
    report, features = extracted(request_)
    assert (report.computed, report.reused, report.written) == (0, ROWS, True)
    assert len(rows_of(features)) == ROWS
    assert features.dim == 24
    assert features.about["licence"]


def test_growing_file_is_whole_at_every_instant(request_: ExtractRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while views are added, and again while the grown file is written: the old file is still there."""
    old = rows_of(extracted(request_)[1])
    content = request_.out.read_bytes()
    for owner, name, calls in ((RowStore, "add", 0), (together, "finish", 0), (growth, "write_features", 0)):
        with monkeypatch.context() as patch:
            kill_after(patch, owner, name, calls)
            with pytest.raises(Killed):
                extract_features(choosing(request_, views=4))
        assert request_.out.read_bytes() == content
    report, after = extracted(choosing(request_, views=4))
    assert report.computed == 0
    assert kept(old, rows_of(after))


def test_what_was_begun_holds_what_is_typed_next_to_it(
    request_: ExtractRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed with seed 0: another seed is an error that names the field, and no row is lost or mixed."""
    with monkeypatch.context() as patch:
        kill_after(patch, together, "finish")
        with pytest.raises(Killed):
            extract_features(request_)
    with pytest.raises(SpecMismatch, match="Features with seed = 1"):
        extract_features(choosing(request_, seed=1))
    assert extract_features(request_).computed == 0


def test_killed_first_run_remembers_what_was_typed(request_: ExtractRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipe, weights, heads, views ... of the plan hold until the file is there."""
    request = replace(choosing(request_, seed=3, views=3), batch_size=10)
    run_killed(monkeypatch, request, pieces=1)
    report, features = extracted(untyped(request))
    assert report.reused == 10
    assert (features.spec.seed, features.spec.recipe, len(features.augmented_views)) == (3, "erase", 3)


def test_plan_without_a_row_holds_nobody(request_: ExtractRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    run_killed(monkeypatch, request_)
    _, features = extracted(choosing(request_, seed=1))
    assert features.spec.seed == 1


def test_process_killed_by_the_system_loses_the_batch_in_flight(request_: ExtractRequest, tmp_path: Path) -> None:
    """A real SIGKILL from inside the fourth batch, in a process of its own."""
    request = replace(request_, batch_size=4)
    script = f"""
import os, signal
from pathlib import Path, PosixPath
from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.extract import run
from frozenprobe.extract.run import extract_features
from frozenprobe.extract.options import Choices, ExtractRequest, WeightsOptions
from frozenprobe.images.sources import CsvColumns, ImageSources
add, calls = RowStore.add, []
def add_or_die(*args):
    calls.append(1)
    os.kill(os.getpid(), signal.SIGKILL) if len(calls) == 4 else add(*args)
RowStore.add = add_or_die
run.PIECE_BYTES = {piece_bytes(4)}
extract_features({request!r})
"""
    if os.name == "nt":
        pytest.skip("no SIGKILL")
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert extract_features(request).computed == ROWS - 12


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_killed_worker_process_costs_no_row_that_was_computed(
    request_: ExtractRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cut five images and dies of the sixth; four were asked for before, and one may be on its way."""
    cuts = []

    def cut_or_die(*args: Any) -> Cut:
        cuts.append(1)
        if len(cuts) == 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return cut_all(*args)

    request = replace(request_, batch_size=4, workers=1)
    with monkeypatch.context() as patch:
        patch.setattr(loader, "cut_all", cut_or_die)
        patch.setattr(work, "embed_jobs", embed_on_device)
        with pytest.raises(FrozenprobeError, match=r"killed by signal: Killed|one is gone"):
            extract_features(request)
    report = extract_features(request)
    assert report.reused >= 12
    assert report.computed == ROWS - report.reused


def test_a_signal_while_the_last_rows_are_written_is_told_when_they_are(
    request_: ExtractRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch tells of a dead worker from a signal handler, wherever the main thread is."""
    dead, join = "DataLoader worker (pid 7) is killed by signal: Killed.", Thread.join

    def interrupted(self: Thread, timeout: float | None = None) -> None:
        if self.name == "write":
            monkeypatch.setattr(Thread, "join", join)
            raise RuntimeError(dead)
        join(self, timeout)

    monkeypatch.setattr(Thread, "join", interrupted)
    with pytest.raises(FrozenprobeError, match="killed by signal: Killed"):
        extract_features(request_)
    monkeypatch.setattr(Thread, "join", join)
    assert extract_features(request_).reused == ROWS


def test_as_many_processes_cut_as_there_is_shared_memory_for(
    request_: ExtractRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settled once, for the pass and for what is told of it; threads of a CPU share all memory anyway."""
    asked: list[Any] = []
    monkeypatch.setattr(work, "own_shared_memory", lambda: 1)
    assert "7 threads" in extract_features(replace(request_, workers=7)).compute
    settle, room = work.settle_workers, 2 * 32 * 32 * 3  # bytes of the two views that an image lacks
    monkeypatch.setattr(work, "settle_workers", lambda *args: settle(*args[:3], 4 * room + SPARE))
    monkeypatch.setattr(work, "embed_jobs", lambda *args, **how: asked.append(how) or embed_jobs(*args, **how))
    assert "3 threads" in extract_features(replace(choosing(request_, views=4), workers=7)).compute
    assert [(how["workers"], how["prefetch"]) for how in asked] == [(3, 1)]


def test_killed_run_of_other_images_under_the_files_name_is_not_taken_over(
    request_: ExtractRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = replace(request_, batch_size=8)
    run_killed(monkeypatch, request, pieces=1)
    for key in range(4):
        write_image(tmp_path / "other" / "ab"[key % 2] / f"{key}.png", 3000 + key)
    with pytest.raises(FrozenprobeError, match="these are other images"):
        extract_features(replace(request_, sources=ImageSources(tmp_path / "other", None)))
    assert extract_features(request_).reused == 8


def test_image_that_cannot_be_read_for_a_moment_does_not_lose_its_rows(
    request_: ExtractRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that hiccups: a stop, even with --skip-bad; a new image may be left out."""
    extract_features(request_)
    before = request_.out.read_bytes()
    lost, read = request_.sources.train / "2" / "1.jpg", places.read_regular

    def hiccup(path: Path) -> bytes:
        if path == lost:
            raise OSError(5, "Input/output error")
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(places, "read_regular", hiccup)
        with pytest.raises(ImageError, match="Input/output error"):
            extract_features(replace(request_, skip_bad=True))
    assert request_.out.read_bytes() == before
    lost = write_image(request_.sources.train / "2" / "new.jpg", 77)
    with monkeypatch.context() as patch:
        patch.setattr(places, "read_regular", hiccup)
        report = extract_features(replace(request_, skip_bad=True))
    assert report.skipped == [f"{lost}: Input/output error"]


def test_damaged_rows_stop_a_growth_before_anything_is_computed(
    request_: ExtractRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, features = extracted(request_)
    content = bytearray(request_.out.read_bytes())
    content[features.arrays("train")[0].offset] ^= 1
    request_.out.write_bytes(content)
    with monkeypatch.context() as patch:
        kill_after(patch, RowStore, "add")
        with pytest.raises(FrozenprobeError, match="12 rows of train, view clean"):
            extract_features(choosing(request_, views=3))
    repair_features(request_.out)
    report, after = extracted(choosing(request_, views=3))
    assert report.computed == 12 + 12
    assert "f.h5.damaged, which repair put aside, is no longer needed" in render_report(report)
    assert len(after.augmented_views) == 3


def test_link_to_a_feature_file_stays_a_link(request_: ExtractRequest, tmp_path: Path) -> None:
    extract_features(request_)
    link = tmp_path / "link.h5"
    link.symlink_to(request_.out)
    report = extract_features(replace(choosing(request_, views=3), out=link))
    assert report.path == request_.out
    assert link.is_symlink()
    assert len(open_features(link).augmented_views) == 3


# Another process is faster, between the look at the file and the lock on it.


def meanwhile(monkeypatch: pytest.MonkeyPatch, others: Callable[[], object]) -> None:
    """Let another process do something when this one has looked at the file, and does not hold the lock yet."""
    writing, done = run.writing, []

    def late(*args: Any, **kwargs: Any) -> Any:
        if not done:
            done.append(1)
            others()
        return writing(*args, **kwargs)

    monkeypatch.setattr(run, "writing", late)


def test_a_file_that_has_grown_meanwhile_loses_nothing(
    request_: ExtractRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four views were paid for; whoever wanted three, and had seen two, gets them from there."""
    extract_features(request_)
    meanwhile(monkeypatch, lambda: extract_features(choosing(request_, views=4)))
    report, features = extracted(choosing(request_, views=3))
    assert (report.computed, report.written) == (0, False)
    assert len(features.augmented_views) == 4


def test_a_plan_that_appeared_meanwhile_holds(request_: ExtractRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process began with four views and was killed: what it had typed holds who types nothing."""
    extract_features(request_)
    meanwhile(
        monkeypatch, lambda: run_killed(monkeypatch, replace(choosing(request_, views=4), batch_size=8), pieces=1)
    )
    report, features = extracted(untyped(request_))
    assert (report.computed, len(features.augmented_views)) == (24 - 8, 4)


def test_a_file_of_another_specification_that_appeared_meanwhile_is_not_replaced(
    request_: ExtractRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile(monkeypatch, lambda: extract_features(choosing(request_, seed=1)))
    with pytest.raises(SpecMismatch, match="Features with seed = 2"):
        extract_features(choosing(request_, seed=2))
    assert open_features(request_.out).spec.seed == 1


# The rest.


def test_data_folders_are_only_read(request_: ExtractRequest) -> None:
    folder = request_.sources.train.parent
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    extract_features(request_)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_unwritable_folder_is_an_error_before_the_pass(
    request_: ExtractRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    kill_after(monkeypatch, run, "inspect")
    with pytest.raises(FrozenprobeError, match="--out FILE"):
        extract_features(replace(request_, out=tmp_path / "file" / "f.h5"))


def test_default_name_is_made_in_the_working_folder(
    request_: ExtractRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report = extract_features(replace(request_, out=None))
    assert report.path == Path("features/torchvision_VisionTransformer-erase.h5")
    assert report.path.is_file()


def test_progress_counts_images_and_then_views(request_: ExtractRequest) -> None:
    seen: list[tuple[str, int, int]] = []
    extract_features(request_, lambda *step: seen.append(step))
    assert seen[:17] == [("checking images", done, 17) for done in range(1, 18)]
    counted = [done for _, done, _ in seen[17:]]
    assert {(stage, total) for stage, _, total in seen[17:]} == {("embedding views", ROWS)}
    assert (counted[0], counted[-1]) == (0, ROWS)
    assert counted == sorted(set(counted))


def test_time_is_told_by_stage(request_: ExtractRequest) -> None:
    report = extract_features(request_)
    spent = report.seconds
    assert min(spent.decoding, spent.views, spent.backbone, spent.writing) > 0
    assert sum(vars(spent).values()) <= report.elapsed
    text = render_report(report)
    assert f"17 images: {ROWS} views computed, 0 reused" in text
    assert "seconds, summed over workers, in decoding" in text
    assert "computed by torch on cpu, float32 (this CPU has no units for bfloat16), 4 views a batch, 1 thread" in text


def test_licence_and_data_of_the_weights_are_told_at_the_start(
    request_: ExtractRequest, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "frozenprobe"):
        extract_features(request_)
    assert f"backbone {ANY_VIT}" in caplog.messages[0]
    assert "licence of the weights: that of the file" in caplog.messages[0]


def test_the_network_is_called_with_one_number_of_threads(
    request_: ExtractRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch.compile makes code for a number of threads: a check with another would compile all of it once more."""
    make_engine, seen = compute.make_engine, []

    def make_noting(*given: Any, **options: Any) -> Callable[[torch.Tensor], torch.Tensor]:
        engine = make_engine(*given, **options)

        def run_noting(images: torch.Tensor) -> torch.Tensor:
            seen.append(torch.get_num_threads())
            return engine(images)

        return run_noting

    before = torch.get_num_threads()
    for module in (rank, work):
        monkeypatch.setattr(module, "own_cores", lambda: before + 2)
    monkeypatch.setattr(compute, "make_engine", make_noting)
    report = extract_features(choosing(request_, compute_dtype="bfloat16"))
    assert report.fidelity is not None
    assert set(seen) == {before + 2}
    assert torch.get_num_threads() == before


# The compute dtype that was chosen here: checked on the first images before a row is stored.


@pytest.fixture
def with_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that multiplies bfloat16."""
    for module in (dtypes, work):
        monkeypatch.setattr(module, "bfloat16_units", lambda: "AMX")


@pytest.mark.usefixtures("with_units")
def test_a_transformer_computes_in_bfloat16_where_the_cpu_has_units_for_it(
    request_: ExtractRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "LEAST_COSINE", 0.99)  # a tiny network of random weights is no measure
    report, features = extracted(request_)
    assert features.spec.compute_dtype == "bfloat16"
    assert "bfloat16 (this CPU has units for it: AMX)" in report.compute
    assert report.fidelity is not None
    assert 0.99 < report.fidelity.cosine < 1
    _, typed = extracted(choosing(replace(request_, out=tmp_path / "typed.h5"), compute_dtype="bf16"))
    assert same(rows_of(features), rows_of(typed))


@pytest.mark.usefixtures("with_units")
def test_bfloat16_that_is_far_from_float32_is_given_up_before_a_row_is_stored(
    request_: ExtractRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(work, "LEAST_COSINE", 1.1)
    told = forecast(request_)
    caplog.clear()
    with caplog.at_level(logging.WARNING, "frozenprobe"):
        report, features = extracted(request_)
    assert caplog.text.count("going on in float32") == 1
    assert features.spec.compute_dtype == "float32"
    assert "float32 (bfloat16 gave a cosine of " in report.compute
    assert told.measured is not None
    assert told.measured.compute == report.compute
    assert told.measured.dtype == "float32"
    assert told.left.forwards == report.computed
    _, typed = extracted(choosing(replace(request_, out=tmp_path / "typed.h5"), compute_dtype="float32"))
    assert same(rows_of(features), rows_of(typed))
    assert features.spec == typed.spec


def test_bfloat16_that_was_typed_is_taken_and_warned_of(
    request_: ExtractRequest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(work, "LEAST_COSINE", 1.1)
    with caplog.at_level(logging.WARNING, "frozenprobe"):
        _, features = extracted(choosing(request_, compute_dtype="bf16"))
    assert features.spec.compute_dtype == "bfloat16"
    assert "--dtype float32 is exact" in caplog.text
    assert "no units for bfloat16" in caplog.text


def test_a_file_in_bfloat16_grows_where_there_are_no_units_for_it(
    request_: ExtractRequest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(dtypes, "bfloat16_units", lambda: "AMX")
        elsewhere.setattr(work, "LEAST_COSINE", 0.99)
        extract_features(request_)
    old = rows_of(open_features(request_.out))
    with caplog.at_level(logging.WARNING, "frozenprobe"):
        _, features = extracted(choosing(request_, views=3))
    assert features.spec.compute_dtype == "bfloat16"
    assert kept(old, rows_of(features))
    assert "no units for bfloat16" in caplog.text


# The thread that writes: everything handed over is on disk in the end, in few pieces, also after an error.


def embedded(keys: list[tuple[str, str]]) -> Embedded:
    rows = [Row(Path("x.jpg"), *key, NO_PIXELS) for key in keys]
    return Embedded(rows, np.stack([vector(*key) for key in keys]))


def write_all(rows: RowStore, batches: list[Embedded | None]) -> None:
    """None stands for an error of whoever computes."""
    with PieceWriter(rows) as writer:
        for each in batches:
            if each is None:
                raise KeyError
            writer.put(each)


@pytest.fixture
def keys() -> list[tuple[str, str]]:
    return list(world(10).rows())


@pytest.fixture
def rows(tmp_path: Path, no_fsync: None) -> RowStore:
    return RowStore(tmp_path / "f.h5", world(10).contents())


def pieces_of(rows: RowStore) -> int:
    return sum(source.piece is not None for source in rows.sources)


def test_all_rows_are_on_disk_when_the_writer_is_left(
    rows: RowStore, keys: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No second passes, so pieces are as large as they may become."""
    monkeypatch.setattr(run, "PIECE_SECONDS", 1000.0)
    monkeypatch.setattr(run, "PIECE_BYTES", piece_bytes(16, DIM))
    with PieceWriter(rows) as writer:
        for start in range(0, len(keys), 3):
            writer.put(embedded(keys[start : start + 3]))
    again = RowStore(tmp_path / "f.h5", world(10).contents())
    assert again.there == again.total == len(keys)
    assert all(np.array_equal(again.row(*key), vector(*key)) for key in keys)
    assert writer.seconds > 0
    assert pieces_of(rows) == -(-len(keys) // 18)  # six batches of 3 are the first 16 rows or more


@pytest.mark.parametrize("batch_size", [1, 3, 20])
def test_what_comes_within_a_second_is_one_piece_whatever_the_batches(
    rows: RowStore, keys: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    """Each costs an fsync or three: a fast device would have them many times a second."""
    monkeypatch.setattr(run, "PIECE_SECONDS", 1000.0)
    write_all(rows, [embedded(keys[start : start + batch_size]) for start in range(0, len(keys), batch_size)])
    assert (pieces_of(rows), rows.there) == (1, len(keys))


def test_a_row_waits_a_second_at_most(
    rows: RowStore, keys: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "PIECE_SECONDS", 0.02)
    with PieceWriter(rows) as writer:
        writer.put(embedded(keys[:2]))
        for _ in range(3000):  # of a busy machine
            if rows.there:
                break
            time.sleep(0.02)
        assert rows.there == 2


def test_what_was_handed_over_before_an_error_outside_is_kept(rows: RowStore, keys: list[tuple[str, str]]) -> None:
    with pytest.raises(KeyError):
        write_all(rows, [embedded(keys[:5]), None])
    assert rows.there == 5


def test_a_full_disk_reaches_whoever_hands_rows_over(
    rows: RowStore, keys: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many batches are handed over meanwhile: nobody waits for a thread that has given up."""

    def full(*args: object) -> None:
        raise DiskFull(Path("/"), "no space")

    monkeypatch.setattr(RowStore, "add", full)
    monkeypatch.setattr(run, "PIECE_BYTES", 1)
    with pytest.raises(DiskFull):
        write_all(rows, [embedded(keys[:1])] * 100)


def test_who_hands_rows_over_is_told_at_once_that_they_cannot_be_written(
    rows: RowStore, keys: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not after the hours of computing what nobody will ever have."""
    monkeypatch.setattr(RowStore, "add", lambda *args: (_ for _ in ()).throw(DiskFull(Path("/"), "no space")))
    monkeypatch.setattr(run, "PIECE_BYTES", 1)
    handed = []

    def hand_over() -> None:
        with PieceWriter(rows) as writer:
            writer.put(embedded(keys[:1]))
            while writer.error is None:
                time.sleep(0.001)
            writer.put(embedded(keys[1:2]))
            handed.append("more")

    with pytest.raises(DiskFull):
        hand_over()
    assert handed == []


def test_an_error_at_the_last_row_is_raised_on_leaving(
    rows: RowStore, keys: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RowStore, "add", lambda *args: (_ for _ in ()).throw(ZeroDivisionError))
    with pytest.raises(ZeroDivisionError):
        write_all(rows, [embedded(keys[:1])])


def test_no_rows_no_piece(rows: RowStore) -> None:
    with PieceWriter(rows):
        pass
    assert not rows.folder.exists()
    assert rows.contents.dim == DIM
