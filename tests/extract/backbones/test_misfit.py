"""Weights that do not fit: the message says what is in the file, and the line that it gives can be pasted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision import models

from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.backbones.load import load_backbone
from frozenprobe.extract.backbones.misfit import purpose_of
from tests.extract.backbones.test_fit import State, body, other, under, whole  # noqa: F401 - a fixture


def refused(path: Path, name: str = "timm:test_vit") -> FrozenprobeError:
    with pytest.raises(FrozenprobeError, match=f"Weights that fit the backbone {name}") as caught:
        load_backbone(name, path)
    assert caught.value.where == str(path)
    return caught.value


def dino(state: State) -> State:
    return {**under("backbone.", body(state)), "head.mlp.0.weight": torch.ones(3, 3)}


LEFT_OVER = {
    "dino": (
        lambda state: {"student": dino(other(state)), "teacher": dino(state)},
        "head.mlp.0.weight: DINO's projection head",
    ),
    "mae": (
        lambda state: {"model": {**state, "mask_token": torch.ones(1), "decoder_blocks.0.norm1.weight": torch.ones(1)}},
        "decoder_blocks.0.norm1.weight: the decoder of masked pre-training (MAE)",
    ),
    "moco": (
        lambda state: {
            "state_dict": {
                **under("encoder_q.", state),
                **under("encoder_k.", other(body(state))),
                "queue": torch.ones(2),
            }
        },
        "another copy of the network",
    ),
    "another head": (
        lambda state: {**body(state), "head.0.weight": torch.ones(2)},
        "a classification layer of another make",
    ),
    "averaged": (lambda state: {"n_averaged": torch.ones(()), **under("module.", state)}, "n_averaged: a counter"),
    "amid": (lambda state: {**state, "blocks.1.n_averaged": torch.ones(())}, "blocks.1.n_averaged: a counter"),
    "inside": (
        lambda state: {
            **{name.replace("blocks.1.", "blocks.1._orig_mod."): each for name, each in state.items()},
            "mask_token": torch.ones(1),
        },
        "stands for hidden patches",
    ),
}


def run_line(error: FrozenprobeError) -> Path:
    """Run the line of Python that an error gives, here: a process of its own takes seconds to import torch."""
    (line,) = (line.strip() for line in error.remedy.splitlines() if line.strip().startswith("python -c"))
    exec(line.removeprefix('python -c "').removesuffix('"'), {})
    cleaned = Path(error.where).with_name("w-clean.pth")
    assert f"--weights {cleaned.as_posix()}" in error.remedy
    return cleaned


@pytest.mark.parametrize("case", LEFT_OVER)
def test_the_line_for_leftovers_saves_a_file_that_loads(case: str, whole: State, tmp_path: Path) -> None:  # noqa: F811
    wrap, why = LEFT_OVER[case]
    torch.save(wrap(whole), tmp_path / "w.pth")
    error = refused(tmp_path / "w.pth")
    assert "all of the network is there; what is left over may be dropped" in error.remedy
    assert why in error.remedy
    torch.save(whole, tmp_path / "plain.pth")
    assert (
        load_backbone("timm:test_vit", run_line(error)).digest
        == load_backbone("timm:test_vit", tmp_path / "plain.pth").digest
    )


def test_the_line_reads_safetensors_too(whole: State, tmp_path: Path) -> None:  # noqa: F811
    save_file({**whole, "mask_token": torch.ones(1)}, tmp_path / "w.safetensors")
    error = refused(tmp_path / "w.safetensors")
    assert load_backbone("timm:test_vit", run_line(error)).classifier is not None


def test_what_is_not_known_is_not_called_droppable(whole: State, tmp_path: Path) -> None:  # noqa: F811
    torch.save({**whole, "adapter.weight": torch.ones(1)}, tmp_path / "w.pth")
    remedy = refused(tmp_path / "w.pth").remedy
    assert "if the features need none of what is left over (adapter.weight: not known here)" in remedy
    assert "may be dropped" not in remedy


def test_the_message_lists_the_keys_with_numbers_and_an_example(whole: State, tmp_path: Path) -> None:  # noqa: F811
    torch.save({"a": under("enc.", whole), "b": {"w": torch.ones(1)}}, tmp_path / "w.pth")
    with pytest.raises(FrozenprobeError) as caught:
        load_backbone("resnet18.in1k", tmp_path / "w.pth")
    assert (
        f"in it:  a: enc ({len(whole)}), such as enc.blocks.0.attn.proj.weight; b: w, such as w" in caught.value.found
    )


@pytest.mark.parametrize(
    ("make", "like", "fits"),
    [
        (models.resnet18, "a ResNet, 2 + 2 + 2 + 2 blocks, 1000 classes", "resnet18.in1k"),
        (models.resnet34, "a ResNet, 3 + 4 + 6 + 3 blocks, 1000 classes", None),
        (models.convnext_tiny, "one of torchvision's convolutional networks, 1000 classes", "convnext_tiny.in1k"),
        (
            lambda: timm.create_model("vit_small_patch14_reg4_dinov2"),
            "timm's and DINO's names, patch 14, width 384, 12 blocks, no classification layer",
            "timm:vit_small_patch14_reg4_dinov2",
        ),
        (lambda: timm.create_model("vit_tiny_patch16_384"), "patch 16, width 192", "timm:vit_tiny_patch16_384"),
    ],
)
def test_a_file_of_another_network_says_what_it_is_and_what_it_fits(
    make: Any, like: str, fits: str | None, tmp_path: Path
) -> None:
    with torch.device("meta"):
        state = make().state_dict()
    state = {f"model.{name}": torch.zeros(tensor.shape, dtype=torch.float16) for name, tensor in state.items()}
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    remedy = refused(tmp_path / "w.pth").remedy
    assert like in remedy
    assert (f"all of it fits --backbone {fits}" if fits else "choose the --backbone the file was made for") in remedy


@pytest.mark.parametrize(
    ("name", "purpose"),
    [
        ("mask_token", "hidden patches"),
        ("decoder_pos_embed", "decoder"),
        ("head.last_layer.weight_v", "DINO's"),
        ("projector.0.weight", "contrastive"),
        ("fc.0.weight", "classification layer"),
        ("logit_scale", "text"),
        ("student.blocks.0.weight", "another copy"),
        ("headless.weight", "not known"),
    ],
)
def test_what_tensors_of_training_are_for(name: str, purpose: str) -> None:
    assert purpose in purpose_of(name, {"blocks.0.weight"})


def test_a_refused_pickle_says_how_to_save_its_tensors(tmp_path: Path) -> None:
    """DINO's and DeiT's full checkpoints hold an argparse.Namespace beside the weights."""
    from argparse import Namespace

    torch.save({"model": {"w": torch.ones(2)}, "args": Namespace(lr=1)}, tmp_path / "w.pth")
    with pytest.raises(FrozenprobeError, match="a pickle that names argparse Namespace") as caught:
        load_backbone("timm:test_vit", tmp_path / "w.pth")
    assert "If you trust whoever made it" in caught.value.remedy
    (line,) = (line.strip() for line in caught.value.remedy.splitlines() if line.strip().startswith("python -c"))
    exec(line.removeprefix('python -c "').removesuffix('"'), {})
    assert "such as w" in refused(tmp_path / "w-clean.pth").found
