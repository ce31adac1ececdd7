"""The ranks of an extraction without a network: synthetic vectors through the real shares, pieces, locks and finish."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from frozenprobe.cache.growing.finish import begin
from frozenprobe.cache.growing.lock import rank_lock
from frozenprobe.cache.spec import FeatureSpec
from frozenprobe.cache.store import open_features, open_plan
from frozenprobe.extract.inspect import Inspected, planned_contents
from frozenprobe.extract.options import FeatureOptions
from frozenprobe.extract.ranks.rank import Rank
from frozenprobe.extract.ranks.share import finish_share, share_of, take_stock
from frozenprobe.extract.target import Target, state_of
from frozenprobe.extract.work import with_facts
from tests.conftest import SPEC
from tests.faults.synthetic import TEST_VIEWS, World, vector


class SyntheticTarget(Target):
    """A target of synthetic rows: no backbone says what the specification is."""

    spec: FeatureSpec = SPEC  # type: ignore[assignment]


def target_of(path: Path, wanted: World) -> Target:
    settled = FeatureOptions(views=wanted.views, test_views=TEST_VIEWS)
    existing, begun = open_features(path) if path.is_file() else None, open_plan(path)
    state = state_of(path)
    return SyntheticTarget(path, existing, begun, settled, torch.device("cpu"), None, state)


def images_of(wanted: World) -> Inspected:
    contents = wanted.contents()
    return Inspected(contents.train, contents.test, contents.class_names, None, {}, [])


def run_rank(path: Path, wanted: World, rank: Rank, *, batch: int = 5) -> Iterator[int]:
    """One rank, step by step as in `extract_into`: yields the rows that were computed between two steps."""
    target = target_of(path, wanted)
    yield 0
    with rank_lock(path, rank.number, rank.world):
        yield 0
        target, rows = take_stock(target, lambda now: planned_contents(now, images_of(wanted)), rank)
        share, contents = share_of(rows, rank), replace(rows.contents, taps=wanted.taps)
        assert share is not None
        missing = [(code, view) for code, views in rows.missing().items() if code in share for view in views]
        yield 0
        if missing:
            contents = replace(contents, about={"licence": "none"})
            begin(path, rows, contents)
        for start in range(0, len(missing), batch):
            part = missing[start : start + batch]
            rows.add([code for code, _ in part], [view for _, view in part], np.stack([vector(*key) for key in part]))
            yield len(part)
        finish_share(target, rows, contents, rank, computed=bool(missing), with_facts=with_facts)


def left_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())
