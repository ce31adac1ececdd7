"""Cross-validation: everything is predicted once, no fit sees a held-out image, names of classes decide nothing."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import LogisticRegression

from frozenprobe.cache.store import Features, open_features
from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe import crossval
from frozenprobe.probe.arrays import Ints
from frozenprobe.probe.crossval import cross_validate
from frozenprobe.probe.fit.trainer import FittedProbe, Trainer
from frozenprobe.probe.folds.deal import cluster_images
from frozenprobe.probe.heads.head import FittedHead, TrainingRows, image_weights
from frozenprobe.probe.heads.logreg.head import LogisticRegressionHead
from frozenprobe.probe.heads.registry import HEADS, make_head
from frozenprobe.probe.options import SCALES, ProbeOptions
from frozenprobe.probe.report.summary import render, summarise
from frozenprobe.probe.result import ProbeResult
from tests.conftest import MakeFeatures, rewrite

pytestmark = pytest.mark.usefixtures("no_fsync")  # durability is test_publish's matter

Floats = npt.NDArray[np.float32]

# The heads in which nothing is random. k counts views: of an image's five views alone, votes would often tie.
EXACT: dict[str, dict[str, float | int]] = {
    **{head: {} for head in ("logreg", "lda", "ridge", "kernel", "cosine", "svm")},
    "knn": {"k": 12},
}
SETTINGS = EXACT | {"linear": {"epochs": 3}, "mlp": {"epochs": 3}}
TIGHT: dict[str, float | int] = {"tol": 1e-7}


def all_vectors(features: Features) -> Floats:
    return features.read("train", range(len(features.views)))


def probe(
    features: Features, head: str = "lda", *, settings: dict[str, float | int] | None = None, **options: object
) -> ProbeResult:
    chosen = SETTINGS.get(head, {}) if settings is None else settings
    return cross_validate(features, ProbeOptions(head=head, settings=chosen, **options))  # type: ignore[arg-type]


def fold_column(count: int, folds: int = 3) -> tuple[str, ...]:
    return tuple(f"part {index % folds}" for index in range(count))


TAPS = (("cls", 7), ("mean", 5))


# Which of the stored vectors are the features


def test_a_chosen_tap_is_probed_as_if_nothing_else_were_stored(make_features: MakeFeatures) -> None:
    features = make_features(taps=TAPS, noise=1.5)
    columns = {"cls": slice(0, 7), "mean": slice(7, 12), "mean+cls": slice(0, 12), None: slice(0, 12)}
    for tap, cut in columns.items():
        vectors, test = (features.read(name, range(views))[..., cut] for name, views in (("train", 5), ("test", 2)))
        taps = (("only", vectors.shape[2]),)
        alone = rewrite(features, f"{tap}.h5", vectors=vectors, test_vectors=test, taps=taps)
        found, wanted = probe(features, tap=tap), probe(alone)
        assert np.array_equal(found.oof, wanted.oof)
        assert np.array_equal(found.test, wanted.test)
        assert found.model["scale_shift"].shape == (vectors.shape[2],)
        assert found.options.tap == ("cls+mean" if tap in (None, "mean+cls") else tap)
    assert np.array_equal(probe(features.select_tap("mean")).oof, probe(features, tap="mean").oof)


def test_a_tap_is_chosen_in_each_of_several_files(make_features: MakeFeatures) -> None:
    one, other = make_features(name="one.h5", taps=TAPS), make_features(name="other.h5", taps=(("cls", 4),), seed=1)
    files = [one, other]
    found = cross_validate(files, ProbeOptions("lda", tap="cls"))
    assert found.options.tap == "cls"
    assert np.array_equal(found.oof, cross_validate([one.select_tap("cls"), other], ProbeOptions("lda")).oof)
    assert cross_validate(files, ProbeOptions("lda")).options.tap is None, "they have different ones"
    with pytest.raises(FrozenprobeError, match=r"other\.h5") as caught:
        cross_validate(files, ProbeOptions("lda", tap="mean"))
    assert caught.value.where == "--tap"


# Invariant 7: once and only once


@pytest.mark.parametrize("head", HEADS)
def test_every_image_is_predicted_once_by_a_fit_without_it(
    head: str, make_features: MakeFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = make_features(classes=3)
    trained: list[list[int]] = []
    predicted: list[int] = []
    fit, side_by_side, predict = Trainer.fit, Trainer.fit_side_by_side, FittedProbe.predict

    def spy_side_by_side(
        self: Trainer, head: LogisticRegressionHead, values: list[float], subsets: list[npt.NDArray[np.int64]]
    ) -> list[list[FittedProbe]]:
        trained.extend(images.tolist() for images in subsets)
        return side_by_side(self, head, values, subsets)

    def spy_fit(self: Trainer, images: npt.NDArray[np.int64]) -> FittedProbe:
        trained.append(images.tolist())
        return fit(self, images)

    def spy_predict(self: FittedProbe, vectors: Floats, head: object = None) -> npt.NDArray[np.float64]:
        if head is None:
            predicted.append(len(vectors))
        return predict(self, vectors, head)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "fit", spy_fit)
    monkeypatch.setattr(Trainer, "fit_side_by_side", spy_side_by_side)
    monkeypatch.setattr(FittedProbe, "predict", spy_predict)
    result = probe(features, head)
    expected = [np.flatnonzero(result.folds != fold).tolist() for fold in range(5)]
    *own, half, other = trained  # behind the folds and the refit two halves tell how much more images give
    assert sorted(own) == sorted([*expected, list(range(18))])  # the refit sees everything
    assert set(half) < set(expected[0])
    assert set(other) < set(expected[1])
    sizes = np.bincount(result.folds)
    assert predicted == [*sizes, 7, *sizes[:2]]
    assert result.oof.shape == (18, 3)
    assert result.test.shape == (7, 3)
    np.testing.assert_allclose(result.oof.sum(axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(result.test.sum(axis=1), 1, atol=1e-9)


def test_it_is_the_plain_loop_with_scikit_learn(make_features: MakeFeatures) -> None:
    features = make_features(classes=3, views=2)
    result = probe(features, "logreg", settings={"c": 0.5} | TIGHT)
    vectors = all_vectors(features).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    test = features.read("test", (0, 1)).astype(np.float64)
    test /= np.linalg.norm(test, axis=2, keepdims=True)
    labels = np.repeat(np.arange(3), 6)

    def answer(train: npt.NDArray[np.bool_], shown: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        rows = vectors[train].reshape(-1, 12)
        centre = rows.mean(axis=0)
        size = np.sqrt(np.square(rows - centre).mean())
        model = LogisticRegression(C=0.5, tol=1e-9, max_iter=10_000)
        model.fit((rows - centre) / size, np.repeat(labels[train], 4), sample_weight=np.full(len(rows), 1 / 4))
        return np.mean([model.predict_proba((shown[:, view] - centre) / size) for view in (0, 1)], axis=0)

    for fold in range(5):
        held = result.folds == fold
        np.testing.assert_allclose(result.oof[held], answer(~held, vectors[held]), atol=2e-3)
    np.testing.assert_allclose(result.test, answer(np.ones(18, dtype=bool), test), atol=2e-3)


def test_separable_classes_are_learned(make_features: MakeFeatures) -> None:
    features = make_features(noise=0.2)
    for head in EXACT:
        result = probe(features, head)
        assert (result.oof.argmax(axis=1) == result.labels).mean() > 0.95


@pytest.mark.parametrize("head", ["linear", "report"])
def test_a_seed_fixes_everything(head: str, make_features: MakeFeatures) -> None:
    features = make_features(classes=3)
    one, again, other = (probe(features, head, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.oof, again.oof)
    np.testing.assert_array_equal(one.test, again.test)
    assert (one.folds != other.folds).any()
    assert (one.test != other.test).any()


# Invariant 5: nothing fitted sees what is held out


@pytest.mark.parametrize(("head", "scale"), [*((head, None) for head in HEADS), *(("lda", scale) for scale in SCALES)])
def test_poison_in_a_held_out_image_changes_no_answer_of_its_fold(
    head: str, scale: str | None, make_features: MakeFeatures
) -> None:
    features = make_features(classes=3)
    clean = probe(features, head, scale=scale)
    vectors = all_vectors(features)
    vectors[4] = 1e3 * np.random.default_rng(0).normal(size=vectors[4].shape)
    poisoned = probe(rewrite(features, "poisoned.h5", vectors=vectors), head, scale=scale)
    same_fold = clean.folds == clean.folds[4]
    np.testing.assert_array_equal(poisoned.folds, clean.folds)
    beside = same_fold & (np.arange(18) != 4)
    np.testing.assert_array_equal(poisoned.oof[beside], clean.oof[beside])
    assert (poisoned.oof[~same_fold] != clean.oof[~same_fold]).any()  # those were trained on it


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_labels_of_held_out_images_change_no_answer_of_their_fold(
    head: str, class_weight: str | None, make_features: MakeFeatures
) -> None:
    features = make_features(classes=3, folds=fold_column(18))
    result = probe(features, head, class_weight=class_weight)
    held = result.folds == 1
    labels = result.labels.copy()
    labels[held] = np.roll(labels[held], 2)
    assert (labels != result.labels).sum() >= 4
    other = probe(
        rewrite(features, "other.h5", train=replace(features.train, labels=labels)), head, class_weight=class_weight
    )
    np.testing.assert_array_equal(other.oof[held], result.oof[held])
    assert (other.oof[~held] != result.oof[~held]).any()


@pytest.mark.parametrize("head", ["logreg", "knn"])
def test_shuffled_labels_score_at_chance_although_the_views_of_an_image_are_nearly_equal(
    head: str, make_features: MakeFeatures
) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(4), 30))
    rng = np.random.default_rng(1)
    images = rng.normal(size=(120, 1, 40)) + 1e-4 * rng.normal(size=(120, 5, 40))
    features = rewrite(
        make_features(dim=40, labels=[0, 1, 2, 3], test=0),
        "noise.h5",
        vectors=images.astype(np.float32),
        train=replace(
            make_features(labels=[0, 1, 2, 3], test=0).train,
            ids=tuple(map(str, range(120))),
            hashes=tuple(f"{index:064x}" for index in range(120)),
            usable=np.ones(120, dtype=bool),
            labels=labels,
        ),
    )
    result = probe(features, head, settings={"k": 1} if head == "knn" else {})
    accuracy = (result.oof.argmax(axis=1) == labels).mean()
    assert 0.25 - 3.5 * np.sqrt(0.25 * 0.75 / 120) < accuracy < 0.25 + 3.5 * np.sqrt(0.25 * 0.75 / 120)


def test_copies_and_groups_stay_on_one_side(make_features: MakeFeatures) -> None:
    hashes = tuple(f"{index // 2:064x}" for index in range(24))
    groups = tuple(f"patient {index // 4 if index < 12 else index}" for index in range(24))
    for given in (None, groups):
        result = probe(make_features(hashes=hashes, groups=given))
        np.testing.assert_array_equal(result.clusters, cluster_images(hashes, given))
        for cluster in range(int(result.clusters.max()) + 1):
            assert len(set(result.folds[result.clusters == cluster].tolist())) == 1


# Invariant 6: views share the weight of their image


@pytest.mark.parametrize("head", ["logreg", "lda"])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_equal_views_change_nothing_so_c_means_the_same_at_any_views(
    head: str, class_weight: str | None, make_features: MakeFeatures
) -> None:
    features = make_features(classes=3, labels=[0] * 4 + [1] * 6 + [2] * 8, test_views=("clean",), noise=3)
    vectors = np.repeat(all_vectors(features)[:, :1], 4, axis=1)
    equal = rewrite(features, "equal.h5", vectors=vectors)
    settings = {"c": 0.3} | TIGHT if head == "logreg" else {}
    one, many = (probe(equal, head, settings=settings, class_weight=class_weight, views=views) for views in (0, 3))
    np.testing.assert_allclose(many.oof, one.oof, atol=1e-3)
    np.testing.assert_allclose(many.test, one.test, atol=1e-3)
    assert one.oof.max(axis=1).mean() < 0.98  # not saturated: another C would show


@pytest.mark.parametrize("head", ["logreg", "lda", "linear", "report"])
def test_views_k_uses_the_first_k(head: str, make_features: MakeFeatures) -> None:
    features = make_features(classes=3)
    vectors = all_vectors(features)
    vectors[:, 3:] = 1e4  # beyond the two fixed views and the first augmented one
    spoiled = rewrite(features, "spoiled.h5", vectors=vectors)
    short = rewrite(features, "short.h5", vectors=vectors[:, :3], augmented_views=("aug1",))
    results = [probe(features, head, views=1), probe(spoiled, head, views=1), probe(short, head)]
    for other in results[1:]:
        np.testing.assert_array_equal(other.oof, results[0].oof)
        np.testing.assert_array_equal(other.test, results[0].test)


def test_a_head_is_given_adjacent_rows_by_image_that_share_its_weight() -> None:
    vectors = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32)
    given: list[TrainingRows] = []

    class Spy:
        def fit(self, rows: TrainingRows, *, seed: int) -> FittedHead:
            given.append(rows)
            return make_head("lda", {}).fit(rows, seed=seed)

    Trainer(Spy(), vectors, np.array([0, 7, 7, 2, 0]), scale="none").fit(np.array([4, 1, 3]))
    (rows,) = given
    np.testing.assert_array_equal(rows.features, vectors[[4, 1, 3]].reshape(9, 4))
    assert rows.images.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert rows.labels.tolist() == [0, 0, 0, 2, 2, 2, 1, 1, 1]  # classes 0, 7, 2 of these images, numbered without gaps
    np.testing.assert_allclose(rows.weight, 1 / 3)


# Invariant 8: names and their order decide nothing


@pytest.mark.parametrize("head", EXACT)
@pytest.mark.parametrize(
    "names",
    [
        ("1", "2", "10", "11"),  # natural order; by code point "10" and "11" stand before "2"
        ("d", "c", "b", "a"),
        ("NA", "nan", "", "Ä,\n'"),
    ],
)
def test_names_of_classes_change_no_answer(head: str, names: tuple[str, ...], make_features: MakeFeatures) -> None:
    features = make_features(noise=1.5, labels=[0] * 5 + [1] * 6 + [2] * 7 + [3] * 5, hashes=None)
    settings = TIGHT if head == "logreg" else EXACT[head]
    result = probe(features, head, settings=settings)
    order = sorted(range(4), key=lambda label: names[label])  # new position -> class
    place = np.argsort(order)
    renamed = rewrite(
        features,
        "renamed.h5",
        class_names=tuple(sorted(names)),
        train=replace(features.train, labels=place[result.labels]),
    )
    other = probe(renamed, head, settings=settings)
    np.testing.assert_array_equal(other.folds, result.folds)
    np.testing.assert_allclose(other.oof[:, place], result.oof, atol=1e-3)
    np.testing.assert_allclose(other.test[:, place], result.test, atol=1e-3)
    answers = [names[label] for label in result.test.argmax(axis=1)]
    assert [other.class_names[label] for label in other.test.argmax(axis=1)] == answers
    assert 0.3 < (result.oof.argmax(axis=1) == result.labels).mean() < 1  # hard enough for answers to differ


@pytest.mark.parametrize("head", EXACT)
def test_the_order_of_the_images_changes_no_answer(head: str, make_features: MakeFeatures) -> None:
    features = make_features(noise=1.5)
    order = np.random.default_rng(0).permutation(24)
    split = features.train
    moved = rewrite(
        features,
        "moved.h5",
        vectors=all_vectors(features)[order],
        train=replace(
            split,
            ids=tuple(split.ids[index] for index in order),
            hashes=tuple(split.hashes[index] for index in order),
            labels=np.repeat(np.arange(4), 6)[order],
        ),
    )
    settings = TIGHT if head == "logreg" else EXACT[head]
    one, other = (probe(each, head, settings=settings) for each in (features, moved))
    np.testing.assert_array_equal(other.folds, one.folds[order])
    np.testing.assert_allclose(other.oof, one.oof[order], atol=1e-3)
    np.testing.assert_allclose(other.test, one.test, atol=1e-3)


# Invariant 10: the file is enough


def test_a_file_copied_elsewhere_works_without_the_images(make_features: MakeFeatures, tmp_path: Path) -> None:
    features = make_features()
    here = probe(features)
    target = tmp_path / "laptop" / "other name.h5"
    target.parent.mkdir()
    shutil.move(features.path, target)
    target.chmod(0o444)
    there = probe(open_features(target))
    np.testing.assert_array_equal(there.oof, here.oof)
    np.testing.assert_array_equal(there.test, here.test)
    assert (there.ids, there.test_ids, there.class_names) == (here.ids, here.test_ids, here.class_names)


# Classes that some folds do not see


def test_a_class_with_one_image_is_trained_on_but_not_scored_and_said(make_features: MakeFeatures) -> None:
    result = probe(make_features(classes=3, labels=[0] * 5 + [1] * 5 + [2]))
    assert result.scored.tolist() == [True] * 10 + [False]
    assert sum(fold.images for fold in result.fold_scores) == 10
    assert any("not scored" in note and "class 2" in note for note in result.notes)
    assert result.oof[10, 2] == 0  # the fold that holds it has never seen its class
    assert result.oof[10].sum() == pytest.approx(1)
    assert (result.oof[result.folds != result.folds[10], 2] > 0).all()
    assert (result.test[:, 2] > 0).all()


def test_a_class_whose_images_are_copies_of_one_is_not_scored(make_features: MakeFeatures) -> None:
    hashes = (*(f"{index:064x}" for index in range(10)), *["f" * 64] * 3)
    result = probe(make_features(classes=3, labels=[0] * 5 + [1] * 5 + [2] * 3, hashes=hashes))
    assert result.scored.tolist() == [True] * 10 + [False] * 3


@pytest.mark.parametrize("head", HEADS)
def test_a_class_missing_from_a_fold_gets_probability_zero_there(head: str, make_features: MakeFeatures) -> None:
    # class 1 lies in fold b only, and fold b has nothing else: no head has anything to score there
    column = ("a", "c", "a", "c", "b", "b", "a", "c", "a", "c")
    result = probe(make_features(classes=3, labels=[0] * 4 + [1] * 2 + [2] * 4, folds=column), head)
    held = result.folds == 1
    assert (result.oof[held, 1] == 0).all()
    np.testing.assert_allclose(result.oof.sum(axis=1), 1)
    assert result.fold_scores[1].images == 0
    assert np.isnan(result.fold_scores[1].accuracy)


def test_no_class_with_two_different_images_is_an_error(make_features: MakeFeatures) -> None:
    with pytest.raises(FrozenprobeError, match="two different images"):
        probe(make_features(classes=3, labels=[0, 1, 2]), folds=2)


@pytest.mark.parametrize("head", HEADS)
def test_a_fold_that_leaves_one_class_to_train_on_is_an_error(head: str, make_features: MakeFeatures) -> None:
    features = make_features(classes=2, labels=[0] * 5 + [1])
    with pytest.raises(FrozenprobeError, match="at least two classes outside every fold"):
        probe(features, head, folds=2)


# Weights of classes


@pytest.mark.parametrize("head", ["logreg", "lda"])
@pytest.mark.usefixtures("before_temperature")  # inner folds of copies are other ones
def test_balanced_is_oversampling_by_repetition(head: str, make_features: MakeFeatures) -> None:
    features = make_features(classes=2, labels=[0] * 4 + [1] * 12, noise=3)
    vectors, labels = all_vectors(features), np.array([0] * 4 + [1] * 12)
    oversampled = np.concatenate([np.repeat(np.arange(4), 3), np.arange(4, 16)])
    # balanced weights sum to 16, the repetitions to 24: C times the sum has to agree
    settings = [{"c": 1.5} | TIGHT, {"c": 1.0} | TIGHT] if head == "logreg" else 2 * [{"shrinkage": 0.3}]
    heads = [make_head(head, each) for each in settings]
    balanced = Trainer(heads[0], vectors, labels, class_weight="balanced")
    plain = Trainer(heads[1], vectors, labels)
    one, other = balanced.fit(np.arange(16)).predict(vectors), plain.fit(oversampled).predict(vectors)
    np.testing.assert_allclose(one, other, atol=1e-3)
    assert np.abs(one - plain.fit(np.arange(16)).predict(vectors)).max() > 0.05


def test_balanced_weights_sum_to_the_images_and_are_equal_by_class() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 2])
    weight = image_weights(labels, "balanced")
    np.testing.assert_allclose(np.bincount(labels, weights=weight), 7 / 3)


# Test images


def test_a_bad_test_image_gets_the_shares_of_the_classes(make_features: MakeFeatures) -> None:
    features = make_features(classes=3, labels=[0] * 3 + [1] * 6 + [2] * 9, unusable=(1, 4))
    result = probe(features)
    assert np.flatnonzero(~result.test_usable).tolist() == [1, 4]
    np.testing.assert_allclose(result.test[[1, 4]], [[3 / 18, 6 / 18, 9 / 18]] * 2)
    balanced = probe(features, class_weight="balanced")
    np.testing.assert_allclose(balanced.test[[1, 4]], 1 / 3)
    assert any("could not be decoded" in note and "t1.jpg, t4.jpg" in note for note in result.notes)


def test_without_test_images_there_is_still_a_score_and_a_model(make_features: MakeFeatures) -> None:
    result = probe(make_features(test=0))
    assert result.test_ids == ()
    assert result.test.shape == (0, 4)
    assert set(result.model) == {"coefficients", "intercepts", "scale_unit", "scale_shift", "scale_factor"}


@pytest.mark.parametrize(("split", "name"), [("train", r"image 3\.jpg"), ("test", r"t3\.jpg")])
def test_features_that_are_not_finite_are_refused_with_the_images_name(
    split: str, name: str, make_features: MakeFeatures
) -> None:
    features = make_features()
    train, test = all_vectors(features), features.read("test", [0, 1])
    (train if split == "train" else test)[3, 0, 5] = np.nan
    broken = rewrite(features, "broken.h5", vectors=train, test_vectors=test)
    with pytest.raises(FrozenprobeError, match=f"1 {split} images: {name}"):
        probe(broken)


# The report's own protocol


def test_the_reports_score_is_optimistic_and_its_last_epoch_stands_beside_it(make_features: MakeFeatures) -> None:
    drawn = make_features(views=9, noise=3, per_class=12)
    features = rewrite(drawn, "large.h5", vectors=50 * all_vectors(drawn))  # large features make large steps
    result = probe(features, "report")
    last = (result.oof.argmax(axis=1) == result.labels).mean()
    assert result.optimistic is not None
    assert last < result.optimistic <= 1  # on data as hard as this, some earlier epoch was luckier
    assert any("augmented views only" in note for note in result.notes)
    assert result.optimistic == right_at_the_luckiest_epochs(features, result) / 48


def right_at_the_luckiest_epochs(features: Features, result: ProbeResult) -> int:
    """Images of all folds that are right at the epoch that is best on their fold."""
    right = 0
    for fold in range(5):
        held = result.folds == fold
        trainer = Trainer(make_head("report", {}), all_vectors(features)[:, 2:], result.labels, scale="none")
        fitted = trainer.fit(np.flatnonzero(~held))
        clean = features.read("train", (0,))[held]
        answers = [fitted.predict(clean, epoch).argmax(axis=1) for epoch in fitted.head.snapshots]  # type: ignore[attr-defined]
        right += max(int((answer == result.labels[held]).sum()) for answer in answers)
    return right


def test_the_optimistic_score_counts_scored_images_alone(make_features: MakeFeatures) -> None:
    """Beside a class of one image, which no fold can be right about."""
    drawn = make_features(views=9, noise=1, classes=5, labels=[*np.repeat(range(4), 12).tolist(), 4])
    features = rewrite(drawn, "large.h5", vectors=50 * all_vectors(drawn))
    result = probe(features, "report")
    assert result.scored.sum() == 48
    assert result.optimistic == right_at_the_luckiest_epochs(features, result) / 48 > 0


def test_other_heads_have_no_optimistic_score(make_features: MakeFeatures) -> None:
    features = make_features(classes=2)
    assert [probe(features, head).optimistic for head in ("logreg", "linear")] == [None, None]


# Options


def test_the_users_folds_are_honoured_unless_a_number_is_asked_for(make_features: MakeFeatures) -> None:
    features = make_features(folds=fold_column(24))
    result = probe(features)
    assert result.folds.tolist() == [index % 3 for index in range(24)]
    assert result.options.folds == 3
    assert "folds are those of the fold column" in result.notes
    other = probe(features, folds=4)
    assert other.options.folds == 4
    assert set(other.folds.tolist()) == {0, 1, 2, 3}


def column_with_never(count: int, folds: int, never: str = "-1") -> tuple[str, ...]:
    """Folds by turns; every fourth image has fold -1, or another name in its place."""
    return tuple(never if index % 4 == 3 else f"part {index % folds}" for index in range(count))


@pytest.mark.parametrize(
    ("head", "options"),
    [
        ("lda", {}),
        ("logreg", {"settings": TIGHT}),
        ("knn", {}),
        ("linear", {}),
        ("lda", {"memory": 20_000.0, "settings": {"shrinkage": 0.3}}),
    ],
)
def test_images_of_fold_minus_one_are_trained_on_as_those_of_any_other_fold_and_never_held_out(
    head: str, options: dict[str, object], make_features: MakeFeatures
) -> None:
    ordinary = probe(make_features(folds=column_with_never(24, 3, "zz"), name="a.h5"), head, **options)
    features = make_features(folds=column_with_never(24, 3), name="b.h5")
    result = probe(features, head, **options)
    never = np.arange(24) % 4 == 3
    assert ("memory" in options) == any("STREAMED" in note for note in result.notes)
    assert (result.folds == -1).tolist() == never.tolist()
    np.testing.assert_allclose(result.oof[~never], ordinary.oof[~never], atol=1e-6)
    np.testing.assert_allclose(result.test, ordinary.test, atol=1e-6)
    assert np.isnan(result.oof[never]).all()
    assert (result.scored == ~never).all()
    assert sum(score.images for score in result.fold_scores) == 18
    assert result.options.folds == len(result.fold_scores) == 3
    assert "6 training images have fold -1: trained on in every fold, never scored" in result.notes


@pytest.mark.parametrize("folds", [1, 2, 5])
@pytest.mark.parametrize(
    "options",
    [
        {"head": "lda"},
        {"head": "auto", "budget": 0.0},
        {"head": "knn", "calibrate": True},
        {"head": "lda", "transductive": True},
        {"head": "lda", "tripwire": True},
        {"head": "lda", "memory": 20_000.0},
        {"head": "auto", "memory": 20_000.0},
        {"head": "linear", "memory": 20_000.0, "settings": {"epochs": 2}},
    ],
    ids=str,
)
def test_whatever_is_asked_for_nothing_is_said_of_images_of_fold_minus_one(
    folds: int, options: dict[str, object], make_features: MakeFeatures
) -> None:
    """One fold beside them is a plain split into training and validation."""
    result = cross_validate(make_features(folds=column_with_never(24, folds)), ProbeOptions(**options))  # type: ignore[arg-type]
    never = np.arange(24) % 4 == 3
    for predicted in (result.oof, result.uncalibrated):
        if predicted is not None:
            assert (np.isnan(predicted).any(axis=1) == never).all()
    np.testing.assert_allclose(result.oof[~never].sum(axis=1), 1, atol=1e-5)
    summary = summarise(result)
    assert (summary["images"], summary["images_not_scored"], len(summary["folds"])) == (18, 6, folds)
    assert np.isfinite(summary["log_loss"])
    assert ("memory" in options) == any("STREAMED" in note for note in result.notes)
    assert summary["accuracy"] > 0.5
    assert (result.to_frame()["predicted"] == "").tolist() == never.tolist()
    assert (result.to_frame()["fold"] == -1).tolist() == never.tolist()


@pytest.mark.parametrize("memory", [None, 20_000.0])
def test_every_model_learns_the_labels_of_images_of_fold_minus_one(
    memory: float | None, make_features: MakeFeatures
) -> None:
    """Also where features are streamed: the layer of all images must not take -1 for the images it goes without."""
    features = make_features(folds=column_with_never(24, 3))
    assert features.train.labels is not None
    others = np.where(np.arange(24) == 3, 1, features.train.labels)
    relabelled = rewrite(features, "other.h5", train=replace(features.train, labels=others))
    settings: dict[str, float | int] = {"epochs": 2}
    one, two = (probe(each, "linear", settings=settings, memory=memory) for each in (features, relabelled))
    assert any("STREAMED" in note for note in one.notes) == (memory is not None)
    assert (one.test != two.test).any(axis=1).all()
    for fold in range(3):
        assert (one.oof[one.folds == fold] != two.oof[one.folds == fold]).any(axis=1).all()


def test_a_copy_in_fold_minus_one_is_a_leak_that_is_noted(make_features: MakeFeatures) -> None:
    hashes = tuple(f"{index - (index == 3):064x}" for index in range(24))  # image 3, of fold -1, is a copy of image 2
    notes = " ".join(probe(make_features(folds=column_with_never(24, 3), hashes=hashes)).notes)
    assert "the fold column splits 1 clusters" in notes
    assert "scores are too high" in notes


def test_classes_with_images_in_fold_minus_one_alone_are_named(make_features: MakeFeatures) -> None:
    column = ("0", "1") * 9 + ("-1",) * 6
    result = probe(make_features(folds=column))
    assert "6 training images have fold -1" in result.notes[1]
    assert result.notes[1].endswith("no image is scored of class 3")
    assert all("trained on but not scored" not in note for note in result.notes)
    assert (result.oof[:18, 3] > 0).all(), "every fold has seen it"


def test_every_question_is_answered_in_the_options_of_the_result(make_features: MakeFeatures) -> None:
    options = probe(make_features(), "logreg").options
    assert options.folds == 5
    assert options.scale == "global"
    assert options.settings == {"c": 1.0, "tol": None, "max_iter": 2000, "solver": "own"}


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"folds": 0}, "--folds"),
        ({"folds": 1}, "--folds"),
        ({"folds": 25}, "--folds"),
        ({"seed": -1}, "--seed"),
        ({"head": "svn"}, "--head"),
        ({"scale": "zscore"}, "--scale"),
        ({"views": 4}, "--views"),
        ({"class_weight": "equal"}, "--class-weight"),
        ({"settings": {"c": 0}}, "--c"),
    ],
)
def test_an_option_out_of_range_is_an_error_that_names_it(
    options: dict[str, object], where: str, make_features: MakeFeatures
) -> None:
    with pytest.raises(FrozenprobeError) as caught:
        cross_validate(make_features(), ProbeOptions(**options))  # type: ignore[arg-type]
    assert caught.value.where == where


def test_more_images_than_a_head_can_take_are_refused_before_any_work_and_auto_leaves_it_out(
    make_features: MakeFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = make_features()
    count = len(features.train)
    monkeypatch.setitem(HEADS, "kernel", replace(HEADS["kernel"], most_images=count - 1))
    found = cross_validate(features, ProbeOptions(budget=math.inf))
    assert f"kernel (mean) (takes at most {count - 1} images)" in found.skipped
    said = " ".join(render(summarise(found)).split())
    assert f"beyond --budget or a head's limit: kernel (mean) (takes at most {count - 1} images)" in said
    assert f"candidates, counted as {found.counted:.1f} s of two slow cores; of each family the best" in said
    assert "every class weighing alike" not in said
    balanced = replace(found, options=replace(found.options, class_weight="balanced"))
    assert "and calibrated, every class weighing alike log-loss" in " ".join(render(summarise(balanced)).split())
    for work in ("find_clusters", "read_inputs"):
        monkeypatch.setattr(crossval, work, lambda *given: pytest.fail("work before the refusal"))
    for more in ({}, {"calibrate": True}):
        with pytest.raises(FrozenprobeError, match=f"At most {count - 1} .* kernel") as caught:
            cross_validate(features, ProbeOptions("kernel", **more))
        assert (caught.value.where, caught.value.found) == ("--head kernel", str(count))


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"folds": "5"}, "A whole number"),
        ({"folds": 2.5}, "A whole number"),
        ({"seed": None}, "A whole number"),
        ({"views": "1"}, "A whole number"),
        ({"test_views": "clean"}, "A tuple"),
        ({"tap": 1}, "A text"),
        ({"budget": "12"}, "A number"),
        ({"memory": "1GB"}, "A number"),
        ({"near_duplicates": "off"}, "A number"),
        ({"calibrate": "no"}, "True or False"),
        ({"settings": None}, "A dict"),
    ],
)
def test_an_option_of_another_type_is_an_error_that_names_it(options: dict[str, object], wanted: str) -> None:
    ((name, value),) = options.items()
    with pytest.raises(FrozenprobeError, match=wanted) as caught:
        ProbeOptions(**options)  # type: ignore[arg-type]
    assert (caught.value.found, caught.value.where) == (repr(value), f"--{name.replace('_', '-')}")


def test_progress_is_told_after_every_fit(make_features: MakeFeatures) -> None:
    told: list[tuple[str, int, int]] = []
    cross_validate(make_features(), ProbeOptions("lda", folds=3), lambda *news: told.append(news))
    assert told == [("fitting", done, 6) for done in range(1, 7)]


def test_folds_are_scored_on_their_own_images(make_features: MakeFeatures) -> None:
    result = probe(make_features(noise=1.5))
    for score in result.fold_scores:
        held = result.folds == score.fold
        right = result.oof[held].argmax(axis=1) == result.labels[held]
        assert (score.images, score.accuracy) == (held.sum(), right.mean())
        own = result.oof[held][np.arange(held.sum()), result.labels[held]]
        assert score.log_loss == pytest.approx(-np.log(own).mean())
        assert score.seconds >= 0


def test_a_class_without_rows_in_a_fit_has_its_own_column_of_zeros() -> None:
    vectors = np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32)
    labels = np.array([0, 0, 1, 1, 2, 2])
    trainer = Trainer(make_head("lda", {}), vectors, labels, scale="l2")
    probabilities = trainer.fit(np.array([0, 1, 4, 5])).predict(vectors)
    assert (probabilities[:, 1] == 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_labels_are_needed(make_features: MakeFeatures) -> None:
    features = make_features()
    with pytest.raises(FrozenprobeError, match="Labels of the training images"):
        cross_validate(replace(features, train=replace(features.train, labels=None)))


@pytest.mark.parametrize(("sizes", "folds"), [((2, 2), 2), ((3, 3, 9), 3), ((9, 9), 5), ((1, 1, 4), 4), ((1, 2, 2), 2)])
def test_there_are_no_more_folds_than_a_typical_class_has_images(
    sizes: tuple[int, ...], folds: int, make_features: MakeFeatures
) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes).tolist()
    assert probe(make_features(classes=len(sizes), labels=labels)).options.folds == folds


@pytest.mark.parametrize("options", [ProbeOptions("lda"), ProbeOptions("cosine", calibrate=True)])
def test_every_fit_is_told_what_belongs_together(
    options: ProbeOptions, make_features: MakeFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[Ints, Ints | None, Ints]] = []
    rows_of = Trainer.rows_of

    def spy(trainer: Trainer, images: Ints) -> TrainingRows:
        rows = rows_of(trainer, images)
        told.append((rows.images, rows.clusters, images))
        return rows

    monkeypatch.setattr(Trainer, "rows_of", spy)
    groups = tuple(str(image // 2) for image in range(40))
    result = cross_validate(make_features(per_class=10, groups=groups), replace(options, near_duplicates=0.0))
    assert len(set(result.clusters)) == 20
    assert len(told) > 6
    for of_row, clusters, images in told:
        assert clusters is not None
        np.testing.assert_array_equal(clusters, result.clusters[images][of_row])
