"""ViT-L/16 at 512 px on a GPU, in two commands of some minutes: are numbers right, how near are the ceilings.

    python benchmarks/first_gpu.py core --minutes 6.3 --out numbers    # correctness, ceilings, the network alone
    python benchmarks/first_gpu.py e2e --minutes 4.5 --out numbers     # files to features, loops, ranks
    python benchmarks/first_gpu.py core --device cpu --tiny --out numbers    # whether it runs at all, without a GPU

Weights are seeded random numbers and photos are made on the spot, so that nothing is needed but the machine: speed
depends on neither. Every step is timed, cannot stop the others, and is written to `first-core.json` or `first-e2e.json`
in --out at once; what would not end before --minutes is left out, and said. Rates are measured again, in turn, as long
as there is time: medians over the rounds. At the end all is printed as Markdown, for docs/benchmarks.md.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import torch
from ceilings import Ceilings
from loops import Loop, time_loop
from made import CLASSES, Shape, make_photos, make_weights, shape_of
from stages import (
    describe_machine,
    jobs_of,
    keep_embedders,
    middle,
    print_found,
    release,
    run_commands,
    show,
    synchronise,
    time_cutting,
    time_extraction,
    time_forward_on_device,
    words_in,
)

from frozenprobe.cache.store import open_features
from frozenprobe.extract.backbones.backbone import Backbone
from frozenprobe.extract.backbones.catalogue import ANY_VIT
from frozenprobe.extract.backbones.load import load_backbone
from frozenprobe.extract.compute.embedder import DTYPES, Embedder
from frozenprobe.extract.compute.engines import Engine, torch_engine
from frozenprobe.extract.compute.pipeline import torch_threads
from frozenprobe.extract.compute.tuning import make_embedder
from frozenprobe.extract.options import MAX_PIXELS, Choices, ExtractRequest, WeightsOptions
from frozenprobe.extract.ranks.rank import own_cores, threads_a_call
from frozenprobe.extract.report import render_report
from frozenprobe.extract.views.cut import ViewSettings
from frozenprobe.images.sources import ImageSources

ROOT = Path(__file__).resolve().parent.parent
VIT_L_16, TINY = "512,16,1024,24,16,4096", "32,8,24,2,3,48"
GMACS_VIT_L_16 = 362  # at 512 px
PUBLISHED = (  # images/s of timm's ViT-L/16 at 512 px in its tables of other cards: eager, compiled
    ("RTX 4090", 152, 186),
    ("RTX 5090", 174, 232),
)
IMPORTS = 10  # seconds that are gone before the clock is looked at
THREADS = threads_a_call(own_cores())  # as in an extraction: code is compiled for a number of threads
VIEWS = 8  # augmented ones of every photo, beside the clean view
COMPARED = 32  # views whose features are compared with float32
MANY = 6  # times as many photos in the long pass, for which `--engine auto` may compile
PACKAGES = "torch torchvision numpy pillow h5py scipy scikit-learn safetensors timm triton onnxruntime"
TESTS = ("tests/system/test_devices.py", "tests/extract/compute")
Said = tuple[float, list[str]]  # seconds, and a text a command
Found = dict[str, Any]  # numbers, and now and then a text, by what they are called


class Runner(NamedTuple):
    """A way of running the network, and how many views a call it takes."""

    forward: Engine
    batch: int


@dataclass
class Look:
    """What is looked at, and what was found.

    Attributes:
        what: which steps.
        out: where the numbers go.
        device: where to run.
        tiny: whether it runs at all, and nothing else.
        weights: a state dict of a ViT.
        options: what it cannot tell, or None.
        photos: JPEG files to make; the long pass has `MANY` times as many.
        photo_size: their width and height in px.
        deadline: in `time.monotonic`'s seconds.
        scratch: for photos and feature files.
        found: numbers by step, medians over the rounds; with `seconds` of each step in the first round, `errors`, what
            was `left out`, and the numbers of all `rounds`.
        runners: of the network, by name.
    """

    what: str
    out: Path
    device: torch.device
    tiny: bool
    weights: Path
    options: WeightsOptions | None
    photos: int
    photo_size: tuple[int, int]
    deadline: float
    scratch: Path
    found: Found = field(default_factory=lambda: {"seconds": {}, "errors": {}, "left out": {}, "rounds": {}})
    runners: dict[str, Runner] = field(default_factory=dict)

    def run(self, step: Step, seconds: float) -> None:
        """Run a step if it is likely to end in time; an error costs this step alone."""
        name, left = step.name, self.left
        if left < seconds:
            if name not in self.found["rounds"]:
                self.found["left out"][name] = f"{left:.0f} s left, {seconds:.0f} needed"
                self.save()
            return
        start = time.monotonic()
        print(f"== {name}", flush=True)
        try:
            found = step.measure(self)
            print(json.dumps(found, default=str)[:1500], flush=True)
            rounds = self.found["rounds"].setdefault(name, [])
            rounds.append(found)
            self.found[name] = middle(rounds)
        except Exception as error:  # whatever it is: the others are worth having on a machine paid by the hour
            self.found["errors"][name] = f"{type(error).__name__}: {str(error)[:500]}"
            print(traceback.format_exc()[-1500:], flush=True)
        release(self.device)
        self.found["seconds"].setdefault(name, round(time.monotonic() - start, 2))
        self.save()

    def save(self) -> None:
        """All numbers so far."""
        (self.out / f"first-{self.what}.json").write_text(json.dumps(self.found, indent=1, default=str))

    @property
    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def half(self) -> str:
        """The dtype that an extraction on this GPU takes; its stand-in on a CPU."""
        old = self.is_cuda and torch.cuda.get_device_capability(self.device) < (8, 0)
        return "float16" if old else "bfloat16"

    @property
    def dtype(self) -> torch.dtype:
        return DTYPES[self.half]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Batch sizes to try."""
        return (2, 4) if self.tiny else (8, 16, 32, 64, 128)

    @property
    def usual(self) -> int:
        """The batch size where one is enough."""
        return self.sizes[min(2, len(self.sizes) - 1)]

    @cached_property
    def backbone(self) -> Backbone:
        """The network, in float32 on the device: torchvision's VisionTransformer without its classifier."""
        backbone = load_backbone(ANY_VIT, self.weights, self.options)
        backbone.network.to(self.device)
        return backbone

    @cached_property
    def shape(self) -> Shape:
        return shape_of(self.backbone.network)

    @property
    def ceilings(self) -> Ceilings:
        """Of the device."""
        return Ceilings(self.shape, self.device, self.dtype, 0.01 if self.tiny else 0.3)

    @cached_property
    def peak(self) -> float:
        """TFLOP/s."""
        return self.ceilings.peak((64, 128) if self.tiny else (4096, 8192, 16384))

    @cached_property
    def exact(self) -> np.ndarray:
        """`(32, D)`: features of noise from torchvision's own module in float32 on the device."""
        return self.features(torch_engine(self.backbone.network, self.device, torch.float32))

    def noise(self, views: int) -> np.ndarray:
        """`(views, S, S, 3)` uint8."""
        return np.random.default_rng(0).integers(0, 256, (views, self.shape.side, self.shape.side, 3), dtype=np.uint8)

    def images(self, views: int) -> torch.Tensor:
        """A normalised batch in the layout that an extraction feeds it in: code is compiled for a layout."""
        images = torch.randn(views, 3, self.shape.side, self.shape.side, device=self.device)
        return images.to(memory_format=torch.channels_last)

    def normalised(self, device: torch.device) -> torch.Tensor:
        """Noise as it goes into the network, by other means than the package's."""
        about = self.backbone.preprocessing
        images = torch.from_numpy(self.noise(COMPARED)).to(device).permute(0, 3, 1, 2) / 255
        mean, std = (torch.tensor(each, device=device).view(3, 1, 1) for each in (about.mean, about.std))
        return ((images - mean) / std).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def features(self, forward: Engine) -> np.ndarray:
        """`(32, D)`: of noise, 16 views at a time."""
        return torch.cat([forward(part).float() for part in self.normalised(self.device).split(16)]).cpu().numpy()

    def rate(self, runner: Runner) -> float:
        """Views a second of a network alone."""
        with torch_threads(THREADS):
            images = self.images(runner.batch)
            return time_forward_on_device(runner.forward, images, seconds=0.02 if self.tiny else 0.8)

    def run_commands(self, lines: Sequence[Sequence[object]], environments: Sequence[dict[str, str]] = ({},)) -> Said:
        """As `stages.run_commands`."""
        limit = max(30.0, self.left)
        return run_commands(lines, environments, folder=self.scratch, limit=limit, log=self.out / "commands.txt")

    def request(self, folder: Path, recipe: str, engine: str | None, out: Path) -> ExtractRequest:
        """An extraction; what is None is not typed."""
        named = {"weights": self.weights, "weights_options": self.options, "recipe": recipe, "engine": engine}
        choices = Choices(backbone=ANY_VIT, views=VIEWS, test_views=("clean",), **named)
        return ExtractRequest(ImageSources(folder, None), choices, out=out, device=str(self.device))


