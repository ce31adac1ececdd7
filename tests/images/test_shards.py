"""Shards become the table that the folder they were made of becomes, with the labels that WebDataset writes."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frozenprobe.errors import ImageError
from frozenprobe.images.folders import list_images, read_class_folders
from frozenprobe.images.listed.label_csv import read_labelled_csv
from frozenprobe.images.places import Member
from frozenprobe.images.read import read_test
from frozenprobe.images.shards import list_members, read_labelled_shards
from frozenprobe.images.sources import CsvColumns
from frozenprobe.images.table import ImageTable
from tests.images.shard_files import tar_folder, write_tar

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PHOTO = b"not opened here"


def shard(path: Path, *names: str, **sidecars: str | dict[str, object]) -> Path:
    """A tar of images by name, with sidecars given as `key__cls="text"` or `key__json={...}`."""
    files = dict.fromkeys(names, PHOTO)
    for name, said in sidecars.items():
        files[name.replace("__", ".")] = (said if isinstance(said, str) else json.dumps(said)).encode()
    return write_tar(path, files)


def labelled(*shards: Path) -> ImageTable:
    return read_labelled_shards(shards, where=shards[0].parent)


def names_of(table: ImageTable) -> list[str]:
    return [table.class_names[label] for label in table.labels]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_of_class_folders_is_the_table_of_the_folders(photo_folder, tmp_path, form):
    folder = photo_folder / "train"
    files = {name: path.read_bytes() for name, path in list_images(folder)}
    table, expected = labelled(write_tar(tmp_path / "x.tar", files, form=form)), read_class_folders(folder)
    assert (table.ids, table.class_names) == (expected.ids, expected.class_names)
    assert table.labels.tolist() == expected.labels.tolist()
    assert [place.read_bytes() for place in table.places] == [path.read_bytes() for path in expected.places]


@pytest.mark.parametrize("top", ["./", "train/", "./data/train/"])
def test_folders_that_all_images_share_are_no_class(photo_folder, tmp_path, top):
    """`tar -cf x.tar .` and `tar -cf x.tar train`: what a user types."""
    table = labelled(tar_folder(tmp_path / "x.tar", photo_folder / "train", top=top))
    assert table.class_names == ("10", "2", "äpfel rot")
    assert table.ids[0] == f"{top.removeprefix('./')}10/0.jpg"


def test_members_of_several_shards_lie_in_the_order_of_the_shards(tmp_path):
    one, two = shard(tmp_path / "1.tar", "b/9.jpg", "a/1.jpg"), shard(tmp_path / "2.tar", "a/0.jpg")
    table = labelled(two, one)
    assert table.ids == ("a/0.jpg", "b/9.jpg", "a/1.jpg")
    assert [place.tar for place in table.places] == [two, one, one]


@pytest.mark.parametrize(
    ("sidecars", "expected"),
    [
        ({"0__cls": "7", "1__cls": "007\n"}, ["7", "007"]),
        ({"0__cls": " red apple\r\n", "1__cls": "\ufeffa\u0308pfel"}, ["red apple", "äpfel"]),
        ({"0__json": {"label": 3}, "1__json": {"label": "x", "cls": 9}}, ["3", "x"]),
        ({"0__json": {"cls": 3, "label": None}, "1__json": {"class": "y"}}, ["3", "y"]),
        ({"0__cls": "a", "1__cls": "b", "0__json": {"label": 1}, "1__json": {"caption": "x"}}, ["a", "b"]),
    ],
)
def test_labels_beside_the_images_are_text_as_written(tmp_path, sidecars, expected):
    """They go before folders: in a shard a folder is mostly a part of the key."""
    assert names_of(labelled(shard(tmp_path / "x.tar", "0.jpg", "1.jpg", **sidecars))) == expected
    moved = {f"f/{name}": said for name, said in sidecars.items()}
    assert names_of(labelled(shard(tmp_path / "y.tar", "f/0.jpg", "f/1.jpg", **moved))) == expected


def test_json_that_says_no_label_leaves_the_folders_to_say_it(tmp_path):
    path = shard(tmp_path / "x.tar", "a/0.jpg", "b/1.jpg", **{"a/0__json": {"url": "x"}, "b/1__json": {"url": "y"}})
    assert names_of(labelled(path)) == ["a", "b"]


def test_a_label_belongs_to_the_name_before_the_ending_else_to_websdatasets_key(tmp_path):
    path = shard(tmp_path / "x.tar", "a.1.jpg", "a.2.jpg", "b.image.png", a__1__cls="x", a__2__cls="y", b__cls="z")
    assert names_of(labelled(path)) == ["x", "y", "z"]


def test_a_mask_beside_its_photo_does_not_become_a_photo(tmp_path):
    path = shard(tmp_path / "x.tar", "a.jpg", "a.seg.png", "b.jpg", a__cls="x", b__cls="y")
    with pytest.raises(ImageError, match=r"a\.jpg and a\.seg\.png, both beside a\.cls"):
        labelled(path)


def test_equal_keys_in_two_shards_keep_their_own_labels(tmp_path):
    one = shard(tmp_path / "s" / "t-0.tar", "0.jpg", "1.jpg", **{"0__cls": "a", "1__cls": "b"})
    two = shard(tmp_path / "s" / "t-1.tar", "0.jpg", "2.jpg", **{"0__cls": "b", "2__cls": "c"})
    table = labelled(one, two)
    assert table.ids == ("t-0/0.jpg", "t-0/1.jpg", "t-1/0.jpg", "t-1/2.jpg")
    assert names_of(table) == ["a", "b", "b", "c"]


def test_shards_of_one_name_in_two_folders_are_told_apart(tmp_path):
    shard(tmp_path / "a" / "0.tar", "x/1.jpg")
    shard(tmp_path / "b" / "0.tar", "x/1.jpg", "y/2.jpg")
    assert read_test(tmp_path / "{a,b}" / "0.tar").ids == ("a/0/x/1.jpg", "b/0/x/1.jpg", "b/0/y/2.jpg")


def test_a_name_twice_in_one_shard_is_an_error(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("a/1.jpg"), io.BytesIO())
    with pytest.raises(ImageError, match=r"more than once: x/a/1\.jpg"):
        read_test(path)


@pytest.mark.parametrize(
    ("names", "sidecars", "says"),
    [
        (["0.jpg", "1.jpg"], {}, r"none for 2 of 2: .*x\.tar/0\.jpg"),
        (["a/0.jpg", "b/1.jpg", "2.jpg"], {}, r"none for 1 of 3: .*x\.tar/2\.jpg"),
        (["t/a/0.jpg", "t/b/1.jpg", "t/2.jpg"], {}, r"none for 1 of 3: .*x\.tar/t/2\.jpg"),
        (["0.jpg", "1.jpg"], {"0__cls": "a"}, r"1 in \.cls; none for 1: .*x\.tar/1\.jpg"),
        (["a/0.jpg", "b/1.jpg"], {"a/0__cls": "a"}, r"none for 1: .*x\.tar/b/1\.jpg"),
        (["0.jpg", "1.jpg"], {"0__cls": "a", "1__json": {"label": 1}}, r"1 in \.cls, 1 in \.json"),
        (["0.jpg", "1.jpg"], {"0__cls": " \n", "1__cls": "a"}, r"x\.tar/0\.cls"),
        (["0.jpg", "1.jpg"], {"0__cls": "a\nb", "1__cls": "a"}, "several lines"),
        (["0.jpg", "1.jpg"], {"0__json": {"label": True}, "1__json": {"label": 1}}, "True"),
        (["0.jpg", "1.jpg"], {"0__json": {"label": 1.5}, "1__json": {"label": 1}}, "1.5"),
        (["0.jpg", "1.jpg"], {"0__json": {"label": "\ud800"}, "1__json": {"label": 1}}, "control characters"),
        (["0.jpg", "1.jpg"], {"0__json": "{'label': 1}", "1__json": {"label": 1}}, "JSONDecodeError"),
        (["0.jpg", "1.jpg"], {"0__json": "[" * 100_000, "1__json": {"label": 1}}, "RecursionError"),
        (["0.jpg", "1.jpg"], {"0__cls": "a" * (2 << 20), "1__cls": "a"}, "2,097,152 bytes"),
        (["a/0.jpg", "a/1.jpg"], {}, "At least two classes"),
        (["a/0.txt"], {}, "none in the shards"),
    ],
)
def test_labels_that_are_missing_mixed_or_unusable_name_the_member(tmp_path, names, sidecars, says):
    with pytest.raises(ImageError, match=says) as caught:
        labelled(shard(tmp_path / "x.tar", *names, **sidecars))
    str(caught.value).encode()


def test_a_label_in_other_bytes_than_utf8_is_an_error(tmp_path):
    path = write_tar(tmp_path / "x.tar", {"0.jpg": PHOTO, "0.cls": b"\xff\xfe"})
    with pytest.raises(ImageError, match=r"UnicodeDecodeError[\s\S]*x\.tar/0\.cls"):
        labelled(path)


def test_test_shards_need_no_labels_and_read_none(tmp_path):
    path = shard(tmp_path / "x.tar", "1.jpg", "sub/0.PNG", **{"1__cls": "", "notes__txt": "x"})
    table = read_test(path)
    assert (table.ids, table.labels) == (("1.jpg", "sub/0.PNG"), None)


def test_hidden_files_and_what_programs_leave_behind_in_a_tar_are_left_alone(tmp_path):
    junk = [
        "thumbs/1.jpg",
        "._1.jpg",
        ".trash/2.jpg",
        "__MACOSX/1.jpg",
        "a/@eaDir/1.jpg",
        "$RECYCLE.BIN/1.jpg",
        "lost+found/1.jpg",
    ]
    path = shard(tmp_path / "x.tar", "1.jpg", *junk)
    assert read_test(path).ids == ("1.jpg",)


def member(name: str, **attributes: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(
    ("info", "says"),
    [
        (member("a.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "a link to '/etc/passwd'"),
        (member("a.jpg", type=tarfile.LNKTYPE, linkname="b.jpg"), "a link to 'b.jpg'"),
        (member("a.cls", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "a link to"),
        (member("a.jpg", type=tarfile.CHRTYPE), "a device"),
        (member("a.jpg", type=tarfile.FIFOTYPE), "a device, a pipe"),
        (member("/a.jpg"), "absolute"),
        (member("../a.jpg"), "leads out"),
        (member("x/../../a.jpg"), "leads out"),
        (member("\udcff.jpg"), "no UTF-8"),
        (member("x.jpg", pax_headers={"path": "a\0b.jpg"}), "NUL"),
        (
            member("a.jpg", pax_headers={"GNU.sparse.major": "0", "GNU.sparse.size": "9", "GNU.sparse.map": "0,0"}),
            "sparse",
        ),
    ],
)
def test_a_hostile_member_is_refused_by_shard_and_name(tmp_path, info, says):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(member("fine.jpg"), io.BytesIO())
        tar.addfile(info)
    with pytest.raises(ImageError, match=says) as caught:
        read_test(path)
    assert caught.value.where.startswith(f"{path}, member ")
    str(caught.value).encode()


def test_links_and_devices_that_are_no_images_are_left_alone(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(member("fine.jpg"), io.BytesIO())
        tar.addfile(member("latest", type=tarfile.SYMTYPE, linkname="fine.jpg"))
        tar.addfile(member("folder.jpg", type=tarfile.DIRTYPE))
    assert read_test(path).ids == ("fine.jpg",)


LETTERS = st.text(st.sampled_from("ab.é漢 "), min_size=1, max_size=20).map(lambda text: f"x{text}y")


@QUICK
@given(
    keys=st.lists(LETTERS, min_size=2, max_size=12, unique=True),
    labels=st.data(),
    cuts=st.lists(st.integers(0, 12), max_size=3),
    form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_how_samples_are_spread_over_shards_changes_no_label(tmp_path, keys, labels, cuts, form):
    """Any names, any split into shards, any order of image and label in a sample."""
    said = {key: labels.draw(st.sampled_from(["a", "b", "7"])) for key in keys}
    said |= {keys[0]: "a", keys[1]: "b"}
    bounds = [0, *sorted(min(cut, len(keys)) for cut in cuts), len(keys)]
    shards = []
    for number, (start, stop) in enumerate(pairwise(bounds)):
        files = {}
        for key in keys[start:stop]:
            pair = [(f"{key}/i.jpg", key.encode()), (f"{key}/i.cls", said[key].encode())]
            files |= dict(labels.draw(st.permutations(pair)))
        shards.append(write_tar(tmp_path / f"{number}.tar", files, form=form))
    table = labelled(*shards)
    assert table.ids == tuple(f"{key}/i.jpg" for key in keys)
    assert names_of(table) == [said[key] for key in keys]
    assert [place.read_bytes().decode() for place in table.places] == keys


def test_a_csv_may_name_members_of_shards(tmp_path):
    shard(tmp_path / "s" / "0.tar", "sub/1.jpg")
    shard(tmp_path / "s" / "1.tar", "2.jpg")
    csv = tmp_path / "t.csv"
    csv.write_text("image,label\n1,a\n2.jpg,b\n", encoding="utf-8")
    table = read_labelled_csv(csv, tmp_path / "s", CsvColumns())
    assert [place.name for place in table.places] == ["sub/1.jpg", "2.jpg"]
    csv.write_text(f"image,label\n1,a\n2.jpg,b\n{tmp_path}/t.csv,a\n", encoding="utf-8")
    with pytest.raises(ImageError, match="files elsewhere"):
        read_labelled_csv(csv, tmp_path / "s", CsvColumns("image", "label"))


def test_places_travel_to_workers_and_are_compact(tmp_path):
    path = shard(tmp_path / "x.tar", *(f"{index}.jpg" for index in range(1000)))
    places = [place for _, place in list_members([path], where=path)]
    assert pickle.loads(pickle.dumps(places)) == places
    assert all(isinstance(place, Member) for place in places)
    assert len({id(place.tar) for place in places}) == 1
    assert len(pickle.dumps(places)) < 60 * len(places)


def test_content_decides_in_a_tar_where_the_ending_does_not(photo_folder, tmp_path, caplog):
    caplog.set_level("INFO", "frozenprobe")
    photo = (photo_folder / "test" / "000.jpg").read_bytes()
    files = {"a/1": photo, "b/2.heic": photo, "b/3.jpg": b"", "b/page": b"<html>", "a/1.txt": photo, "a/0.cls": b""}
    path = write_tar(tmp_path / "x.tar", files)
    for read in (read_test, lambda path: labelled(path)):
        assert read(path).ids == ("a/1", "b/2.heic", "b/3.jpg")
        assert "an HTML page (b/page); to use it: the download failed" in caplog.text
        assert "left alone: a .txt file (a/1.txt)" in caplog.text
        assert ".cls" not in caplog.text
        caplog.clear()


def test_a_class_of_a_tar_that_cannot_be_decoded_is_an_error(tmp_path):
    path = write_tar(
        tmp_path / "x.tar", {"t/a/1.jpg": b"", "t/b/1.jpg": b"", "t/c/1.jxl": b"\xff\x0a", "t/b/1.jxl": b""}
    )
    with pytest.raises(ImageError, match=r"none in t/c, but a JPEG XL image \(t/c/1\.jxl\)") as caught:
        labelled(path)
    assert "then make the shards again" in caught.value.remedy


def test_a_tar_of_parts_of_a_data_set_is_refused(tmp_path):
    path = shard(tmp_path / "x.tar", "data/train/a/1.jpg", "data/train/b/1.jpg", "data/test/1.jpg")
    with pytest.raises(ImageError, match="parts of a data set: test, train") as caught:
        labelled(path)
    assert "tar -cf train.tar -C FOLDER/train" in caught.value.remedy


def test_a_tar_without_images_says_what_is_in_it(tmp_path):
    with pytest.raises(ImageError, match=r"none in the shards, but a PDF .* \(a\.pdf\)") as caught:
        read_test(write_tar(tmp_path / "x.tar", {"a.pdf": b"%PDF-1"}))
    assert caught.value.remedy == "export the pages as images; then make the shards again"
