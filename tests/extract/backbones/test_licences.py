"""Licences: every id that timm gives to weights is known for what it allows, and what is not known is said to be."""

from __future__ import annotations

import pytest
from timm.models._registry import _model_pretrained_cfgs

from frozenprobe.extract.backbones.licences import CONDITIONS, LICENCES, NO, UNKNOWN, YES, licence_of, remark_on

NOT_TOLD = {None, "unknown", "other"}


def test_every_id_of_timm_is_in_the_table_or_plainly_non_commercial() -> None:
    ids = {each.license for each in _model_pretrained_cfgs.values()} - NOT_TOLD
    assert "apache-2.0" in ids
    assert [name for name in ids if licence_of(name).commercial == UNKNOWN] == []


@pytest.mark.parametrize(
    ("name", "commercial", "says"),
    [
        ("apache-2.0", YES, ""),
        ("MIT", YES, ""),
        ("BSD-3-Clause", YES, ""),
        ("cc-by-4.0", YES, "name its authors"),
        ("cc-by-nc-4.0", NO, "for commercial use take another backbone"),
        ("cc-by-nc-sa-4.0", NO, "for commercial use take another backbone"),
        ("CC-BY-NC-4.0 (no commercial use)", NO, "for commercial use take another backbone"),
        ("fair-noncommercial-research-license", NO, "non-commercial research only: for commercial use take another"),
        ("apple-amlr", NO, "research only: for commercial use take another"),
        ("seer-license", NO, "for commercial use take another"),
        ("dinov3-license", CONDITIONS, "no military, weapons or espionage uses"),
        ("gemma", CONDITIONS, "read its conditions"),
        ("apple-ascl", CONDITIONS, "research-only"),
        ("unknown", UNKNOWN, "unknown to us: read it"),
        ("some-new-license", UNKNOWN, "unknown to us: read it"),
        ("none that timm knows of", UNKNOWN, "unknown to us: read it"),
        ("advanced-license", UNKNOWN, "unknown to us: read it"),
    ],
)
def test_what_a_licence_allows_is_said(name: str, commercial: str, says: str) -> None:
    assert licence_of(name).commercial == commercial
    assert says in remark_on(name)
    assert bool(remark_on(name)) == bool(says)


def test_ids_are_in_lower_case_as_they_are_looked_up() -> None:
    assert [name for name in LICENCES if name != name.lower()] == []