class Step(NamedTuple):
    """What is measured.

    Attributes:
        name: in the numbers.
        seconds: that it will take about, on an H100 with 16 cores.
        measure: does it.
        again: in further rounds, too.
    """

    name: str
    seconds: float
    measure: Callable[[Look], Found]
    again: bool = False


def least_cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Of rows of two arrays of equal shape, `(n, D)`."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    return float(((one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)).min())


# What the machine is, and the network on it.


def machine(look: Look) -> Found:
    """Versions, cores, memory."""
    versions = {}
    for name in PACKAGES.split():
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return {
        "machine": describe_machine(look.device),
        "packages": versions,
        "shared memory, GB": shutil.disk_usage("/dev/shm").total / 1e9 if Path("/dev/shm").exists() else None,
        "compiler": shutil.which("g++") or shutil.which("c++"),
        "cuDNN": torch.backends.cudnn.version(),
        "capability": torch.cuda.get_device_capability(look.device) if look.is_cuda else None,
    }


def network(look: Look) -> Found:
    """Loaded."""
    return vars(look.shape) | {"GMAC": look.shape.gmacs, "MB": look.weights.stat().st_size / 1e6}


def ceilings(look: Look) -> Found:
    """What products, attention and copies of the network's sizes reach by themselves."""
    alone, views, tokens = look.ceilings, look.usual, look.shape.tokens
    found: Found = {"square product, TFLOP/s (the peak)": look.peak} | alone.products(views)
    for size in (look.sizes[0], look.usual, look.sizes[-1]):
        found |= alone.products_a_token(size)
    for length in (tokens - 1, tokens, tokens + 7):
        found |= alone.attention(views, length)
    return found | alone.copies(2**20 if look.tiny else 2**31)


