"""Every head as a scikit-learn classifier: `logreg` is `LogregProbeClassifier`, and so on for each name of `HEADS`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_consistent_length, check_random_state, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import Doubles, Floats, Ints
from frozenprobe.probe.fit.spread import find_fault
from frozenprobe.probe.fit.trainer import fit_scaled
from frozenprobe.probe.heads.head import TrainingRows, balance
from frozenprobe.probe.heads.registry import HEADS, head_class, make_head, require_size

SUFFIX = "ProbeClassifier"
LEAST = 1e-300  # below any probability that matters: its logarithm is finite
SHARED = """
scale: `global`, `standard`, `l2` or `none`, fitted on the training rows.
class_weight: None, `balanced`, or a weight for each label.
random_state: decides whatever is random in the head.
"""


class ProbeClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """What the classifiers share: rows, weights and groups in, a head's probabilities out.

    Attributes:
        classes_: `(C,)` the labels, sorted; those whose rows all weigh 0 are not among them.
        n_features_in_: D.
        n_iter_: iterations or epochs, for heads that iterate.
        probe_: the fitted head with its scaling.
    """

    head_name: ClassVar[str]
    scale: str
    class_weight: str | dict[Any, float] | None
    random_state: Any

    def __sklearn_tags__(self) -> Any:
        """scikit-learn's own tags; the report's nine epochs are too few for the small sets of its checks."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = self.head_name == "report"
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> ProbeClassifier:
        """Fit on rows, which are computed with in float32.

        Args:
            X: `(n, D)`.
            y: `(n,)` labels of any type.
            sample_weight: `(n,)` of each row's image; a row of weight 0 is as if it were absent.
            groups: `(n,)` which image each row is a view of: an image's rows share its weight, and whatever a head
                leaves out to choose something, it leaves out by image. None: every row is an image of its own, and
                equal rows are one image that weighs as many.

        Raises:
            ValueError: fewer than two classes, an image with two labels, a hyper-parameter out of range, or features
                that the head can learn nothing from.
        """
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        weight = self.weigh(X, y, sample_weight)
        kept = weight > 0
        if groups is not None:
            check_consistent_length(X, groups)
            groups = np.asarray(groups)[kept]
        self.classes_, labels = np.unique(y[kept], return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("At least two classes are wanted, and there is 1 class")
        rows = make_rows(X[kept], labels.astype(np.int64), weight[kept], groups)
        if isinstance(self.class_weight, str):
            rows = TrainingRows(rows.features, rows.labels, balance(rows.labels, rows.weight), rows.images)
        settings = {name: getattr(self, name) for name in hyper_parameters(self.head_name)}
        try:
            require_size(self.head_name, len(np.unique(rows.images)))
            head = make_head(self.head_name, settings)
            fault = find_fault(rows.features[:, None], head=self.head_name, scale=self.scale, file="X")
            if fault:
                raise fault
            self.probe_ = fit_scaled(head, rows, scale=self.scale, seed=self.seed())
        except FrozenprobeError as error:
            raise ValueError(str(error)) from error
        iterations = self.probe_.head.convergence.iterations
        if iterations is not None:
            self.n_iter_ = iterations
        return self

    def predict_proba(self, X: Any) -> Doubles:
        """`(n, D)` -> `(n, C)`, in the order of `classes_`."""
        check_is_fitted(self)
        rows: Floats = validate_data(self, X, reset=False, dtype=np.float32)
        return self.probe_.predict(rows[:, None])

    def decision_function(self, X: Any) -> Doubles:
        """Log-probabilities, `(n, C)`; of two classes the log-odds of the second, `(n,)`."""
        scores: Doubles = np.log(np.maximum(self.predict_proba(X), LEAST))
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The most probable label of each row, `(n,)`."""
        probabilities = self.predict_proba(X)
        labels: npt.NDArray[Any] = self.classes_[probabilities.argmax(axis=1)]
        return labels

    def weigh(self, X: Floats, y: npt.NDArray[Any], sample_weight: Any) -> Doubles:
        """`(n,)` weights: the given ones times those of a `class_weight` that names them."""
        weight: Doubles = _check_sample_weight(sample_weight, X, dtype=np.float64, copy=True)
        if (weight < 0).any() or not (weight > 0).any():
            raise ValueError("Sample weights from 0 on are wanted, and not all zero")
        if isinstance(self.class_weight, str):
            if self.class_weight != "balanced":
                raise ValueError(f"class_weight: None, 'balanced' or a dict, not {self.class_weight!r}")
        elif self.class_weight is not None:
            classes, labels = np.unique(y, return_inverse=True)
            weight *= compute_class_weight(self.class_weight, classes=classes, y=y)[labels]
        return weight

    def seed(self) -> int:
        """An integer `random_state` itself, else one drawn from it."""
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))


def make_rows(features: Floats, labels: Ints, weight: Doubles, groups: npt.NDArray[Any] | None) -> TrainingRows:
    """Rows with those of an image adjacent, and its weight shared among them.

    Without groups, equal rows of one label are one row with the sum of their weights, and the order is that of their
    bytes: then neither the order of the rows nor writing one twice in place of doubling its weight changes any bit.

    Raises:
        ValueError: an image with rows of two labels.
    """
    if groups is None:
        bytes_of_row = np.ascontiguousarray(features + np.float32(0)).view(f"V{4 * features.shape[1]}").ravel()
        content = np.unique(bytes_of_row, return_inverse=True)[1]
        pairs = content * (labels.max() + 1) + labels
        _, first, image = np.unique(pairs, return_index=True, return_inverse=True)
        total = np.bincount(image, weights=weight).astype(np.float64)
        return TrainingRows(features[first], labels[first], total, np.arange(len(first)))
    _, image, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(image, kind="stable")
    image, labels = image[order], labels[order]
    torn = (image[1:] == image[:-1]) & (labels[1:] != labels[:-1])
    if torn.any():
        raise ValueError(f"One label an image is wanted, and the rows of group {groups[order][1:][torn][0]!r} have two")
    return TrainingRows(features[order], labels, weight[order] / sizes[image], image)


def hyper_parameters(head: str) -> dict[str, Any]:
    """The hyper-parameters of a head with their defaults."""
    return {field.name: field.default for field in fields(head_class(head))}


@cache
def estimator_class(head: str) -> type[ProbeClassifier]:
    """The classifier of the head called `head`: its parameters are those of the head, and the shared ones."""
    shared = {"scale": HEADS[head].scale, "class_weight": None, "random_state": 0}
    defaults = hyper_parameters(head) | shared
    name = head.capitalize() + SUFFIX
    documentation = f"The head `{head}` as a scikit-learn classifier.\n\n{inspect.getdoc(head_class(head))}\n{SHARED}"
    namespace = {"__init__": constructor(defaults), "__doc__": documentation, "__module__": __name__, "head_name": head}
    return type(name, (ProbeClassifier,), namespace)


def constructor(defaults: dict[str, Any]) -> Callable[..., None]:
    """An `__init__` with these keyword arguments, that keeps them as they are given."""

    def __init__(self: ProbeClassifier, **given: Any) -> None:
        for name, default in defaults.items():
            setattr(self, name, given.pop(name, default))
        if given:
            raise TypeError(f"{type(self).__name__} has no parameter {', '.join(given)}; it has {', '.join(defaults)}")

    kind = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter(name, kind, default=default) for name, default in defaults.items()]
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    __init__.__signature__ = inspect.Signature([itself, *parameters])  # type: ignore[attr-defined]
    return __init__


NAMES = {head.capitalize() + SUFFIX: head for head in HEADS}


def __getattr__(name: str) -> Any:
    """The classifiers by name, each made when it is first asked for: some heads load torch."""
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return estimator_class(NAMES[name])
