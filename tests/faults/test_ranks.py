"""kill -9 of ranks at random moments: the others go on, and any number of ranks ends in the same file."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from frozenprobe.extract.ranks.rank import Rank
from tests.faults.ranks import left_in, run_rank
from tests.faults.synthetic import extract, holds, world

SMALL = world(12)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process is forked to be killed")
def test_ranks_that_are_killed_are_gone_on_from_by_any_number_of_ranks(tmp_path, faults, tell):
    """Those that live end by themselves, without an error."""
    rng, killed = np.random.default_rng(5), 0
    for attempt in range(faults(3, 60)):
        path = tmp_path / str(attempt) / "f.h5"
        for number in (3, 2, 4):
            children = {rank: fork_rank(path, Rank(rank, number)) for rank in range(number)}
            victims = rng.choice(number, size=int(rng.integers(0, number)), replace=False).tolist()
            killed += len(victims)
            for rank in victims:
                time.sleep(rng.uniform(0, 0.1))
                os.kill(children[rank], 9)
            ends = [os.waitpid(child, 0)[1] for child in children.values()]
            assert all(end == 0 or os.WIFSIGNALED(end) for end in ends), "a rank failed by itself"
        extract(path, SMALL)
        assert holds(path, SMALL)
        assert left_in(path.parent) == ["f.h5"]
    tell(f"ranks: {killed} killed in {attempt + 1} extractions by 3, 2, 4 ranks, then 1 process")


def fork_rank(path: Path, rank: Rank) -> int:
    """Run a rank in a process of its own; its exit status says whether it failed."""
    child = os.fork()
    if child == 0:
        try:
            for _ in run_rank(path, SMALL, rank, batch=2):
                pass
            os._exit(0)
        finally:
            os._exit(1)
    return child
