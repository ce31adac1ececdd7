"""Features + folds + head -> ProbeResult: every image predicted once out of fold, every test image once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from frozenprobe.cache.store import Features
from frozenprobe.errors import FrozenprobeError, some, unknown_name
from frozenprobe.probe import metrics
from frozenprobe.probe.folds import assign_folds, cluster_images, folds_from_column, split_clusters, unscored_classes
from frozenprobe.probe.heads import Arrays, Convergence, FittedHead, Head, Ints, TrainingRows, make_head
from frozenprobe.probe.notes import make_notes
from frozenprobe.probe.options import DEFAULT_FOLDS, ProbeOptions, find_head
from frozenprobe.probe.scaling import Doubles, Floats, Scaling, fit_scaling
from frozenprobe.probe.views import Views, choose_views, read_finite

Progress = Callable[[str, int, int], None]  # (what is being done, done, total)


@dataclass(frozen=True)
class FoldScore:
    """One fold's numbers on its scored images."""

    fold: int
    images: int
    accuracy: float
    log_loss: float
    macro_f1: float
    seconds: float
    convergence: Convergence


@dataclass(frozen=True)
class ProbeResult:
    """What a probe found.

    Attributes:
        options: as asked for, with every question answered.
        class_names: C names.
        ids: of the N training images.
        labels: `(N,)`.
        folds: `(N,)`.
        clusters: `(N,)` images that belong together.
        scored: `(N,)` bool; False for images of classes that some fold would never have seen.
        oof: `(N, C)` out-of-fold probabilities.
        test_ids: of the M test images; empty without a test set.
        test: `(M, C)` probabilities of the head refitted on all training images.
        test_usable: `(M,)` bool; False: a bad image, answered with the class shares.
        fold_scores: a row a fold.
        refit: convergence of the final fit.
        optimistic: the report's own score: the best epoch of each fold chosen on that fold; None for other heads.
        model: final head and scaling as plain arrays.
        notes: what the user should know.
    """

    options: ProbeOptions
    class_names: tuple[str, ...]
    ids: tuple[str, ...]
    labels: Ints
    folds: Ints
    clusters: Ints
    scored: npt.NDArray[np.bool_]
    oof: Doubles
    test_ids: tuple[str, ...]
    test: Doubles
    test_usable: npt.NDArray[np.bool_]
    fold_scores: tuple[FoldScore, ...]
    refit: Convergence
    optimistic: float | None
    model: Arrays
    notes: tuple[str, ...]


def cross_validate(
    features: Features, options: ProbeOptions = ProbeOptions(), progress: Progress | None = None
) -> ProbeResult:
    """Train on all folds but one, predict that one, K times; then refit on everything and predict the test images.

    Args:
        features: an opened feature file.
        options: see there.
        progress: called with (stage, done, total) after every fit.

    Raises:
        FrozenprobeError: an option out of range, or features that are not finite.
    """
    if options.class_weight not in (None, "balanced"):
        raise unknown_name("class weight", options.class_weight, ("balanced",), where="--class-weight")
    if options.seed < 0:
        raise FrozenprobeError("A seed from 0 on", found=str(options.seed), where="--seed", remedy="give 0 or more")
    info = find_head(options.head)
    head = make_head(options.head, options.settings)
    options = replace(options, scale=options.scale or info.scale, settings=dict(vars(head)))
    views = choose_views(features, options, augmented_only=info.augmented_only)
    split = features.train
    if split.labels is None:
        raise FrozenprobeError(
            "Labels of the training images", found="none", where=features.path, remedy="extract the features again"
        )
    clusters = cluster_images(split.hashes, split.groups)
    folds, unscored = deal_folds(features, split.labels, clusters, options)
    scored = ~np.isin(split.labels, unscored)
    count = int(folds.max()) + 1
    total = len(features.class_names)
    trainer = Trainer(head, options, read_finite(features, "train", views.train), split.labels, total)
    shown = read_finite(features, "train", views.score)
    oof = np.zeros((len(split), total))
    rows: list[FoldScore] = []
    best_right = 0
    for fold in range(count):
        held = folds == fold
        start = time.perf_counter()
        fitted = trainer.fit(np.flatnonzero(~held))
        oof[held] = fitted.predict(shown[held])
        seconds = time.perf_counter() - start
        rows.append(score_fold(fold, oof[held & scored], split.labels[held & scored], seconds, fitted.head.convergence))
        best_right += best_epoch(fitted, shown[held & scored], split.labels[held & scored])
        if progress:
            progress("fitting", fold + 1, count + 1)
    final = trainer.fit(np.arange(len(split)))
    test, usable = predict_test(features, final, views, trainer)
    if progress:
        progress("fitting", count + 1, count + 1)
    snapshots = getattr(final.head, "snapshots", ())
    return ProbeResult(
        options=replace(options, folds=count),
        class_names=features.class_names,
        ids=split.ids,
        labels=split.labels,
        folds=folds,
        clusters=clusters,
        scored=scored,
        oof=oof,
        test_ids=features.test.ids if features.test else (),
        test=test,
        test_usable=usable,
        fold_scores=tuple(rows),
        refit=final.head.convergence,
        optimistic=best_right / int(scored.sum()) if snapshots else None,
        model=final.head.arrays() | final.scaling.arrays(),
        notes=tuple(make_notes(features, options, unscored, views, torn=len(split_clusters(clusters, folds)))),
    )


