"""What was typed, else what the existing file says, else the defaults; and typed options that differ are errors."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import models

from frozenprobe.cache.store import open_features
from frozenprobe.errors import FrozenprobeError, SpecMismatch
from frozenprobe.extract.backbones.catalogue import ANY_VIT, WeightsOptions
from frozenprobe.extract.options import DEFAULTS, Choices, ExtractRequest, Settled
from frozenprobe.extract.run import extract_features
from frozenprobe.extract.target import (
    OPTIONS,
    Target,
    default_path,
    open_target,
    options_of,
    options_text,
    require_writable,
    settle,
    settled_of,
)
from frozenprobe.images.sources import ImageSources
from tests.conftest import write_image

CPU = torch.device("cpu")
KNOWN = WeightsOptions(3, 36, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
MADE = Choices(
    ANY_VIT, None, KNOWN, "trivial", 1, ("clean", "direct"), "report", 7, "bfloat16", "float32",
    decode="full", augment_on="cpu", tap="cls+mean", engine="torch",
)  # fmt: skip


@pytest.fixture(scope="module")
def carried_out(tiny_vit: Path, tmp_path_factory: pytest.TempPathFactory) -> ExtractRequest:
    """A request whose every choice differs from the defaults, and the file it made."""
    folder = tmp_path_factory.mktemp("made")
    for key in range(4):
        write_image(folder / "train" / "ab"[key % 2] / f"{key}.jpg", key)
    choices = replace(MADE, weights=tiny_vit)
    request = ExtractRequest(ImageSources(folder / "train", None), choices, out=folder / "f.h5", workers=0)
    extract_features(request)
    return request


@pytest.fixture
def made(carried_out: ExtractRequest, tmp_path: Path) -> ExtractRequest:
    """The same with a copy of the file."""
    return replace(carried_out, out=Path(shutil.copy(carried_out.out, tmp_path)))


def typed(value: object) -> str:
    """A short name of a parameter: the options that were typed."""
    if not isinstance(value, Choices):
        return str(value)
    return " ".join(f"{name}={given}" for name, given in vars(value).items() if given is not None)


def target_of(request: ExtractRequest, choices: Choices) -> Target:
    return open_target(replace(request, choices=choices), CPU)


def test_nothing_typed_and_no_file_are_the_defaults() -> None:
    assert settle(Choices(), None) == DEFAULTS == Settled()


@pytest.mark.parametrize(
    ("choices", "field", "value"),
    [
        (Choices(recipe="report"), "recipe", "report"),
        (Choices(views=0), "views", 0),
        (Choices(seed=5), "seed", 5),
        (Choices(storage="float32"), "storage", "float32"),
        (Choices(test_views=("hflip",)), "test_views", ("clean", "hflip")),
        (Choices(test_views=("direct", "clean")), "test_views", ("clean", "direct")),
        (Choices(recipe="none"), "views", 0),
        (Choices(recipe="none", views=0), "views", 0),
    ],
)
def test_what_was_typed_counts_and_the_clean_view_is_always_first(choices: Choices, field: str, value: Any) -> None:
    assert getattr(settle(choices, None), field) == value


def test_what_was_not_typed_is_taken_from_the_file(made: ExtractRequest) -> None:
    """All of it, and the weights are not even loaded."""
    target = target_of(made, Choices())
    wanted = {**vars(made.choices), "weights_options": KNOWN}
    assert vars(target.settled) == wanted
    assert target.backbone is None
    assert target.spec == open_features(made.out).spec
    assert settled_of(open_features(made.out)) == target.settled


def test_everything_typed_as_it_was_is_no_difference(made: ExtractRequest) -> None:
    target = open_target(made, CPU)
    assert target.spec == target.existing.spec
    assert target.load().info.name == ANY_VIT


def test_weights_typed_again_need_no_other_option_again(made: ExtractRequest) -> None:
    """Heads, resizing and the report's preprocessing are the file's."""
    target = target_of(made, Choices(weights=made.choices.weights))
    assert target.spec == target.existing.spec
    assert json.loads(target.spec.preprocessing)["name"] == "report"


def test_one_option_of_the_weights_typed_again_leaves_the_others(made: ExtractRequest) -> None:
    target = target_of(made, Choices(weights_options=WeightsOptions(heads=3)))
    assert target.settled.weights_options == KNOWN
    assert target.spec == target.existing.spec


@pytest.mark.parametrize(
    ("choices", "field"),
    [
        (Choices(backbone="resnet18.in1k"), "backbone"),
        (Choices(recipe="mild"), "recipe"),
        (Choices(seed=8), "seed"),
        (Choices(storage="float16"), "storage_dtype"),
        (Choices(dtype="float32"), "compute_dtype"),
        (Choices(dtype="auto"), "compute_dtype"),
        (Choices(preprocess="weights"), "preprocessing"),
        (Choices(tap="mean"), "tap"),
        (Choices(weights_options=WeightsOptions(heads=4)), "weights_digest"),
        (Choices(weights_options=WeightsOptions(mean=(0.1, 0.1, 0.1))), "preprocessing"),
    ],
    ids=typed,
)
def test_typed_option_that_differs_from_the_file_names_the_field(
    made: ExtractRequest, choices: Choices, field: str
) -> None:
    """On a complete file too, where nothing is left to compute: never a silent reuse."""
    with pytest.raises(SpecMismatch) as caught:
        _ = target_of(made, choices).spec
    assert caught.value.wanted.startswith(f"Features with {field} = ")
    assert field in caught.value.found
    assert caught.value.where == str(made.out)
    assert OPTIONS[field] in caught.value.remedy
    assert "--out FILE" in caught.value.remedy


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


def test_file_is_never_shrunk(made: ExtractRequest) -> None:
    settled = target_of(made, Choices(views=0, test_views=("clean",))).settled
    assert (settled.views, settled.test_views) == (1, ("clean", "direct"))
    grown = target_of(made, Choices(views=4, test_views=("hflip",))).settled
    assert (grown.views, grown.test_views) == (4, ("clean", "hflip", "direct"))


@pytest.mark.parametrize(
    ("choices", "says", "where"),
    [
        (Choices(recipe="none", views=3), "3 augmented views", "--recipe none --views"),
        (Choices(recipe="milt"), "did you mean mild", "--recipe"),
        (Choices(preprocess="raport"), "did you mean report", "--preprocess"),
        (Choices(storage="float23"), "did you mean float32", "--storage"),
        (Choices(tap="last5"), "did you mean last4", "--tap"),
        (Choices(test_views=("clean", "flip")), "did you mean hflip", "--test-views"),
        (Choices(views=-1), "from 0 on", "--views"),
        (Choices(seed=-1), "from 0 on", "--seed"),
        (Choices(dtype="float8"), "compute dtype", "--dtype"),
        (Choices(backbone="vit"), "backbone", "--backbone"),
    ],
    ids=typed,
)
def test_choices_nothing_could_satisfy_are_refused_by_name(
    tmp_path: Path, choices: Choices, says: str, where: str
) -> None:
    with pytest.raises(FrozenprobeError, match=says) as caught:
        _ = open_target(ExtractRequest(choices=choices, out=tmp_path / "f.h5"), CPU).spec
    assert caught.value.where == where


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


def test_weights_options_survive_the_file() -> None:
    for options in (KNOWN, WeightsOptions(), WeightsOptions(std=(0.1, 0.2, 0.3))):
        assert options_of(options_text(options)) == options


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


def test_unwritable_folder_is_found_out_before_the_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FrozenprobeError, match="--out FILE") as caught:
        require_writable(tmp_path / "file" / "f.h5")
    assert caught.value.where == str(tmp_path / "file")

    def refuse(**options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(FrozenprobeError, match="Permission denied"):
        require_writable(tmp_path / "f.h5")


def test_file_that_is_no_feature_file_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "f.h5"
    out.write_bytes(b"my thesis")
    with pytest.raises(FrozenprobeError, match="feature file"):
        open_target(ExtractRequest(out=out), CPU)
    assert out.read_bytes() == b"my thesis"
