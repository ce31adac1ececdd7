"""How often `compare`'s test of two heads finds a difference: where there is none (5 % may be), and where there is one.

    python benchmarks/bench_tests.py                     # 2,000 simulations a cell: one or two minutes
    python benchmarks/bench_tests.py --simulations 200

A row is a population of clusters of images. Clusters are drawn from it independently; the population's accuracies are
equal in the first table, and differ by the points said in the second. A dash: no sample has enough clusters to say.
Beside the test's rates stand those of sign flips of the clusters' sums, which are exact where these are symmetric.
"""

from __future__ import annotations

from collections.abc import Callable

import click
import numpy as np

from frozenprobe.probe.stats.intervals import effective_clusters
from frozenprobe.probe.stats.significance import FEWEST_CLUSTERS, cluster_p, mcnemar_p

CLUSTERS = (20, 30, 40, 60, 100, 200)
FLIPS = 1000  # of signs
Population = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


def population(
    sizes: tuple[int, ...],
    shares: tuple[float, ...],
    points: tuple[float, ...],
    *,
    discordant: float,
    spread: float = 0.0,
) -> Population:
    """Clusters of some kinds.

    Args:
        sizes: images in a cluster of each kind.
        shares: of the kinds among the clusters.
        points: difference of the two accuracies on the images of each kind.
        discordant: share of the images that one head alone has right, beside those that `points` needs.
        spread: standard deviation over clusters of the difference.
    """

    def draw(rng: np.random.Generator, clusters: int) -> tuple[np.ndarray, np.ndarray]:
        kind = rng.choice(len(sizes), size=clusters, p=shares)
        size, difference = np.array(sizes)[kind], np.array(points)[kind]
        difference = np.clip(difference + rng.normal(0, spread, size=clusters), -0.9 + discordant, 0.9 - discordant)
        first = discordant / 2 + np.maximum(difference, 0)
        second = discordant / 2 + np.maximum(-difference, 0)
        only_first = rng.binomial(size, first)
        only_second = rng.binomial(size - only_first, second / (1 - first))
        return (only_first - only_second).astype(float), size.astype(float)

    return draw


HALVED = (0.508, 0.254, 0.127, 0.0635, 0.03175, 0.01575)
DOUBLED = (1, 2, 4, 8, 16, 32)  # with these shares about as many images of each size


def weighed(sizes: tuple[int, ...], shares: tuple[float, ...], points: tuple[float, ...]) -> tuple[float, ...]:
    """The points, the negative ones scaled so that the accuracies over all images are equal."""
    images = [size * share for size, share in zip(sizes, shares, strict=True)]
    gained = sum(image * max(point, 0) for image, point in zip(images, points, strict=True))
    lost = -sum(image * min(point, 0) for image, point in zip(images, points, strict=True))
    return tuple(point if point > 0 else point * gained / lost for point in points)


NULLS = {
    "independent images, 10 % discordant": population((1,), (1.0,), (0.0,), discordant=0.1),
    "independent images, 40 % discordant": population((1,), (1.0,), (0.0,), discordant=0.4),
    "3 % of the clusters are pairs": population((1, 2), (0.97, 0.03), (0.0, 0.0), discordant=0.1),
    "of 5, right and wrong together": population((5,) * 3, (0.25, 0.25, 0.5), (0.9, -0.9, 0.0), discordant=0.0),
    "of 10": population((10,), (1.0,), (0.0,), discordant=0.2, spread=0.1),
    "of 10, one in 6 against the others": population((10, 10), (5 / 6, 1 / 6), (0.1, -0.5), discordant=0.04),
    "of 10, one in 10 against the others": population((10, 10), (0.9, 0.1), (0.09, -0.81), discordant=0.04),
    "of 10, one in 20 against the others": population((10, 10), (0.95, 0.05), (0.04, -0.76), discordant=0.04),
    "of 2, one in 5 of 20 and against": population((2, 20), (0.8, 0.2), (0.4, -0.16), discordant=0.04),
    "of 2, one in 10 of 20 and against": population((2, 20), (0.9, 0.1), (0.4, -0.36), discordant=0.04),
    "of 1, one in 10 of 20 and against": population((1, 20), (0.9, 0.1), (0.2, -0.09), discordant=0.04),
    "of 1 to 32": population(DOUBLED, HALVED, (0.0,) * 6, discordant=0.1, spread=0.2),
    "of 1 to 32, the large against": population(
        DOUBLED, HALVED, weighed(DOUBLED, HALVED, (0.1,) * 4 + (-0.1,) * 2), discordant=0.1
    ),
    "of 1 to 32, the large far against": population(
        DOUBLED, HALVED, weighed(DOUBLED, HALVED, (0.3,) * 4 + (-0.3,) * 2), discordant=0.1
    ),
    "of 1, one in 20 of 20 and against*": population((1, 20), (0.95, 0.05), (0.2, -0.19), discordant=0.04),
}
REAL = {
    "independent images, 5 points": population((1,), (1.0,), (0.05,), discordant=0.1),
    "3 % of the clusters are pairs, 5 points": population((1, 2), (0.97, 0.03), (0.05, 0.05), discordant=0.1),
    "of 4, 10 points": population((4,), (1.0,), (0.1,), discordant=0.1),
    "of 10, 5 points": population((10,), (1.0,), (0.05,), discordant=0.2, spread=0.1),
    "of 10, 10 points": population((10,), (1.0,), (0.1,), discordant=0.2, spread=0.1),
    "of 1 to 32, 10 points": population(DOUBLED, HALVED, (0.1,) * 6, discordant=0.1, spread=0.1),
}


def sign_flips(differences: np.ndarray, signs: np.ndarray) -> float:
    """Share of the sign flips that leave a sum as large."""
    return float((np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9).mean())


def found(draw: Population, clusters: int, simulations: int) -> dict[str, float]:
    """Share of the simulations in which the test finds a difference, flips do, and the test answers."""
    rng = np.random.default_rng(clusters)
    signs = rng.choice([-1.0, 1.0], size=(FLIPS, clusters))
    counts = dict.fromkeys(("test", "flips", "said"), 0)
    for _ in range(simulations):
        differences, sizes = draw(rng, clusters)
        if sizes.max() == 1:
            p = mcnemar_p(int((differences > 0).sum()), int((differences < 0).sum()))
        else:
            p = cluster_p(differences, sizes) if effective_clusters(sizes) >= FEWEST_CLUSTERS else None
        counts["said"] += p is not None
        counts["test"] += p is not None and p < 0.05
        counts["flips"] += sign_flips(differences, signs) < 0.05
    return {name: count / simulations for name, count in counts.items()}


def print_table(populations: dict[str, Population], simulations: int) -> None:
    """A row a population, a column a number of clusters: the test (sign flips), in percent."""
    print("\n| clusters | " + " | ".join(map(str, CLUSTERS)) + " |\n|" + " --- |" * (len(CLUSTERS) + 1))
    for name, draw in populations.items():
        cells = []
        for clusters in CLUSTERS:
            rates = found(draw, clusters, simulations)
            test = f"{100 * rates['test']:.1f}" if rates["said"] else "-"
            cells.append(f"{test} ({100 * rates['flips']:.1f})")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


@click.command()
@click.option("--simulations", type=click.IntRange(1), default=2000, show_default=True, help="In each cell.")
def main(simulations: int) -> None:
    """Print both tables."""
    print("% of samples in which a difference is found: the test (sign flips). Equal accuracies:")
    print_table(NULLS, simulations)
    print("\nThe accuracies differ:")
    print_table(REAL, simulations)


if __name__ == "__main__":
    main()
