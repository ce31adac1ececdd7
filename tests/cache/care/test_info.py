"""What `info` says is what the file holds."""

import json
import re
from dataclasses import asdict
from pathlib import Path

from frozenprobe.cache.care.info import file_facts, render_facts
from frozenprobe.system.csv_tables import Table
from tests.conftest import SPEC


def test_facts_are_those_of_the_file(make_features):
    sample = Table(Path("s.csv"), ("ID", "Label"), (("a", "b"),))
    features = make_features(labels=[0, 0, 0, 1, 1], classes=2, unusable=(1, 2), sample=sample)
    facts = file_facts(features.path)
    assert facts["training images"] == 5
    assert facts["test images"] == 7
    assert facts["test images without features"] == 2
    assert facts["images a class"] == [2, 3]
    assert facts["augmented views"] == 3
    assert facts["sample submission"] == [1, "ID", "Label"]
    assert facts["fingerprint"] == SPEC.fingerprint()
    assert facts["licence"] == "none"
    json.dumps(facts)


def test_the_rendering_names_every_fact_and_every_field_of_the_specification(make_features):
    features = make_features(test=0, labels=[0] * 5 + [1] * 7, classes=2)
    lines = [re.split(r"\s{2,}", line.strip()) for line in render_facts(file_facts(features.path)).splitlines()]
    assert [cells for cells in lines if len(cells) == 1] == [["taps"], ["specification"], ["environments"]]
    shown = dict(cells for cells in lines if len(cells) == 2)
    assert shown["file"] == str(features.path)
    assert shown["finished"] == "yes"
    assert shown["bytes"] == f"{features.path.stat().st_size:,}"
    assert shown["created"].startswith("2026-01-01")
    assert shown["training images"] == "12"
    assert shown["test images"] == "0"
    assert shown["test images without features"] == "0"
    assert shown["classes"] == "2"
    assert shown["images a class"] == "5, 7"
    assert shown["groups"] == "0"
    assert shown["fold column"] == "no"
    assert shown["test-time views"] == "clean, hflip"
    assert shown["augmented views"] == "3"
    assert shown["feature dimension"] == "12"
    assert shown["head-input"] == "12"
    assert shown["sample submission"] == "no"
    assert shown["fingerprint"] == SPEC.fingerprint()
    assert shown["licence"] == "none"
    for name, value in (asdict(SPEC) | {"preprocessing": "name weights"}).items():
        assert shown[name] == str(value), name
