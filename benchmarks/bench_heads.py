"""How right the heads are: two versions side by side on photos, `auto` beside single heads, and the ends of the grids.

    python benchmarks/bench_heads.py photos --old CHECKOUT --features F --solution solution.csv     # minutes
    python benchmarks/bench_heads.py auto --features F --solution solution.csv                      # ten minutes
    python benchmarks/bench_heads.py auto --sets noisy,modal --draws 10                             # without photos
    python benchmarks/bench_heads.py ends --features F --solution solution.csv
    python benchmarks/bench_heads.py lead --features F --solution solution.csv

`photos` runs every head as it comes, in this version and in that of another checkout, and pairs their answers to the
same images. `auto` draws training sets, and looks at new images: photos of which a few a class are known, handwritten
digits of scikit-learn's (pixels as they are), and made sets. *Its best head* is the one of those that `auto` blends
which, fitted alone to the same images with what it chooses by itself, is the most accurate on new images in the mean
over the draws: an oracle, which nobody has. `ends` goes past the ends of the grids that heads choose from, `lead` past
what is assumed where one image a class tells no temperature.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
from joblib import Parallel, delayed
from made_features import written
from sklearn.datasets import load_digits

import frozenprobe as fp
from frozenprobe.probe.fit.candidate import Candidate, trainer_of
from frozenprobe.probe.heads.parts import temperature
from frozenprobe.probe.heads.registry import HEADS, trial_groups
from frozenprobe.probe.inputs import Inputs
from frozenprobe.probe.options import AUTO
from frozenprobe.probe.stats.metrics import balanced_accuracy, confusion, log_loss, losses, right_of
from frozenprobe.probe.stats.significance import mcnemar_p
from frozenprobe.system.csv_tables import read_table

UNSEEN = 4000  # new images of a made set
BESIDE = (Candidate("svm", "global", "rows"), Candidate("kernel", "global", "mean"))  # of closed form, not in `auto`


@dataclass(frozen=True)
class Drawn:
    """A training set, and new images like its own.

    Attributes:
        vectors: `(N, views, D)`.
        labels: `(N,)`.
        unseen: `(M, 1, D)`.
        unseen_labels: `(M,)`.
        parts: what new images are there, and how many of each, if they are of several kinds.
    """

    vectors: np.ndarray
    labels: np.ndarray
    unseen: np.ndarray
    unseen_labels: np.ndarray
    parts: tuple[tuple[str, int], ...] = ()


Draw = Callable[[int, Drawn | None], Drawn]  # seed, all photos -> a training set


def digits(count: int) -> Draw:
    """So many handwritten digits of each class; the others are new."""

    def draw(seed: int, photos: Drawn | None = None) -> Drawn:
        data = load_digits()
        order = np.random.default_rng([seed, count]).permutation(len(data.target))
        labels, vectors = data.target[order].astype(np.int64), data.data[order].astype(np.float32)[:, None]
        known = first_of_each(labels, count)
        return Drawn(vectors[known], labels[known], vectors[~known], labels[~known])

    return draw


def photos_of(count: int) -> Draw:
    """So many photos of each class with all their views; the other training photos and the test photos are new."""

    def draw(seed: int, photos: Drawn | None = None) -> Drawn:
        if photos is None:
            raise click.UsageError("photos need --features and --solution")
        order = np.random.default_rng([seed, count]).permutation(len(photos.labels))
        known = np.sort(order[first_of_each(photos.labels[order], count)])
        rest = np.setdiff1d(order, known)
        return Drawn(
            photos.vectors[known],
            photos.labels[known],
            np.concatenate([photos.vectors[rest][:, :1], photos.unseen]),
            np.append(photos.labels[rest], photos.unseen_labels),
            ((", tested on the others", len(rest)), (", on the test photos", len(photos.unseen))),
        )

    return draw


def first_of_each(labels: np.ndarray, count: int) -> np.ndarray:
    """`(n,)` which images are among the first so many of their class."""
    order = np.argsort(labels, kind="stable")
    rank = np.empty(len(labels), dtype=np.int64)
    rank[order] = np.arange(len(labels)) - np.searchsorted(labels[order], labels[order])
    return rank < count


def made(
    sizes: list[int],
    *,
    dim: int,
    apart: float,
    modes: int = 1,
    falling: float = 0.0,
    flipped: float = 0.0,
) -> Draw:
    """Gaussian classes.

    Args:
        sizes: images of each class; new images come in the same shares.
        dim: D.
        apart: standard deviation of the classes' means, in standard deviations of the noise.
        modes: Gaussians that a class is made of.
        falling: power of the feature's number with which both standard deviations fall.
        flipped: share of the training labels that are those of another class.
    """

    def draw(seed: int, photos: Drawn | None = None) -> Drawn:
        rng = np.random.default_rng([seed, len(sizes), dim])
        spectrum = np.arange(1, dim + 1) ** -falling
        means = apart * rng.normal(size=(len(sizes), modes, dim)) * spectrum
        labels = np.repeat(np.arange(len(sizes)), sizes)
        unseen = np.sort(rng.choice(labels, size=UNSEEN))

        def around(classes: np.ndarray) -> np.ndarray:
            noise = rng.normal(size=(len(classes), dim)) * spectrum
            vectors: np.ndarray = means[classes, rng.integers(modes, size=len(classes))] + noise
            return vectors.astype(np.float32)[:, None]

        vectors, asked = around(labels), around(unseen)
        wrong = rng.random(len(labels)) < flipped
        moved = (labels + rng.integers(1, len(sizes), size=len(labels))) % len(sizes)
        return Drawn(vectors, np.where(wrong, moved, labels), asked, unseen)

    return draw


GEOMETRIC = np.geomspace(200, 5, 12).round().astype(int).tolist()
SETS: dict[str, tuple[str, Draw]] = {
    "digits10": ("digits, 10 a class", digits(10)),
    "digits100": ("digits, 100 a class", digits(100)),
    **{f"photos{count}": (f"photos, {count} a class", photos_of(count)) for count in (2, 3, 5, 10)},
    "uneven": ("12 classes of 200 to 5", made(GEOMETRIC, dim=64, apart=0.35)),
    "modal": ("10 classes x 50, each of 5 far Gaussians", made([50] * 10, dim=32, apart=1.0, modes=5)),
    "noisy": ("20 classes x 30, 20 % of the labels wrong", made([30] * 20, dim=64, apart=0.35, flipped=0.2)),
    "many": ("100 classes x 10, spectrum falling", made([10] * 100, dim=128, apart=0.6, falling=0.5)),
    "two": ("2 classes x 1,000, overlapping", made([1000] * 2, dim=16, apart=0.3)),
}
DRAWN = [name for name in SETS if name not in ("two", "photos10")]


def read_photos(features: Path | None, solution: Path | None) -> Drawn | None:
    """All training photos, and the test photos; None where no file is given."""
    if features is None or solution is None:
        return None
    opened = fp.open_features(features)
    vectors = opened.read("train", range(len(opened.views)))
    return Drawn(vectors, opened.train.labels, opened.read("test", (0,)), truth_of(opened, solution))


def truth_of(opened: fp.Features, solution: Path) -> np.ndarray:
    """The true labels of the test photos."""
    table = read_table(solution)
    truth = dict(zip(table.column("ID"), table.column("Label"), strict=True))
    return np.array([opened.class_names.index(truth[name]) for name in opened.test.ids])


@click.group()
def main() -> None:
    """How right the heads are."""


FILES = (
    click.option("--features", type=click.Path(path_type=Path, exists=True), help="Of photos, with a test set."),
    click.option("--solution", type=click.Path(path_type=Path, exists=True), help="ID, Label; only measured against."),
)


def with_files(command: Callable[..., None]) -> Callable[..., None]:
    """A command that is told the feature file of photos and their solution."""
    for option in reversed(FILES):
        command = option(command)
    return command


# Run with this version's or another one's package: answers of a head to all images, out of fold and in the end, and to
# new images by fits of drawn parts of the training photos, for which the rest of these are new, too.
ANSWERS = """
import sys, warnings, numpy as np, frozenprobe as fp
from frozenprobe.probe.fit.trainer import Trainer
from frozenprobe.probe.heads.registry import find_head, make_head
warnings.simplefilter("ignore")
path, heads, views, draws, out = sys.argv[1:]
heads, clean, draws = heads.split(","), views == "clean", int(draws)
opened, found = fp.open_features(path), {}
one = dict(views=0, test_views=("clean",)) if clean else {}
for name in heads:
    try:
        result = fp.cross_validate(opened, fp.ProbeOptions(head=name, **one))
    except fp.FrozenprobeError:
        continue  # needs augmented views
    found["oof " + name], found["test " + name] = result.oof, result.test
    if name == "auto" or not draws:
        continue
    vectors = opened.read("train", (0,) if clean else range(len(opened.views)))
    labels, asked = opened.train.labels, opened.read("test", (0,))
    trainer = Trainer(make_head(name, {}), vectors, labels, scale=find_head(name).scale)
    for draw in range(draws):
        order = np.random.default_rng(draw).permutation(len(labels))
        ranked = order[np.argsort(labels[order], kind="stable")]
        known = np.sort(ranked[(np.arange(len(labels)) - np.searchsorted(labels[ranked], labels[ranked])) < 6])
        (fit,) = trainer.fit_all([known])
        rest = np.setdiff1d(np.arange(len(labels)), known)
        found[f"draw{draw} {name}"] = fit.predict(np.concatenate([vectors[rest][:, :1], asked]))
        found[f"rest{draw} {name}"] = rest
