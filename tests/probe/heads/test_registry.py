"""The heads by name: an entry says what the head's file says, and one file and one entry are all that a head takes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.heads.head import TrainingRows
from frozenprobe.probe.heads.lda import ShrinkageLdaHead
from frozenprobe.probe.heads.parts.moments import moments_of
from frozenprobe.probe.heads.parts.temperature import choose_by_loss, scores_of
from frozenprobe.probe.heads.registry import HEADS, as_typed, entry_of, head_class, head_for, load, make_head
from frozenprobe.probe.options import AGGREGATES, AUTO, SCALES, Setting
from tests.conftest import MakeFeatures

pytestmark = pytest.mark.usefixtures("no_fsync")


def test_every_head_has_a_scaling_and_a_line_for_help() -> None:
    for entry in HEADS.values():
        assert entry.scale in SCALES
        assert 10 < len(entry.description) < 80


def test_hyper_parameters_reach_the_head() -> None:
    assert make_head("logreg", {"c": 0.25, "max_iter": 7}).c == 0.25  # type: ignore[attr-defined]
    assert make_head("lda", {"shrinkage": 0.5}).shrinkage == 0.5  # type: ignore[attr-defined]


def test_a_hyper_parameter_of_another_head_is_an_error_that_lists_its_own() -> None:
    with pytest.raises(FrozenprobeError, match="lda: shrinkage") as caught:
        make_head("lda", {"max_iter": 3})
    assert caught.value.found == "--max-iter"
    with pytest.raises(FrozenprobeError, match="report: none"):
        make_head("report", {"lr": 3})


def test_an_unknown_head_names_the_nearest() -> None:
    with pytest.raises(FrozenprobeError, match="did you mean logreg"):
        make_head("logregg", {})


@pytest.mark.parametrize(
    ("settings", "head"),
    [
        ({}, AUTO),
        ({"c": 2.0}, "logreg"),
        ({"c": 2.0, "tol": 0.1}, "logreg"),
        ({"shrinkage": 0.3}, "lda"),
        ({"alpha": 0.1}, "ridge"),
        ({"alpha": 0.1, "kernel": "rbf"}, "kernel"),
        ({"temperature": 0.1}, "cosine"),
        ({"temperature": 0.1, "k": 3}, "knn"),
        ({"epochs": 3}, "linear"),
        ({"epochs": 3, "hidden": 8}, "mlp"),
    ],
)
def test_typed_hyper_parameters_find_their_head(settings: dict[str, Setting], head: str) -> None:
    assert head_for(settings) == head


def test_hyper_parameters_of_several_heads_are_an_error_that_names_them() -> None:
    with pytest.raises(FrozenprobeError, match="Hyper-parameters of one head") as caught:
        head_for({"max_iter": 3, "alpha": 0.1})
    assert caught.value.found == "--max-iter, --alpha"


@pytest.mark.parametrize("name", HEADS)
def test_an_entry_has_the_hyper_parameters_of_the_class_and_tells_their_defaults(name: str) -> None:
    entry = HEADS[name]
    defaults = {field.name: field.default for field in fields(head_class(name))}
    assert entry.options.keys() == defaults.keys()
    for option, told in entry.options.items():
        if defaults[option] is not None:
            assert told.kind(told.default) == defaults[option]
    assert entry_of(make_head(name, {})) is entry
    for group in entry.trials:
        assert group.aggregate in AGGREGATES
        assert group.scale in SCALES
        for settings in group.grid:
            make_head(name, settings | entry.trial_settings)


def test_options_that_heads_have_in_common_are_of_one_type() -> None:
    kinds = {(name, option.kind) for entry in HEADS.values() for name, option in entry.options.items()}
    assert len(kinds) == len({name for name, _ in kinds})


def test_what_fits_a_head_from_moments_or_from_a_stream_is_there() -> None:
    for name, entry in HEADS.items():
        if entry.moments is not None:
            assert entry.moments.parameter in entry.options
            assert callable(load(entry.moments.fit))
            for value in load(entry.moments.values):
                make_head(name, {entry.moments.parameter: value})
        if entry.stream:
            assert callable(load(entry.stream))


def test_of_a_head_that_is_not_listed_nothing_is_known() -> None:
    class Own(ShrinkageLdaHead):
        pass

    entry = entry_of(Own())
    assert not entry.numpy_alone
    assert not entry.streams
    assert entry.moments is None


# A head is one file and one entry: with these two and no other edit it is on the command line, in `auto` and in
# scikit-learn.

FILE = """
from dataclasses import dataclass

import numpy as np

from frozenprobe.probe.heads.head import LinearModel


@dataclass(frozen=True)
class ToyHead:
    toy_option: float = 1.0

    def fit(self, rows, *, seed):
        shares = np.stack([rows.weight * (rows.labels == label) for label in range(rows.classes)])
        means = (shares / shares.sum(axis=1, keepdims=True)) @ rows.features
        return LinearModel(self.toy_option * means, -self.toy_option * np.square(means).sum(axis=1) / 2)
"""
ENTRY = """
from frozenprobe.probe.heads.registry import HEADS, HeadEntry, Option, TrialGroup, grid_of

