"""A first look at a GPU in two commands of some minutes: are numbers right, where are the ceilings, what is near them.

    python benchmarks/first_gpu.py core --minutes 6.3 --out numbers   # 5 minutes: correctness, ceilings, the network
    python benchmarks/first_gpu.py e2e --minutes 4.5 --out numbers    # 4.5 minutes: files to features, ranks, loops
    python benchmarks/first_gpu.py core --device cpu --tiny --out numbers    # whether it runs at all, without a GPU

The network is a ViT-L/16 at 512 px with seeded random weights, the photos are made on the spot. Every step is timed,
cannot stop the others, and is written to `first-core.json` or `first-e2e.json` in --out at once; what would not end
before --minutes is left out. What turns out well here is worth a place in `bench_gpu.py`, which measures with rounds.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from bench_gpu import VIT_L_16, Shape, make_photos, make_weights, numbers_in, release
from loops import Loop, time_loop
from stages import (
    describe_machine,
    jobs_of,
    synchronise,
    time_calls,
    time_cutting,
    time_forward_on_device,
)
from torch.nn.attention import SDPBackend, sdpa_kernel

from frozenprobe.cache.store import open_features
from frozenprobe.extract.backbones.backbone import Backbone
from frozenprobe.extract.backbones.catalogue import ANY_VIT
from frozenprobe.extract.backbones.load import load_backbone
from frozenprobe.extract.compute import engines
from frozenprobe.extract.compute.embedder import Embedder
from frozenprobe.extract.compute.engines import Engine, compiled_engine, torch_engine, with_cast_weights
from frozenprobe.extract.options import MAX_PIXELS, WeightsOptions
from frozenprobe.extract.ranks.rank import own_cores
from frozenprobe.extract.views.cut import ViewSettings
from frozenprobe.extract.views.preprocessing import Preprocessing, Resized
from frozenprobe.extract.views.recipes import cut_view, make_recipe, view_generator
from frozenprobe.probe.heads.head import TrainingRows
from frozenprobe.probe.heads.logreg.head import LogisticRegressionHead

ROOT = Path(__file__).resolve().parent.parent
BF16 = torch.bfloat16
VIEWS = 8  # augmented ones of every photo, beside the clean view
PACKAGES = "torch torchvision numpy pillow h5py scipy scikit-learn safetensors timm triton onnxruntime"
TESTS = ("tests/system/test_devices.py", "tests/extract/compute", "tests/probe/heads/logreg/test_torch_products.py")
ATTENTION = {
    "flash": [each for each in engines.ATTENTION if each is not SDPBackend.CUDNN_ATTENTION],  # torch's own order
    "cudnn": engines.ATTENTION,
}


@dataclass
class Look:
    """What is looked at, and what was found.

    Attributes:
        what: which steps.
        out: where the numbers go.
        device: where to run.
        tiny: whether it runs at all, and nothing else.
        shape: of the network.
        photos: JPEG files to make.
        deadline: in `time.monotonic`'s seconds.
        scratch: for weights, photos and feature files.
        found: numbers by step; with `steps`, the seconds they took, and `errors`.
    """

    what: str
    out: Path
    device: torch.device
    tiny: bool
    shape: Shape
    photos: int
    deadline: float
    scratch: Path
    found: dict[str, Any] = field(default_factory=lambda: {"steps": {}, "errors": {}})

    def step(self, name: str, seconds: float, measure: Callable[[Look], Any]) -> None:
        """Run a step if it is likely to end in time; an error costs this step alone."""
        left = self.deadline - time.monotonic()
        if left < seconds:
            self.found["errors"][name] = f"left out: {left:.0f} s left, {seconds} needed"
            return
        start = time.monotonic()
        print(f"== {name}", flush=True)
        try:
            self.found[name] = measure(self)
            print(json.dumps(self.found[name], default=str)[:1500], flush=True)
            release(self.device)
        except Exception as error:  # whatever it is: the others are worth having on a machine paid by the hour
            self.found["errors"][name] = f"{type(error).__name__}: {str(error)[:500]}"
            print(traceback.format_exc()[-1500:], flush=True)
        self.found["steps"][name] = round(time.monotonic() - start, 2)
        (self.out / f"first-{self.what}.json").write_text(json.dumps(self.found, indent=1, default=str))

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def tokens(self) -> int:
        """Of an image, its class token included."""
        return (self.shape.side // self.shape.patch) ** 2 + 1

    @property
    def sizes(self) -> tuple[int, ...]:
        """Batch sizes to try."""
        return (2, 4) if self.tiny else (8, 16, 32, 64, 128)

    @property
    def usual(self) -> int:
        """The batch size where one is enough."""
        return self.sizes[min(2, len(self.sizes) - 1)]

    @cached_property
    def options(self) -> WeightsOptions:
        """Of the weights, which are made here."""
        return make_weights(self.shape, self.scratch)

    @property
    def weights(self) -> Path:
        return self.scratch / "random.pth"

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing(self.shape.side, self.shape.side, "bicubic")

    def backbone(self) -> Backbone:
        """The network, loaded anew."""
        return load_backbone(ANY_VIT, self.weights, self.options)

    @cached_property
    def network(self) -> Any:
        """torchvision's VisionTransformer without its classifier, in float32 on the device."""
        return self.backbone().network.to(self.device)

    @cached_property
    def today(self) -> Engine:
        """The network as an extraction runs it."""
        return torch_engine(with_cast_weights(self.network, BF16), self.device, BF16)

    @cached_property
    def peak(self) -> float:
        """TFLOP/s of a large square bf16 product, of the second factor as it is or transposed."""
        side = 256 if self.tiny else 8192
        one, two = (torch.randn(side, side, device=self.device, dtype=BF16) for _ in range(2))
        return max(2 * side**3 / self.seconds(partial(torch.matmul, one, each)) / 1e12 for each in (two, two.mT))

    @cached_property
    def exact(self) -> np.ndarray:
        """`(32, D)`: features of noise in float32."""
        return Embedder(self.backbone(), self.device, "float32", batch_size=16).embed(self.noise(32), [None] * 32)

    def seconds(self, call: Callable[[], Any]) -> float:
        """Of a call."""
        return time_calls(call, self.device, seconds=0.02 if self.tiny else 0.4)

    def noise(self, views: int) -> np.ndarray:
        """`(views, S, S, 3)` uint8."""
        return np.random.default_rng(0).integers(0, 256, (views, self.shape.side, self.shape.side, 3), dtype=np.uint8)

    def images(self, views: int) -> torch.Tensor:
        """A normalised batch as an extraction feeds it in."""
        images = torch.randn(views, 3, self.shape.side, self.shape.side, device=self.device)
        return images.to(memory_format=torch.channels_last)

    def rates(self, name: str, forward: Engine, sizes: tuple[int, ...]) -> dict[str, Any]:
        """Views a second of a network alone, and how near that is to the peak."""
        found = {}
        for size in sizes:
            rate = time_forward_on_device(forward, self.images(size), seconds=0.02 if self.tiny else 0.8)
            flops = rate * 2 * self.shape.gmacs / 1e3
            found[f"{name}, batch {size}"] = {"views/s": rate, "TFLOP/s": flops, "of peak": flops / self.peak}
        return found

    @torch.inference_mode()
    def cosine(self, forward: Engine) -> float:
        """The smallest one to float32, over 32 views of noise."""
        exact, pixels = self.exact, torch.from_numpy(self.noise(32)).to(self.device)
        images = (pixels.flatten(2).float() / 255).view(pixels.shape).permute(0, 3, 1, 2)
        mean, std = (
            torch.tensor(each, device=self.device).view(3, 1, 1) for each in (self.options.mean, self.options.std)
        )
        images = ((images - mean) / std).to(memory_format=torch.channels_last)
        found = torch.cat([forward(images[at : at + 16]).float() for at in (0, 16)])
        return least_cosine(found.cpu().numpy(), exact)


