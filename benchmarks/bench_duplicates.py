"""Near duplicates: how many are found, how many are none, what they cost on digits; how long the search takes.

    python benchmarks/bench_duplicates.py chance    # made photos that differ in 2 to 64 dimensions
    python benchmarks/bench_duplicates.py digits    # accuracy out of fold and on digits held back, by threshold
    python benchmarks/bench_duplicates.py search    # seconds of the search over all pairs

"Reach" is the threshold that does not know how many images there are: how far copies reach.
"""

from __future__ import annotations

import time

import click
import numpy as np
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import KNeighborsClassifier

from frozenprobe.probe.folds.deal import Union, assign_folds
from frozenprobe.probe.folds.duplicates import Pairs, join_compact, near_duplicates
from frozenprobe.probe.folds.threshold import choose_threshold
from frozenprobe.probe.heads.parts.scaling import normalise

COPIES = (1 / 60, 1 / 8)  # 1 - cosine of planted copies, of that of two images of a class
NEAR = 1 / 30  # copies that are hardly changed
SIZES = ((300, 128, 10), (1000, 1024, 50), (3000, 256, 50), (10_000, 256, 50))  # images, features, classes


@click.group(help=__doc__)
def main() -> None:
    """Measure."""


def move(rows, distance, rng):
    """Each row turned by 1 - cosine = distance, in any direction."""
    other = rng.normal(size=rows.shape)
    other -= (other * rows).sum(axis=1, keepdims=True) * rows
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    cosine = 1 - distance[:, None]
    return normalise(cosine * rows + np.sqrt(1 - cosine**2) * other)


def make_photos(images, dim, classes, *, inner, spread, copies):
    """Photos that differ in `inner` dimensions, on a curved surface if classes overlap; mirrored; planted copies."""
    rng = np.random.default_rng([images, inner, spread])
    labels = rng.integers(classes, size=images)
    place = spread * rng.normal(size=(classes, inner))[labels] + rng.normal(size=(images, inner))
    if spread == 1:
        clean = np.cos(0.7 * place @ rng.normal(size=(inner, dim)) / np.sqrt(inner) + rng.uniform(0, 6.3, dim))
    else:
        clean = place @ np.linalg.qr(rng.normal(size=(dim, inner)))[0].T + np.sqrt(inner / dim) * rng.normal(size=dim)
    clean = normalise(clean.astype(np.float32))
    some = [clean[labels == label][:200] for label in range(classes)]
    typical = 1 - np.median([np.median((own @ own.T)[np.triu_indices(len(own), 1)]) for own in some])
    copied = rng.permutation(images)[: int(copies * images)]
    distance = typical * np.exp(rng.uniform(*np.log(COPIES), size=len(copied)))
    clean = np.concatenate([clean, move(clean[copied], distance, rng)])
    mirror = move(clean, typical / 8 * np.exp(0.3 * rng.normal(size=len(clean))), rng)
    pairs = np.stack([copied, images + np.arange(len(copied))], axis=1)
    return clean, np.concatenate([labels, labels[copied]]), mirror, pairs, distance / typical, typical


@main.command()
@click.option("--copies", default=0.05, show_default=True, help="Share of the images that have a copy.")
def chance(copies: float) -> None:
    """Images joined with another photo, and copies found: with the reach of copies, and with the threshold chosen."""
    print("dimensions  images  classes   threshold: t/   joined wrongly    copies found      hardly changed ones")
    for spread in (1, 4):
        for inner in (2, 4, 8, 16, 64):
            for images, dim, classes in SIZES:
                made = make_photos(images, dim, classes, inner=inner, spread=spread, copies=copies)
                clean, labels, mirror, copied, distance, typical = made
                found = choose_threshold(clean, labels, mirror)
                cells = [judge(clean, cosine, copied, distance) for cosine in (found.reach, found.cosine)]
                parts = [typical / (1 - cosine) if cosine < 1 else np.inf for cosine in (found.reach, found.cosine)]
                kind = "overlap" if spread == 1 else "apart"
                shown = "   ".join(f"{one:6.1%} -> {other:6.1%}" for one, other in zip(*cells, strict=True))
                print(f"{inner:10d}  {images:6d}  {kind:7}  {parts[0]:4.1f} -> {parts[1]:7.1f}   {shown}", flush=True)


