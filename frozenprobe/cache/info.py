"""What a feature file holds, as facts a person reads."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import Any

from frozenprobe.cache.store import Features


def file_facts(features: Features) -> dict[str, Any]:
    """Facts about an opened feature file, as JSON-ready values."""
    labels = [] if features.train.labels is None else features.train.labels.tolist()
    sizes = Counter(labels)
    facts: dict[str, Any] = {
        "file": str(features.path),
        "bytes": features.path.stat().st_size,
        "created": features.about.get("created", ""),
        "training images": len(features.train),
        "test images": len(features.test) if features.test else 0,
        "test images without features": int((~features.test.usable).sum()) if features.test else 0,
        "classes": len(features.class_names),
        "images a class": [min(sizes.values()), max(sizes.values())],
        "groups": len(set(features.train.groups)) if features.train.groups else 0,
        "fold column": features.train.folds is not None,
        "test-time views": list(features.test_views),
        "augmented views": len(features.augmented_views),
        "feature dimension": features.dim,
        "sample submission": [len(features.sample.rows), *features.sample.columns] if features.sample else None,
    }
    spec: dict[str, Any] = asdict(features.spec)
    spec["preprocessing"] = json.loads(features.spec.preprocessing)
    facts["specification"] = spec
    facts["fingerprint"] = features.spec.fingerprint()
    return facts | {name: value for name, value in sorted(features.about.items()) if value and name != "created"}


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
        return ", ".join(map(str, value))
    if isinstance(value, bool) or value is None:
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) and value > 9999 else str(value)
