"""The portfolio of `auto`: counted, not timed; within its budget, and it names what it leaves out."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest

from frozenprobe.probe.heads.registry import CS, HEADS, Sizes, trial_groups
from frozenprobe.probe.inputs import Inputs
from frozenprobe.probe.options import AGGREGATES
from frozenprobe.probe.select.candidates import (
    RATE,
    Allowance,
    Portfolio,
    answers_cost,
    budget_of,
    duplicates_cost,
    make_portfolio,
)

EVERYTHING = math.inf


def source(images: int = 1000, views: int = 10, dim: int = 1280, name: str = "") -> Inputs:
    values = np.random.default_rng(0).normal(size=images + dim - 1).astype(np.float32)
    rows = np.lib.stride_tricks.sliding_window_view(values, dim)  # takes no memory; they only have to differ
    train = np.broadcast_to(rows[:, None], (images, views, dim))
    return Inputs(name, train, train[:, :2], train[:0, :2])


def portfolio(
    *sources: Inputs,
    seconds: float = EVERYTHING,
    classes: int = 100,
    spent: float = 0.0,
    memory: float = EVERYTHING,
    **pinned: str,
) -> Portfolio:
    allowance = Allowance(seconds, spent, memory)
    chosen_on = (sources or (source(),))[0].train.shape[0]
    return make_portfolio(
        sources or (source(),), classes=classes, fits=11, allowance=allowance, chosen_on=chosen_on, **pinned
    )


def seconds_of(found: Portfolio, *sources: Inputs) -> float:
    """What its candidates cost, family by family."""
    total = 0.0
    for _, members in groupby(found.candidates, key=lambda candidate: candidate.family):
        group = list(members)
        own = (sources or (source(),))[group[0].source]
        images, views, dim = own.train.shape
        one = group[0].aggregate in ("mean", "clean")
        asked = 3 * images * (1 if one else own.val.shape[1])
        sizes = Sizes(11, len(group), images, 1 if one else views, dim, 100, asked)
        total += (HEADS[group[0].head].cost(sizes) + answers_cost(sizes, images)) / RATE
    return total


def test_with_all_the_time_everything_is_tried_once() -> None:
    found = portfolio()
    assert found.skipped == []
    assert len(found.candidates) == sum(len(group.grid) for _, group in trial_groups())
    for number, candidate in enumerate(found.candidates):
        assert candidate not in found.candidates[:number]
    assert {candidate.head for candidate in found.candidates} <= set(HEADS)
    assert {candidate.aggregate for candidate in found.candidates} <= set(AGGREGATES)


@pytest.mark.parametrize("seconds", [1.0, 5.0, 10.0, 40.0])
def test_it_stays_within_the_budget_and_names_the_rest(seconds: float) -> None:
    found = portfolio(seconds=seconds)
    everything = portfolio()
    kept = {candidate.family for candidate in found.candidates}
    assert found.seconds == pytest.approx(seconds_of(found))
    assert found.seconds <= seconds or len(kept) == 1
    left = {candidate.family: candidate for candidate in everything.candidates if candidate.family not in kept}
    assert len(found.skipped) == len(left)
    for candidate in left.values():
        (said,) = [
            text for text in found.skipped if text.startswith(candidate.describe_family([source()]) + " (about ")
        ]
        assert float(said.rsplit(" ", 2)[1]) > 0


def test_more_time_never_means_fewer_candidates() -> None:
    counts = [len(portfolio(seconds=seconds).candidates) for seconds in (0.0, 3.0, 10.0, 30.0, EVERYTHING)]
    assert counts == sorted(counts)
    assert counts[0] < counts[2] < counts[-1]


@pytest.mark.parametrize("seconds", [0.0, 1e-9])
def test_there_is_a_candidate_however_small_the_budget(seconds: float) -> None:
    assert portfolio(source(50_000, 10, 4096), seconds=seconds).candidates


def test_it_is_the_same_every_time_and_its_families_are_next_to_each_other() -> None:
    for seconds in (5.0, EVERYTHING):
        one, again = portfolio(seconds=seconds), portfolio(seconds=seconds)
        assert one == again
        runs = [family for family, _ in groupby(candidate.family for candidate in one.candidates)]
        assert len(runs) == len(set(runs))


@pytest.mark.parametrize("scale", ["l2", "standard"])
def test_a_pinned_scaling_is_the_only_one(scale: str) -> None:
    found = portfolio(scale=scale)
    assert {candidate.scale for candidate in found.candidates} == {scale}
    for number, candidate in enumerate(found.candidates):
        assert candidate not in found.candidates[:number]


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_a_pinned_way_to_treat_views_is_the_only_one_and_no_grid_is_tried_twice(aggregate: str) -> None:
    found = portfolio(aggregate=aggregate)
    assert {candidate.aggregate for candidate in found.candidates} == {aggregate}
    for number, candidate in enumerate(found.candidates):
        assert candidate not in found.candidates[:number]
    values = [candidate.settings["c"] for candidate in found.candidates if candidate.head == "logreg"]
    assert sorted(map(float, map(str, values))) == sorted({1.0, *(one["c"] for one in CS)})


def test_with_one_view_all_ways_are_the_same_and_each_head_is_tried_once() -> None:
    found = portfolio(source(views=1))
    assert {candidate.aggregate for candidate in found.candidates} == {"rows"}
    assert {candidate.head for candidate in found.candidates} == {head for head, _ in trial_groups()}
    tried = Counter((candidate.head, candidate.scale, *candidate.settings.items()) for candidate in found.candidates)
    assert set(tried.values()) == {1}
    values = [candidate.settings["c"] for candidate in found.candidates if candidate.head == "logreg"]
    assert values == [1.0, *(one["c"] for one in CS if one["c"] != 1.0)]


def test_every_source_is_tried_and_named() -> None:
    sources = [source(name="one"), source(dim=640, name="other"), source(dim=1920, name="side by side")]
    found = portfolio(*sources, seconds=20.0)
    assert {candidate.source for candidate in found.candidates} == {0, 1, 2}
    assert any("other" in text for text in [*found.skipped, *(each.describe(sources) for each in found.candidates)])
    assert len(found.skipped) == len(set(found.skipped))


def test_logistic_regressions_that_choose_are_solved_less_exactly_than_the_last() -> None:
    for candidate in portfolio().candidates:
        assert (candidate.trial != {}) == (candidate.head == "logreg")
        assert candidate.final().trial == {}


@pytest.mark.parametrize("head", sorted({head for head, _ in trial_groups()}))
def test_work_grows_with_everything_it_is_counted_from(head: str) -> None:
    cost, base = HEADS[head].cost, Sizes(fits=11, values=2, images=500, views=4, dim=256, classes=20, asked=1500)
    assert cost(base) > 0
    assert cost(replace(base, images=1000)) > cost(base)
    assert cost(replace(base, dim=512)) > cost(base)
    assert cost(replace(base, fits=22)) > cost(base)


def test_a_grid_of_which_a_part_is_left_out_is_named_as_more() -> None:
    alone = portfolio(source(views=1), seconds=EVERYTHING)
    enough = seconds_of(alone, source(views=1)) - 0.01
    said = portfolio(source(views=1), seconds=enough).skipped
    assert any(text.startswith("more of logreg (rows) (about ") for text in said)


def test_a_head_that_cannot_take_so_many_images_is_left_out_and_said() -> None:
    most = HEADS["kernel"].most_images
    assert most == 5000
    assert portfolio(source(most, 10, 64)).skipped == []
    found = portfolio(source(most + 1, 10, 64))
    assert found.skipped == ["kernel (mean) (takes at most 5000 images)"]
    assert {candidate.head for candidate in found.candidates} == {head for head, _ in trial_groups()} - {"kernel"}


def test_near_duplicates_choosing_and_predictions_are_counted() -> None:
    everything = portfolio().seconds
    assert portfolio(spent=5.0).seconds == pytest.approx(everything + 5)
    enough = portfolio(seconds=10.0).candidates
    assert len(portfolio(seconds=10.0, spent=5.0).candidates) < len(enough)
    base = Sizes(fits=11, values=2, images=500, views=4, dim=256, classes=20, asked=1500)
    for grown, chosen_on in ((replace(base, asked=3000), 500), (replace(base, values=4), 500), (base, 1000)):
        assert answers_cost(grown, chosen_on) > answers_cost(base, 500)
    assert duplicates_cost(200_000, 0, 256) > 3 * duplicates_cost(100_000, 0, 256)
    assert duplicates_cost(1000, 500, 256) > duplicates_cost(1000, 0, 256)


def test_images_that_weigh_otherwise_in_every_fit_cost_more_where_moments_are_shared() -> None:
    base = Sizes(fits=11, values=2, images=5000, views=4, dim=256, classes=20, asked=1500)
    assert HEADS["lda"].cost(replace(base, weighted=True)) > 3 * HEADS["lda"].cost(base)


def test_predictions_that_memory_has_no_room_for_are_not_made_and_said() -> None:
    two = 2 * 4 * 3 * 100 * 3000  # of two families: three candidates' predictions of 3 x 1000 images
    found = portfolio(memory=two)
    assert len({candidate.family for candidate in found.candidates}) == 2
    assert any(text.endswith(" GB of predictions)") for text in found.skipped)
    assert len({candidate.family for candidate in portfolio(memory=0.0).candidates}) == 1


def test_nearest_means_and_neighbours_are_tried_on_ten_thousand_images_unless_less_time_is_asked_for() -> None:
    assert budget_of(10) == budget_of(4800) == 12
    assert budget_of(50_000) == 125
    ten_thousand = source(10_000, 1, 1024)
    spent = duplicates_cost(10_000, 0, 1024) / RATE
    found = portfolio(ten_thousand, seconds=budget_of(10_000), spent=spent)
    assert {"lda", "ridge", "cosine", "knn"} <= {candidate.head for candidate in found.candidates}
    assert found.seconds <= budget_of(10_000)


def test_what_is_there_already_is_not_said_to_be_left_out() -> None:
    found = portfolio(source(50_000, 1, 4096), seconds=0.0)
    assert {candidate.head for candidate in found.candidates} == {"lda"}
    assert not any(text.startswith(("lda (rows) ", "more of lda (rows) ")) for text in found.skipped)


def test_groups_are_added_in_their_turn_whatever_heads_they_belong_to() -> None:
    assert [(head, group.aggregate, group.scale) for head, group in trial_groups()] == [
        ("lda", "rows", "global"),
        ("ridge", "rows", "global"),
        ("cosine", "mean", "global"),
        ("knn", "mean", "global"),
        ("lda", "rows", "standard"),
        ("kernel", "mean", "global"),
        ("lda", "mean", "global"),
        ("lda", "clean", "global"),
        ("logreg", "rows", "global"),
        ("logreg", "mean", "global"),
    ]
    turns = [group.turn for _, group in trial_groups()]
    assert len(set(turns)) == len(turns)