def least_cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Of rows of two arrays of equal shape, `(n, D)`."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    return float(((one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)).min())


@contextmanager
def attention(name: str) -> Iterator[None]:
    """Within, products of attention are made by the first of these that can."""
    with sdpa_kernel(ATTENTION[name], set_priority=True):
        yield


# What the machine is, and the network on it.


def machine(look: Look) -> dict[str, Any]:
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


def weights(look: Look) -> dict[str, Any]:
    """Made, saved and loaded."""
    return {
        "GMAC": look.shape.gmacs,
        "layers": len(look.network.encoder.layers),
        "MB": look.weights.stat().st_size / 1e6,
    }


def ceilings(look: Look) -> dict[str, Any]:
    """What products, copies and attention of the network's sizes reach by themselves."""
    shape, device, views = look.shape, look.device, 4 if look.tiny else 32
    made = partial(torch.randn, device=device, dtype=BF16)
    found: dict[str, Any] = {"matmul TFLOP/s": look.peak}
    bytes_ = torch.empty(2**20 if look.tiny else 2**31, dtype=torch.uint8, device=device)
    other = torch.empty_like(bytes_)
    found["copy TB/s, read and written"] = 2 * len(bytes_) / look.seconds(partial(other.copy_, bytes_)) / 1e12
    del bytes_, other
    rows = views * look.tokens
    products = {"qkv": (shape.width, 3 * shape.width), "out": (shape.width, shape.width)}
    products |= {"fc1": (shape.width, shape.mlp), "fc2": (shape.mlp, shape.width)}
    for name, (inner, outer) in products.items():
        call = partial(F.linear, made(rows, inner), made(outer, inner), made(outer))
        found[f"{name} TFLOP/s"] = 2 * rows * inner * outer / look.seconds(call) / 1e12
    weight = made(3 * shape.width, shape.width)
    for size in (look.sizes[0], look.usual, look.sizes[-1]):  # what nn.MultiheadAttention calls: a product a token
        call = partial(torch.matmul, made(size, look.tokens, shape.width).transpose(0, 1), weight.T)
        flops = 2 * size * look.tokens * 3 * shape.width**2
        found[f"qkv a token at a time, batch {size}, TFLOP/s"] = flops / look.seconds(call) / 1e12
    for length in (look.tokens - 1, look.tokens, look.tokens + 7):
        each = made(views, length, 3, shape.heads, shape.width // shape.heads).permute(2, 0, 3, 1, 4)
        for kind in ATTENTION:
            found[f"attention, {kind}, {length} tokens, TFLOP/s"] = attention_flops(look, each, kind)
    return found | patches_and_copies(look, views)


@torch.inference_mode()
def attention_flops(look: Look, each: torch.Tensor, kind: str) -> float | str:
    """TFLOP/s of attention on `(3, B, heads, tokens, width)`; or why it cannot be done that way."""
    _, views, heads, length, width = each.shape
    try:
        with attention(kind):
            seconds = look.seconds(partial(F.scaled_dot_product_attention, *each))
    except RuntimeError as error:
        return str(error)[:100]
    return 4 * views * heads * length**2 * width / seconds / 1e12


@torch.inference_mode()
def patches_and_copies(look: Look, views: int) -> dict[str, float]:
    """Microseconds a view to cut patches in both layouts; the way to the device."""
    found, images = {}, look.images(views).to(BF16)
    convolution = copy.deepcopy(look.network.conv_proj).to(BF16)
    for name, each in (("NHWC", images), ("NCHW", images.contiguous())):
        found[f"patches of {name}, us a view"] = look.seconds(partial(convolution, each)) / views * 1e6
    if look.is_cuda:
        start = time.perf_counter()
        pinned = torch.empty(64 * look.shape.side**2 * 3, dtype=torch.uint8, pin_memory=True)
        found["pin 50 MB, ms"] = (time.perf_counter() - start) * 1e3
        call = partial(pinned.to, look.device, non_blocking=True)
        found["to the device, GB/s"] = len(pinned) / look.seconds(call) / 1e9
    return found


def correct(look: Look) -> dict[str, Any]:
    """Features on the device in three dtypes beside float32 on the CPU: 2 views there, 32 on the device."""
    pixels, found = look.noise(32), {}
    boxes = [None, (1, 2, look.shape.side // 3, look.shape.side // 4)] * 16
    here = Embedder(look.backbone(), torch.device("cpu"), "float32", batch_size=2).embed(pixels[:2], [None] * 2)
    for dtype in ("float32", "bfloat16", "float16"):
        embedder = Embedder(look.backbone(), look.device, dtype, batch_size=16)
        there, clean = embedder.embed(pixels, boxes), embedder.embed(pixels[:2], [None] * 2)
        found[dtype] = {
            "cosine to the CPU": least_cosine(clean, here),
            "difference, of the largest feature": float(np.abs(clean - here).max() / np.abs(here).max()),
            "finite": bool(np.isfinite(there).all()),
            "overflowed": embedder.overflowed,
        }
    return found


def today(look: Look) -> dict[str, Any]:
    """The network as an extraction runs it."""
    return look.rates("eager", look.today, look.sizes) | {"cosine": look.cosine(look.today)}


def variants(look: Look) -> dict[str, Any]:
    """What other ways of running the network bring: torchvision's own module under autocast, and all of it in bf16."""
    plain = copy.deepcopy(look.network).to(BF16)
    networks = {"module, autocast": torch_engine(look.network, look.device, BF16)}
    networks["module, all in bf16"] = torch.inference_mode()(lambda images: plain(images.to(BF16)))
    found: dict[str, Any] = {}
    for name, forward in networks.items():
        found |= look.rates(name, forward, look.sizes[1:4:2]) | {f"{name}, cosine": look.cosine(forward)}
    return found


def memory_runs_out(look: Look) -> dict[str, Any]:
    """3 GB of memory and a batch of 256 views: it must halve the batch, lose no row and give the same numbers."""
    embedder = Embedder(look.backbone(), look.device, "bfloat16", batch_size=8)
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


def compiled(look: Look) -> dict[str, Any]:
    """The network compiled, as `--engine compile` does."""
    forward = compiled_engine(with_cast_weights(look.network, BF16), look.device, BF16)
    found = {"seconds to compile": first_call(look, forward)}
    return found | look.rates("compiled", forward, look.sizes) | {"cosine": look.cosine(forward)}


def first_call(look: Look, forward: Engine) -> float:
    """Seconds of it."""
    start = time.monotonic()
    forward(look.images(look.usual))
    synchronise(look.device)
    return time.monotonic() - start


def profile(look: Look) -> dict[str, Any]:
    """Where the time of a forward pass goes, operation by operation."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    images = look.images(look.usual)
    look.today(images)
    kinds = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * look.is_cuda]
    with profiled(activities=kinds) as seen:
        look.today(images)
        synchronise(look.device)
    by = f"self_{'cuda' if look.is_cuda else 'cpu'}_time_total"
    text = seen.key_averages().table(sort_by=by, row_limit=30, max_name_column_width=70)
    (look.out / "profile.txt").write_text(text)
    print(text[:3500])
    return {"file": "profile.txt", "operations": len(seen.key_averages())}


def augmenting(look: Look) -> dict[str, Any]:
    """Milliseconds a view that cutting on the device costs: of this thread until all is launched, and in all."""
    found: dict[str, Any] = {}
    views = 8 if look.tiny else 64
    image = torch.randint(0, 256, (3, 600, 800), dtype=torch.uint8, device=look.device)
    for name in ("mild", "report"):
        for _ in range(2):  # the first round sets things up
            start = time.perf_counter()
            kept = [cut(look, image, name, view) for view in range(views)]
            launched = time.perf_counter()
            synchronise(look.device)
            done = time.perf_counter()
        found[name] = {"host ms": (launched - start) / views * 1e3, "done ms": (done - start) / views * 1e3}
        del kept
    huge = torch.zeros((3, 60, 80) if look.tiny else (3, 9000, 12000), dtype=torch.uint8, device=look.device)
    try:  # torch's antialiased kernels may refuse a large reduction: too much shared memory
        found["huge image"] = list(cut(look, huge, "mild", 0).shape)
    except RuntimeError as error:
        found["huge image"] = str(error)[:200]
    return found


def cut(look: Look, image: torch.Tensor, name: str, view: int) -> torch.Tensor:
    """An augmented view of an image on the device."""
    recipe = make_recipe(name, look.preprocessing)
    return cut_view(Resized(image), recipe, view_generator("x", view + 1, recipe=recipe, seed=0)).pixels


def probing(look: Look) -> dict[str, Any]:
    """Our solver here and there on the same rows: equal weights, and how much faster."""
    rng = np.random.default_rng(0)
    images, views, dim, classes = (40, 2, 16, 4) if look.tiny else (4000, 9, 1024, 50)
    labels = np.repeat(rng.integers(0, classes, images), views)
    features = rng.standard_normal((images * views, dim)) + 0.6 * rng.standard_normal((classes, dim))[labels]
    rows = TrainingRows(
        features=(features / np.sqrt(dim)).astype(np.float32),
        labels=labels,
        weight=np.full(len(labels), 1 / views),
        images=np.repeat(np.arange(images), views),
    )
    found: dict[str, Any] = {}
    models = []
    for device in ("cpu", str(look.device)):
        start = time.monotonic()
        models.append(LogisticRegressionHead(device=device).fit(rows, seed=0))
        found[f"{device}, s"] = time.monotonic() - start
    one, other = models
    found["difference, of the largest weight"] = float(
        np.abs(one.coefficients - other.coefficients).max() / np.abs(one.coefficients).max()
    )
    best = [(rows.features @ each.coefficients.T + each.intercepts).argmax(axis=1) for each in models]
    found["predictions that differ"] = int((best[0] != best[1]).sum())
    return found


def tests(look: Look) -> dict[str, Any]:
    """Those that need a device; tiny: only whether they are where they are looked for."""
    lost = [path for path in TESTS if not (ROOT / path).exists()]
    if lost:
        raise FileNotFoundError(", ".join(lost))
    if look.tiny:
        return {"tail": "not run"}
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", "cuda or device or product"]
    done = subprocess.run([*words, *TESTS], cwd=ROOT, capture_output=True, text=True, timeout=120)
    (look.out / "tests.txt").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise RuntimeError(done.stdout[-400:] + done.stderr[-200:])
    return {"tail": done.stdout[-200:]}


# From files to features and on.


def photos(look: Look) -> dict[str, Any]:
    """Made; and what all cores decode and cut of them with nothing else to do."""
    files = make_photos(look.scratch / "photos", look.photos, (80, 60) if look.tiny else (800, 600))
    found = {}
    for recipe in ("mild", "report"):
        settings = ViewSettings(look.preprocessing, recipe, 0, MAX_PIXELS)
        decoding, cutting = time_cutting(jobs_of(files[: 4 * own_cores()], VIEWS), settings)
        rate = 1 / (cutting + decoding / (1 + VIEWS))
        found[recipe] = {"decode, ms": decoding * 1e3, "cut, ms a view": cutting * 1e3, "views/s": rate}
    return found


def extracting(look: Look, recipe: str, place: str, *more: object) -> dict[str, Any]:
    """The whole command."""
    out = look.scratch / f"{recipe}-{place}{'-'.join(map(str, more))}.h5"
    seconds, text = call(look, *extract_words(look, out, recipe), "--augment-on", place, *more)
    return {"seconds": seconds, "views/s": (1 + VIEWS) * look.photos / seconds, "says": text[-700:]}


def extract_words(look: Look, out: Path, recipe: str) -> list[object]:
    """The command line of an extraction of the photos."""
    options = look.options
    return [
        "extract", "--train", look.scratch / "photos", "--out", out, "--device", look.device, "--recipe", recipe,
        "--backbone", ANY_VIT, "--weights", look.weights, "--attention-heads", options.heads,
        "--resize", options.resize, "--interpolation", options.interpolation,
        "--mean", *(options.mean or ()), "--std", *(options.std or ()), "--views", VIEWS, "--test-views", "clean",
    ]  # fmt: skip


def call(look: Look, *words: object, **environment: str) -> tuple[float, str]:
    """Seconds of a command, and what it says."""
    start = time.monotonic()
    with starting(look, *words, **environment) as process:
        text, _ = process.communicate(timeout=150)
    with (look.out / "commands.txt").open("a") as file:
        file.write(f"\n##### {' '.join(map(str, words))}\n{text}\n")
    if process.returncode:
        raise RuntimeError(text[-400:])
    return time.monotonic() - start, text


def starting(look: Look, *words: object, **environment: str) -> subprocess.Popen[str]:
    """A command, begun."""
    told = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    line = [sys.executable, "-m", "frozenprobe", *map(str, words)]
    return subprocess.Popen(
        line, cwd=look.scratch, env=told, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def ranks(look: Look) -> dict[str, Any]:
    """Two ranks on one GPU: they must meet in one file with the rows that one process made."""
    out, start = look.scratch / "ranks.h5", time.monotonic()
    both = [
        starting(
            look, *extract_words(look, out, "mild"), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2", RANK=rank, LOCAL_RANK=rank
        )
        for rank in ("0", "1")
    ]
    said = [each.communicate(timeout=150)[0][-500:] for each in both]
    if any(each.returncode for each in both):
        raise RuntimeError(" / ".join(said))
    one, other = (open_features(path) for path in (look.scratch / "mild-cpu.h5", out))
    rows = [each.read("train", range(1 + VIEWS)).reshape(-1, each.dim) for each in (one, other)]
    return {"seconds": time.monotonic() - start, "cosine": least_cosine(*rows), "said": said}


def probe(look: Look) -> dict[str, Any]:
    """On the CPU, and on the device."""
    words = ["probe", look.scratch / "mild-cpu.h5", "--head", "logreg", "--runs", look.scratch / "runs"]
    return {str(device): call(look, *words, "--device", device)[0] for device in {"cpu", str(look.device)}}


def looping(look: Look, recipe: str, dtype: torch.dtype | None) -> dict[str, Any]:
    """The loop a user would write."""
    loop = Loop(workers=own_cores(), autocast=dtype, batch=4 if look.tiny else 32)
    rate = time_loop(
        loop,
        look.scratch / "photos",
        look.network,
        look.preprocessing,
        recipe=recipe,
        epochs=1,
        views=VIEWS,
        limit=0.5 if look.tiny else 6.0,
    )
    return {"views/s": rate}


Steps = tuple[tuple[str, float, Callable[[Look], Any]], ...]  # name, seconds that it will take about, what is done
STEPS: dict[str, Steps] = {
    "core": (
        ("machine", 0, machine),
        ("weights", 5, weights),
        ("ceilings", 10, ceilings),
        ("correct", 20, correct),
        ("today", 15, today),
        ("variants", 15, variants),
        ("memory runs out", 12, memory_runs_out),
        ("compiled", 45, compiled),
        ("augmenting on the device", 5, augmenting),
        ("profile", 6, profile),
        ("probing", 20, probing),
        ("tests", 40, tests),
    ),
    "e2e": (
        ("machine", 0, machine),
        ("photos", 15, photos),
        ("extract mild cpu", 25, partial(extracting, recipe="mild", place="cpu")),
        ("extract report cpu", 25, partial(extracting, recipe="report", place="cpu")),
        ("loop autocast mild", 14, partial(looping, recipe="mild", dtype=BF16)),
        ("extract mild device", 25, partial(extracting, recipe="mild", place="device")),
        ("extract report device", 30, partial(extracting, recipe="report", place="device")),
        ("ranks", 40, ranks),
        ("probe", 25, probe),
        ("loop autocast report", 14, partial(looping, recipe="report", dtype=BF16)),
        ("extract mild cpu, batch 128", 25, lambda look: extracting(look, "mild", "cpu", "--batch-size", 128)),
        ("loop fp32 mild", 20, partial(looping, recipe="mild", dtype=None)),
    ),
}


@click.command()
@click.argument("what", type=click.Choice(list(STEPS)))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="folder for the numbers")
@click.option("--device", default="cuda", show_default=True)
@click.option("--minutes", default=6.3, show_default=True, help="nothing begins that would end later than this")
@click.option("--photos", default=320, show_default=True, help="JPEG files to make")
@click.option("--tiny", is_flag=True, help="only find out whether it runs")
@click.option("--only", default="", help="steps with commas between them; all others are left out")
def main(what: str, out: Path, device: str, minutes: float, photos: int, tiny: bool, only: str) -> None:
    """Look at CORE (the network) or at E2E (files to features)."""
    deadline = time.monotonic() + 60 * minutes
    out = out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    shape = Shape(*numbers_in("32,8,24,2,3,48" if tiny else VIT_L_16))
    chosen = [name.strip() for name in only.split(",") if name.strip()]
    with tempfile.TemporaryDirectory() as scratch:
        look = Look(what, out, torch.device(device), tiny, shape, 12 if tiny else photos, deadline, Path(scratch))
        for name, seconds, measure in STEPS[what]:
            if not chosen or name in chosen:
                look.step(name, 0 if tiny else seconds, measure)
    print(json.dumps({"steps": look.found["steps"], "errors": look.found["errors"]}, indent=1))


if __name__ == "__main__":
    main()
