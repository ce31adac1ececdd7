"""A head with everything that is to be decided about it, and what fits it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import Ints
from frozenprobe.probe.fit.spread import find_fault
from frozenprobe.probe.fit.trainer import Trainer
from frozenprobe.probe.heads.registry import make_head
from frozenprobe.probe.inputs import Inputs
from frozenprobe.probe.options import ProbeOptions, Setting


@dataclass(frozen=True)
class Candidate:
    """A head with everything that is to be decided about it.

    Attributes:
        head: a name of `HEADS`.
        scale: a name of `SCALES`.
        aggregate: a name of `AGGREGATES`.
        settings: hyper-parameters.
        source: which of the sources.
        trial: hyper-parameters of the fits that choose, but not of the final one (a looser tolerance).
    """

    head: str
    scale: str
    aggregate: str
    settings: dict[str, Setting] = field(default_factory=dict)
    source: int = 0
    trial: dict[str, Setting] = field(default_factory=dict)

    @property
    def family(self) -> tuple[int, str, str, str]:
        """Candidates of a family differ in hyper-parameters only."""
        return self.source, self.aggregate, self.scale, self.head

    def describe(self, sources: Sequence[Inputs]) -> str:
        """What it is, for tables."""
        settings = "".join(f", {name} = {value}" for name, value in self.settings.items() if value is not None)
        family = self.describe_family(sources)
        return family.replace(" (", f"{settings} (", 1)

    def describe_family(self, sources: Sequence[Inputs]) -> str:
        """What it is but for its hyper-parameters."""
        source = sources[self.source].name
        more = [self.aggregate, *([self.scale] if self.scale != "global" else []), *([source] if source else [])]
        return f"{self.head} ({', '.join(more)})"

    def fault(self, sources: Sequence[Inputs]) -> FrozenprobeError | None:
        """Why its head can learn nothing from its features; None: it can."""
        source = sources[self.source]
        return find_fault(source.train, head=self.head, scale=self.scale, aggregate=self.aggregate, file=source.file)

    def final(self) -> Candidate:
        """As it is fitted in the end."""
        return replace(self, trial={})


def candidate_of(options: ProbeOptions, source: int = 0) -> Candidate:
    """The one head that settled options name."""
    return Candidate(str(options.head), str(options.scale), str(options.aggregate), options.settings, source)


def trainer_of(
    candidate: Candidate, inputs: Inputs, labels: Ints, clusters: Ints, *, options: ProbeOptions, total: int
) -> Trainer:
    """What fits this candidate; `inputs` are already aggregated."""
    return Trainer(
        make_head(candidate.head, candidate.settings | candidate.trial),
        inputs.train,
        labels,
        scale=candidate.scale,
        class_weight=options.class_weight,
        seed=options.seed,
        total=total,
        geometric=candidate.aggregate == "logit",
        clusters=clusters,
    )
