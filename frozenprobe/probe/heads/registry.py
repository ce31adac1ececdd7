"""The heads by name: an entry carries all that is known of a head outside its file; light enough for `--help`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from frozenprobe.errors import FrozenprobeError, unknown_name
from frozenprobe.probe.options import AUTO, Setting, require_types

if TYPE_CHECKING:
    from frozenprobe.probe.heads.head import Head


@dataclass(frozen=True)
class Option:
    """A hyper-parameter on the command line.

    Attributes:
        kind: float, int or str.
        help: what it is; heads that have it in common are listed before it.
        default: what it is unless typed, in words; the value itself stands in the head's dataclass.
    """

    kind: type
    help: str
    default: str


@dataclass(frozen=True)
class MomentPath:
    """How a head is fitted from the moments of rows alone, for many values of one hyper-parameter.

    Attributes:
        parameter: the hyper-parameter.
        fit: `module:function`, (Moments, values) -> a LinearModel a value, before a temperature.
        values: `module:name` of those that it is chosen from.
        needs_variance: a fit that knows no variance within classes (one image a class) tells nothing of one that does.
    """

    parameter: str
    fit: str
    values: str
    needs_variance: bool = False


@dataclass(frozen=True)
class Sizes:
    """How much is to be fitted.

    Attributes:
        fits: how often each candidate is.
        values: how many candidates.
        images: in a fit.
        views: of an image that make rows.
        dim: D.
        classes: C.
        asked: rows that the fits of a candidate predict, all together.
        weighted: whether images weigh otherwise in every fit, so that fits share no sum over rows.
    """

    fits: int
    values: int
    images: int
    views: int
    dim: int
    classes: int
    asked: int = 0
    weighted: bool = False

    @property
    def rows(self) -> int:
        """In a fit."""
        return self.images * self.views


# Costs are counted in operations of a matrix product, of which a slow core does 25e9 a second. What is no product was
# measured (1,000 to 10,000 images, 128 to 1,024 features, 100 and 1,000 classes) and is counted by how long it takes.


def moments_cost(sizes: Sizes) -> float:
    """The moments once, of weighted images in every fit; then a decomposition a fit and value."""
    passes = sizes.fits if sizes.weighted else 1
    solves = sizes.values * (0.7 * sizes.dim**3 + 4.0 * sizes.dim**2 * sizes.classes)
    return passes * 2.0 * sizes.rows * sizes.dim**2 + sizes.fits * solves


def logistic_cost(sizes: Sizes) -> float:
    """Evaluations on all rows, and products on mean views: as many as features of photos take, at the usual c."""
    products = 4.0 * (sizes.dim + 200) * sizes.classes  # as much as 200 features is spent on a row's exponentials
    return sizes.fits * sizes.values * products * (24.0 * sizes.rows + 72.0 * sizes.images)


def kernel_cost(sizes: Sizes) -> float:
    """A decomposition of the kernel's matrix, a row an image; every row that is asked about against every image."""
    images = float(sizes.images)
    return sizes.fits * (12.0 * images**3 + 4.0 * images**2 * sizes.dim) + 2.0 * sizes.asked * images * sizes.dim


def means_cost(sizes: Sizes) -> float:
    """A sum over the rows and a temperature from their scores."""
    return sizes.fits * sizes.values * 0.75 * sizes.rows * (1200.0 * sizes.dim + 5500.0 * sizes.classes)


def pairs_cost(sizes: Sizes) -> float:
    """Rows that choose, and those that are asked about, against every row."""
    compared = sizes.fits * min(sizes.rows, CHOOSING_ROWS) + sizes.asked
    return sizes.values * compared * 0.75 * sizes.rows * sizes.dim


CHOOSING_ROWS = 2048  # of nearest neighbours: see `TRIED` there
Grid = tuple[dict[str, Setting], ...]  # hyper-parameters of each candidate


@dataclass(frozen=True)
class TrialGroup:
    """Candidates that `auto` tries together.

    Attributes:
        turn: groups are added in this order as long as the budget lasts.
        aggregate: a name of `AGGREGATES`.
        grid: hyper-parameters of each.
        scale: a name of `SCALES`.
    """

    turn: int
    aggregate: str
    grid: Grid = ({},)
    scale: str = "global"


@dataclass(frozen=True)
class HeadEntry:
    """A name of `--head`.

    Attributes:
        factory: `module:class` of its Head; the class's fields are its hyper-parameters, with their defaults.
        description: one line for `--help`.
        options: its hyper-parameters by name.
        scale: the scaling it takes unless another is asked for.
        least_spread: typical distance of rows from their mean below which it learns nothing, unless they are scaled.
        augmented_only: trains on augmented views only, is scored on the clean view, and on `direct`, if stored, of test
            images.
        directions: compares rows in cosine: their lengths are nothing to it.
        numpy_alone: numpy does all the work, so that fits may share the cores, a thread each.
        moments: how it is fitted from moments; None: it needs the rows.
        stream: `module:function`, (Stream, Head, seed, progress) -> FittedProbes without each fold and with all, of a
            head that needs the rows and can do with blocks of them.
        trials: what `auto` tries of it.
        trial_settings: hyper-parameters of the fits of `auto` that choose, but not of the final one.
        most_images: that a fit can take; None: any number.
        cost: floating-point operations of fits of these sizes, roughly.
    """

    factory: str
    description: str
    options: dict[str, Option] = field(default_factory=dict)
    scale: str = "global"
    least_spread: float = 1e-12
    augmented_only: bool = False
    directions: bool = False
    numpy_alone: bool = False
    moments: MomentPath | None = None
    stream: str = ""
    trials: tuple[TrialGroup, ...] = ()
    trial_settings: dict[str, Setting] = field(default_factory=dict)
    most_images: int | None = None
    cost: Callable[[Sizes], float] = pairs_cost

    @property
    def streams(self) -> bool:
        """Whether it can be fitted to features larger than memory."""
        return self.moments is not None or bool(self.stream)


