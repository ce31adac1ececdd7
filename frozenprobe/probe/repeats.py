"""Cross-validations with folds dealt anew -> one result; they may run side by side, on this machine or on a cluster."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np

from frozenprobe.cache.store import Features, open_features
from frozenprobe.errors import FrozenprobeError, MissingExtra
from frozenprobe.probe.crossval import cross_validate
from frozenprobe.probe.options import ProbeOptions
from frozenprobe.probe.result import ProbeResult
from frozenprobe.probe.task import combined
from frozenprobe.system.progress import Progress

PATIENCE = 10  # seconds that a scheduler has to answer


def repeat_probe(
    files: Sequence[Features],
    options: ProbeOptions = ProbeOptions(),
    *,
    repeats: int = 1,
    jobs: int = 1,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> ProbeResult:
    """Cross-validate R times, with the seeds from `options.seed` on, and join the results.

    Args:
        files: opened feature files.
        options: of each.
        repeats: R.
        jobs: processes of this machine that share the repeats (joblib's default backend).
        scheduler: address of a dask scheduler whose workers share them instead; they must see the same files.
        progress: called with (stage, done, total); across processes after every repeat.

    Raises:
        FrozenprobeError: repeats or jobs out of range, folds that are the user's own, or what `cross_validate` refuses.
        MissingExtra: a scheduler, and no dask.
    """
    for name, value in (("--repeats", repeats), ("--jobs", jobs)):
        if value < 1:
            raise FrozenprobeError("1 or more", found=str(value), where=name, remedy="give 1 or more")
    if repeats > 1 and files[0].train.folds is not None and options.folds is None:
        raise FrozenprobeError(
            "Folds that can be dealt anew for every repeat",
            found="those of the fold column",
            where=files[0].path,
            remedy="leave --repeats out, or give --folds K",
        )
    repeated = [replace(options, seed=options.seed + repeat) for repeat in range(repeats)]
    if jobs == 1 and scheduler is None:
        results = [
            cross_validate(files, each, staged(progress, repeat, repeats)) for repeat, each in enumerate(repeated)
        ]
    else:
        results = run_apart([(features.path, features.tap) for features in files], repeated, jobs, scheduler, progress)
    return join(results)


def run_apart(
    sources: Sequence[tuple[Path, str]],
    repeated: Sequence[ProbeOptions],
    jobs: int,
    scheduler: str | None,
    progress: Progress | None,
) -> list[ProbeResult]:
    """One task a repeat, through joblib: the unit that is worth sending, since a repeat is one batched solve."""
    from joblib import Parallel, delayed

    results: list[ProbeResult] = []
    with nullcontext() if scheduler is None else dask_cluster(scheduler):
        parallel = Parallel(n_jobs=-1 if scheduler else jobs, return_as="generator")
        for result in parallel(delayed(probe_files)([*sources], each) for each in repeated):
            results.append(result)
            if progress:
                progress("repeats", len(results), len(repeated))
    return results


def probe_files(sources: Sequence[tuple[Path, str]], options: ProbeOptions) -> ProbeResult:
    """One repeat, in whatever process: only paths, taps and options travel."""
    return cross_validate([open_features(path).select_tap(tap) for path, tap in sources], options)


@contextmanager
def dask_cluster(scheduler: str) -> Iterator[None]:
    """joblib's work goes to the workers of a dask scheduler.

    Raises:
        MissingExtra: no dask.
        FrozenprobeError: no scheduler answers there, or one without workers.
    """
    try:
        from dask.distributed import Client
        from distributed.comm.addressing import get_address_host_port
    except ImportError:
        raise MissingExtra("dask", "dask") from None
    from joblib import parallel_config

    with ExitStack() as stack:
        try:
            # A client that cannot connect leaves its event loop behind, which may stop the next one: ask plainly first.
            address = get_address_host_port(scheduler)
            socket.create_connection(address, timeout=PATIENCE).close()
            client = stack.enter_context(Client(scheduler, timeout=PATIENCE))  # type: ignore[no-untyped-call]
            client.wait_for_workers(1, timeout=PATIENCE)
        except (OSError, ValueError, asyncio.TimeoutError) as error:
            raise FrozenprobeError(
                "A dask scheduler with at least one worker",
                found=f"{type(error).__name__}: {error}",
                where=scheduler,
                remedy="start one with: dask scheduler, and workers with: dask worker ADDRESS",
            ) from None
        stack.enter_context(parallel_config(backend="dask"))
        yield


def staged(progress: Progress | None, repeat: int, repeats: int) -> Progress | None:
    """Progress that says which repeat it is of."""
    if progress is None or repeats == 1:
        return progress
    told: Callable[[str, int, int], None] = progress
    return lambda stage, done, total: told(f"repeat {repeat + 1} of {repeats}: {stage}", done, total)


def join(results: Sequence[ProbeResult]) -> ProbeResult:
    """The first result, with the scores of all, their test predictions averaged, and the models that made them."""
    first = results[0]
    if len(results) == 1:
        return first
    models = [{f"repeat{number}_{name}": own for name, own in one.model.items()} for number, one in enumerate(results)]
    scores = [replace(fold, repeat=number) for number, one in enumerate(results) for fold in one.fold_scores]
    return replace(
        first,
        test=np.mean([result.test for result in results], axis=0),
        fold_scores=tuple(scores),
        refit=combined([result.refit for result in results]),
        optimistic=None if first.optimistic is None else float(np.mean([result.optimistic for result in results])),
        model={name: own for model in models for name, own in model.items()} | {"repeats": np.array(len(results))},
        notes=tuple(dict.fromkeys(note for result in results for note in result.notes)),
        repeats=tuple(results),
    )
