"""LDA and ridge over folds on features larger than memory: one pass for moments, one for answers, both in blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from frozenprobe.cache.store import Features
from frozenprobe.errors import FrozenprobeError, some
from frozenprobe.probe import lda, ridge
from frozenprobe.probe.calibration import choose_by_loss, cooled, scores_of
from frozenprobe.probe.heads import Ints, LinearModel
from frozenprobe.probe.inner import cut_into_runs
from frozenprobe.probe.lda import ShrinkageLdaHead
from frozenprobe.probe.moments import Moments, starting_point
from frozenprobe.probe.ridge import RidgeHead
from frozenprobe.probe.scaling import Doubles, Floats, Scaling, normalise
from frozenprobe.probe.views import Views

MEMORY = 256 << 20
LEAST_INNER = 3  # folds that a choice is made on
COPIES = 4  # of a block that are alive at once while it is summed up

Progress = Callable[[str, int, int], None]  # (what is being done, done, total)
FitMoments = Callable[[Moments, Sequence[float]], list[LinearModel]]


@dataclass(frozen=True)
class Stream:
    """What is streamed, and what it means.

    Attributes:
        features: an opened feature file.
        views: which stored views train, score and answer.
        folds: `(N,)` fold of each training image.
        weight: `(N,)` of each training image; the same in every fold.
        scale: a name of `SCALES`.
        memory: bytes that blocks of rows may take; moments and answers come on top.
    """

    features: Features
    views: Views
    folds: Ints
    weight: Doubles
    scale: str = "global"
    memory: int = MEMORY

    @property
    def labels(self) -> Ints:
        """`(N,)` of the training images."""
        labels = self.features.train.labels
        if labels is None:
            raise ValueError("training images without labels")
        return labels

    @property
    def classes(self) -> int:
        """C."""
        return len(self.features.class_names)

    @property
    def pieces(self) -> Ints:
        """`(N,)` piece of a fold: at least three are outside of every fold, so few folds have several pieces each."""
        runs = self.pieces_a_fold
        return self.folds * runs + cut_into_runs(
            self.folds * self.classes + self.labels, np.arange(len(self.folds)), runs
        )

    @property
    def pieces_a_fold(self) -> int:
        """Pieces that a fold is cut into."""
        return math.ceil(LEAST_INNER / int(self.folds.max()))

    def blocks(self, split: str, views: Sequence[int]) -> Iterator[tuple[slice, Floats]]:
        """Images of a split and their features, `(images, len(views), D)`, block by block.

        Raises:
            FrozenprobeError: features that are not finite.
        """
        part = self.features.train if split == "train" else self.features.test
        count = len(part) if part is not None else 0
        step = max(1, self.memory // (COPIES * 4 * len(views) * self.features.dim))
        for start in range(0, count, step):
            images = slice(start, min(start + step, count))
            vectors = self.features.read(split, views, images)
            broken = np.flatnonzero(~np.isfinite(vectors).all(axis=(1, 2))) + start
            if len(broken) and part is not None:
                raise FrozenprobeError(
                    "Finite features",
                    found=f"NaN or infinity in {split} images: {some(part.ids[image] for image in broken)}",
                    where=self.features.path,
                    remedy=f"frozenprobe repair {self.features.path}   drops them; then extract computes them again",
                )
            yield images, vectors


@dataclass(frozen=True)
class StreamedModel:
    """A linear model with its scaling and the classes it has seen, in the order of its columns; `total` is C."""

    model: LinearModel
    scaling: Scaling
    classes: Ints
    total: int

    def predict(self, vectors: Floats) -> Doubles:
        """`(n, views, D)` -> `(n, C)`, the mean over the views; 0 for classes never seen."""
        images, views, dim = vectors.shape
        seen = self.model.probabilities(self.scaling.apply(vectors.reshape(images * views, dim)))
        result = np.zeros((images, self.total))
        result[:, self.classes] = seen.reshape(images, views, len(self.classes)).mean(axis=1)
        return result


@dataclass(frozen=True)
class Streamed:
    """What streaming over folds gives.

    Attributes:
        oof: `(N, C)` probabilities out of fold.
        test: `(M, C)` probabilities of the final model.
        fold_models: the model without each fold.
        final: the model of all training images.
    """

    oof: Doubles
    test: Doubles
    fold_models: tuple[StreamedModel, ...]
    final: StreamedModel


def stream_probe(
    stream: Stream, head: ShrinkageLdaHead | RidgeHead, *, seed: int = 0, progress: Progress | None = None
) -> Streamed:
    """Fit a closed-form head without each fold and with all, and answer; features are read twice.

    What the head leaves open, and the temperature, is chosen on inner folds, which are the other folds (or pieces of
    them): moments without two folds answer the images of one of them, of which a sample is kept from the first pass.

    Args:
        stream: see there.
        head: its hyper-parameters.
        seed: of the sample.
        progress: called with (stage, done, total) after every block and fit.

    Raises:
        FrozenprobeError: features that are not finite.
    """
    tell = progress or (lambda stage, done, total: None)
    solver = Solver.of(head)
    sums = accumulate(stream, sample_of(stream, solver, seed), tell)
    count = int(stream.folds.max()) + 1
    fitted = []
    for done, fold in enumerate([*range(count), None], start=1):
        fitted.append(sums.fit(solver, fold))
        tell("fitting", done, count + 1)
    oof = np.zeros((len(stream.folds), stream.classes))
    for images, vectors in stream.blocks("train", stream.views.score):
        for fold in np.unique(stream.folds[images]).tolist():
            held = np.flatnonzero(stream.folds[images] == fold)
            oof[images][held] = fitted[fold].predict(vectors[held])
        tell("predicting", images.stop, len(oof))
    answers = [fitted[-1].predict(vectors) for _, vectors in stream.blocks("test", stream.views.answer)]
    test = np.concatenate([np.zeros((0, stream.classes)), *answers])
    return Streamed(oof, test, tuple(fitted[:-1]), fitted[-1])


@dataclass(frozen=True)
class Solver:
    """A head on moments.

    Attributes:
        name: of its hyper-parameter.
        fit: the models of a path of values.
        values: to choose from.
        calibrated: whether its scores need a temperature even if there is nothing to choose.
    """

    name: str
    fit: FitMoments
    values: tuple[float, ...]
    calibrated: bool

    @classmethod
    def of(cls, head: ShrinkageLdaHead | RidgeHead) -> Solver:
        """That of a head."""
        if isinstance(head, RidgeHead):
            return cls("alpha", ridge.fit_moments, ridge.ALPHAS if head.alpha is None else (head.alpha,), True)
        pinned = head.shrinkage
        return cls("shrinkage", lda.fit_moments, lda.SHRINKAGES if pinned is None else (pinned,), pinned is None)


@dataclass(frozen=True)
class FoldMoments:
    """What one pass over the training rows leaves.

    Attributes:
        stream: what was read.
        parts: the moments of each piece of each fold.
        sample: some training images.
        rows: `(len(sample), D)` the first view of each, as it is stored.
        home: `(len(sample),)` the piece of each.
    """

    stream: Stream
    parts: list[Moments]
    sample: Ints
    rows: Floats
    home: Ints

    def fit(self, solver: Solver, fold: int | None) -> StreamedModel:
        """The head without a fold, or with all of them; chosen and calibrated without that fold."""
        training, classes, scaling = self.without(fold)
        if not solver.calibrated:
            (model,) = solver.fit(training, solver.values)
            return StreamedModel(model, scaling, classes, self.stream.classes)
        scores, kept, known = self.inner_scores(solver, fold)
        images = self.sample[kept]
        choice = choose_by_loss(scores, self.stream.labels[images], self.stream.weight[images] * known)
        value = solver.values[choice.index]
        (model,) = solver.fit(training, [value])
        model = cooled(model, choice.temperature, **{solver.name: value})
        return StreamedModel(model, scaling, classes, self.stream.classes)

    def inner_scores(self, solver: Solver, fold: int | None) -> tuple[Floats, Ints, Ints]:
        """Held-out scores `(values, n, C)` of the sample outside a fold; its places; 0 where the class is unknown."""
        kept = np.flatnonzero(self.home // self.stream.pieces_a_fold != (-1 if fold is None else fold))
        scores = np.zeros((len(solver.values), len(kept), self.stream.classes), dtype=np.float32)
        known = np.zeros(len(kept), dtype=np.int64)
        for piece in np.unique(self.home[kept]).tolist():
            training, classes, scaling = self.without(fold, piece)
            held = np.flatnonzero(self.home[kept] == piece)
            rows = scaling.apply(self.rows[kept[held]])
            known[held] = np.isin(self.stream.labels[self.sample[kept[held]]], classes)
            for index, model in enumerate(solver.fit(training, solver.values)):
                answers = scores_of(model, rows)
                scores[index, held] = answers.min(axis=1, keepdims=True)
                scores[index, held[:, None], classes] = answers
        return scores, kept, known

    def without(self, fold: int | None, piece: int | None = None) -> tuple[Moments, Ints, Scaling]:
        """Scaled moments without a fold and a piece, the classes that are left, and the scaling fitted to them."""
        runs = self.stream.pieces_a_fold
        left = [part for place, part in enumerate(self.parts) if place // runs != fold and place != piece]
        moments = reduce(Moments.__add__, left)
        classes = moments.present()
        scaling = moments.scaling(self.stream.scale)
        return moments.restricted(classes).scaled(scaling), classes, scaling


def sample_of(stream: Stream, solver: Solver, seed: int) -> Ints:
    """The images whose first view is kept: as many as memory allows for their rows, and for their scores."""
    row = 4 * max(stream.features.dim, len(solver.values) * stream.classes)
    count = min(len(stream.folds), stream.memory // (COPIES * row)) if solver.calibrated else 0
    if count == len(stream.folds):
        return np.arange(count)
    return np.sort(np.random.default_rng([seed, 7]).choice(len(stream.folds), count, replace=False))


def accumulate(stream: Stream, sample: Ints, tell: Progress) -> FoldMoments:
    """One pass: the moments of every fold, and the first view of the sample. The rows of an image share its weight."""
    views = stream.views.train
    dim, count = stream.features.dim, len(stream.folds)
    rows = np.zeros((len(sample), dim), dtype=np.float32)
    pieces = stream.pieces
    parts: list[Moments] = []
    for images, vectors in stream.blocks("train", views):
        inside = slice(*np.searchsorted(sample, (images.start, images.stop)))
        rows[inside] = vectors[sample[inside] - images.start, 0]
        if stream.scale in ("global", "l2"):
            vectors = normalise(vectors)
        if not parts:
            origin = starting_point(vectors.reshape(-1, dim))
            none = np.zeros(0, dtype=np.int64)
            empty = Moments.of(vectors[:0, 0], none, np.zeros(0), classes=stream.classes, origin=origin)
            parts = [empty] * (int(pieces.max()) + 1)
        for piece in np.unique(pieces[images]).tolist():
            held = np.flatnonzero(pieces[images] == piece) + images.start
            parts[piece] += Moments.of(
                vectors[held - images.start].reshape(-1, dim),
                np.repeat(stream.labels[held], len(views)),
                np.repeat(stream.weight[held] / len(views), len(views)),
                classes=stream.classes,
                origin=origin,
            )
        tell("summing", images.stop, count)
    return FoldMoments(stream, parts, sample, rows, pieces[sample])
