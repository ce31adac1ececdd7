"""Extraction on a GPU beside its matmul peak, the network alone and the loops users write: ViT-L/16 at 512 px.

    python benchmarks/bench_gpu.py --json gpu.json
    python benchmarks/bench_gpu.py --quick
    python benchmarks/bench_gpu.py --weights vit_l_16_swag.pth --photos 1000

Weights are seeded random numbers in torchvision's layout and photos are made on the spot, so that nothing is needed but
the machine: speed depends on neither. (1) the bf16 matmul peak; (2) the network alone in each engine, as TFLOP/s and as
a fraction of that peak; (3) JPEG files to feature file, with the views cut on the CPU and on the device, as a fraction
of the network alone, measured on the very embedder that has just done it; (4) the loops users write. (3) and (4) are
repeated as often as the time allows; medians. Whatever fails is named, and the rest goes on; --json is written after
every measurement.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
import torch
from loops import Loop, time_loop
from PIL import Image
from stages import (
    describe_machine,
    jobs_of,
    print_table,
    synchronise,
    time_calls,
    time_cutting,
    time_extraction,
    time_forward_on_device,
)
from torch import nn
from torchvision.models import VisionTransformer

from frozenprobe.extract import work
from frozenprobe.extract.backbones.backbone import Backbone
from frozenprobe.extract.backbones.catalogue import ANY_VIT
from frozenprobe.extract.backbones.load import load_backbone
from frozenprobe.extract.compute.embedder import Embedder
from frozenprobe.extract.compute.pipeline import torch_threads
from frozenprobe.extract.compute.tuning import make_embedder
from frozenprobe.extract.options import MAX_PIXELS, Choices, ExtractRequest, WeightsOptions
from frozenprobe.extract.ranks.rank import own_cores, threads_a_call
from frozenprobe.extract.target import open_target
from frozenprobe.extract.views.cut import ViewSettings, cut_all
from frozenprobe.images.sources import ImageSources
from frozenprobe.system.devices import choose_device

VIT_L_16 = "512,16,1024,24,16,4096"
GMACS_VIT_L_16 = 362  # at 512 px
PUBLISHED = (  # images/s of timm's ViT-L/16 at 512 px in its tables of other cards: eager, compiled
    ("RTX 4090", 152, 186),
    ("RTX 5090", 174, 232),
)
CLASSES = 10
THREADS = threads_a_call(own_cores())  # as in an extraction: code is compiled for a number of threads
COMPARED = 32  # views whose features are compared with float32


@dataclass(frozen=True)
class Shape:
    """Of a VisionTransformer: image and patch side in px, width, number of blocks and heads, width of the MLP."""

    side: int
    patch: int
    width: int
    depth: int
    heads: int
    mlp: int

    @property
    def gmacs(self) -> float:
        """10^9 multiplications and additions for one image; the classifier is taken off."""
        patches = (self.side // self.patch) ** 2
        tokens = patches + 1
        embedding = patches * 3 * self.patch**2 * self.width
        block = 4 * tokens * self.width**2 + 2 * tokens**2 * self.width + 2 * tokens * self.width * self.mlp
        return (embedding + self.depth * block) / 1e9


@dataclass
class Bench:
    """What is asked for, and what has been measured so far.

    Attributes:
        device: where to run.
        backbone: on the CPU.
        choices: of every extraction; engine, recipe and place are put in.
        folder: of the photos' class folders.
        photos: in it.
        seconds: for each measurement of the network alone; a loop gets five times as many.
        deadline: in `time.monotonic`'s seconds.
        to_json: where all numbers go, or None.
        numbers: by name; lists have a number a round.
        errors: by name.
        longest: seconds that each kind of measurement took at most.
    """

    device: torch.device
    backbone: Backbone
    choices: dict[str, Any]
    folder: Path
    photos: list[Path]
    seconds: float
    deadline: float
    to_json: Path | None
    numbers: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    longest: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str, kind: str) -> Iterator[None]:
        """Within, an error costs this measurement alone; afterwards memory is free and the numbers are on disk."""
        start = time.monotonic()
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            yield
        except Exception as error:  # whatever it is: the others are worth having on a machine paid by the hour
            self.errors[name] = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            print(f"{name}: {self.errors[name]}", file=sys.stderr, flush=True)
        release(self.device)
        self.longest[kind] = max(self.longest.get(kind, 0.0), time.monotonic() - start)
        if self.to_json is not None:
            self.to_json.write_text(json.dumps({"numbers": self.numbers, "errors": self.errors}, indent=1))

    def has_time_for(self, kind: str) -> bool:
        """Whether another one of this kind ends before the deadline; of an unknown kind, as the longest of any."""
        seconds = self.longest.get(kind, max(self.longest.values(), default=0.0))
        return time.monotonic() + seconds < self.deadline

    def settings(self, recipe: str) -> ViewSettings:
        """For cutting views here."""
        return ViewSettings(self.backbone.preprocessing, recipe, 0, MAX_PIXELS)

    def request(self, out: Path, **choices: Any) -> ExtractRequest:
        """An extraction into a new file."""
        return ExtractRequest(
            ImageSources(train=self.folder, test=None),
            Choices(**self.choices, **choices),
            out=out,
            device=str(self.device),
        )

    def note(self, name: str, key: str, number: float) -> None:
        """Keep one round's number."""
        print(f"    {key} {number:.4g}", file=sys.stderr, flush=True)
        self.numbers.setdefault(name, {}).setdefault(key, []).append(number)

    def middle(self, name: str, key: str) -> float:
        """The median over the rounds; NaN of none."""
        values = self.numbers.get(name, {}).get(key, [])
        return median(values) if values else float("nan")


