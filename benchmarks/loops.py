"""The loops a user would write, which extraction is measured beside: one epoch a view, features appended."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms as T
from torchvision.datasets import ImageFolder

from frozenprobe.extract.views.preprocessing import Preprocessing

WARM = 2  # batches before the clock of a loop with a time limit starts: what set-up costs the loop is not counted


@dataclass(frozen=True)
class Loop:
    """One way of writing it.

    Attributes:
        loader: `torchvision` (ImageFolder and DataLoader) or `timm` (create_dataset and create_loader).
        workers: processes of the DataLoader.
        channels_last: of the network, which few know to ask for; torch's default is the other layout.
        autocast: dtype, or None for float32.
        batch: B, images.
    """

    loader: str = "torchvision"
    workers: int = 0
    channels_last: bool = False
    autocast: torch.dtype | None = None
    batch: int = 32

    @property
    def name(self) -> str:
        """As in the tables."""
        what = "ImageFolder + DataLoader" if self.loader == "torchvision" else "timm's loader"
        extras = [f"{self.workers} workers"]
        extras += ["channels_last"] if self.channels_last else []
        extras += [f"autocast {self.autocast}".replace("torch.", "")] if self.autocast else []
        return ", ".join([what, *extras])


def time_loop(
    loop: Loop,
    folder: Path,
    network: nn.Module,
    preprocessing: Preprocessing,
    *,
    recipe: str,
    epochs: int,
    views: int,
    limit: float | None = None,
) -> float:
    """Views a second of a loop over a folder of class folders: the clean view, then `views` augmented ones.

    Args:
        loop: how.
        folder: class folders.
        network: on its device.
        preprocessing: of the clean view.
        recipe: `mild` or `report`.
        epochs: augmented ones that are run; all are alike, so the others count like the mean of these.
        views: V.
        limit: stop after so many seconds; then only a warm loop is counted, and augmented views only.
    """
    network = copy.deepcopy(network).to(
        memory_format=torch.channels_last if loop.channels_last else torch.contiguous_format
    )
    make = torchvision_loader if loop.loader == "torchvision" else timm_loader
    device = next(network.parameters()).device
    if limit is not None:
        return limited_rate(loop, make(loop, folder, preprocessing, recipe, device), network, device, limit)
    seconds = []
    images = 0
    for name in ["clean", *[recipe] * epochs]:
        start = time.perf_counter()
        images = sum(len(part) for part in features_of(loop, make(loop, folder, preprocessing, name, device), network))
        seconds.append(time.perf_counter() - start)
    return images * (1 + views) / (seconds[0] + views * float(np.mean(seconds[1:])))


def limited_rate(loop: Loop, loader: Iterable[Any], network: nn.Module, device: torch.device, limit: float) -> float:
    """Views a second of a warm loop, epoch after epoch until the time is over."""
    seen, start, stop = 0, 0.0, float("inf")
    number = 0
    while True:
        for part in features_of(loop, loader, network):
            number += 1
            if number == WARM:
                start = time.perf_counter()
                stop = start + limit
            elif number > WARM:
                seen += len(part)
                if time.perf_counter() >= stop:
                    return seen / (time.perf_counter() - start)


def features_of(loop: Loop, loader: Iterable[Any], network: nn.Module) -> Iterable[np.ndarray]:
    """What is inside everybody's `for images, labels in loader`."""
    device = next(network.parameters()).device
    network.eval()
    for images, _ in loader:
        with torch.inference_mode(), torch.autocast(device.type, loop.autocast, enabled=loop.autocast is not None):
            features = network(images.to(device))
        yield features.float().cpu().numpy()


def torchvision_loader(
    loop: Loop, folder: Path, preprocessing: Preprocessing, recipe: str, device: torch.device
) -> Iterable[Any]:
    """ImageFolder and DataLoader."""
    return DataLoader(
        ImageFolder(folder, transform_like(recipe, preprocessing)),
        batch_size=loop.batch,
        num_workers=loop.workers,
        pin_memory=device.type == "cuda",
    )


def timm_loader(
    loop: Loop, folder: Path, preprocessing: Preprocessing, recipe: str, device: torch.device
) -> Iterable[Any]:
    """timm's create_dataset and create_loader, without the prefetcher, which needs CUDA.

    Raises:
        ValueError: another recipe than `mild`; timm has no transform like the report's.
    """
    from timm.data import create_dataset, create_loader, create_transform

    if recipe not in ("clean", "mild"):
        raise ValueError(recipe)
    looks = {"interpolation": preprocessing.interpolation, "mean": preprocessing.mean, "std": preprocessing.std}
    side, crop = preprocessing.size, preprocessing.size / preprocessing.resize
    loader = create_loader(
        create_dataset("", root=str(folder)),
        input_size=(3, side, side),
        batch_size=loop.batch,
        is_training=False,  # keeps the order and the last batch
        use_prefetcher=False,
        num_workers=loop.workers,
        persistent_workers=False,
        pin_memory=device.type == "cuda",
        crop_pct=crop,
        **looks,
    )
    if recipe == "mild":
        loader.dataset.transform = create_transform(
            side, is_training=True, scale=(0.5, 1.0), hflip=0.5, color_jitter=None, use_prefetcher=False, **looks
        )
    return loader  # type: ignore[no-any-return]


def transform_like(recipe: str, preprocessing: Preprocessing) -> Callable[[Any], torch.Tensor]:
    """torchvision's own classes for the clean view and for the recipes `mild` and `report`."""
    side, mode = preprocessing.size, preprocessing.mode
    cuts = {
        "clean": [T.Resize(preprocessing.resize, mode), T.CenterCrop(side)],
        "mild": [T.RandomResizedCrop(side, scale=(0.5, 1.0), interpolation=mode), T.RandomHorizontalFlip()],
        "report": [
            T.Resize(side),
            T.RandomCrop(side),
            T.RandomHorizontalFlip(0.4),
            T.RandAugment(2, 7),
            T.RandomRotation(10),
            T.ColorJitter(0.2, 0.2, 0.5, 0.2),
            T.RandomAffine(15, (0.1, 0.1)),
        ],
    }[recipe]
    return T.Compose([*cuts, T.ToTensor(), T.Normalize(preprocessing.mean, preprocessing.std)])
