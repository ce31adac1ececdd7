"""What runs the network: engines by name, and which of them is taken where none is named."""

from __future__ import annotations

import torch

from frozenprobe.extract.network import Backbone


def choose_engine(name: str, backbone: Backbone, device: torch.device) -> str:
    """The engine called `name`; `auto` is the fastest that is installed."""
    return "torch" if name == "auto" else name