def correct(look: Look) -> Found:
    """Features in three dtypes beside torchvision's module in float32: 2 views on the CPU, 32 on the device."""
    plain, cpu = load_backbone(ANY_VIT, look.weights, look.options).network, torch.device("cpu")
    here = torch_engine(plain, cpu, torch.float32)(look.normalised(cpu)[:2]).numpy()
    boxes = [None, (1, 2, look.shape.side // 3, look.shape.side // 4)] * (COMPARED // 2)
    pixels, found = look.noise(COMPARED), {}
    for dtype in ("float32", "bfloat16", "float16"):
        embedder = Embedder(look.backbone, look.device, dtype, batch_size=16)
        there = embedder.embed(pixels, [None] * COMPARED)
        found[dtype] = {
            "cosine to the CPU": least_cosine(there[:2], here),
            "difference, of the largest feature": float(np.abs(there[:2] - here).max() / np.abs(here).max()),
            "cosine to float32": least_cosine(there, look.exact),
            "finite": bool(np.isfinite(embedder.embed(pixels, boxes)).all()),
            "overflowed": embedder.overflowed,
        }
    return found


def setting_up(look: Look, engine: str, dtype: str = "") -> Found:
    """The network in an engine, as an extraction sets it up: seconds, batch size, memory, cosine to float32."""
    before, start = 0, time.perf_counter()
    if look.is_cuda:
        torch.cuda.reset_peak_memory_stats(look.device)
        before = torch.cuda.memory_allocated(look.device)
    with torch_threads(THREADS):
        embedder = make_embedder(
            look.backbone, look.device, dtype or look.half, engine=engine, threads=THREADS, batch_size=None
        )
        embedder.forward(look.images(embedder.batch_size)).cpu()
        found: Found = {"batch": embedder.batch_size, "set-up, s": time.perf_counter() - start}
        if look.is_cuda:
            found["GiB besides float32"] = (torch.cuda.max_memory_allocated(look.device) - before) / 2**30
        vectors = embedder.embed(look.noise(COMPARED), [None] * COMPARED)
    name = f"--engine {engine}" + (f" --dtype {dtype}" if dtype else "")
    look.runners[name] = Runner(embedder.forward, embedder.batch_size)
    return {name: found | {"cosine": least_cosine(vectors, look.exact)}}


def module(look: Look) -> Found:
    """torchvision's own module, as users call it: under autocast, all of it in the dtype, and in float32."""
    plain = copy.deepcopy(look.backbone.network).to(look.dtype)
    ways = {
        f"module, autocast to {look.half}": torch_engine(look.backbone.network, look.device, look.dtype),
        f"module, all in {look.half}": torch.inference_mode()(lambda images: plain(images.to(look.dtype))),
        "module, float32": torch_engine(look.backbone.network, look.device, torch.float32),
    }
    look.runners |= {name: Runner(forward, look.usual) for name, forward in ways.items()}
    return {
        name: {"batch": look.usual, "cosine": least_cosine(look.features(forward), look.exact)}
        for name, forward in ways.items()
    }


def alone(look: Look) -> Found:
    """Every way of running the network, one after the other, each at its batch size: how near it is to the peak."""
    found: Found = {}
    for name, runner in look.runners.items():
        rate = look.rate(runner)
        flops = rate * 2 * look.shape.gmacs / 1e3
        found[name] = {"views/s": rate, "TFLOP/s": flops, "of the peak": flops / look.peak}
    return found


def batch_sizes(look: Look, engine: str) -> Found:
    """Views a second by batch size; code is compiled for each."""
    runner = look.runners[f"--engine {engine}"]
    return {f"batch {size}": look.rate(runner._replace(batch=size)) for size in look.sizes}


def memory_runs_out(look: Look) -> Found:
    """3 GB of memory and a batch of 256 views: it must halve the batch, lose no row and give the same numbers."""
    embedder = Embedder(look.backbone, look.device, look.half, batch_size=8)
    pixels = look.noise(8 if look.tiny else 256)
    want = embedder.embed(pixels[:16], [None] * len(pixels[:16]))
    if look.is_cuda:
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(look.device).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 3e9) / total)
    embedder.batch_size = 256
    try:
        rows = embedder.embed(pixels, [None] * len(pixels))
    finally:
        if look.is_cuda:
            torch.cuda.set_per_process_memory_fraction(1.0)
    return {"batch in the end": embedder.batch_size, "rows": len(rows), "cosine": least_cosine(rows[: len(want)], want)}