np.savez(out, **found)
"""


@main.command()
@with_files
@click.option("--old", type=click.Path(path_type=Path, exists=True), required=True, help="A checkout of the other one.")
@click.option("--heads", default=",".join([AUTO, *HEADS]), show_default=True)
@click.option("--draws", default=0, show_default=True, help="Of 6 photos a class, on which heads are compared again.")
@click.option("--clean", is_flag=True, help="The clean view alone.")
def photos(features: Path, solution: Path, old: Path, heads: str, draws: int, clean: bool) -> None:
    """Every head, in that version and in this one, on the same photos."""
    opened = fp.open_features(features)
    labels, truth = opened.train.labels, truth_of(opened, solution)
    with tempfile.TemporaryDirectory() as folder:
        answers = []
        for number, root in enumerate((old, Path(__file__).parents[1])):
            out = Path(folder) / f"{number}.npz"
            words = (features.resolve(), heads, "clean" if clean else "all", draws, out)
            line = [sys.executable, "-c", ANSWERS, *map(str, words)]
            where = str(root.resolve())
            subprocess.run(line, check=True, cwd=where, env={**os.environ, "PYTHONPATH": where})
            answers.append(np.load(out))
    print(f"{old.name} -> this; won and lost are images\n")
    print("| head | out of fold | won, lost | test | won, lost | p | log-loss of test | difference |")
    print("| --- " * 8 + "|")
    for name in heads.split(","):
        if f"oof {name}" not in answers[0]:
            continue
        before, after = ([each[f"{of} {name}"] for of in ("oof", "test")] for each in answers)
        out_of_fold, fold_pairs, _ = paired(before[0], after[0], labels)
        test, pairs, p = paired(before[1], after[1], truth)
        lost = losses(after[1], truth) - losses(before[1], truth)
        error = lost.std(ddof=1) / np.sqrt(len(lost))
        both = " -> ".join(f"{log_loss(each[1], truth):.3f}" for each in (before, after))
        print(f"| `{name}` | {out_of_fold} | {fold_pairs} | {test} | {pairs} | {p:.2f} | {both} |", end="")
        print(f" {lost.mean():+.4f} ± {error:.4f} |", flush=True)
    for name in heads.split(",") if draws else ():
        if f"draw0 {name}" in answers[0]:
            print(redrawn(name, answers, draws, labels, truth), flush=True)


def paired(before: np.ndarray, after: np.ndarray, labels: np.ndarray) -> tuple[str, str, float]:
    """Both accuracies, images won and lost, and McNemar's p."""
    first, second = right_of(before, labels), right_of(after, labels)
    won, lost = int((second > first).sum()), int((first > second).sum())
    return f"{first.mean():.1%} -> {second.mean():.1%}", f"{won}, {lost}", mcnemar_p(won, lost)


