"""Out-of-fold and test accuracy of every head on given feature files, side by side: the tables in docs/benchmarks.md.

    python benchmarks/bench_photos.py --solution solution.csv features/*.h5

The solution is a CSV with the columns ID and Label; it is only measured against.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np

import frozenprobe as fp
from frozenprobe.system.csv_tables import read_table

CASES = (  # name, options
    ("logreg, clean view only", fp.ProbeOptions(views=0, test_views=("clean",))),
    ("logreg, clean and flip", fp.ProbeOptions(views=0, test_views=("clean", "hflip"))),
    ("logreg, 8 views", fp.ProbeOptions(views=8, test_views=("clean", "hflip"))),
    ("lda, clean and flip", fp.ProbeOptions(head="lda", views=0, test_views=("clean", "hflip"))),
    ("lda, 8 views", fp.ProbeOptions(head="lda", views=8, test_views=("clean", "hflip"))),
    ("linear, 8 views", fp.ProbeOptions(head="linear", views=8, test_views=("clean", "hflip"))),
    ("knn, 8 views", fp.ProbeOptions(head="knn", views=8, test_views=("clean", "hflip"))),
    ("report's head, all views", fp.ProbeOptions(head="report")),
)


@click.command()
@click.option("--solution", type=click.Path(path_type=Path, exists=True), required=True)
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
def main(solution: Path, files: tuple[Path, ...]) -> None:
    """Print a Markdown table for each feature file."""
    table = read_table(solution)
    truth = dict(zip(table.column("ID"), table.column("Label"), strict=True))
    for path in files:
        features = fp.open_features(path)
        labels = np.array([features.class_names.index(truth[name]) for name in features.test.ids])
        print(f"\n{features.spec.backbone}, recipe {features.spec.recipe}: {path}")
        print("\n| head | out of fold | test | log-loss, out of fold | seconds |\n| --- | --- | --- | --- | --- |")
        for name, options in CASES:
            start = time.perf_counter()
            try:
                result = fp.cross_validate(features, options)
            except fp.FrozenprobeError:  # more views asked for than this file has
                continue
            seconds = time.perf_counter() - start
            summary = fp.summarise(result)
            test = float((result.test.argmax(axis=1) == labels).mean())
            print(f"| {name} | {summary['accuracy']:.1%} | {test:.1%} | {summary['log_loss']:.2f} | {seconds:.1f} |")


if __name__ == "__main__":
    main()
