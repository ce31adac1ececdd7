"""The finished file: what goes in comes out, and what is damaged is refused with its name."""

import hashlib
import json
import os
import pickle
import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenprobe.cache.container.read import SealedFile
from frozenprobe.cache.container.write import publish_sealed
from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.cache.store import READ_ROWS, newest_features, open_features, write_features
from frozenprobe.errors import FeatureFileError, FrozenprobeError
from frozenprobe.system.csv_tables import Table
from tests.conftest import SPEC
from tests.faults.synthetic import extract, holds, world


def test_names_labels_sample_and_views_come_back(make_features):
    sample = Table(Path("s.csv"), ("ID", "Label"), (("007", "NA"), ("ü,1", "")))
    features = make_features(
        classes=2,
        per_class=2,
        class_names=("b 日本", "äpfel"),
        groups=("p", "p", "q", "q"),
        sample=sample,
        unusable=(1,),
    )
    assert features.class_names == ("b 日本", "äpfel")
    assert features.train.groups == ("p", "p", "q", "q")
    assert features.train.folds is None
    assert features.sample == sample
    assert features.views == ("clean", "hflip", "aug1", "aug2", "aug3")
    assert features.test is not None
    assert features.test.usable.tolist() == [True, False, True, True, True, True, True]
    assert features.spec == SPEC


def test_reading_some_views_and_rows_gives_exactly_those(make_features):
    features = make_features()
    everything = features.read("train", range(5))
    assert everything.shape == (24, 5, 12)
    assert np.array_equal(features.read("train", [3, 0], slice(2, 9)), everything[2:9, [3, 0]])
    assert features.read("test", [0, 1]).shape == (7, 2, 12)


def test_a_view_becomes_a_frame_of_ids_labels_and_features(make_features):
    names = ("NA", "b 日本")
    features = make_features(classes=2, per_class=2, class_names=names, taps=(("cls", 3), ("patch-mean", 2)))
    frame = features.to_frame()
    assert frame.index.name == "id"
    assert frame.index.tolist() == list(features.train.ids)
    assert frame.columns.tolist() == ["label", "cls_0", "cls_1", "cls_2", "patch-mean_0", "patch-mean_1"]
    assert frame["label"].tolist() == ["NA", "NA", "b 日本", "b 日本"]
    assert np.array_equal(frame.drop(columns="label").to_numpy(), features.read("train", [0])[:, 0])
    assert features.select_tap("patch-mean").to_frame().shape == (4, 3)


def test_several_views_become_a_row_each(make_features):
    features = make_features(classes=2, per_class=2)
    frame = features.to_frame(views=("aug2", "clean"))
    assert frame.index.names == ["id", "view"]
    assert frame.loc[("image 3.jpg", "aug2"), "label"] == "class 1"
    assert frame["label"].tolist() == ["class 0"] * 4 + ["class 1"] * 4
    for view in ("aug2", "clean"):
        rows = frame.xs(view, level="view").drop(columns="label").to_numpy()
        assert np.array_equal(rows, features.read("train", [features.views.index(view)])[:, 0])


def test_test_images_have_no_label_and_bad_ones_no_features(make_features):
    features = make_features(unusable=(2,))
    frame = features.to_frame("test", views=("hflip",))
    assert frame.shape == (7, 12)
    assert frame.index[frame.isna().all(axis=1)].tolist() == ["t2.jpg"]
    assert np.array_equal(frame.loc["t6.jpg"].to_numpy(), features.read("test", [1])[6, 0])


@pytest.mark.parametrize(("wanted", "known"), [({"split": "tset"}, "test"), ({"views": ("claen",)}, "clean")])
def test_a_frame_of_what_is_not_stored_is_an_error_that_names_the_nearest(wanted, known, make_features):
    with pytest.raises(FrozenprobeError, match=f"did you mean {known}"):
        make_features().to_frame(**wanted)


def test_a_file_is_read_as_it_was_opened_whatever_takes_its_name(make_features):
    features = make_features()
    before = features.read("train", [0])
    other = make_features(created="2026-01-02T00:00:00+00:00", seed=1)
    assert np.array_equal(features.read("train", [0]), before)
    assert not np.array_equal(other.read("train", [0]), before)


def test_a_file_travels_to_another_process_unless_another_one_has_taken_its_name(make_features):
    features = make_features()
    sent = pickle.dumps(features)
    assert np.array_equal(pickle.loads(sent).read("train", [1]), features.read("train", [1]))
    make_features(created="2026-01-02T00:00:00+00:00", seed=1)
    with pytest.raises(FeatureFileError, match="published in the meantime"):
        pickle.loads(sent)


