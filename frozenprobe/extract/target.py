"""The feature file to make or to grow: what was typed, else what the existing file says, else the defaults."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from frozenprobe.cache.contents import Contents
from frozenprobe.cache.paths import followed, plan_path
from frozenprobe.cache.spec import FeatureSpec
from frozenprobe.cache.store import Features, open_features, open_plan
from frozenprobe.errors import FrozenprobeError, unknown_name
from frozenprobe.extract.backbones.backbone import Backbone
from frozenprobe.extract.backbones.catalogue import BackboneInfo, WeightsOptions, find_backbone
from frozenprobe.extract.backbones.load import load_backbone
from frozenprobe.extract.backbones.taps import tap_backbone
from frozenprobe.extract.compute.embedder import choose_dtype
from frozenprobe.extract.compute.engines import choose_engine
from frozenprobe.extract.options import (
    AUGMENT_ON,
    DECODINGS,
    DEFAULTS,
    ENGINES,
    PREPROCESSINGS,
    RECIPES,
    STORAGE_DTYPES,
    TAPS,
    TEST_VIEWS,
    Choices,
    ExtractRequest,
    Settled,
)
from frozenprobe.extract.views.preprocessing import choose_preprocessing
from frozenprobe.extract.views.recipes import make_recipe

OPTIONS = {  # the option that sets a field of the specification
    "backbone": "--backbone",
    "weights_digest": "--weights",
    "preprocessing": "--preprocess",
    "recipe": "--recipe",
    "seed": "--seed",
    "decoding": "--decode",
    "augment_on": "--augment-on",
    "tap": "--tap",
    "engine": "--engine",
    "compute_dtype": "--dtype",
    "storage_dtype": "--storage",
}


@dataclass
class Target:
    """The feature file to make or to grow, and the backbone, loaded when it is needed.

    Attributes:
        out: the final name.
        existing: the file of this name, if there is one.
        begun: what a killed extraction was going to put into it, if there is such a plan.
        settled: every option answered.
        device: where the backbone will run.
        dtype: compute dtype.
        backbone: the network, or None as long as nothing needed it.
        state: of file and plan when they were read.
    """

    out: Path
    existing: Features | None
    begun: Contents | None
    settled: Settled
    device: torch.device
    dtype: str
    backbone: Backbone | None
    state: tuple[object, ...] = ()

    def load(self) -> Backbone:
        """The backbone; its weights have to be those of the existing or begun file.

        Raises:
            SpecMismatch: they are not.
        """
        if self.backbone is None:
            self.backbone = load_for(self.settled)
        if self.before is not None:
            wanted = spec_of(self.settled, self.backbone, self.device, self.dtype)
            self.before.spec.require_equal(wanted, where=self.out, options=OPTIONS)
        return self.backbone

    def is_outdated(self) -> bool:
        """Whether the file or the plan has changed since they were read."""
        return self.state != state_of(self.out)

    def is_replaced(self) -> bool:
        """Whether another file has been published under the name since it was read."""
        return self.state[:1] != state_of(self.out)[:1]

    def reread(self) -> Target:
        """The target with the file and the plan that are there now.

        Raises:
            SpecMismatch: they are of another specification than the rows of this process.
        """
        state = state_of(self.out)
        existing = open_features(self.out) if self.out.exists() else None
        begun = open_plan(self.out)
        for there in (existing, begun):
            if there is not None:
                there.spec.require_equal(self.spec, where=self.out, options=OPTIONS)
        return replace(self, existing=existing, begun=begun, state=state)

    @property
    def before(self) -> Contents | None:
        """What an option that was not typed is taken from: the file being made, else the existing one."""
        return self.begun or self.existing

    @property
    def spec(self) -> FeatureSpec:
        """Of the existing or begun file, whose weights nobody has questioned; else of the loaded backbone."""
        if self.before is not None and self.backbone is None:
            return self.before.spec
        return spec_of(self.settled, self.load(), self.device, self.dtype)

    @property
    def info(self) -> BackboneInfo:
        """What is known about the backbone."""
        return self.backbone.info if self.backbone else find_backbone(self.settled.backbone)


def open_target(request: ExtractRequest, device: torch.device) -> Target:
    """Answer every option and open the existing file.

    Raises:
        FrozenprobeError: an option out of range, or a typed one that differs from the existing file.
    """
    check_numbers(request)
    choices, backbone = request.choices, None
    first = settle(choices, None)
    out = followed(request.out or default_path(first.backbone, first.recipe))
    state = state_of(out)
    existing = open_features(out) if out.exists() else None
    begun = open_plan(out)
    if existing is not None and begun is not None and begun.spec != existing.spec:
        begun = None  # the file was put there since: what was begun is not a growth of it
    before = begun or existing
    settled = settle(choices, existing, begun)
    dtype = choose_dtype(settled.dtype, device)
    if choices.weights is not None or (before is not None and choices.weights_options is not None):
        backbone = load_for(settled)
        if backbone.info.name != settled.backbone:  # the tensors decide the backbone's name, and so the file's
            return open_target(replace(request, choices=replace(choices, backbone=backbone.info.name)), device)
    if before is not None:
        require_typed(choices, settled, before, where=out, compute_dtype=dtype)
    return Target(out, existing, begun, settled, device, dtype, backbone, state)


def state_of(out: Path) -> tuple[object, ...]:
    """What changes when another file, or plan, is published under the same name."""
    return tuple(stamp_of(path) for path in (out, plan_path(out)))


def stamp_of(path: Path) -> tuple[int, int, int] | None:
    """What tells a file from another that takes its name; None if there is none."""
    try:
        about = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return about.st_ino, about.st_mtime_ns, about.st_size


def check_numbers(request: ExtractRequest) -> None:
    """Refuse numbers out of range."""
    for number, least, where in (
        (request.batch_size, 1, "--batch-size"),
        (request.max_pixels, 1, "--max-pixels"),
        (request.workers, 0, "--workers"),
        (request.limit, 1, "--limit"),
    ):
        if number is not None and number < least:
            raise FrozenprobeError(
                f"A number from {least} on", found=str(number), where=where, remedy=f"give {least} or more"
            )


def require_writable(out: Path) -> None:
    """Find out now, not after the pass, whether the feature file can be written."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise FrozenprobeError(
            "A folder to write the feature file to",
            found=str(error),
            where=out.parent.absolute(),
            remedy="name a file in a writable folder with --out FILE",
        ) from None


