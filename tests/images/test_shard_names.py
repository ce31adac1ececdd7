"""What the user names means the shards that WebDataset, or a shell, would take it for."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frozenprobe.errors import ImageError
from frozenprobe.images.shard_names import expand, find_shards
from tests.conftest import write_image
from tests.images.test_folders import touch

BASH = shutil.which("bash")


@pytest.mark.skipif(BASH is None, reason="bash is the reference")
@pytest.mark.parametrize(
    "pattern",
    [
        *("{000..011}", "{0..10}", "{8..12}", "{08..12}", "{3..1}", "{0..9..4}", "{5..0..2}", "{1..3..0}", "{7..7}"),
        *(
            "{a,b}-{0..2}",
            "{a,{b,c}}x",
            "{x}",
            "{}",
            "{,s}",
            "no{b",
            "{train,val{1,2}}-{00..01}",
            "{0..2}{0..1}",
            "{1..a}",
        ),
    ],
)
def test_patterns_mean_what_bash_means(pattern):
    said = subprocess.run([BASH, "-c", f"printf '%s\\n' {pattern}.tar"], capture_output=True, text=True, check=True)
    assert list(dict.fromkeys(expand(f"{pattern}.tar"))) == said.stdout.split("\n")[:-1]


@given(first=st.integers(0, 300), more=st.integers(0, 40), width=st.integers(1, 7))
def test_a_padded_range_counts_every_shard_in_order(first, more, width):
    ends = f"{first:0{width}d}..{first + more:0{width}d}"
    found = list(expand(f"a-{{{ends}}}.tar"))
    assert [int(name[2:-4]) for name in found] == list(range(first, first + more + 1))


def test_a_tar_a_pattern_and_a_folder_of_tars_mean_the_same_shards(tmp_path):
    touch(tmp_path, "s/t-0.tar", "s/t-1.tar", "s/t-2.tar", "s/README.md", "s/._t-0.tar", "s/t-0.json")
    three = tuple(tmp_path / "s" / f"t-{index}.tar" for index in range(3))
    assert find_shards(tmp_path / "s") == three
    assert find_shards(tmp_path / "s" / "t-{0..2}.tar") == three
    assert find_shards(tmp_path / "s" / "t-*.tar") == three
    assert find_shards(tmp_path / "s" / "t-?.tar") == three
    assert find_shards(tmp_path / "s" / "t-1.tar") == three[1:2]
    assert find_shards(tmp_path / "s" / "t-{2,2,0}.tar") == (three[2], three[0]), (
        "in the order of the pattern, each once"
    )


def test_a_tar_that_is_left_beside_its_images_is_not_read_again(tmp_path):
    """`train.tar` unpacked in place: the folder is what it was before there were shards."""
    write_image(tmp_path / "a" / "1.jpg", 1)
    touch(tmp_path, "download.tar")
    assert find_shards(tmp_path) == ()


def test_a_file_whose_name_has_braces_is_itself(tmp_path):
    touch(tmp_path, "a{0..1}.tar")
    assert find_shards(tmp_path / "a{0..1}.tar") == (tmp_path / "a{0..1}.tar",)


@pytest.mark.parametrize("name", ["list.txt", "x.csv", "folder", "x"])
def test_what_is_no_tar_names_no_shards(tmp_path, name):
    assert find_shards(tmp_path / name) == ()


def test_shards_that_are_not_there_are_named(tmp_path):
    touch(tmp_path, "t-0.tar")
    with pytest.raises(ImageError, match=r"2 of 3 are not there: .*t-1\.tar, .*t-2\.tar"):
        find_shards(tmp_path / "t-{0..2}.tar")
    with pytest.raises(ImageError, match="found:  none"):
        find_shards(tmp_path / "u-*.tar")


def test_a_pattern_for_more_shards_than_there_can_be_is_an_error_at_once(tmp_path):
    with pytest.raises(ImageError, match="100,000 shards"):
        find_shards(tmp_path / "{0..999999999}-{0..999999999}.tar")


@pytest.mark.parametrize("named", ["s", "s/t-0.tar.gz", "s/t-0.tgz", "s/t-{0..3}.tar.zst"])
def test_compressed_shards_are_an_error_that_says_what_to_do(tmp_path, named):
    touch(tmp_path, "s/t-0.tar.gz")
    with pytest.raises(ImageError, match="gunzip"):
        find_shards(tmp_path / named)