def redrawn(name: str, answers: list, draws: int, labels: np.ndarray, truth: np.ndarray) -> str:
    """The mean difference over parts of the training photos, on the other training photos and on the test photos."""
    differences = []
    for draw in range(draws):
        rest = answers[0][f"rest{draw} {name}"]
        first, second = (
            np.split(right_of(each[f"draw{draw} {name}"], np.append(labels[rest], truth)), [len(rest)])
            for each in answers
        )
        differences.append([100 * (b.mean() - a.mean()) for a, b in zip(first, second, strict=True)])
    mean, error = np.mean(differences, axis=0), np.std(differences, axis=0, ddof=1) / np.sqrt(draws)
    others, test = (f"{a:+.2f} ± {b:.2f}" for a, b in zip(mean, error, strict=True))
    return f"`{name}`, {draws} draws of 6 photos a class, in points: other training photos {others}, test photos {test}"


def single_heads(views: int) -> Iterator[Candidate]:
    """Those that `auto` blends, each with what it chooses by itself; `logreg` chooses nothing: one a value."""
    seen = set()
    for head, group in trial_groups():
        settings = group.grid if head == "logreg" else ({},) if head in ("lda", "ridge") else group.grid[:1]
        for one in settings:
            how = "rows" if views == 1 else group.aggregate
            key = (head, group.scale, how, tuple(one.items()))
            if key not in seen:
                seen.add(key)
                yield Candidate(head, group.scale, how, dict(one))