def profile(look: Look, engine: str) -> Found:
    """Where the time of a forward pass goes, operation by operation: what is missed of the peak is in this table."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    runner = look.runners[f"--engine {engine}"]
    images = look.images(runner.batch)
    runner.forward(images)
    kinds = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * look.is_cuda]
    with profiled(activities=kinds) as seen:
        runner.forward(images)
        synchronise(look.device)
    by = f"self_{'cuda' if look.is_cuda else 'cpu'}_time_total"
    text = seen.key_averages().table(sort_by=by, row_limit=30, max_name_column_width=70)
    (look.out / f"profile-{engine}.txt").write_text(text)
    print(text[:3000])
    return {"file": f"profile-{engine}.txt", "operations": len(seen.key_averages())}


def tests(look: Look) -> Found:
    """Those that need a device; tiny: only whether they are where they are looked for."""
    lost = [path for path in TESTS if not (ROOT / path).exists()]
    if lost:
        raise FileNotFoundError(", ".join(lost))
    if look.tiny:
        return {"tail": "not run"}
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", "cuda or device"]
    done = subprocess.run([*words, *TESTS], cwd=ROOT, capture_output=True, text=True, timeout=120)
    (look.out / "tests.txt").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise RuntimeError(done.stdout[-400:] + done.stderr[-200:])
    return {"tail": done.stdout[-200:]}


# From files to features and on.


def photos(look: Look) -> Found:
    """Made: `many`, and some of them in `few`."""
    files = make_photos(look.scratch / "many", MANY * look.photos, look.photo_size)
    for file in files[: look.photos]:
        few = look.scratch / "few" / file.parent.name
        few.mkdir(parents=True, exist_ok=True)
        os.link(file, few / file.name)
    size = sum(file.stat().st_size for file in files) / len(files)
    return {"few": look.photos, "many": len(files), "kB each": size / 1e3}


def cutting(look: Look) -> Found:
    """What all cores decode and cut with nothing else to do: nothing from JPEG files can be faster."""
    files, found = sorted((look.scratch / "few").rglob("*.jpg")), {}
    for recipe in ("mild", "report"):
        settings = ViewSettings(look.backbone.preprocessing, recipe, 0, MAX_PIXELS)
        decode, cut = time_cutting(jobs_of(files[: 4 * own_cores()], VIEWS), settings)
        rate = 1 / (cut + decode / (1 + VIEWS))
        found[recipe] = {"decode, ms an image": decode * 1e3, "cut, ms a view": cut * 1e3, "views/s": rate}
    return found


def extracting(look: Look, recipe: str, engine: str | None = None, folder: str = "few") -> Found:
    """JPEG files to a new feature file, here; then the network alone in the embedder that has just done it."""
    out = feature_file(look, recipe, engine)
    out.unlink(missing_ok=True)
    torch.compiler.reset()  # what is compiled again finds parts of it in memory: see `first whole call`
    with keep_embedders() as made:
        ours = time_extraction(look.request(look.scratch / folder, recipe, engine, out))
    rate, done = look.rate(Runner(made[-1].forward, made[-1].batch_size)), ours.report
    found = {"views": done.computed, "whole call": ours.whole, "under way": ours.steady, "network alone": rate}
    found |= {"of the network alone": ours.steady / rate, "begun after, s": ours.begun}
    found |= {"cosine": done.fidelity.cosine} if done.fidelity else {}
    return found | {"computed by": done.compute, "says": render_report(done)}


def feature_file(look: Look, recipe: str, engine: str | None) -> Path:
    """Of an extraction."""
    return look.scratch / f"{recipe}-{engine or 'auto'}.h5"


def looping(look: Look, recipe: str, autocast: bool) -> Found:
    """The loop a user would write, for some seconds once it is warm."""
    dtype = look.dtype if autocast else None
    rate = time_loop(
        Loop(workers=own_cores(), autocast=dtype, batch=4 if look.tiny else 32),
        look.scratch / "few",
        look.backbone.network,
        look.backbone.preprocessing,
        recipe=recipe,
        epochs=1,
        views=VIEWS,
        limit=0.2 if look.tiny else 6.0,
    )
    return {"under way": rate}


def extract_words(look: Look, out: str) -> list[object]:
    """The command line of an extraction of the few photos."""
    words: list[object] = ["extract", "--train", "few", "--out", out, "--device", look.device]
    words += ["--views", VIEWS, "--test-views", "clean", "--backbone", ANY_VIT, "--weights", look.weights]
    if look.options is not None:
        words += ["--attention-heads", look.options.heads, "--resize", look.options.resize]
        words += ["--interpolation", look.options.interpolation]
        words += ["--mean", *(look.options.mean or ()), "--std", *(look.options.std or ())]
    return words


def command(look: Look) -> Found:
    """The whole command, with nothing typed of how to compute: what it takes to start is counted."""
    seconds, (text,) = look.run_commands([extract_words(look, "command.h5")])
    return {"seconds": seconds, "views/s": (1 + VIEWS) * look.photos / seconds, "says": text[-900:]}


def ranks(look: Look) -> Found:
    """Two ranks on one GPU: they must meet in one file with the rows that one process made."""
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    environments = [world | {"RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1")]
    seconds, said = look.run_commands([[*extract_words(look, "ranks.h5"), "--engine", "torch"]] * 2, environments)
    files = feature_file(look, "mild", "torch"), look.scratch / "ranks.h5"
    one, other = (each.read("train", range(1 + VIEWS)).reshape(-1, each.dim) for each in map(open_features, files))
    found = {"seconds": seconds, "rows": len(other), "cosine": least_cosine(one, other)}
    return found | {"says": [text[-500:] for text in said]}


def probe(look: Look) -> Found:
    """On the CPU, on the rows there are."""
    words = ["probe", feature_file(look, "mild", "torch"), "--head", "logreg", "--runs", "runs"]
    seconds, (text,) = look.run_commands([words])
    return {"seconds": seconds, "says": text[:300]}


START = (Step("machine", 0, machine), Step("network", 5, network))
STEPS: dict[str, tuple[Step, ...]] = {  # what matters most comes first
    "core": (
        *START,
        Step("ceilings", 15, ceilings),
        Step("correct", 20, correct),
        Step("torch", 10, partial(setting_up, engine="torch")),
        Step("compile", 25, partial(setting_up, engine="compile")),
        Step("torch float32", 10, partial(setting_up, engine="torch", dtype="float32")),
        Step("module", 8, module),
        Step("network alone", 20, alone, again=True),
        Step("memory runs out", 12, memory_runs_out),
        Step("profile torch", 5, partial(profile, engine="torch")),
        Step("profile compile", 5, partial(profile, engine="compile")),
        Step("batch sizes torch", 10, partial(batch_sizes, engine="torch")),
        Step("batch sizes compile", 35, partial(batch_sizes, engine="compile")),
        Step("tests", 40, tests),
    ),
    "e2e": (
        *START,
        Step("photos", 10, photos),
        Step("cutting", 6, cutting),
        Step("mild torch", 15, partial(extracting, recipe="mild", engine="torch"), again=True),
        Step("mild compile", 20, partial(extracting, recipe="mild", engine="compile"), again=True),
        Step("mild auto", 15, partial(extracting, recipe="mild"), again=True),
        Step("mild auto long", 46, partial(extracting, recipe="mild", folder="many")),
        Step("loop mild autocast", 14, partial(looping, recipe="mild", autocast=True), again=True),
        Step("report auto", 16, partial(extracting, recipe="report"), again=True),
        Step("command", 22, command),
        Step("ranks", 30, ranks),
        Step("probe", 12, probe),
        Step("loop mild float32", 18, partial(looping, recipe="mild", autocast=False)),
        Step("loop report autocast", 14, partial(looping, recipe="report", autocast=True)),
    ),
}


@click.command()
@click.argument("what", type=click.Choice(list(STEPS)))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="folder for the numbers")
@click.option("--device", default="cuda", show_default=True)
@click.option("--minutes", default=6.3, show_default=True, help="nothing begins that would end later than this")
@click.option("--rounds", default=3, show_default=True, help="at most, of what is measured again")
@click.option("--weights", type=click.Path(path_type=Path, exists=True), help="of a ViT, in place of random ones")
@click.option("--shape", default=VIT_L_16, show_default=True, help="of those: side, patch, width, blocks, heads, MLP")
@click.option(
    "--photos", default=320, show_default=True, help=f"JPEG files of a pass; {MANY} times that of the long one"
)
@click.option("--photo-size", default="800,600", show_default=True, help="their width and height in px")
@click.option("--tiny", is_flag=True, help="only find out whether it runs, on other weights and photos")
@click.option("--only", default="", help="steps with commas between them; all others are left out")
def main(
    what: str,
    out: Path,
    device: str,
    minutes: float,
    rounds: int,
    weights: Path | None,
    shape: str,
    photos: int,
    photo_size: str,
    tiny: bool,
    only: str,
) -> None:
    """Look at CORE (the network) or at E2E (files to features); ends with 0 whatever fails, so that more can follow."""
    deadline = time.monotonic() + 60 * minutes - IMPORTS
    if tiny:
        weights, shape, photos, photo_size, rounds = None, TINY, 2 * CLASSES, "80,60", min(rounds, 2)
    out = out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    many_shapes = torch._dynamo.config.patch(recompile_limit=64)  # beyond 8 it would go back to eager torch
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, many_shapes:
        scratch, options = Path(folder), None
        if weights is None:
            weights = scratch / "random.pth"
            options = make_weights(Shape(*numbers_in(shape)), weights)
        width, height = numbers_in(photo_size)
        look = Look(
            what,
            out,
            torch.device(device),
            tiny,
            weights.absolute(),
            options,
            photos,
            (width, height),
            deadline,
            scratch,
        )
        if not tiny:  # nothing compiled by an earlier process
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(scratch / "compiled")
        run_steps(look, words_in(only), rounds)
    report(look)


def run_steps(look: Look, only: Sequence[str], rounds: int) -> None:
    """All steps, or some; then further rounds of what is measured again, as the time allows."""
    steps = [step for step in STEPS[look.what] if not only or step.name in only]
    for step in steps:
        look.run(step, 0 if look.tiny else step.seconds)
    for _ in range(1, rounds):
        for step in steps:
            if step.again and step.name in look.found["rounds"]:
                look.run(step, look.found["seconds"][step.name])


def numbers_in(text: str) -> list[int]:
    """Whole numbers with commas between them."""
    return [int(word) for word in words_in(text)]


def report(look: Look) -> None:
    """Print what was found as Markdown."""
    found, about = look.found, look.found.get("network", {})
    print(f"\n{found.get('machine', {}).get('machine')}\nViT", end="")
    print(*[f", {name} {show(name, value)}" for name, value in about.items()], sep="")
    (report_core if look.what == "core" else report_e2e)(found)
    if round(about.get("GMAC", 0)) == GMACS_VIT_L_16:
        print("\ntimm's tables for ViT-L/16 at 512 px, images/s in eager torch and compiled: ", end="")
        print("; ".join(f"{card} {eager} and {compiled}" for card, eager, compiled in PUBLISHED))
    print("\nseconds:", ", ".join(f"{name} {seconds:.1f}" for name, seconds in found["seconds"].items()))
    for what in ("errors", "left out"):
        for name, text in found[what].items():
            print(f"\n{what}: {name}: {text}")


def report_core(found: Found) -> None:
    """The network alone, by engine and by batch size; how near it is to float32; ceilings."""
    rates, rounds = found.get("network alone", {}), len(found["rounds"].get("network alone", []))
    ways = [found.get(step, {}) for step in ("torch", "compile", "torch float32", "module")]
    rows = {name: rates.get(name, {}) | numbers for way in ways for name, numbers in way.items()}
    print_found(f"network alone, {rounds} rounds", rows)
    shares = [f"{rates[name]['of the peak']:.1%} {name}" for name in rates if name.startswith("--engine")]
    print("\nwanted: 60% of the peak; found:", "; ".join(shares))
    sizes = {f"--engine {engine}": found.get(f"batch sizes {engine}", {}) for engine in ("torch", "compile")}
    print_found("network alone, views/s", sizes)
    print_found("beside torchvision's module in float32", found.get("correct", {}))
    print_found("by itself", {name: {"reaches": value} for name, value in found.get("ceilings", {}).items()})
    print("\n256 views in 3 GB:", found.get("memory runs out"))


def report_e2e(found: Found) -> None:
    """From JPEG files: ours and the loops; the bound of the CPU's side."""
    rows = {}
    for name, numbers in found.items():
        if "under way" in numbers:
            loop = found.get(f"loop {'report' if 'report' in name else 'mild'} autocast", {})
            rows[name] = {key: value for key, value in numbers.items() if key not in ("says", "computed by")}
            if loop:
                rows[name]["x the autocast loop"] = numbers["under way"] / loop["under way"]
            rounds = found["rounds"][name]
            rows[name] |= {"first whole call": rounds[0].get("whole call"), "rounds": len(rounds)}
    print_found("from JPEG files, views/s", rows)
    shares = [f"{rows[name]['of the network alone']:.1%} {name}" for name in rows if name.startswith("mild")]
    print("\nwanted: 90% of the network alone with mild views; found:", "; ".join(shares))
    print_found("all cores alone", found.get("cutting", {}))
    for name in rows:
        if "computed by" in found[name]:
            print(f"\n{name}: computed by {found[name]['computed by']}")
    for name in ("command", "ranks", "probe"):
        if name in found:
            print(f"\n{name}: {found[name]['seconds']:.1f} s")


if __name__ == "__main__":
    main()
