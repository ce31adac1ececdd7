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


def test_bytes_of_a_name_that_are_no_utf8_are_written_and_come_back() -> None:
    for ascii_only in (False, True):
        text = to_json({"path": Path("\udcff\u732b.h5")}, ascii_only=ascii_only)
        assert text.encode().decode("ascii" if ascii_only else "utf-8") == text
        assert json.loads(text) == {"path": "\udcff\u732b.h5"}
