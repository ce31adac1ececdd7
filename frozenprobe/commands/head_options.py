"""What every command that trains heads takes: the head and its hyper-parameters, the folds, the views."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from frozenprobe.commands.options import FILE, Command, names_of, options
from frozenprobe.probe.heads.registry import HEADS, as_typed
from frozenprobe.probe.options import DEFAULT_FOLDS, SCALES, ProbeOptions

repeated = click.option(
    "--repeats", type=int, default=1, show_default=True, help="Cross-validations, each with folds dealt anew."
)


def probe_command(default_head: str) -> Callable[[Command], Command]:
    """The options, the hyper-parameters of all heads among them; one that a head does not have is refused later."""
    heads = "; ".join(f"{name}: {entry.description}" for name, entry in HEADS.items())
    scales = "".join(f"; {entry.scale} for {name}" for name, entry in HEADS.items() if entry.scale != "global")
    return options(
        click.option(
            "--features-dir", type=FILE, default=Path("features"), show_default=True, help="Where to look for features."
        ),
        click.option("--head", help=f"auto: the best blend; {heads}.  [default: {default_head}]"),
        *(head_option(name) for name in option_names()),
        click.option("--folds", type=int, help=f"Number of folds.  [default: the fold column, else {DEFAULT_FOLDS}]"),
        click.option("--seed", type=int, default=ProbeOptions.seed, show_default=True, help="Of folds and head."),
        click.option("--views", type=int, help="Use only the first so many augmented views.  [default: all stored]"),
        click.option("--test-views", help="Use only these of the stored test-time views, comma-separated."),
        click.option("--tap", help="Use only this of the stored taps, or several joined by +.  [default: all of them]"),
        click.option("--scale", help=f"Feature scaling: {', '.join(SCALES)}.  [default: global{scales}]"),
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
        settings={name: given[name] for name in option_names() if given[name] is not None},
        test_views=names_of(given["test_views"]),
        **{name: given[name] for name in ("folds", "seed", "views", "tap", "scale", "aggregate", "class_weight")},
        **more,
    )


def option_names() -> list[str]:
    """The hyper-parameters of all heads, each once; those of a head stay in their order."""
    names: list[str] = []
    for entry in HEADS.values():
        own = [*entry.options]
        for place, name in reversed([*enumerate(own)]):
            if name not in names:
                names.insert(names.index(own[place + 1]) if place + 1 < len(own) else len(names), name)
    return names


def head_option(name: str) -> Callable[[Command], Command]:
    """A hyper-parameter; its help is put together from the heads that have it."""
    having = {head: entry.options[name] for head, entry in HEADS.items() if name in entry.options}
    (kind,) = {option.kind for option in having.values()}
    texts = by_text({head: option.help for head, option in having.items()})
    says = "; ".join(f"{' and '.join(heads)}: {text}" for text, heads in texts.items())
    defaults = by_text({head: option.default for head, option in having.items()})
    default = ", ".join(
        text if len(defaults) == 1 else f"{text} in {' and '.join(heads)}" for text, heads in defaults.items()
    )
    return click.option(as_typed(name), type=kind, help=f"Of {says}.  [default: {default}]")


def by_text(texts: dict[str, str]) -> dict[str, list[str]]:
    """Texts of heads -> the heads that share each."""
    heads: dict[str, list[str]] = {}
    for head, text in texts.items():
        heads.setdefault(text, []).append(head)
    return heads
