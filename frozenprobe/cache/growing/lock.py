"""One writer at a time, or the ranks of one extraction: lock files beside the feature file that say who holds them."""

from __future__ import annotations

import glob
import json
import logging
import os
import re
import secrets
import socket
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from frozenprobe.cache.paths import pieces_folder
from frozenprobe.errors import FileInUse
from frozenprobe.system.atomic_files import make_folder, remove_partials, telling_full
from frozenprobe.system.files import read_regular, system_text
from frozenprobe.system.quantities import utc_now

PATIENCE = 5.0  # seconds that a rank waits for a lone writer: one that sees ranks goes away at once
POLL = 0.2  # seconds
TELLING = 60.0  # seconds after which a rank that waits says for whom
LARGEST_LOCK = 10_000  # bytes

log = logging.getLogger("frozenprobe")


@dataclass(frozen=True)
class Holder:
    """Who writes: a process of a machine since it was started.

    Attributes:
        host: name of the machine.
        machine: its id (Linux; elsewhere empty): machines may share a name, containers share one of everything.
        boot: of this start of the machine (likewise).
        space: in which process numbers are counted (likewise): a container has its own.
        pid: of the process.
        started: when the process was started, in the kernel's ticks (Linux; elsewhere empty): a pid is used again.
        since: when it took the lock, UTC, ISO 8601.
        command: what it was called as.
        token: of this lock.
        rank: which rank it is of how many (`3 of 8`); empty for a writer that is alone.
    """

    host: str
    machine: str
    boot: str
    space: str
    pid: int
    started: str
    since: str
    command: str
    token: str
    rank: str = ""

    def is_neighbour(self) -> bool:
        """Whether its process number means here what it means there."""
        me = this_process()
        return (self.host, self.machine, self.boot, self.space) == (me.host, me.machine, me.boot, me.space)

    def is_alive(self) -> bool:
        """Whether the process is known to be there: where the system tells when it was started, so that it is it."""
        return self.is_neighbour() and bool(self.started) and not self.is_dead()

    def is_dead(self) -> bool:
        """Whether the process is known to be gone: only of this machine's processes can that be known."""
        me = this_process()
        if (self.host, self.machine) != (me.host, me.machine) or os.name == "nt":  # there, signal 0 would not only ask
            return False
        if self.boot != me.boot:
            return bool(self.machine)  # the machine was restarted, if this is the one
        if not self.is_neighbour():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return self.started != start_of(self.pid)


@contextmanager
def writer_lock(path: Path, *, break_lock: bool = False) -> Iterator[None]:
    """Hold the lock on a feature file alone; what killed writers left half-written beside it is removed.

    A lock of a dead process of this machine is taken over. Of a process of another machine nobody here knows whether it
    is alive, so that is for the user to say.

    Args:
        path: the feature file; the lock is `<file>.lock`.
        break_lock: take the lock whoever holds it, unless that is a process of this machine that is alive.

    Raises:
        FileInUse: another process holds it, or is a rank that writes; says which.
    """
    with main_lock(path, this_process(), break_lock=break_lock):
        for lock in rank_locks(path):
            clear(path, lock, break_lock=break_lock)
        remove_partials(pieces_folder(path))
        yield


@contextmanager
def rank_lock(path: Path, number: int, world: int, *, break_lock: bool = False) -> Iterator[None]:
    """Be one of the ranks that write the rows of a feature file together; the lock is `<file>.rank-<number>.lock`.

    Raises:
        FileInUse: the same rank, a rank of another number of ranks, or a writer that is alone is at work.
    """
    me = this_process(rank=f"{number} of {world}")
    own = rank_lock_path(path, number)
    with main_lock(path, me, break_lock=break_lock):  # ranks enter one by one, and never beside a lone writer
        others = 0
        for lock in rank_locks(path):
            holder = read_holder(lock)
            if lock != own and holder is not None and not holder.is_dead() and holder.rank.endswith(f" of {world}"):
                others += 1
            else:
                clear(path, lock, break_lock=break_lock)
        if not others:
            remove_partials(pieces_folder(path))
        if not create(own, me):
            raise in_use(path, own, read_holder(own))
    try:
        yield
    finally:
        give_back(own, me)


