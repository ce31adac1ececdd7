"""ProbeResult -> its numbers as plain values, and as a table to read."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from frozenprobe.cache.store import Features
from frozenprobe.probe.heads.head import Convergence
from frozenprobe.probe.heads.parts.temperature import expected_calibration_error
from frozenprobe.probe.options import AUTO
from frozenprobe.probe.report.final_head import FinalHead, estimate_final
from frozenprobe.probe.result import ProbeResult, ScoredPredictions
from frozenprobe.probe.stats import intervals, metrics
from frozenprobe.probe.stats.growth import Estimate
from frozenprobe.probe.stats.intervals import FEWEST
from frozenprobe.probe.stats.public import public_score_interval, render_public

WIDTH = 118  # of a line
TOO_FEW = f"too few groups of images to say how far off: {FEWEST} of a size are needed"
TOP = 5  # classes that count as a hit in the top-5 accuracy


def summarise(result: ProbeResult, *, public_share: float | None = None) -> dict[str, Any]:
    """All numbers of a result as JSON-ready values, over the scored images (of all repeats).

    The top-5 accuracy of five classes or fewer says nothing: it is None.

    Args:
        result: of the probe.
        public_share: of the test images that a leaderboard shows, to say where its score will fall.

    Raises:
        FrozenprobeError: no such share of the test images.
    """
    scored, names = result.scored_predictions(), result.class_names
    oof, labels = scored.oof, scored.labels
    right = metrics.right_of(oof, labels)
    counts = result.confusion()
    low, high = intervals.accuracy_interval(right, scored.clusters)
    loss_low, loss_high = intervals.loss_interval(metrics.losses(oof, labels), scored.clusters)
    final = estimate_final(result)
    return {
        "accuracy": metrics.accuracy(oof, labels),
        "accuracy_low": low,
        "accuracy_high": high,
        "log_loss": metrics.log_loss(oof, labels),
        "log_loss_low": loss_low,
        "log_loss_high": loss_high,
        "final_head": summarise_final(final),
        "calibration_error": expected_calibration_error(oof, labels),
        "before_temperature": summarise_uncalibrated(scored),
        "public_score": summarise_public(
            final.accuracy if final else Estimate(metrics.accuracy(oof, labels), low, high),
            len(result.test_ids),
            public_share,
        ),
        "macro_f1": metrics.macro_f1(counts),
        "balanced_accuracy": metrics.balanced_accuracy(counts),
        "top5": metrics.top_k(oof, labels, TOP) if len(names) > TOP else None,
        "images": int(result.scored.sum()),
        "images_not_scored": int((~result.scored).sum()),
        "classes": len(names),
        "optimistic_accuracy": result.optimistic,
        "repeats": summarise_repeats(result),
        "chosen": result.chosen,
        "candidates": [asdict(candidate) for candidate in result.candidates],
        "skipped": list(result.skipped),
        "counted_seconds": result.counted,
        "class_weight": result.options.class_weight,
        "folds": [asdict(fold) for fold in result.fold_scores],
        "refit": asdict(result.refit),
        "converged": converged(result),
        "confused": [[names[a], names[b], count] for a, b, count in metrics.confused_pairs(counts)],
        "per_class": summarise_classes(counts, names),
        "notes": list(result.notes),
    }


def summarise_uncalibrated(scored: ScoredPredictions) -> dict[str, float] | None:
    """What the temperature changed; None where none was fitted."""
    if scored.uncalibrated is None:
        return None
    return {
        "log_loss": metrics.log_loss(scored.uncalibrated, scored.labels),
        "calibration_error": expected_calibration_error(scored.uncalibrated, scored.labels),
    }


def summarise_classes(counts: npt.NDArray[np.int64], names: Sequence[str]) -> list[dict[str, Any]]:
    """A row a class, from the confusion matrix."""
    columns = metrics.class_table(counts)
    return [
        {"class": name, **{key: float(column[index]) for key, column in columns.items()}}
        for index, name in enumerate(names)
    ]


def summarise_final(final: FinalHead | None) -> dict[str, float] | None:
    """What the head that is trained on all images will score, estimated; None where that was not measured."""
    if final is None:
        return None
    scores = {
        f"{name}{end}": getattr(getattr(final, name), of)
        for name in ("accuracy", "log_loss")
        for end, of in (("", "value"), ("_low", "low"), ("_high", "high"))
    }
    return scores | {"times_the_images": final.times}


def summarise_public(accuracy: Estimate, test_images: int, share: float | None) -> dict[str, float] | None:
    """Where the score of a leaderboard will fall that shows a share of the test images; None if none is asked about."""
    if share is None:
        return None
    low, high = public_score_interval(accuracy, test_images=test_images, share=share)
    return {"low": low, "high": high, "test_images": test_images, "share": share}


def summarise_repeats(result: ProbeResult) -> dict[str, Any] | None:
    """Mean and spread of the accuracy over the repeats; None for one alone."""
    if not result.repeats:
        return None
    accuracies = [metrics.accuracy(one.oof[one.scored], one.labels[one.scored]) for one in result.repeats]
    return {"accuracies": accuracies, **intervals.repeat_summary(accuracies)}


def converged(result: ProbeResult) -> bool | None:
    """Whether every fit reached its tolerance; None for heads without one."""
    states = [fold.convergence.converged for fold in result.fold_scores] + [result.refit.converged]
    told = [state for state in states if state is not None]
    return all(told) if told else None


def title(result: ProbeResult, files: Sequence[Features], *, chosen: bool) -> str:
    """What was run, in a line or two.

    Args:
        result: of the probe.
        files: the opened feature files.
        chosen: whether the user named the head.
    """
    options = result.options
    how = "" if chosen else " (the default)" if options.head == AUTO else " (from the options)"
    lines = [options.describe(how)]
    for features in files:
        used = len(features.augmented_views) if options.views is None else options.views
        fixed = ", ".join(options.test_views or features.test_views)
        spec = features.spec
        tap = f", tap {features.select_tap(options.tap).tap}" if len(features.taps) > 1 else ""
        lines.append(f"backbone {spec.backbone}{tap}, recipe {spec.recipe}: {used} augmented views, and {fixed}")
    return "\n".join(lines)


def render(summary: dict[str, Any], *, per_class: bool = False) -> str:
    """The tables a person reads."""
    lines = [*render_choice(summary), *render_folds(summary["folds"]), "", *render_scores(summary)]
    repeats = 1 if summary["repeats"] is None else len(summary["repeats"]["accuracies"])
    if summary["optimistic_accuracy"] is not None:
        lines.append(
            f"best epoch of each fold, the report's protocol: {summary['optimistic_accuracy']:.1%} "
            "(selected on itself, optimistic); the numbers above are the last epoch's"
        )
    if summary["confused"]:
        width = max(len(f"{a} / {b}") for a, b, _ in summary["confused"])
        lines += ["", "most confused" + (f", counted over all {repeats} repeats" if repeats > 1 else "")]
        lines += [f"  {f'{a} / {b}':<{width}}  {count} images" for a, b, count in summary["confused"]]
    if per_class:
        lines += ["", *render_classes(summary["per_class"])]
    if summary["converged"] is False:
        stuck = any(state["stuck"] for state in [summary["refit"], *(fold["convergence"] for fold in summary["folds"])])
        remedy = "raise --tol or lower --c: more iterations would not help" if stuck else "raise --max-iter or --tol"
        lines += ["", f"NOT CONVERGED: the numbers are not those of this head's optimum; {remedy}"]
    for note in summary["notes"]:
        lines += wrapped(f"note: {note}")
    return "\n".join(lines)


def render_choice(summary: dict[str, Any]) -> list[str]:
    """What was tried, the best of each family, and what was chosen; nothing where nothing was."""
    if len(summary["candidates"]) < 2:
        return []
    best: dict[str, dict[str, Any]] = {}
    for candidate in summary["candidates"]:
        if candidate["share"] > best.setdefault(candidate["family"], candidate)["share"]:
            best[candidate["family"]] = candidate
    where = "" if summary["repeats"] is None else " in the first repeat"
    alike = ", every class weighing alike" if summary["class_weight"] else ""
    many = f"{len(summary['candidates'])} candidates"
    many += f", counted as {summary['counted_seconds']:.1f} s of two slow cores" if summary["counted_seconds"] else ""
    lines = [f"{many}; of each family the best, scored out of fold{where} and calibrated{alike}"]
    lines.append("log-loss  accuracy  share  candidate")
    for candidate in best.values():
        share = f"{candidate['share']:.0%}" if candidate["share"] else "-"
        scores = f"{candidate['log_loss']:>8.3f}  {candidate['accuracy']:>8.1%}  {share:>5}"
        lines.append(f"{scores}  {candidate['description']}")
    if summary["skipped"]:
        lines += wrapped(f"skipped, beyond --budget or a head's limit: {'; '.join(summary['skipped'])}")
    return [*lines, ""]


def render_folds(folds: list[dict[str, Any]]) -> list[str]:
    """A row a fold and the time that all took; of several repeats a row a repeat."""
    last = "chosen inside its training part" if folds[0]["description"] else "convergence"
    if folds[-1]["repeat"]:
        return render_repeats(folds)
    lines = [f"fold  images  accuracy  log-loss  macro-F1  {last}"]
    for fold in folds:
        how = fold["description"] or render_convergence(Convergence(**fold["convergence"]))
        numbers = (f"{fold['accuracy']:.1%}", f"{fold['log_loss']:.3f}", f"{fold['macro_f1']:.3f}")
        cells = "".join(f"  {number if fold['images'] else '-':>8}" for number in numbers)
        lines.append(f"{fold['fold'] + 1:>4}  {fold['images']:>6}{cells}  {how}")
    return [*lines, f"all in {sum(fold['seconds'] for fold in folds):.1f} s"]


def render_repeats(folds: list[dict[str, Any]]) -> list[str]:
    """A row a repeat: the means over its folds, weighted by their images."""
    lines = ["repeat  accuracy  log-loss  seconds"]
    for repeat in range(folds[-1]["repeat"] + 1):
        own = [fold for fold in folds if fold["repeat"] == repeat and fold["images"]]
        images = sum(fold["images"] for fold in own)
        accuracy, loss = (sum(fold[of] * fold["images"] for fold in own) / images for of in ("accuracy", "log_loss"))
        lines.append(f"{repeat + 1:>6}  {accuracy:>8.1%}  {loss:>8.3f}  {sum(fold['seconds'] for fold in own):>7.1f}")
    return lines


def render_scores(summary: dict[str, Any]) -> list[str]:
    """The numbers over all scored images."""
    few = summary["accuracy_low"] == 0 and summary["accuracy_high"] == 1
    low, high = summary["log_loss_low"], summary["log_loss_high"]
    loss = f"{summary['log_loss']:.3f}   ({TOO_FEW if few else f'95 % interval {low:.3f} to {high:.3f}'}"
    error = f"{summary['calibration_error']:.1%}"
    before = summary["before_temperature"]
    if before is not None:
        loss += f"; {before['log_loss']:.3f} before the temperature"
        error += f"    ({before['calibration_error']:.1%} before the temperature)"
    lines = [
        f"out-of-fold accuracy  {with_interval(summary, 'accuracy')}, "
        f"{summary['images']} images, {summary['classes']} classes)",
        *([] if summary["final_head"] is None else [render_final(summary["final_head"])]),
        *([] if summary["top5"] is None else [f"top-5 accuracy        {summary['top5']:.1%}"]),
        f"balanced accuracy     {summary['balanced_accuracy']:.1%}",
        f"log-loss              {loss})",
        f"calibration error     {error}",
        f"macro-F1              {summary['macro_f1']:.3f}",
    ]
    public = summary["public_score"]
    if public is not None:
        told = {"test_images": public["test_images"], "share": public["share"]}
        lines.append(render_public((public["low"], public["high"]), **told))
    if summary["repeats"] is not None:
        lines += wrapped(f"over the repeats      {summary['repeats']['note']}", indent=22)
    if summary["chosen"]:
        several = "" if summary["repeats"] is None else " (of the first repeat; test images get the mean of all)"
        gap = summary["refit"]["gap"]
        certified = "" if gap is None else f"; within {gap:.1e} of the optimum"
        lines += ["", *wrapped(f"final{several}: {summary['chosen']}{certified}", indent=7)]
    return lines


def with_interval(scores: dict[str, Any], name: str) -> str:
    """A share with its interval, the bracket left open."""
    low, high = scores[f"{name}_low"], scores[f"{name}_high"]
    interval = TOO_FEW if (low, high) == (0, 1) else f"95 % interval {low:.1%} to {high:.1%}"
    return f"{scores[name]:.1%}   ({interval}"


def render_final(final: dict[str, Any]) -> str:
    """What the final head will score, and why that is another number."""
    return (
        f"final head, estimated {with_interval(final, 'accuracy')}; it has {final['times_the_images']:.3g} times "
        "the images of those out of fold)"
    )


def wrapped(text: str, *, indent: int = 6) -> list[str]:
    """Lines of at most `WIDTH` characters, all but the first indented."""
    return textwrap.wrap(text, WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


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
        numbers = f"{row['images']:>6.0f}  {row['recall']:>6.1%}  {row['precision']:>9.1%}  {row['f1']:>5.3f}"
        lines.append(f"{row['class']:<{width}}  {numbers}")
    return lines