def grid_of(name: str, *values: float) -> Grid:
    """One dictionary a value."""
    return tuple({name: value} for value in values)


# Wide enough that the best is inside, on sets of 2 to 400 images a class, or the loss is flat at the end and beyond.
# The last shrinkage is the nearest mean, which takes no solving.
SHRINKAGES = grid_of("shrinkage", 0.005, 0.05, 0.25, 0.6, 0.9, 1.0)
ALPHAS = grid_of("alpha", 0.005, 0.04, 0.3, 2.5, 20.0)
CS = grid_of("c", 0.01, 0.3, 30.0)

PENALTY = "inverse strength of the L2 penalty"
RELATIVE_PENALTY = Option(float, "penalty, relative", "chosen on images left out")
TEMPERATURE = Option(float, "temperature of the cosines", "fitted")
TRAINING = {
    "epochs": Option(int, "epochs; 0: 60, or as many as make 1500 steps", "0"),
    "lr": Option(float, "learning rate at the start", "0.001"),
    "weight_decay": Option(float, "weight decay of AdamW", "0.01"),
    "batch": Option(int, "images in a step", "32"),
}
LEAST_SPREAD = 1e-3  # where a penalty or a learning rate is in the units of the features

# In this order a typed hyper-parameter finds its head: see `head_for`.
HEADS = {
    "logreg": HeadEntry(
        "frozenprobe.probe.heads.logreg.head:LogisticRegressionHead",
        "L2 logistic regression (--c)",
        {
            "c": Option(float, PENALTY, "1.0"),
            "solver": Option(str, "own, or sklearn as the reference", "own"),
            "tol": Option(float, "how far above the optimum the objective may end, relatively", "1e-5"),
            "max_iter": Option(int, "evaluations or iterations at most", "2000"),
        },
        trials=(
            TrialGroup(90, "rows", ({"c": 1.0},)),
            TrialGroup(100, "mean", CS),
        ),
        trial_settings={"tol": 1e-4},
        least_spread=LEAST_SPREAD,
        cost=logistic_cost,
    ),
    "lda": HeadEntry(
        "frozenprobe.probe.heads.lda:ShrinkageLdaHead",
        "shrinkage LDA, closed form (--shrinkage)",
        {"shrinkage": Option(float, "above 0, up to 1", "chosen on inner folds")},
        numpy_alone=True,
        moments=MomentPath(
            "shrinkage", "frozenprobe.probe.heads.lda:fit_moments", "frozenprobe.probe.heads.lda:SHRINKAGES", True
        ),
        trials=(
            TrialGroup(10, "rows", SHRINKAGES),
            TrialGroup(50, "rows", SHRINKAGES, "standard"),
            TrialGroup(70, "mean", SHRINKAGES),
            TrialGroup(80, "clean", SHRINKAGES),
        ),
        cost=moments_cost,
    ),
    "svm": HeadEntry(
        "frozenprobe.probe.heads.svm:LinearSvmHead",
        "linear SVM, one against the rest (--c)",
        {
            "c": Option(float, PENALTY, "0.01"),
            "tol": Option(float, "how far above the optimum the objective may end, relatively", "0.001"),
            "max_iter": Option(int, "evaluations or iterations at most", "50"),
        },
        least_spread=LEAST_SPREAD,
        numpy_alone=True,
    ),
    "ridge": HeadEntry(
        "frozenprobe.probe.heads.ridge:RidgeHead",
        "ridge on one-hot targets, calibrated (--alpha)",
        {"alpha": RELATIVE_PENALTY},
        numpy_alone=True,
        moments=MomentPath(
            "alpha", "frozenprobe.probe.heads.ridge:fit_moments", "frozenprobe.probe.heads.ridge:ALPHAS"
        ),
        trials=(TrialGroup(20, "rows", ALPHAS),),
        cost=moments_cost,
    ),
    "kernel": HeadEntry(
        "frozenprobe.probe.heads.kernel_ridge:KernelRidgeHead",
        "ridge with a kernel (--kernel, --alpha)",
        {
            "alpha": RELATIVE_PENALTY,
            "kernel": Option(str, "rbf or arccos", "rbf"),
            "gamma": Option(float, "gamma of rbf, relative", "chosen on images left out"),
        },
        numpy_alone=True,
        trials=(TrialGroup(60, "mean", ({"kernel": "arccos"},)),),
        most_images=5000,  # a decomposition of so many takes half a minute and 1 GB
        cost=kernel_cost,
    ),
    "cosine": HeadEntry(
        "frozenprobe.probe.heads.prototypes:PrototypeHead",
        "nearest class mean in cosine",
        {"temperature": TEMPERATURE},
        directions=True,
        numpy_alone=True,
        trials=(TrialGroup(30, "mean"),),
        cost=means_cost,
    ),
    "knn": HeadEntry(
        "frozenprobe.probe.heads.knn:NearestNeighboursHead",
        "weighted nearest neighbours (--k)",
        {
            "k": Option(int, "neighbours, in images", "chosen"),
            "temperature": TEMPERATURE,
        },
        directions=True,
        numpy_alone=True,
        trials=(TrialGroup(40, "mean"),),
    ),
    "linear": HeadEntry(
        "frozenprobe.probe.heads.linear:LinearHead",
        "linear layer, AdamW, a random view an epoch",
        TRAINING,
        least_spread=LEAST_SPREAD,
        stream="frozenprobe.probe.stream.linear:fit_linear",
    ),
    "mlp": HeadEntry(
        "frozenprobe.probe.heads.mlp:MlpHead",
        "one hidden layer with dropout, AdamW (--hidden)",
        TRAINING
        | {
            "hidden": Option(int, "width of the hidden layer", "512"),
            "dropout": Option(float, "share of values dropped in training", "0.5"),
        },
        least_spread=LEAST_SPREAD,
    ),
    "report": HeadEntry(
        "frozenprobe.probe.heads.report:ReportHead",
        "the project report's head and schedule",
        scale="none",
        least_spread=LEAST_SPREAD,
        augmented_only=True,
    ),
}


