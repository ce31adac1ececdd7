"""Heads on moments over folds, on features larger than memory: one pass for moments, one to predict, both in blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from frozenprobe.cache.store import Features
from frozenprobe.probe.arrays import Doubles, Floats, Ints
from frozenprobe.probe.fit.spread import judge_spread
from frozenprobe.probe.fit.trainer import FittedProbe, MomentFit
from frozenprobe.probe.folds.deal import NEVER
from frozenprobe.probe.heads.head import Head
from frozenprobe.probe.heads.parts.inner_folds import deal_clusters
from frozenprobe.probe.heads.parts.moments import Moments, starting_point
from frozenprobe.probe.heads.parts.scaling import Scaling, normalise, takes_unit_rows
from frozenprobe.probe.heads.parts.temperature import choose_by_loss, scores_of
from frozenprobe.probe.heads.registry import entry_of, load, name_of
from frozenprobe.probe.inputs import Views, aggregate_views, read_finite
from frozenprobe.system.progress import Progress
from frozenprobe.system.threads import in_threads

MEMORY = 256 << 20
LEAST_TOLD = 20  # images that choose between heads
LEAST_INNER = 3  # folds that a choice is made on
COPIES = 4  # of a block that are alive at once while it is summed up


@dataclass(frozen=True)
class Stream:
    """What is streamed, and what it means.

    Attributes:
        features: an opened feature file.
        views: which stored views are for what.
        labels: `(N,)` of the training images.
        folds: `(N,)` fold of each; -1: never held out.
        weight: `(N,)` of each; the same in every fold.
        clusters: `(N,)` images that belong together.
        scale: a name of `SCALES`.
        aggregate: a name of `AGGREGATES`.
        memory: bytes that blocks of rows may take; moments and predictions come on top.
    """

    features: Features
    views: Views
    labels: Ints
    folds: Ints
    weight: Doubles
    clusters: Ints
    scale: str = "global"
    aggregate: str = "rows"
    memory: int = MEMORY

    @property
    def classes(self) -> int:
        """C."""
        return len(self.features.class_names)

    @property
    def sections(self) -> Ints:
        """`(N,)` section of a fold: at least three lie outside every fold, so few folds have several sections each."""
        count, folds = self.sections_a_fold, self.parts_of_images
        sections = folds * count
        for fold in np.unique(folds):  # each by itself: no fold's sections depend on the labels of another
            inside = np.flatnonzero(folds == fold)
            sections[inside] += deal_clusters(self.labels[inside], self.clusters[inside], inside, count)
        return sections

    @property
    def sections_a_fold(self) -> int:
        """Sections that a fold is cut into."""
        return math.ceil(LEAST_INNER / int(self.parts_of_images.max()))

    @property
    def parts_of_images(self) -> Ints:
        """`(N,)` fold of each; those that are never held out are one more."""
        return np.where(self.folds == NEVER, self.folds.max() + 1, self.folds)

    def read(self, split: str, views: Sequence[int], images: slice) -> Floats:
        """`(images, views, D)` of some images; one mean view where views are averaged, the first where it stands alone.

        Raises:
            FrozenprobeError: features that are not finite.
        """
        vectors = read_finite(self.features, split, views[:1] if self.aggregate == "clean" else views, images)
        return aggregate_views(vectors, self.aggregate)

    def blocks(self, split: str, views: Sequence[int]) -> Iterator[tuple[slice, Floats]]:
        """Images of a split and their features, `(images, views, D)`, block by block.

        Raises:
            FrozenprobeError: features that are not finite.
        """
        part = self.features.train if split == "train" else self.features.test
        count = len(part) if part is not None else 0
        step = max(1, self.memory // (4 * COPIES * len(views) * (self.features.dim + 2 * self.classes)))
        for start in range(0, count, step):
            images = slice(start, min(start + step, count))
            yield images, self.read(split, views, images)


@dataclass(frozen=True)
class StreamedFits:
    """What streaming over folds gives.

    Attributes:
        oof: `(N, C)` probabilities out of fold.
        test: `(M, C)` probabilities of the final model.
        fold_models: the model without each fold.
        final: the model of all training images.
    """

    oof: Doubles
    test: Doubles
    fold_models: tuple[FittedProbe, ...]
    final: FittedProbe


def stream_probe(stream: Stream, *heads: Head, seed: int = 0, progress: Progress | None = None) -> StreamedFits:
    """Fit heads from moments without each fold and with all, and predict; features are read twice.

    What the heads leave open, which of them it is, and the temperature is chosen on inner folds, which are the other
    folds (or sections of them): moments without two folds predict the images of one of them, of which a sample is kept
    from the first pass.

    Args:
        stream: see there.
        heads: their hyper-parameters; of several the one with the lowest inner log-loss is taken.
        seed: of the sample.
        progress: called with (stage, done, total) after every block and fit.

    Raises:
        FrozenprobeError: features that are not finite, or that the heads can learn nothing from.
    """
    tell = progress or (lambda stage, done, total: None)
    solvers = [Solver.of(head) for head in heads]
    sums = accumulate(stream, sample_of(stream, solvers, seed), tell, head=name_of(heads[0]))
    count = int(stream.folds.max()) + 1
    fitted = []
    for done, fold in enumerate([*range(count), None], start=1):
        fitted.append(sums.fit(solvers, fold))
        tell("fitting", done, count + 1)
    return predict_stream(stream, fitted, tell)


def predict_stream(stream: Stream, fitted: Sequence[FittedProbe], tell: Progress) -> StreamedFits:
    """The models without each fold predict its images, and the last one, of all, the test images."""
    oof = np.zeros((len(stream.folds), stream.classes))
    for images, vectors in stream.blocks("train", stream.views.val):
        for fold in np.setdiff1d(stream.folds[images], NEVER).tolist():
            held = np.flatnonzero(stream.folds[images] == fold)
            oof[images][held] = fitted[fold].predict(vectors[held])
        tell("predicting", images.stop, len(oof))
    blocks = [fitted[-1].predict(vectors) for _, vectors in stream.blocks("test", stream.views.test)]
    test = np.concatenate([np.zeros((0, stream.classes)), *blocks])
    return StreamedFits(oof, test, tuple(fitted[:-1]), fitted[-1])


@dataclass(frozen=True)
class Solver:
    """A head on moments.

    Attributes:
        name: of its hyper-parameter.
        fit: the models of a path of values.
        values: to choose from.
        needs_variance: a fit without any within classes tells nothing.
    """

    name: str
    fit: MomentFit
    values: tuple[float, ...]
    needs_variance: bool

    @classmethod
    def of(cls, head: Head) -> Solver:
        """That of a head.

        Raises:
            ValueError: a head that is not fitted from moments.
        """
        path = entry_of(head).moments
        if path is None:
            raise ValueError(f"a head on moments is wanted, not {head}")
        pinned = getattr(head, path.parameter)
        values = load(path.values) if pinned is None else (pinned,)
        return cls(path.parameter, load(path.fit), values, path.needs_variance)


@dataclass(frozen=True)
class FoldMoments:
    """What one pass over the training rows leaves.

    Attributes:
        stream: what was read.
        parts: the moments of each section of each fold.
        sample: some training images.
        rows: `(len(sample), D)` the first view of each, as it is stored.
        home: `(len(sample),)` the section of each.
    """

    stream: Stream
    parts: list[Moments]
    sample: Ints
    rows: Floats
    home: Ints

    def fit(self, solvers: Sequence[Solver], fold: int | None) -> FittedProbe:
        """The best head without a fold, or with all of them; chosen and calibrated without that fold."""
        training, classes, scaling = self.without(fold)
        choices, told = [], []
        for solver in solvers:
            scores, kept, known = self.inner_scores(solver, fold, training.within_variance)
            images = self.sample[kept]
            choices.append(choose_by_loss(scores, self.stream.labels[images], self.stream.weight[images] * known))
            told.append(known.tolist())
        # else the first head: it knows too little of some images, or they are so few that the choice would be luck
        comparable = all(known == told[0] for known in told) and sum(told[0]) >= LEAST_TOLD
        best = min(range(len(choices)), key=lambda number: choices[number].loss) if comparable else 0
        choice, solver = choices[best], solvers[best]
        value = solver.values[choice.index]
        (model,) = solver.fit(training, [value])
        means, each = training.means.astype(np.float32), np.arange(len(classes))
        model = choice.settle(model, means, each, training.weight, **{solver.name: value})
        return FittedProbe(model, scaling, classes, self.stream.classes, self.stream.aggregate == "logit")

    def inner_scores(self, solver: Solver, fold: int | None, final: float) -> tuple[Floats, Ints, Ints]:
        """Held-out scores `(values, n, C)` of the sample outside a fold; its places; 0 where the class is unknown.

        `final` is the variance within classes that the fit without the fold knows.
        """
        kept = np.flatnonzero(self.home // self.stream.sections_a_fold != (-1 if fold is None else fold))
        scores = np.zeros((len(solver.values), len(kept), self.stream.classes), dtype=np.float32)
        known = np.zeros(len(kept), dtype=np.int64)

        def score(section: int) -> None:
            training, classes, scaling = self.without(fold, section)
            held = np.flatnonzero(self.home[kept] == section)
            rows = scaling.apply(self.rows[kept[held]])
            if solver.needs_variance and not training.within_variance:
                return
            known[held] = np.isin(self.stream.labels[self.sample[kept[held]]], classes)
            larger = np.float32(training.within_variance / final if solver.needs_variance else 1)  # see lda.fit_chosen
            for index, model in enumerate(solver.fit(training, solver.values)):
                own = larger * scores_of(model, rows)
                scores[index, held] = own.min(axis=1, keepdims=True)
                scores[index, held[:, None], classes] = own

        in_threads(score, np.unique(self.home[kept]).tolist())
        return scores, kept, known

    def without(self, fold: int | None, section: int | None = None) -> tuple[Moments, Ints, Scaling]:
        """Scaled moments without a fold and a section, the classes that are left, and the scaling fitted to them."""
        count = self.stream.sections_a_fold
        left = [part for place, part in enumerate(self.parts) if place // count != fold and place != section]
        moments = reduce(Moments.__add__, left)
        classes = moments.present()
        scaling = moments.scaling(self.stream.scale)
        return moments.restricted(classes).scaled(scaling), classes, scaling


def sample_of(stream: Stream, solvers: Sequence[Solver], seed: int) -> Ints:
    """The images whose first view is kept: as many as memory allows for their rows, and for their scores."""
    row = 4 * max(stream.features.dim, *(len(solver.values) * stream.classes for solver in solvers))
    count = min(len(stream.folds), stream.memory // (COPIES * row))
    if count == len(stream.folds):
        return np.arange(count)
    return np.sort(np.random.default_rng([seed, 7]).choice(len(stream.folds), count, replace=False))


def accumulate(stream: Stream, sample: Ints, tell: Progress, *, head: str) -> FoldMoments:
    """One pass: the moments of every fold, and the first view of the sample. The rows of an image share its weight.

    Raises:
        FrozenprobeError: features that are not finite, or that the head called `head` can learn nothing from.
    """
    dim, count = stream.features.dim, len(stream.folds)
    rows = np.zeros((len(sample), dim), dtype=np.float32)
    sections = stream.sections
    parts: list[Moments] = []
    for images, vectors in stream.blocks("train", stream.views.train):
        inside = slice(*np.searchsorted(sample, (images.start, images.stop)))
        rows[inside] = vectors[sample[inside] - images.start, 0]
        if takes_unit_rows(stream.scale, dim):
            vectors = normalise(vectors)
        if not parts:
            origin = starting_point(vectors.reshape(-1, dim))
            none = np.zeros(0, dtype=np.int64)
            empty = Moments.of(vectors[:0, 0], none, np.zeros(0), classes=stream.classes, origin=origin)
            parts = [empty] * (int(sections.max()) + 1)
        add_block(parts, stream, sections[images], images, vectors)
        tell("summing", images.stop, count)
    variance = reduce(Moments.__add__, parts).variance
    fault = judge_spread(variance, head=head, scale=stream.scale, file=stream.features.path)
    if fault:
        raise fault
    return FoldMoments(stream, parts, sample, rows, sections[sample])


def add_block(parts: list[Moments], stream: Stream, sections: Ints, images: slice, vectors: Floats) -> None:
    """Add the moments of a block's images to those of their sections, a thread a section.

    Args:
        parts: the moments of each section so far.
        stream: what is read.
        sections: `(n,)` of these images.
        images: their places.
        vectors: `(n, views, D)` of them, normalised if the scaling does so.
    """
    _, views, dim = vectors.shape
    labels, weight = stream.labels[images], stream.weight[images] / views

    def add(section: int) -> None:
        held = np.flatnonzero(sections == section)
        parts[section] += Moments.of(
            vectors[held].reshape(-1, dim),
            np.repeat(labels[held], views),
            np.repeat(weight[held], views),
            classes=stream.classes,
            origin=parts[section].origin,
        )

    in_threads(add, np.unique(sections).tolist())
