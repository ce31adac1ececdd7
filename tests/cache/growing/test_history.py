"""Random histories of a feature file against a plain model: whatever happened, every row is the right one."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from frozenprobe.cache.care.merge import merge_features
from frozenprobe.cache.care.repair import repair_features
from frozenprobe.cache.care.verify import verify_features
from frozenprobe.cache.container.read import SealedFile
from frozenprobe.cache.growing import finish as growth
from frozenprobe.cache.growing import rows as row_store
from frozenprobe.cache.paths import piece_files
from frozenprobe.cache.store import open_features
from frozenprobe.errors import FeatureFileError
from frozenprobe.system import atomic_files as publish
from tests.faults.synthetic import World, extract, holds, rows_of, vector, world

contents = st.sampled_from([f"photo {number}" for number in range(14)])
labels = st.sampled_from(["c0", "c1", "10", "2", "ä"])


INSTANTS = ["add", "write_features", "discard"]


class Killed(BaseException):
    """Stands for a kill: nothing in the program handles it."""


class History(RuleBasedStateMachine):
    """A user's image folders, and the feature file that follows them through kills, growth, relabelling and merging."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "f.h5"
        self.wanted = world(3)
        self.finished: World | None = None  # what the finished file has to hold
        self.checked: object = None  # what lay on disk, and had to, when that was last looked at
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(publish.os, "fsync", lambda handle: None)
        self.patch.setattr(row_store, "SMALL_PIECES", 3)

    def teardown(self) -> None:
        self.patch.undo()
        shutil.rmtree(self.folder)

    @initialize(images=st.integers(3, 9))
    def start(self, images: int) -> None:
        self.wanted = world(images)

    @rule(number=st.integers(0, 9), content=contents, label=labels)
    def put_photo(self, number: int, content: str, label: str) -> None:
        """A new photo, or another content, or another label, for an id."""
        self.wanted = replace(self.wanted, train=self.wanted.train | {f"{number}.jpg": (content, label)})

    @precondition(lambda self: len(self.wanted.train) > 3)
    @rule(data=st.data())
    def remove_photo(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.wanted.train)))
        self.wanted = replace(self.wanted, train={key: each for key, each in self.wanted.train.items() if key != name})

    @rule(data=st.data(), to=st.integers(0, 99))
    def rename_photo(self, data: st.DataObject, to: int) -> None:
        train = dict(self.wanted.train)
        train[f"renamed {to}.jpg"] = train.pop(data.draw(st.sampled_from(sorted(train))))
        self.wanted = replace(self.wanted, train=train)

    @rule(number=st.integers(0, 5), content=contents)
    def put_test_photo(self, number: int, content: str) -> None:
        self.wanted = replace(self.wanted, test=self.wanted.test | {f"t{number}.jpg": content})

    @rule(more=st.integers(1, 2))
    def want_more_views(self, more: int) -> None:
        self.wanted = replace(self.wanted, views=min(6, self.wanted.views + more))

    @rule(batch=st.integers(1, 9))
    def extract(self, batch: int) -> None:
        """Only what is nowhere is computed."""
        missing = self.wanted.rows().keys() - self.on_disk()
        assert extract(self.path, self.wanted, batch=batch) == len(missing)
        self.finished = self.wanted

    def on_disk(self) -> set[tuple[str, str]]:
        """The rows that exist, looked up without the code that plans with them."""
        there = set(rows_of(open_features(self.path))) if self.path.is_file() else set()
        for piece in piece_files(self.path):
            arrays = SealedFile(piece).arrays
            there |= {
                (code.decode(), view.decode()) for code, view in zip(arrays["hashes"], arrays["views"], strict=True)
            }
        return there

    @rule(batch=st.integers(1, 5), after=st.integers(0, 40), instant=st.sampled_from(INSTANTS))
    def extract_and_be_killed(self, batch: int, after: int, instant: str) -> None:
        """Between two batches, before the file is published, or before the pieces are tidied away."""
        kill, told, before = pytest.MonkeyPatch(), [], self.on_disk()

        def stop(*args: object, **kwargs: object) -> None:
            raise Killed

        def tell(rows: int) -> None:
            told.append(rows)
            if instant == "add" and len(told) > after:
                raise Killed

        if instant == "write_features":
            kill.setattr(growth, "write_features", stop)
        elif instant == "discard":
            kill.setattr(row_store.RowStore, "discard", stop)
        try:
            extract(self.path, self.wanted, batch=batch, told=tell)
        except Killed:
            computed = (self.on_disk() - before) & self.wanted.rows().keys()
            assert len(computed) == sum(told), "what was told of is there, and nothing else"
        else:
            instant = "discard"
        finally:
            kill.undo()
        if instant == "discard":
            self.finished = self.wanted

    @precondition(lambda self: self.finished is not None)
    @rule(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def damage_and_repair(self, place: float, bit: int) -> None:
        """A bit flips anywhere: no row but those of its block is lost, and often not even those."""
        before = self.on_disk()
        content = bytearray(self.path.read_bytes())
        content[int(place * len(content))] ^= 1 << bit
        self.path.write_bytes(content)
        assert verify_features(self.path).problems
        report = repair_features(self.path)
        lost = sum(len(damaged.rows) for damaged in report.dropped)
        assert len(before) - len(self.on_disk()) <= lost <= 64
        if report.moved_to is not None:
            report.moved_to.unlink()
            self.finished = None

    @rule(images=st.integers(3, 6), first=st.sampled_from([50, 100]))
    def merge_another(self, images: int, first: int) -> None:
        """A file of other images comes from another machine."""
        if self.finished is None or self.wanted != self.finished:
            return
        other = self.folder / "other" / "g.h5"
        guest = world(images, self.wanted.views, first=first)
        extract(other, guest, batch=50)
        both = replace(self.wanted, train=self.wanted.train | guest.train, test=self.wanted.test | guest.test)
        clash = [name for name in guest.train if self.wanted.train.get(name, guest.train[name]) != guest.train[name]]
        clash += [name for name in guest.test if self.wanted.test.get(name, guest.test[name]) != guest.test[name]]
        if clash:
            with pytest.raises(FeatureFileError, match="in every file"):
                merge_features([self.path, other])
        else:
            merge_features([self.path, other])
            self.wanted = self.finished = both
        shutil.rmtree(other.parent)

    @invariant()
    def the_finished_file_is_right(self) -> None:
        files = sorted((each, each.stat().st_mtime_ns, each.stat().st_ino) for each in self.folder.rglob("*"))
        if (files, self.finished) == self.checked:  # folders of images have changed alone
            return
        self.checked = files, self.finished
        if self.finished is None:
            assert not self.path.exists()
        else:
            assert holds(self.path, self.finished)
            assert verify_features(self.path).problems == []


# without shrinking, which could take longer than everything else together
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
History.TestCase.settings = settings(max_examples=40, stateful_step_count=14, deadline=None, phases=PHASES)
TestHistory = History.TestCase


def test_the_model_is_no_tautology(tmp_path):
    """A file with one wrong number does not hold its world."""
    path = tmp_path / "f.h5"
    extract(path, world(4))
    features = open_features(path)
    rows = rows_of(features)
    assert rows.keys() == world(4).rows().keys()
    key = next(iter(rows))
    assert (rows[key] == vector(*key)).all()
    assert not holds(path, replace(world(4), views=1))
    assert not holds(path, replace(world(4), test={}))
    assert not holds(path, replace(world(4), train=world(4).train | {"c0/0.jpg": ("photo 0", "c1")}))


class Drawn:
    """Stands for hypothesis' data where a history is told step by step."""

    def __init__(self, value: str) -> None:
        self.value = value

    def draw(self, strategy: object) -> str:
        return self.value


def test_a_plan_is_never_older_than_the_file_beside_it() -> None:
    """Killed twice before the pieces were tidied away, photos gone and renamed in between, nothing left to compute."""
    history = History()
    history.start(images=6)
    history.extract_and_be_killed(after=7, batch=2, instant="discard")
    history.remove_photo(data=Drawn("c0/3.jpg"))
    history.rename_photo(data=Drawn("c0/0.jpg"), to=6)
    history.extract_and_be_killed(after=12, batch=1, instant="discard")
    history.merge_another(first=100, images=4)
    history.the_finished_file_is_right()
    history.teardown()