def find_head(name: str) -> HeadEntry:
    """The entry for a name.

    Raises:
        FrozenprobeError: no such head.
    """
    if name not in HEADS:
        raise unknown_name("head", name, HEADS, where="--head")
    return HEADS[name]


def entry_of(head: Head) -> HeadEntry:
    """The entry of a head; of one that is not listed, an entry that knows nothing more of it."""
    name = name_of(head)
    return HEADS.get(name, HeadEntry(name, ""))


def name_of(head: Head) -> str:
    """The name of a head; of one that is not listed, `module:class`."""
    factory = f"{type(head).__module__}:{type(head).__qualname__}"
    return next((name for name, entry in HEADS.items() if entry.factory == factory), factory)


def require_size(name: str, images: int) -> None:
    """Refuse more images than a fit of the head called `name` can take; `auto` leaves such heads out.

    Raises:
        FrozenprobeError: more than `HeadEntry.most_images`.
    """
    most = None if name == AUTO else find_head(name).most_images
    if most is not None and images > most:
        raise FrozenprobeError(
            f"At most {most} training images for the head {name}",
            found=str(images),
            where=f"--head {name}",
            remedy=f"choose another one, such as --head ridge; --head {AUTO} leaves {name} out",
        )


def head_for(settings: dict[str, Setting]) -> str:
    """The first head that has all these hyper-parameters; `auto` if there are none.

    Raises:
        FrozenprobeError: hyper-parameters of several heads.
    """
    if not settings:
        return AUTO
    for name, entry in HEADS.items():
        if set(settings) <= set(entry.options):
            return name
    raise FrozenprobeError(
        "Hyper-parameters of one head",
        found=", ".join(map(as_typed, settings)),
        where="the options",
        remedy="choose the head with --head, and give it its own options only",
    )


def make_head(name: str, settings: dict[str, Setting]) -> Head:
    """The head called `name`, with these of its hyper-parameters set.

    Raises:
        FrozenprobeError: no such head, a hyper-parameter that it does not have, or one of another type.
    """
    known = find_head(name).options
    for setting in settings:
        if setting not in known:
            raise FrozenprobeError(
                f"Hyper-parameters of the head {name}: {', '.join(sorted(known)) or 'none'}",
                found=as_typed(setting),
                where=f"--head {name}",
                remedy="leave it out, or choose the --head it belongs to",
            )
    require_types(settings, head_class(name))
    head: Head = head_class(name)(**settings)
    return head


def head_class(name: str) -> Any:
    """The dataclass of the hyper-parameters of the head called `name`.

    Raises:
        FrozenprobeError: no such head.
    """
    return load(find_head(name).factory)


def load(path: str) -> Any:
    """What `module:name` stands for."""
    module, name = path.split(":")
    return getattr(import_module(module), name)


def as_typed(option: str) -> str:
    """The name of an option as it is typed."""
    return f"--{option.replace('_', '-')}"


def trial_groups() -> list[tuple[str, TrialGroup]]:
    """The groups that `auto` tries, each with the name of its head, in their turn."""
    groups = [(name, group) for name, entry in HEADS.items() for group in entry.trials]
    return sorted(groups, key=lambda each: each[1].turn)


def moment_heads() -> list[str]:
    """The heads that can be fitted from moments."""
    return [name for name, entry in HEADS.items() if entry.moments is not None]
