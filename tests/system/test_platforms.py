"""macOS and Windows without having one: the three commands where Python lacks what it lacks there, and under spawn."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

import frozenprobe
from tests.test_cli import VIT

CHILD = Path(__file__).with_name("platform_child.py")
SOURCES = Path(frozenprobe.__file__).parents[1]


@pytest.mark.skipif(sys.platform != "linux", reason="here is such a system")
@pytest.mark.parametrize("systems", ["macos,windows", pytest.param("spawn", marks=pytest.mark.slow)])
def test_the_three_commands_run_on_every_system(systems: str, photo_folder: Path, tiny_vit: Path) -> None:
    line = [sys.executable, str(CHILD), systems, "--backbone", *VIT, "--weights", str(tiny_vit)]
    done = subprocess.run(
        line,
        cwd=photo_folder.parent,
        env=os.environ | {"PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with (photo_folder.parent / "last_submission.csv").open(encoding="utf-8", newline="") as file:
        rows = [*csv.reader(file)]
    assert rows[0] == ["ID", "Label"]
    assert [name for name, _ in rows[1:]] == [f"{index:03d}.jpg" for index in range(5)]
    assert {label for _, label in rows[1:]} <= {"10", "2", "äpfel rot"}
