"""Choosing: what each candidate is worth, the best of every family, their blend; and what is kept meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from frozenprobe.probe.arrays import Doubles, Floats, Ints
from frozenprobe.probe.fit.candidate import Candidate
from frozenprobe.probe.heads.head import image_weights
from frozenprobe.probe.heads.parts.temperature import apply_temperature, fit_temperature
from frozenprobe.probe.select import choose as module
from frozenprobe.probe.select.choose import SMALL, ChosenOn, Member, Trials, images_that_choose, predict_blend
from frozenprobe.probe.select.nested import Predictions, logits_of
from frozenprobe.probe.stats.metrics import accuracy, log_loss
from tests.probe.test_predict import CALIBRATED, make_task

CLASSES = 3


def try_all(candidates: Sequence[Candidate], choices: Sequence[ChosenOn], logits: Sequence[Sequence[Floats]]) -> Trials:
    """Trials of candidates that predict these logits for each choice."""
    trials, sizes = Trials(choices), Counter(candidate.family for candidate in candidates)
    for candidate, own in zip(candidates, logits, strict=True):
        trials.enter(candidate, Predictions(own[-1], [*own[:-1]], []), middle=sizes[candidate.family] // 2)
    return trials


def choose(
    candidates: Sequence[Candidate], logits: Sequence[Floats], labels: Ints, weight: Doubles | None = None
) -> list[Member]:
    """The one choice on these logits."""
    on = ChosenOn(np.arange(len(labels)), labels, np.ones(len(labels)) if weight is None else weight)
    return try_all(candidates, [on], [[each] for each in logits]).choose(0)


def answered(labels: Ints, strength: float, *, noise: float = 1.0, seed: int = 0) -> Floats:
    """Logarithms of probabilities that know the labels by so much."""
    rng = np.random.default_rng(seed)
    logits = strength * np.eye(CLASSES)[labels] + noise * rng.normal(size=(len(labels), CLASSES))
    return logits_of(apply_temperature(logits, 1.0))


LABELS = np.random.default_rng(9).integers(CLASSES, size=300)


def family(head: str, count: int) -> list[Candidate]:
    return [Candidate(head, "global", "rows", {"value": number}) for number in range(count)]


def test_of_each_family_the_candidate_with_the_lowest_calibrated_log_loss_is_a_member() -> None:
    candidates = family("lda", 3) + family("ridge", 2)
    logits = [
        answered(LABELS, 1.0, seed=1),
        10 * answered(LABELS, 2.0, seed=2),  # the best, once its temperature is right
        answered(LABELS, 1.5, seed=3),
        answered(LABELS, 1.8, seed=4),
        answered(LABELS, 1.0, seed=5),
    ]
    members = choose(candidates, logits, LABELS)
    assert [member.number for member in members] == [1, 3]
    assert sum(member.share for member in members) == pytest.approx(1)
    assert members[0].weight < members[1].weight  # ten times too sure
    assert members[0].share > members[1].share


def test_a_blend_is_better_than_its_members_on_the_answers_it_is_chosen_on() -> None:
    candidates = family("lda", 1) + family("ridge", 1)
    logits = [answered(LABELS, 1.5, seed=1), answered(LABELS, 1.5, seed=2)]
    members = choose(candidates, logits, LABELS)
    blended = log_loss(predict_blend(members, [logits[member.number] for member in members]), LABELS)
    alone = [log_loss(apply_temperature(each, fit_temperature(each, LABELS)), LABELS) for each in logits]
    assert blended < min(alone) - 0.05


def test_a_member_of_a_small_share_is_left_out_and_the_others_take_its_place() -> None:
    candidates = family("lda", 1) + family("ridge", 1) + family("knn", 1)
    for seed in range(3, 7):  # noise that seems to know something, and noise that does not
        noise = answered(LABELS, 0.0, seed=seed)
        logits = [answered(LABELS, 1.5, seed=1), answered(LABELS, 1.5, seed=2), noise]
        members = choose(candidates, logits, LABELS)
        assert sorted(member.number for member in members) == [0, 1]
        assert sum(member.share for member in members) == pytest.approx(1)
        assert all(member.share >= SMALL for member in members)
        assert choose(candidates[:2], logits[:2], LABELS) == members


def test_equal_members_that_are_all_small_are_all_kept() -> None:
    candidates = [Candidate("lda", "global", "rows", source=number) for number in range(60)]
    same = answered(LABELS[:2], 1.0, noise=0.1)
    members = choose(candidates, [same] * 60, LABELS[:2])
    assert len(members) == 60  # 1/60 is less than SMALL
    assert sum(member.share for member in members) == pytest.approx(1)


def test_heads_that_are_surely_wrong_leave_the_least_harmful_one() -> None:
    candidates = family("lda", 1) + family("ridge", 1)
    wrong = [answered((LABELS + 1) % CLASSES, strength, noise=0.1) for strength in (8.0, 6.0)]
    members = choose(candidates, wrong, LABELS)
    assert members
    blended = predict_blend(members, [wrong[member.number] for member in members])
    assert log_loss(blended, LABELS) == pytest.approx(np.log(CLASSES), rel=0.02)


def test_one_candidate_is_given_its_temperature() -> None:
    logits = answered(LABELS, 2.0)
    (member,) = choose(family("lda", 1), [3 * logits], LABELS)
    assert (member.number, member.share) == (0, pytest.approx(1))
    assert member.weight == pytest.approx(1 / fit_temperature(3 * logits, LABELS, unknown=1.0))


def test_the_choice_is_made_on_weighted_images() -> None:
    labels = np.repeat([0, 1], [90, 10])
    place = np.arange(100)
    common, rare = (
        np.log(np.where(np.eye(2)[labels] == right[:, None], 0.9, 0.1)).astype(np.float32)
        for right in (place < 92, place >= 30)  # knows the class of 90 images, or that of 10
    )
    two = family("lda", 2)
    assert [member.number for member in choose(two, [common, rare], labels)] == [0]
    weight = image_weights(labels, "balanced")
    (member,) = choose(two, [common, rare], labels, weight)
    assert member.number == 1
    assert member.weight == pytest.approx(1 / fit_temperature(rare, labels, weight, unknown=1.0))


def test_without_an_image_to_choose_on_the_middle_of_the_first_family_is_taken() -> None:
    candidates = family("lda", 3) + family("ridge", 2)
    nothing = np.zeros((0, CLASSES), dtype=np.float32)
    assert choose(candidates, [nothing] * 5, LABELS[:0]) == [Member(1, 1.0, 1.0)]


def test_every_fold_chooses_by_its_own_images_and_only_what_somebody_may_choose_is_kept() -> None:
    rng = np.random.default_rng(1)
    labels = [rng.integers(CLASSES, size=200) for _ in range(3)]
    choices = [ChosenOn(np.arange(200), each, np.ones(200)) for each in labels]
    strength = np.array([[1.0, 1.0, 1.0], [3.0, 1.5, 1.5], [1.5, 1.5, 3.0], [1.5, 3.0, 1.5], [2.0, 2.0, 2.0]])
    candidates = family("lda", 4) + family("ridge", 1)
    logits = [
        [
            answered(own, size, seed=9 * number + place)
            for place, (own, size) in enumerate(zip(labels, row, strict=True))
        ]
        for number, row in enumerate(strength)
    ]
    trials = try_all(candidates, choices, logits)
    assert [trials.best(choice) for choice in range(3)] == [[1, 4], [3, 4], [2, 4]]
    assert set(trials.kept) == {1, 2, 3, 4}
    assert {member.number for member in trials.choose(1)} <= {3, 4}
    for number, row in enumerate(logits):
        for choice, own in enumerate(row):
            standing = trials.standings[number][choice]
            temperature = fit_temperature(own, labels[choice], unknown=1.0)
            assert standing.temperature == pytest.approx(temperature)
            assert standing.loss == pytest.approx(log_loss(apply_temperature(own, temperature), labels[choice]))
            assert standing.accuracy == accuracy(apply_temperature(own, 1.0), labels[choice])


def test_very_many_predicted_numbers_are_chosen_on_by_a_sample_that_contents_and_seed_decide(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = make_task(CALIBRATED)
    assert images_that_choose(task).all()
    monkeypatch.setattr(module, "FEWEST", 5)
    monkeypatch.setattr(module, "CHOSEN_ON", 12 * task.classes)
    seen = images_that_choose(task)
    assert seen.sum() == 12
    order = np.random.default_rng(0).permutation(len(task.labels))
    moved = replace(task, hashes=tuple(task.hashes[image] for image in order))
    np.testing.assert_array_equal(images_that_choose(moved), seen[order])
    other = replace(task, options=replace(task.options, seed=1))
    assert (images_that_choose(other) != seen).any()
    monkeypatch.setattr(module, "CHOSEN_ON", 0)
    assert images_that_choose(task).sum() == 5