def answers_of(candidate: Candidate, drawn: Drawn, options: fp.ProbeOptions) -> np.ndarray:
    """Of a candidate that is fitted to all training images, to the new ones."""
    inputs = Inputs("", drawn.vectors, drawn.vectors[:, :1], drawn.unseen).aggregated(candidate.aggregate)
    total = int(drawn.labels.max()) + 1
    (fit,) = trainer_of(candidate, inputs, drawn.labels, options=options, total=total).fit_all(
        [np.arange(len(drawn.labels))]
    )
    answers: np.ndarray = fit.predict(inputs.test)
    return answers


Scores = dict[str, tuple[float, float]]  # head -> accuracy in percent, log-loss


def one_draw(drawn: Drawn, weighted: bool) -> dict[str, Scores]:
    """What `auto` and every single head score on each part of the new images, of one training set."""
    options = fp.ProbeOptions(head=AUTO, class_weight="balanced" if weighted else None)
    found = {}
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        opened = written(Path(folder) / "made.h5", drawn.vectors, drawn.labels, test=drawn.unseen[:, 0])
        found[AUTO] = fp.cross_validate(opened, options).test
        for candidate in [*single_heads(drawn.vectors.shape[1]), *BESIDE]:
            found[candidate.describe([Inputs("", *[drawn.vectors] * 3)])] = answers_of(candidate, drawn, options)
    rows, start = {}, 0
    for part, count in drawn.parts or (("", len(drawn.unseen)),):
        own, start = slice(start, start + count), start + count
        labels = drawn.unseen_labels[own]
        rows[part] = {head: scores(each[own], labels, weighted) for head, each in found.items() if count}
    return rows


def scores(answers: np.ndarray, labels: np.ndarray, weighted: bool) -> tuple[float, float]:
    """Accuracy (every class alike, if weighted) in percent, and log-loss."""
    right = right_of(answers, labels).mean()
    if weighted:
        right = balanced_accuracy(confusion(answers.argmax(axis=1), labels, answers.shape[1]))
    return 100 * float(right), log_loss(answers, labels)


@main.command()
@with_files
@click.option("--sets", default=",".join(DRAWN), show_default=True)
@click.option("--draws", default=5, show_default=True)
@click.option("--weighted", is_flag=True, help="With --class-weight balanced, in balanced accuracy.")
@click.option("--every", is_flag=True, help="All heads, too.")
@click.option("--jobs", default=2, show_default=True)
def auto(
    features: Path | None, solution: Path | None, sets: str, draws: int, weighted: bool, every: bool, jobs: int
) -> None:
    """`auto` beside its best single head."""
    known = read_photos(features, solution)
    print(f"{draws} draws a row; differences are means over them, ± their standard error\n")
    print("| set | auto | its best head | that head | auto less that, points | log-loss of auto | of that head |")
    print("| --- " * 7 + "|")
    for name in sets.split(","):
        each = Parallel(n_jobs=jobs)(delayed(one_draw)(SETS[name][1](seed, known), weighted) for seed in range(draws))
        for part in each[0]:
            print_row(SETS[name][0] + part, [found[part] for found in each], every=every)


def print_row(name: str, rows: list[Scores], *, every: bool) -> None:
    """The means over draws."""
    mean = {head: np.mean([row[head] for row in rows], axis=0) for head in rows[0]}
    own = [head for head in mean if head not in (AUTO, *list(mean)[-len(BESIDE) :])]
    best = max(own, key=lambda head: mean[head][0])
    print(f"| {name} | {mean[AUTO][0]:.1f} % | `{best}` | {mean[best][0]:.1f} % | {difference(rows, best)} |", end="")
    print(f" {mean[AUTO][1]:.3f} | {mean[best][1]:.3f} |", flush=True)
    for head in sorted(mean, key=lambda head: -mean[head][0]) if every else ():
        print(f"    {head}: {mean[head][0]:.2f} %, {mean[head][1]:.3f}; auto {difference(rows, head)}", flush=True)


def difference(rows: list[Scores], head: str) -> str:
    """Of `auto` to a head, in points, with the standard error of the mean over draws."""
    each = [row[AUTO][0] - row[head][0] for row in rows]
    error = np.std(each, ddof=1) / np.sqrt(len(each)) if len(each) > 1 else np.nan
    return f"{np.mean(each):+.2f} ± {error:.2f}"


