"""BLAS has one thread wherever a head is fitted or asked: its threads would wait for each other by spinning."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import scipy.linalg  # noqa: F401  # its BLAS is one of those that are watched
from threadpoolctl import ThreadpoolController, threadpool_limits

from frozenprobe.probe.crossval import cross_validate
from frozenprobe.probe.curves.curve import label_curve, view_curve
from frozenprobe.probe.heads.head import LinearModel, TrainingRows
from frozenprobe.probe.heads.lda import ShrinkageLdaHead
from frozenprobe.probe.heads.registry import HEADS
from frozenprobe.probe.options import ProbeOptions
from frozenprobe.system.threads import pool, thread_count


def blas_threads() -> set[int]:
    """Of the libraries that are loaded."""
    return {library.num_threads for library in ThreadpoolController().select(user_api="blas").lib_controllers}


@pytest.fixture
def two_blas_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a machine with two cores starts with, and two threads of our own."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    for each in (thread_count, pool):
        each.cache_clear()
    with threadpool_limits(2, user_api="blas"):
        assert blas_threads() == {2}
        yield
    for each in (thread_count, pool):
        each.cache_clear()


@dataclass(frozen=True)
class WatchedModel(LinearModel):
    """A model that notes how many threads BLAS has when it is asked."""

    def probabilities(self, rows):
        WatchedHead.asked.append(blas_threads())
        return super().probabilities(rows)


@dataclass(frozen=True)
class WatchedHead(ShrinkageLdaHead):
    """A head that notes how many threads BLAS has while it is fitted."""

    fitted: ClassVar[list[set[int]]] = []
    asked: ClassVar[list[set[int]]] = []

    def fit(self, rows: TrainingRows, *, seed: int) -> LinearModel:
        self.fitted.append(blas_threads())
        return WatchedModel(**vars(super().fit(rows, seed=seed)))


@pytest.fixture(params=[True, False])
def watched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[WatchedHead]:
    """In place of `lda`, among heads that numpy fits alone and among the others."""
    entry = replace(HEADS["lda"], factory=f"{__name__}:WatchedHead", moments=None, numpy_alone=request.param)
    monkeypatch.setitem(HEADS, "lda", entry)
    WatchedHead.fitted.clear()
    WatchedHead.asked.clear()
    return WatchedHead


def fit_estimator(features) -> None:
    estimators = importlib.import_module("frozenprobe.probe.estimators")
    estimators.estimator_class.cache_clear()
    x, y = features.read("train", (0,))[:, 0], features.train.labels
    estimators.estimator_class("lda")(shrinkage=0.5).fit(x, y).predict_proba(x)
    estimators.estimator_class.cache_clear()


LDA = ProbeOptions(head="lda", settings={"shrinkage": 0.5})
PATHS: dict[str, Callable] = {
    "one head": lambda features: cross_validate(features, LDA),
    "calibrated": lambda features: cross_validate(features, replace(LDA, calibrate=True)),
    "auto": lambda features: cross_validate(features, ProbeOptions(head="auto", budget=0)),
    "curve of labels": lambda features: label_curve(features, LDA),
    "curve of views": lambda features: view_curve(features, LDA),
    "estimator": fit_estimator,
}


@pytest.mark.usefixtures("two_blas_threads")
@pytest.mark.parametrize("path", PATHS)
def test_blas_has_one_thread_while_a_head_is_fitted_or_asked_and_what_it_had_afterwards(
    path: str, watched: type[WatchedHead], make_features
) -> None:
    PATHS[path](make_features(classes=2, dim=4))
    assert watched.fitted
    assert watched.asked
    assert all(seen == {1} for seen in watched.fitted + watched.asked)
    assert blas_threads() == {2}
