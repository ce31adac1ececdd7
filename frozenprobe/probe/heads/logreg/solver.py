"""L2-regularised multinomial logistic regression: many problems on one resident matrix, each with a certificate.

A problem has row weights w_i >= 0 (0: a held-out row) and a c, and minimises over W (C x D) and b (C)

    F(W, b) = c sum_i w_i loss_i + |W|^2 / 2,      loss_i = log sum_j exp(z_ij) - z_iy,      z_i = W x_i + b

which is scikit-learn's objective. Two classes have one row, the second one's score against the first.

L-BFGS (Nocedal 1980) runs on all rows around an initial inverse Hessian, and what that is depends on the shape:
    few classes, one view: a multiple of the identity, or where there are many more images than features the inverse of
        the Kronecker product that comes nearest to the Hessian, made anew every few steps (of two classes, whose steps
        are cheap, only if many have not been enough);
    else: the Hessian of the problem on the *mean* view of every image, applied by conjugate gradients. The views of an
        image are nearly equal, so that problem, with a V-th of the rows, is nearly the same one; it is solved first,
        roughly. 5 to 20 evaluations on all rows are left then, where plain L-BFGS needs hundreds.
Along a path of c each solution starts at the one before, moved by what the solution on mean views moved.

A problem is a sequence of requests (evaluate here; multiply the Hessian by this); requests of one kind of all problems
are answered by one matrix product. Products are float32, until rounding keeps a problem from its tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from frozenprobe.probe.arrays import Doubles, Floats
from frozenprobe.probe.heads.logreg.metric import scale_intercepts
from frozenprobe.probe.heads.logreg.problems import LogisticProblems, dot
from frozenprobe.probe.heads.logreg.sums import Operand
from frozenprobe.system.threads import in_threads, one_blas_thread

PAIRS = 30  # steps that L-BFGS remembers; on mean views fewer, where vector operations cost as much as products
MEAN_PAIRS = 10
MEAN_STEPS = 100
MEAN_GRADIENT = 1e-1  # relative to sqrt(F): where the solution on mean views is near enough to start from
CG_STEPS = 60
CG_RESIDUAL = 1e-1  # squared, relative
ARMIJO = 1e-4
NOISE = {"mean": 1e-6, "full": 1e-6, "exact": 1e-14}  # relative differences of F that rounding can bring about
HALVINGS = 20
MANY = 16  # classes, from which on exponentials make an evaluation dearer than a product with the Hessian
LATE = 24  # steps of two classes that cost less than one Hessian; most problems need no more
SPAN = 4  # features an image, from which on few classes are solved in the span of the images, too
PATIENCE = {"full": 20, "exact": 400}  # evaluations in which the gap was not even halved, until it is given up
NEAR = 2  # times the gap that is enough: a bound of a gap that is farther away is not worth its products


@dataclass(frozen=True)
class Solution:
    """What was reached, and how near it is to the optimum.

    Any P' with rows in the simplex and sum_i a_i (Y_i - P'_i) = 0 bounds the optimum from below (Fenchel), by
        F - F* <= |W - sum_i a_i (Y_i - P'_i) x_i^T|^2 / 2 + sum_i a_i KL(P'_i | P_i),        a = c w
    With P' = P - B s, where B_i = diag(p_i) - p_i p_i^T and s = H_bb^-1 g_b is what the intercepts lack, this is
        F - F* <= |g_W - H_Wb s|^2 / 2 + (1 + max s - min s) g_b s / 2        as long as max s - min s <= 1.
    As F is 1-strongly convex in W,  |W - W*|^2 / 2 <= F - F*. The p_i in B are those of
    an image's mean view, all its views moved alike (their KL is taken to be no more than twice its). Of g, rounding may
    have changed `LogisticProblems.rounding`, which is added to its norm.

    Attributes:
        coefficients: W, `(c, D)`, a row for each class that has weight; of two classes one, of the second.
        intercepts: b, `(c,)`.
        objective: F.
        gradient_norm: Euclidean norm of the gradient of F, the features centred.
        gap: upper bound of F - F*.
        evaluations: of F on all rows.
        converged: whether the gap came down to `tol * F`.
        stuck: whether it did not, with evaluations left.
    """

    coefficients: Doubles
    intercepts: Doubles
    objective: float
    gradient_norm: float
    gap: float
    evaluations: int
    converged: bool
    stuck: bool


def solve_logistic(
    problems: LogisticProblems, cs: Sequence[Sequence[float]], *, tol: float = 1e-5, max_evaluations: int = 500
) -> list[list[Solution]]:
    """Solve every problem for each of its c, all problems side by side.

    Args:
        problems: what is to be solved, on shared rows.
        cs: for each problem its values of c > 0, best ascending: each starts at the solution before.
        tol: bound of (F - F*) / F at which to stop.
        max_evaluations: of F on all rows, for each c, before giving up.

    Returns:
        for each problem a solution for each of its c.
    """
    paths = [follow(problems, number, path, tol, max_evaluations) for number, path in enumerate(cs)]
    with one_blas_thread():
        return side_by_side(paths, problems)


@dataclass(frozen=True)
class Request:
    """What a problem wants to know: `full`, `exact` and `mean` evaluate, the others are of the mean-view Hessian."""

    kind: str
    operand: Operand


Step = Generator[Request, Any, Any]


def side_by_side(paths: Sequence[Step], problems: LogisticProblems) -> list[Any]:
    """Run generators of requests to their ends, answering the requests of one kind together, the cheap kinds first."""
    kinds = problems.kinds
    ranks = {kind: rank for rank, kind in enumerate(kinds)}
    results: list[Any] = [None] * len(paths)
    waiting: dict[int, Request] = {}

    def advance(number: int, product: Any) -> None:
        try:
            waiting[number] = paths[number].send(product)
        except StopIteration as stop:
            waiting.pop(number, None)
            results[number] = stop.value

    in_threads(lambda number: advance(number, None), range(len(paths)))
    while waiting:
        kind = min((request.kind for request in waiting.values()), key=ranks.__getitem__)
        numbers = [number for number, request in waiting.items() if request.kind == kind]
        found = kinds[kind]([waiting[number].operand for number in numbers])
        in_threads(lambda each: advance(*each), list(zip(numbers, found, strict=True)))
    return results


def follow(problems: LogisticProblems, problem: int, path: Sequence[float], tol: float, most: int) -> Step:
    """One problem along its path of c, each with `most` evaluations on all rows; returns its solutions."""
    mean = point = problems.start(problem)
    simple, on_all = inverses(problems, problem)
    rough = problems.mean is not problems.full or on_all is not simple
    solutions = []
    for c in path:
        if rough:
            before = mean
            mean = yield from descend_on_means(Operand(problem, c, mean), simple)
            point = point + (mean - before)
        solution = yield from solve(problems, Operand(problem, c, point), tol, most, (on_all, simple))
        point = np.column_stack([solution.coefficients, solution.intercepts]).astype(np.float32)
        away = solution.coefficients @ problems.centres[problem].astype(np.float64)
        solutions.append(replace(solution, intercepts=solution.intercepts - away))
    return solutions


def solve(problems: LogisticProblems, start: Operand, tol: float, most: int, inverses: tuple[Inverse, Inverse]) -> Step:
    """The solution (of centred features): in float32, and on from there in float64 if that gets stuck.

    There the second inverse takes over: at a large c, where no image pulls any more, the Hessian of mean views says
    little about the next step, and conjugate gradients in float32 cannot invert it.
    """
    state = yield from descend(problems, "full", start, tol, most, inverses[0])
    if not state.gap <= tol * state.objective and state.evaluations < most:
        before = state.evaluations
        on = replace(start, at=state.point.astype(np.float64))
        state = yield from descend(problems, "exact", on, tol, most - before, inverses[1])
        state = replace(state, evaluations=state.evaluations + before)
    converged = state.gap <= tol * state.objective
    gap = state.gap
    if not converged:  # it may be a guess
        gap, _ = yield from bound_gap(problems, replace(start, at=state.point), state, float("inf"))
    norm = dot(state.gradient, state.gradient) ** 0.5
    point = state.point.astype(np.float64)
    stuck = not converged and state.evaluations < most
    return Solution(point[:, :-1], point[:, -1], state.objective, norm, gap, state.evaluations, converged, stuck)


def descend_on_means(start: Operand, invert: Inverse) -> Step:
    """L-BFGS on the mean views, until near enough to start from; returns the point."""
    memory, at = StepMemory(MEAN_PAIRS), start
    objective, gradient = yield Request("mean", at)
    for steps in range(MEAN_STEPS):
        if dot(gradient, gradient) <= MEAN_GRADIENT**2 * objective:
            break
        direction = yield from memory.turn(gradient, at, invert, steps)
        moved = yield from search("mean", at, objective, gradient, -direction)
        if moved is None:
            break
        memory.add(moved.point - at.at, moved.gradient - gradient)
        at, objective, gradient = replace(at, at=moved.point), moved.objective, moved.gradient
    return at.at


def descend(problems: LogisticProblems, kind: str, start: Operand, tol: float, most: int, invert: Inverse) -> Step:
    """L-BFGS on all rows around an initial inverse Hessian, until certified or stuck; returns its last `State`."""
    memory, at, steps, length = StepMemory(PAIRS), start, 0, 1.0
    objective, gradient = yield Request(kind, start)
    state = State(start.at, objective, gradient, 1, float("inf"))
    best, since = float("inf"), 0
    while True:
        gap, blurred = yield from bound_gap(problems, at, state, tol * state.objective)
        state = replace(state, gap=gap)
        if gap < best / 2:
            best, since = gap, state.evaluations
        patience = state.evaluations - since >= PATIENCE[kind]
        if gap <= tol * state.objective or blurred or patience or state.evaluations >= most:
            return state
        direction = yield from memory.turn(state.gradient, at, invert, steps)
        moved = yield from search(kind, at, state.objective, state.gradient, -direction, length)
        if moved is None:
            return state
        length = moved.length if moved.evaluations > 1 else min(1.0, 2 * moved.length)
        memory.add(moved.point - state.point, moved.gradient - state.gradient)
        evaluations = state.evaluations + moved.evaluations
        state = State(moved.point, moved.objective, moved.gradient, evaluations, float("inf"))
        at, steps = replace(at, at=moved.point), steps + 1


def bound_gap(problems: LogisticProblems, at: Operand, state: State, enough: float) -> Step:
    """Upper bound of F - F*: see `Solution`; a mere guess where it is far above what is enough.

    Returns:
        the bound, and whether it would be small enough were it not for rounding.
    """
    gradient = state.gradient
    guess = dot(gradient[:, :-1], gradient[:, :-1]) / 2
    if guess > NEAR * enough:
        return guess, False
    curvature, _ = yield Request("bend", at)
    shift = np.zeros(gradient.shape, dtype=np.float32)
    shift[:, -1] = solve_intercepts(curvature, gradient[:, -1].astype(np.float64))
    spread = float(np.ptp(np.append(shift[:, -1], 0.0)))  # of two classes the first one's is 0
    if not spread <= 1:
        return float("inf"), False
    left = gradient - (yield Request("multiply", replace(at, at=shift)))
    slack = (1 + spread) * max(dot(gradient[:, -1], shift[:, -1]), 0.0) / 2
    slack *= 1 if problems.mean is problems.full else 2
    norm = dot(left[:, :-1], left[:, :-1]) ** 0.5
    rounding = problems.rounding(at, state.objective)
    bound = (norm + rounding) ** 2 / 2 + slack
    return bound, bound > enough >= norm**2 / 2 + slack


def solve_intercepts(curvature: Doubles, slope: Doubles) -> Doubles:
    """s with H_bb s = g_b, 0 for the class that curves most: the scores are only known up to a shift."""
    size = np.sqrt(np.maximum(np.diag(curvature), 1e-300))
    shift: Doubles = np.zeros(len(slope))
    rest = np.arange(len(slope)) != np.argmax(size) if len(slope) > 1 else np.array([True])
    scaled = (curvature / np.outer(size, size))[np.ix_(rest, rest)] + 1e-12 * np.eye(rest.sum())
    shift[rest] = np.linalg.solve(scaled, (slope / size)[rest]) / size[rest]
    return shift


# The initial inverse Hessians


Inverse = Callable[[Operand, Floats, "StepMemory", int], Step]  # (point, vector, memory, steps so far) -> H^-1 vector


def inverses(problems: LogisticProblems, problem: int) -> tuple[Inverse, Inverse]:
    """Those that cost least here: far from the optimum on mean views, and on all rows.

    With one view and few classes the second is the first: a product with a Hessian costs as much as an evaluation then.
    """
    images, dim = problems.mean.features.shape
    classes = len(problems.classes[problem])
    renewal = problems.renewal(problem, images)
    simple = by_identity if renewal is None else by_metric(0 if classes > 2 else LATE, renewal)
    short = classes > 2 and SPAN * images <= dim
    if problems.mean is problems.full and classes < MANY and not short:
        return simple, simple
    return simple, by_mean_views(solve_in_dual if problems.dual else solve_on_means)


def by_identity(at: Operand, vector: Floats, memory: StepMemory, steps: int) -> Step:
    """A multiple of the identity."""
    yield from ()
    return memory.scaled(vector)


def by_metric(first: int, renewal: int) -> Inverse:
    """That of a Kronecker product, first made after so many steps by the identity, and anew after so many more."""

    def invert(at: Operand, vector: Floats, memory: StepMemory, steps: int) -> Step:
        if steps < first:
            return memory.scaled(vector)
        if (steps - first) % renewal == 0:
            yield Request("weigh", at)
        return (yield Request("scale", replace(at, at=vector)))

    return invert


def by_mean_views(solve: Callable[[int, Floats, float], Step]) -> Inverse:
    """That of the mean-view problem at each point."""

    def invert(at: Operand, vector: Floats, memory: StepMemory, steps: int) -> Step:
        _, ridge = yield Request("bend", at)
        return (yield from solve(at.problem, vector.astype(np.float32, copy=False), ridge))

    return invert


def solve_on_means(problem: int, target: Floats, ridge: float) -> Step:
    """The inverse of the mean-view Hessian times the target, by conjugate gradients.

    In the variables of `scale_intercepts`: where images are nearly certain the intercepts' curvature is far below 1,
    and rounding would lead their part of the search astray.
    """
    residual = scale_intercepts(target, ridge)
    solution, direction, size = np.zeros_like(target), residual, dot(residual, residual)
    enough = CG_RESIDUAL * size
    for _ in range(CG_STEPS):
        product = yield Request("multiply", Operand(problem, 1.0, scale_intercepts(direction, ridge)))
        product = scale_intercepts(product, ridge)
        step = size / dot(direction, product)
        solution += step * direction
        residual = residual - step * product
        before, size = size, dot(residual, residual)
        if size <= enough:
            break
        direction = residual + size / before * direction
    return scale_intercepts(solution, ridge)


def solve_in_dual(problem: int, target: Floats, ridge: float) -> Step:
    """The same conjugate gradients in the span of the mean views.

    In Krylov's space of H = I + M^T B M every vector is v = g t + M^T b with the target t, so it is kept as g and b,
    with u = M v beside them (the intercepts as in `LogisticProblems.project`):
        H v = (g, b + B u)      M H v = u + M M^T B u      <v, w> = g_v (g_w |t|^2 + <M t, b_w>) + <b_v, u_w>
    """
    target = scale_intercepts(target, ridge)
    image = yield Request("project", Operand(problem, 1.0, target))
    square = dot(target, target)

    def inner(one: Dual, other: Dual) -> float:
        return one.share * (other.share * square + dot(image, other.span)) + dot(one.span, other.image)

    solution, residual = Dual(0.0, np.zeros_like(image), np.zeros_like(image)), Dual(1.0, np.zeros_like(image), image)
    direction, size = residual, square
    enough = CG_RESIDUAL * size
    for _ in range(CG_STEPS):
        bent, product = yield Request("kernel", Operand(problem, 1.0, direction.image))
        step = size / (inner(direction, direction) + dot(direction.image, bent))
        solution = solution.plus(step, direction)
        residual = residual.plus(-step, Dual(direction.share, direction.span + bent, direction.image + product))
        before, size = size, inner(residual, residual)
        if size <= enough:
            break
        direction = residual.plus(size / before, direction)
    lifted = yield Request("lift", Operand(problem, 1.0, solution.span))
    return scale_intercepts(solution.share * target + lifted, ridge)


@dataclass
class StepMemory:
    """The memory of L-BFGS (Nocedal 1980): the last steps, around any initial inverse Hessian.

    With the steps as rows of S and how the gradient changed along them of Y, both scaled so that step . change = 1, and
    R the part of S Y^T where no step is younger than the change, its two loops are
        v = g - Y^T a,  R a = S g                H g = H_0 v + S^T b,  R^T b = a - Y H_0 v

    Attributes:
        most: steps that are remembered; the next one takes the oldest one's row.
        count: steps so far.
        steps: S.
        changes: Y.
        inverse: of R, which is triangular: a new step adds a column, and the oldest one leaves with its row.
    """

    most: int
    count: int = 0
    steps: Floats = field(init=False)
    changes: Floats = field(init=False)
    inverse: Doubles = field(init=False)

    def add(self, step: Floats, change: Floats) -> None:
        """Remember a step, unless rounding has eaten the curvature along it."""
        product = dot(step, change)
        if not product > 1e-12 * dot(change, change):
            return
        if not self.count:
            self.steps, self.changes = (np.zeros((self.most, step.size), dtype=step.dtype) for _ in range(2))
            self.inverse = np.zeros((self.most, self.most))
        row = self.count % self.most
        self.count += 1
        np.multiply(step.ravel(), product**-0.5, out=self.steps[row])
        np.multiply(change.ravel(), product**-0.5, out=self.changes[row])
        steps, _, inverse = self.known()
        inverse[row] = inverse[:, row] = 0
        inverse[:, row] = -inverse @ (steps @ self.changes[row])
        inverse[row, row] = 1

    def known(self) -> tuple[Floats, Floats, Doubles]:
        """S, Y and the inverse of R, as far as they are filled."""
        rows = slice(min(self.count, self.most))
        return self.steps[rows], self.changes[rows], self.inverse[rows, rows]

    def scaled(self, vector: Floats) -> Floats:
        """The usual initial inverse Hessian: a multiple of the identity."""
        if not self.count:
            factor = 1 / max(1.0, dot(vector, vector) ** 0.5)
        else:
            last = self.changes[(self.count - 1) % self.most]
            factor = 1 / dot(last, last)
        scaled: Floats = vector * factor
        return scaled

    def turn(self, gradient: Floats, at: Operand, invert: Inverse, steps: int) -> Step:
        """The inverse Hessian times the gradient."""
        vector, factors = self.outer(gradient)
        return self.inner(factors, (yield from invert(at, vector, self, steps)))

    def outer(self, gradient: Floats) -> tuple[Floats, Doubles]:
        """v and a."""
        if not self.count:
            return gradient, np.zeros(0)
        steps, changes, inverse = self.known()
        factors = inverse @ (steps @ gradient.ravel())
        return gradient - (factors.astype(changes.dtype) @ changes).reshape(gradient.shape), factors

    def inner(self, factors: Doubles, vector: Floats) -> Floats:
        """H g, of H_0 v."""
        if not self.count:
            return vector
        steps, changes, inverse = self.known()
        factors = inverse.T @ (factors - changes @ vector.ravel())
        return vector + (factors.astype(steps.dtype) @ steps).reshape(vector.shape)


@dataclass(frozen=True)
class Dual:
    """v = share t + M^T span, and its image M v; `(C, n)` arrays."""

    share: float
    span: Floats
    image: Floats

    def plus(self, step: float, other: Dual) -> Dual:
        """self + step * other."""
        return Dual(self.share + step * other.share, self.span + step * other.span, self.image + step * other.image)


@dataclass(frozen=True)
class State:
    """Where a descent is.

    Attributes:
        point: `(C, D + 1)`.
        objective: F there.
        gradient: of F there.
        evaluations: so far.
        gap: bound of F - F*, or a guess where it is far from the tolerance.
    """

    point: Floats
    objective: float
    gradient: Floats
    evaluations: int
    gap: float


@dataclass(frozen=True)
class Moved:
    """Where a line search ended."""

    point: Floats
    objective: float
    gradient: Floats
    length: float
    evaluations: int


def search(
    kind: str, start: Operand, objective: float, gradient: Floats, direction: Floats, length: float = 1.0
) -> Step:
    """Shorten the step until F falls enough (Armijo), or its slope where float32 cannot tell F; None: no such step."""
    slope = dot(gradient, direction)
    if slope >= 0:
        return None
    for evaluations in range(1, HALVINGS + 1):
        point = start.at + length * direction
        value, there = yield Request(kind, Operand(start.problem, start.c, point))
        rise = value - objective
        flat = rise <= NOISE[kind] * objective and abs(dot(there, direction)) <= abs(slope)
        if rise <= ARMIJO * length * slope or flat:
            return Moved(point, value, there, length, evaluations)
        # where the parabola through F, F' and F(length) is lowest
        parabola = -slope * length / (2 * (rise - slope * length))
        length *= min(max(parabola, 0.1), 0.5)
    return None
