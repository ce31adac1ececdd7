"""Files of one specification become one: like one extraction of all images, or an error that names the conflict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenprobe.cache.care.merge import merge_features, render_merge
from frozenprobe.cache.care.verify import verify_features
from frozenprobe.cache.contents import environments_of
from frozenprobe.cache.store import open_features, open_plan
from frozenprobe.errors import FeatureFileError, SpecMismatch
from tests.conftest import SPEC, rewrite
from tests.faults.synthetic import World, extract, holds, rows_of, world

A, B = world(7), world(5, first=20)
BOTH = World(A.train | B.train, A.test | B.test)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    extract(tmp_path / "a.h5", A, batch=100)
    extract(tmp_path / "b.h5", B, batch=100)
    return tmp_path / "a.h5", tmp_path / "b.h5"


def begun(path: Path, wanted: World, batches: int) -> None:
    """An extraction killed after some batches of 5 rows."""

    class Stop(Exception):
        pass

    left = [batches]

    def stop(rows: int) -> None:
        left[0] -= 1
        if not left[0]:
            raise Stop

    with pytest.raises(Stop):
        extract(path, wanted, told=stop)


def test_two_files_become_the_file_of_all_images(files):
    report = merge_features(list(files))
    assert (report.path, report.images, report.left_out, report.dropped_views) == (files[0], 20, 0, ())
    assert holds(files[0], BOTH)
    assert holds(files[1], B), "the other file stays"
    assert "20 images" in render_merge(report)


@pytest.mark.parametrize("order", [1, -1])
def test_a_test_time_view_that_one_file_lacks_is_dropped_and_no_image(make_features, order):
    both = make_features(name="both.h5", test=0)
    one = make_features(name="one.h5", test=0, test_views=("clean",), seed=1)
    hashes = tuple(f"{1000 + number:064x}" for number in range(24))
    train = replace(one.train, ids=tuple(f"other {number}.jpg" for number in range(24)), hashes=hashes)
    one = rewrite(one, "renamed.h5", train=train)
    report = merge_features([both.path, one.path][::order], out=both.path.with_name("all.h5"))
    assert (report.images, report.left_out, report.dropped_views) == (48, 0, ("hflip",))
    merged = open_features(report.path)
    assert (merged.test_views, len(merged.augmented_views)) == (("clean",), 3)
    rows = rows_of(both) | rows_of(one)
    assert all(np.array_equal(row, rows[key]) for key, row in rows_of(merged).items())


def test_out_leaves_every_input_as_it_is(files, tmp_path):
    before = [path.read_bytes() for path in files]
    merge_features(list(files), out=tmp_path / "new" / "all.h5")
    assert holds(tmp_path / "new" / "all.h5", BOTH)
    assert [path.read_bytes() for path in files] == before


def test_shared_rows_that_differ_in_the_shorter_tap_alone_are_refused(files, tmp_path):
    """The cosine of the whole rows would be above 0.999."""
    first = open_features(files[0])
    vectors = first.read("train", range(4))
    vectors[..., :4] *= 1000
    one = rewrite(first, "one.h5", vectors=vectors)
    vectors = vectors.copy()
    vectors[..., 4:] *= (1, -1)
    other = rewrite(first, "other.h5", vectors=vectors)
    with pytest.raises(SpecMismatch, match="Equal rows for equal images"):
        merge_features([one.path, other.path], out=tmp_path / "out.h5")


@settings(max_examples=15, deadline=None)
@given(owners=st.lists(st.sets(st.integers(0, 2), min_size=1), min_size=6, max_size=9), views=st.integers(0, 2))
def test_any_division_of_the_images_merges_to_the_same_file(owners, views, tmp_path_factory):
    """Images in one, two or all three of the files."""
    folder, whole = tmp_path_factory.mktemp("merge"), world(len(owners), views)
    names, paths = sorted(whole.train), []
    for part in range(3):
        train = {name: whole.train[name] for name, owner in zip(names, owners, strict=True) if part in owner}
        if train:
            paths.append(folder / f"{part}.h5")
            extract(paths[-1], World(train, whole.test if part != 1 else {}, views), batch=100)
    merge_features(paths, out=folder / "all.h5")
    has_test = any(path.name != "1.h5" for path in paths)
    assert holds(folder / "all.h5", whole if has_test else replace(whole, test={}))


def test_another_specification_is_refused_with_the_field(files, tmp_path):
    features = open_features(files[1])
    other = rewrite(features, "other.h5", spec=replace(SPEC, seed=5))
    before = files[0].read_bytes()
    with pytest.raises(SpecMismatch, match="seed"):
        merge_features([files[0], other.path])
    assert files[0].read_bytes() == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"c0/0.jpg": ("another photo", "c0")}, "The same content hash"),
        ({"c0/0.jpg": ("photo 0", "c2")}, "The same label"),
    ],
)
def test_images_of_one_name_that_differ_are_refused_by_name(files, change, says):
    extract(files[1], replace(B, train=B.train | change), batch=100)
    before = files[0].read_bytes()
    with pytest.raises(FeatureFileError, match=says) as caught:
        merge_features(list(files))
    assert "c0/0.jpg" in caught.value.found
    assert files[0].read_bytes() == before


def test_rows_that_should_be_equal_and_are_not_are_refused_with_the_cosine(files):
    """Another library version, or another machine, computed them."""
    extract(files[1], replace(B, train=B.train | {"c0/0.jpg": ("photo 0", "c0")}), batch=100)
    features = open_features(files[1])
    vectors = features.read("train", range(4))
    noisy = rewrite(features, "noisy.h5", vectors=vectors + np.float32(0.3) * vectors[::-1])
    with pytest.raises(SpecMismatch, match=r"cosine 0\.\d{4} for the image"):
        merge_features([files[0], noisy.path])
    assert merge_features(list(files)).compared == 4


def test_groups_in_one_file_only_are_refused(files):
    features = open_features(files[1])
    grouped = rewrite(features, "grouped.h5", train=replace(features.train, groups=("p",) * 5))
    with pytest.raises(FeatureFileError, match="A group for every image, or for none") as caught:
        merge_features([files[0], grouped.path])
    assert "--group-column" in caught.value.remedy


def test_groups_and_folds_travel_with_their_images(files):
    paths = []
    for number, path in enumerate(files):
        features = open_features(path)
        count = len(features.train)
        groups, folds = tuple(f"{number}p{row}" for row in range(count)), tuple(str(row % 2) for row in range(count))
        train = replace(features.train, groups=groups, folds=folds)
        paths.append(rewrite(features, f"grouped{number}.h5", train=train).path)
    merge_features(paths)
    merged = open_features(paths[0])
    for path in paths[1:]:
        one = open_features(path)
        for name, group, fold in zip(one.train.ids, one.train.groups, one.train.folds, strict=True):
            row = merged.train.ids.index(name)
            assert (merged.train.groups[row], merged.train.folds[row]) == (group, fold)


def test_views_that_one_file_lacks_are_left_out_but_never_of_the_file_that_is_written(files, tmp_path):
    extract(files[0], replace(A, views=4), batch=100)
    with pytest.raises(FeatureFileError, match="a merged file without view aug3, view aug4") as caught:
        merge_features(list(files))
    assert "--out FILE" in caught.value.remedy
    report = merge_features(list(files), out=tmp_path / "all.h5")
    assert report.dropped_views == ("aug3", "aug4")
    assert "aug3, aug4" in render_merge(report)
    assert holds(tmp_path / "all.h5", BOTH)


def test_what_is_there_of_a_killed_first_run_becomes_a_file(tmp_path):
    """The 9-hour limit of a notebook: the images that are complete can be probed now, the rest go on later."""
    path, out = tmp_path / "f.h5", tmp_path / "so far.h5"
    begun(path, A, 5)
    report = merge_features([path], out=out)
    assert 0 < len(open_features(out).train) < len(A.train)
    assert report.left_out == len(A.train) + len(A.test) - report.images
    assert f"{report.left_out} images are left out" in render_merge(report)
    right = A.rows()
    assert all(np.array_equal(right[key], row) for key, row in rows_of(open_features(out)).items())
    assert extract(path, A) == len(right) - 25
    assert holds(path, A)


def test_new_images_of_a_killed_growth_are_folded_in_and_the_rest_still_goes_on(files):
    path = files[0]
    grown = replace(A, train=A.train | B.train)
    begun(path, grown, 2)  # 10 rows: two new images and a half
    report = merge_features([path])
    assert (report.left_out, len(open_features(path).train)) == (3, 9)
    assert open_plan(path) is not None
    assert extract(path, grown) == 5 * 4 - 10
    assert holds(path, grown)


def test_a_growth_that_was_killed_when_all_was_computed_is_folded_in(files):
    path = files[0]
    begun(path, replace(A, views=4), 3)  # the last of 14 rows
    merge_features([path])
    assert holds(path, replace(A, views=4))
    assert sorted(each.name for each in path.parent.iterdir()) == ["a.h5", "b.h5"]


def test_a_photo_that_was_moved_to_another_class_is_in_one_class_only(files):
    """The plan of a killed growth has it there; the finished file still has it here."""
    path = files[0]
    train = dict(A.train)
    train["c1/moved.jpg"] = ("photo 0", "c1")
    del train["c0/0.jpg"]
    begun(path, replace(A, train=train | {"c0/new.jpg": ("new", "c0")}), 1)
    out = path.with_name("out.h5")
    merge_features([path], out=out)
    merged = open_features(out)
    assert len(set(merged.train.hashes)) == len(merged.train) == 8
    assert merged.class_names[merged.train.labels[merged.train.ids.index("c1/moved.jpg")]] == "c1"


def test_a_plan_of_fewer_views_than_the_file_that_was_put_beside_it_is_no_obstacle(files, tmp_path):
    path = tmp_path / "f.h5"
    begun(path, replace(A, views=1), 2)
    extract(files[0], replace(A, views=4), batch=100)
    path.write_bytes(files[0].read_bytes())
    merge_features([path], out=tmp_path / "out.h5")
    assert holds(tmp_path / "out.h5", replace(A, views=4))


def test_a_replaced_photo_that_waits_keeps_the_plan(files):
    path = files[0]
    changed = replace(A, train=A.train | {"c0/0.jpg": ("replaced", "c0"), "c0/new.jpg": ("new", "c0")})
    begun(path, changed, 1)
    report = merge_features([path])
    assert report.left_out
    assert open_plan(path) is not None


def test_views_of_a_killed_growth_wait_until_every_image_has_them(files):
    path = files[0]
    begun(path, replace(A, views=4), 1)
    assert merge_features([path]).images == 11
    assert holds(path, A)
    assert extract(path, replace(A, views=4)) == 14 - 5


def test_a_file_of_another_specification_under_the_outputs_name_is_not_replaced(files, tmp_path):
    other = rewrite(open_features(files[1]), "other.h5", spec=replace(SPEC, seed=5))
    before = other.path.read_bytes()
    with pytest.raises(FeatureFileError, match="of another specification"):
        merge_features(list(files), out=other.path)
    assert other.path.read_bytes() == before


def test_a_file_with_other_contents_of_the_same_names_is_not_replaced(files, tmp_path):
    out = tmp_path / "out.h5"
    extract(out, replace(BOTH, train=BOTH.train | {"c0/0.jpg": ("another", "c0")}), batch=100)
    with pytest.raises(FeatureFileError, match=r"without train image c0/0\.jpg"):
        merge_features(list(files), out=out)


def test_a_file_that_is_being_made_is_not_written_over(files, tmp_path):
    begun(tmp_path / "out.h5", A, 2)
    with pytest.raises(FeatureFileError, match="the rows that wait beside it"):
        merge_features(list(files), out=tmp_path / "out.h5")
    assert extract(tmp_path / "out.h5", A) == 36 - 10


def test_one_file_named_twice_is_one_file(files, monkeypatch):
    monkeypatch.chdir(files[0].parent)
    merge_features([Path("a.h5"), files[0], files[1], Path("b.h5")])
    assert holds(files[0], BOTH)


def test_a_few_shared_images_among_many_are_compared(tmp_path):
    """And found to differ, although a sample of all rows would most likely miss them."""
    large = world(400)
    extract(tmp_path / "a.h5", large, batch=5000)
    other = {f"x{number}.jpg": (f"other {number}", "c0") for number in range(400)}
    extract(tmp_path / "b.h5", World(other | {"y.jpg": ("photo 7", "c1")}, {}), batch=5000)
    assert merge_features([tmp_path / "a.h5", tmp_path / "b.h5"], out=tmp_path / "ok.h5").compared == 4
    features = open_features(tmp_path / "b.h5")
    noisy = rewrite(features, "noisy.h5", vectors=-features.read("train", range(4)))
    with pytest.raises(SpecMismatch, match="cosine -1"):
        merge_features([tmp_path / "a.h5", noisy.path], out=tmp_path / "no.h5")


def test_nothing_complete_is_an_error(tmp_path):
    path = tmp_path / "f.h5"
    begun(path, replace(A, views=9), 1)
    with pytest.raises(FeatureFileError, match="At least one image with all its rows"):
        merge_features([path], out=tmp_path / "out.h5")


def test_missing_file_is_an_error_that_names_it(files, tmp_path):
    with pytest.raises(FeatureFileError, match="no such file"):
        merge_features([files[0], tmp_path / "none.h5"])


def test_environments_of_all_inputs_are_recorded(files):
    paths = []
    for number, path in enumerate(files):
        features = open_features(path)
        about = features.about | {"environments": f'["torch {number}"]'}
        paths.append(rewrite(features, f"from{number}.h5", about=about).path)
    merge_features(paths)
    assert environments_of(open_features(paths[0]).about) == ["torch 0", "torch 1"]


def test_a_merged_file_is_sound_and_leaves_nothing_beside_it(files):
    merge_features(list(files))
    assert verify_features(files[0]).sound
    assert sorted(path.name for path in files[0].parent.iterdir()) == ["a.h5", "b.h5"]


def test_a_merged_file_grows_like_any_other(files):
    merge_features(list(files))
    assert extract(files[0], replace(BOTH, views=3)) == len(BOTH.train)
    assert holds(files[0], replace(BOTH, views=3))


def test_an_input_in_a_folder_that_cannot_be_written_to_is_only_read(files, tmp_path, monkeypatch):
    """Kaggle's input folders are read-only."""
    from frozenprobe.cache.care import merge

    locked: list[str] = []
    original = merge.writer_lock

    def note(path: Path, **options: bool) -> object:
        locked.append(path.name)
        return original(path, **options)

    monkeypatch.setattr(merge, "writer_lock", note)
    merge_features(list(files), out=tmp_path / "all.h5")
    assert locked == ["all.h5"]
