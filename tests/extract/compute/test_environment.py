"""Rows of several machines or library versions in one file: compared before they are mixed, and recorded."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from frozenprobe.cache.contents import environments_of
from frozenprobe.cache.growing.rows import cosine
from frozenprobe.cache.store import open_features
from frozenprobe.errors import SpecMismatch
from frozenprobe.extract import work
from frozenprobe.extract.compute import environment
from frozenprobe.extract.compute.embedder import Embedder
from frozenprobe.extract.compute.environment import describe_environment
from frozenprobe.extract.options import ExtractRequest
from frozenprobe.extract.run import extract_features
from tests.extract.test_run import choosing, kept, kill_after, request_, rows_of, run_killed  # noqa: F401 - a fixture


def elsewhere(monkeypatch: pytest.MonkeyPatch, name: str = "torch 9.9, another machine") -> None:
    """From now on this is another environment."""
    monkeypatch.setattr(work, "describe_environment", lambda device: name)


def skewed(monkeypatch: pytest.MonkeyPatch, by: float) -> None:
    """From now on the network answers a little differently."""
    start = Embedder.start

    def other(self: Embedder, pixels: torch.Tensor, erased: list[Any]) -> Callable[[], np.ndarray]:
        vectors = start(self, pixels, erased)()
        skew = np.sign(np.arange(vectors.shape[1]) % 2 - 0.5)
        return lambda: vectors + np.float32(by) * np.abs(vectors).mean() * skew

    monkeypatch.setattr(Embedder, "start", other)


def test_the_environment_names_what_can_change_a_row() -> None:
    text = describe_environment(torch.device("cpu"))
    for part in (f"torch {torch.__version__.split('+')[0]}", "torchvision", "pillow", "cpu"):
        assert part in text


def test_the_file_lists_the_environments_its_rows_come_from(
    request_: ExtractRequest,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    extract_features(request_)
    here = describe_environment(torch.device("cpu"))
    assert environments_of(open_features(request_.out).about) == [here]
    elsewhere(monkeypatch)
    with caplog.at_level(logging.INFO, "frozenprobe"):
        extract_features(choosing(request_, views=3))
    assert "8 stored rows computed again here: cosine 1.000000 or more" in caplog.text
    assert environments_of(open_features(request_.out).about) == sorted([here, "torch 9.9, another machine"])


def test_where_the_rows_come_from_here_nothing_is_computed_twice(
    request_: ExtractRequest,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    extract_features(request_)
    kill_after(monkeypatch, environment, "choose_rows")
    extract_features(choosing(request_, views=3))


def test_rows_that_come_out_otherwise_are_refused_with_the_cosine(
    request_: ExtractRequest,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    extract_features(request_)
    before = request_.out.read_bytes()
    elsewhere(monkeypatch)
    skewed(monkeypatch, 0.5)
    with pytest.raises(SpecMismatch, match=r"cosine 0\.[89]\d\d\d for .*jpg, view ") as caught:
        extract_features(choosing(request_, views=3))
    assert "--out FILE" in caught.value.remedy
    assert "whose rows come from: torch" in caught.value.where
    assert request_.out.read_bytes() == before


def test_rows_that_differ_by_rounding_are_mixed(
    request_: ExtractRequest,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    extract_features(request_)
    old = rows_of(open_features(request_.out))
    elsewhere(monkeypatch)
    skewed(monkeypatch, 1e-3)
    extract_features(choosing(request_, views=3))
    assert kept(old, rows_of(open_features(request_.out)))


def test_a_killed_run_that_goes_on_elsewhere_is_compared_too(
    request_: ExtractRequest,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:

    run_killed(monkeypatch, replace(request_, batch_size=8), pieces=1)
    elsewhere(monkeypatch)
    with monkeypatch.context() as patch:
        skewed(patch, 0.5)
        with pytest.raises(SpecMismatch, match="cosine"):
            extract_features(request_)
    extract_features(request_)
    assert len(environments_of(open_features(request_.out).about)) == 2


def test_a_comparison_that_is_impossible_is_said(
    request_: ExtractRequest,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Every image with rows has left; the file goes on with others."""
    extract_features(replace(request_, sources=replace(request_.sources, test=None)))
    monkeypatch.setattr(environment, "choose_rows", lambda rows, paths: [])
    elsewhere(monkeypatch)
    with caplog.at_level(logging.WARNING, "frozenprobe"):
        extract_features(choosing(request_, views=3))
    assert "cannot be compared" in caplog.text


def test_cosine_of_vectors() -> None:
    one = np.array([3.0, 4.0], dtype=np.float16)
    assert cosine(one, one) == pytest.approx(1.0)
    assert cosine(one, np.array([-4.0, 3.0])) == pytest.approx(0.0)
    assert cosine(one, np.zeros(2)) == 0.0
    assert not cosine(one, np.array([np.nan, 1.0])) >= 0.999


def test_the_rows_to_compare_are_spread_over_images_and_views(request_: ExtractRequest) -> None:  # noqa: F811
    from frozenprobe.cache.growing.rows import RowStore

    extract_features(request_)
    features = open_features(request_.out)
    rows = RowStore(request_.out, features, features)
    chosen = environment.choose_rows(rows, {code: Path("x") for code in features.train.hashes})
    assert len(chosen) == 8
    assert len({code for code, _ in chosen}) > 4
    assert len({view for _, view in chosen}) > 2
