"""Feature files damaged by chance: every bit flip is noticed, no wrong number is served, repair keeps the rest."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from frozenprobe.cache.care.info import file_facts
from frozenprobe.cache.care.repair import repair_features
from frozenprobe.cache.care.verify import verify_features
from frozenprobe.cache.store import open_features
from frozenprobe.errors import FrozenprobeError
from tests.conftest import rewrite
from tests.faults.synthetic import World, extract, holds, world

LARGE = world(150)  # three blocks of rows a view
SECONDS = 20  # a child that takes longer hangs


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A feature file's bytes."""
    path = tmp_path_factory.mktemp("whole") / "f.h5"
    extract(path, LARGE, batch=1000)
    return path.read_bytes()


def served(path: Path, wanted: World) -> str:
    """What a reader gets: `right`, or `refused` with an error for people. All else is a failure of this program."""
    try:
        right = holds(path, wanted)
    except FrozenprobeError:
        return "refused"
    assert right, "a wrong number, id or label was served"
    return "right"


def noticed(path: Path) -> bool:
    """Whether a verification says that something is wrong."""
    try:
        return not verify_features(path).sound
    except FrozenprobeError:
        return True


def test_every_bit_flip_is_noticed_and_none_is_served(whole, tmp_path, faults, tell):
    """Everywhere in the file: seal, metadata, rows, spare copy, padding."""
    path, rng = tmp_path / "f.h5", random.Random(0)
    bits = rng.sample(range(8 * len(whole)), faults(240, 12_000))
    outcomes = {"right": 0, "refused": 0}
    for bit in bits:
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        assert noticed(path), bit
        outcomes[served(path, LARGE)] += 1
    assert outcomes["refused"] > 0
    tell(
        f"bit flips: {len(bits)} of {8 * len(whole):,}, one at a time: all noticed by verify; {outcomes['refused']} "
        f"refused by readers, {outcomes['right']} harmless to them (in the spare copy), no wrong number served"
    )


