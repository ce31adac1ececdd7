"""Threads of our own: as many as the environment or the cores say, asked when they are first needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

from frozenprobe.errors import FrozenprobeError
from frozenprobe.system import threads
from frozenprobe.system.threads import in_threads, one_blas_thread, pool, thread_count, threads_asked


def blas_threads() -> set[int]:
    """Of the libraries that are loaded."""
    return {library.num_threads for library in ThreadpoolController().select(user_api="blas").lib_controllers}


@pytest.fixture
def afresh() -> Iterator[None]:
    """No thread has been asked for yet."""
    for each in (thread_count, pool):
        each.cache_clear()
    yield
    for each in (thread_count, pool):
        each.cache_clear()


@pytest.mark.parametrize(("text", "count"), [("4", 4), ("4,2", 4), (" 3 , 1", 3), ("", None), (" ", None)])
def test_the_first_level_of_omp_num_threads_counts(text: str, count: int | None) -> None:
    assert threads_asked({"OMP_NUM_THREADS": text}) == count
    assert threads_asked({}) is None


@pytest.mark.parametrize("text", ["0", "x", "-1", "2.5", ",2", "0,4", "²"])
def test_what_is_no_number_of_threads_is_an_error_that_names_the_variable(text: str) -> None:
    with pytest.raises(FrozenprobeError, match="1 on") as caught:
        threads_asked({"OMP_NUM_THREADS": text})
    assert caught.value.where == "the environment variable OMP_NUM_THREADS"
    assert caught.value.found == repr(text)


@pytest.mark.usefixtures("afresh")
def test_without_the_variable_all_cores_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "available_cores", lambda: 3)
    assert thread_count() == 3


@pytest.mark.usefixtures("afresh")
@pytest.mark.parametrize("count", [1, 2])
def test_answers_come_in_the_order_of_the_items_from_so_many_threads(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", str(count))
    meeting, seen = threading.Barrier(count, timeout=60), set()

    def work(item: int) -> int:
        seen.add(threading.get_ident())
        meeting.wait()
        return item * item

    assert in_threads(work, range(4)) == [0, 1, 4, 9]
    assert len(seen) == count
    assert (threading.get_ident() in seen) == (count == 1)


@pytest.mark.usefixtures("afresh")
def test_work_in_threads_may_ask_for_threads_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert in_threads(lambda item: in_threads(lambda other: item + other, range(3)), [0, 10, 20]) == [
        [0, 1, 2],
        [10, 11, 12],
        [20, 21, 22],
    ]


def test_blas_gets_its_threads_back_when_the_last_one_that_held_them_is_done() -> None:
    with threadpool_limits(2, user_api="blas"):
        one, other = one_blas_thread(), one_blas_thread()
        one.__enter__()
        other.__enter__()
        one.__exit__(None, None, None)  # not in the order of entering: they may be held in several threads
        assert blas_threads() == {1}
        other.__exit__(None, None, None)
        assert blas_threads() == {2}


def test_a_blas_that_is_loaded_while_threads_are_held_is_held_when_asked_again() -> None:
    code = """
import numpy
from frozenprobe.system.threads import one_blas_thread
from threadpoolctl import ThreadpoolController
count = lambda: [each.num_threads for each in ThreadpoolController().select(user_api="blas").lib_controllers]
with one_blas_thread():
    import scipy.linalg
    with one_blas_thread():
        print(count())
print(count())
"""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    inside, after = (set(json.loads(line)) for line in done.stdout.splitlines())
    assert inside == {1}
    assert after == {2} or os.cpu_count() == 1  # which has no more to give back


@pytest.mark.parametrize("text", ["0", "x"])
def test_a_bad_variable_stops_a_probe_with_its_name_and_no_import(text, make_features, tmp_path) -> None:
    code = "import sys, frozenprobe.probe.heads.logreg.head\nfrom frozenprobe.cli import main\nmain(sys.argv[1:])"
    line = ["probe", str(make_features(classes=2).path), "--c", "1.0", "--runs", str(tmp_path / "runs")]
    done = subprocess.run(
        [sys.executable, "-c", code, *line],
        env=os.environ | {"OMP_NUM_THREADS": text},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "the environment variable OMP_NUM_THREADS" in done.stderr
    assert "Traceback" not in done.stderr