@click.command()
@click.option("--weights", type=click.Path(path_type=Path, exists=True), help="in place of seeded random ones")
@click.option("--shape", default=VIT_L_16, show_default=True, help="of those: side, patch, width, blocks, heads, MLP")
@click.option("--device", default="cuda", show_default=True)
@click.option("--dtype", default="auto", show_default=True, help="of the forward pass")
@click.option("--photos", default=600, show_default=True, help="JPEG files to make")
@click.option("--photo-size", default="800,600", show_default=True, help="their width and height in px")
@click.option("--views", default=8, show_default=True, help="augmented ones, beside the clean view")
@click.option("--recipes", default="report,mild", show_default=True)
@click.option("--places", default="cpu,device", show_default=True, help="--augment-on of each extraction")
@click.option("--engines", default="torch,compile", show_default=True)
@click.option("--matmuls", default="4096,8192,16384", show_default=True, help="sides of the square matrices")
@click.option("--rounds", default=3, show_default=True, help="at most")
@click.option("--seconds", default=3.0, show_default=True, help="for the network alone; a loop gets five times as many")
@click.option("--minutes", default=9.0, show_default=True, help="nothing begins that would end later than this")
@click.option("--quick", is_flag=True, help="150 photos, one round, a second each: half the time or less")
@click.option("--json", "to_json", type=click.Path(path_type=Path), help="all numbers, into a file")
def main(
    weights: Path | None,
    shape: str,
    device: str,
    dtype: str,
    photos: int,
    photo_size: str,
    views: int,
    recipes: str,
    places: str,
    engines: str,
    matmuls: str,
    rounds: int,
    seconds: float,
    minutes: float,
    quick: bool,
    to_json: Path | None,
) -> None:
    """Print Markdown tables of rates and fractions."""
    deadline = time.monotonic() + 60 * minutes
    if quick:
        photos, rounds, seconds = min(photos, 150), 1, min(seconds, 1.0)
    torch_device, (width, height) = choose_device(device), numbers_in(photo_size)
    with tempfile.TemporaryDirectory() as scratch:
        options = None
        if weights is None:
            weights, options = Path(scratch, "random.pth"), make_weights(Shape(*numbers_in(shape)), Path(scratch))
        bench = Bench(
            torch_device,
            load_backbone(ANY_VIT, weights, options),
            {"backbone": ANY_VIT, "weights": weights, "weights_options": options, "compute_dtype": dtype}
            | {"views": views, "test_views": ("clean",)},
            Path(scratch, "photos"),
            make_photos(Path(scratch, "photos"), photos, (width, height)),
            seconds,
            deadline,
            to_json,
        )
        bench.numbers["machine"] = describe_machine(torch_device)
        bench.numbers["gmacs"] = shape_of(bench.backbone.network).gmacs
        measure(bench, words_in(engines), words_in(recipes), words_in(places), numbers_in(matmuls), rounds)
    report(bench, words_in(engines), words_in(recipes), words_in(places))
    if bench.errors:
        sys.exit(f"{len(bench.errors)} measurements failed: {'; '.join(bench.errors)}")


