"""The feature file to make or to grow: what is there of it, when that changes, and the backbone it is made with."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from frozenprobe.cache.contents import Contents
from frozenprobe.cache.paths import followed, plan_path
from frozenprobe.cache.spec import FeatureSpec
from frozenprobe.cache.store import Features, open_features, open_plan
from frozenprobe.extract.backbones.backbone import Backbone
from frozenprobe.extract.backbones.catalogue import BackboneInfo, find_backbone
from frozenprobe.extract.backbones.load import load_backbone, look_up
from frozenprobe.extract.backbones.taps import tap_backbone
from frozenprobe.extract.options import ExtractRequest, FeatureOptions, options_of
from frozenprobe.extract.settle import FLAGS, require_typed, settle, spec_of
from frozenprobe.extract.views.preprocessing import choose_preprocessing


@dataclass
class Target:
    """The feature file to make or to grow, and the backbone, loaded when it is needed.

    Attributes:
        out: the final name.
        existing: the file of this name, if there is one.
        begun: what a killed extraction was going to put into it, if there is such a plan.
        settled: every option answered.
        device: where the backbone will run.
        backbone: the network, or None as long as nothing needed it.
        state: of file and plan when they were read.
    """

    out: Path
    existing: Features | None
    begun: Contents | None
    settled: FeatureOptions
    device: torch.device
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
            wanted = spec_of(self.settled, self.backbone, self.device)
            self.before.spec.require_equal(wanted, where=self.out, options=FLAGS)
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
                there.spec.require_equal(self.spec, where=self.out, options=FLAGS)
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
        return spec_of(self.settled, self.load(), self.device)

    @property
    def info(self) -> BackboneInfo:
        """What is known about the backbone."""
        if self.backbone is not None:
            return self.backbone.info
        if self.before is None:
            return look_up(self.settled.backbone)
        info, about = find_backbone(self.settled.backbone), self.before.about
        return replace(
            info, licence=about.get("licence", info.licence), pretraining=about.get("pretraining", info.pretraining)
        )


def open_target(request: ExtractRequest, device: torch.device) -> Target:
    """Answer every option and open the existing file.

    Raises:
        FrozenprobeError: an option out of range, or a typed one that differs from the existing file.
    """
    for field, option in options_of(ExtractRequest).items():
        if getattr(request, field.name) is not None:
            option.check(getattr(request, field.name))
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
    if choices.weights is not None or (before is not None and choices.weights_options is not None):
        backbone = load_for(settled)
        if backbone.info.name != settled.backbone:  # the tensors decide the backbone's name, and so the file's
            return open_target(replace(request, choices=replace(choices, backbone=backbone.info.name)), device)
    if before is not None:
        require_typed(settled, before, where=out)
    return Target(out, existing, begun, settled, device, backbone, state)


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


def load_for(settled: FeatureOptions) -> Backbone:
    """Load the backbone and give it the chosen preprocessing and tap."""
    backbone = load_backbone(settled.backbone, settled.weights, settled.weights_options)
    backbone = replace(backbone, preprocessing=choose_preprocessing(backbone.preprocessing, settled.preprocessing))
    return tap_backbone(backbone, settled.tap)


def default_path(backbone: str, recipe: str) -> Path:
    """`features/<backbone>-<recipe>.h5`, with only letters, digits, `.`, `_` and `-` in the name."""
    return Path("features", re.sub(r"[^\w.]+", "_", f"{backbone}") + f"-{recipe}.h5")