def load_for(settled: Settled) -> Backbone:
    """Load the backbone and give it the chosen preprocessing and tap."""
    backbone = load_backbone(settled.backbone, settled.weights, settled.weights_options)
    backbone = replace(backbone, preprocessing=choose_preprocessing(backbone.preprocessing, settled.preprocess))
    return tap_backbone(backbone, settled.tap)


def spec_of(settled: Settled, backbone: Backbone, device: torch.device, dtype: str) -> FeatureSpec:
    """The specification of the rows that this backbone will compute."""
    return FeatureSpec(
        backbone=backbone.info.name,
        weights_digest=backbone.digest,
        preprocessing=backbone.preprocessing.canonical(),
        recipe=settled.recipe,
        recipe_version=make_recipe(settled.recipe, backbone.preprocessing).version,
        seed=settled.seed,
        decoding=settled.decode,
        augment_on=settled.augment_on,
        tap=backbone.tap,
        engine=choose_engine(settled.engine, backbone.network, device, dtype),
        compute_dtype=dtype,
        storage_dtype=settled.storage,
    )


def settle(choices: Choices, existing: Contents | None, begun: Contents | None = None) -> Settled:
    """Answer every question: what was typed, else the file being made, else the existing file, else the default.

    A finished file is never shrunk: fewer views than it has are taken as those it has (`probe --views` uses fewer).

    Raises:
        FrozenprobeError: a name that is in no list, a number out of range, or a recipe without views asked for some.
    """
    check_names(choices)
    typed = {name: value for name, value in vars(choices).items() if value is not None}
    made = begun or existing
    if made is not None:
        before = settled_of(made)
        if choices.weights_options is not None:
            named = {name: value for name, value in vars(choices.weights_options).items() if value is not None}
            typed["weights_options"] = replace(before.weights_options, **named)
        settled = replace(before, **typed)
    else:
        settled = replace(DEFAULTS, **typed)
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