def rank_turn(path: Path, number: int, world: int) -> AbstractContextManager[None]:
    """The one rank that looks whether all rows exist and finishes the file; the others wait here.

    Raises:
        FileInUse: a writer that is alone has broken the ranks' locks.
    """
    return main_lock(path, this_process(rank=f"{number} of {world}"))


@contextmanager
def main_lock(path: Path, me: Holder, *, break_lock: bool = False) -> Iterator[None]:
    """Hold `<file>.lock`. A rank waits for ranks: if it failed, whatever started it would stop all of them.

    Raises:
        FileInUse: somebody else holds it.
    """
    lock = path.with_name(path.name + ".lock")
    with telling_full(lock):
        make_folder(path.parent)
    start, told = time.monotonic(), False
    while not create(lock, me):
        holder = read_holder(lock)
        # what was taken since this rank was started is of a rank that was started with it
        is_old = not me.rank or holder is None or holder.since < me.since
        try:
            clear(path, lock, break_lock=break_lock and is_old)
        except FileInUse as error:
            waited = time.monotonic() - start
            if not me.rank or is_strange(lock) or (waited > PATIENCE and (holder is None or not holder.rank)):
                raise
            if waited > TELLING and not told:
                log.warning("waiting for another rank: %s. To do: %s", error.found, error.remedy)
                told = True
            time.sleep(POLL)
    try:
        for name in (glob.escape(path.name), glob.escape(lock.name), glob.escape(path.name) + ".rank-*.lock"):
            remove_partials(path.parent, name)
        yield
    finally:
        give_back(lock, me)


def clear(path: Path, lock: Path, *, break_lock: bool) -> None:
    """Remove a lock that nobody holds any more, or that may be broken.

    Raises:
        FileInUse: it is held.
    """
    holder = read_holder(lock)
    may_go = break_lock if holder is None else holder.is_dead() or (break_lock and not holder.is_alive())
    if may_go and lock.is_file():
        take_away(lock, holder)
    elif os.path.lexists(lock):  # else given back in the meantime
        raise in_use(path, lock, holder)


def is_strange(lock: Path) -> bool:
    """Whether something that is no file has the name of a lock."""
    try:
        return not stat.S_ISREG(lock.lstat().st_mode)
    except FileNotFoundError:
        return False


def give_back(lock: Path, me: Holder) -> None:
    """Remove one's own lock; if somebody has broken it, it is theirs now."""
    holder = read_holder(lock)
    if holder is not None and holder.token == me.token:
        lock.unlink(missing_ok=True)


def rank_lock_path(path: Path, number: int) -> Path:
    """The lock of a rank."""
    return path.with_name(f"{path.name}.rank-{number}.lock")


def rank_locks(path: Path) -> list[Path]:
    """The locks of all ranks, alive or not."""
    found = path.parent.glob(glob.escape(path.name) + ".rank-*.lock")
    return sorted(lock for lock in found if re.fullmatch(r"\d+", lock.name[len(path.name) + 6 : -5]))


def create(lock: Path, holder: Holder) -> bool:
    """Make the lock file, with its content from the first moment; False if there is one.

    Raises:
        DiskFull: there is no space for it; nothing is left behind.
    """
    aside = lock.with_name(f".{secrets.token_hex(4)}.partial.{lock.name}")
    try:
        with telling_full(lock):
            aside.write_text(json.dumps(asdict(holder)), encoding="utf-8")
            try:
                os.link(aside, lock)  # unlike a rename, refuses to replace
            except FileExistsError:
                return False
            except OSError:  # a file system without hard links
                return create_plainly(lock, holder)
    finally:
        aside.unlink(missing_ok=True)
    return True


def create_plainly(lock: Path, holder: Holder) -> bool:
    """Make the lock file where there are no links: a kill before it is written leaves one that says nothing."""
    try:
        with open(lock, "xb") as file:
            file.write(json.dumps(asdict(holder)).encode())
    except FileExistsError:
        return False
    except OSError:
        lock.unlink(missing_ok=True)
        raise
    return True