def numbers_in(text: str) -> list[int]:
    """Whole numbers with commas between them."""
    return [int(word) for word in words_in(text)]


def words_in(text: str) -> list[str]:
    """Words with commas between them."""
    return [word.strip() for word in text.split(",") if word.strip()]


def make_weights(shape: Shape, folder: Path) -> WeightsOptions:
    """Write `random.pth`, a state dict in torchvision's layout of seeded random numbers.

    Returns:
        what the file cannot tell.
    """
    torch.manual_seed(0)
    network = VisionTransformer(shape.side, shape.patch, shape.depth, shape.heads, shape.width, shape.mlp)
    torch.save(network.state_dict(), folder / "random.pth")
    return WeightsOptions(shape.heads, shape.side, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def make_photos(folder: Path, number: int, size: tuple[int, int]) -> list[Path]:
    """Write JPEG files with coarse, middle and fine detail, about as large as photos of this size, in class folders."""

    def write(index: int) -> Path:
        rng = np.random.default_rng(index)
        pixels = np.zeros((size[1], size[0], 3), dtype=np.float32)
        for parts, strength in ((8, 90), (40, 35), (160, 15)):
            grain = rng.integers(0, 256, (parts * 3 // 4, parts, 3), dtype=np.uint8)
            detail = np.asarray(Image.fromarray(grain).resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
            pixels += strength * (detail / 127.5 - 1)
        path = folder / f"class {index % CLASSES}" / f"{index}.jpg"
        Image.fromarray((pixels + 128).clip(0, 255).astype(np.uint8)).save(path, quality=90)
        return path

    for label in range(min(CLASSES, number)):
        (folder / f"class {label}").mkdir(parents=True)
    with ThreadPoolExecutor(own_cores()) as pool:
        return list(pool.map(write, range(number)))


def shape_of(network: nn.Module) -> Shape:
    """The shape of the VisionTransformer that a network is or holds."""
    vit = next(module for module in network.modules() if isinstance(module, VisionTransformer))
    heads = next(module.num_heads for module in vit.modules() if isinstance(module, nn.MultiheadAttention))
    return Shape(vit.image_size, vit.patch_size, vit.hidden_dim, len(vit.encoder.layers), heads, vit.mlp_dim)


def measure(
    bench: Bench, engines: list[str], recipes: list[str], places: list[str], sides: list[int], rounds: int
) -> None:
    """All of it, what matters most first; rounds as the time allows."""
    with bench.step("matmul peak", "peak"):
        measure_peak(bench, sides)
    for engine in engines:
        with bench.step(f"alone, {engine}", "alone"):
            measure_alone(bench, engine)
    for recipe in recipes:
        with bench.step(f"cutting, {recipe}", "cutting"):
            measure_cutting(bench, recipe)
    kinds: dict[str, list[tuple[str, str, Callable[[], None]]]] = {
        engine: [
            (name_of(engine, recipe, place), f"extract, {engine}", extraction(bench, engine, recipe, place))
            for recipe in recipes
            for place in places
        ]
        for engine in engines
    }
    loops = [
        (loop_name(loop, recipe), "loop", looping(bench, loop, recipe)) for recipe in recipes for loop in choose_loops()
    ]
    first, *others = kinds.values()
    for _ in range(rounds):
        for name, kind, measurement in [*first, *loops, *(each for other in others for each in other)]:
            if name not in bench.errors and bench.has_time_for(kind):
                with bench.step(name, kind):
                    measurement()


def measure_peak(bench: Bench, sides: list[int]) -> None:
    """TFLOP/s of square bf16 products, of the second factor as it is and transposed; the best one is the peak."""
    for side in sides:
        one, two = (torch.randn(side, side, device=bench.device, dtype=torch.bfloat16) for _ in range(2))
        for factor in (two, two.mT):
            spent = time_calls(lambda one=one, factor=factor: one @ factor, bench.device, seconds=bench.seconds / 3)
            bench.note("peak", f"matmul {side}", 2 * side**3 / spent / 1e12)
    bench.numbers["peak TFLOP/s"] = max(max(values) for values in bench.numbers["peak"].values())


@torch_threads(THREADS)
def measure_alone(bench: Bench, engine: str) -> None:
    """Views a second at the batch size that an extraction would take, its memory, and the cosine to float32."""
    name = f"alone, {engine}"
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.device)
    with tempfile.TemporaryDirectory() as folder:
        target = open_target(bench.request(Path(folder, "none.h5"), engine=engine), bench.device)
        backbone, how = target.load(), {"engine": target.spec.engine, "threads": THREADS, "batch_size": None}
        start = time.perf_counter()
        embedder = make_embedder(backbone, target.device, target.compute_dtype, **how)
        embedder.forward(noise_for(bench, embedder)).cpu()
    bench.note(name, "seconds of set-up", time.perf_counter() - start)
    for _ in range(3):
        bench.note(name, "views/s", rate_of(bench, embedder))
    bench.note(name, "batch", embedder.batch_size)
    if bench.device.type == "cuda":
        bench.note(name, "GiB", torch.cuda.max_memory_allocated(bench.device) / 2**30)
    jobs = jobs_of(bench.photos[:COMPARED], views=0)
    clean = [row.view.pixels for job in jobs for row in cut_all(job, bench.settings("mild")).rows]
    near = embedder.fidelity(clean, [None] * len(clean))
    bench.note(name, "cosine", near.cosine)


@torch_threads(THREADS)
def rate_of(bench: Bench, embedder: Embedder) -> float:
    """Views a second of the network alone in a given embedder."""
    return time_forward_on_device(embedder.forward, noise_for(bench, embedder), seconds=bench.seconds)


def noise_for(bench: Bench, embedder: Embedder) -> torch.Tensor:
    """A normalised batch in the layout that an extraction feeds it in: code is compiled for a layout."""
    side = bench.backbone.preprocessing.size
    images = torch.randn(embedder.batch_size, 3, side, side, device=bench.device)
    return images.to(memory_format=torch.channels_last)


def measure_cutting(bench: Bench, recipe: str) -> None:
    """Views a second that all cores decode and cut with nothing else to do: the bound of the CPU's side."""
    views = bench.choices["views"]
    jobs = jobs_of(bench.photos[: 4 * own_cores()], views)
    decoding, cutting = time_cutting(jobs, bench.settings(recipe))
    bench.note(f"cutting, {recipe}", "views/s", 1 / (cutting + decoding / (1 + views)))


def extraction(bench: Bench, engine: str, recipe: str, place: str) -> Callable[[], None]:
    """JPEG files to feature file, then the network alone in the same embedder."""

    def measure() -> None:
        name, made = name_of(engine, recipe, place), []

        def make_and_keep(*given: Any, **options: Any) -> Embedder:
            made.append(make_embedder(*given, **options))
            return made[-1]

        work.make_embedder = make_and_keep
        try:
            with tempfile.TemporaryDirectory() as folder:
                request = bench.request(Path(folder, "f.h5"), engine=engine, recipe=recipe, augment_on=place)
                ours = time_extraction(request)
        finally:
            work.make_embedder = make_embedder
        bench.note(name, "whole", ours.whole)
        bench.note(name, "steady", ours.steady)
        alone = rate_of(bench, made[0])
        bench.note(name, "alone", alone)
        bench.note(name, "fraction", ours.steady / alone)
        if ours.report.fidelity is not None:
            bench.note(name, "cosine", ours.report.fidelity.cosine)

    return measure


def looping(bench: Bench, loop: Loop, recipe: str) -> Callable[[], None]:
    """One loop for a few seconds once it is warm."""

    def run() -> None:
        rate = time_loop(
            loop,
            bench.folder,
            bench.backbone.network.to(bench.device),
            bench.backbone.preprocessing,
            recipe=recipe,
            epochs=1,
            views=bench.choices["views"],
            limit=5 * bench.seconds,
        )
        bench.note(loop_name(loop, recipe), "views/s", rate)

    return run


def choose_loops() -> list[Loop]:
    """In float32, as it comes, and under autocast."""
    return [Loop(workers=own_cores(), autocast=dtype) for dtype in (torch.bfloat16, None)]


def name_of(engine: str, recipe: str, place: str) -> str:
    """Of an extraction."""
    return f"frozenprobe, {engine}, {recipe} views cut on {place}"


def loop_name(loop: Loop, recipe: str) -> str:
    """Of a loop."""
    return f"{loop.name}, {recipe} views"


def release(device: torch.device) -> None:
    """Give memory and compiled code of the last measurement back."""
    torch.compiler.reset()
    gc.collect()
    if device.type == "cuda":
        synchronise(device)
        torch.cuda.empty_cache()


def report(bench: Bench, engines: list[str], recipes: list[str], places: list[str]) -> None:
    """Print the tables."""
    shape, gmacs, peak = shape_of(bench.backbone.network), bench.numbers["gmacs"], bench.numbers.get("peak TFLOP/s", 0)
    print(
        f"ViT at {shape.side} px, patch {shape.patch}, width {shape.width}, {shape.depth} blocks: "
        f"{gmacs:.4g} GMAC an image\n{bench.numbers['machine']}\nbf16 matmul peak, measured: {peak:.4g} TFLOP/s"
    )
    rows = []
    for engine in engines:
        rate = bench.middle(f"alone, {engine}", "views/s")
        flops = rate * 2 * gmacs / 1e3
        about = [bench.middle(f"alone, {engine}", key) for key in ("batch", "GiB", "seconds of set-up", "cosine")]
        share = f"{flops / peak:.1%}" if peak else "?"
        rows.append([engine, f"{rate:.4g}", f"{flops:.4g}", share, *(f"{number:.6g}" for number in about)])
    print_table(["the network alone", "views/s", "TFLOP/s", "of peak", "batch", "GiB", "set-up, s", "cosine"], rows)
    if round(gmacs) == GMACS_VIT_L_16:
        print("\ntimm's tables, images/s in eager torch and compiled: ", end="")
        print("; ".join(f"{card} {eager} and {compiled}" for card, eager, compiled in PUBLISHED))
    report_extractions(bench, engines, recipes, places)
    for recipe in recipes:
        print(f"\nall cores alone decode and cut {bench.middle(f'cutting, {recipe}', 'views/s'):.4g} {recipe} views/s")
    for name, error in bench.errors.items():
        print(f"\nfailed: {name}: {error}")


def report_extractions(bench: Bench, engines: list[str], recipes: list[str], places: list[str]) -> None:
    """Ours and the loops, from JPEG files."""
    rows = []
    for recipe in recipes:
        names = [loop_name(loop, recipe) for loop in choose_loops()]
        loops = {name: bench.middle(name, "views/s") for name in names}
        ours = [name_of(engine, recipe, place) for engine in engines for place in places]
        for name in ours:
            whole, steady, fraction = (bench.middle(name, key) for key in ("whole", "steady", "fraction"))
            beside = [f"{steady / rate:.2f}" for rate in loops.values()]
            rounds = len(bench.numbers.get(name, {}).get("steady", []))
            rows.append([name, f"{whole:.4g}", f"{steady:.4g}", f"{fraction:.1%}", *beside, rounds])
        for name, rate in loops.items():
            rows.append([name, "", f"{rate:.4g}", "", "", "", len(bench.numbers.get(name, {}).get("views/s", []))])
    columns = ["from JPEG files", "views/s, whole call", "under way", "of the network alone"]
    print_table([*columns, "x autocast loop", "x fp32 loop", "rounds"], rows)


if __name__ == "__main__":
    main()
