"""What every command that trains heads takes: the head and its hyper-parameters, the folds, the views."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from frozenprobe.commands.options import FILE, Command, names_of, options
from frozenprobe.probe.options import DEFAULT_FOLDS, HEADS, SCALES, ProbeOptions

repeated = click.option(
    "--repeats", type=int, default=1, show_default=True, help="Cross-validations, each with folds dealt anew."
)

# The hyper-parameters of the heads: type and help. `make_head` refuses one that the head does not have.
SETTINGS: dict[str, tuple[Any, str]] = {
    "c": (float, "Inverse strength of the L2 penalty.  [default: 1.0 in logreg, 0.01 in svm]"),
    "solver": (str, "Of logreg: own, or sklearn as the reference.  [default: own]"),
    "device": (str, "Of logreg: cpu, or for large sets cuda, cuda:1, mps or auto.  [default: cpu]"),
    "tol": (float, "Tolerance of logreg (how far above the optimum its objective may end, relatively) and svm."),
    "max_iter": (int, "Evaluations or iterations of logreg and svm at most."),
    "shrinkage": (float, "Of lda, above 0 up to 1.  [default: chosen on inner folds]"),
    "alpha": (float, "Penalty of ridge and kernel, relative.  [default: chosen on images left out]"),
    "kernel": (str, "Of kernel: rbf or arccos.  [default: rbf]"),
    "gamma": (float, "Of the rbf kernel, relative.  [default: chosen on images left out]"),
    "k": (int, "Neighbours of knn, in images.  [default: chosen]"),
    "temperature": (float, "Of knn's weights, or of cosine.  [default: fitted]"),
    "epochs": (int, "Of linear and mlp; 0: 60, or as many as make 1500 steps."),
    "lr": (float, "Learning rate of linear and mlp."),
    "weight_decay": (float, "Of linear and mlp."),
    "batch": (int, "Images in a step of linear and mlp."),
    "hidden": (int, "Width of the hidden layer of mlp."),
    "dropout": (float, "Share of values dropped in training mlp."),
}


def probe_command(default_head: str) -> Callable[[Command], Command]:
    """What every command that trains heads takes: the head and its hyper-parameters, the folds, the views."""
    heads = "; ".join(f"{name}: {info.description}" for name, info in HEADS.items())
    return options(
        click.option(
            "--features-dir", type=FILE, default=Path("features"), show_default=True, help="Where to look for features."
        ),
        click.option("--head", help=f"auto: the best blend; {heads}.  [default: {default_head}]"),
        *(click.option(f"--{name.replace('_', '-')}", type=kind, help=says) for name, (kind, says) in SETTINGS.items()),
        click.option("--folds", type=int, help=f"Number of folds.  [default: the fold column, else {DEFAULT_FOLDS}]"),
        click.option("--seed", type=int, default=ProbeOptions.seed, show_default=True, help="Of folds and head."),
        click.option("--views", type=int, help="Use only the first so many augmented views.  [default: all stored]"),
        click.option("--test-views", help="Use only these of the stored test-time views, comma-separated."),
        click.option("--tap", help="Use only this of the stored taps, or several joined by +.  [default: all of them]"),
        click.option("--scale", help=f"Feature scaling: {', '.join(SCALES)}.  [default: global; none for report]"),
        click.option(
            "--aggregate",
            help="Treat views as rows (probabilities averaged), logit (rows, logarithms averaged), mean (of an image's "
            "features) or clean (the clean view alone).  [default: rows; chosen by auto]",
        ),
        click.option("--class-weight", type=click.Choice(["balanced"]), help="Give every class the same total weight."),
    )


def probe_options(given: dict[str, Any], **more: Any) -> ProbeOptions:
    """The options that `probe_command` took."""
    return ProbeOptions(
        head=given["head"],
        settings={name: given[name] for name in SETTINGS if given[name] is not None},
        test_views=names_of(given["test_views"]),
        **{name: given[name] for name in ("folds", "seed", "views", "tap", "scale", "aggregate", "class_weight")},
        **more,
    )
