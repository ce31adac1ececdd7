"""How tensors of a file fit: a wrapper or a prefix is taken only if every tensor then fits, and that is said."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.backbones.fit import INSIDE, fits_of
from frozenprobe.extract.backbones.load import load_backbone

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def whole() -> State:
    """All tensors of a small vision transformer of timm's, with its classification layer."""
    torch.manual_seed(0)
    return dict(timm.create_model("test_vit").state_dict())


def body(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if not name.startswith("head.")}


def under(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def other(state: State) -> State:
    """Weights of the same shapes."""
    return {name: tensor + 1 for name, tensor in state.items()}


def load(value: Any, path: Path) -> str:
    torch.save(value, path)
    return load_backbone("timm:test_vit", path).digest


TAKEN_OFF: dict[str, tuple[Callable[[State], Any], str]] = {
    "backbone": (lambda state: under("backbone.", state), "at the top, without the prefix 'backbone.'"),
    "encoder": (lambda state: under("encoder.", body(state)), "without the prefix 'encoder.'"),
    "module.model": (lambda state: under("module.model.", state), "without the prefix 'module.model.'"),
    "two": (
        lambda state: {"model": under("_orig_mod.vit.", state)},
        "under 'model', without the prefix '_orig_mod.vit.'",
    ),
    "teacher": (lambda state: {"teacher": under("backbone.", body(state))}, "under 'teacher', without the prefix"),
    "any key": (lambda state: {"epoch": 3, "net": state}, "under 'net'"),
    "nested": (lambda state: {"checkpoint": {"network": state}}, "under 'checkpoint' / 'network'"),
    "classifier beside": (
        lambda state: {**under("visual.", body(state)), "head.weight": torch.ones(7, 64), "head.bias": torch.ones(7)},
        "without the prefix 'visual.'",
    ),
    "inside": (
        lambda state: {name.replace("blocks.1.", "blocks.1._orig_mod."): each for name, each in state.items()},
        "without what torch's wrappers put into the names",
    ),
    "optimizer": (
        lambda state: {"model": state, "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
        "under 'model'",
    ),
}


@pytest.mark.parametrize("case", TAKEN_OFF)
def test_what_makes_everything_fit_is_taken_off_and_said(
    case: str, whole: State, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wrap, said = TAKEN_OFF[case]
    caplog.set_level(logging.INFO, "frozenprobe")
    assert load(wrap(whole), tmp_path / "w.pth") == load(whole, tmp_path / "plain.pth")
    (record,) = caplog.records
    assert said in record.getMessage()
    assert str(tmp_path / "w.pth") in record.getMessage()
    assert record.levelno == logging.INFO


def test_weights_as_they_are_need_no_word(whole: State, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "frozenprobe")
    for number, state in enumerate((whole, body(whole), {**whole, "head.weight": torch.ones(3, 64)})):
        load(state, tmp_path / f"{number}.pth")
    assert not caplog.records


@pytest.mark.parametrize(
    ("first", "second"),
    [
        *(("model", "model_ema"), ("state_dict", "state_dict_ema"), ("net", "ema"), ("params", "params_ema")),
        *(("teacher", "student"), ("state_dict", "model"), ("model", "teacher")),
    ],
)
def test_of_several_that_fit_the_plain_one_is_taken_and_the_other_named_with_a_line_that_saves_it(
    first: str, second: str, whole: State, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In the order of version 0.4, which asked for fewer keys: the digests of files that were read then stay."""
    found = load({second: other(whole), first: whole}, tmp_path / "w.pth")
    assert found == load(whole, tmp_path / "plain.pth")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"took those under {first!r}; those under {second!r} would fit, too" in record.getMessage()
    assert f"['{second}'].items()" in record.getMessage()


@pytest.mark.parametrize("more", [{"foo": torch.ones(1)}, {"backbone.foo": torch.ones(1)}])
def test_a_prefix_that_leaves_a_tensor_over_is_not_taken(more: State, whole: State, tmp_path: Path) -> None:
    with pytest.raises(FrozenprobeError, match="1 left over: foo"):
        load({**under("backbone.", whole), **more}, tmp_path / "w.pth")


def test_a_wrapper_of_something_else_is_passed_over(whole: State, tmp_path: Path) -> None:
    value = {"model": {"decoder.weight": torch.ones(2)}, "state_dict": {"x": torch.ones(1)}, "mine": whole}
    assert load(value, tmp_path / "w.pth") == load(whole, tmp_path / "plain.pth")


def test_a_prefix_never_makes_two_tensors_one() -> None:
    states = {(): {"a.w.x": torch.ones(1), "w.x": torch.zeros(1)}}
    assert [fit.prefix for fit in fits_of(states, {"w.x": (1,)})] == [""]
    states = {(): {"module.w": torch.ones(1), "w": torch.zeros(1)}}
    assert INSIDE not in [fit.prefix for fit in fits_of(states, {"w": (1,)})]
