"""ProbeResult -> its numbers as plain values, and as a table to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from frozenprobe.cache.store import Features
from frozenprobe.probe import intervals, metrics
from frozenprobe.probe.crossval import ProbeResult
from frozenprobe.probe.heads import Convergence
from frozenprobe.probe.options import AUTO


def summarise(result: ProbeResult) -> dict[str, Any]:
    """All numbers of a result as JSON-ready values, over the scored images."""
    scored, names = result.scored, result.class_names
    oof, labels = result.oof[scored], result.labels[scored]
    predicted = oof.argmax(axis=1)
    counts = metrics.confusion(predicted, labels, len(names))
    per_class = metrics.class_table(counts)
    lower, upper = intervals.accuracy_interval(predicted == labels, result.clusters[scored])
    return {
        "accuracy": metrics.accuracy(oof, labels),
        "accuracy_low": lower,
        "accuracy_high": upper,
        "log_loss": metrics.log_loss(oof, labels),
        "macro_f1": metrics.macro_f1(counts),
        "balanced_accuracy": metrics.balanced_accuracy(counts),
        "top5": metrics.top_k(oof, labels, 5),
        "images": len(labels),
        "images_not_scored": int((~scored).sum()),
        "classes": len(names),
        "optimistic_accuracy": result.optimistic,
        "folds": [asdict(fold) for fold in result.fold_scores],
        "refit": asdict(result.refit),
        "converged": converged(result),
        "confused": [[names[a], names[b], count] for a, b, count in metrics.confused_pairs(counts)],
        "per_class": [
            {"class": name, **{key: float(column[index]) for key, column in per_class.items()}}
            for index, name in enumerate(names)
        ],
        "notes": list(result.notes),
    }


def converged(result: ProbeResult) -> bool | None:
    """Whether every fit reached its tolerance; None for heads without one."""
    states = [fold.convergence.converged for fold in result.fold_scores] + [result.refit.converged]
    return None if None in states else all(states)


def title(result: ProbeResult, files: Sequence[Features], *, chosen: bool) -> str:
    """What was run, in a line or two.

    Args:
        result: of the probe.
        files: the opened feature files.
        chosen: whether the user named the head.
    """
    options = result.options
    how = "" if chosen else " (the default)" if options.head == AUTO else " (from the options)"
    lines = [options.says(how)]
    for features in files:
        used = len(features.augmented_views) if options.views is None else options.views
        fixed = ", ".join(options.test_views or features.test_views)
        spec = features.spec
        lines.append(f"backbone {spec.backbone}, recipe {spec.recipe}: {used} augmented views, and {fixed}")
    return "\n".join(lines)


def render(summary: dict[str, Any], *, per_class: bool = False) -> str:
    """The table a person reads."""
    lines = ["fold  images  accuracy  log-loss  macro-F1  seconds  convergence"]
    for fold in summary["folds"]:
        how = render_convergence(Convergence(**fold["convergence"]))
        lines.append(
            f"{fold['fold'] + 1:>4}  {fold['images']:>6}  {fold['accuracy']:>8.1%}  {fold['log_loss']:>8.3f}"
            f"  {fold['macro_f1']:>8.3f}  {fold['seconds']:>7.1f}  {how}"
        )
    low, high = summary["accuracy_low"], summary["accuracy_high"]
    lines += [
        "",
        f"out-of-fold accuracy  {summary['accuracy']:.1%}   (95 % interval {low:.1%} to {high:.1%}, "
        f"{summary['images']} images, {summary['classes']} classes)",
        f"top-5 accuracy        {summary['top5']:.1%}",
        f"balanced accuracy     {summary['balanced_accuracy']:.1%}",
        f"log-loss              {summary['log_loss']:.3f}",
        f"macro-F1              {summary['macro_f1']:.3f}",
    ]
    if summary["optimistic_accuracy"] is not None:
        lines += [
            f"best epoch of each fold, the report's protocol: {summary['optimistic_accuracy']:.1%} "
            "(selected on itself, optimistic); the numbers above are the last epoch's"
        ]
    if summary["confused"]:
        width = max(len(f"{a} / {b}") for a, b, _ in summary["confused"])
        lines += ["", "most confused"]
        lines += [f"  {f'{a} / {b}':<{width}}  {count} images" for a, b, count in summary["confused"]]
    if per_class:
        lines += ["", *render_classes(summary["per_class"])]
    if summary["converged"] is False:
        lines += ["", "NOT CONVERGED: the numbers are not those of this C; raise --max-iter or --tol"]
    lines += [f"note: {note}" for note in summary["notes"]]
    return "\n".join(lines)


def render_convergence(convergence: Convergence) -> str:
    """One cell of the table."""
    word = "converged" if convergence.converged else "NOT CONVERGED"
    if convergence.gap is not None:
        steps = "" if convergence.iterations is None else f", {convergence.iterations} evaluations"
        return f"{word}{steps}, within {convergence.gap:.1e} of the optimum"
    if convergence.gradient_norm is not None:
        return f"{word}, {convergence.iterations} iterations, |gradient| {convergence.gradient_norm:.1e}"
    if convergence.iterations is not None:
        return f"{convergence.iterations} epochs, training loss {convergence.objective:.3f}"
    return "exact, no iterations"


def render_classes(rows: list[dict[str, Any]]) -> list[str]:
    """The per-class table, lowest recall first."""
    width = max(5, *(len(row["class"]) for row in rows))
    lines = [f"{'class':<{width}}  images  recall  precision     F1"]
    for row in sorted(rows, key=lambda row: (row["recall"], row["class"])):
        lines.append(
            f"{row['class']:<{width}}  {row['images']:>6.0f}  {row['recall']:>6.1%}  {row['precision']:>9.1%}"
            f"  {row['f1']:>5.3f}"
        )
    return lines
