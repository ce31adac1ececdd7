"""A task: inner folds that keep clusters whole, and one word on the convergence of several fits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from frozenprobe.probe.heads.head import Convergence
from frozenprobe.probe.task import combined
from tests.probe.test_predict import CALIBRATED, make_task


def test_inner_folds_keep_clusters_whole_and_are_no_more_than_there_are_clusters() -> None:
    task = replace(make_task(CALIBRATED), clusters=np.arange(40) // 3)
    images = np.arange(5, 35)
    dealt = task.deal(images)
    for cluster in np.unique(task.clusters[images]):
        assert len(np.unique(dealt[task.clusters[images] == cluster])) == 1
    assert set(dealt.tolist()) == {0, 1, 2}
    assert set(task.deal(np.arange(0, 6)).tolist()) == {0, 1}
    assert set(task.deal(np.arange(0, 3)).tolist()) == {0}


def test_convergence_of_several_fits_is_that_of_the_worst() -> None:
    one, exact = Convergence(True, 12, 0.5, 1e-3, 1e-6, 1e-2), Convergence()
    assert combined([one]) is one
    assert combined([exact, exact]) == Convergence()
    both = combined([one, exact, Convergence(True, 3, 0.1, 1e-4, 3e-5, 1e-3)])
    assert (both.converged, both.gap, both.distance) == (True, 3e-5, 1e-2)
    assert combined([one, Convergence(False, 3)]).converged is False
