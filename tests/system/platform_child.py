"""A process of its own for test_platforms.py: the three commands where Python lacks what macOS or Windows lack.

    python platform_child.py (macos | windows | macos,windows | spawn) OPTION...

The options are those of `extract`; what lies in the current folder is its data. Third parties are let in first: all
that they load late, too, so the commands run once before anything is taken away, and once afterwards on each system:
what Windows lacks is all that macOS lacks and more.
"""

from __future__ import annotations

import fcntl
import importlib
import multiprocessing
import os
import pkgutil
import re
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

LINUX_ONLY = {  # as typeshed has it: what Python has on Linux and not on macOS
    os: r"sched_(get|set)(affinity|param|scheduler)|sched_rr_get_interval|copy_file_range|eventfd.*"
    r"|fdatasync|getrandom|(get|set)res[ug]id|(get|set|list|remove)xattr|memfd_create|pidfd_open|pipe2|posix_fa.*"
    r"|setns|unshare|splice|timerfd_.*|(CLONE|EFD|GRND|MFD|PIDFD|POSIX_FADV|RWF|SPLICE_F|TFD|XATTR)_.*"
    r"|O_(DIRECT|LARGEFILE|NOATIME|PATH|RSYNC|TMPFILE)|SCHED_(BATCH|DEADLINE|IDLE|NORMAL|RESET_ON_FORK)|RTLD_DEEPBIND",
    signal: r"SIG(CLD|POLL|PWR|RTMAX|RTMIN|STKFLT)|pidfd_send_signal|sigtimedwait|sigwaitinfo|struct_siginfo",
    resource: r"RLIMIT_(MSGQUEUE|NICE|OFILE|RTPRIO|RTTIME|SIGPENDING)|RUSAGE_THREAD|prlimit",
    fcntl: r"F_(ADD_SEALS|GET_SEALS|SEAL_.*|NOTIFY|[GS]ETPIPE_SZ|[GS]ETSIG)|(DN|I|RWH|FICLONE).*|LOCK_(MAND|R.*|W.*)",
}
UNIX_ONLY = {  # and what it has on both and not on Windows
    os: r"fork(pty)?|(get|set)e?[ug]id|(get|set)(pgid|pgrp|priority|sid|groups)|setre[ug]id|getgrouplist|initgroups"
    r"|killpg|l?chown|fchown|fchmod|lchmod|chroot|fchdir|fwalk|mkfifo|mknod|major|minor|makedev|f?statvfs|confstr"
    r"|(f?path|sys)conf|(conf|path|sys)(str|conf)_names|getloadavg|nice|p(read|write)v?|readv|writev|sendfile|lockf|sync"
    r"|wait([34]|id|id_result)?|W[A-Z]+|posix_(spawn|openpt).*|POSIX_SPAWN.*|register_at_fork|sched_.*|SCHED_.*|RTLD_.*"
    r"|spawn[lv]pe?|tc[gs]etpgrp|ttyname|ctermid|openpty|login_tty|uname|getlogin_r|environb|getenvb|struct_rusage"
    r"|(CLD|PRIO|ST)_.*|EX_(?!OK$).*|F_(TEST|T?LOCK|ULOCK)|P_(ALL|PGID|PID|PIDFD)|SEEK_(DATA|HOLE)|NGROUPS_MAX"
    r"|O_(ACCMODE|ASYNC|CLOEXEC|DIRECTORY|DSYNC|FSYNC|NDELAY|NOCTTY|NOFOLLOW|NONBLOCK|SYNC)",
    signal: r"SIG(?!(ABRT|FPE|ILL|INT|SEGV|TERM|_DFL|_IGN)$)[A-Z_0-9]+|ITIMER_.*|ItimerError|Sigmasks|alarm|pause"
    r"|[gs]etitimer|pthread_.*|siginterrupt|sigpending|sigwait",
}
UNIX_MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "readline")
LINUX_FILES = ("/proc", "/sys", "/etc/machine-id")
USAGE = shutil.disk_usage(".")
THREADPOOLCTLS = "/proc/self/maps"  # it has another way on each system


def take_away(lacks: dict[Any, str]) -> None:
    """Remove names from modules."""
    for module, names in lacks.items():
        for name in [name for name in vars(module) if re.fullmatch(names, name)]:
            delattr(module, name)


def hide_files() -> None:
    """Have none of the files in which Linux tells about itself."""

    def is_hidden(path: object) -> bool:
        return isinstance(path, str | Path) and str(path).startswith(LINUX_FILES) and str(path) != THREADPOOLCTLS

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("open", "os.listdir", "os.scandir") and is_hidden(arguments[0]):
            raise FileNotFoundError(arguments[0])

    def hiding(call: Callable[..., Any]) -> Callable[..., Any]:
        def hidden(path: Any, *arguments: Any, **options: Any) -> Any:
            if is_hidden(path):
                raise FileNotFoundError(path)
            return call(path, *arguments, **options)

        return hidden

    sys.addaudithook(watch)
    for name in ("stat", "lstat", "readlink"):
        setattr(os, name, hiding(getattr(os, name)))


def be(system: str) -> None:
    """Be like another system, for code that is imported from now on."""
    take_away(LINUX_ONLY)
    tempfile._O_TMPFILE_WORKS = False  # the standard library finds out such things for itself, when it is imported
    if hasattr(os, "process_cpu_count"):  # from Python 3.13 on, everywhere
        os.process_cpu_count = os.cpu_count
    sys.platform = "darwin" if system == "macos" else "linux"  # `win32` would break what is imported late
    if system == "windows":
        take_away(UNIX_ONLY)
        sys.modules.update(dict.fromkeys(UNIX_MODULES))  # None: importing it fails
        shutil.disk_usage = lambda path: USAGE


def import_everything() -> None:
    """Import every module of the package, anew."""
    for name in [name for name in sys.modules if name.split(".")[0] == "frozenprobe"]:
        del sys.modules[name]
    package = importlib.import_module("frozenprobe")
    names = [module.name for module in pkgutil.walk_packages(package.__path__, "frozenprobe.")]
    assert len(names) > 100
    for name in names:
        if not name.endswith("__main__"):
            importlib.import_module(name)


def run(*lines: list[str]) -> bytes:
    """Run commands; returns the submission that they leave, and removes all that they made."""
    main = importlib.import_module("frozenprobe.cli").main
    for line in lines:
        try:
            main(line)
        except SystemExit as end:
            if end.code:
                raise
    submission = Path("submission.csv").read_bytes()
    Path("submission.csv").rename("last_submission.csv")
    shutil.rmtree("features")
    shutil.rmtree("runs")
    return submission


def cut_in_processes() -> None:
    """Have views cut by worker processes, as where there is a GPU."""
    from frozenprobe.extract.compute import pipeline

    def embed(*given: Any, threads: int, **options: Any) -> Any:
        return pipeline.embed_on_device(*given, workers=threads, **options)

    pipeline.embed_on_cores = embed


def main(systems: str, options: list[str]) -> None:
    """Run the commands in both ways; the answers are the same."""
    extract = ["extract", "--views", "1", "--workers", "2", *options]
    probe = ["probe", "--c", "1.0", "--folds", "2"]
    before = run(extract, probe, ["submit"])
    if systems == "spawn":
        multiprocessing.set_start_method("spawn")
        cut_in_processes()
        run(extract, [*probe, "--repeats", "2", "--jobs", "2"], ["submit"])
        return
    hide_files()
    for system in systems.split(","):
        be(system)
        import_everything()
        assert run(extract, probe, ["submit"]) == before, system


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
