"""The table of a curve: its numbers, its drawn intervals, and words that claim no more than was measured."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from frozenprobe.probe.curves.curve import label_curve, size_text, view_curve
from frozenprobe.probe.curves.points import Point
from frozenprobe.probe.curves.table import (
    BAR,
    curve_facts,
    curve_title,
    draw_interval,
    render_curve,
    render_enough,
    render_extrapolation,
    render_verdict,
)
from frozenprobe.probe.curves.verdict import Enough, Extrapolation, NoExtrapolation
from frozenprobe.probe.options import ProbeOptions
from frozenprobe.system.json_text import to_json
from tests.conftest import MakeFeatures
from tests.probe.curves.test_verdict import nested_curve

LDA = ProbeOptions(head="lda")
VIEWS = nested_curve([0.70, 0.76, 0.798, 0.80, 0.799], at=[0, 1, 2, 4, 8])


def test_a_line_a_point_with_its_numbers() -> None:
    lines = render_curve(VIEWS).splitlines()
    assert lines[0].split()[:4] == ["images", "a", "class", "accuracy"]
    assert "against 8, paired" in lines[0]
    first, last = lines[1].split(), lines[5].split()
    assert first[:2] == ["0", "70.0%"]
    assert "-9.9 (-11.9 to -8.2)" in lines[1]  # the normal approximation: -11.8 to -8.0
    assert last[:2] == ["8", "79.9%"]
    assert "(" not in lines[5]
    assert max(map(len, lines[:6])) <= 120


def test_intervals_are_drawn_to_scale() -> None:
    point = Point(1, 0.5, (0.25, 0.75), 0, (0, 0), 1, 0)
    drawn = draw_interval(point, 0.0, 1.0)
    assert drawn.index("-") == round(0.25 * (BAR - 1))
    assert drawn.index("o") == round(0.5 * (BAR - 1))
    assert len(drawn) == round(0.75 * (BAR - 1)) + 1
    assert draw_interval(replace(point, interval=(0.5, 0.5)), 0.5, 0.5) == "o"


def test_enough_is_said_with_what_could_not_be_seen() -> None:
    said = "2 augmented views are enough, as far as these images tell: no difference shown to 4, the best here (+0.2 "
    assert render_verdict(VIEWS).startswith(said + "points, 95 % interval +0.0 to +0.5)")
    found = Enough(2, 2, 0, (0, 0))
    assert render_enough(found) == "2 augmented views are best here, and the next smaller number is shown to be worse"
    none = replace(found, views=0, best=0)
    assert render_enough(none) == "no augmented views are needed: no number of them has a higher accuracy"
    assert render_enough(replace(none, best=2)).startswith("no augmented views are needed, as far as these images tell")
    assert render_enough(replace(none, views=1, best=2)).startswith("1 augmented view is enough, as far as")


def test_an_extrapolation_says_that_it_is_one() -> None:
    found = Extrapolation(8, 4, 0.04, (-0.001, 0.07), 1.0)
    text = render_extrapolation(found, "images a class")
    assert "twice the photos (16 in place of 8 images a class to train on) would give about +4.0 points" in text
    assert "(95 % interval -0.1 to +7.0)" in text
    assert "extrapolated, not measured: by the rise from 4 to 8, which the smaller sizes foretold" in text
    wide = render_extrapolation(replace(found, widened=1.7), "images a class")
    assert "which the smaller sizes did not foretell: the interval is 1.7 times as wide for it" in wide
    assert render_extrapolation(NoExtrapolation("because"), "x") == "no extrapolation to twice the photos: because"


def test_nothing_is_said_of_probabilities_that_nobody_calibrated(make_features: MakeFeatures) -> None:
    features = make_features(per_class=10)
    for curve in (view_curve(features, LDA), label_curve(features, LDA)):
        told = render_curve(curve) + to_json(curve_facts(curve))
        assert not re.search("loss|probabilit", told), told


def test_an_unconverged_point_cannot_be_overlooked() -> None:
    points = (replace(VIEWS.points[0], unconverged=1), *VIEWS.points[1:])
    assert "NOT CONVERGED at 0" in render_curve(replace(VIEWS, points=points))
    assert "NOT CONVERGED" not in render_curve(VIEWS)


def test_the_title_says_what_was_measured(make_features: MakeFeatures) -> None:
    features = make_features(per_class=5)
    title = curve_title(label_curve(features, replace(LDA, views=2)), features)
    assert "head lda; scaling global; 5 folds, seed 0" in title
    assert "backbone synthetic, recipe mild: 2 augmented views beside clean and hflip; 20 images, 4 classes" in title
    title = curve_title(view_curve(features, replace(LDA, test_views=("clean",))), features)
    assert "the augmented views beside clean;" in title
    title = curve_title(view_curve(features, ProbeOptions(head="report", folds=2)), features)
    assert "recipe mild: the augmented views; 20 images" in title  # it trains on nothing else


def test_sizes_are_written_as_people_do() -> None:
    assert [size_text(at) for at in (0, 1, 3.6999, 16, 99.96, 1250.4)] == ["0", "1", "3.7", "16", "100", "1,250"]


def test_the_facts_are_json_of_the_whole_curve(make_features: MakeFeatures) -> None:
    features = make_features(per_class=10)
    facts = json.loads(to_json(curve_facts(label_curve(features, LDA))))
    assert [point["at"] for point in facts["points"]] == [1, 2, 4, 8]
    assert facts["forecast"].keys() & {"gain", "reason"}
    assert facts["options"]["head"] == "lda"
    assert json.loads(to_json(curve_facts(view_curve(features, LDA))))["enough"]["views"] in (0, 1, 2, 3)
