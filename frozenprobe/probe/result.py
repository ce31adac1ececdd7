"""What a probe found: predictions and scores, of one task and of a whole cross-validation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from frozenprobe.probe.arrays import Arrays, Doubles, Ints
from frozenprobe.probe.heads.head import Convergence
from frozenprobe.probe.options import ProbeOptions


@dataclass(frozen=True)
class FoldScore:
    """One fold's numbers on its scored images.

    Attributes:
        seconds: an equal share of what all fits took, the final one among them: they are fitted together.
        description: what answered, where it was chosen inside the training folds.
        repeat: of the whole cross-validation.
    """

    fold: int
    images: int
    accuracy: float
    log_loss: float
    macro_f1: float
    seconds: float
    convergence: Convergence
    description: str = ""
    repeat: int = 0


@dataclass(frozen=True)
class CandidateScore:
    """What a candidate scored out of fold, at the temperature that suits it there, and its share of the final blend."""

    description: str
    family: str
    accuracy: float
    log_loss: float
    share: float


@dataclass(frozen=True)
class Outcome:
    """The part of a `ProbeResult` that heads decide; see there."""

    oof: Doubles
    test: Doubles
    fold_scores: tuple[FoldScore, ...]
    refit: Convergence
    optimistic: float | None
    model: Arrays
    chosen: str = ""
    candidates: tuple[CandidateScore, ...] = ()
    skipped: tuple[str, ...] = ()
    uncalibrated: Doubles | None = None
    notes: tuple[str, ...] = ()


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
        model: final head and scaling as plain arrays, which make `test`; of R repeats those of each, whose mean
            prediction it is, by names that begin with `repeat0_`, `repeat1_` ..., and R as `repeats`.
        notes: what the user should know.
        chosen: the final blend in words; empty where nothing was chosen.
        candidates: what was tried, best first; empty where nothing was chosen.
        skipped: what did not fit into the budget.
        uncalibrated: `(N, C)` out-of-fold probabilities before the temperature; None where none was fitted.
        repeats: the cross-validations that were joined, this one first; empty if it stands alone.
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
    chosen: str = ""
    candidates: tuple[CandidateScore, ...] = ()
    skipped: tuple[str, ...] = ()
    uncalibrated: Doubles | None = None
    repeats: tuple[ProbeResult, ...] = ()

    def scored_predictions(self) -> ScoredPredictions:
        """The scored images with their answers, those of all repeats below each other."""
        every = self.repeats or (self,)
        uncalibrated = [one.uncalibrated[one.scored] for one in every if one.uncalibrated is not None]
        return ScoredPredictions(
            np.concatenate([one.oof[one.scored] for one in every]),
            np.concatenate([one.labels[one.scored] for one in every]),
            np.concatenate([one.clusters[one.scored] for one in every]),
            np.concatenate(uncalibrated) if uncalibrated else None,
        )


@dataclass(frozen=True)
class ScoredPredictions:
    """Answers that are scored: `(n, C)` probabilities, `(n,)` labels and clusters, probabilities before calibration."""

    oof: Doubles
    labels: Ints
    clusters: Ints
    uncalibrated: Doubles | None
