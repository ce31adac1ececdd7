"""Kernel ridge regression on one row an image: ridge in a space of more features than can be written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frozenprobe.errors import FrozenprobeError, unknown_name
from frozenprobe.probe.arrays import Arrays, Doubles, Floats, softmax
from frozenprobe.probe.heads.head import Convergence, TrainingRows, require_positive
from frozenprobe.probe.heads.parts.inner_folds import Images
from frozenprobe.probe.heads.parts.leave_one_out import Smoother
from frozenprobe.probe.heads.parts.temperature import choose_by_loss, temperature_of_lead
from frozenprobe.probe.heads.registry import require_size
from frozenprobe.probe.heads.ridge import NOTHING

ALPHAS = (1e-8, 1e-7, 1e-6, *(10 ** (step / 2) for step in range(-10, 1)))  # from interpolation to shares, nearly
GAMMAS = (0.015, 0.06, 0.25, 1.0, 4.0)
CHOSEN_ON = 1200  # images at most for the choice of gamma, which needs a decomposition each
PREDICTED_ROWS = 1024  # rows predicted at once
KERNELS = ("rbf", "arccos")


@dataclass(frozen=True)
class KernelRidgeHead:
    """Ridge regression in the space of a kernel, on the mean row of every image; otherwise as `RidgeHead`.

    `rbf`: exp(-gamma |x - z|^2 / median), with the median of the squared distances between training images. `arccos`:
    |x| |z| (sin a + (pi - a) cos a) / pi with a the angle between x and z, which is what infinitely many random ReLU
    features give (Cho & Saul 2009; RanPAC, arXiv:2307.02251, draws them).

    The penalty is counted in the sum of all eigenvalues, so `alpha` means the same at any number and weights of images.
    Penalty, gamma and the temperature that makes scores probabilities come from the predictions of every image by a fit
    without it.

    Attributes:
        kernel: `rbf` or `arccos`.
        alpha: > 0; None: chosen.
        gamma: > 0, of rbf; None: chosen.
    """

    kernel: str = "rbf"
    alpha: float | None = None
    gamma: float | None = None

    def __post_init__(self) -> None:
        if self.kernel not in KERNELS:
            raise unknown_name("kernel", self.kernel, KERNELS, where="--kernel")
        require_positive(self.alpha, "--alpha")
        require_positive(self.gamma, "--gamma")
        if self.gamma is not None and self.kernel != "rbf":
            raise FrozenprobeError(
                "No gamma for a kernel without a width",
                found=str(self.gamma),
                where="--gamma",
                remedy="leave it out, or choose --kernel rbf",
            )

    def fit(self, rows: TrainingRows, *, seed: int) -> KernelRidge:
        """Solve; of more than 1200 images a sample drawn from the seed chooses gamma.

        Raises:
            FrozenprobeError: more images than one decomposition can take.
        """
        classes, points = rows.classes, image_means(rows.take(rows.weight > 0))
        count = len(points.labels)
        require_size("kernel", count)
        open_gammas = GAMMAS if self.kernel == "rbf" else (1.0,)
        gammas = open_gammas if self.gamma is None else (self.gamma,)
        alphas = ALPHAS if self.alpha is None else (self.alpha,)
        median = median_distance(points.features)
        kernels = [Kernel(self.kernel, gamma, median) for gamma in gammas]
        if len(kernels) > 1 and count > CHOSEN_ON:
            sample = np.sort(np.random.default_rng([seed, 6]).choice(count, CHOSEN_ON, replace=False))
            kernels = [best_of([solve(points.take(sample), classes, each, alphas) for each in kernels]).kernel]
        return best_of([solve(points, classes, each, alphas) for each in kernels])


@dataclass(frozen=True)
class Kernel:
    """A kernel with what it was fitted to.

    Attributes:
        name: `rbf` or `arccos`.
        gamma: of rbf.
        median: squared distance that gamma is counted in.
    """

    name: str
    gamma: float
    median: float

    def between(self, rows: Floats, others: Floats) -> Doubles:
        """`(n, m)` values for `(n, D)` and `(m, D)`, in float64."""
        left, right = rows.astype(np.float64), others.astype(np.float64)
        products = left @ right.T
        lengths, widths = np.square(left).sum(axis=1)[:, None], np.square(right).sum(axis=1)
        if self.name == "rbf":
            away = np.maximum(lengths + widths - 2 * products, 0)
            near: Doubles = np.exp(-self.gamma / self.median * away)
            return near
        sizes = np.sqrt(lengths * widths)
        cosine = np.clip(products / np.where(sizes > 0, sizes, 1), -1, 1)
        angle = np.arccos(cosine)
        values: Doubles = sizes * (np.sin(angle) + (np.pi - angle) * cosine) / np.pi
        return values


@dataclass(frozen=True)
class KernelRidge:
    """softmax(k(x, points) A + b).

    Attributes:
        kernel: k.
        points: `(N, D)` the training images' mean rows.
        coefficients: A, `(N, C)`.
        intercepts: b, `(C,)`.
        chosen: hyper-parameters that the head chose by itself.
        loss: log-loss on images left out; NaN where none could tell.
        convergence: a closed form has none.
    """

    kernel: Kernel
    points: Floats
    coefficients: Doubles
    intercepts: Doubles
    chosen: dict[str, float]
    loss: float
    convergence: Convergence = Convergence()

    def probabilities(self, rows: Floats) -> Doubles:
        """Class probabilities, `(n, C)`."""
        scores = np.empty((len(rows), len(self.intercepts)))
        for start in range(0, len(rows), PREDICTED_ROWS):
            block = slice(start, start + PREDICTED_ROWS)
            scores[block] = self.kernel.between(rows[block], self.points) @ self.coefficients + self.intercepts
        return softmax(scores)

    def arrays(self) -> Arrays:
        """Everything that `probabilities` uses; the kernel by its place in `KERNELS`."""
        return {
            "points": self.points,
            "coefficients": self.coefficients,
            "intercepts": self.intercepts,
            "kernel": np.array(KERNELS.index(self.kernel.name)),
            "gamma": np.array(self.kernel.gamma),
            "median": np.array(self.kernel.median),
        }


def solve(points: TrainingRows, classes: int, kernel: Kernel, alphas: Sequence[float]) -> KernelRidge:
    """The least squares in the space of a kernel, with the best of some penalties.

    With q = w / sum w, s = sqrt(w) and K the kernel's matrix, that of the points around their mean is
        G = (I - 1 q^T) K (I - q 1^T)        diag(s) G diag(s) = Q diag(l) Q^T        B = Q diag(sqrt l)
    x is predicted as p + k_G(x) a with a = s Q diag(1 / (l + t)) Q^T s (Y - p). Since B^T s = 0 the columns of a sum
    to 0, so what centring subtracts from all of k_G(x) alike has no effect, and with m = K q
        p + k_G(x) a = k(x) a + (p - m^T a)
    """
    share = points.weight / points.weight.sum()
    root = np.sqrt(points.weight)
    matrix = kernel.between(points.features, points.features)
    mean = matrix @ share
    matrix += share @ mean - mean - mean[:, None]
    values, turn = np.linalg.eigh(matrix * root * root[:, None])
    kept = values > NOTHING * max(values[-1], 0.0)
    values, basis = values[kept], turn[:, kept] * np.sqrt(values[kept])
    unit = float(values.sum()) or 1.0
    smoother = Smoother(basis, values, points.weight)
    images = Images.of(points)
    left_out, known = smoother.leave_out(images, classes, [alpha * unit for alpha in alphas]), ~images.alone()
    choice = choose_by_loss(left_out, points.labels, points.weight * known, unknown=images.repeated(known))
    alpha = alphas[choice.index]
    shares, projected = smoother.project(points.labels, classes)
    dual = root[:, None] * (basis / values) @ (projected / (values + alpha * unit)[:, None])
    temperature = choice.temperature
    if not choice.told:
        temperature = temperature_of_lead(matrix @ dual + shares, points.labels, points.weight)
    chosen = {"alpha": alpha, "temperature": temperature}
    return KernelRidge(
        kernel,
        points.features,
        dual / temperature,
        (shares - mean @ dual) / temperature,
        chosen | ({"gamma": kernel.gamma} if kernel.name == "rbf" else {}),
        choice.loss,
    )


def best_of(fits: Sequence[KernelRidge]) -> KernelRidge:
    """The fit with the lowest loss on images left out; the middle one where none could tell."""
    told = [fit for fit in fits if fit.loss == fit.loss]
    return min(told, key=lambda fit: fit.loss) if told else fits[len(fits) // 2]


def image_means(rows: TrainingRows) -> TrainingRows:
    """One row an image: the weighted mean of its rows, with their weight."""
    images = Images.of(rows)
    sums = np.zeros((len(images.first), rows.features.shape[1]))
    np.add.at(sums, images.index, rows.features * rows.weight[:, None])
    means = (sums / images.weight[:, None]).astype(np.float32)
    return TrainingRows(means, images.labels, images.weight, np.arange(len(images.first)), images.clusters)


def median_distance(points: Floats) -> float:
    """Median squared distance between two different points of the first few thousand; 1 where there are none."""
    some = points[:2000].astype(np.float64)
    lengths = np.square(some).sum(axis=1)
    away = (lengths[:, None] + lengths - 2 * some @ some.T)[np.triu_indices(len(some), k=1)]
    away = away[away > NOTHING * max(lengths.max(initial=0.0), 1e-300)]
    return float(np.median(away)) if len(away) else 1.0
