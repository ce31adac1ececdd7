"""The picture of a curve: a PNG of the size it says, whatever the curve, without pyplot, and whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frozenprobe.probe.curves.curve import Curve
from frozenprobe.probe.curves.plot import save_plot
from tests.conftest import MakeFeatures
from tests.probe.curves.test_verdict import nested_curve

CURVES = {
    "views": nested_curve([0.70, 0.76, 0.80], at=[0, 1, 2]),
    "extrapolated": nested_curve([0.4, 0.6, 0.72, 0.80], at=[1, 2, 4, 8], kind="labels"),
    "not extrapolated": nested_curve([0.4, 0.6], at=[1, 1.8], kind="labels"),
    "all right": nested_curve([1, 1, 1], at=[1, 2, 4], kind="labels"),
}


@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
def test_every_curve_becomes_a_picture(curve: Curve, make_features: MakeFeatures, tmp_path: Path) -> None:
    path = tmp_path / "new" / "curve.png"
    save_plot(curve, make_features(), path)
    with Image.open(path) as picture:
        assert (picture.format, picture.size) == ("PNG", (1050, 675))
        pixels = np.asarray(picture.convert("RGB"))
    ink = (pixels == (0x1B, 0x4F, 0x72)).all(axis=2)
    assert ink.sum() > 500  # points and lines are there
    assert all((edge == 255).all() for edge in (pixels[:4], pixels[-4:], pixels[:, :4], pixels[:, -4:]))  # nothing cut
    assert [file.name for file in path.parent.iterdir()] == ["curve.png"]


def test_only_the_extrapolated_point_is_set_apart(make_features: MakeFeatures, tmp_path: Path) -> None:
    right = []
    for name in ("extrapolated", "not extrapolated"):
        save_plot(CURVES[name], make_features(), tmp_path / "curve.png")
        pixels = np.asarray(Image.open(tmp_path / "curve.png").convert("RGB"))[100:550, 900:1000]
        right.append(int((pixels == (0x8A, 0x8A, 0x8A)).all(axis=2).sum()))
    assert right[0] > 50
    assert right[1] == 0


def test_the_same_curve_is_the_same_file(make_features: MakeFeatures, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save_plot(CURVES["views"], make_features(), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_matplotlib_is_loaded_by_drawing_only() -> None:
    code = "import sys, frozenprobe.probe.curves.plot; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