def take_away(lock: Path, holder: Holder | None) -> None:
    """Remove a stale lock, and never the new one of somebody who has found it stale, too.

    Whoever removes one holds the kernel's lock on it meanwhile, and looks again whether it is still the one.
    """
    with suppress(FileNotFoundError), open(lock, "rb") as file:
        lock_exclusively(file)
        is_same = os.path.samestat(os.fstat(file.fileno()), lock.stat())
        if is_same and read_holder(lock) == holder:
            lock.unlink()


def lock_exclusively(file: BinaryIO) -> None:
    """Wait for the kernel's lock on a file, where there is such a thing; it goes when the file is closed."""
    # Windows, or a file system without locks: two at the very same moment may collide
    with suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)


def in_use(path: Path, lock: Path, holder: Holder | None) -> FileInUse:
    """The error that says who holds a lock and what can be done."""
    rank = f", rank {holder.rank}" if holder is not None and holder.rank else ""
    if not lock.is_file():
        found = f"{'a folder' if lock.is_dir() else 'a pipe, a device or a broken link'} with the name of the lock"
        remedy = "move it away"
    elif holder is None:
        found = "a lock that does not say whose it is"
        remedy = "if no other frozenprobe is writing this file, add --break-lock"
    elif holder.is_neighbour():
        found = (
            f"process {holder.pid} of this machine ({holder.command}){rank}, which has been writing it since "
            f"{holder.since}"
        )
        remedy = f"wait until it has finished, or stop it (kill {holder.pid}) and run the same command again"
    else:
        found = f"process {holder.pid} on {holder.host} ({holder.command}){rank}, which took it at {holder.since}"
        remedy = (
            f"look on {holder.host} whether it still runs; if it does not (a machine or container that is gone, "
            "a notebook that was restarted), add --break-lock: no row is lost"
        )
    return FileInUse(f"To be the only one who writes {path}", found=found, where=lock, remedy=remedy)


def writer_of(path: Path) -> str:
    """Who is writing a feature file now, for a person; empty if nobody is known to."""
    locks = [path.with_name(path.name + ".lock"), *rank_locks(path)]
    holders = [holder for lock in locks if (holder := read_holder(lock)) is not None and not holder.is_dead()]
    if not holders:
        return ""
    first, ranks = holders[0], {holder.rank for holder in holders} - {""}
    others = f" and {len(ranks) - 1} other ranks" if len(ranks) > 1 else ""
    return f"process {first.pid} on {first.host}, since {first.since} ({first.command}){others}"


def this_process(*, rank: str = "") -> Holder:
    """The holder that this process is."""
    return Holder(
        host=socket.gethostname(),
        machine=system_text("/etc/machine-id"),
        boot=system_text("/proc/sys/kernel/random/boot_id"),
        space=os.readlink("/proc/self/ns/pid") if os.path.islink("/proc/self/ns/pid") else "",
        pid=os.getpid(),
        started=start_of(os.getpid()),
        since=utc_now("seconds"),
        command=printable(" ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:500]),
        token=secrets.token_hex(8),
        rank=rank,
    )


def read_holder(lock: Path) -> Holder | None:
    """Who holds a lock; None if the file does not say (it is being written, or its writer was killed just then)."""
    try:
        if lock.stat().st_size > LARGEST_LOCK:
            return None
        values = json.loads(read_regular(lock))
        texts = {name: printable(value) for name, value in values.items() if name != "pid"}
        pid = values["pid"]
        return Holder(**texts, pid=pid) if type(pid) is int and 0 < pid < 1 << 31 else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def printable(text: str) -> str:
    """A text without what could move a terminal's cursor."""
    return "".join(filter(str.isprintable, text))


def start_of(pid: int) -> str:
    """When a process was started, in ticks since the machine was; empty where the system does not tell.

    A process that has been killed and that nobody has asked about yet still has a number: it was started never.
    """
    about = system_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return "" if not about else "never" if about[0] in "ZX" else about[19]