def test_a_flipped_bit_costs_one_block_and_repair_and_extract_bring_the_file_back(whole, tmp_path, faults, tell):
    path, rng, computed = tmp_path / "f.h5", random.Random(1), []
    flips = faults(15, 300)
    for _ in range(flips):
        content = bytearray(whole)
        content[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        report = repair_features(path)
        assert report.problems
        assert report.kept >= len(LARGE.rows()) - 64
        computed.append(extract(path, LARGE, batch=1000))
        assert holds(path, LARGE)
        assert not noticed(path)
        for other in path.parent.glob("*.damaged"):
            other.unlink()
    assert max(computed) <= 64
    tell(f"repair: {flips} bit flips, at most {max(computed)} of {len(LARGE.rows())} rows computed again")


def test_repair_of_a_whole_file_changes_nothing(whole, tmp_path):
    path = tmp_path / "f.h5"
    path.write_bytes(whole)
    report = repair_features(path)
    assert (report.problems, report.rewritten, report.moved_to) == ([], False, None)
    assert path.read_bytes() == whole
    assert [each.name for each in tmp_path.iterdir()] == ["f.h5"]


def test_swapped_ids_are_noticed(whole, tmp_path):
    path = tmp_path / "f.h5"
    for one, other in ((b"c0/0.jpg", b"c0/3.jpg"), (b"c1/1.jpg", b"c2/2.jpg")):
        changed = whole.replace(one, b"########").replace(other, one).replace(b"########", other)
        assert changed != whole
        path.write_bytes(changed)
        assert noticed(path)
        assert served(path, LARGE) == "refused"


def test_swapped_rows_are_noticed(whole, tmp_path):
    """Two rows change places: every number is one that was written, but not there."""
    path = tmp_path / "f.h5"
    path.write_bytes(whole)
    array = open_features(path).arrays("train")[0]
    size = array.shape[2] * array.dtype.itemsize
    changed = bytearray(whole)
    changed[array.offset : array.offset + 2 * size] = (
        whole[array.offset + size : array.offset + 2 * size] + whole[array.offset : array.offset + size]
    )
    path.write_bytes(changed)
    assert noticed(path)
    assert served(path, LARGE) == "refused"


def test_a_truncated_file_gives_back_what_is_left_of_it(whole, tmp_path):
    path = tmp_path / "f.h5"
    path.write_bytes(whole)
    array = open_features(path).arrays("train")[-1]
    path.write_bytes(whole[: array.offset + 3 * array.shape[1] * array.shape[2] * 4])
    assert served(path, LARGE) == "refused"
    assert repair_features(path).kept >= 3 * len(LARGE.train) - 64
    assert extract(path, LARGE) < len(LARGE.rows())
    assert holds(path, LARGE)


def test_a_file_of_which_nothing_is_left_says_so(tmp_path):
    path = tmp_path / "f.h5"
    path.write_bytes(random.Random(0).randbytes(50_000))
    for call in (open_features, verify_features, repair_features, file_facts):
        with pytest.raises(FrozenprobeError, match="extract again"):
            call(path)
    assert path.stat().st_size == 50_000


def mutations(content: bytes, rng: random.Random) -> Iterator[bytes]:
    """Endlessly: the content truncated, flipped, overwritten, with parts missing, doubled, swapped or added."""
    while True:
        start, length = rng.randrange(len(content)), rng.choice((1, 2, 8, 100, 512, 1024, 4096))
        end, other = start + length, rng.randrange(len(content))
        part = content[start:end]
        noise = rng.randbytes(length)
        mutated = rng.choice(
            (
                content[:start],
                content[start:],
                content[:start] + noise[: len(part)] + content[end:],
                content[:start] + bytes(len(part)) + content[end:],
                content[:start] + b"\xff" * len(part) + content[end:],
                content[:start] + content[end:],
                content[:end] + part + content[end:],
                content[:other] + part + content[other + len(part) :],
                content[:start] + noise + content[start:],
                content + noise,
                noise + content,
            )
        )
        if mutated != content:
            yield mutated


def in_a_child(work: Callable[[], int]) -> int:
    """Run work in a process of its own that is killed if it hangs; its answer (0 to 255), or -1 for a hang or crash."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        try:
            os._exit(work())
        finally:
            os._exit(255)
    status = os.waitpid(child, 0)[1]
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1


def read_repair_and_go_on(path: Path, wanted: World) -> int:
    """All that a user would try on a mutated file of the large world; 1 if something refused it, 0 if nothing did."""
    before = path.read_bytes()
    refused = served(path, LARGE) == "refused"
    assert noticed(path)
    for call in (file_facts, repair_features):
        try:
            call(path)
        except FrozenprobeError:
            refused = True
    if path.exists() and path.read_bytes() == before:  # nothing could be kept
        path.unlink()
    extract(path, wanted, batch=1000)
    assert path.exists()
    assert holds(path, wanted)
    return int(refused)


def go_on(path: Path, mutated_piece: bool) -> int:
    """Verify and go on from the pieces of a killed run, of which one was mutated; 0 if all is well."""
    assert verify_features(path).problems or not mutated_piece, "what was mutated has to be told"
    assert extract(path, LARGE, batch=1000) <= len(LARGE.rows()) - 40 * 4
    return int(not holds(path, LARGE))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process is forked that may hang")
def test_mutated_files_are_refused_or_right_and_nothing_hangs(whole, tmp_path, faults, tell):
    """Finished files, pieces and plans; every command that reads them."""
    path, rng = tmp_path / "f.h5", random.Random(2)
    folder = tmp_path / "f.h5.pieces"
    many, outcomes = faults(24, 1000), {0: 0, 1: 0}
    half = World(LARGE.train, LARGE.test, 1)
    for number, content in zip(range(many), mutations(whole, rng), strict=False):
        path.write_bytes(content)
        outcome = in_a_child(partial(read_repair_and_go_on, path, LARGE if number % 2 else half))
        assert outcome in outcomes, f"mutation {number}"
        outcomes[outcome] += 1
        for left in [*folder.glob("*"), *tmp_path.glob("*.damaged*"), path]:
            left.unlink(missing_ok=True)
    tell(f"mutated feature files: {many}, {outcomes[1]} refused with a message, none served wrongly, no crash, no hang")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process is forked that may hang")
def test_mutated_pieces_count_as_missing_rows(tmp_path, faults, tell):
    """A killed extraction's pieces and plan, damaged: the next run computes what they had, and all is well."""
    path, rng = tmp_path / "f.h5", random.Random(3)
    many = faults(24, 500)

    class Stop(Exception):
        pass

    def stop(rows: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Stop

    for number in range(many):
        left = 4
        with pytest.raises(Stop):
            extract(path, LARGE, batch=40, told=stop)
        pieces = sorted((tmp_path / "f.h5.pieces").glob("*.h5"))
        victim = rng.choice(pieces)
        victim.write_bytes(next(mutations(victim.read_bytes(), rng)))
        assert in_a_child(partial(go_on, path, victim.name != "plan.h5")) == 0, f"{number}: {victim.name}"
        for each in [*(tmp_path / "f.h5.pieces").glob("*"), path]:
            each.unlink(missing_ok=True)
    tell(f"mutated pieces and plans: {many}, the damaged rows computed again, the same file in the end")


def test_rows_that_are_no_numbers_are_noticed_and_dropped(tmp_path):
    """Whole as bytes, and yet nothing a head could be trained on."""
    path = tmp_path / "f.h5"
    extract(path, LARGE, batch=1000)
    features = open_features(path)
    vectors = features.read("train", range(4))
    vectors[7, 2, 1] = np.nan
    broken = rewrite(features, "broken.h5", vectors=vectors)
    assert [damaged[:3] for damaged in verify_features(broken.path).damaged] == [("train", "aug1", (7,))]
    assert repair_features(broken.path).kept == 150 * 4 + 4 * 2 - 1
    assert extract(broken.path, LARGE) == 1
    assert holds(broken.path, LARGE)
