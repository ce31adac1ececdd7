"""How often what a probe promises holds: intervals that cover the final head's scores, and forecasts that come true.

    python benchmarks/bench_coverage.py final                        # minutes; a table of coverages
    python benchmarks/bench_coverage.py final --heads auto --simulations 200
    python benchmarks/bench_coverage.py forecast
    python benchmarks/bench_coverage.py groups

`forecast` draws training sets twice as large, and looks whether what `curve labels` says of half of them comes true;
`groups` is about the interval of an accuracy alone, of images whose groups are right and wrong together.

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
from frozenprobe.probe.curves.curve import label_curve
from frozenprobe.probe.curves.verdict import Extrapolation, extrapolate
from frozenprobe.probe.fit.trainer import Trainer
from frozenprobe.probe.heads.registry import make_head
from frozenprobe.probe.report.summary import summarise
from frozenprobe.probe.stats.intervals import accuracy_interval
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


@main.command()
@click.option("--heads", default="cosine,lda,knn", show_default=True, help=", ".join(HEADS))
@click.option("--simulations", default=300, show_default=True, help="Training sets a row, shared among the heads.")
@click.option("--jobs", default=2, show_default=True)
def forecast(heads: str, simulations: int, jobs: int) -> None:
    """Coverage of `curve labels`' forecast of what twice the photos give."""
    names = heads.split(",")
    print(f"{simulations} training sets a row; heads {heads}; intervals are of 95 %\n")
    print("| set | images a class | forecast | true gain | its interval covers | width | widened | refused |")
    print("| --- " * 8 + "|")
    for name, count in [(name, count) for name in SETS for count in (5, 10, 20)]:
        tasks = (delayed(one_forecast)(name, count, seed, names[seed % len(names)]) for seed in range(simulations))
        rows = np.array(Parallel(n_jobs=jobs)(tasks))
        told = rows[~np.isnan(rows[:, 0])]
        covers, widened = (f"{100 * told[:, column].mean():.1f} %" for column in (2, 4))
        gain, truth, wide = (f"{100 * told[:, column].mean():+.1f}" for column in (0, 1, 3))
        refused = f"{100 * (1 - len(told) / len(rows)):.1f} %"
        print(f"| {name} | {count} | {gain} | {truth} | {covers} | {wide[1:]} | {widened} | {refused} |", flush=True)


def one_forecast(name: str, count: int, seed: int, head: str) -> list[float]:
    """(forecast, true gain, covered, width, widened) of one training set; NaN where nothing is foretold."""
    drawn = SETS[name](2 * count, "independent", seed)
    place = np.arange(len(drawn.labels)) - np.searchsorted(drawn.labels, drawn.labels)
    known = place < count
    options = fp.ProbeOptions(head=head, settings=HEADS[head], near_duplicates=0.0)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        opened = written(Path(folder) / "made.h5", drawn.vectors[known][:, None], drawn.labels[known])
        found = extrapolate(label_curve(opened, options))
    if not isinstance(found, Extrapolation):
        return [np.nan] * 5
    trainer = Trainer(make_head(head, HEADS[head]), drawn.vectors[:, None], drawn.labels)
    fewer, more = (
        [accuracy(fit.predict(drawn.unseen[:, None]), drawn.unseen_labels) for fit in fits]
        for fits in (
            trainer.fit_each([chosen_of(drawn.labels, round(times * found.at), seed, draw) for draw in range(3)])
            for times in (1, 2)
        )
    )
    gain = float(np.mean(more) - np.mean(fewer))
    low, high = found.interval
    return [found.gain, gain, low <= gain <= high, high - low, found.widened > 1]


def chosen_of(labels: np.ndarray, count: int, seed: int, draw: int) -> np.ndarray:
    """So many images of each class, drawn."""
    order = np.random.default_rng([seed, draw]).permutation(len(labels))
    ranked = order[np.argsort(labels[order], kind="stable")]
    return ranked[np.arange(len(labels)) - np.searchsorted(labels[ranked], labels[ranked]) < count]


@main.command()
@click.option("--simulations", default=2000, show_default=True)
def groups(simulations: int) -> None:
    """Coverage of an accuracy's interval where images of a group are right and wrong together."""
    rng = np.random.default_rng(0)
    print(f"{simulations} simulations a cell, groups of 20 images; `alike`: share of variance between groups\n")
    counts = (4, 5, 7, 10, 20, 40)
    print("| accuracy | alike | " + " | ".join(f"{count} groups" for count in counts) + " |\n" + "| --- " * 8 + "|")
    for truth in (0.6, 0.8, 0.95):
        for alike in (0.05, 0.3, 0.6):
            cells = []
            for count in counts:
                each = rng.beta(truth * (1 / alike - 1), (1 - truth) * (1 / alike - 1), size=(simulations, count, 1))
                right = 1.0 * (rng.random((simulations, count, 20)) < each).reshape(simulations, -1)
                found = [accuracy_interval(row, np.arange(count * 20) // 20) for row in right]
                covered = np.mean([low <= truth <= high for low, high in found])
                cells.append(f"{100 * covered:.0f} % ({100 * np.mean([high - low for low, high in found]):.0f})")
            print(f"| {truth:.0%} | {alike} | " + " | ".join(cells) + " |", flush=True)
    print("\nin brackets: mean width in points; fewer than 4 groups are too few to say")


if __name__ == "__main__":
    main()
