"""Who holds a lock: a process of a machine since it was started, and whether it is still there."""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from frozenprobe.system.files import read_regular, system_text
from frozenprobe.system.quantities import utc_now

LARGEST_LOCK = 10_000  # bytes


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