def judge(clean, cosine, copied, distance):
    """Shares: of the images in a pair that is none; of the copies found; of those found that are hardly changed."""
    pairs, _ = near_duplicates(clean, cosine)
    numbers, planted = (each[:, 0] * len(clean) + each[:, 1] for each in (pairs, copied))
    wrong = np.unique(pairs[~np.isin(numbers, planted)])
    right = np.isin(planted, numbers)
    return len(wrong) / len(clean), right.sum() / max(1, len(right)), right[distance < NEAR].mean() if len(right) else 0


@main.command()
@click.option("--times", default=10, show_default=True, help="Draws of the digits that are trained on.")
def digits(times: int) -> None:
    """Out of fold against digits held back: false pairs make folds harder than new images are."""
    images, labels = load_digits(return_X_y=True)
    clean = normalise(images.astype(np.float32))
    mirror = normalise(images.reshape(-1, 8, 8)[:, :, ::-1].reshape(-1, 64).astype(np.float32))
    for name, head in (("lda", LinearDiscriminantAnalysis()), ("1 neighbour", KNeighborsClassifier(1))):
        for count in (400, 1200):
            rows = []
            for seed in range(times):
                order = np.random.default_rng(seed).permutation(len(labels))
                train, test = order[:count], order[count:]
                found = choose_threshold(clean[train], labels[train], mirror[train])
                held = head.fit(clean[train], labels[train]).score(clean[test], labels[test])
                rows.append(
                    [held, *(out_of_fold(head, clean[train], labels[train], c) for c in (2, found.reach, found.cosine))]
                )
            held, off, reach, chosen = 100 * np.mean(rows, axis=0)
            print(f"{name:12} {count:5d} digits: held back {held:.1f}; out of fold {off:.1f} without near duplicates,")
            print(f"{'':26} {reach:.1f} with the reach of copies, {chosen:.1f} with the threshold chosen", flush=True)


def out_of_fold(head, clean, labels, cosine):
    """Accuracy over folds that keep near duplicates from this cosine on together; above 1: none."""
    pairs = near_duplicates(clean, cosine)[0] if cosine <= 1 else np.zeros((0, 2), dtype=np.int64)
    union = Union(len(labels))
    join_compact(union, Pairs(np.arange(len(labels)), clean, pairs, cosine))
    folds = assign_folds(labels, union.clusters(), [*map(str, range(len(labels)))], folds=5, seed=0)
    right = [
        head.fit(clean[folds != f], labels[folds != f]).predict(clean[folds == f]) == labels[folds == f]
        for f in range(5)
    ]
    return np.concatenate(right).mean()


@main.command()
def search() -> None:
    """Choosing a threshold and finding all pairs, on features whose spectrum falls as those of networks do."""
    for images, dim in ((1000, 768), (10_000, 768), (50_000, 768)):
        rng = np.random.default_rng(0)
        spectrum = (np.arange(1, dim + 1) ** -0.5).astype(np.float32)
        labels = np.arange(images) % 100
        centres = 0.6 * rng.normal(size=(100, dim)) + rng.normal(size=dim)
        clean = normalise((centres[labels] + rng.standard_normal((images, dim), dtype=np.float32)) * spectrum)
        seconds = [(time.perf_counter(), time.process_time())]
        found = choose_threshold(clean, labels, None)
        seconds.append((time.perf_counter(), time.process_time()))
        pairs, _ = near_duplicates(clean, found.cosine)
        seconds.append((time.perf_counter(), time.process_time()))
        wall, processor = np.diff(seconds, axis=0).T
        print(
            f"{images:6d} x {dim}: threshold {wall[0]:.2f} s ({processor[0]:.2f} CPU s), "
            f"pairs {wall[1]:.2f} s ({processor[1]:.2f} CPU s), {len(pairs)} found",
            flush=True,
        )


if __name__ == "__main__":
    main()
