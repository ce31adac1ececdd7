"""Numbers about predictions: accuracy, log-loss, F1, top-k, confusions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from frozenprobe.probe.arrays import Doubles, Ints

SMALLEST = 1e-15  # probabilities are raised to this before the logarithm


def right_of(probabilities: Doubles, labels: Ints) -> Doubles:
    """`(n,)` 1 where the most probable class is the image's, else 0."""
    right: Doubles = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    return right


def accuracy(probabilities: Doubles, labels: Ints, weight: Doubles | None = None) -> float:
    """Share of images whose most probable class is theirs; `(n,)` weights of the images, if given."""
    return float(np.average(right_of(probabilities, labels), weights=weight))


def log_loss(probabilities: Doubles, labels: Ints, weight: Doubles | None = None) -> float:
    """Mean negative natural logarithm of the true class's probability; `(n,)` weights of the images, if given."""
    return float(np.average(losses(probabilities, labels), weights=weight))


def losses(probabilities: Doubles, labels: Ints) -> Doubles:
    """`(n,)` negative natural logarithm of each image's probability of its true class."""
    own: Doubles = probabilities[np.arange(len(labels)), labels]
    return 0.0 - np.log(np.maximum(own, SMALLEST))


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
    truth, predicted = counts.sum(axis=1), counts.sum(axis=0)
    return {
        "precision": right / np.maximum(predicted, 1),
        "recall": right / np.maximum(truth, 1),
        "f1": 2 * right / np.maximum(truth + predicted, 1),
        "images": truth.astype(float),
    }


def macro_f1(counts: npt.NDArray[np.int64]) -> float:
    """Mean F1 over the classes that occur, as truth or as prediction."""
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
