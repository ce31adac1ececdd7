"""The columns of a sample submission and the classes -> what each column of the submission holds."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from frozenprobe.errors import SubmissionError, some, unknown_name
from frozenprobe.system.csv_tables import Table
from frozenprobe.system.unicode_text import composed

NO_YES = ("0 1", "no yes", "n y", "false true", "f t", "neg pos", "negative positive", "absent present")
NEGATIONS = ("no", "not", "non", "without")
ASIDE = ("usage", "index", "unnamed 0", "")  # columns that no class is called after, and that hold no answer


@dataclass(frozen=True)
class Wish:
    """What is to be submitted.

    Attributes:
        class_names: C names.
        labels: the label to write for each.
        probabilities: instead of labels.
        positive: the class whose probability is wanted, by name or label, where there is one column for it.
        mapped: whether the labels are those of a label map.
    """

    class_names: Sequence[str]
    labels: Sequence[str]
    probabilities: bool = False
    positive: str | None = None
    mapped: bool = False


@dataclass(frozen=True)
class Columns:
    """What each column of a submission holds: ids, what `shares` and `kept` say, and the others the predicted label.

    Attributes:
        names: in order.
        id: the one of ids.
        shares: columns of probabilities, and the class of each.
        kept: columns that are as in the sample.
        notes: what the user should know of it.
    """

    names: Sequence[str]
    id: str
    shares: dict[str, int] = field(default_factory=dict)
    kept: Sequence[str] = ()
    notes: Sequence[str] = ()


def plan_columns(sample: Table | None, id_name: str, wish: Wish) -> Columns:
    """Hold the sample's columns and cells against the classes; without a sample, say what is usual.

    Raises:
        SubmissionError: they do not fit; nothing is guessed that could be two things.
    """
    positive = None if wish.positive is None else find_class(wish.positive, wish)
    if positive is not None and not wish.probabilities:
        raise SubmissionError(
            "Probabilities to write one class of", found="labels", where="--positive", remedy="add --probabilities"
        )
    if sample is None:
        return plan_freely(id_name, wish, positive)
    others = [name for name in sample.columns if name != id_name]
    aside = [name for name in others if " ".join(words(name)) in ASIDE and composed(name) not in wish.labels]
    values = [name for name in others if name not in aside] or others
    plan = plan_probabilities if wish.probabilities else plan_labels
    return plan(sample, id_name, values, wish)


def plan_freely(id_name: str, wish: Wish, positive: int | None) -> Columns:
    """The columns where no sample says them."""
    if positive is not None:
        return Columns((id_name, wish.labels[positive]), id_name, {wish.labels[positive]: positive})
    if wish.probabilities:
        return class_columns(id_name, wish)
    return Columns((id_name, "Label"), id_name)


def class_columns(id_name: str, wish: Wish, notes: Sequence[str] = ()) -> Columns:
    """One column a class, called as its label."""
    if id_name in wish.labels:
        raise SubmissionError(
            f"A column {id_name} for the ids and another one for every class",
            found=f"a class that is called {id_name}, too",
            where="the header of the submission",
            remedy="give the class another label with --label-map FILE",
        )
    shares = {label: number for number, label in enumerate(wish.labels)}
    return Columns((id_name, *wish.labels), id_name, shares, notes=notes)


def keeping(
    sample: Table, id_name: str, used: Collection[str], *, shares: dict[str, int] | None = None, note: str = ""
) -> Columns:
    """The columns of the sample; those that hold no answer stay as they are, and it is said."""
    kept = [name for name in sample.columns if name != id_name and name not in used]
    said = f"as in the sample: column {some(kept)}" if kept else ""
    return Columns(sample.columns, id_name, shares or {}, kept, [text for text in (note, said) if text])


# Labels


def plan_labels(sample: Table, id_name: str, values: Sequence[str], wish: Wish) -> Columns:
    """The label goes into the only column, or the only one of several whose cells are labels or empty.

    Raises:
        SubmissionError: no such column, or other labels in it.
    """
    fitting = [name for name in values if not unknown_labels(sample, name, wish)]
    if len(values) > 1 and len(fitting) != 1:
        raise SubmissionError(
            "A sample submission of two columns, id and label",
            found=f"the columns {', '.join(sample.columns)}",
            where=sample.path,
            remedy="for one column a class add --probabilities; else name another sample with --sample FILE",
        )
    if not values:
        raise SubmissionError(
            "A sample submission of two columns, id and label",
            found=f"only the column {id_name}",
            where=sample.path,
            remedy="name the competition's sample with --sample FILE, or add an empty column with the label's name",
        )
    column = (fitting or values)[0]
    if not fitting:
        raise wrong_labels(sample, column, wish)
    return keeping(sample, id_name, [column])


def unknown_labels(sample: Table, column: str, wish: Wish) -> list[str]:
    """The cells of a column that are no label of ours, each once; empty ones are only to be filled."""
    given = {composed(cell.strip()) for cell in sample.column(column)} - {""}
    return sorted(given - set(map(composed, wish.labels)))


def wrong_labels(sample: Table, column: str, wish: Wish) -> SubmissionError:
    """The error for a column that holds other labels than ours: probabilities, numbers for names, or unknown names."""
    unknown, where = unknown_labels(sample, column, wish), f"{sample.path}, column {column}"
    given = [cell.strip() for cell in sample.column(column) if cell.strip()]
    if any(share is not None and 0 < share < 1 for share in map(share_of, given)):
        return SubmissionError(
            "Labels, or --probabilities for a sample whose column holds probabilities",
            found=f"{some(unknown)} in the sample, the classes {some(wish.labels)}",
            where=where,
            remedy=commands(column, wish),
        )
    numeric, ours = all(map(is_number, given)), all(map(is_number, wish.labels))
    probable = len(wish.labels) == 2 and None not in map(share_of, given)
    more = f"; or, if the column wants a probability: {commands(column, wish)}" if probable else ""
    if numeric == ours:
        return SubmissionError(
            "Labels that are among the classes" + (" of the label map" if wish.mapped else ""),
            found=f"{len(unknown)} unknown labels in the sample: {some(unknown)}; the classes are {some(wish.labels)}",
            where=where,
            remedy=f"check that the sample belongs to these images; say its labels with {label_map(unknown, wish)}; or "
            f"empty the column if its labels are only fillers{more}",
        )
    kinds = ("numbers", "names") if numeric else ("names", "numbers")
    return SubmissionError(
        f"Labels of one kind: the sample's label column holds {kinds[0]}, the classes here are {kinds[1]}",
        found=f"{some(unknown)} in the sample, {some(wish.labels)} here",
        where=where,
        remedy=f"say which is which: {label_map(unknown, wish)}, as the competition pairs them{more}",
    )


def label_map(theirs: Sequence[str], wish: Wish) -> str:
    """What to write so that classes are called as the sample calls them, with the nearest two names as the example."""
    ours = {letters(name): name for name in reversed(wish.class_names)}
    nearest = [(near[0], name) for name in theirs if (near := get_close_matches(letters(name), ours, n=1))]
    one, other = nearest[0] if nearest else (next(reversed(ours)), theirs[0])
    return f"--label-map FILE, a CSV with the lines class,label and {ours[one]},{other} and so on, one a class"


# Probabilities


def plan_probabilities(sample: Table, id_name: str, values: Sequence[str], wish: Wish) -> Columns:
    """One column a class if the sample has them, one of P(class) if it has one of numbers; else the classes' own.

    Raises:
        SubmissionError: columns of other classes, or one column and no telling which class it is about.
    """
    shares = pair(values, wish.labels) if wish.positive is None else None
    if shares is not None:
        renamed = [f"{name} is {wish.labels[number]}" for name, number in shares.items()]
        alike = all(composed(name) == composed(wish.labels[number]) for name, number in shares.items())
        return keeping(sample, id_name, shares, shares=shares, note="" if alike else f"columns: {some(renamed)}")
    if len(values) == 1:
        return plan_one_column(sample, id_name, values[0], wish)
    if wish.positive is not None:
        raise SubmissionError(
            "One column for the probability of one class",
            found=f"the columns {some(values)}",
            where=sample.path,
            remedy="leave --positive out, or name another sample with --sample FILE",
        )
    raise other_columns(sample, values, wish)


def other_columns(sample: Table, columns: Sequence[str], wish: Wish) -> SubmissionError:
    """The error for columns that do not pair with the classes: which are on one side only."""
    theirs = [name for name in columns if composed(name) not in [*map(composed, wish.labels)]]
    ours = [name for name in wish.labels if composed(name) not in [*map(composed, columns)]]
    parts = {"columns that are no class here": theirs, "classes without a column": ours}
    also = "" if ours else f"train on images of {some(theirs)}, too; or "
    return SubmissionError(
        "A sample submission with one column a class",
        found="; ".join(f"{len(names)} {what}: {some(names)}" for what, names in parts.items() if names),
        where=sample.path,
        remedy=f"{also}name another sample with --sample FILE"
        + (f"; or call the classes as the columns are, with {label_map(theirs, wish)}" if theirs and ours else ""),
    )


def plan_one_column(sample: Table, id_name: str, column: str, wish: Wish) -> Columns:
    """P(class) in the only column; the classes' own columns if the sample's column is for a label.

    Raises:
        SubmissionError: it cannot be known which class, or the column holds fractions and there are many classes.
    """
    shares = [share_of(cell) for cell in sample.column(column) if cell.strip()]
    fractions = any(share is not None and 0 < share < 1 for share in shares)
    if wish.positive is not None:
        number: int | None = find_class(wish.positive, wish)
    elif None in shares or not (len(wish.labels) == 2 or fractions):
        note = f"the sample's column {column} is for a label: instead of it there is a column for each class"
        return class_columns(id_name, wish, (note,))
    else:
        number = positive_class(column, wish.labels)
    if number is None:
        raise SubmissionError(
            f"The class whose probability the column {column} holds",
            found=f"one column of numbers, and the classes {some(wish.labels)}",
            where=f"{sample.path}, column {column}",
            remedy=commands(column, wish),
        )
    note = f"{column} is the probability of {wish.class_names[number]}"
    return keeping(sample, id_name, [column], shares={column: number}, note=note)


def commands(column: str, wish: Wish) -> str:
    """What to paste so that one column holds the probability of one class."""
    line = "frozenprobe submit --probabilities"
    known = positive_class(column, wish.labels)
    if known is not None:
        return f"{line}   ({column} is then the probability of {wish.class_names[known]})"
    if len(wish.labels) > 2:
        return (
            f"one column cannot hold the probabilities of {len(wish.labels)} classes: name another sample with "
            f"--sample FILE, or the one class that it is about: {line} --positive {quoted(wish.class_names[0])}"
        )
    first, second = (f"{line} --positive {quoted(name)}" for name in wish.class_names)
    return f"{first}   or   {second}   (the competition says which class is the 1)"


def positive_class(column: str, labels: Sequence[str]) -> int | None:
    """Which of two classes a column of one probability is about; None: it could be either.

    The one that the column is called after (`is_dog`), the yes of no and yes, the hotdog of hotdog and not_hotdog.
    """
    told = [words(label) for label in labels]
    named = [number for number, label in enumerate(told) if label and contains(words(column), label)]
    if len(named) == 1:
        return named[0]
    if len(labels) != 2:
        return None
    for number, other in ((0, 1), (1, 0)):
        if f"{' '.join(told[other])} {' '.join(told[number])}" in NO_YES:
            return number
        if told[other][1:] == told[number] and told[other][:1] and told[other][0] in NEGATIONS:
            return number
    return None


def find_class(name: str, wish: Wish) -> int:
    """The class of this name, or of this label.

    Raises:
        FrozenprobeError: there is none.
    """
    for names in (wish.class_names, wish.labels):
        known = [*map(composed, names)]
        if composed(name) in known:
            return known.index(composed(name))
    raise unknown_name("class", name, wish.class_names, where="--positive")


# Names


def pair(columns: Sequence[str], labels: Sequence[str]) -> dict[str, int] | None:
    """The class of each column if they pair one to one: by name, by letters alone, or with one text around all of them.

    `multiple diseases` is `multiple_diseases`, `Class_1` to `Class_9` are `1` to `9`.
    """
    for key in (composed, letters):
        ours, theirs = [key(label) for label in labels], [key(column) for column in columns]
        for before, behind in [("", ""), *(around(ours[0], theirs) if key is letters else ())]:
            wanted = [before + label + behind for label in ours]
            if len(set(wanted)) == len(wanted) and sorted(wanted) == sorted(theirs):
                return {column: wanted.index(name) for column, name in zip(columns, theirs, strict=True)}
    return None


def around(label: str, columns: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What stands before and behind a label in the columns that hold it."""
    for column in columns:
        if label and label in column:
            yield column.rpartition(label)[::2]
            yield column.partition(label)[::2]


def words(text: str) -> list[str]:
    """Its words in lower case: `isDog`, `is_dog` and `Is dog` are the same two."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", composed(text))
    return re.findall(r"[^\W_]+", parted.casefold())


def letters(text: str) -> str:
    """Its letters and digits in lower case."""
    return "".join(words(text))


def contains(many: Sequence[str], few: Sequence[str]) -> bool:
    """Whether some words stand one behind the other among many."""
    return any(many[start : start + len(few)] == few for start in range(len(many) - len(few) + 1))


def is_number(text: str) -> bool:
    """Whether a label is a number (`7`, `007`, `1.0`)."""
    return re.fullmatch(r"[+-]?\d+(\.\d+)?", text.strip()) is not None


def share_of(cell: str) -> float | None:
    """The probability that a cell holds; None if it is none."""
    try:
        share = float(cell)
    except ValueError:
        return None
    return share if 0 <= share <= 1 else None


def quoted(name: str) -> str:
    """A name as it is typed on a command line."""
    return name if re.fullmatch(r"[\w.]+", name) else f'"{name}"'
