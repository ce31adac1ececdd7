"""Options settled: what was typed, else what the file says, else the default; and the specification of that."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import torch

from frozenprobe.cache.contents import Contents
from frozenprobe.cache.spec import FeatureSpec
from frozenprobe.errors import FrozenprobeError, SpecMismatch
from frozenprobe.extract.backbones.backbone import Backbone
from frozenprobe.extract.backbones.catalogue import ANY_VIT
from frozenprobe.extract.compute.dtypes import choose_dtype, full_name
from frozenprobe.extract.compute.engines import choose_engine
from frozenprobe.extract.options import AUTO, TEST_VIEWS, Choices, FeatureOptions, WeightsOptions, options_of
from frozenprobe.extract.views.preprocessing import require_unit_scale
from frozenprobe.extract.views.recipes import make_recipe

# The option that sets a field of the specification.
FLAGS = {field.name: option.flag for field, option in options_of(FeatureOptions).items()} | {
    "weights_digest": "--weights"
}


def settle(choices: Choices, existing: Contents | None, begun: Contents | None = None) -> FeatureOptions:
    """Answer every question: what was typed, else the file being made, else the existing file, else the default.

    A finished file is never shrunk: fewer views than it has are taken as those it has (`probe --views` uses fewer).

    Raises:
        FrozenprobeError: a name that is in no list, a number out of range, or a recipe without views asked for some.
    """
    check(choices)
    made, typed = begun or existing, given(choices)
    before = settled_of(made) if made is not None else FeatureOptions()
    if made is not None:  # a file keeps the tap, engine and dtype it has, whatever auto would choose here and now
        typed = {name: value for name, value in typed.items() if value != AUTO}
    if "compute_dtype" in typed:
        typed["compute_dtype"] = full_name(typed["compute_dtype"])
    if "weights_options" in typed:
        typed["weights_options"] = replace(before.weights_options, **given(choices.weights_options))
    settled = replace(before, **typed)
    require_room(settled, given(choices.weights_options or WeightsOptions()))
    views, test_views = (len(existing.augmented_views), existing.test_views) if existing is not None else (0, ())
    if settled.recipe == "none":
        if choices.views:
            raise FrozenprobeError(
                f"{choices.views} augmented views",
                found="the recipe none, which makes no augmented views",
                where="--recipe none --views",
                remedy="leave --views out, or choose another recipe",
            )
        settled = replace(settled, views=0)
    kept = {"clean", *test_views, *settled.test_views}
    return replace(
        settled,
        views=max(views, settled.views),
        test_views=tuple(name for name in TEST_VIEWS if name in kept),
    )


def given(options: Choices | WeightsOptions) -> dict[str, Any]:
    """What was typed, by name."""
    return {name: value for name, value in vars(options).items() if value is not None}


def check(choices: Choices) -> None:
    """Refuse what no backbone could satisfy, before anything is read.

    Raises:
        FrozenprobeError: a name that is in no list, or a number out of range.
    """
    of_weights = choices.weights_options or WeightsOptions()
    typed = given(choices) | given(of_weights)
    for field, option in options_of(FeatureOptions).items():
        if field.name in typed:
            option.check(typed[field.name])
    require_unit_scale(of_weights.mean, of_weights.std)


def require_room(settled: FeatureOptions, typed: dict[str, Any]) -> None:
    """Refuse an option of the clean view that the chosen preprocessing answers by itself.

    A file of weights may be of a shape whose options have to be given all the same.

    Raises:
        FrozenprobeError: `report` fixes the size and the interpolation.
    """
    for name, flag in (("resize", "--resize"), ("interpolation", "--interpolation")):
        if settled.preprocessing == "report" and settled.weights is None and name in typed:
            raise FrozenprobeError(
                f"{flag}, which --preprocess report leaves no choice of (the side of the input, bilinear)",
                found=str(typed[name]),
                where=f"{flag} with --preprocess report",
                remedy=f"leave {flag} out, or give --preprocess weights",
            )


def settled_of(existing: Contents) -> FeatureOptions:
    """The answers an existing file was made with, or one that was begun; most are in its specification."""
    spec, about = existing.spec, existing.about
    of_weights = read_weights_options(about.get("weights_options", "{}"))
    if spec.backbone != ANY_VIT:  # others were once given a number of heads, and did without it
        of_weights = replace(of_weights, heads=None)
    elsewhere = {
        "weights": Path(about["weights_file"]) if about.get("weights_file") else None,
        "weights_options": of_weights,
        "views": len(existing.augmented_views),
        "test_views": existing.test_views,
        "preprocessing": json.loads(spec.preprocessing)["name"],
    }
    names = [field.name for field in fields(FeatureOptions)]
    return FeatureOptions(**{name: elsewhere[name] if name in elsewhere else getattr(spec, name) for name in names})


def require_typed(settled: FeatureOptions, before: Contents, *, where: Path) -> None:
    """Refuse a typed option that differs from the existing or begun file, before the backbone is loaded.

    Raises:
        SpecMismatch: naming the field; or nothing can make such rows any more.
    """
    spec = before.spec
    if spec.augment_on != FeatureSpec.augment_on:
        raise SpecMismatch(
            f"Features with augment_on = {FeatureSpec.augment_on} (views cut by the CPU; no others since 0.7.0)",
            found=f"a file of features with augment_on = {spec.augment_on}; new rows would be of other pixels",
            where=where,
            remedy="name another file with --out FILE; probe, submit and merge take this one as before",
        )
    unknown = ["weights_digest", "recipe_version"]  # as long as there is no backbone: taken to be the file's
    unknown += ["preprocessing"] if settled.preprocessing == settled_of(before).preprocessing else []
    wanted = spec_with(settled, **{name: getattr(spec, name) for name in unknown})
    spec.require_equal(wanted, where=where, options=FLAGS)


def spec_of(settled: FeatureOptions, backbone: Backbone, device: torch.device) -> FeatureSpec:
    """The specification of the rows that this backbone will compute."""
    compute_dtype, _ = choose_dtype(settled.compute_dtype, device, backbone.network)
    return spec_with(
        settled,
        backbone=backbone.info.name,
        weights_digest=backbone.digest,
        preprocessing=backbone.preprocessing.canonical(),
        recipe_version=make_recipe(settled.recipe, backbone.preprocessing).version,
        tap=backbone.tap,
        engine=choose_engine(settled.engine, backbone.network, device, compute_dtype),
        compute_dtype=compute_dtype,
    )


def spec_with(settled: FeatureOptions, **resolved: Any) -> FeatureSpec:
    """The specification of settled options: of the same names, but for what machine or backbone resolve."""
    names = [field.name for field in fields(FeatureSpec) if field.default is MISSING]  # others have one value by now
    return FeatureSpec(**{name: resolved[name] if name in resolved else getattr(settled, name) for name in names})


def read_weights_options(text: str) -> WeightsOptions:
    """The options that a file's `about` keeps as JSON; lists become tuples again."""
    values: dict[str, Any] = json.loads(text)
    values |= {name: tuple(values[name]) for name in ("mean", "std") if name in values}
    return WeightsOptions(**values)


def weights_options_text(options: WeightsOptions) -> str:
    """Options of the weights as JSON, for the file's `about`."""
    return json.dumps(given(options))
