"""How often what a probe promises holds: intervals that cover the final head's scores, and forecasts that come true.

    python benchmarks/bench_coverage.py final                        # minutes; a table of coverages
    python benchmarks/bench_coverage.py final --heads auto --simulations 200
    python benchmarks/bench_coverage.py forecast
    python benchmarks/bench_coverage.py groups

`final` draws a training set again and again, probes it, and looks whether the 95 % interval that is printed for the
final head holds its accuracy (and its log-loss) on thousands of new images. Beside it stands what the interval of the
out-of-fold accuracy alone would cover: it is that of heads with fewer images. Training sets are made (classes around
means, a few directions that tell them apart badly) or drawn from scikit-learn's handwritten digits, pixels as they are.
Images are independent; or come in bursts, five shots of one scene a class; or from sites, each with a shift of its own
that all classes share, whose new images come from new sites.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from joblib import Parallel, delayed
from made_features import written
from sklearn.datasets import load_digits

import frozenprobe as fp
from frozenprobe.probe.report.summary import summarise
from frozenprobe.probe.stats.metrics import accuracy, log_loss

CLASSES, DIM, UNSEEN = 20, 48, 4000
SEPARATIONS = (0.22, 0.3, 0.4, 0.55)  # of the classes' means, in standard deviations of a feature: easy and hard sets
HEADS = {
    "cosine": {},
    "knn": {"k": 1, "temperature": 0.05},
    "lda": {"shrinkage": 0.3},
    "ridge": {"alpha": 0.3},
    "logreg": {"c": 1.0, "tol": 1e-3},
    "auto": {},
}


@dataclass(frozen=True)
class Drawn:
    """A training set, and new images like its own."""

    vectors: np.ndarray
    labels: np.ndarray
    groups: tuple[str, ...] | None
    unseen: np.ndarray
    unseen_labels: np.ndarray


def made(per_class: int, kind: str, seed: int) -> Drawn:
    """Gaussian classes; `kind` is independent, bursts, or `N sites`."""
    rng = np.random.default_rng([seed, per_class, len(kind)])
    means = rng.normal(size=(CLASSES, DIM)) * rng.choice(SEPARATIONS)
    scale = np.exp(0.7 * rng.normal(size=DIM))
    scale /= np.sqrt((scale**2).mean())
    labels, unseen = np.repeat(np.arange(CLASSES), per_class), np.repeat(np.arange(CLASSES), UNSEEN // CLASSES)

    def noise(count: int) -> np.ndarray:
        return rng.normal(size=(count, DIM)) * scale

    if kind == "bursts":
        size = 5 if per_class > 5 else 2
        burst = (
            np.arange(len(labels)) // size
            if per_class % size == 0
            else labels * per_class + np.arange(len(labels)) % per_class // size
        )
        rows = np.sqrt(0.6) * noise(burst.max() + 1)[burst] + np.sqrt(0.4) * noise(len(labels))
        groups, shifts = burst, 0
    elif kind.endswith("sites"):
        groups = rng.integers(int(kind.split()[0]), size=len(labels))
        sites = noise(groups.max() + 1) * np.exp(0.5 * rng.normal(size=(groups.max() + 1, 1)))
        rows = 0.6 * sites[groups] + noise(len(labels))
        shifts = 0.6 * noise(len(unseen)) * np.exp(0.5 * rng.normal(size=(len(unseen), 1)))
    else:
        rows, groups, shifts = noise(len(labels)), None, 0
    names = None if groups is None else tuple(map(str, groups))
    new = means[unseen] + noise(len(unseen)) + shifts
    return Drawn((means[labels] + rows).astype(np.float32), labels, names, new.astype(np.float32), unseen)


def digits(per_class: int, kind: str, seed: int) -> Drawn:
    """A few handwritten digits of each class, and all others."""
    data = load_digits()
    order = np.random.default_rng([seed, per_class]).permutation(len(data.target))
    labels, vectors = data.target[order].astype(np.int64), data.data[order].astype(np.float32)
    place = np.array([(labels[:image] == labels[image]).sum() for image in range(len(labels))])
    known = place < per_class
    chosen = np.flatnonzero(known)[np.argsort(labels[known], kind="stable")]
    return Drawn(vectors[chosen], labels[chosen], None, vectors[~known], labels[~known])


SETS: dict[str, Callable[[int, str, int], Drawn]] = {"made": made, "digits": digits}
CELLS = [
    *[("made", "independent", count) for count in (2, 5, 10, 20)],
    *[("made", "bursts", count) for count in (5, 10, 20)],
    *[("made", f"{sites} sites", 10) for sites in (5, 7, 10, 20, 40)],
    *[("digits", "independent", count) for count in (2, 5, 10, 20)],
]


@click.group()
def main() -> None:
    """Simulate what the intervals promise."""


@main.command()
@click.option("--heads", default="cosine,knn,lda,ridge", show_default=True, help=", ".join(HEADS))
@click.option("--simulations", default=1000, show_default=True, help="Training sets a cell, shared among the heads.")
@click.option("--cells", default="", help="Only those that have all these words, such as made,10.")
@click.option("--jobs", default=2, show_default=True)
def final(heads: str, simulations: int, cells: str, jobs: int) -> None:
    """Coverage of the final head's accuracy and log-loss."""
    names = heads.split(",")
    print(f"{simulations} training sets a row; heads {heads}; intervals are of 95 %\n")
    print("| set | images a class | images | out of fold | final head | its interval covers | width |", end="")
    print(" out of fold's covers | log-loss covers |\n" + "| --- " * 9 + "|")
    for name, kind, count in CELLS:
        if not set(filter(None, cells.split(","))) <= {name, *kind.split(), str(count)}:
            continue
        tasks = (delayed(one_final)(name, kind, count, seed, names[seed % len(names)]) for seed in range(simulations))
        rows = np.array(Parallel(n_jobs=jobs)(tasks))
        measured, truth, wide = rows[:, 0].mean(), rows[:, 1].mean(), rows[:, 3].mean()
        covers, naive, loss = (f"{100 * rows[:, column].mean():.1f} %" for column in (2, 4, 5))
        print(f"| {name} | {count} | {kind} | {measured:.1%} | {truth:.1%} | {covers} | {wide:.1%} |", end="")
        print(f" {naive} | {loss} |", flush=True)


def one_final(name: str, kind: str, count: int, seed: int, head: str) -> list[float]:
    """(out of fold, truth, covered, width, out of fold's interval covers, log-loss covered) of one training set."""
    drawn = SETS[name](count, kind, seed)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        opened = written(
            Path(folder) / "made.h5", drawn.vectors[:, None], drawn.labels, groups=drawn.groups, test=drawn.unseen
        )
        result = fp.cross_validate(opened, fp.ProbeOptions(head=head, settings=HEADS[head], near_duplicates=0.0))
    told = summarise(result)
    truth, loss = accuracy(result.test, drawn.unseen_labels), log_loss(result.test, drawn.unseen_labels)
    found = told["final_head"]
    return [
        told["accuracy"],
        truth,
        found["accuracy_low"] <= truth <= found["accuracy_high"],
        found["accuracy_high"] - found["accuracy_low"],
        told["accuracy_low"] <= truth <= told["accuracy_high"],
        found["log_loss_low"] <= loss <= found["log_loss_high"],
    ]


if __name__ == "__main__":
    main()
