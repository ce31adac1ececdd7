"""The feature file to make or to grow: its name, its weights, and what must not be overwritten."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchvision import models

from frozenprobe.errors import FrozenprobeError, SpecMismatch
from frozenprobe.extract.backbones.catalogue import ANY_VIT
from frozenprobe.extract.options import Choices, ExtractRequest
from frozenprobe.extract.run import extract_features
from frozenprobe.extract.target import Target, default_path, open_target
from tests.extract.conftest import KNOWN

CPU = torch.device("cpu")


def target_of(request: ExtractRequest, choices: Choices) -> Target:
    return open_target(replace(request, choices=choices), CPU)


def test_other_weights_under_the_same_name_are_noticed(made: ExtractRequest, tmp_path: Path) -> None:
    state = torch.load(made.choices.weights, weights_only=True)
    state["class_token"] += 1e-3
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(SpecMismatch, match="weights_digest"):
        _ = target_of(made, Choices(weights=tmp_path / "other.pth")).spec


def test_weights_that_changed_where_they_lie_are_noticed_before_they_are_used(
    made: ExtractRequest, tmp_path: Path
) -> None:
    moved = tmp_path / "moved.pth"
    state = torch.load(made.choices.weights, weights_only=True)
    torch.save(state, moved)
    request = replace(made, choices=replace(made.choices, weights=moved), out=tmp_path / "g.h5")
    extract_features(request)
    state["class_token"] += 1e-3
    torch.save(state, moved)
    with pytest.raises(SpecMismatch, match="weights_digest"):
        target_of(request, Choices(views=5)).load()


@pytest.mark.parametrize(
    ("change", "where"),
    [({"batch_size": 0}, "--batch-size"), ({"max_pixels": 0}, "--max-pixels"), ({"workers": -1}, "--workers")]
    + [({"limit": number}, "--limit") for number in (0, -3)],
    ids=str,
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, change: dict[str, int], where: str) -> None:
    with pytest.raises(FrozenprobeError, match=r"from [01] on") as caught:
        open_target(replace(ExtractRequest(out=tmp_path / "f.h5"), **change), CPU)
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("backbone", "name"),
    [
        ("vit_l_16.swag_e2e", "vit_l_16.swag_e2e-mild.h5"),
        (ANY_VIT, "torchvision_VisionTransformer-mild.h5"),
        ("timm:a/b c", "timm_a_b_c-mild.h5"),
    ],
)
def test_default_name_says_backbone_and_recipe(backbone: str, name: str) -> None:
    assert default_path(backbone, "mild") == Path("features") / name


def test_tensors_decide_the_name_of_the_file(tiny_vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default backbone with a small file is another backbone, and so another feature file."""
    monkeypatch.chdir(tmp_path)
    target = open_target(ExtractRequest(choices=Choices(weights=tiny_vit, weights_options=KNOWN)), CPU)
    assert target.out == Path("features/torchvision_VisionTransformer-mild.h5")
    assert target.settled.backbone == target.spec.backbone == ANY_VIT


def test_tensors_decide_the_name_beside_a_file_of_the_named_backbone(
    made: ExtractRequest, tiny_vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file at the named backbone's place is not the one these weights are for, and lends them no options."""
    monkeypatch.chdir(tmp_path)
    guess = Path("features/vit_l_16.swag_e2e-mild.h5")
    guess.parent.mkdir()
    guess.write_bytes(made.out.read_bytes())
    with pytest.raises(FrozenprobeError, match="What the tensors cannot tell"):
        open_target(ExtractRequest(choices=Choices("vit_l_16.swag_e2e", weights=tiny_vit)), CPU)


def test_backbone_is_loaded_once_and_only_when_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def weights(self: models.WeightsEnum, **options: bool) -> dict[str, torch.Tensor]:
        loaded.append(self.name)
        return dict(models.resnet18().state_dict())

    monkeypatch.setattr(models.WeightsEnum, "get_state_dict", weights)
    target = open_target(ExtractRequest(choices=Choices(backbone="resnet18.in1k"), out=tmp_path / "f.h5"), CPU)
    assert target.info.size == 224
    assert loaded == []
    assert target.spec == target.spec
    assert target.load() is target.load()
    assert loaded == ["IMAGENET1K_V1"]


def test_file_that_is_no_feature_file_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "f.h5"
    out.write_bytes(b"my thesis")
    with pytest.raises(FrozenprobeError, match="feature file"):
        open_target(ExtractRequest(out=out), CPU)
    assert out.read_bytes() == b"my thesis"