ENDS = {  # constant -> head, and settings inside the grid, at its end and beyond
    "k of `knn` (ends at 60)": ("knn", [{"k": k} for k in (15, 60, 120, 240)]),
    "gamma of `kernel` (0.015 to 4)": ("kernel", [{"gamma": g} for g in (0.001, 0.004, 0.015, 0.06, 0.25, 4.0, 16.0)]),
    "alpha of `ridge` (0.0001 to 100)": ("ridge", [{"alpha": a} for a in (1e-5, 1e-4, 1e-2, 1.0, 100.0, 1000.0)]),
    "c of `logreg` (`auto`: 0.01 to 30)": (
        "logreg",
        [{"c": c, "tol": 1e-4} for c in (0.001, 0.01, 0.3, 1.0, 30.0, 300.0, 3000.0)],
    ),
}
LEADS = (2.5, 5.0, 10.0)


@main.command()
@with_files
@click.option("--sets", default="photos10,digits100,noisy,two,uneven,modal", show_default=True)
@click.option("--draws", default=3, show_default=True)
@click.option("--jobs", default=2, show_default=True)
def ends(features: Path | None, solution: Path | None, sets: str, draws: int, jobs: int) -> None:
    """Accuracy on new images, and log-loss at the temperature that is best there, within grids and beyond them."""
    known = read_photos(features, solution)
    print(f"accuracy in percent and log-loss, means over {draws} draws")
    for title, (head, grid) in ENDS.items():
        values = [str(next(iter(one.values()))) for one in grid]
        chosen = [] if head == "logreg" else [{}]
        print(f"\n| {title} | {' | '.join(values)} | {'chosen |' * len(chosen)}\n" + "| --- " * (len(grid) + 2) + "|")
        for name in sets.split(","):
            tasks = (
                delayed(at_best)(Candidate(head, "global", "rows", dict(one)), SETS[name][1](seed, known))
                for one in [*grid, *chosen]
                for seed in range(draws)
            )
            means = np.array(Parallel(n_jobs=jobs)(tasks)).reshape(-1, draws, 2).mean(axis=1)
            print(f"| {SETS[name][0]} | " + " | ".join(f"{a:.1f} / {b:.3f}" for a, b in means) + " |", flush=True)


def at_best(candidate: Candidate, drawn: Drawn) -> tuple[float, float]:
    """Accuracy in percent and log-loss on the last part of the new images, at the temperature that suits them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answers, labels = answers_of(candidate, drawn, fp.ProbeOptions()), drawn.unseen_labels
    last = slice(-drawn.parts[-1][1], None) if drawn.parts else slice(None)
    logits, labels = np.log(np.maximum(answers[last], 1e-300)), labels[last]
    best = temperature.fit_temperature(logits, labels)
    return scores(temperature.apply_temperature(logits, best), labels, False)


@main.command()
@with_files
@click.option("--draws", default=5, show_default=True)
def lead(features: Path | None, solution: Path | None, draws: int) -> None:
    """One image a class, where nothing held out tells a temperature: log-loss by how far the own class is to lead."""
    known = read_photos(features, solution)
    print(f"log-loss on new images, means over {draws} draws, at a lead of so many nats\n")
    print(f"| one image a class | head | {' | '.join(map(str, LEADS))} | at the best temperature | of guessing |")
    print("| --- " * (len(LEADS) + 4) + "|")
    cases = {
        "photos": photos_of(1),
        "digits": digits(1),
        "20 classes, far": made([1] * 20, dim=64, apart=1.5),
        "20 classes, near": made([1] * 20, dim=64, apart=0.35),
        "100 classes, spectrum falling": made([1] * 100, dim=128, apart=0.6, falling=0.5),
    }
    usual = temperature.LEAD
    for name, draw in cases.items():
        if name == "photos" and known is None:
            continue
        for head in ("lda", "ridge", "kernel"):
            losses_at = []
            for drawn in [draw(seed, known) for seed in range(draws)]:
                own = []
                for nats in LEADS:
                    temperature.LEAD = nats
                    answers = answers_of(Candidate(head, "global", "rows"), drawn, fp.ProbeOptions())
                    own.append(log_loss(answers, drawn.unseen_labels))
                losses_at.append([*own, at_best(Candidate(head, "global", "rows"), replace(drawn, parts=()))[1]])
            temperature.LEAD = usual
            cells = " | ".join(f"{each:.3f}" for each in np.mean(losses_at, axis=0))
            print(f"| {name} | `{head}` | {cells} | {np.log(drawn.labels.max() + 1):.3f} |", flush=True)


if __name__ == "__main__":
    main()
