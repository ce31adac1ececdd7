"""One writer at a time, or the ranks of one extraction: the next says who holds the file, a dead one is no obstacle."""

from __future__ import annotations

import errno
import io
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from frozenprobe.cache.growing import lock as holders
from frozenprobe.cache.growing import lock as locks
from frozenprobe.cache.growing.lock import rank_lock, rank_turn, read_holder, start_of, this_process, writer_lock
from frozenprobe.errors import DiskFull, FileInUse

pytestmark = pytest.mark.skipif(os.name == "nt", reason="whether a process lives is asked the POSIX way")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "f.h5"


def leave(file: Path, **changes: object) -> Path:
    """The lock of a holder that differs from this process."""
    lock = file.with_name("f.h5.lock")
    lock.write_text(json.dumps(asdict(replace(this_process(), **changes))))
    return lock


def with_pid(pid: object) -> str:
    """A lock of a holder with a strange process number."""
    return json.dumps(asdict(replace(this_process(), pid=pid)))


def ended_process() -> int:
    """The pid of a process that is no more."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_the_lock_is_there_while_it_is_held_and_gone_afterwards(file):
    with writer_lock(file):
        holder = json.loads(file.with_name("f.h5.lock").read_text())
        assert (holder["pid"], holder["host"]) == (os.getpid(), socket.gethostname())
    assert list(file.parent.iterdir()) == []


def test_the_second_says_who_holds_it_and_since_when(file):
    with writer_lock(file), pytest.raises(FileInUse) as caught, writer_lock(file):
        pass
    assert f"process {os.getpid()} of this machine" in caught.value.found
    assert "which has been writing it since 20" in caught.value.found
    assert f"kill {os.getpid()}" in caught.value.remedy
    with writer_lock(file):
        pass


def test_an_error_inside_gives_the_lock_back(file):
    with pytest.raises(RuntimeError), writer_lock(file):
        raise RuntimeError
    assert list(file.parent.iterdir()) == []


def test_a_lock_of_a_dead_process_is_taken_over(file):
    leave(file, pid=ended_process())
    with writer_lock(file):
        assert json.loads(file.with_name("f.h5.lock").read_text())["pid"] == os.getpid()
    assert list(file.parent.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux tells what became of a process")
def test_a_killed_process_that_nobody_has_asked_about_yet_is_dead(file):
    """A zombie: it still has its number."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    leave(file, pid=child.pid, started=start_of(child.pid))
    with pytest.raises(FileInUse), writer_lock(file):
        pass
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    with writer_lock(file):
        pass
    child.wait()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux tells when a process was started")
def test_a_pid_that_has_been_given_to_another_process_is_no_holder(file):
    leave(file, started="1")
    with writer_lock(file):
        assert read_holder(file.with_name("f.h5.lock")).started == this_process().started


def test_a_lock_from_before_the_machine_was_restarted_is_no_holder(file, monkeypatch):
    """Where the machine has an id: without one it may be another machine of the same name."""
    now = replace(this_process(), machine="m1", boot="b2")
    monkeypatch.setattr(locks, "this_process", lambda **rank: replace(now, **rank))
    leave(file, machine="m1", boot="b1")
    with writer_lock(file):
        assert read_holder(file.with_name("f.h5.lock")).boot == "b2"
    now = replace(now, machine="")
    leave(file, machine="", boot="b1")
    with pytest.raises(FileInUse), writer_lock(file):
        pass


@pytest.mark.parametrize("changes", [{"space": "pid:[1]"}, {"machine": "another"}, {"machine": "x", "boot": "another"}])
def test_a_holder_whose_processes_cannot_be_seen_from_here_counts_as_alive(file, changes):
    """Another container of this machine, or another machine of the same name: its process numbers mean nothing here."""
    leave(file, pid=ended_process(), **changes)
    with pytest.raises(FileInUse, match="--break-lock"), writer_lock(file):
        pass


