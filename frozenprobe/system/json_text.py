"""Values as JSON that every parser reads: NaN and infinity as null, paths as text."""

from __future__ import annotations

import json
import math
from typing import Any


def to_json(values: Any) -> str:
    """JSON, indented, with text in Unicode as it is."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [clean(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(clean(values), indent=2, ensure_ascii=False, default=str)
