"""What decides the features: options the user typed, else what the existing file says, else the defaults."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from frozenprobe.cache.store import Features
from frozenprobe.errors import FrozenprobeError, unknown_name
from frozenprobe.extract.backbones import DEFAULT_BACKBONE, WeightsOptions

TEST_VIEWS = ("clean", "hflip", "direct")
RECIPES = ("mild", "report", "crop-flip", "trivial", "erase", "none")
PREPROCESSINGS = ("weights", "report")
STORAGE_DTYPES = ("float16", "float32")
TAP = "head-input"  # what the network's own classification layer sees
ENGINE = "torch"
OPTIONS = {  # the option that sets a field of the specification
    "backbone": "--backbone",
    "weights_digest": "--weights",
    "preprocessing": "--preprocess",
    "recipe": "--recipe",
    "seed": "--seed",
    "compute_dtype": "--dtype",
    "storage_dtype": "--storage",
}


@dataclass(frozen=True)
class Choices:
    """What decides the features. None: as in the existing file, else as in `DEFAULTS`.

    Attributes:
        backbone: a name from `frozenprobe backbones`.
        weights: a local state dict in place of the official weights.
        weights_options: what such a file cannot tell.
        recipe: how the augmented views are cut.
        views: V, augmented views of every training image.
        test_views: the T fixed views of every image; `clean` is always the first.
        preprocess: `weights` or `report`.
        seed: of the augmented views.
        dtype: of the forward pass: `auto`, `float32`, `bfloat16` or `float16`.
        storage: dtype of the stored features: `float16` or `float32`.
    """

    backbone: str | None = None
    weights: Path | None = None
    weights_options: WeightsOptions | None = None
    recipe: str | None = None
    views: int | None = None
    test_views: tuple[str, ...] | None = None
    preprocess: str | None = None
    seed: int | None = None
    dtype: str | None = None
    storage: str | None = None


@dataclass(frozen=True)
class Settled:
    """Choices with every question answered."""

    backbone: str = DEFAULT_BACKBONE
    weights: Path | None = None
    weights_options: WeightsOptions = WeightsOptions()
    recipe: str = "mild"
    views: int = 8
    test_views: tuple[str, ...] = ("clean", "hflip")
    preprocess: str = "weights"
    seed: int = 0
    dtype: str = "auto"
    storage: str = "float16"


DEFAULTS = Settled()


def settle(choices: Choices, existing: Features | None) -> Settled:
    """Answer every question: what was typed, else the existing file, else the default.

    A file is never shrunk: fewer views than it has are taken as those it has (`probe --views` uses fewer).

    Raises:
        FrozenprobeError: a name that is in no list, a number out of range, or a recipe without views asked for some.
    """
    check_names(choices)
    typed = {name: value for name, value in vars(choices).items() if value is not None}
    if existing is not None:
        settled = replace(settled_of(existing), **typed)
        views, test_views = len(existing.augmented_views), existing.test_views
    else:
        settled, views, test_views = replace(DEFAULTS, **typed), 0, ()
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


def settled_of(existing: Features) -> Settled:
    """The answers an existing file was made with."""
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
        dtype=spec.compute_dtype,
        storage=spec.storage_dtype,
    )


def options_of(text: str) -> WeightsOptions:
    """The options a file's `about` keeps as JSON; lists become tuples again."""
    values: dict[str, Any] = json.loads(text)
    return WeightsOptions(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


def check_names(choices: Choices) -> None:
    """Refuse what no backbone could satisfy, before anything is read."""
    lists = (
        ("recipe", choices.recipe, RECIPES, "--recipe"),
        ("preprocessing", choices.preprocess, PREPROCESSINGS, "--preprocess"),
        ("storage dtype", choices.storage, STORAGE_DTYPES, "--storage"),
        *(("test-time view", name, TEST_VIEWS, "--test-views") for name in choices.test_views or ()),
    )
    for kind, name, known, where in lists:
        if name is not None and name not in known:
            raise unknown_name(kind, name, known, where=where)
    for number, where in ((choices.views, "--views"), (choices.seed, "--seed")):
        if number is not None and number < 0:
            raise FrozenprobeError("A number from 0 on", found=str(number), where=where, remedy="give 0 or more")


def require_typed(choices: Choices, settled: Settled, existing: Features, *, compute_dtype: str) -> None:
    """Refuse a typed option that differs from the existing file, before the backbone is loaded.

    Raises:
        SpecMismatch: naming the field.
    """
    spec = existing.spec
    preprocessing = json.loads(spec.preprocessing)
    wanted = replace(
        spec,
        backbone=settled.backbone,
        recipe=settled.recipe,
        seed=settled.seed,
        storage_dtype=settled.storage,
        compute_dtype=compute_dtype if choices.dtype else spec.compute_dtype,
        preprocessing=spec.preprocessing if preprocessing["name"] == settled.preprocess else settled.preprocess,
    )
    spec.require_equal(wanted, where=existing.path, options=OPTIONS)


def default_path(backbone: str, recipe: str) -> Path:
    """`features/<backbone>-<recipe>.h5`, with only letters, digits, `.`, `_` and `-` in the name."""
    return Path("features", re.sub(r"[^\w.]+", "_", f"{backbone}") + f"-{recipe}.h5")


def options_text(options: WeightsOptions) -> str:
    """Weights options as JSON, for the file's `about`."""
    return json.dumps({name: value for name, value in asdict(options).items() if value is not None})
