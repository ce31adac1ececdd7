"""Curves: the same folds and held-out images at every point, nested training parts, order and names decide nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from frozenprobe.cache.store import Features, open_features
from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.crossval import cross_validate
from frozenprobe.probe.curves import curve as curves
from frozenprobe.probe.curves.curve import Curve, label_curve, view_counts, view_curve
from frozenprobe.probe.fit.trainer import Trainer
from frozenprobe.probe.heads.head import Head
from frozenprobe.probe.options import ProbeOptions
from frozenprobe.probe.report.summary import summarise
from frozenprobe.probe.result import ProbeResult
from tests.conftest import MakeFeatures, rewrite

pytestmark = pytest.mark.usefixtures("no_fsync")

LDA = ProbeOptions(head="lda", settings={"shrinkage": 0.3})
Ints = npt.NDArray[np.int64]


def accuracies(curve: Curve) -> list[float]:
    return [point.accuracy for point in curve.points]


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> list[ProbeResult]:
    """Collects the results of every `cross_validate` that a curve asks for."""
    seen: list[ProbeResult] = []

    def spy(features: Features, options: ProbeOptions) -> ProbeResult:
        seen.append(cross_validate(features, options))
        return seen[-1]

    monkeypatch.setattr(curves, "cross_validate", spy)
    return seen


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[Ints]:
    """Collects the images of every fit of LDA, in `cross_validate` and, from moments, outside."""
    seen: list[Ints] = []
    fit, fit_grid = Trainer.fit, Trainer.fit_grid

    def spy(self: Trainer, images: Ints) -> object:
        seen.append(images)
        return fit(self, images)

    def spy_grid(self: Trainer, heads: Sequence[Head], subsets: Sequence[Ints]) -> object:
        seen.extend(subsets)
        return fit_grid(self, heads, subsets)

    monkeypatch.setattr(Trainer, "fit", spy)
    monkeypatch.setattr(Trainer, "fit_grid", spy_grid)
    return seen


# Views


@pytest.mark.parametrize(
    ("most", "first", "counts"),
    [
        (8, 0, [0, 1, 2, 4, 8]),
        (6, 0, [0, 1, 2, 4, 6]),
        (1, 0, [0, 1]),
        (0, 0, [0]),
        (9, 1, [1, 2, 4, 8, 9]),
        (1, 1, [1]),
        (0, 1, []),
    ],
)
def test_numbers_of_views_double_up_to_all(most: int, first: int, counts: list[int]) -> None:
    assert view_counts(most, first=first) == counts


def test_every_point_is_the_probe_with_so_many_views_on_the_same_folds(
    make_features: MakeFeatures, probes: list[ProbeResult]
) -> None:
    features = make_features(views=3, noise=2)
    curve = view_curve(features, LDA)
    assert [point.at for point in curve.points] == [0, 1, 2, 3]
    for point, result in zip(curve.points, probes, strict=True):
        assert result.options.views == point.at
        np.testing.assert_array_equal(result.folds, probes[0].folds)
        summary = summarise(result)
        assert point.accuracy == pytest.approx(summary["accuracy"])
        assert point.difference == pytest.approx(point.accuracy - curve.points[-1].accuracy)
    assert len(set(accuracies(curve))) > 1


def test_views_of_the_options_are_the_most(make_features: MakeFeatures) -> None:
    curve = view_curve(make_features(views=3), replace(LDA, views=2))
    assert [point.at for point in curve.points] == [0, 1, 2]


def test_a_head_of_augmented_views_alone_starts_at_one(make_features: MakeFeatures) -> None:
    options = ProbeOptions(head="report", folds=2)
    assert [point.at for point in view_curve(make_features(classes=2, views=2), options).points] == [1, 2]


def test_repeats_deal_new_folds_and_are_averaged(make_features: MakeFeatures, probes: list[ProbeResult]) -> None:
    curve = view_curve(make_features(views=1, noise=2), replace(LDA, seed=5), repeats=2)
    assert [result.options.seed for result in probes] == [5, 5, 6, 6]
    assert (probes[0].folds != probes[2].folds).any()
    assert [point.draws for point in curve.points] == [2, 2]
    assert curve.options.seed == 5
    shares = [summarise(result)["accuracy"] for result in probes]
    np.testing.assert_allclose(accuracies(curve), [(shares[0] + shares[2]) / 2, (shares[1] + shares[3]) / 2])


@pytest.mark.parametrize("views", [0, 1])
def test_one_number_of_views_is_no_curve(views: int, make_features: MakeFeatures) -> None:
    options = LDA if views == 0 else ProbeOptions(head="report")
    with pytest.raises(FrozenprobeError, match="--views 8"):
        view_curve(make_features(views=views), options)


def test_more_views_than_stored_are_refused(make_features: MakeFeatures) -> None:
    with pytest.raises(FrozenprobeError, match="the file has 3"):
        view_curve(make_features(views=3), replace(LDA, views=5))


# Labels


def test_the_last_point_is_the_probe_and_all_points_score_the_same_images(make_features: MakeFeatures) -> None:
    features = make_features(per_class=10, noise=2)
    curve, summary = label_curve(features, LDA), summarise(cross_validate(features, LDA))
    assert [point.at for point in curve.points] == [1, 2, 4, 8]
    assert curve.points[-1].accuracy == pytest.approx(summary["accuracy"])
    assert curve.resampled.images == summary["images"]
    assert [point.draws for point in curve.points] == [5, 4, 2, 1]


def test_training_parts_are_nested_and_never_hold_a_held_out_image(
    make_features: MakeFeatures, fits: list[Ints]
) -> None:
    features = make_features(classes=3, per_class=10)
    folds = cross_validate(features, LDA).folds
    fits.clear()
    label_curve(features, LDA)
    trained = [set(images.tolist()) for images in fits[8:]]  # behind the probe: five folds, a refit, two halves
    assert len(trained) == 5 * (5 + 4 + 2)
    parts = np.array(trained, dtype=object).reshape(-1, 5)  # (size and draw, fold)
    start = {1: 0, 2: 5, 4: 9}
    for size, draws in ((1, 5), (2, 4), (4, 2)):
        for draw in range(draws):
            for fold in range(5):
                part = parts[start[size] + draw, fold]
                assert not part & set(np.flatnonzero(folds == fold).tolist())
                assert np.bincount([image // 10 for image in part]).tolist() == [size] * 3
                if size < 4 and draw < {1: 4, 2: 2}[size]:
                    assert part < parts[start[2 * size] + draw, fold]
    assert len({frozenset(part) for part in parts[:5, 0]}) == 5


def test_the_order_of_the_images_and_the_names_of_the_classes_change_no_curve(make_features: MakeFeatures) -> None:
    features = make_features(classes=3, per_class=8, noise=1.5)
    order = np.random.default_rng(1).permutation(24)
    other = permuted(features, order, swap=np.array([2, 0, 1]))
    for curve_of in (view_curve, label_curve):
        one, two = curve_of(features, LDA), curve_of(other, LDA)
        np.testing.assert_allclose(accuracies(one), accuracies(two))


def permuted(features: Features, order: Ints, swap: Ints) -> Features:
    """The same images in another order, and class `label` as number `swap[label]`."""
    split, labels = features.train, features.train.labels
    assert labels is not None
    train = replace(
        split,
        ids=tuple(split.ids[image] for image in order),
        hashes=tuple(split.hashes[image] for image in order),
        usable=split.usable[order],
        labels=swap[labels[order]],
    )
    vectors = features.read("train", range(len(features.views)))[order]
    return rewrite(features, "permuted.h5", vectors=vectors, train=train)


def test_copies_count_as_one(make_features: MakeFeatures, fits: list[Ints]) -> None:
    hashes = tuple(f"{index // 2:064x}" for index in range(36))  # every image twice
    curve = label_curve(make_features(classes=3, per_class=12, hashes=hashes), LDA)
    assert curve.points[-1].at == pytest.approx(4.8, abs=0.1)  # of 6 different ones, a fifth is held out
    assert curve.unit == "images a class"
    assert {6, 12} <= {len(images) for images in fits}  # one and two different images of three classes, twice each


def test_groups_are_what_is_counted(make_features: MakeFeatures) -> None:
    groups = tuple(f"patient {index // 3}" for index in range(36))
    curve = label_curve(make_features(classes=2, per_class=18, groups=groups), LDA)
    assert curve.unit == "groups a class"
    assert curve.points[-1].at == pytest.approx(4.8, abs=0.2)


def test_small_classes_contribute_all_they_have_and_it_is_said(make_features: MakeFeatures) -> None:
    labels = [0] * 20 + [1] * 20 + [2] * 3
    curve = label_curve(make_features(classes=3, labels=labels), replace(LDA, folds=3))
    assert any("33% of the classes have fewer than 8 images to train on" in note for note in curve.notes)
    assert curve.points[2].at < 4


def test_classes_that_cannot_be_scored_are_left_out_everywhere(make_features: MakeFeatures) -> None:
    curve = label_curve(make_features(classes=3, labels=[0] * 8 + [1] * 8 + [2]), LDA)
    assert curve.resampled.images == 16
    assert any("not scored" in note for note in curve.notes)


@pytest.mark.parametrize("folds", [1, 3])
def test_images_of_fold_minus_one_are_trained_on_and_count_in_no_accuracy(
    folds: int, make_features: MakeFeatures, probes: list[ProbeResult]
) -> None:
    column = tuple("-1" if index % 4 == 3 else f"part {index % folds}" for index in range(48))
    features = make_features(per_class=12, folds=column)
    options = ProbeOptions("lda", {"shrinkage": 0.3})
    for curve in (view_curve(features, options), label_curve(features, options)):
        assert curve.resampled.images == 36
        assert accuracies(curve)[-1] == summarise(probes[-1])["accuracy"]
        assert any("12 training images have fold -1" in note for note in curve.notes)
    assert label_curve(features, options).points[0].at == 1


def test_more_images_help_where_they_should(make_features: MakeFeatures) -> None:
    found = accuracies(label_curve(make_features(classes=6, per_class=20, noise=1.5, dim=8), LDA))
    assert found[0] < found[2] < found[-1]


@pytest.mark.parametrize("head", ["logreg", "knn", "report"])
def test_any_head_has_a_curve(head: str, make_features: MakeFeatures) -> None:
    features = make_features(classes=2, per_class=5, views=1)
    curve = label_curve(features, ProbeOptions(head=head, folds=3, settings={"k": 2} if head == "knn" else {}))
    assert all(0 <= point.accuracy <= 1 for point in curve.points)
    assert not any(point.unconverged for point in curve.points)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_solver_that_stops_early_is_counted(make_features: MakeFeatures) -> None:
    options = ProbeOptions(head="logreg", settings={"max_iter": 1, "tol": 1e-12}, folds=2)
    curve = label_curve(make_features(classes=2, per_class=4), options)
    assert all(point.unconverged == point.draws for point in curve.points)


def test_one_image_a_class_to_train_on_is_no_curve(make_features: MakeFeatures) -> None:
    with pytest.raises(FrozenprobeError, match="add images"):
        label_curve(make_features(per_class=2), replace(LDA, folds=2))


@pytest.mark.parametrize("curve_of", [view_curve, label_curve])
def test_no_repeat_is_refused(curve_of: type[Curve], make_features: MakeFeatures) -> None:
    with pytest.raises(FrozenprobeError, match="--repeats"):
        curve_of(make_features(), LDA, repeats=0)  # type: ignore[call-arg, arg-type]


def test_progress_counts_every_cross_validation(make_features: MakeFeatures) -> None:
    features, heard = make_features(per_class=10), []

    def hear(stage: str, done: int, total: int) -> None:
        heard.append((stage, done, total))

    label_curve(features, LDA, repeats=2, progress=hear)
    assert heard == [("cross-validating", done, 24) for done in range(1, 25)]
    heard.clear()
    view_curve(features, LDA, progress=hear)
    assert heard == [("cross-validating", done, 4) for done in range(1, 5)]


def test_a_curve_needs_nothing_but_the_file(make_features: MakeFeatures) -> None:
    features = make_features(per_class=5, test=0)
    assert accuracies(label_curve(open_features(features.path), LDA)) == accuracies(label_curve(features, LDA))
