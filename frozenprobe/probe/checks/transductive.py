"""Predictions refined with the unlabelled features of their images: a Gaussian mixture on a neighbour graph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import Doubles, Floats, Ints, softmax
from frozenprobe.probe.fit.trainer import Trainer
from frozenprobe.probe.heads.head import TrainingRows
from frozenprobe.probe.heads.lda import ShrinkageLdaHead
from frozenprobe.probe.heads.parts.moments import moments_of
from frozenprobe.probe.heads.parts.scaling import fit_scaling
from frozenprobe.probe.heads.registry import make_head
from frozenprobe.probe.result import Outcome
from frozenprobe.probe.stats import metrics
from frozenprobe.probe.stats.metrics import SMALLEST
from frozenprobe.probe.task import Task, score_fold

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MEMORY = 128  # MiB of cosines held at once
HALVINGS = 40  # of an interval of length 1
TINY = np.finfo(float).tiny


@dataclass(frozen=True)
class TransductiveSettings:
    """How unlabelled images take part.

    The defaults gained or kept accuracy on average over every kind of set measured (real and synthetic; classes equally
    often, by Zipf, few of many present); on a single small set they may cost some.

    Attributes:
        trust: share in [0, 1] of the head in an image's score; the rest is the Gaussian mixture's.
        smoothing: strength >= 0 of the neighbours' predictions; 0: no graph.
        neighbours: nearest images that vote, >= 1.
        weight: of an unlabelled image in a class mean, >= 0; a labelled one has 1. At 1 a few wrong predictions
            carry a class of few labels away.
        inertia: > 0; the classes' shares are (inertia x the labelled + the estimated) / (inertia + 1).
        shrinkage: of the covariance that whitens, in (0, 1], as of the LDA head.
        tolerance: largest change of a probability in an iteration at which it stops, > 0.
        max_iter: iterations after which it gives up, >= 1.
    """

    trust: float = 0.5
    smoothing: float = 3.0
    neighbours: int = 10
    weight: float = 0.2
    inertia: float = 20.0
    shrinkage: float = 0.3
    tolerance: float = 1e-3
    max_iter: int = 500

    def __post_init__(self) -> None:
        ranges = {
            "trust: a number from 0 to 1": 0 <= self.trust <= 1,
            "shrinkage: a number above 0, up to 1": 0 < self.shrinkage <= 1,
            "smoothing, weight: a number from 0 on": all(
                0 <= value < float("inf") for value in (self.smoothing, self.weight)
            ),
            "inertia, tolerance: a number above 0": all(
                0 < value < float("inf") for value in (self.inertia, self.tolerance)
            ),
            "neighbours, max_iter: 1 or more": self.neighbours >= 1 and self.max_iter >= 1,
        }
        for wanted, holds in ranges.items():
            if not holds:
                raise FrozenprobeError(
                    wanted,
                    found=str(self),
                    where="TransductiveSettings",
                    remedy="leave it out, or choose in this range",
                )


@dataclass(frozen=True)
class Refined:
    """Predictions that saw the other images to be predicted.

    Attributes:
        probabilities: `(n, C)`.
        converged: whether every stage reached its tolerance.
        iterations: of the mixture.
        objective: after each iteration of the mixture; it never falls. Empty where none ran.
        description: what was done, in one line for the user.
    """

    probabilities: Doubles
    converged: bool
    iterations: int
    objective: tuple[float, ...]
    description: str


def refine(
    probabilities: Doubles,
    features: Floats,
    rows: TrainingRows,
    settings: TransductiveSettings = TransductiveSettings(),
) -> Refined:
    """Predict images together. No label of theirs is used; everything they are compared with comes from `rows`.

    Args:
        probabilities: `(n, C)` the head's predictions, best calibrated: how sure they are decides what outvotes them.
        features: `(n, D)` of the same images, scaled like `rows`; the mean over the test-time views.
        rows: what the head was fitted on; its C classes are the columns of `probabilities`.
        settings: see there.
    """
    if not len(probabilities):
        return Refined(probabilities, True, 0, (), "no unlabelled image")
    problem = make_problem(probabilities, features, rows, settings)
    refined = gaussian_em(problem, settings)
    changed = int((refined.probabilities.argmax(axis=1) != probabilities.argmax(axis=1)).sum())
    end = "" if refined.converged else ", NOT converged"
    iterations = f"({refined.iterations} iterations{end})"
    description = f"of {len(probabilities)} unlabelled images {changed} answers changed {iterations}"
    return replace(refined, description=description)


def transduce(task: Task, outcome: Outcome) -> Outcome:
    """The predictions refined together with the unlabelled features of the other images that are predicted with them.

    For the test images they themselves are the unlabelled set; for every fold its held-out images beside the test
    images are: alone they are too few to show what a test set gains (measured in docs/heads.md).
    """
    options = task.options
    inputs = task.sources[-1].aggregated(options.aggregate or "rows")  # of several, all side by side
    scale = options.scale or Trainer.scale
    trainer = Trainer(
        make_head("lda", {}),
        inputs.train,
        task.labels,
        scale=scale,
        class_weight=options.class_weight,
        clusters=task.clusters,
    )
    oof, test, beside = outcome.oof.copy(), outcome.test.copy(), inputs.test[task.usable]
    unfinished = 0
    for fold in range(task.count):
        held, training = np.flatnonzero(task.folds == fold), np.flatnonzero(task.folds != fold)
        refined = refine_predictions(trainer, training, inputs.val[held], outcome.oof[held], beside)
        oof[held] = refined.probabilities
        unfinished += not refined.converged
    description, unlabelled = "no test images", "as the unlabelled set, which says little about larger ones"
    if task.usable.any():
        unlabelled = "beside the test images"
        refined = refine_predictions(trainer, np.arange(len(task.labels)), beside, outcome.test[task.usable])
        test[task.usable], description = refined.probabilities, refined.description
    labels = task.labels[task.scored]
    without, with_it = (metrics.accuracy(each[task.scored], labels) for each in (outcome.oof, oof))
    rows = [
        score_fold(task, row.fold, oof, seconds=row.seconds, convergence=row.convergence, description=row.description)
        for row in outcome.fold_scores
    ]
    note = (
        "TRANSDUCTIVE: images were answered with the help of the unlabelled features of the others answered with them; "
        f"accuracy {with_it:.1%} out of fold, each fold {unlabelled}, and {without:.1%} without it"
        + (f" (NOT converged in {unfinished} folds)" if unfinished else "")
        + "; photos unlike the training photos, or with other shares of the classes, gain or lose otherwise"
        + f"; test: {description}"
    )
    notes = (*outcome.notes, note)
    # The temperature made the head's probabilities, from which these are refined: there are none of these before it.
    return replace(outcome, oof=oof, test=test, fold_scores=tuple(rows), uncalibrated=None, notes=notes)


def refine_predictions(
    trainer: Trainer, training: Ints, vectors: Floats, probabilities: Doubles, beside: Floats | None = None
) -> Refined:
    """Refine the `(n, C)` predictions of images with `(n, t, D)` features.

    Args:
        trainer: weighs and scales the training images.
        training: those that are labelled.
        vectors: `(n, t, D)`.
        probabilities: `(n, C)`.
        beside: `(m, t, D)` further unlabelled images, whose predictions are not kept.
    """
    rows = trainer.rows_of(training)
    scaling = fit_scaling(trainer.scale, rows.features, rows.weight)
    classes = np.unique(trainer.labels[training])
    scaled = replace(rows, features=scaling.apply(rows.features))
    features, given = scaling.apply(vectors).mean(axis=1), probabilities[:, classes]
    if beside is not None and len(beside):
        more = scaling.apply(beside).mean(axis=1)
        given = np.vstack([given, answer_alike(given, features, more, scaled)])
        features = np.vstack([features, more])
    refined = refine(given, features, scaled)
    result = np.zeros_like(probabilities)
    result[:, classes] = refined.probabilities[: len(result)]
    return replace(refined, probabilities=result)


def answer_alike(probabilities: Doubles, features: Floats, others: Floats, rows: TrainingRows) -> Doubles:
    """`(m, C)` LDA's predictions of `(m, D)` other images, as sure as these `(n, C)` of the `(n, D)` ones.

    The heads of the folds have not answered the test images, and the final head, which has, knows held-out labels.
    """
    head = ShrinkageLdaHead(TransductiveSettings.shrinkage).fit(rows, seed=0)
    near, far = (np.log(np.maximum(head.probabilities(each), TINY)) for each in (features, others))
    answers: Doubles = softmax(match_sharpness(probabilities, near, np.zeros(near.shape[1])) * far)
    return answers


@dataclass(frozen=True)
class Problem:
    """What the mixture is fitted to, whitened: the labelled classes have the identity as covariance.

    Attributes:
        head: `(n, C)` logarithm of the head's probabilities.
        unlabelled: `(n, D)`.
        means: `(C, D)` of the labelled classes.
        class_weight: `(C,)` labelled images in each.
        sharpness: 1 / temperature of the mixture, in [0, 1].
        graph: `(n, n)` weights of the unlabelled neighbours.
        votes: `(n, C)` sums of the weights of the labelled ones.
    """

    head: Doubles
    unlabelled: Doubles
    means: Doubles
    class_weight: Doubles
    sharpness: float
    graph: csr_matrix
    votes: Doubles

    @property
    def shares(self) -> Doubles:
        """`(C,)` of the classes among the labelled images."""
        shares: Doubles = self.class_weight / self.class_weight.sum()
        return shares


def make_problem(
    probabilities: Doubles, features: Floats, rows: TrainingRows, settings: TransductiveSettings
) -> Problem:
    """Whiten with the labelled classes' covariance, link neighbours, and set the mixture's temperature."""
    moments = moments_of(rows, np.ones(len(rows.labels), dtype=bool))
    class_weight, means, covariance = moments.weight, moments.means, moments.noise()
    variance = np.trace(covariance) / len(covariance)
    covariance *= 1 - settings.shrinkage
    covariance.flat[:: len(covariance) + 1] += settings.shrinkage * variance
    _, first, number, count = np.unique(rows.images, return_index=True, return_inverse=True, return_counts=True)
    total = np.zeros((len(first), rows.features.shape[1]))
    np.add.at(total, number, rows.features)
    images, labels = total / count[:, None], rows.labels[first]
    centre = class_weight @ means / class_weight.sum()
    # Sigma = L L^T:  |L^-1 (x - m)|^2 is the squared Mahalanobis distance of x and m
    points = np.vstack([features, means, images]) - centre
    points = np.linalg.solve(np.linalg.cholesky(covariance), points.T).T
    unlabelled, means, images = np.split(points, [len(features), len(features) + len(means)])
    graph = link_neighbours(np.vstack([unlabelled, images]), neighbours=settings.neighbours)[: len(features)]
    scores = unlabelled @ means.T - np.square(means).sum(axis=1) / 2
    return Problem(
        head=np.log(np.maximum(probabilities, SMALLEST)),
        unlabelled=unlabelled,
        means=means,
        class_weight=class_weight,
        sharpness=match_sharpness(probabilities, scores, np.log(class_weight / class_weight.sum())),
        graph=graph[:, : len(features)],
        votes=graph[:, len(features) :] @ np.eye(len(means))[labels],
    )


def gaussian_em(problem: Problem, settings: TransductiveSettings) -> Refined:
    """Maximise the penalised likelihood of a mixture over its r, means m and shares p (Zanella 2024, TransCLIP).

    With h the head's log-probabilities and t the trust in them, z the whitened images and s the mixture's sharpness,
    n_c the labelled images of a class, u_c their mean and q_c their share, W the graph and v the votes of labelled
    neighbours with the smoothing b, a the inertia and w the weight:
        F = sum_ic r_ic (t (h_ic - log q_c) + (1 - t) s (z_i m_c - |m_c|^2 / 2) + log p_c - log r_ic)
            + b sum_ic r_ic ((W r)_ic / 2 + v_ic) + a n sum_c q_c log p_c - (1 - t) s / (2 w) sum_c n_c |m_c - u_c|^2
    It is greatest over m and p at weighted means:
        m_c = (n_c u_c + w sum_i r_ic z_i) / (n_c + w sum_i r_ic)       p_c = (a n q_c + sum_i r_ic) / (a n + n)
    Over r it has slope - log r - 1. No eigenvalue of W lies outside [-1, 1], so F's curvature is at most 1 + b times
    the entropy's, and a mirror step of size 1 / (1 + b) cannot lower it (Lu, Freund, Nesterov 2018):
        log r <- (b log r + slope) / (1 + b) + const
    Without a graph that is the E step, and all of it is EM started from the labelled classes.
    """
    trust, smoothing = settings.trust, settings.smoothing
    shares, weight = problem.shares, problem.class_weight
    size = len(problem.head)
    fixed = trust * (problem.head - np.log(shares)) + smoothing * problem.votes
    predicted = np.exp(problem.head)
    predicted /= predicted.sum(axis=1, keepdims=True)
    neighbours = problem.graph @ predicted
    history: list[float] = []
    change = float("inf")
    while change >= settings.tolerance and len(history) < settings.max_iter:
        mass = predicted.sum(axis=0)
        drawn = settings.weight * (predicted.T @ problem.unlabelled)
        means = (weight[:, None] * problem.means + drawn) / (weight + settings.weight * mass)[:, None]
        estimated = (settings.inertia * size * shares + mass) / (settings.inertia * size + size)
        mixture = problem.unlabelled @ means.T - np.square(means).sum(axis=1) / 2
        scores = fixed + (1 - trust) * problem.sharpness * mixture + np.log(estimated)
        logs = np.log(np.maximum(predicted, TINY))
        previous, predicted = predicted, softmax((smoothing * (logs + neighbours) + scores) / (1 + smoothing))
        neighbours = problem.graph @ predicted
        history.append(objective(predicted, scores + smoothing * neighbours / 2, means, estimated, problem, settings))
        change = float(np.abs(predicted - previous).max())
    return Refined(predicted, change < settings.tolerance, len(history), tuple(history), "Gaussian mixture")


def objective(
    predicted: Doubles,
    scores: Doubles,
    means: Doubles,
    estimated: Doubles,
    problem: Problem,
    settings: TransductiveSettings,
) -> float:
    """F of `gaussian_em`, where `scores` are all that multiplies r but its entropy."""
    entropy = -(predicted * np.log(np.maximum(predicted, TINY))).sum()
    inertia = settings.inertia * len(predicted) * (problem.shares @ np.log(estimated))
    moved = problem.class_weight @ np.square(means - problem.means).sum(axis=1)
    pull = (1 - settings.trust) * problem.sharpness * moved / (2 * settings.weight) if settings.weight else 0.0
    return float((predicted * scores).sum() + entropy + inertia - pull)


def match_sharpness(probabilities: Doubles, scores: Doubles, log_shares: Doubles) -> float:
    """The s in [0, 1] whose softmax(s scores + log shares) is nearest to the head: it knows how sure to be.

    The cross-entropy -sum_ic p_ic log q_ic(s) is convex in s, with the slope sum_ic (q_ic(s) - p_ic) scores_ic, whose
    zero is found by halving. At 1 the mixture is as sure as LDA itself, which with few images is far too sure.
    """
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        slope = ((softmax(middle * scores + log_shares) - probabilities) * scores).sum()
        low, high = (middle, high) if slope < 0 else (low, middle)
    return high


def link_neighbours(points: Doubles, *, neighbours: int) -> csr_matrix:
    """`(nodes, nodes)` links of each image to its nearest ones in cosine similarity, twice as strong if mutual.

    With A the cosines (0 where negative) of each image's k nearest, 0 elsewhere, and d the row sums of A + A^T:
        W = d^-1/2 (A + A^T) d^-1/2        no eigenvalue outside [-1, 1] (Zhou et al. 2004)

    Args:
        points: `(nodes, D)`.
        neighbours: k.
    """
    from scipy.sparse import diags
    from sklearn import config_context
    from sklearn.neighbors import NearestNeighbors

    nearest = NearestNeighbors(n_neighbors=min(neighbours, len(points) - 1), metric="cosine", algorithm="brute")
    with config_context(working_memory=MEMORY):
        links = nearest.fit(points.astype(np.float32)).kneighbors_graph(mode="distance").astype(np.float64)
    links.data = np.maximum(1 - links.data, 0)
    links = links + links.T
    degree = np.asarray(links.sum(axis=1)).ravel()
    scale = diags(1 / np.sqrt(np.where(degree > 0, degree, 1)))
    return (scale @ links @ scale).tocsr()
