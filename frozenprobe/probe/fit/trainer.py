"""Views of images -> scaling and head fitted on some of the images, one by one or all side by side: fitted probes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from threading import Lock

import numpy as np

from frozenprobe.probe.arrays import Arrays, Doubles, Floats, Ints
from frozenprobe.probe.heads.head import FittedHead, Head, LinearModel, PathHead, TrainingRows, image_weights
from frozenprobe.probe.heads.parts.moments import Moments, starting_point
from frozenprobe.probe.heads.parts.scaling import Scaling, fit_scaling, normalise, takes_unit_rows
from frozenprobe.probe.heads.registry import entry_of, load
from frozenprobe.system.threads import in_threads, one_blas_thread

MomentFit = Callable[[Moments, Sequence[float]], list[LinearModel]]
LEAST = 1e-300  # probabilities are raised to this before the logarithm


@dataclass(frozen=True)
class FittedProbe:
    """A head with the scaling it was trained on.

    Attributes:
        classes: `(c,)` the classes it has seen, in the order of its columns.
        total: C, the classes there are.
        geometric: views of an image are averaged as logarithms of probabilities, else as probabilities.
    """

    head: FittedHead
    scaling: Scaling
    classes: Ints
    total: int
    geometric: bool = False

    @one_blas_thread()
    def predict(self, vectors: Floats, head: FittedHead | None = None) -> Doubles:
        """Probabilities of images, averaged over their views: `(n, views, D)` -> `(n, C)`; 0 for classes never seen."""
        images, views, dim = vectors.shape
        rows = self.scaling.apply(vectors.reshape(images * views, dim))
        seen = (head or self.head).probabilities(rows).reshape(images, views, len(self.classes))
        result = np.zeros((images, self.total))
        result[:, self.classes] = average_logs(seen) if self.geometric else seen.mean(axis=1)
        return result

    def arrays(self) -> Arrays:
        """Head and scaling as plain arrays."""
        return self.head.arrays() | self.scaling.arrays()


def average_logs(probabilities: Doubles) -> Doubles:
    """`(n, views, C)` -> `(n, C)`: the geometric mean over the views, made to sum to 1."""
    mean = np.exp(np.log(np.maximum(probabilities, LEAST)).mean(axis=1))
    result: Doubles = mean / mean.sum(axis=1, keepdims=True)
    return result


@one_blas_thread()
def fit_scaled(head: Head, rows: TrainingRows, *, scale: str, seed: int) -> FittedProbe:
    """Fit the scaling called `scale`, then the head on what it makes of the rows; all its classes are theirs.

    Raises:
        FrozenprobeError: no such scaling, or what the head refuses.
    """
    scaling = fit_scaling(scale, rows.features, rows.weight)
    fitted = head.fit(replace(rows, features=scaling.apply(rows.features)), seed=seed)
    return FittedProbe(fitted, scaling, np.arange(rows.classes), rows.classes)


@dataclass(frozen=True)
class Trainer:
    """Fits a head on some of the training images, with everything that is fitted fitted on those alone.

    Attributes:
        head: hyper-parameters.
        vectors: `(N, views, D)` of all training images.
        labels: `(N,)`.
        scale: a name of `SCALES`.
        class_weight: `balanced` gives every class the same total weight; None: every image.
        seed: of whatever is random in the head.
        total: C; None: as many as the labels tell.
        geometric: see FittedProbe.
        clusters: `(N,)` images that belong together, which a head that chooses something does not split either; None:
            every image by itself.
    """

    head: Head
    vectors: Floats
    labels: Ints
    scale: str = "global"
    class_weight: str | None = None
    seed: int = 0
    total: int | None = None
    geometric: bool = False
    clusters: Ints | None = None

    def fit(self, images: Ints) -> FittedProbe:
        """Fit on these images."""
        fitted = fit_scaled(self.head, self.rows_of(images), scale=self.scale, seed=self.seed)
        return self.fitted(fitted.head, fitted.scaling, np.unique(self.labels[images]))

    def rows_of(self, images: Ints) -> TrainingRows:
        """Their rows, not scaled. Those of an image share its weight, so the number of views changes no trade-off."""
        _, views, dim = self.vectors.shape
        labels = np.unique(self.labels[images], return_inverse=True)[1]
        return TrainingRows(
            features=self.vectors[images].reshape(len(images) * views, dim),
            labels=np.repeat(labels, views).astype(np.int64),
            weight=np.repeat(image_weights(labels, self.class_weight) / views, views),
            images=np.repeat(np.arange(len(images)), views),
            clusters=None if self.clusters is None else np.repeat(self.clusters[images], views),
        )

    def fit_all(self, subsets: Sequence[Ints], done: Callable[[int], None] = lambda count: None) -> list[FittedProbe]:
        """Fit on each of these sets of images; `done` is told how many are."""
        beside = self.side_by_side([self.head])
        if beside is None:
            return self.fit_each(subsets, done)
        (fits,) = self.fit_side_by_side(*beside, subsets)
        done(len(fits))
        return fits

    def fit_each(self, subsets: Sequence[Ints], done: Callable[[int], None] = lambda count: None) -> list[FittedProbe]:
        """Fit on each by itself; a head that numpy fits alone in threads of our own."""
        lock, count = Lock(), itertools.count(1)

        def fit(images: Ints) -> FittedProbe:
            fitted = self.fit(images)
            with lock:
                done(next(count))
            return fitted

        if not entry_of(self.head).numpy_alone:
            return [fit(images) for images in subsets]
        return in_threads(fit, subsets)

    def fit_grid(self, heads: Sequence[Head], subsets: Sequence[Ints]) -> list[list[FittedProbe]]:
        """Each head, all of one kind and alike but for one hyper-parameter, on each set of images; in one go if it can.

        Returns:
            for each head a fit a set.
        """
        beside = self.side_by_side(heads)
        if beside:
            return self.fit_side_by_side(*beside, subsets)
        path = self.moment_path(heads)
        if path:
            return self.fit_from_moments(*path, subsets)
        return [replace(self, head=head).fit_each(subsets) for head in heads]

    def side_by_side(self, heads: Sequence[Head]) -> tuple[PathHead, list[float]] | None:
        """What solves these heads on one matrix, and the value of each along the path; None: it cannot be done."""
        able = [head for head in heads if isinstance(head, PathHead)]
        values = [head.on_path for head in able if head.on_path is not None]
        own_factors = self.scale == "standard" or self.vectors.shape[2] == 1  # one feature is not L2-normalised
        return None if len(values) < len(heads) or own_factors else (able[0], values)

    def fit_side_by_side(self, head: PathHead, values: list[float], subsets: Sequence[Ints]) -> list[list[FittedProbe]]:
        """All fits on one matrix: they differ in row weights and in the one number that the scaling multiplies by.

        A fit's scaling is (x - m) f, the shared rows are x; the intercepts make up for the difference:
            W (x f) + b = W ((x - m) f) + b + f W m
        """
        rows = self.shared_rows
        scalings = in_threads(self.scaling_of, subsets)
        factors = [float(scaling.factor[0]) for scaling in scalings]
        weights = [self.row_weights(images) for images in subsets]
        paths = head.fit_many(rows, weights, factors, values)
        grid: list[list[FittedProbe]] = [[] for _ in values]
        for models, scaling, factor, images in zip(paths, scalings, factors, subsets, strict=True):
            away = factor * scaling.shift.astype(np.float64)
            for line, model in zip(grid, models, strict=True):
                moved = replace(model, intercepts=model.intercepts + model.coefficients @ away)
                line.append(self.fitted(moved, scaling, np.unique(self.labels[images])))
        return grid

    def moment_path(self, heads: Sequence[Head]) -> tuple[MomentFit, list[float]] | None:
        """How to fit these heads from moments, and the value of each; None: they need the rows."""
        path = entry_of(heads[0]).moments
        if path is None:
            return None
        values = [getattr(head, path.parameter) for head in heads]
        return None if None in values else (load(path.fit), values)

    def fit_from_moments(self, fit: MomentFit, values: list[float], subsets: Sequence[Ints]) -> list[list[FittedProbe]]:
        """All fits from the moments of the parts that the sets of images are made of: one pass over the rows."""
        rows = self.shared_rows
        origin = starting_point(rows.features)
        member = np.zeros((len(self.labels), len(subsets)), dtype=bool)
        for number, images in enumerate(subsets):
            member[images, number] = True
        patterns, part = np.unique(member, axis=0, return_inverse=True)
        weights = [np.where(part.ravel() == number, 1.0, 0.0) for number in range(len(patterns))]
        if self.class_weight is not None:  # a class weighs otherwise in every set, and so does its part of the moments
            patterns, weights = np.eye(len(subsets), dtype=bool), [self.image_weights(images) for images in subsets]

        def sum_up(number: int) -> Moments:
            weight = weights[number][rows.images] / self.vectors.shape[1]
            chosen = weight > 0
            features, labels = rows.features[chosen], rows.labels[chosen]
            return Moments.of(features, labels, weight[chosen], classes=int(self.labels.max()) + 1, origin=origin)

        def solve(number: int) -> list[FittedProbe]:
            moments = reduce(Moments.__add__, [own for own, of in zip(parts, patterns, strict=True) if of[number]])
            classes, scaling = moments.present(), moments.scaling(self.scale)
            models = fit(moments.scaled(scaling).restricted(classes), values)
            return [self.fitted(model, scaling, classes) for model in models]

        parts = in_threads(sum_up, range(len(patterns)))
        lines = in_threads(solve, range(len(subsets)))
        return [[line[index] for line in lines] for index in range(len(values))]

    def fitted(self, head: FittedHead | LinearModel, scaling: Scaling, classes: Ints) -> FittedProbe:
        """A fitted head with what it needs to predict."""
        return FittedProbe(head, scaling, classes, self.total or int(self.labels.max()) + 1, self.geometric)

    @cached_property
    def shared_rows(self) -> TrainingRows:
        """All rows, L2-normalised if the scaling does so."""
        count, views, dim = self.vectors.shape
        rows = self.vectors.reshape(count * views, dim)
        rows = normalise(rows) if takes_unit_rows(self.scale, dim) else rows
        images = np.repeat(np.arange(count), views)
        return TrainingRows(rows, self.labels[images], np.ones(len(rows)), images)

    def scaling_of(self, images: Ints) -> Scaling:
        """The scaling fitted on these images."""
        rows = self.rows_of(images)
        return fit_scaling(self.scale, rows.features, rows.weight)

    def row_weights(self, images: Ints) -> Doubles:
        """`(N * views,)` weights of all rows, 0 for those of other images."""
        views = self.vectors.shape[1]
        return np.repeat(self.image_weights(images) / views, views)

    def image_weights(self, images: Ints) -> Doubles:
        """`(N,)` weights of all images, 0 for others than these."""
        weight = np.zeros(len(self.labels))
        weight[images] = image_weights(np.unique(self.labels[images], return_inverse=True)[1], self.class_weight)
        return weight
