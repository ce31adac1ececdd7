"""What a feature file holds, as facts a person reads."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from frozenprobe.cache.contents import Contents, environments_of
from frozenprobe.cache.growing.lock import writer_of
from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.cache.paths import followed, piece_files, pieces_folder
from frozenprobe.cache.store import open_features, read_plan, require_file
from frozenprobe.errors import FeatureFileError


def file_facts(path: Path) -> dict[str, Any]:
    """Facts about a feature file, finished or being made, as JSON-ready values.

    Raises:
        FeatureFileError: there is none, or it is damaged.
    """
    path = followed(path)
    features = open_features(path) if path.is_file() else None
    plan = read_plan(path)
    facts: dict[str, Any] = {"file": str(path), "finished": features is not None}
    contents = features or plan
    if contents is None:
        raise no_contents(path)
    writer = writer_of(path)
    if writer:
        facts["being written by"] = writer
    if features is not None:
        facts["bytes"] = path.stat().st_size
    if plan is not None:
        same = features is not None and features.spec == plan.spec
        rows = RowStore(path, plan, features if same else None, check=False)
        facts["being made"] = {
            "augmented views": len(plan.augmented_views),
            "training images": len(plan.train),
            "test images": len(plan.test) if plan.test else 0,
            "rows there": rows.there,
            "rows planned": rows.total,
            "complete": f"{rows.there / max(1, rows.total):.1%}",
            "goes on with": "the same extract command",
        }
    return facts | contents_facts(contents)


def no_contents(path: Path) -> FeatureFileError:
    """The error where there is neither a file nor a plan of one."""
    waiting = len(piece_files(path))
    if not waiting:
        require_file(path)
    return FeatureFileError(
        "A feature file, or the plan of one that is being made",
        found=f"only {waiting} pieces of one",
        where=pieces_folder(path),
        remedy="run the extract command again, with all the options that it had",
    )


def contents_facts(contents: Contents) -> dict[str, Any]:
    """Facts about what a file holds."""
    train, test = contents.train, contents.test
    sizes = Counter([] if train.labels is None else train.labels.tolist())
    created = contents.about.get("created")
    facts: dict[str, Any] = {"created": created} if created else {}  # not there yet
    facts |= {
        "training images": len(train),
        "test images": len(test) if test else 0,
        "test images without features": int((~test.usable).sum()) if test else 0,
        "classes": len(contents.class_names),
        "images a class": [min(sizes.values()), max(sizes.values())],
        "groups": len(set(train.groups)) if train.groups else 0,
        "fold column": train.folds is not None,
        "test-time views": list(contents.test_views),
        "augmented views": len(contents.augmented_views),
        "feature dimension": contents.dim,
        "taps": dict(contents.taps),
        "sample submission": [len(contents.sample.rows), *contents.sample.columns] if contents.sample else None,
        "specification": asdict(contents.spec) | {"preprocessing": json.loads(contents.spec.preprocessing)},
        "fingerprint": contents.spec.fingerprint(),
        "environments": environments_of(contents.about),
    }
    shown = {name: value for name, value in sorted(contents.about.items()) if value and name not in {*facts, "created"}}
    return facts | shown


def render_facts(facts: dict[str, Any]) -> str:
    """The facts as two columns, nested ones indented."""
    rows: list[tuple[str, str]] = []
    for name, value in facts.items():
        if isinstance(value, dict):
            rows.append((name, ""))
            rows += [(f"  {inner}", render_value(inner_value)) for inner, inner_value in value.items()]
        else:
            rows.append((name, render_value(value)))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in rows)


def render_value(value: Any) -> str:
    """One cell."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {render_value(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return "; ".join(map(str, value)) if any(" " in str(each) for each in value) else ", ".join(map(str, value))
    if isinstance(value, bool) or value is None:
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) and value > 9999 else str(value)
