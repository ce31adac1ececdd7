"""What `info` says is what the file holds."""

import json
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
    features = make_features(test=0)
    text = render_facts(file_facts(features.path))
    for name in [*file_facts(features.path), "weights_digest", "recipe_version", "compute_dtype"]:
        assert name in text
