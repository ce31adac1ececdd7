"""Numbers about predictions: accuracy with an interval, log-loss, F1, top-k, confusions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from frozenprobe.probe.heads import Ints
from frozenprobe.probe.scaling import Doubles

SMALLEST = 1e-15  # probabilities are raised to this before the logarithm
RESAMPLES = 2000


def accuracy(probabilities: Doubles, labels: Ints) -> float:
    """Share of images whose most probable class is theirs."""
    return float((probabilities.argmax(axis=1) == labels).mean())


def log_loss(probabilities: Doubles, labels: Ints) -> float:
    """Mean negative natural logarithm of the true class's probability."""
    return float(0.0 - np.log(np.maximum(probabilities[np.arange(len(labels)), labels], SMALLEST)).mean())


def top_k(probabilities: Doubles, labels: Ints, k: int = 5) -> float:
    """Share of images whose class is among the k most probable; ties count against it."""
    own = probabilities[np.arange(len(labels)), labels][:, None]
    return float(((probabilities >= own).sum(axis=1) <= k).mean())


def confusion(predicted: Ints, labels: Ints, classes: int) -> npt.NDArray[np.int64]:
    """`(C, C)` counts: row the true class, column the predicted one."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def class_table(counts: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.float64]]:
    """Precision, recall, F1 and images of each class from a confusion matrix; 0 where undefined."""
    right = np.diag(counts).astype(float)
    truth, answers = counts.sum(axis=1), counts.sum(axis=0)
    return {
        "precision": right / np.maximum(answers, 1),
        "recall": right / np.maximum(truth, 1),
        "f1": 2 * right / np.maximum(truth + answers, 1),
        "images": truth.astype(float),
    }


def macro_f1(counts: npt.NDArray[np.int64]) -> float:
    """Mean F1 over the classes that occur, as truth or as answer."""
    occurs = counts.sum(axis=0) + counts.sum(axis=1) > 0
    return float(class_table(counts)["f1"][occurs].mean())


def balanced_accuracy(counts: npt.NDArray[np.int64]) -> float:
    """Mean recall over the classes that occur."""
    return float(class_table(counts)["recall"][counts.sum(axis=1) > 0].mean())


def confused_pairs(counts: npt.NDArray[np.int64], most: int = 5) -> list[tuple[int, int, int]]:
    """The most confused pairs of classes as (class, class, images confused, both ways added), most first."""
    both = np.triu(counts + counts.T, k=1)
    order = np.argsort(-both, axis=None, kind="stable")[:most]
    pairs = [(int(a), int(b), int(both[a, b])) for a, b in zip(*np.unravel_index(order, both.shape), strict=True)]
    return [pair for pair in pairs if pair[2]]


def accuracy_interval(right: npt.NDArray[np.bool_], clusters: Ints, *, seed: int = 0) -> tuple[float, float]:
    """95 % interval of an accuracy: percentile bootstrap over clusters of images that belong together.

    All right or all wrong leaves the bootstrap nothing to vary; then the interval is Wilson's (1927) at 0 or 1:
        lower = n / (n + z^2) at accuracy 1,  upper = z^2 / (n + z^2) at accuracy 0,  z = 1.96

    Args:
        right: `(n,)` whether each image was predicted rightly.
        clusters: `(n,)` cluster of each image.
        seed: of the resampling.
    """
    _, index = np.unique(clusters, return_inverse=True)
    hits, sizes = np.bincount(index, weights=right), np.bincount(index)
    n, z2 = len(sizes), 1.96**2
    if right.all() or not right.any():
        return (n / (n + z2), 1.0) if right.all() else (0.0, z2 / (n + z2))
    rng = np.random.default_rng([seed, 3])
    draws = [rng.integers(n, size=n) for _ in range(RESAMPLES)]
    shares = [hits[draw].sum() / sizes[draw].sum() for draw in draws]
    lower, upper = np.quantile(shares, [0.025, 0.975])
    return float(lower), float(upper)