def settled_of(existing: Contents) -> Settled:
    """The answers an existing file was made with, or one that was begun."""
    spec, about = existing.spec, existing.about
    return Settled(
        backbone=spec.backbone,
        weights=Path(about["weights_file"]) if about.get("weights_file") else None,
        weights_options=options_of(about.get("weights_options", "{}")),
        recipe=spec.recipe,
        views=len(existing.augmented_views),
        test_views=existing.test_views,
        preprocess=json.loads(spec.preprocessing)["name"],
        seed=spec.seed,
        decode=spec.decoding,
        augment_on=spec.augment_on,
        tap=spec.tap,
        engine=spec.engine,
        dtype=spec.compute_dtype,
        storage=spec.storage_dtype,
    )


def options_of(text: str) -> WeightsOptions:
    """The options a file's `about` keeps as JSON; lists become tuples again."""
    values: dict[str, Any] = json.loads(text)
    values |= {name: tuple(values[name]) for name in ("mean", "std") if name in values}
    return WeightsOptions(**values)


def check_names(choices: Choices) -> None:
    """Refuse what no backbone could satisfy, before anything is read."""
    lists = (
        ("recipe", choices.recipe, RECIPES, "--recipe"),
        ("preprocessing", choices.preprocess, PREPROCESSINGS, "--preprocess"),
        ("storage dtype", choices.storage, STORAGE_DTYPES, "--storage"),
        ("way of decoding", choices.decode, DECODINGS, "--decode"),
        ("place to augment", choices.augment_on, AUGMENT_ON, "--augment-on"),
        ("tap", choices.tap, TAPS, "--tap"),
        ("engine", choices.engine, ENGINES, "--engine"),
        *(("test-time view", name, TEST_VIEWS, "--test-views") for name in choices.test_views or ()),
    )
    for kind, name, known, where in lists:
        if name is not None and name not in known:
            raise unknown_name(kind, name, known, where=where)
    for number, where in ((choices.views, "--views"), (choices.seed, "--seed")):
        if number is not None and number < 0:
            raise FrozenprobeError("A number from 0 on", found=str(number), where=where, remedy="give 0 or more")


def require_typed(choices: Choices, settled: Settled, before: Contents, *, where: Path, compute_dtype: str) -> None:
    """Refuse a typed option that differs from the existing or begun file, before the backbone is loaded.

    Raises:
        SpecMismatch: naming the field.
    """
    spec = before.spec
    preprocessing = json.loads(spec.preprocessing)
    wanted = replace(
        spec,
        backbone=settled.backbone,
        recipe=settled.recipe,
        seed=settled.seed,
        decoding=settled.decode,
        augment_on=settled.augment_on,
        tap=settled.tap if settled.tap != "auto" else spec.tap,
        engine=settled.engine if settled.engine != "auto" else spec.engine,
        storage_dtype=settled.storage,
        compute_dtype=compute_dtype if choices.dtype else spec.compute_dtype,
        preprocessing=spec.preprocessing if preprocessing["name"] == settled.preprocess else settled.preprocess,
    )
    spec.require_equal(wanted, where=where, options=OPTIONS)


def default_path(backbone: str, recipe: str) -> Path:
    """`features/<backbone>-<recipe>.h5`, with only letters, digits, `.`, `_` and `-` in the name."""
    return Path("features", re.sub(r"[^\w.]+", "_", f"{backbone}") + f"-{recipe}.h5")


def options_text(options: WeightsOptions) -> str:
    """Weights options as JSON, for the file's `about`."""
    return json.dumps({name: value for name, value in asdict(options).items() if value is not None})
