"""A run's test predictions -> a submission CSV that fits the sample: its columns, its ids, its order, class names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from frozenprobe.errors import FrozenprobeError, SubmissionError, some
from frozenprobe.probe.report.match_ids import find_id_column, match_ids
from frozenprobe.probe.report.runs import Run, load_run
from frozenprobe.probe.report.sample_columns import Wish, plan_columns
from frozenprobe.system.csv_tables import Table, read_table, write_table
from frozenprobe.system.files import StrPath
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
        columns: the header.
        notes: what columns hold, where it does not go without saying.
    """

    path: Path
    rows: int
    matched_by: str
    histogram: list[tuple[str, int]]
    changed: int | None
    warnings: list[str]
    columns: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


def write_submission(
    run: Run | StrPath,
    out: StrPath = Path("submission.csv"),
    *,
    sample: Table | StrPath | None = None,
    label_map: StrPath | None = None,
    probabilities: bool = False,
    positive: str | None = None,
) -> SubmissionReport:
    """Check the run's predictions against the sample submission and write them.

    Args:
        run: predictions for all test images, loaded or by their folder's name.
        out: the CSV.
        sample: the sample submission; None: the one kept in the feature file, else all test images under `ID,Label`.
        label_map: a CSV of two columns, class name and the label to write for it.
        probabilities: one column a class instead of one label; or one column alone, if the sample has one of numbers.
        positive: the class whose probability that one column holds; None: it has to be clear from the names.

    Raises:
        SubmissionError: ids or labels that do not fit; the message shows examples, and nothing is written.
    """
    run, out = run if isinstance(run, Run) else load_run(run), Path(out)
    if not run.test_ids:
        raise SubmissionError(
            "Answers to test images",
            found="a run without any",
            where=run.path,
            remedy="add the test images to the features: frozenprobe extract --test DIR, then probe again",
        )
    table = run.sample if sample is None else sample if isinstance(sample, Table) else read_table(Path(sample))
    labels = read_label_map(Path(label_map), run.class_names) if label_map else run.class_names
    id_name = "ID" if table is None else find_id_column(table, run.test_ids)
    wish = Wish(run.class_names, labels, probabilities, positive, mapped=label_map is not None)
    columns = plan_columns(table, id_name, wish)
    if table is None:
        ids, rows, matched_by = run.test_ids, list(range(len(run.test_ids))), NO_SAMPLE
    else:
        ids = table.column(id_name)
        rows, matched_by = match_ids(table, ids, run.test_ids)
    chosen = run.test[rows]
    predicted = [labels[index] for index in chosen.argmax(axis=1)]
    cells: dict[str, Sequence[str]] = {id_name: ids}
    cells |= {name: [f"{p:.6f}" for p in chosen[:, number]] for name, number in columns.shares.items()}
    cells |= {name: table.column(name) for name in columns.kept if table is not None}
    report = SubmissionReport(
        path=out,
        rows=len(rows),
        columns=tuple(columns.names),
        matched_by=matched_by,
        histogram=Counter(predicted).most_common(),
        changed=None if probabilities else count_changes(out, dict(zip(ids, predicted, strict=True)), id_name),
        notes=[*columns.notes],
        warnings=make_warnings(run, rows, predicted),
    )
    if table is None:
        report.notes.append(
            f"no sample submission was found by extract or named: the header is {','.join(columns.names)}, the ids are "
            f"those of the images ({ids[0]}); if another form is wanted: frozenprobe submit --sample FILE"
        )
    write_table(out, columns.names, zip(*(cells.get(name, predicted) for name in columns.names), strict=True))
    return report


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
    lines += [f"note: {note}" for note in report.notes]
    return "\n".join(lines + [f"WARNING: {warning}" for warning in report.warnings])
