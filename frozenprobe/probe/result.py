"""What a probe found: predictions and scores, of one task and of a whole cross-validation; and as tables of pandas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from frozenprobe.probe.arrays import Arrays, Doubles, Ints
from frozenprobe.probe.folds.deal import NEVER
from frozenprobe.probe.heads.head import Convergence
from frozenprobe.probe.options import ProbeOptions
from frozenprobe.probe.stats import metrics

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class FoldScore:
    """One fold's numbers on its scored images.

    Attributes:
        seconds: an equal share of what all fits took, the final one among them: they are fitted together.
        description: what predicted, where it was chosen inside the training folds.
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
class Halved:
    """What the head predicts of some images with half of its training images, and with all of them.

    Attributes:
        images: `(h,)` that are predicted, out of fold.
        fewer: `(h, C)` probabilities with half of the training images.
        more: `(h, C)` with all; of a blend its largest member's.
        times: how many times the training images; 1 where no class has two clusters to halve.
    """

    images: Ints
    fewer: Doubles
    more: Doubles
    times: float

    @staticmethod
    def nothing(classes: int) -> Halved:
        """Where there is nothing to halve."""
        return Halved(np.zeros(0, dtype=np.int64), np.zeros((0, classes)), np.zeros((0, classes)), 1.0)


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
    counted: float = 0.0
    uncalibrated: Doubles | None = None
    halved: Halved | None = None
    finer: Doubles | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ProbeResult(Outcome):
    """What a probe found.

    Attributes:
        options: as asked for, and what was left open as it was settled.
        class_names: C names.
        ids: of the N training images.
        labels: `(N,)`.
        folds: `(N,)`; -1: trained on in every fold, never held out.
        clusters: `(N,)` images that belong together.
        scored: `(N,)` bool; False for images of fold -1, and of classes that some fold would never have seen.
        oof: `(N, C)` out-of-fold probabilities; NaN for images of fold -1.
        test_ids: of the M test images; empty without a test set.
        test: `(M, C)` probabilities of the head refitted on all training images.
        test_usable: `(M,)` bool; False: a bad image, predicted by the class shares.
        fold_scores: a row a fold.
        refit: convergence of the final fit.
        optimistic: the report's own score: the best epoch of each fold chosen on that fold; None for other heads.
        model: final head and scaling as plain arrays, which make `test`; of R repeats those of each, whose mean
            prediction it is, by names that begin with `repeat0_`, `repeat1_` ..., and R as `repeats`.
        notes: what the user should know.
        chosen: the final blend in words; empty where nothing was chosen.
        candidates: what was tried, best first; empty where nothing was chosen.
        skipped: what did not fit into the budget, or cannot take so many images.
        counted: seconds of work on two slow cores that `auto` was counted to take.
        uncalibrated: `(N, C)` out-of-fold probabilities before the temperature; None where none was fitted.
        halved: what half of the training images would do; None: not measured (features that are streamed).
        finer: `(N, C)` probabilities of the final blend out of `DEFAULT_FOLDS` folds, among the classes of each fold,
            that it was chosen on; None where `folds` leave enough images to choose it.
        repeats: the cross-validations that were joined, this one first; empty if it stands alone.
    """

    options: ProbeOptions
    class_names: tuple[str, ...]
    ids: tuple[str, ...]
    labels: Ints
    folds: Ints
    clusters: Ints
    scored: npt.NDArray[np.bool_]
    test_ids: tuple[str, ...]
    test_usable: npt.NDArray[np.bool_]
    repeats: tuple[ProbeResult, ...] = ()

    def scored_predictions(self) -> ScoredPredictions:
        """The scored images with their predictions, those of all repeats below each other."""
        every = self.repeats or (self,)
        uncalibrated = [one.uncalibrated[one.scored] for one in every if one.uncalibrated is not None]
        return ScoredPredictions(
            np.concatenate([one.oof[one.scored] for one in every]),
            np.concatenate([one.labels[one.scored] for one in every]),
            np.concatenate([one.clusters[one.scored] for one in every]),
            np.concatenate(uncalibrated) if uncalibrated else None,
        )

    def confusion(self) -> npt.NDArray[np.int64]:
        """`(C, C)` counts of the scored images, of all repeats: row the true class, column the predicted one."""
        scored = self.scored_predictions()
        return metrics.confusion(scored.oof.argmax(axis=1), scored.labels, len(self.class_names))

    def columns(self) -> dict[str, Sequence[Any] | npt.NDArray[Any]]:
        """The out-of-fold predictions as columns of N cells: of the table `oof.csv` and of `to_frame`.

        `probability` is that of the predicted class, `fold` counts from 1. Of images of fold -1 nothing is predicted.
        """
        predicted, image, names = self.oof.argmax(axis=1), np.arange(len(self.ids)), np.array(self.class_names)
        held = self.folds != NEVER
        return {
            "id": self.ids,
            "label": names[self.labels],
            "predicted": np.where(held, names[predicted], ""),
            "probability": self.oof[image, predicted],
            "probability_of_label": self.oof[image, self.labels],
            "fold": np.where(held, self.folds + 1, NEVER),
            "scored": self.scored,
        }

    def to_frame(self) -> pd.DataFrame:
        """The out-of-fold predictions (of the first repeat), a row a training image with its id as the index."""
        import pandas as pd

        return pd.DataFrame(self.columns()).set_index("id")

    def class_frame(self) -> pd.DataFrame:
        """Precision, recall, F1 and scored images (of all repeats), a row a class with its name as the index."""
        import pandas as pd

        index = pd.Index(self.class_names, name="class")
        return pd.DataFrame(metrics.class_table(self.confusion()), index=index).astype({"images": int})

    def candidate_frame(self) -> pd.DataFrame:
        """What was tried, a row a candidate, best first; no row where nothing was chosen."""
        import pandas as pd

        columns = [each.name for each in fields(CandidateScore)]
        return pd.DataFrame([asdict(each) for each in self.candidates], columns=columns)


@dataclass(frozen=True)
class ScoredPredictions:
    """What is scored: `(n, C)` probabilities, `(n,)` labels and clusters, the probabilities before calibration."""

    oof: Doubles
    labels: Ints
    clusters: Ints
    uncalibrated: Doubles | None
