"""What data shaped a set of weights, told from timm's tag: the part of a model's name behind the dot."""

from __future__ import annotations

import re

IN1K = "ImageNet-1k, supervised"
FINE_TUNED = "fine-tuned on ImageNet"
UNKNOWN = "see timm's page of the model"

# Parts of tags and what they stand for, as timm's model cards and configurations (license, origin_url) tell it.
DATA = {
    "in1k": "ImageNet-1k",
    "in12k": "ImageNet-12k",
    "in21k": "ImageNet-21k",
    "in22k": "ImageNet-22k",
    "inw21k": "ImageNet-21k",
    "jft": "JFT-300M",
    "ig1b": "Instagram (1 billion images with hashtags)",
    "yfcc100m": "YFCC100M",
    "yfcc15m": "YFCC15M captions",
    "cc12m": "CC12M captions",
    "laion2b": "LAION-2B captions",
    "laiona": "LAION-A captions",
    "laion400m": "LAION-400M captions",
    "datacompxl": "DataComp-XL captions",
    "datacomp1b": "DataComp-1B captions",
    "dfn2b": "DFN-2B captions",
    "dfn5b": "DFN-5B captions",
    "dfndr2b": "DFNDR-2B captions",
    "metaclip": "MetaCLIP captions",
    "metaclip2": "MetaCLIP 2 captions",
    "merged2b": "LAION-2B and COYO captions (Merged-2B)",
    "openai": "OpenAI's CLIP captions",
    "webli": "WebLI captions",
    "swag": "3.6 billion Instagram images with hashtags (SWAG)",
    "seer": "Instagram images, without labels (SEER)",
    "lvd142m": "LVD-142M, without labels",
    "lvd1689m": "LVD-1689M, without labels",
    "sat493m": "SAT-493M satellite images, without labels",
    "sa1b": "SA-1B masks",
    "m30m": "Merged-30M",
    "m38m": "Merged-38M",
}
WITHOUT_LABELS = {"mae", "fcmae", "dino", "mim", "ijepa"}  # methods that leave the labels of the data beside them out
ONLY_CLASSIFIER = "lc"  # only a linear classifier was trained on what follows
LABELLED = re.compile(rf"ImageNet-\d+k, supervised|{FINE_TUNED}")


def pretraining_of(tag: str) -> str:
    """The data of each step of training, first to last, in words.

    Args:
        tag: of timm, such as `augreg_in21k_ft_in1k`; may be empty.
    """
    before, only_classifier, after = tag.lower().partition(f"_{ONLY_CLASSIFIER}_")
    steps = [told for told in (data_of(step) for step in re.split("_?ft_", before)) if told]
    if not steps:
        return UNKNOWN
    first, *later = steps
    if not later and first.startswith("ImageNet") and "without" not in first:
        first += ", supervised"  # before fine-tuning the tag does not say whether labels were used
    told = ", then ".join([first, *(f"fine-tuned on {step}" for step in later)])
    return f"{told}; only its classifier saw {data_of(after)}" if only_classifier else told


def data_of(step: str) -> str:
    """The data that a step's part of a tag names; empty where it names none."""
    parts = step.split("_")
    data = [DATA[part] for part in parts if part in DATA]
    if not WITHOUT_LABELS & {*parts}:
        return " and ".join(data)
    return f"{' and '.join(data or [DATA['in1k']])}, without labels"


def saw_imagenet_labels(pretraining: str) -> bool:
    """Whether ImageNet's labels shaped the features, by what is said of the data."""
    return LABELLED.search(pretraining) is not None
