"""What the licences of weights allow, by the ids that timm and the Hugging Face Hub spell them with."""

from __future__ import annotations

import re
from dataclasses import dataclass

YES, CONDITIONS, NO, UNKNOWN = "yes", "on conditions", "no", "unknown"


@dataclass(frozen=True)
class Licence:
    """What is said of a licence.

    Attributes:
        commercial: whether commercial use is allowed: `yes`, `on conditions`, `no` or `unknown`.
        said: what it is and what it asks for.
    """

    commercial: str
    said: str = ""


# As far as a table can tell; of each the text itself decides. Where Meta's, Apple's and others' own texts are:
# ai.meta.com/resources/models-and-libraries/dinov3-license; facebookresearch/sapiens2 and /vissl (SEER) on GitHub;
# LICENSE beside AIMv2's and MobileCLIP's weights (apple-amlr: "exclusively for Research Purposes"; Apple's DFN weights
# went over to it after timm had listed them as apple-ascl); ai.google.dev/gemma/terms; NVIDIA's open model licence.
LICENCES = {
    **dict.fromkeys(("apache-2.0", "mit", "bsd-3-clause", "bsd-2-clause", "isc", "cc0-1.0", "unlicense"), Licence(YES)),
    "cc-by-4.0": Licence(YES, "name its authors"),
    "cc-by-sa-4.0": Licence(CONDITIONS, "name its authors, and pass on what you make of it under the same licence"),
    "gpl-3.0": Licence(CONDITIONS, "what you pass on goes under the same licence"),
    "agpl-3.0": Licence(CONDITIONS, "what you pass on, or serve over a network, goes under the same licence"),
    "dinov3-license": Licence(
        CONDITIONS,
        "Meta's own for DINOv3: commercial use is allowed; no military, weapons or espionage uses; passed on only with "
        "this licence",
    ),
    "sapiens2-license": Licence(CONDITIONS, "Meta's own for Sapiens 2"),
    "nvidia-open-model-license": Licence(CONDITIONS, "NVIDIA's own"),
    "gemma": Licence(CONDITIONS, "Google's Gemma terms, with prohibited uses"),
    "qwen-community-1.0": Licence(CONDITIONS, "Alibaba's own"),
    **dict.fromkeys(("openrail", "openrail++"), Licence(CONDITIONS, "prohibited uses are passed on")),
    "apple-ascl": Licence(
        CONDITIONS,
        "Apple's sample code licence; some of these weights (DFN) are by now under Apple's research-only one: look at "
        "Apple's page of them",
    ),
    **dict.fromkeys(
        ("mobileone-license", "fastvit-license", "cvnets-license"),
        Licence(CONDITIONS, "Apple's own, of the code they came with: its notice stays, its name is not used"),
    ),
    "apple-amlr": Licence(NO, "Apple's, for research only"),
    "fair-noncommercial-research-license": Licence(NO, "Meta's, for non-commercial research only"),
    "seer-license": Licence(NO, "Meta's own for SEER, for non-commercial research only"),
}  # fmt: skip
NON_COMMERCIAL = re.compile(r"\bnc\b|non-?commercial|research[- ]only|amlr")
PERMISSIVE = "convnext_tiny.in1k (BSD-3-Clause) or timm:vit_large_patch14_dinov2.lvd142m (Apache-2.0, no labels used)"


def licence_of(name: str) -> Licence:
    """What is known of a licence; text in brackets behind its id counts only where the id is not known."""
    known = LICENCES.get(name.lower().partition(" (")[0].strip())
    if known is not None:
        return known
    return Licence(NO) if NON_COMMERCIAL.search(name.lower()) else Licence(UNKNOWN)


def remark_on(name: str) -> str:
    """What to say of a licence besides its name; empty where it asks for nothing that a user could miss.

    Args:
        name: as timm or the list of backbones spells it.
    """
    licence = licence_of(name)
    said = f"{licence.said}: " if licence.said else ""
    return {
        YES: licence.said,
        CONDITIONS: f"{said}read its conditions before you use the features commercially",
        NO: f"{said}for commercial use take another backbone, such as {PERMISSIVE}",
        UNKNOWN: "what this licence allows is unknown to us: read it before you use the features commercially",
    }[licence.commercial]
