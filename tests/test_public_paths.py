"""Every public function that takes a file or folder takes its name as text and as any kind of path."""

import inspect
import os
import re
import shutil
from pathlib import PurePath

import pytest

import frozenprobe as fp
from frozenprobe.system.csv_tables import Table

pytestmark = pytest.mark.usefixtures("no_fsync")


class Named(os.PathLike):
    """A path that is no Path, as of another library."""

    def __init__(self, path):
        self.path = str(path)

    def __fspath__(self):
        return self.path


def path_arguments():
    """(function, argument) for every argument of a public function that is annotated as a path."""
    functions = [(name, getattr(fp, name)) for name in fp.__all__ if inspect.isfunction(getattr(fp, name))]
    return [
        (name, argument)
        for name, function in functions
        for argument, about in inspect.signature(function).parameters.items()
        if re.search(r"Path\b", str(about.annotation))
    ]


def test_no_public_function_asks_for_a_path_of_one_kind():
    narrow = {
        (name, argument)
        for name, argument in path_arguments()
        if re.search(r"\bPath\b", str(inspect.signature(getattr(fp, name)).parameters[argument].annotation))
    }
    assert narrow == set()


@pytest.fixture
def calls(make_features, tmp_path, photo_folder):
    """For each argument that is a path: a call with it, given a way to name a path."""
    features = make_features(classes=2, views=2)
    options = fp.ProbeOptions("lda", {"shrinkage": 0.3}, folds=2)
    result = fp.cross_validate(features, options)
    summary = fp.summarise(result)
    saved = fp.save_run(result, summary, features, tmp_path / "runs")
    run, curve = fp.load_run(saved), fp.view_curve(features, options)
    (tmp_path / "map.csv").write_text("class,label\nclass 0,a\nclass 1,b\n")
    (tmp_path / "sample.csv").write_text("Id,Kind\n" + "".join(f"{name},\n" for name in run.test_ids))
    beside = shutil.copy(features.path, tmp_path / "beside.h5")
    return {
        ("open_features", "path"): lambda name: fp.open_features(name(features.path)),
        ("newest_features", "folder"): lambda name: fp.newest_features(name(features.path.parent)),
        ("verify_features", "path"): lambda name: fp.verify_features(name(features.path)),
        ("verify_features", "images"): lambda name: fp.verify_features(features.path, images=name(photo_folder)),
        ("repair_features", "path"): lambda name: fp.repair_features(name(features.path)),
        ("merge_features", "inputs"): lambda name: fp.merge_features([name(features.path), name(beside)]),
        ("merge_features", "out"): lambda name: fp.merge_features([features.path], out=name(tmp_path / "new.h5")),
        ("cross_validate", "files"): lambda name: fp.cross_validate([name(features.path)], options),
        ("view_curve", "features"): lambda name: fp.view_curve(name(features.path), options),
        ("label_curve", "features"): lambda name: fp.label_curve(name(features.path), options),
        ("save_plot", "features"): lambda name: fp.save_plot(curve, name(features.path), tmp_path / "p.png"),
        ("save_run", "files"): lambda name: fp.save_run(result, summary, name(features.path), tmp_path / "q"),
        ("compare_runs", "runs"): lambda name: fp.compare_runs([name(saved), fp.load_predictions(saved)]),
        ("write_submission", "run"): lambda name: fp.write_submission(name(saved), tmp_path / "w.csv"),
        ("load_run", "path"): lambda name: fp.load_run(name(saved)),
        ("load_predictions", "path"): lambda name: fp.load_predictions(name(saved)),
        ("newest_run", "folder"): lambda name: fp.newest_run(name(saved.parent)),
        ("save_run", "folder"): lambda name: fp.save_run(result, summary, features, name(tmp_path / "r")),
        ("save_plot", "path"): lambda name: fp.save_plot(curve, features, name(tmp_path / "c.png")),
        ("write_submission", "out"): lambda name: fp.write_submission(run, name(tmp_path / "s.csv")),
        ("write_submission", "sample"): lambda name: fp.write_submission(
            run, tmp_path / "t.csv", sample=name(tmp_path / "sample.csv")
        ),
        ("write_submission", "label_map"): lambda name: fp.write_submission(
            run, tmp_path / "u.csv", label_map=name(tmp_path / "map.csv")
        ),
    }


def test_text_and_any_path_do_what_a_path_does(calls, tmp_path):
    assert calls.keys() == {*path_arguments()}, "a call of the new argument is missing here"
    for call in calls.values():
        for name in (str, Named, PurePath):
            call(name)
    assert (tmp_path / "t.csv").read_text().startswith("Id,Kind\n")
    assert {line.split(",")[1] for line in (tmp_path / "u.csv").read_text().splitlines()[1:]} <= {"a", "b"}
    assert len(list((tmp_path / "r").iterdir())) == 3


def test_a_sample_may_still_be_a_table(calls, tmp_path):
    run = fp.load_run(fp.newest_run(tmp_path / "runs"))
    report = fp.write_submission(
        run, sample=Table("s.csv", ("n", "k"), tuple((i, "") for i in run.test_ids)), out=tmp_path / "v.csv"
    )
    assert report.columns == ("n", "k")