def deal_folds(features: Features, labels: Ints, clusters: Ints, options: ProbeOptions) -> tuple[Ints, Ints]:
    """`(N,)` fold of each image, and the classes that cannot be scored with these folds.

    Raises:
        FrozenprobeError: no class could be scored, or a fold would leave one class to train on.
    """
    split = features.train
    if split.folds is not None and options.folds is None:
        folds = folds_from_column(split.folds)
    else:
        count = min(DEFAULT_FOLDS, int(clusters.max()) + 1) if options.folds is None else options.folds
        folds = assign_folds(labels, clusters, split.hashes, folds=count, seed=options.seed)
    unscored = unscored_classes(labels, folds)
    if np.isin(labels, unscored).all():
        raise FrozenprobeError(
            "At least one class with two different images (or groups of images)",
            found="none",
            where=features.path,
            remedy="add images; equal files count once",
        )
    lonely = [fold + 1 for fold in range(int(folds.max()) + 1) if len(np.unique(labels[folds != fold])) < 2]
    if lonely:
        raise FrozenprobeError(
            "Images of at least two classes outside every fold",
            found=f"one class is left to train on when fold {some(lonely)} is held out",
            where=features.path,
            remedy="add images of the smaller class (equal files count once), or choose other --folds",
        )
    return folds, unscored


@dataclass(frozen=True)
class FittedProbe:
    """A head with the scaling it was trained on.

    Attributes:
        classes: `(c,)` the classes it has seen, in the order of its columns.
        total: C, the classes there are.
    """

    head: FittedHead
    scaling: Scaling
    classes: Ints
    total: int

    def predict(self, vectors: Floats, head: FittedHead | None = None) -> Doubles:
        """Probabilities of images, averaged over their views: `(n, views, D)` -> `(n, C)`; 0 for classes never seen."""
        images, views, dim = vectors.shape
        rows = self.scaling.apply(vectors.reshape(images * views, dim))
        seen = (head or self.head).probabilities(rows).reshape(images, views, len(self.classes)).mean(axis=1)
        result = np.zeros((images, self.total))
        result[:, self.classes] = seen
        return result


@dataclass(frozen=True)
class Trainer:
    """Fits a head on some of the training images, with everything that is fitted fitted on those alone.

    Attributes:
        head: hyper-parameters.
        options: scaling, class weight and seed.
        vectors: `(N, views, D)` of all training images.
        labels: `(N,)`.
        total: C; None: as many as the labels tell.
    """

    head: Head
    options: ProbeOptions
    vectors: Floats
    labels: Ints
    total: int | None = None

    def fit(self, images: Ints) -> FittedProbe:
        """Fit on these images. The rows of an image share its weight, so the number of views changes no trade-off."""
        _, views, dim = self.vectors.shape
        classes, labels = np.unique(self.labels[images], return_inverse=True)
        weight = self.image_weights(labels)
        rows = self.vectors[images].reshape(len(images) * views, dim)
        row_weight = np.repeat(weight / views, views)
        scaling = fit_scaling(str(self.options.scale), rows, row_weight)
        training = TrainingRows(
            features=scaling.apply(rows),
            labels=np.repeat(labels, views).astype(np.int64),
            weight=row_weight,
            images=np.repeat(np.arange(len(images)), views),
        )
        total = self.total or int(self.labels.max()) + 1
        return FittedProbe(self.head.fit(training, seed=self.options.seed), scaling, classes, total)

    def image_weights(self, labels: Ints) -> Doubles:
        """`(n,)` weights that sum to n: 1 each, or the same total for every class."""
        if self.options.class_weight is None:
            return np.ones(len(labels))
        counts = np.bincount(labels)
        balanced: Doubles = (len(labels) / (len(counts) * counts))[labels]
        return balanced


def predict_test(
    features: Features, final: FittedProbe, views: Views, trainer: Trainer
) -> tuple[Doubles, npt.NDArray[np.bool_]]:
    """`(M, C)` probabilities and which test images could be used; a bad one gets the shares of the classes."""
    if features.test is None:
        return np.zeros((0, final.total)), np.zeros(0, dtype=bool)
    probabilities = final.predict(read_finite(features, "test", views.answer))
    usable = features.test.usable
    if not usable.all():
        weight = trainer.image_weights(trainer.labels)
        probabilities[~usable] = np.bincount(trainer.labels, weights=weight, minlength=final.total) / weight.sum()
    return probabilities, usable


def score_fold(fold: int, oof: Doubles, labels: Ints, seconds: float, convergence: Convergence) -> FoldScore:
    """The numbers of one fold's scored images; NaN where there are none."""
    if not len(labels):
        return FoldScore(fold, 0, float("nan"), float("nan"), float("nan"), seconds, convergence)
    counts = metrics.confusion(oof.argmax(axis=1), labels, oof.shape[1])
    return FoldScore(
        fold,
        len(labels),
        metrics.accuracy(oof, labels),
        metrics.log_loss(oof, labels),
        metrics.macro_f1(counts),
        seconds,
        convergence,
    )


def best_epoch(fitted: FittedProbe, vectors: Floats, labels: Ints) -> int:
    """Images right with the epoch that is best on these very images: the report's protocol, selected on itself."""
    snapshots = getattr(fitted.head, "snapshots", ())
    right = [int((fitted.predict(vectors, epoch).argmax(axis=1) == labels).sum()) for epoch in snapshots]
    return max(right, default=0)
