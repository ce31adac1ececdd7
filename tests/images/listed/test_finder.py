"""Images of a folder or of shards are found by the names of a table, and only below the folder."""

from frozenprobe.images.listed.finder import ImageFinder
from tests.images.shard_files import write_tar
from tests.images.test_folders import touch


def test_names_find_files_and_the_rest_is_told(tmp_path):
    touch(tmp_path / "img", "a/01.jpg", "a/02.jpg", "b/03.jpg")
    found = ImageFinder(tmp_path / "img").find(["3", "1"])
    assert found.places == (tmp_path / "img/b/03.jpg", tmp_path / "img/a/01.jpg")
    assert (found.strayed, found.unnamed) == ((), ("a/02.jpg",))
    assert found.how == "name without ending and leading zeros"


def test_names_find_members_of_shards(tmp_path):
    write_tar(tmp_path / "t.tar", {"a/1.jpg": b"x", "a/2.jpg": b"y"})
    found = ImageFinder(tmp_path / "t.tar").find(["2"])
    assert [place.name for place in found.places] == ["a/2.jpg"]
    assert found.unnamed == ("a/1.jpg",)


def test_files_elsewhere_are_told_apart_and_names_that_lead_back_are_inside(tmp_path):
    touch(tmp_path / "img", "1.jpg", "sub/3.jpg")
    touch(tmp_path / "elsewhere", "9.jpg", "1.jpg")
    names = ["../elsewhere/9.jpg", "sub/../1.jpg", str(tmp_path / "img/sub/3.jpg"), "../none/8.jpg"]
    found = ImageFinder(tmp_path / "img").find(names)
    assert found.strayed == ("../elsewhere/9.jpg",)
    assert [place and place.name for place in found.places] == ["9.jpg", "1.jpg", "3.jpg", None]
    twin = ImageFinder(tmp_path / "img").find(["../elsewhere/1.jpg"])
    assert twin.strayed == ("../elsewhere/1.jpg",), "a file that is there is meant, not its namesake in the folder"
