"""A run's test predictions -> a submission CSV that fits the sample: its columns, its ids, its order, class names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from frozenprobe.errors import FrozenprobeError, SubmissionError, some
from frozenprobe.probe.report.match_ids import find_id_column, match_ids
from frozenprobe.probe.report.runs import Run
from frozenprobe.system.csv_tables import Table, read_table, write_table
from frozenprobe.system.unicode_text import composed

NO_SAMPLE = "no sample: all test images"
FEW = 0.1  # warned about when all predictions fall into fewer than this share of the classes


@dataclass(frozen=True)
class SubmissionReport:
    """What was written.

    Attributes:
        path: the CSV.
        rows: predictions in it.
        matched_by: how the sample's ids were found among the test images.
        histogram: predictions by label, most frequent first.
        changed: predictions that differ from the file that was there before; None: there was none to compare with.
        warnings: what looks wrong but is not refused.
    """

    path: Path
    rows: int
    matched_by: str
    histogram: list[tuple[str, int]]
    changed: int | None
    warnings: list[str]


def write_submission(
    run: Run,
    out: Path = Path("submission.csv"),
    *,
    sample: Table | None = None,
    label_map: Path | None = None,
    probabilities: bool = False,
) -> SubmissionReport:
    """Check the run's predictions against the sample submission and write them.

    Args:
        run: predictions for all test images.
        out: the CSV.
        sample: the sample submission; None: the one kept in the feature file, else all test images under `ID,Label`.
        label_map: a CSV of two columns, class name and the label to write for it.
        probabilities: one column a class instead of one label.

    Raises:
        SubmissionError: ids or labels that do not fit; the message shows examples, and nothing is written.
    """
    if not run.test_ids:
        raise SubmissionError(
            "Answers to test images",
            found="a run without any",
            where=run.path,
            remedy="add the test images to the features: frozenprobe extract --test DIR, then probe again",
        )
    sample = sample or run.sample
    labels = read_label_map(label_map, run.class_names) if label_map else run.class_names
    id_name = "ID" if sample is None else find_id_column(sample, run.test_ids)
    if probabilities and id_name in labels:
        raise SubmissionError(
            f"A column {id_name} for the ids and another one for every class",
            found=f"a class that is called {id_name}, too",
            where=sample.path if sample else run.path,
            remedy="give the class another label with --label-map FILE",
        )
    if sample is None:
        ids, rows, matched_by = run.test_ids, list(range(len(run.test_ids))), NO_SAMPLE
        columns: tuple[str, ...] = ("ID", *labels) if probabilities else ("ID", "Label")
    else:
        ids = sample.column(id_name)
        rows, matched_by = match_ids(sample, ids, run.test_ids)
        columns = check_columns(sample, id_name, labels, probabilities=probabilities, mapped=label_map is not None)
    chosen = run.test[rows]
    predicted = [labels[index] for index in chosen.argmax(axis=1)]
    shares = {composed(label): [f"{p:.6f}" for p in own] for label, own in zip(labels, chosen.T, strict=True)}
    cells = [ids if name == id_name else shares[composed(name)] if probabilities else predicted for name in columns]
    report = SubmissionReport(
        path=out,
        rows=len(rows),
        matched_by=matched_by,
        histogram=Counter(predicted).most_common(),
        changed=None if probabilities else count_changes(out, dict(zip(ids, predicted, strict=True)), id_name),
        warnings=make_warnings(run, rows, predicted),
    )
    write_table(out, columns, zip(*cells, strict=True))
    return report


def check_columns(
    sample: Table, id_name: str, labels: Sequence[str], *, probabilities: bool, mapped: bool
) -> tuple[str, ...]:
    """The columns to write, after holding the sample's own labels against ours.

    Raises:
        SubmissionError: the sample has another kind of columns or labels.
    """
    others = [name for name in sample.columns if name != id_name]
    if probabilities:
        return check_probability_columns(sample, id_name, others, labels)
    if len(others) != 1:
        raise SubmissionError(
            "A sample submission of two columns, id and label",
            found=f"the columns {', '.join(sample.columns)}",
            where=sample.path,
            remedy="for one column a class add --probabilities; else name another sample with --sample FILE",
        )
    given = {composed(cell.strip()) for cell in sample.column(others[0])} - {""}
    unknown = sorted(given - set(map(composed, labels)))
    if not unknown:
        return sample.columns
    numeric, ours = all(map(is_number, given)), all(map(is_number, labels))
    if numeric != ours:
        kinds = ("numbers", "names") if numeric else ("names", "numbers")
        raise SubmissionError(
            f"Labels of one kind: the sample's label column holds {kinds[0]}, the classes here are {kinds[1]}",
            found=f"{some(unknown)} in the sample, {some(labels)} here",
            where=f"{sample.path}, column {others[0]}",
            remedy="say which is which: --label-map FILE, a CSV of two columns, class name and label to write",
        )
    raise SubmissionError(
        "Labels that are among the classes" + (" of the label map" if mapped else ""),
        found=f"{len(unknown)} unknown labels in the sample: {some(unknown)}; the classes are {some(labels)}",
        where=f"{sample.path}, column {others[0]}",
        remedy="check that the sample belongs to these images; name the labels with --label-map FILE, "
        "or empty the column if its labels are only fillers",
    )


def check_probability_columns(
    sample: Table, id_name: str, others: Sequence[str], labels: Sequence[str]
) -> tuple[str, ...]:
    """The sample's columns if they are one a class; a sample of id and label gets the classes' columns instead."""
    if sorted(map(composed, others)) == sorted(map(composed, labels)):
        return sample.columns
    if len(others) == 1:
        return (id_name, *labels)
    raise SubmissionError(
        "A sample submission with one column a class",
        found=f"columns for {some(set(others) ^ set(labels))} on one side only",
        where=sample.path,
        remedy="name another sample with --sample FILE, or the labels with --label-map FILE",
    )


def read_label_map(path: Path, class_names: Sequence[str]) -> tuple[str, ...]:
    """The label to write for each class.

    Raises:
        SubmissionError: another shape than two columns, or classes without a label or with two.
    """
    table = read_table(path)
    if composed(table.columns[0]) in set(class_names) - set(map(composed, table.column(table.columns[0]))):
        table = table.without_header()
    if len(table.columns) != 2:
        raise SubmissionError(
            "A CSV of two columns, class name and label to write (with a header line)",
            found=f"{len(table.columns)} columns",
            where=path,
            remedy="write one row a class",
        )
    pairs = [(composed(name.strip()), label.strip()) for name, label in table.rows]
    label_of = dict(pairs)
    labels = tuple(label_of.get(name, "") for name in class_names)
    missing = [name for name, label in zip(class_names, labels, strict=True) if not label]
    names = Counter(name for name, _ in set(pairs))
    twice = [name for name in class_names if names[name] > 1]
    shared = [label for label, count in Counter(labels).items() if count > 1]
    if missing or twice or shared:
        found = f"none for {some(missing)}" if missing else f"several labels for {some(twice)}"
        raise SubmissionError(
            "One label of its own for every class",
            found=found if missing or twice else f"the same label for several classes: {some(shared)}",
            where=path,
            remedy="write one row a class",
        )
    return labels


def count_changes(out: Path, predicted: dict[str, str], id_name: str) -> int | None:
    """How many predictions differ from the submission that `out` holds now; None if it holds none for the same ids."""
    try:
        last = read_table(out)
        (label_name,) = set(last.columns) - {id_name}
        before = dict(zip(last.column(id_name), last.column(label_name), strict=True))
    except (FrozenprobeError, ValueError):
        return None
    if set(before) != set(predicted):
        return None
    return sum(before[name] != label for name, label in predicted.items())


def make_warnings(run: Run, rows: Sequence[int], predicted: Sequence[str]) -> list[str]:
    """What looks wrong but may be right."""
    warnings = []
    used, classes = len(set(predicted)), len(run.class_names)
    if len(predicted) >= classes and used <= max(1, FEW * classes):
        warnings.append(f"all {len(predicted)} answers fall into {used} of {classes} classes")
    bad = [run.test_ids[row] for row in rows if not run.test_usable[row]]
    if bad:
        warnings.append(f"{len(bad)} images could not be decoded, their answers are guesses: {some(bad)}")
    return warnings


def is_number(text: str) -> bool:
    """Whether a label is a number (`7`, `007`, `1.0`)."""
    return re.fullmatch(r"[+-]?\d+(\.\d+)?", text.strip()) is not None


def render_submission(report: SubmissionReport, *, most: int = 10) -> str:
    """What was written, for a person: the most frequent labels as bars."""
    how = report.matched_by if report.matched_by == NO_SAMPLE else f"ids matched by {report.matched_by}"
    lines = [f"submission {report.path}: {report.rows} answers in {len(report.histogram)} classes; {how}"]
    longest = report.histogram[0][1]
    width = max(len(label) for label, _ in report.histogram[:most])
    for label, count in report.histogram[:most]:
        lines.append(f"  {label:<{width}}  {count:>6}  {'#' * max(1, round(30 * count / longest))}")
    if len(report.histogram) > most:
        rest = report.histogram[most:]
        lines.append(f"  ... {len(rest)} more classes with {rest[-1][1]} to {rest[0][1]} answers each")
    if report.changed is not None:
        lines.append(f"{report.changed} of {report.rows} answers differ from the submission that was there before")
    return "\n".join(lines + [f"WARNING: {warning}" for warning in report.warnings])
