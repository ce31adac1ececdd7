"""Comparison -> the tables and sentences a person reads."""

from __future__ import annotations

from frozenprobe.probe.compare.compare import Comparison, PairScore


def render_comparison(comparison: Comparison) -> str:
    """The tables and sentences a person reads."""
    several = len(comparison.pairs) > 1
    lines = ["     accuracy  95 % interval    log-loss  run"]
    for run in comparison.runs:
        interval = f"{run.accuracy_low:.1%} to {run.accuracy_high:.1%}"
        lines.append(
            f"{run.name:<3}  {run.accuracy:>8.1%}  {interval:<15}  {run.log_loss:>8.3f}  "
            f"{run.path.name}: {run.description}"
        )
    width = max(len(pair_name(pair)) for pair in comparison.pairs)
    lines += ["", f"{'':<{width}}    points  95 % interval         p  log-loss  95 % interval"]
    for pair in comparison.pairs:
        points = f"{100 * pair.low:+.1f} to {100 * pair.high:+.1f}"
        losses = f"{pair.log_loss_low:+.3f} to {pair.log_loss_high:+.3f}"
        lines.append(
            f"{pair_name(pair):<{width}}  {100 * pair.difference:>+8.1f}  {points:<14}  {render_p(pair.p):>7}"
            f"  {pair.log_loss_difference:>+8.3f}  {losses:<16}  {pair.verdict}"
        )
    lines.append("")
    independent = comparison.clusters == comparison.images
    test = "exact McNemar test" if independent else "t-test over clusters, approximate"
    if any(pair.repeats for pair in comparison.pairs):
        test += " or corrected resampled t-test over repeats, whichever is larger"
    lines.append(
        f"{comparison.images} images predicted out of fold; p: {test}"
        + (f"; Holm's for {len(comparison.pairs)} pairs (each interval is for its own pair)" if several else "")
    )
    for pair in comparison.pairs:
        lines += render_pair(pair, comparison.images)
    return "\n".join(lines + [f"note: {note}" for note in comparison.notes])


def pair_name(pair: PairScore) -> str:
    """The heading of a pair's line."""
    return f"{pair.first} - {pair.second}"


def render_pair(pair: PairScore, images: int) -> list[str]:
    """A pair's evidence, and, where it is not enough, what would be."""
    lines = [
        f"{pair_name(pair)}: {pair.only_first_right} images only {pair.first} has right, "
        f"{pair.only_second_right} only {pair.second}"
    ]
    if pair.repeats:
        lines[0] += (
            f" (p = {render_p(pair.p_images)}); over {pair.repeats.freedom + 1} folds of the repeats "
            f"{100 * pair.repeats.difference:+.1f} points (p = {render_p(pair.repeats.p)})"
        )
    if pair.better or pair.smallest_difference is None:
        return lines
    if pair.smallest_difference > 1:
        return [*lines, f"  {images} images are too few to show any difference"]
    smallest = 100 * pair.smallest_difference
    enough = f"  {images} such images would show a difference of {smallest:.1f} points 4 times of 5"
    if pair.images_needed and pair.images_needed > images:
        found, needed = 100 * abs(pair.difference), int(float(f"{pair.images_needed:.1e}"))  # to two digits
        enough += f"; {found:.2g} points would need about {needed:,} images"
    return [*lines, enough]


def render_p(p: float | None) -> str:
    """Three decimals; a dash where clusters are too few to say."""
    if p is None:
        return "-"
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"
