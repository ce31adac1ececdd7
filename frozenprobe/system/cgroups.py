"""Control groups, in which Linux keeps containers and jobs: the one of this process, and those it lies in."""

from __future__ import annotations

from pathlib import Path

from frozenprobe.system.files import system_text

ROOT = Path("/")


def own_groups(controller: str, root: Path = ROOT) -> list[Path]:
    """The folders whose files say what `cpu` or `memory` this process may use; all of them hold.

    In a container the path that the process is told may be the host's, which is not there: then its top is the group.

    Args:
        controller: of version 1, which mounts each by itself; version 2 has all in one tree.
        root: where `proc` and `sys` lie.
    """
    mount, groups = root / "sys/fs/cgroup", []
    for line in system_text(root / "proc/self/cgroup").splitlines():  # 4:cpu,cpuacct:/job or, version 2, 0::/job
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            top = mount / controller if controllers else mount
            parts = [part for part in path.split("/") if part not in ("", "..")]
            groups += [top.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]
    return groups
