"""One writer at a time: a lock file beside the feature file that says who holds it."""

from __future__ import annotations

import glob
import json
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from frozenprobe.cache.store import pieces_folder
from frozenprobe.errors import DiskFull, FileInUse
from frozenprobe.publish import FULL, remove_partials


@dataclass(frozen=True)
class Holder:
    """Who writes: a process of a machine since it was started.

    Attributes:
        host: name of the machine.
        boot: of this start of the machine (Linux; elsewhere empty).
        pid: of the process.
        started: when the process was started, in the kernel's ticks (Linux; elsewhere empty): a pid is used again.
        since: when it took the lock, UTC, ISO 8601.
        command: what it was called as.
        token: of this lock.
    """

    host: str
    boot: str
    pid: int
    started: str
    since: str
    command: str
    token: str

    def is_dead(self) -> bool:
        """Whether the process is known to be gone: only of this machine's processes can that be known."""
        if self.host != socket.gethostname() or os.name == "nt":  # on Windows, signal 0 would not only ask
            return False
        if self.boot != boot_id():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return self.started != start_of(self.pid)


@contextmanager
def writer_lock(path: Path, *, break_lock: bool = False) -> Iterator[None]:
    """Hold the lock on a feature file; what killed writers left half-written beside it is removed.

    A lock of a dead process of this machine is taken over. Of a process of another machine nobody here knows whether it
    is alive, so that is for the user to say.

    Args:
        path: the feature file; the lock is `<file>.lock`.
        break_lock: take the lock whoever holds it.

    Raises:
        FileInUse: another process holds it; says which.
    """
    lock = path.with_name(path.name + ".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    me = this_process()
    while not create(lock, me):
        holder = read_holder(lock)
        if not break_lock and (holder is None or not holder.is_dead()):
            if not lock.exists():
                continue  # given back in the meantime
            raise in_use(path, lock, holder)
        take_away(lock, holder)
    try:
        remove_partials(path.parent, glob.escape(path.name))
        remove_partials(pieces_folder(path))
        yield
    finally:
        if read_holder(lock) == me:  # else somebody has broken it, and holds it now
            lock.unlink(missing_ok=True)


def this_process() -> Holder:
    """The holder that this process is."""
    since = datetime.now(timezone.utc).isoformat(timespec="seconds")
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:500]
    pid = os.getpid()
    return Holder(socket.gethostname(), boot_id(), pid, start_of(pid), since, command, secrets.token_hex(8))


def create(lock: Path, holder: Holder) -> bool:
    """Make the lock file; False if there is one. That a file is made only once holds on every file system.

    Raises:
        DiskFull: there is no space for it; it is not left behind.
    """
    try:
        handle = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False
    try:
        with open(handle, "wb") as file:
            file.write(json.dumps(asdict(holder)).encode())
    except OSError as error:
        lock.unlink(missing_ok=True)
        raise (DiskFull(lock, str(error.strerror)) if error.errno in FULL else error) from None
    return True


def read_holder(lock: Path) -> Holder | None:
    """Who holds a lock; None if the file does not say (it is being written, or its writer was killed just then)."""
    try:
        return Holder(**json.loads(lock.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def take_away(lock: Path, holder: Holder | None) -> None:
    """Remove a stale lock: renamed first, so that of two processes that find it stale only one gets it."""
    aside = lock.with_name(f".{secrets.token_hex(4)}.partial.{lock.name}")
    try:
        os.replace(lock, aside)
    except FileNotFoundError:
        return
    if read_holder(aside) != holder:  # somebody else's by now: put it back
        os.replace(aside, lock)
    aside.unlink(missing_ok=True)


def in_use(path: Path, lock: Path, holder: Holder | None) -> FileInUse:
    """The error that says who holds a lock and what can be done."""
    if holder is None:
        found = "a lock that does not say whose it is"
        remedy = "if no other frozenprobe is writing this file, add --break-lock"
    elif holder.host == socket.gethostname():
        found = (
            f"process {holder.pid} of this machine ({holder.command}), which has been writing it since {holder.since}"
        )
        remedy = f"wait until it has finished, or stop it (kill {holder.pid}) and run the same command again"
    else:
        found = f"process {holder.pid} on {holder.host} ({holder.command}), which took it at {holder.since}"
        remedy = (
            f"look on {holder.host} whether it still runs; if it does not (a machine that is gone, a notebook that "
        )
        remedy += "was restarted), add --break-lock: no row is lost"
    return FileInUse(f"To be the only one who writes {path}", found=found, where=lock, remedy=remedy)


def boot_id() -> str:
    """Which start of the machine this is."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def start_of(pid: int) -> str:
    """When a process was started, in ticks since the machine was; empty where the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
