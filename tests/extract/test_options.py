"""An option is one field: what is typed, told and refused follows from it, also for one that is added."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import frozenprobe
from frozenprobe.cache.spec import FeatureSpec
from frozenprobe.cli import main
from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.backbones.catalogue import ANY_VIT
from frozenprobe.extract.options import Choices, ExtractRequest, FeatureOptions, WeightsOptions, options_of

OPTION = """    sharpening: str = option(
        "none", "--sharpen", "Sharpen views: {}.", kind="way to sharpen", names=("none", "strong")
    )
"""
SPECIFIED = "    sharpening: str\n"
CHILD = """
import json, sys
from click.testing import CliRunner
from frozenprobe.cli import main

for words in json.loads(sys.argv[1]):
    print(json.dumps(CliRunner().invoke(main, words).output))
"""


def test_choices_are_the_fields_of_the_options_and_nothing_is_typed_by_default() -> None:
    names = [each.name for each in fields(FeatureOptions)]
    assert vars(Choices()) == dict.fromkeys(names)
    assert list(inspect.signature(Choices).parameters) == names
    assert Choices(backbone="x", views=2) == Choices("x", views=2) != Choices("x")


@pytest.mark.parametrize(("name", "nearest"), [("preprocess", "preprocessing"), ("recipes", "recipe"), ("zzz", "")])
def test_a_choice_that_is_no_option_names_the_nearest_and_the_list(name: str, nearest: str) -> None:
    with pytest.raises(FrozenprobeError) as caught:
        Choices(**{name: "x"})
    assert caught.value.remedy.startswith(f"did you mean {nearest}?" if nearest else "Known: backbone, weights")


def test_paths_of_a_request_may_be_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    request = ExtractRequest(choices=Choices(weights="w.pth"), out="x.h5")
    assert (request.out, request.choices.weights) == (Path("x.h5"), Path("w.pth"))
    assert replace(request, out=tmp_path / "y.h5").out == tmp_path / "y.h5"


@pytest.mark.parametrize("out", [".", "..", "", "there", "there/", "new/", "./", Path("there"), Path()])
def test_a_folder_is_no_feature_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str | Path) -> None:
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FrozenprobeError) as caught:
        ExtractRequest(out=out)
    assert "--out" in caught.value.where
    assert "features.h5" in caught.value.remedy or out == ""


@pytest.mark.parametrize(
    "line", ["--train=", "--test=", "--out=", "--weights=", "--train-csv=", "--sample=", "--out=."]
)
def test_an_empty_name_and_a_folder_end_the_command_with_an_error(line: str) -> None:
    done = CliRunner().invoke(main, ["extract", line])
    assert (done.exit_code, type(done.exception)) == (1, SystemExit)
    assert f"where:  {line.partition('=')[0]}" in done.output


def test_every_option_is_told_and_checked_by_its_field() -> None:
    """Those of WeightsOptions stand where its field does."""
    found = options_of(FeatureOptions)
    names = [each.name for each in found]
    inner = [each.name for each in fields(WeightsOptions)]
    assert names[2:7] == inner
    assert [name for name in names if name not in inner] == [
        each.name for each in fields(FeatureOptions) if each.name != "weights_options"
    ]
    assert len({option.flag for option in found.values()}) == len(found)
    for each, option in found.items():
        if each.default is not None:
            option.check(each.default)
        assert bool(option.names) == bool(option.kind)
        for bad in ["nothing"] if option.names else [option.least - 1] if option.least is not None else []:
            with pytest.raises(FrozenprobeError) as caught:
                option.check(bad)
            assert caught.value.where == option.flag


def test_what_is_specified_has_the_name_of_its_option() -> None:
    """But for what only the backbone or the code tells, and what was an option once."""
    names = {each.name for each in fields(FeatureOptions)}
    assert {each.name for each in fields(FeatureSpec)} - names == {"weights_digest", "recipe_version", "augment_on"}


def test_an_option_that_decides_features_is_added_by_one_field(photo_folder: Path, tiny_vit: Path) -> None:
    """And one of the same name in the specification: a copy of the package, two lines longer, does all the rest."""
    copy = photo_folder / "copy"
    package = shutil.copytree(Path(frozenprobe.__file__).parent, copy / "frozenprobe")
    for module, after, line in (
        ("extract/options.py", '    seed: int = option(0, "--seed", "Of the augmented views.", least=0)\n', OPTION),
        ("cache/spec.py", "    seed: int\n", SPECIFIED),
    ):
        text = (package / module).read_text(encoding="utf-8")
        assert text.count(after) == 1
        (package / module).write_text(text.replace(after, after + line), encoding="utf-8")
    half = ["0.5"] * 3
    extract = [
        "extract", "--train", f"{photo_folder / 'train'}", "--backbone", ANY_VIT, "--weights", f"{tiny_vit}",
        "--attention-heads", "3", "--resize", "36", "--interpolation", "bicubic", "--mean", *half, "--std", *half,
        "--views", "1", "--out", f"{photo_folder / 'f.h5'}",
    ]  # fmt: skip
    calls = [
        ["extract", "--help"],
        ["plan", "--help"],
        [*extract, "--sharpen", "strange"],
        [*extract, "--sharpen", "strong"],
        [*extract, "--sharpen", "none"],
        extract,
        ["info", f"{photo_folder / 'f.h5'}", "--json"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(calls)],
        capture_output=True,
        text=True,
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
    )
    assert done.returncode == 0, done.stderr
    *helps, unknown, first, other, again, told = map(json.loads, done.stdout.splitlines())
    for text in helps:
        words = " ".join(text.split())
        assert "--sharpen TEXT Sharpen views: none or strong. [default: none]" in words
        assert text.index("--seed") < text.index("--sharpen") < text.index("--decode")
    assert "The name of a way to sharpen was wanted" in unknown
    assert "did you mean strong?" in unknown
    assert "views computed" in first
    assert "Features with sharpening = none\n  found:  a file of features with sharpening = strong" in other
    assert "leave out --sharpen to go on with this file" in other
    assert "nothing left to do" in again
    assert '"sharpening": "strong"' in told
