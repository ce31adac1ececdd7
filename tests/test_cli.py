"""The commands as a user types them: exit codes, what is printed where, and what lies on disk afterwards."""

import io
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from frozenprobe.cli import main
from tests.conftest import write_image
from tests.images.shard_files import write_tar

VIT = [
    *("torchvision:VisionTransformer", "--attention-heads", "3", "--resize", "36", "--interpolation", "bicubic"),
    *("--mean", ".5", ".5", ".5", "--std", ".5", ".5", ".5"),
]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a command line in an empty folder; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(line: str | list[str], code: int = 0) -> tuple[str, str]:
        result = CliRunner().invoke(main, line.split() if isinstance(line, str) else line)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result.stdout, result.stderr

    return run


@pytest.fixture
def extract_tiny(run, photo_folder, tiny_vit):
    """Runs `extract` on the photo folder with a tiny real network and more options."""

    def extract(options: str = "", code: int = 0) -> tuple[str, str]:
        return run(["extract", "--backbone", *VIT, "--weights", str(tiny_vit), *options.split()], code)

    return extract


def test_the_three_commands_work_with_their_defaults(run, extract_tiny):
    out, err = extract_tiny("--views 2")
    assert "17 images: 58 views computed, 0 reused" in out
    assert "licence" in err
    assert Path("features/torchvision_VisionTransformer-mild.h5").is_file()

    out, _ = run("probe --c 1.0 --folds 2")
    assert out.splitlines()[0] == "features features/torchvision_VisionTransformer-mild.h5"
    assert "head logreg (from the options), c = 1.0" in out
    assert "out-of-fold accuracy" in out

    out, _ = run("submit")
    assert out.splitlines()[0].startswith("run runs/")
    lines = Path("submission.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "ID,Label"
    assert [line.split(",")[0] for line in lines[1:]] == [f"{index:03d}.jpg" for index in range(5)]
    assert {line.split(",")[1] for line in lines[1:]} <= {"10", "2", "äpfel rot"}


def test_the_same_command_again_says_that_nothing_is_left(extract_tiny):
    extract_tiny("--views 1")
    before = Path("features/torchvision_VisionTransformer-mild.h5").read_bytes()
    out, _ = extract_tiny("--views 1")
    assert "nothing left to do" in out
    assert Path("features/torchvision_VisionTransformer-mild.h5").read_bytes() == before


def test_the_three_commands_work_on_shards(run, extract_tiny, photo_folder, tmp_path):
    """As WebDataset writes them: labels beside the images, several shards, ids of the sample that are the keys."""
    for shard in range(2):
        files = {}
        for number, path in enumerate(sorted((photo_folder / "train").rglob("*.jpg"))[shard::2]):
            key = f"{shard}{number:04d}"
            files |= {f"{key}.jpg": path.read_bytes(), f"{key}.cls": path.parent.name.encode()}
        write_tar(tmp_path / "shards" / f"train-{shard:03d}.tar", files)
    tests = {path.name: path.read_bytes() for path in sorted((photo_folder / "test").iterdir())}
    write_tar(tmp_path / "shards" / "test-000.tar", tests)
    sample = "ID,Label\n" + "".join(f"{name[:-4]},2\n" for name in tests)
    (tmp_path / "shards" / "sample_submission.csv").write_text(sample, encoding="utf-8")
    shutil.rmtree(photo_folder)

    line = "--train shards/train-{000..001}.tar --test shards/test-{000..000}.tar --views 2"
    assert "17 images: 58 views computed, 0 reused" in extract_tiny(line)[0]
    assert "nothing left to do" in extract_tiny(line)[0]
    (path,) = Path("features").glob("*.h5")
    assert "17 compared with their hashes" in run(["verify", str(path), "--images", "shards/{train,test}-*.tar"])[0]
    assert "head logreg" in run("probe --c 1.0 --folds 2")[0]
    run("submit")
    lines = Path("submission.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in lines] == ["ID", *(name[:-4] for name in tests)]
    assert {line.split(",")[1] for line in lines[1:]} <= {"10", "2", "äpfel rot"}


def test_another_seed_under_the_same_name_names_the_field(extract_tiny):
    extract_tiny("--views 1")
    _, err = extract_tiny("--views 1 --seed 3", code=1)
    assert "seed = 3" in err
    assert "--seed" in err


def test_info_prints_what_the_file_holds(run, extract_tiny):
    extract_tiny("--views 1 --recipe crop-flip")
    out, _ = run("info features/torchvision_VisionTransformer-crop-flip.h5")
    assert "crop-flip" in out
    assert "fingerprint" in out


def test_json_goes_to_stdout_alone(run, extract_tiny):
    extracted = json.loads(extract_tiny("--views 1 --json")[0])
    assert extracted["computed"] == 46
    probed = json.loads(run("probe --folds 2 --json --head lda")[0])
    assert 0 <= probed["accuracy"] <= 1
    assert Path(probed["run"], "metrics.json").is_file()
    assert json.loads(run("submit --json")[0])["rows"] == 5
    assert json.loads(run(["info", *probed["features"], "--json"])[0])["classes"] == 3


def test_plan_tells_what_extract_will_take_and_writes_nothing(run, extract_tiny, tiny_vit):
    line = ["plan", "--backbone", *VIT, "--weights", str(tiny_vit), "--views", "2", "--price-per-hour", "2.5"]
    out, err = run(line)
    assert "licence" in err
    assert not Path("features").exists()
    assert out.splitlines()[0].startswith("plan for features/torchvision_VisionTransformer-mild.h5")
    for words in (
        "58 to compute, 0 there already",
        "views/s, on",
        "predicted",
        "to pay",
        "545 forwards",
        "58 forwards",
    ):
        assert words in out, words
    dry, _ = extract_tiny("--views 2 --dry-run --price-per-hour 2.5")
    assert [text.split()[0] for text in dry.splitlines()] == [text.split()[0] for text in out.splitlines()]
    told = json.loads(extract_tiny("--views 2 --dry-run --json")[0])
    assert told["left"]["forwards"] == 58
    assert (told["price_per_hour"], told["left"]["cost"]) == (None, None)
    assert told["measured"]["engine"] == "torch"
    assert not Path("features").exists()


def test_a_price_goes_with_a_plan_only(extract_tiny):
    _, err = extract_tiny("--price-per-hour 2.5", code=2)
    assert "--dry-run" in err


def test_backbones_lists_names_sizes_and_licences(run):
    out, _ = run("backbones")
    assert "vit_l_16.swag_e2e" in out
    assert "CC-BY-NC-4.0" in out
    assert "timm:NAME" in out
    listed = json.loads(run("backbones --json")[0])
    assert {"name": "vit_l_16.swag_e2e", "size": 512, "dim": 1024}.items() <= listed[0].items()


@pytest.mark.parametrize(
    ("line", "description"),
    [
        ("probe", "frozenprobe extract"),
        ("probe nothing.h5", "no such file"),
        ("curve views", "frozenprobe extract"),
        ("curve labels nothing.h5", "no such file"),
        ("submit", "frozenprobe probe"),
        ("submit --run nowhere", "nowhere"),
        ("info nothing.h5", "no such file"),
        ("extract --train nowhere", "--train DIR"),
        ("extract --train data/train --recipe mlid", "did you mean mild?"),
        ("extract --train data/train --backbone vit_l_16.swag", "did you mean vit_l_16.swag_e2e?"),
        ("extract --train data/train --device tpu", "--device"),
        ("extract --train data/train --test nowhere", "--test"),
        ("extract --train data/train --views -1", "--views"),
        ("extract --train data/train --recipe none --views 3", "--views"),
        ("extract --train data/train --test-views clean,vflip", "--test-views"),
        ("extract --train data/train --weights nowhere.pth", "nowhere.pth"),
        ("extract --train data/train --batch-size 0", "--batch-size"),
        ("plan --train data/train --price-per-hour -1", "--price-per-hour"),
        ("extract --train data/train --dry-run --recipe mlid", "did you mean mild?"),
    ],
)
def test_a_user_error_is_a_message_and_exit_code_1(run, photo_folder, line, description):
    out, err = run(line, code=1)
    assert description in err
    assert "error: " in err
    assert "to do:" in err
    assert "Traceback" not in out + err
    assert not list(Path().glob("features/*.h5"))


def test_wrong_syntax_is_exit_code_2(run):
    _, err = run("probe --no-such-option", code=2)
    assert "--no-such-option" in err


def test_a_bug_keeps_its_traceback(run, monkeypatch):
    def bug(folder):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("frozenprobe.cache.store.newest_features", bug)
    with pytest.raises(ZeroDivisionError):
        run("probe")


def test_ctrl_c_says_that_the_work_is_kept(run, monkeypatch):
    def interrupt(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr("frozenprobe.cache.store.newest_features", interrupt)
    _, err = run("probe", code=130)
    assert "the same command goes on" in err


def test_a_bad_image_is_named_with_how_many_more_there_are(extract_tiny, photo_folder):
    (photo_folder / "train" / "10" / "0.jpg").write_bytes(b"")
    (photo_folder / "train" / "2" / "1.jpg").write_bytes(b"not an image")
    _, err = extract_tiny("--views 1", code=1)
    assert "10/0.jpg" in err.replace(os.sep, "/")
    assert "and 1 more" in err
    out, _ = extract_tiny("--views 1 --skip-bad")
    assert "bad images, skipped: 2" in out


def test_a_bad_test_image_is_kept_listed_and_warned_about(run, extract_tiny, photo_folder):
    (photo_folder / "test" / "003.jpg").write_bytes(b"GIF89a")
    _, err = extract_tiny("--views 1", code=1)
    assert "003.jpg" in err
    extract_tiny("--views 1 --skip-bad")
    out, _ = run("probe --folds 2 --head lda")
    assert "could not be decoded" in out
    out, _ = run("submit")
    assert "WARNING" in out
    assert "003.jpg" in out
    assert len(Path("submission.csv").read_text().splitlines()) == 6


def test_a_csv_of_labels_works_end_to_end(run, tiny_vit, tmp_path):
    names = [f"photo {index}.png" for index in range(8)]
    for index, name in enumerate(names):
        write_image(tmp_path / "all" / name, index)
    rows = "".join(f"photo {index},{'NA' if index % 2 else '007'},p{index // 4}\n" for index in range(8))
    (tmp_path / "train.csv").write_text("ID,Label,patient\n" + rows)
    line = "extract --train all --train-csv train.csv --group-column patient --views 0 --out f.h5"
    run([*line.split(), "--backbone", *VIT, "--weights", str(tiny_vit)])
    out, _ = run("probe f.h5 --folds 2 --head lda --per-class")
    assert "2 groups; no group is split" in out
    assert "007" in out
    extracted = run(
        [*line.replace("--group-column patient", "").split(), "--backbone", *VIT, "--weights", str(tiny_vit)]
    )
    assert "groups are those of the existing feature file" in extracted[1]
    assert "nothing left to do" in extracted[0]
    _, err = run("submit", code=1)
    assert "--test" in err


def test_a_smoke_run_of_four_images_can_be_probed_without_more_options(run, extract_tiny):
    extract_tiny("--views 1 --limit 4")
    assert "2 folds" in run("probe --head lda")[0]  # two images a class


def test_the_same_command_line_never_writes_over_a_folder(run, make_features):
    make_features()
    run("probe --head lda")
    Path("out").mkdir()
    _, err = run("submit --out out", code=1)
    assert "found:  out: a folder" in err


def test_without_test_images_extract_and_probe_work(run, photo_folder, tiny_vit):
    for path in (photo_folder / "test").iterdir():
        path.unlink()
    (photo_folder / "test").rmdir()
    run(["extract", "--views", "0", "--backbone", *VIT, "--weights", str(tiny_vit)])
    run("probe --folds 2")
    _, err = run("submit", code=1)
    assert "frozenprobe extract --test DIR" in err


def test_a_smoke_run_is_reused_by_the_full_run(run, extract_tiny):
    out, _ = extract_tiny("--views 1 --limit 6")
    assert "11 images: 28 views computed" in out
    run("probe --folds 2 --head lda")
    run("submit")
    out, _ = extract_tiny("--views 1")
    assert "28 reused" in out


def test_probe_takes_the_newest_file_by_the_time_inside(run, make_features):
    make_features(name="new.h5", created="2026-05-01T00:00:00+00:00")
    make_features(name="old.h5", created="2026-04-01T00:00:00+00:00")
    os.utime("features/old.h5")
    assert run("probe --head lda")[0].splitlines()[0] == "features features/new.h5"


def test_memory_is_in_gigabytes_and_less_than_is_needed_streams(run, make_features):
    path = make_features(noise=1.0).path
    out, _ = run(f"probe {path} --head lda --memory 0.000008")
    assert "note: STREAMED" in out
    assert "8e-06 GB" in out
    out, _ = run(f"probe {path} --head lda --memory 1")
    assert "STREAMED" not in out
    for bad in ("-1", "nan"):
        _, err = run(f"probe {path} --memory {bad}", code=1)
        assert "--memory" in err


def test_probe_and_submit_need_nothing_but_the_feature_file(run, extract_tiny, photo_folder, tmp_path):
    extract_tiny("--views 1 --out kept.h5")
    for path in sorted(photo_folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    run("probe kept.h5 --folds 2")
    run("submit")
    assert len(Path("submission.csv").read_text(encoding="utf-8").splitlines()) == 6


def test_probabilities_have_a_column_a_class_and_sum_to_one(run, make_features):
    make_features()
    run("probe --head lda")
    run("submit --probabilities --out p.csv")
    rows = [line.split(",") for line in Path("p.csv").read_text().splitlines()]
    assert rows[0] == ["ID", "class 0", "class 1", "class 2", "class 3"]
    assert np.allclose([sum(map(float, row[1:])) for row in rows[1:]], 1, atol=1e-5)


def test_curves_are_printed_and_drawn(run, make_features):
    make_features(per_class=10)
    out, _ = run("curve views")
    assert out.splitlines()[0] == "features features/synthetic.h5"
    assert "head lda, shrinkage = 0.3; scaling global" in out
    assert "against 3, paired" in out
    assert out.splitlines()[-1] == "plot curves/synthetic-views-lda.png"
    told = json.loads(run("curve labels --head knn --k 2 --views 1 --folds 2 --repeats 2 --out l.png --json")[0])
    assert [point["at"] for point in told["points"]] == [1, 2, 5]
    assert (
        told["options"] | {"head": "knn", "views": 1, "folds": 2, "settings": {"k": 2, "temperature": None}}
        == (told["options"])
    )
    for path in ("curves/synthetic-views-lda.png", told["plot"]):
        assert Path(path).read_bytes().startswith(b"\x89PNG")
    out, _ = run("curve labels --c 2 --folds 2")
    assert "head logreg, c = 2.0" in out
    _, err = run("curve labels --head lda --c 2", code=1)
    assert "Hyper-parameters of the head lda" in err
    _, err = run("curve labels --head auto", code=1)
    assert "One head, whose curve is drawn" in err


def test_a_probe_of_one_tap_says_so_everywhere(run, make_features):
    make_features(taps=(("cls", 8), ("mean", 4)))
    out, _ = run("probe --head lda --tap mean")
    assert "backbone synthetic, tap mean, recipe mild" in out
    (config,) = Path("runs").glob("*/config.json")
    assert json.loads(config.read_text())["options"]["tap"] == "mean"
    assert "tap cls+mean, recipe" in run("probe --head lda")[0]
    assert "lda, tap = mean" in run("compare")[0]
    assert "tap cls, recipe" in run("curve labels --tap cls")[0]
    out, _ = run("info features/synthetic.h5")
    assert re.search(r"taps\n  cls +8\n  mean +4\n", out)
    _, err = run("probe --tap last4", code=1)
    assert "features/synthetic.h5" in err
    assert "cls, mean" in err


def test_python_dash_m_is_the_command_line(run):
    import runpy
    import sys

    argv, sys.argv = sys.argv, ["frozenprobe", "--version"]
    try:
        with pytest.raises(SystemExit) as stopped:
            runpy.run_module("frozenprobe", run_name="__main__")
    finally:
        sys.argv = argv
    assert stopped.value.code == 0


FEATURES = "features/torchvision_VisionTransformer-mild.h5"


def damage(path: str) -> None:
    """One bit of one stored row."""
    from frozenprobe.cache.store import open_features

    content = bytearray(Path(path).read_bytes())
    content[open_features(Path(path)).arrays("train")[0].offset] ^= 1
    Path(path).write_bytes(content)


def test_a_damaged_file_is_verified_repaired_and_filled_in_again(run, extract_tiny):
    extract_tiny("--views 1")
    before = run(["probe", "--folds", "2", "--head", "lda", "--json"])[0]
    out, _ = run(["verify", FEATURES, FEATURES])
    assert out.count("sound") == 2
    damage(FEATURES)
    out, _ = run(["verify", FEATURES], code=1)
    assert "damaged: 12 rows of train, view clean" in out
    _, err = run(["probe", "--folds", "2"], code=1)
    assert (
        "another checksum in train/features/cls, view 0, rows 0 to 11 (10/0.jpg, 10/1.jpg, 10/2.jpg and 9 more)" in err
    )
    out, _ = run(["repair", FEATURES])
    assert "34 rows are kept, 12 dropped" in out
    _, err = run(["probe", FEATURES], code=1)
    assert "an unfinished one" in err
    out, _ = run(["info", FEATURES])
    assert "73.9%" in out
    out, _ = extract_tiny("")
    assert "12 views computed, 34 reused" in out
    after = run(["probe", "--folds", "2", "--head", "lda", "--json"])[0]
    assert json.loads(after)["accuracy"] == json.loads(before)["accuracy"]


def test_verify_compares_images_and_speaks_json(run, extract_tiny, photo_folder):
    extract_tiny("--views 1")
    told = json.loads(run(["verify", FEATURES, "--images", str(photo_folder), "--json"])[0])
    assert (told["sound"], told["images_checked"], told["rows"]) == (True, 17, 46)
    write_image(photo_folder / "train" / "2" / "1.jpg", 9)
    out, _ = run(["verify", FEATURES, "--images", str(photo_folder)], code=1)
    assert "another content" in out
    assert "2/1.jpg" in out


def test_two_halves_extracted_apart_merge_to_the_whole(run, extract_tiny, photo_folder):
    extract_tiny("--views 1 --out whole.h5")
    away = photo_folder.parent / "away"
    away.mkdir()
    for path in photo_folder.glob("train/*/[01].jpg"):
        path.rename(away / f"{path.parent.name} {path.name}")
    extract_tiny("--views 1 --out a.h5")
    for path in photo_folder.glob("train/*/*.jpg"):
        path.unlink()
    for path in away.iterdir():
        path.rename(photo_folder / "train" / path.name[:-6] / path.name[-5:])
    extract_tiny("--views 1 --out b.h5")
    out, _ = run("merge a.h5 b.h5 --out both.h5")
    assert "17 images with 1 augmented views a training image, from a.h5, b.h5; 10 shared rows compared" in out
    results = [json.loads(run(["probe", name, "--folds", "2", "--json"])[0]) for name in ("whole.h5", "both.h5")]
    assert results[0]["accuracy"] == results[1]["accuracy"]
    _, err = run("merge a.h5 none.h5", code=1)
    assert "none.h5" in err


def test_a_lock_stops_the_second_and_can_be_broken(extract_tiny):
    extract_tiny("--views 1")
    lock = Path(FEATURES + ".lock")
    names = ("machine", "boot", "space", "started", "since", "command", "token")
    lock.write_text(json.dumps({"host": "node7", "pid": 1, **dict.fromkeys(names, "")}))
    _, err = extract_tiny("--views 2", code=1)
    assert "process 1 on node7" in err
    assert "--break-lock" in err
    out, _ = extract_tiny("--views 2 --break-lock")
    assert "12 views computed" in out
    assert not lock.exists()


def test_a_list_that_leads_out_of_the_folder_needs_an_option(extract_tiny, photo_folder):
    names = [*sorted((photo_folder / "train").glob("2/*.jpg")), *sorted((photo_folder / "test").glob("*.jpg"))]
    rows = [f"{path},{'ab'[number % 2]}" for number, path in enumerate(names)]
    (photo_folder / "list.csv").write_text("\n".join(["file,label", *rows]), encoding="utf-8")
    options = f"--views 0 --train-csv {photo_folder}/list.csv"
    _, err = extract_tiny(options, code=1)
    assert "names of files elsewhere" in err
    out, _ = extract_tiny(options + " --allow-outside")
    assert "14 images" in out


# Consoles that cannot write every letter


@pytest.fixture
def narrow(monkeypatch):
    """Runs a command line whose output goes to pipes of an encoding; returns (exit code, stdout, stderr)."""

    def run(line: list[str], encoding: str) -> tuple[int, str, str]:
        pipes = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", pipes[0])
            patch.setattr(sys, "stderr", pipes[1])
            with pytest.raises(SystemExit) as end:
                main(line)
        for pipe in pipes:
            pipe.flush()
        return (end.value.code or 0, *(pipe.buffer.getvalue().decode(encoding) for pipe in pipes))

    return run


CATS = ("Katze", "\u732b", "\U0001f431")


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-8"])
def test_a_letter_that_the_console_lacks_stops_nothing_and_files_are_utf8(
    narrow, make_features, monkeypatch, tmp_path, encoding
):
    """Redirected output on Windows is cp1252: the table was printed after the work, and the traceback was all of it."""
    monkeypatch.chdir(tmp_path)
    features = str(make_features(classes=3, class_names=CATS, noise=2.0).path)
    code, out, err = narrow(["probe", features, "--head", "lda", "--per-class"], encoding)
    assert (code, err) == (0, "")
    assert ("\u732b" if encoding == "utf-8" else "\\u732b") in out
    run = out.splitlines()[-1].removeprefix("run ")
    assert "\u732b" in Path(run, "oof.csv").read_text(encoding="utf-8")
    code, out, _ = narrow(["submit", "--json"], encoding)
    assert code == 0
    assert {label for label, _ in json.loads(out)["histogram"]} <= {*CATS}
    assert Path("submission.csv").read_text(encoding="utf-8").startswith("ID,Label\n")
    code, _, err = narrow(["probe", "\u732b\udcff.h5"], encoding)
    assert code == 1
    assert "\\udcff.h5" in err
    assert "to do:" in err
    assert narrow(["--help"], encoding)[0] == narrow(["probe", "--help"], encoding)[0] == 0


def test_a_name_that_is_no_utf8_is_printed_and_kept(narrow, make_features, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    features = make_features(classes=2).path.rename(tmp_path / "\udcff.h5")
    for more in ([], ["--json"]):
        code, out, _ = narrow(["probe", str(features), "--head", "lda", *more], "utf-8")
        assert code == 0
        assert "\\udcff.h5" in out
    config = json.loads(next(Path("runs").glob("*/config.json")).read_text(encoding="utf-8"))
    assert config["features"] == str(features)


# What cannot be written is found out before the work


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("probe {features} --head lda --runs file", "--runs DIR"),
        ("probe {features} --head lda --runs file/runs", "--runs DIR"),
        ("submit --out file/s.csv", "--out FILE"),
        ("submit --out folder", "--out FILE"),
        ("curve views {features} --out file/c.png", "--out FILE"),
        ("curve labels {features} --out folder", "--out FILE"),
        ("merge {features} --out file/m.h5", "--out FILE"),
        ("merge {features} --out folder", "--out FILE"),
        ("demo --dir file", "--dir DIR"),
        ("extract --train {photos}/train --out file/f.h5 --backbone resnet18.in1k", "--out FILE"),
    ],
)
def test_what_cannot_be_written_is_found_out_before_the_work(
    run, make_features, photo_folder, monkeypatch, line, option
):
    def work(*given: object, **more: object) -> None:
        raise AssertionError("the work has begun")

    for place in (
        *("probe.repeats.repeat_probe", "probe.curves.curve.view_curve", "probe.curves.curve.label_curve"),
        *("probe.report.runs.load_run", "cache.care.merge.write_features", "demo.run.run_demo", "extract.run.inspect"),
    ):
        monkeypatch.setattr(f"frozenprobe.{place}", work)
    Path("file").touch()
    Path("folder").mkdir()
    words = line.format(features=make_features().path, photos=photo_folder).split()
    out, err = run(words, 1)
    assert out == ""
    assert err.startswith("error: A f")
    assert "to do:  name another f" in err or "in a writable folder" in err
    assert option in err


def test_curves_have_a_folder_that_may_be_a_file(run, make_features):
    Path("curves").touch()
    assert "--out FILE" in run(f"curve views {make_features().path}", 1)[1]


@pytest.mark.parametrize("line", ["info .", "verify .", "repair .", "merge . .", "probe .", "curve views .", "info /"])
def test_a_folder_in_the_place_of_a_file_is_said(run, line):
    assert "found:  a folder" in run(line, 1)[1]


@pytest.mark.parametrize(
    "line", ["probe --runs", "submit --out", "submit --sample", "info", "merge x.h5 --out", "demo --dir"]
)
def test_an_empty_name_is_an_error_that_says_what_it_may_come_from(run, line):
    """`--runs "$RUNS"` without a RUNS wrote into the folder one was in."""
    out, err = run([*line.split(), ""], 1)
    assert out == ""
    assert "found:  nothing (a variable of the shell that is not set?)" in err
    assert not list(Path().iterdir())
