"""JSON that every parser reads."""

import json
from pathlib import Path

from frozenprobe.system.json_text import to_json


def strict(text: str) -> object:
    """Parse JSON, refusing NaN and Infinity, which are not JSON."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_to_json_cleans_every_level_and_keeps_text() -> None:
    values = {"a": [1.5, float("nan"), {"b": float("inf")}], "ä": (float("-inf"), "NaN"), "n": None, "t": True}
    text = to_json(values)
    assert "ä" in text
    assert strict(text) == {"a": [1.5, None, {"b": None}], "ä": [None, "NaN"], "n": None, "t": True}


def test_paths_become_text() -> None:
    assert json.loads(to_json({"path": Path("a") / "b"})) == {"path": str(Path("a") / "b")}