def test_reading_one_view_reads_only_that_view(make_features, monkeypatch):
    """Counted in bytes: a ninth of the file for one of nine views."""
    features = make_features(per_class=50, views=7)
    read, original = [], SealedFile.read_at
    monkeypatch.setattr(SealedFile, "read_at", lambda self, *span: read.append(span[1]) or original(self, *span))
    features.read("train", [4])
    assert sum(read) == 4 * 50 * 12 * 4


TAPS = (("cls", 5), ("mean", 3), ("cls-2", 4))


def test_any_choice_of_taps_is_its_columns_of_the_rows(make_features):
    """Every subset, in every order it can be named in: they stand side by side in the order of the file."""
    features = make_features(taps=TAPS, per_class=20)
    everything = features.read("train", range(5))
    assert everything.shape == (80, 5, 12)
    columns = {"cls": range(5), "mean": range(5, 8), "cls-2": range(8, 12)}

    @given(st.permutations(list(columns)), st.integers(1, 3), st.lists(st.integers(-5, 4), max_size=3), st.slices(80))
    @settings(max_examples=40, deadline=None)
    def holds(names, count, views, rows):
        chosen = features.select_tap("+".join(names[:count]))
        kept = sorted(column for name in names[:count] for column in columns[name])
        assert chosen.dim == len(kept)
        step = slice(rows.start, rows.stop, rows.step)
        assert np.array_equal(chosen.read("train", views, step), everything[step][:, views][:, :, kept])

    holds()
    assert features.select_tap(None) is features
    assert features.select_tap("mean+cls").tap == "cls+mean"
    assert open_features(features.path).taps == TAPS


def test_a_tap_that_is_not_stored_names_those_that_are(make_features):
    features = make_features(taps=TAPS)
    for wanted in ("cls+man", "", "cls+", "last4"):
        with pytest.raises(FrozenprobeError, match="mean") as caught:
            features.select_tap(wanted)
        assert caught.value.where == "--tap"


def test_reading_one_tap_reads_only_that_tap(make_features, monkeypatch):
    features = make_features(taps=TAPS, per_class=50)
    read, original = [], SealedFile.read_at
    monkeypatch.setattr(SealedFile, "read_at", lambda self, *span: read.append(span[1]) or original(self, *span))
    features.select_tap("mean").read("train", [2])
    assert sum(read) == 4 * 50 * 3 * 4


def test_plain_h5py_finds_the_taps_as_datasets_of_one_group(make_features):
    features = make_features(taps=TAPS)
    with h5py.File(features.path) as file:
        found = {name: array.shape for name, array in file["train/features"].items()}
        assert found == {"cls": (5, 24, 5), "mean": (5, 24, 3), "cls-2": (5, 24, 4)}
        assert {name: array.shape for name, array in file["digests/test/features"].items()} == dict.fromkeys(
            found, (2, 1, 32)
        )
        assert json.loads(file.attrs["taps"]) == [list(each) for each in TAPS]
        stored = np.concatenate([file["test/features"][name][:] for name, _ in TAPS], axis=2)
    assert np.array_equal(stored.swapaxes(0, 1), features.read("test", range(2)))


def test_what_is_handed_over_for_an_image_without_features_is_not_stored(make_features):
    """Whoever hands rows over may have anything there."""
    features = make_features(unusable=(2,))
    write_features(
        features.path, features, lambda images, split, views: np.ones((len(split.ids[images]), len(views), 12))
    )
    rows = open_features(features.path).read("test", [0, 1])
    assert rows.all(axis=(1, 2)).tolist() == [True, True, False, True, True, True, True]
    assert not rows[2].any()


def test_an_image_without_features_has_zeros(make_features):
    features = make_features(unusable=(2,))
    assert not features.read("test", [0, 1])[2].any()
    assert features.read("test", [0])[1].any()


def test_plain_h5py_reads_it_as_the_specification_says(make_features):
    features = make_features()
    with h5py.File(features.path) as file:
        assert file.attrs["format"] == b"frozenprobe.features"
        assert file.attrs["version"] == 3
        assert file.attrs["fingerprint"].decode() == SPEC.fingerprint()
        assert file.attrs["test_views"] == 2
        assert file["train/ids"].asstr()[0] == "image 0.jpg"
        assert np.array_equal(file["train/features/head-input"][:], features.read("train", range(5)).swapaxes(0, 1))
        digest = hashlib.sha256(file["train/features/head-input"][3].tobytes()).digest()
        assert file["digests/train/features/head-input"][3, 0].tobytes() == digest

        def no_variable_length(name: str, item: h5py.HLObject) -> None:
            if isinstance(item, h5py.Dataset):
                assert item.dtype.kind != "O", name

        file.visititems(no_variable_length)


@pytest.mark.skipif(shutil.which("h5dump") is None, reason="HDF5's own tools are not installed")
def test_h5dump_reads_it(make_features):
    path = make_features().path
    listed = subprocess.run(["h5dump", "-n", str(path)], capture_output=True, text=True, check=True)
    assert "/train/features/head-input" in listed.stdout


