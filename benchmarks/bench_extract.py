"""Extraction on a CPU beside the loops users write, the network alone, and the bound that the machine sets.

    python benchmarks/bench_extract.py data/train
    python benchmarks/bench_extract.py data/train --backbone torchvision:VisionTransformer --weights vit_s_14_224.pth
    python benchmarks/bench_extract.py data/train --backbone vit_l_16.swag_e2e --random-weights --photos 24 --views 0 \
        --no-loops --engines torch --batches 1,4

The same photos, backbone and views (clean and `mild`) go through (a) ImageFolder and a DataLoader, (b) timm's loader,
(c) `extract_features` into a file, in the dtype that it chooses and in those of --beside, one after the other, several
rounds of it; rates are medians over the rounds, ratios are medians of each round's ratio. The network alone runs on
tensors made before, in these dtypes, in each engine that is installed, with several batch sizes and both ways of using
all cores; the best of these are measured again in every round, and the fastest counts. With every stage measured alone
on all cores, no program can be faster than 1 / (t_forward + t_views + t_decode / views): that is the bound.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from statistics import median

import click
import torch
from loops import Loop, time_loop
from made import make_weights, shape_of
from stages import (
    Extraction,
    Way,
    describe_machine,
    jobs_of,
    print_table,
    time_cutting,
    time_extraction,
    time_forward_on_cores,
    words_in,
)

from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.backbones.architectures import empty_network
from frozenprobe.extract.backbones.backbone import Backbone
from frozenprobe.extract.backbones.catalogue import find_backbone
from frozenprobe.extract.backbones.load import load_backbone
from frozenprobe.extract.compute.dtypes import choose_dtype, full_name
from frozenprobe.extract.compute.embedder import Embedder
from frozenprobe.extract.compute.engines import choose_engine
from frozenprobe.extract.compute.pipeline import torch_threads
from frozenprobe.extract.options import MAX_PIXELS, Choices, ExtractRequest
from frozenprobe.extract.ranks.rank import own_cores
from frozenprobe.extract.settle import read_weights_options
from frozenprobe.extract.views.cut import ViewSettings
from frozenprobe.images.kinds import IMAGE_ENDINGS
from frozenprobe.images.sources import ImageSources

CPU = torch.device("cpu")
RECIPE = "mild"
COMPILED_SIZES = (1, 4, 32)  # every batch size is compiled for half a minute
WHOLE, STEADY, ALONE, BOUND = "frozenprobe, whole call", "frozenprobe, under way", "the network alone", "the bound"
COSINE = "smallest cosine to float32"
DECODING, CUTTING = "seconds to decode an image", "seconds to cut a view"


@dataclass(frozen=True)
class Case:
    """What is measured in every round."""

    folder: Path
    paths: list[Path]
    backbone: Backbone
    choices: Choices
    loops: list[Loop]
    dtype: str
    beside: list[str]
    views: int
    epochs: int
    seconds: float
    embedders: dict[tuple[str, str, int], Embedder] = field(default_factory=dict)

    def embedder(self, way: Way) -> Embedder:
        """The backbone in an engine whose calls take so many threads, made once: to compile takes its time."""
        key = (way.engine, way.dtype, way.threads)
        if key not in self.embedders:
            with torch_threads(way.threads):
                self.embedders[key] = Embedder(self.backbone, CPU, way.dtype, engine=way.engine, threads=way.threads)
        return self.embedders[key]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--photos", default=300, show_default=True, help="a sample, evenly from the class folders")
@click.option("--backbone", default="efficientnet_lite0", show_default=True)
@click.option("--weights", type=click.Path(path_type=Path, exists=True), help="a local state dict")
@click.option("--weights-options", default="{}", help='what it cannot tell, as JSON: {"heads": 3, ...}')
@click.option("--random-weights", is_flag=True, help="seeded ones in place of the download, for torchvision's ViTs")
@click.option("--beside", default="float32", show_default=True, help="dtypes to extract in, too, if not chosen anyway")
@click.option("--engine", default="auto", show_default=True, help="for our own extraction")
@click.option(
    "--engines", default="torch,onnxruntime,openvino,compile", show_default=True, help="whose pure forward is measured"
)
@click.option("--batches", default="1,2,4,8,16,32", show_default=True, help="sizes to try there")
@click.option("--views", default=8, show_default=True, help="augmented ones, beside the clean view")
@click.option("--rounds", default=3, show_default=True)
@click.option(
    "--epochs", default=2, show_default=True, help="augmented epochs a loop runs; the others count like these"
)
@click.option("--seconds", default=2.0, show_default=True, help="for each measurement of the network alone")
@click.option("--loops/--no-loops", default=True, help="leave the loops out: only how near we are to the network alone")
@click.option("--json", "to_json", type=click.Path(path_type=Path), help="all numbers, into a file")
def main(
    folder: Path,
    photos: int,
    backbone: str,
    weights: Path | None,
    weights_options: str,
    random_weights: bool,
    beside: str,
    engine: str,
    engines: str,
    batches: str,
    views: int,
    rounds: int,
    epochs: int,
    seconds: float,
    loops: bool,
    to_json: Path | None,
) -> None:
    """Print a Markdown table of rates and ratios."""
    torch._dynamo.config.recompile_limit = 64  # beyond 8 shapes it would go back to eager torch
    options = read_weights_options(weights_options)
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryDirectory() as made:
        if random_weights:
            weights = Path(made, "random.pth")
            make_weights(shape_of(empty_network(find_backbone(backbone))[0]), weights)
        how = {"recipe": RECIPE, "views": views, "test_views": ("clean",), "engine": engine}
        choices = Choices(backbone, weights, options, **how)
        loaded = load_backbone(backbone, weights, options)
        dtype, _ = choose_dtype("auto", CPU, loaded.network)
        others = [name for name in map(full_name, words_in(beside)) if name != dtype]
        chosen = choose_loops() if loops else []
        paths = sample(folder, Path(scratch), photos)
        case = Case(Path(scratch), paths, loaded, choices, chosen, dtype, others, views, epochs, seconds)
        tried = try_ways(case, words_in(engines), [int(size) for size in words_in(batches)])
        measured: dict[str, list[float]] = defaultdict(list)
        for number in range(rounds):
            for name, rate in measure_round(case, [way for way, _ in best_of_engines(tried)]).items():
                print(f"round {number + 1}: {name}: {rate:.4g}", file=sys.stderr)
                measured[name].append(rate)
    report(case, tried, measured)
    if to_json is not None:
        to_json.write_text(json.dumps({"ways": {way.name: rate for way, rate in tried.items()}, "rounds": measured}))


def sample(folder: Path, into: Path, photos: int) -> list[Path]:
    """Copy photos class by class, in turn, until there are enough."""
    classes = [
        sorted(path for path in each.iterdir() if path.suffix.lower() in IMAGE_ENDINGS)
        for each in sorted(folder.iterdir())
        if each.is_dir()
    ]
    deepest = max((len(each) for each in classes), default=0)
    chosen = [each[turn] for turn in range(deepest) for each in classes if turn < len(each)][:photos]
    for path in chosen:
        (into / path.parent.name).mkdir(exist_ok=True)
        shutil.copy(path, into / path.parent.name)
    return [into / path.parent.name / path.name for path in chosen]


def choose_loops() -> list[Loop]:
    """With and without worker processes: the faster one counts."""
    numbers = (0, own_cores())
    loops = [Loop(loader, workers) for loader in ("torchvision", "timm") for workers in numbers]
    return [*loops, Loop(workers=own_cores(), channels_last=True)]


def try_ways(case: Case, engines: list[str], sizes: list[int]) -> dict[Way, float]:
    """Views a second of the network alone, for each engine that is installed, batch size and way of using the cores."""
    cores, side = own_cores(), case.backbone.preprocessing.size
    rates = {}
    for engine, dtype in product(engines, [case.dtype, *case.beside]):
        try:
            choose_engine(engine, case.backbone.network, CPU, dtype)
        except FrozenprobeError as error:
            print(f"left out, {engine} in {dtype}: {error.found}", file=sys.stderr)
            continue
        for threads, calls in {(1, cores), (cores, 1)}:
            for size in sizes if engine != "compile" else sorted({*COMPILED_SIZES} & {*sizes}):
                way = Way(engine, dtype, size, threads, calls)
                rates[way] = time_forward_on_cores(case.embedder(way), way, side, seconds=case.seconds)
                print(f"{way.name}: {rates[way]:.4g}", file=sys.stderr)
    return rates


def measure_round(case: Case, ways: list[Way]) -> dict[str, float]:
    """Rates of everything once, and the seconds of the stages."""
    preprocessing, rates = case.backbone.preprocessing, {}
    for loop in case.loops:
        rates[loop.name] = time_loop(
            loop,
            case.folder,
            case.backbone.network,
            preprocessing,
            recipe=RECIPE,
            epochs=case.epochs,
            views=case.views,
        )
    ours = extract(case, "auto")
    rates |= {WHOLE: ours.whole, STEADY: ours.steady}
    rates |= {COSINE: ours.report.fidelity.cosine} if ours.report.fidelity is not None else {}
    for dtype in case.beside:
        other = extract(case, dtype)
        rates |= {f"{WHOLE}, {dtype}": other.whole, f"{STEADY}, {dtype}": other.steady}
    rates[ALONE] = max(
        time_forward_on_cores(case.embedder(way), way, preprocessing.size, seconds=case.seconds)
        for way in ways
        if way.dtype == case.dtype
    )
    settings = ViewSettings(preprocessing, RECIPE, 0, MAX_PIXELS)
    decoding, cutting = time_cutting(jobs_of(case.paths, case.views), settings)
    rates[BOUND] = 1 / (1 / rates[ALONE] + cutting + decoding / (1 + case.views))
    return rates | {DECODING: decoding, CUTTING: cutting}


def extract(case: Case, dtype: str) -> Extraction:
    """Ours, into a new file."""
    sources, choices = ImageSources(train=case.folder, test=None), replace(case.choices, compute_dtype=dtype)
    with tempfile.TemporaryDirectory() as folder:
        return time_extraction(ExtractRequest(sources, choices, out=Path(folder, "features.h5"), device="cpu"))


def report(case: Case, tried: dict[Way, float], measured: dict[str, list[float]]) -> None:
    """Print the tables."""
    rates = {name: median(values) for name, values in measured.items()}

    def ratio(name: str, other: str) -> str:
        return f"{median(one / two for one, two in zip(measured[name], measured[other], strict=True)):.2f}"

    names = [loop.name for loop in case.loops]
    fastest = {loop.channels_last: loop.name for loop in sorted(case.loops, key=lambda loop: rates[loop.name])}
    ours = [WHOLE, STEADY, *(f"{name}, {dtype}" for dtype in case.beside for name in (WHOLE, STEADY))]
    beside = {f"of {name}": name for name in (*fastest.values(), *ours[3::2], ALONE, BOUND)}
    print(
        f"{case.backbone.info.name} at {case.backbone.preprocessing.size} px, {len(case.paths)} photos x "
        f"{1 + case.views} views, recipe {RECIPE}, medians of {len(measured[WHOLE])} rounds\n{describe_machine(CPU)}"
    )
    rows = [
        [name, f"{rates[name]:.4g}", *(ratio(name, other) for other in beside.values())]
        for name in [*names, *ours, ALONE, BOUND]
    ]
    print_table(["what", "views/s", *beside], rows)
    if COSINE in rates:
        print(f"\nchosen: {case.dtype}, {COSINE} {rates[COSINE]:.6f}")
    print_table(["the network alone", "views/s"], [[way.name, f"{rate:.4g}"] for way, rate in best_of_engines(tried)])
    forward, cutting, decoding = 1 / rates[ALONE], rates[CUTTING], rates[DECODING]
    print(
        f"\nmilliseconds alone on all cores: network {1e3 * forward:.2f} and cutting {1e3 * cutting:.2f} a view, ",
        end="",
    )
    print(f"decoding {1e3 * decoding:.2f} an image")


def best_of_engines(tried: dict[Way, float]) -> list[tuple[Way, float]]:
    """The fastest way of each engine, dtype and way of using the cores, fastest first."""
    best: dict[tuple[str, str, int], Way] = {}
    for way in sorted(tried, key=tried.__getitem__):
        best[way.engine, way.dtype, way.threads] = way
    return sorted(((way, tried[way]) for way in best.values()), key=lambda each: -each[1])


if __name__ == "__main__":
    main()