HEADS["toy"] = HeadEntry(
    "toy_head:ToyHead",
    "nearest class mean (--toy-option)",
    {"toy_option": Option(float, "how sure it is", "1.0")},
    numpy_alone=True,
    trials=(TrialGroup(15, "mean", grid_of("toy_option", 0.1, 1.0)),),
)
"""
USE = """
import sys
import numpy as np
from frozenprobe.cli import main

for line in sys.argv[1:]:
    try:
        main(line.split(), standalone_mode=True)
    except SystemExit as end:
        print("CODE", end.code)
    print("NEXT")
from frozenprobe.probe.estimators import ToyProbeClassifier
rows = np.random.default_rng(0).normal(size=(30, 4)) + 3 * (np.arange(30) % 3)[:, None]
print(ToyProbeClassifier(toy_option=0.5).fit(rows, np.arange(30) % 3).score(rows, np.arange(30) % 3))
"""


def test_a_head_is_one_file_and_one_entry(make_features: MakeFeatures, tmp_path: Path) -> None:
    path, runs = make_features(noise=1.0).path, tmp_path / "runs"
    (tmp_path / "toy_head.py").write_text(FILE)
    lines = [
        "probe --help",
        f"probe {path} --head toy --toy-option 3 --json --runs {runs}",
        f"probe {path} --json --runs {runs}",
        f"probe {path} --toy-option 2 --runs {runs}",
        f"probe {path} --head toy --alpha 2 --runs {runs}",
    ]
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{ENTRY}{USE}"
    done = subprocess.run([sys.executable, "-c", code, *lines], capture_output=True, text=True, check=True)
    shown, named, chosen, found, refused, score = done.stdout.split("NEXT\n")
    assert "toy: nearest class mean (--toy-option)" in " ".join(shown.split())
    assert "--toy-option FLOAT Of toy: how sure it is. [default: 1.0]" in " ".join(shown.split())
    result = json.loads(named.split("CODE")[0])
    assert result["accuracy"] > 0.8
    config = json.loads((Path(result["run"]) / "config.json").read_text())
    assert (config["options"]["head"], config["options"]["settings"]) == ("toy", {"toy_option": 3.0})
    tried = [each["description"] for each in json.loads(chosen.split("CODE")[0])["candidates"]]
    assert {"toy, toy_option = 0.1 (mean)", "toy, toy_option = 1.0 (mean)"} <= set(tried)
    assert "head toy (from the options), toy_option = 2.0" in found
    assert refused.endswith("CODE 1\n")
    assert done.stderr == (
        "error: Hyper-parameters of the head toy: toy_option\n"
        "  found:  --alpha\n"
        "  where:  --head toy\n"
        "  to do:  leave it out, or choose the --head it belongs to\n"
    )
    assert float(score) > 0.7


@pytest.mark.parametrize("head", HEADS)
def test_a_hyper_parameter_of_another_type_is_refused_by_name(head: str) -> None:
    for about in fields(head_class(head)):
        whole = str(about.type).startswith("int")
        for value in [*(("x", [1.0]) if "str" not in str(about.type) else (1,)), {}]:
            with pytest.raises(FrozenprobeError) as caught:
                make_head(head, {about.name: value})
            assert caught.value.found == repr(value)
            assert caught.value.where == as_typed(about.name)
        if "None" not in str(about.type):
            with pytest.raises(FrozenprobeError, match="whole number" if whole else "A "):
                make_head(head, {about.name: None})
        if whole:
            assert make_head(head, {about.name: np.int32(3)})
            with pytest.raises(FrozenprobeError, match="A whole number"):
                make_head(head, {about.name: 1.5})


@pytest.mark.parametrize("end", [0, -1])
@pytest.mark.parametrize(("name", "parameter"), [("lda", "shrinkage"), ("ridge", "alpha")])
def test_what_auto_tries_ends_where_the_loss_is_flat_or_has_turned(name: str, parameter: str, end: int) -> None:
    rng = np.random.default_rng(7)
    count, dim = (30, 256) if end else (400, 64)  # few rows in noise alike in all directions; many in a steep one
    centres = rng.normal(size=(10, dim)) * (0.5 / dim**0.25)
    labels = np.repeat(np.arange(10), count)
    noise = rng.normal(size=(len(labels), dim)) * (1 if end else np.geomspace(2, 0.2, dim))
    rows = (centres[labels] + noise).astype(np.float32)
    held = np.arange(len(labels)) % 5 == 0
    moments = moments_of(TrainingRows(rows, labels, np.ones(len(labels)), np.arange(len(labels))), ~held)
    path = HEADS[name].moments
    assert path is not None
    grid = [float(one[parameter]) for one in HEADS[name].trials[0].grid]
    beyond = [*grid, 1.0 if name == "lda" and end else grid[end] * (10 if end else 0.1)]
    models = load(path.fit)(moments, beyond)
    losses = [
        choose_by_loss([scores_of(model, rows[held])], labels[held], np.ones(held.sum())).loss for model in models
    ]
    assert losses[-1] > min(losses[:-1]) - 0.005