def test_missing_files_and_other_files_are_refused_with_their_name(tmp_path):
    with pytest.raises(FeatureFileError, match="no such file"):
        open_features(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(FeatureFileError, match=r"text\.h5"):
        open_features(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(FeatureFileError, match="without frozenprobe's seal"):
        open_features(tmp_path / "other.h5")
    publish_sealed(tmp_path / "sealed.h5", {"x": 1}, {}, {})
    with pytest.raises(FeatureFileError, match="format = None"):
        open_features(tmp_path / "sealed.h5")


def test_an_unfinished_file_says_so_and_what_to_do(make_features):
    """Where the newest file is looked for, too."""
    features = make_features()
    store = RowStore(features.path, features)
    store.add(["0"], ["clean"], np.zeros((1, 12), dtype=np.float32))
    features.path.unlink()
    for call in (lambda: open_features(features.path), lambda: newest_features(features.path.parent)):
        with pytest.raises(FeatureFileError, match="an unfinished one") as caught:
            call()
        assert "run the same extract command again" in caught.value.remedy


def change_version(file: h5py.File) -> None:
    file.attrs["version"] = 4


def change_fingerprint(file: h5py.File) -> None:
    file.attrs["fingerprint"] = "0" * 64


def drop_ids(file: h5py.File) -> None:
    del file["train/ids"]


def swap_labels(file: h5py.File) -> None:
    file["train/labels"][...] = file["train/labels"][()][::-1]


def change_a_name(file: h5py.File) -> None:
    file["class_names"][0] = "another"


def shorten_features(file: h5py.File) -> None:
    rows = file["train/features/head-input"][:-1]
    del file["train/features/head-input"]
    file["train/features/head-input"] = rows


@pytest.mark.parametrize(
    "damage", [change_version, change_fingerprint, drop_ids, shorten_features, swap_labels, change_a_name]
)
def test_a_file_that_somebody_else_has_changed_is_refused(make_features, damage):
    path = make_features().path
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(FeatureFileError, match=r"synthetic\.h5"):
        open_features(path)


def test_a_truncated_file_is_refused(make_features):
    path = make_features().path
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(FeatureFileError):
        open_features(path)


def test_a_damaged_block_is_told_with_the_images_whose_numbers_are_none(make_features):
    """Of 70 images the second block holds the last six; two of them are no numbers any more."""
    features = make_features(classes=2, per_class=35)
    offset, size = features.arrays("train")[0].span(1, 1)
    content = bytearray(features.path.read_bytes())
    block = np.frombuffer(bytes(content[offset : offset + size]), dtype=np.float32).reshape(6, -1).copy()
    block[2, 3], block[4, 0] = np.nan, np.inf
    content[offset : offset + size] = block.tobytes()
    features.path.write_bytes(content)
    with pytest.raises(FeatureFileError, match="another checksum") as caught:
        open_features(features.path).read("train", [0, 1])
    assert "view 1, rows 64 to 69 (image 64.jpg, image 65.jpg, image 66.jpg" in caught.value.found
    assert caught.value.found.endswith("; NaN or infinity in image 66.jpg, image 68.jpg")
    assert f"frozenprobe repair {features.path}" in caught.value.remedy
    block[2, 3], block[4, 0] = 0, 0
    content[offset : offset + size] = block.tobytes()
    features.path.write_bytes(content)
    with pytest.raises(FeatureFileError) as caught:
        open_features(features.path).read("train", [1])
    assert "NaN" not in caught.value.found


@pytest.mark.usefixtures("no_fsync")
def test_a_file_of_several_blocks_is_read_back_row_by_row(tmp_path):
    """Rows are read in parts of 1,024: those at the borders are there, too."""
    wanted = world(READ_ROWS + 3, views=0)
    extract(tmp_path / "f.h5", wanted, batch=10_000)
    assert holds(tmp_path / "f.h5", wanted)


def test_newest_goes_by_the_time_stored_inside(make_features):
    make_features(name="a.h5", created="2026-03-01T00:00:00+00:00")
    new = make_features(name="b.h5", created="2026-03-02T00:00:00+00:00")
    make_features(name="c.h5", created="2026-02-01T00:00:00+00:00")
    (new.path.parent / ".1234.partial.z.h5").write_bytes(b"unfinished")
    assert newest_features(new.path.parent) == new.path


def test_no_feature_file_is_an_error_that_says_how_to_make_one(tmp_path):
    with pytest.raises(FeatureFileError, match="frozenprobe extract"):
        newest_features(tmp_path)


def test_names_that_are_no_unicode_travel_as_question_marks(make_features):
    sample = Table(Path(os.fsdecode(b"sample-\xff.csv")), ("ID",), (("1",),))
    assert make_features(sample=sample).sample.path == Path("sample-?.csv")
