"""Ranks share the checking of the images: nothing twice, nothing believed of a file that has changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from frozenprobe.errors import ImageError
from frozenprobe.extract.inspect import inspect_images
from frozenprobe.extract.ranks import checked as slices
from frozenprobe.extract.ranks.checked import Found, inspect_together, order_of
from frozenprobe.extract.ranks.rank import Rank
from tests.conftest import write_image


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return [write_image(tmp_path / "images" / f"{number}.jpg", number) for number in range(10)]


class Inspector:
    """One rank that counts what it checks itself."""

    def __init__(self, folder: Path, rank: Rank, conditions: str = "36") -> None:
        self.folder, self.rank, self.conditions = folder, rank, conditions
        self.checked: list[str] = []
        self.progress: list[int] = []

    def check(self, part: Sequence[Path], done: int) -> Found:
        self.checked += [path.name for path in part]
        return inspect_images(
            part,
            remarks={},
            known=(),
            side=36,
            max_pixels=10**6,
            threads=1,
            progress=lambda stage, number, total: self.progress.append(done + number),
        )

    def run(self, paths: Sequence[Path]) -> Found:
        return inspect_together(
            paths, self.check, folder=self.folder, rank=self.rank, conditions=self.conditions, threads=2
        )


def alone(paths: Sequence[Path]) -> Found:
    return Inspector(Path(), Rank()).check(paths, 0)


def test_the_second_rank_takes_what_the_first_has_found(paths, tmp_path):
    first, second = (Inspector(tmp_path / "pieces", Rank(number, 2)) for number in (0, 1))
    assert first.run(paths) == second.run(paths) == alone(paths)
    assert sorted(first.checked) == sorted(path.name for path in paths)
    assert second.checked == []
    assert first.progress == list(range(1, 11))


def test_ranks_begin_with_parts_of_their_own_that_are_all_images():
    for ranks, count in ((2, 7), (5, 64), (8, 3)):
        orders = [order_of(count, Rank(number, ranks)) for number in range(ranks)]
        assert all(sorted(order) == list(range(count)) for order in orders)
        own = [{n for n in range(count) if n * ranks // count == number} for number in range(ranks)]
        assert all(set(order[: len(part)]) == part for order, part in zip(orders, own, strict=True))


def test_ranks_at_the_same_time_check_every_image_once(paths, tmp_path, monkeypatch):
    """One checks its slice while the other one checks the next: here, at every step of the one the other runs whole."""
    monkeypatch.setattr(slices, "SLICE", 2)
    first, second = (Inspector(tmp_path / "pieces", Rank(number, 2)) for number in (0, 1))
    check, answers = second.check, []

    def first_comes_between(part: Sequence[Path], done: int) -> Found:
        if not answers:
            answers.append(first.run(paths))
        return check(part, done)

    second.check = first_comes_between  # type: ignore[method-assign]
    assert second.run(paths) == answers[0] == alone(paths)
    assert len(first.checked) == len(paths)
    assert len(second.checked) == 2, "the slice that both were at"


def test_an_image_that_has_changed_is_checked_again(paths, tmp_path):
    Inspector(tmp_path / "pieces", Rank(0, 2)).run(paths)
    write_image(paths[3], 77)
    os.utime(paths[4], ns=(5, 5))
    later = Inspector(tmp_path / "pieces", Rank(1, 2))
    assert later.run(paths)[0] == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    assert sorted(later.checked) == ["3.jpg", "4.jpg"]
    third = Inspector(tmp_path / "pieces", Rank(0, 2))
    assert third.run(paths) == alone(paths)
    assert third.checked == []


def test_every_rank_finds_bad_images_itself_and_names_them(paths, tmp_path):
    paths[2].write_bytes(b"no image")
    paths[7].unlink()
    for number in (0, 1):
        rank = Inspector(tmp_path / "pieces", Rank(number, 2))
        hashes, bad = rank.run(paths)
        assert list(bad) == [paths[2], paths[7]]
        assert all(isinstance(error, ImageError) for error in bad.values())
        assert (hashes, [*map(str, bad.values())]) == (alone(paths)[0], [*map(str, alone(paths)[1].values())])
        assert number == 0 or sorted(rank.checked) == ["2.jpg", "7.jpg"]


def test_other_conditions_or_images_are_other_slices(paths, tmp_path):
    Inspector(tmp_path / "pieces", Rank(0, 2)).run(paths)
    for rank, part in ((Inspector(tmp_path / "pieces", Rank(1, 2), "224"), paths), (first_rank(tmp_path), paths[1:])):
        rank.run(part)
        assert len(rank.checked) == len(part)


def first_rank(tmp_path: Path) -> Inspector:
    return Inspector(tmp_path / "pieces", Rank(0, 2))


NOTES = [
    "",
    "{",
    "[]",
    "[[1, 2]]",
    "[null, 3, 4, 5, 6]",
    json.dumps([[1, 2, "x" * 64]] * 5),
    "[" * 5000,
    "x" * (2 << 20),
]


@pytest.mark.parametrize("content", NOTES, ids=range(len(NOTES)))
def test_a_damaged_note_says_nothing(paths, tmp_path, content):
    first_rank(tmp_path).run(paths)
    for note in (tmp_path / "pieces").iterdir():
        note.write_text(content)
    rank = first_rank(tmp_path)
    assert rank.run(paths) == alone(paths)
    assert len(rank.checked) == len(paths)


def test_no_images_are_no_slices(tmp_path):
    assert first_rank(tmp_path).run([]) == ([], {})
