"""What was typed, else what the existing file says, else the defaults; and typed options that differ are errors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from frozenprobe.cache.store import open_features
from frozenprobe.errors import FrozenprobeError, SpecMismatch
from frozenprobe.extract.backbones.catalogue import ANY_VIT
from frozenprobe.extract.options import Choices, ExtractRequest, FeatureOptions, WeightsOptions
from frozenprobe.extract.settle import FLAGS, read_weights_options, settle, settled_of, weights_options_text
from frozenprobe.extract.target import Target, open_target
from tests.extract.conftest import KNOWN

CPU = torch.device("cpu")


def typed(value: object) -> str:
    """A short name of a parameter: the options that were typed."""
    if not isinstance(value, Choices):
        return str(value)
    return " ".join(f"{name}={given}" for name, given in vars(value).items() if given is not None)


def target_of(request: ExtractRequest, choices: Choices) -> Target:
    return open_target(replace(request, choices=choices), CPU)


def test_nothing_typed_and_no_file_are_the_defaults() -> None:
    assert settle(Choices(), None) == FeatureOptions()


@pytest.mark.parametrize(
    ("choices", "field", "value"),
    [
        (Choices(recipe="report"), "recipe", "report"),
        (Choices(views=0), "views", 0),
        (Choices(seed=5), "seed", 5),
        (Choices(storage_dtype="float32"), "storage_dtype", "float32"),
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
    assert all(value != getattr(FeatureOptions(), name) for name, value in wanted.items())
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


def test_auto_is_what_the_file_has(made: ExtractRequest) -> None:
    """Also where the machine at hand would have another answer."""
    target = target_of(made, Choices(compute_dtype="auto", engine="auto", tap="auto"))
    assert (target.spec.compute_dtype, target.spec.tap) == ("bfloat16", "cls+mean")
    assert target.load().info.name == ANY_VIT
    assert target.spec == target.existing.spec


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
        (Choices(storage_dtype="float16"), "storage_dtype"),
        (Choices(compute_dtype="float32"), "compute_dtype"),
        (Choices(preprocessing="weights"), "preprocessing"),
        (Choices(decoding="full"), "decoding"),
        (Choices(tap="mean"), "tap"),
        (Choices(engine="compile"), "engine"),
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
    assert FLAGS[field] in caught.value.remedy
    assert "--out FILE" in caught.value.remedy


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
        (Choices(preprocessing="raport"), "did you mean report", "--preprocess"),
        (Choices(storage_dtype="float23"), "did you mean float32", "--storage"),
        (Choices(decoding="scald"), "did you mean scaled", "--decode"),
        (Choices(tap="last5"), "did you mean last4", "--tap"),
        (Choices(engine="torches"), "did you mean torch", "--engine"),
        (Choices(weights_options=WeightsOptions(interpolation="cubic")), "did you mean bicubic", "--interpolation"),
        (Choices(test_views=("clean", "flip")), "did you mean hflip", "--test-views"),
        (Choices(views=-1), "from 0 on", "--views"),
        (Choices(seed=-1), "from 0 on", "--seed"),
        (Choices(compute_dtype="float8"), "compute dtype", "--dtype"),
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


def test_weights_options_survive_the_file() -> None:
    for options in (KNOWN, WeightsOptions(), WeightsOptions(std=(0.1, 0.2, 0.3))):
        assert read_weights_options(weights_options_text(options)) == options


def test_means_of_another_scale_are_refused_before_anything_is_loaded() -> None:
    with pytest.raises(FrozenprobeError, match=r"give --mean 0\.485 0\.456 0\.406"):
        settle(Choices(weights_options=WeightsOptions(mean=(123.7, 116.3, 103.5))), None)


@pytest.mark.parametrize("options", [WeightsOptions(resize=300), WeightsOptions(interpolation="bicubic")])
def test_what_the_reports_preprocessing_would_ignore_is_refused(options: WeightsOptions) -> None:
    with pytest.raises(FrozenprobeError, match="which --preprocess report leaves no choice of"):
        settle(Choices("resnet18.in1k", preprocessing="report", weights_options=options), None)
    settle(Choices("resnet18.in1k", preprocessing="report", weights_options=WeightsOptions(mean=(0.5, 0.5, 0.5))), None)
    settle(Choices("resnet18.in1k", Path("w.pth"), preprocessing="report", weights_options=options), None)


def test_heads_that_an_older_file_was_given_in_vain_do_not_stop_its_growth(made: ExtractRequest) -> None:
    """Networks with heads of their own once took the option and did without it."""
    features = open_features(made.out)
    assert settled_of(features).weights_options.heads == KNOWN.heads is not None
    of_resnet = replace(features, spec=replace(features.spec, backbone="resnet18.in1k"))
    assert settled_of(of_resnet).weights_options == replace(KNOWN, heads=None)
