"""Values as JSON that every parser reads: NaN and infinity as null, paths as text."""

from __future__ import annotations

import json
import math
from typing import Any


def to_json(values: Any, *, ascii_only: bool = False) -> str:
    """JSON, indented, with text in Unicode as it is; bytes of a file's name that are no UTF-8 are escaped.

    Args:
        values: plain ones, and paths.
        ascii_only: escape every letter beyond ASCII.
    """

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [clean(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    text = json.dumps(clean(values), indent=2, ensure_ascii=ascii_only, default=str)
    return text.encode("utf-8", "backslashreplace").decode()  # a lone surrogate becomes JSON's own escape of it
