"""Which rank a process is: two numbers of the environment, and a clear word where they make no sense."""

from __future__ import annotations

import pytest

from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.ranks import rank as module
from frozenprobe.extract.ranks.rank import Rank, own_cores, own_shared_memory, read_rank, threads_a_call


@pytest.mark.parametrize("environment", [{}, {"RANK": "3"}, {"WORLD_SIZE": ""}, {"RANK": "0", "WORLD_SIZE": "1"}])
def test_without_others_a_process_is_alone(environment):
    assert read_rank(environment) == Rank()
    assert read_rank(environment).is_alone


def test_a_rank_is_read_from_what_torchrun_sets():
    rank = read_rank({"RANK": "11", "WORLD_SIZE": "16", "LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "8"})
    assert (rank, str(rank), rank.is_alone) == (Rank(11, 16, 8), "rank 11 of 16", False)


@pytest.mark.parametrize(
    ("number", "world", "named"),
    [
        ("2", "2", "RANK"),
        ("5", "1", "RANK"),
        ("", "2", "RANK"),
        ("-1", "2", "RANK"),
        ("one", "2", "RANK"),
        ("²", "3", "RANK"),
        ("0", "0", "WORLD_SIZE"),
        ("0", "1.5", "WORLD_SIZE"),
    ],
)
def test_numbers_that_make_no_sense_are_an_error_that_names_the_variable(number, world, named):
    with pytest.raises(FrozenprobeError, match="torchrun") as caught:
        read_rank({"RANK": number, "WORLD_SIZE": world})
    assert caught.value.where == f"the environment variable {named}"


def test_ranks_take_the_devices_of_a_machine_in_turn():
    assert [Rank(number, 16).device("auto", 8) for number in (0, 7, 8, 11)] == ["cuda:0", "cuda:7", "cuda:0", "cuda:3"]
    assert Rank(3, 4).device("cuda", 2) == "cuda:1"


def test_a_device_that_is_named_or_a_process_that_is_alone_is_left_as_it_is():
    assert Rank(3, 4).device("cuda:0", 2) == "cuda:0"
    assert Rank(3, 4).device("cpu", 2) == "cpu"
    assert Rank(3, 4).device("auto", 0) == "auto"
    assert Rank().device("auto", 2) == "auto"


def test_ranks_of_a_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr(module, "available_cores", lambda: 16)
    alone = {"RANK": "0", "WORLD_SIZE": "16"}
    for neighbours, cores in (("2", 8), ("5", 3), ("64", 1), ("", 16)):
        assert own_cores({**alone, "LOCAL_WORLD_SIZE": neighbours}) == cores
    assert own_cores({}) == 16


@pytest.mark.parametrize(("neighbours", "share"), [("2", 500), ("3", 333), ("", 1000)])
def test_ranks_of_a_machine_share_its_shared_memory(neighbours: str, share: int, monkeypatch) -> None:
    environment = {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": neighbours}
    monkeypatch.setattr(module, "shared_memory_free", lambda: 1000)
    assert own_shared_memory(environment) == share
    monkeypatch.setattr(module, "shared_memory_free", lambda: None)
    assert own_shared_memory(environment) is None


@pytest.mark.parametrize(("cores", "workers", "threads"), [(8, 8, 1), (8, 2, 4), (8, 0, 8), (2, 5, 1), (1, 1, 1)])
def test_workers_and_their_threads_use_each_core_once(
    cores: int, workers: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "own_cores", lambda: cores)
    assert threads_a_call(workers) == threads