def test_where_there_are_no_hard_links_the_lock_works_too(file, monkeypatch):
    def refuse(*args: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(locks.os, "link", refuse)
    with writer_lock(file):
        assert json.loads(file.with_name("f.h5.lock").read_text())["pid"] == os.getpid()
        with pytest.raises(FileInUse), writer_lock(file):
            pass
    assert list(file.parent.iterdir()) == []


def test_a_lock_of_another_machine_is_explained_and_can_be_broken(file):
    lock = leave(file, host="node7", pid=ended_process())
    with pytest.raises(FileInUse) as caught, writer_lock(file):
        pass
    assert "on node7" in caught.value.found
    assert "look on node7" in caught.value.remedy
    assert "--break-lock" in caught.value.remedy
    assert lock.exists()
    with writer_lock(file, break_lock=True):
        pass
    assert not lock.exists()


CONTENTS = ["", "{", "[]", '{"pid": 1}', '"x"', "[" * 5000, "x" * 20_000, *map(with_pid, ("12", None, 10**20, -1))]


@pytest.mark.parametrize("content", CONTENTS, ids=range(len(CONTENTS)))
def test_a_lock_that_says_nothing_is_respected_and_can_be_broken(file, content):
    """Its writer was killed in the very moment, or is about to write it."""
    lock = file.with_name("f.h5.lock")
    lock.write_text(content)
    with pytest.raises(FileInUse, match="--break-lock"), writer_lock(file):
        pass
    with writer_lock(file, break_lock=True):
        pass
    assert not lock.exists()


def test_who_was_broken_in_on_does_not_remove_the_others_lock(file):
    with writer_lock(file):
        leave(file, token="another's by now")
    assert json.loads(file.with_name("f.h5.lock").read_text())["token"] == "another's by now"


def test_the_lock_of_a_living_process_of_this_machine_is_not_broken(file):
    """Two writers would undo each other's work; whoever wants it can stop the process."""
    with writer_lock(file), pytest.raises(FileInUse, match="of this machine"), writer_lock(file, break_lock=True):
        pass


def test_a_folder_with_the_name_of_the_lock_is_told_and_left_alone(file):
    lock = file.with_name("f.h5.lock")
    lock.mkdir()
    for break_lock in (False, True):
        with (
            pytest.raises(FileInUse, match="a folder with the name of the lock"),
            writer_lock(file, break_lock=break_lock),
        ):
            pass
    assert [each.name for each in file.parent.iterdir()] == ["f.h5.lock"]


@pytest.mark.parametrize("make", [os.mkfifo, lambda lock: lock.symlink_to("nowhere")], ids=["pipe", "link"])
def test_nobody_waits_for_a_lock_that_is_no_file(file, make):
    lock = file.with_name("f.h5.lock")
    make(lock)
    for break_lock in (False, True):
        held = pytest.raises(FileInUse, match="a pipe, a device or a broken link with the name of the lock")
        with held, writer_lock(file, break_lock=break_lock):
            pass
    assert os.path.lexists(lock)


def test_what_is_printed_of_a_lock_is_printable(file):
    leave(file, host="node\x1b[31m\n7", command="a\nb")
    with pytest.raises(FileInUse) as caught, writer_lock(file):
        pass
    assert "on node[31m7 (ab)" in caught.value.found


def test_half_written_files_of_killed_writers_are_removed_and_no_others(file):
    names = [".0123abcd.partial.f.h5", ".0123abcd.partial.g.h5", "f.h5.pieces/.0123abcd.partial.00000000-aa.h5"]
    names.append(".0123abcd.partial.f.h5.lock")
    for name in names:
        (file.parent / name).parent.mkdir(exist_ok=True)
        (file.parent / name).write_bytes(b"x")
    with writer_lock(file):
        pass
    assert [(file.parent / name).exists() for name in names] == [False, True, False, False]


def hold_if_possible(file: Path, held: multiprocessing.Value, most: multiprocessing.Value, times: int = 40) -> None:
    for _ in range(times):
        try:
            with writer_lock(file):
                with held.get_lock():
                    held.value += 1
                    most.value = max(most.value, held.value)
                with held.get_lock():
                    held.value -= 1
        except FileInUse:
            continue


def test_never_do_two_processes_hold_it(file):
    """Four processes that try as often as they can."""
    context = multiprocessing.get_context("fork")
    held, most = context.Value("i", 0), context.Value("i", 0)
    processes = [context.Process(target=hold_if_possible, args=(file, held, most)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert (held.value, most.value) == (0, 1)
    assert [each.name for each in file.parent.iterdir()] == []


def test_of_many_that_find_a_dead_ones_lock_one_gets_it(file):
    """Again and again: whoever takes it over must not be robbed by one who looked a moment earlier."""
    context = multiprocessing.get_context("fork")
    dead = ended_process()
    for _ in range(15):
        leave(file, pid=dead)
        held, most, start = context.Value("i", 0), context.Value("i", 0), context.Barrier(4)
        processes = [context.Process(target=take_over, args=(file, held, most, start)) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert most.value == 1
        assert [each.name for each in file.parent.iterdir()] == []


def take_over(file: Path, held: multiprocessing.Value, most: multiprocessing.Value, start: object) -> None:
    start.wait()
    hold_if_possible(file, held, most, times=1)


def test_who_takes_a_lock_away_keeps_others_from_doing_so_meanwhile(file, monkeypatch):
    """The kernel's lock is held from before the last look until the file is gone."""
    import fcntl

    lock, looks = leave(file, pid=ended_process()), []
    holder = read_holder(lock)

    def look(path: Path) -> holders.Holder | None:
        with open(path, "rb") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
        looks.append(path)
        return read_holder(path)

    monkeypatch.setattr(locks, "read_holder", look)
    locks.take_away(lock, holder)
    assert looks == [lock]
    assert not lock.exists()


@pytest.mark.parametrize("content", ["", "another's"])
def test_a_lock_that_has_become_somebody_elses_is_not_taken_away(file, content, monkeypatch):
    """Between the look at it and the kernel's lock: written anew in place, or another file under the name."""
    lock = leave(file, pid=ended_process())
    if not content:
        lock.write_text("")  # one that says nothing, as the next one does for a moment where there are no links
    holder = read_holder(lock)
    locks_file = locks.lock_exclusively

    def late(handle: object) -> None:
        if content:
            leave(file, token=content)
        else:
            replacement = lock.with_name("new")
            replacement.write_text("")
            replacement.replace(lock)
        locks_file(handle)

    monkeypatch.setattr(locks, "lock_exclusively", late)
    locks.take_away(lock, holder)
    assert lock.exists()
    locks.take_away(lock.with_name("gone.lock"), holder)  # nor is it an error that another was faster


@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_lock_that_could_not_be_written_is_no_lock(file, linked, number, monkeypatch):
    """Whoever went on would write without one, and what was written of it would stop everybody else."""

    def refuse(*args: object, **more: object) -> None:
        raise OSError(number, os.strerror(number))

    class Full(io.FileIO):
        write = refuse

    if linked:
        monkeypatch.setattr(Path, "write_text", refuse)
    else:
        monkeypatch.setattr(locks.os, "link", refuse)
        monkeypatch.setattr(locks, "open", Full, raising=False)
    expected = DiskFull if number == errno.ENOSPC else OSError
    with pytest.raises(expected), writer_lock(file):
        pytest.fail("went on without a lock")
    assert list(file.parent.iterdir()) == []


def test_a_lock_with_strange_letters_in_the_command_is_given_back(file, monkeypatch):
    """A no-break space, as in the names of macOS's screenshots."""
    monkeypatch.setattr(sys, "argv", ["frozenprobe", "Screenshot 3.04\u202fPM.h5", "tab\there"])
    with writer_lock(file):
        pass
    assert list(file.parent.iterdir()) == []


def test_where_the_system_does_not_tell_when_a_process_was_started_a_lock_can_be_broken(file):
    """Its number may belong to another process by now."""
    leave(file, started="", pid=os.getpid())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(holders, "start_of", lambda pid: "")
        with pytest.raises(FileInUse), writer_lock(file):
            pass
        with writer_lock(file, break_lock=True):
            pass


def test_a_living_process_of_somebody_else_counts_as_alive(file, monkeypatch):
    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    leave(file, pid=1)
    monkeypatch.setattr(locks.os, "kill", refuse)
    with pytest.raises(FileInUse), writer_lock(file):
        pass


# Ranks.


def leave_rank(file: Path, number: int, world: int, **changes: object) -> Path:
    """The lock of a rank that differs from this process."""
    lock = locks.rank_lock_path(file, number)
    lock.write_text(json.dumps(asdict(replace(this_process(rank=f"{number} of {world}"), **changes))))
    return lock


@contextmanager
def given_back_later(lock: Path) -> Iterator[list[bool]]:
    """A holder that removes its lock after a while; the list tells whether it has begun to."""
    given: list[bool] = []
    thread = threading.Timer(0.3, lambda: given.append(True) or lock.unlink())
    thread.start()
    yield given
    thread.join()


def test_ranks_write_side_by_side_and_leave_nothing_behind(file):
    with rank_lock(file, 0, 2), rank_lock(file, 1, 2):
        assert sorted(each.name for each in file.parent.iterdir()) == ["f.h5.rank-0.lock", "f.h5.rank-1.lock"]
        with rank_turn(file, 0, 2):
            assert json.loads(file.with_name("f.h5.lock").read_text())["rank"] == "0 of 2"
    assert list(file.parent.iterdir()) == []


def test_a_lone_writer_is_refused_while_a_rank_lives_and_gives_its_own_lock_back(file):
    with rank_lock(file, 3, 8):
        for break_lock in (False, True):
            with pytest.raises(FileInUse, match="rank 3 of 8") as caught, writer_lock(file, break_lock=break_lock):
                pass
            assert caught.value.where.endswith("f.h5.rank-3.lock")
        assert [each.name for each in file.parent.iterdir()] == ["f.h5.rank-3.lock"]
    with writer_lock(file):
        pass


@pytest.mark.parametrize(("number", "world"), [(3, 8), (3, 4), (1, 4)])
def test_the_same_rank_or_one_of_another_number_of_ranks_is_refused(file, number, world):
    """They would compute the same rows twice."""
    with rank_lock(file, 3, 8), pytest.raises(FileInUse, match="rank 3 of 8"), rank_lock(file, number, world):
        pass
    assert list(file.parent.iterdir()) == []


def test_a_rank_does_not_enter_beside_a_lone_writer(file, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    with writer_lock(file), pytest.raises(FileInUse, match="this machine"), rank_lock(file, 0, 2):
        pass


def test_a_rank_waits_for_a_lone_writer_that_gives_the_lock_back_at_once(file):
    """As one does that finds ranks at work: the ranks must not fail by it."""
    with writer_lock(file), given_back_later(file.with_name("f.h5.lock")) as given, rank_lock(file, 0, 2):
        assert given == [True]


def test_a_rank_waits_as_long_as_another_one_finishes_the_file(file, monkeypatch, caplog):
    monkeypatch.setattr(locks, "PATIENCE", 0.0)
    monkeypatch.setattr(locks, "TELLING", 0.0)
    lock = file.with_name("f.h5.lock")
    lock.write_text(json.dumps(asdict(replace(this_process(rank="1 of 2"), host="node7"))))
    with given_back_later(lock) as given, rank_lock(file, 0, 2):
        assert given == [True]
    (told,) = [record.getMessage() for record in caplog.records]
    assert "rank 1 of 2" in told
    assert "--break-lock" in told


def test_a_turn_of_a_rank_that_is_dead_is_taken_over(file):
    leave(file, rank="1 of 2", pid=ended_process())
    leave_rank(file, 1, 2, pid=ended_process())
    with rank_lock(file, 1, 2), rank_turn(file, 1, 2):
        pass
    assert list(file.parent.iterdir()) == []


def test_locks_of_dead_ranks_stop_nobody(file):
    for number in range(3):
        leave_rank(file, number, 3, pid=ended_process())
    with rank_lock(file, 0, 2):
        assert [each.name for each in file.parent.iterdir()] == ["f.h5.rank-0.lock"]
    leave_rank(file, 7, 8, pid=ended_process())
    with writer_lock(file):
        assert [each.name for each in file.parent.iterdir()] == ["f.h5.lock"]


def test_locks_of_ranks_on_machines_that_are_gone_can_be_broken(file):
    """Those of the same extraction are left alone: with --break-lock, too, ranks of other machines are partners."""
    for number in (0, 1):
        leave_rank(file, number, 2, host="node7")
    with pytest.raises(FileInUse, match="look on node7"), rank_lock(file, 0, 2):
        pass
    with rank_lock(file, 0, 2, break_lock=True):
        assert read_holder(locks.rank_lock_path(file, 1)).host == "node7"
    with pytest.raises(FileInUse, match="look on node7"), writer_lock(file):
        pass
    with writer_lock(file, break_lock=True):
        assert [each.name for each in file.parent.iterdir()] == ["f.h5.lock"]


def test_break_lock_spares_the_turn_of_a_rank_that_was_started_with_this_one(file, monkeypatch):
    """All ranks are given the option, and one may be finishing the file on another machine at this moment."""
    lock = file.with_name("f.h5.lock")
    turn = replace(this_process(rank="1 of 2"), host="node7", since="2999-01-01T00:00:00+00:00")
    lock.write_text(json.dumps(asdict(turn)))
    with given_back_later(lock) as given, rank_lock(file, 0, 2, break_lock=True):
        assert given == [True]
    lock.write_text(json.dumps(asdict(replace(turn, since="2001-01-01T00:00:00+00:00"))))
    with rank_lock(file, 0, 2, break_lock=True):
        assert not lock.exists()


def test_a_rank_removes_what_killed_ones_left_half_written_only_if_no_other_is_writing(file):
    aside = file.parent / "f.h5.pieces" / ".0123abcd.partial.00000000-aa.h5"
    aside.parent.mkdir()
    aside.write_bytes(b"x")
    lock = leave_rank(file, 1, 2, host="node7")
    with rank_lock(file, 0, 2):
        assert aside.exists()
    lock.unlink()
    with rank_lock(file, 0, 2):
        assert not aside.exists()


def test_who_asks_is_told_of_ranks(file):
    assert locks.writer_of(file) == ""
    with rank_lock(file, 0, 3), rank_lock(file, 1, 3), rank_lock(file, 2, 3):
        assert f"process {os.getpid()}" in locks.writer_of(file)
        assert locks.writer_of(file).endswith("and 2 other ranks")


def test_a_folder_with_the_name_of_a_ranks_lock_is_told(file):
    locks.rank_lock_path(file, 0).mkdir()
    for world in (2, 3):
        with pytest.raises(FileInUse, match="a folder with the name of the lock"), rank_lock(file, 1, world):
            pass
