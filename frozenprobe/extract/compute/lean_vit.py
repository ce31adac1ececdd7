"""torchvision's VisionTransformer of the same tensors: large products, views instead of copies.

Under autocast `nn.MultiheadAttention` leaves its fast path and asks for Q, K and V of one token at a time: T products
`(B, E) x (E, 3 E)`, a fifth of a forward pass on an H100. In float32 its fast path writes down the whole of Q K^T.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import VisionTransformer


def with_lean_blocks(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy of a network in which every VisionTransformer cuts its patches, attends and computes its MLPs in a dtype.

    What is added up from block to block, its norms and all the rest stay in float32. Taps and names stay what they are.
    A network without one is returned as it is.
    """
    lean: dict[int, nn.Module] = {}
    for module in network.modules():
        if isinstance(module, VisionTransformer):
            lean[id(module.conv_proj)] = LeanPatches(module.conv_proj, dtype)
            lean |= {id(block): LeanBlock(block, dtype) for block in module.encoder.layers}
    return copy.deepcopy(network, lean) if lean else network  # what is in it already is not copied


def has_lean_blocks(network: nn.Module) -> bool:
    """Whether a network has blocks to rebuild."""
    return any(isinstance(module, VisionTransformer) for module in network.modules())


class LeanPatches(nn.Module):
    """A convolution that cuts patches, as one product over all of them: `(B, 3, S, S)` -> `(B, E, S / p, S / p)`.

    Args:
        convolution: whose stride is its kernel.
        dtype: of the product.
    """

    def __init__(self, convolution: Any, dtype: torch.dtype) -> None:
        super().__init__()
        weight = convolution.weight
        self.side = weight.shape[-1]
        # (E, 3, p, p) -> (E, p p 3): pixels lie with their channels last
        self.product = linear(weight.permute(0, 2, 3, 1).reshape(len(weight), -1), convolution.bias, dtype)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Patches by row and column; in memory a patch's numbers lie side by side."""
        views, channels, height, width = images.shape
        rows, columns = height // self.side, width // self.side
        split = images.permute(0, 2, 3, 1).reshape(views, rows, self.side, columns, self.side * channels)
        patches = split.transpose(2, 3).reshape(views, rows, columns, -1).to(self.product.weight.dtype)
        embedded: torch.Tensor = self.product(patches)
        return embedded.permute(0, 3, 1, 2)


class LeanBlock(nn.Module):
    """A block of torchvision's encoder: `(B, T, E)` float32 -> the same.

    Args:
        block: torchvision's.
        dtype: of its products and its attention; norms and sums are in float32.
    """

    def __init__(self, block: Any, dtype: torch.dtype) -> None:
        super().__init__()
        attention = block.self_attention
        self.heads = attention.num_heads
        self.norm_1, self.norm_2 = block.ln_1, block.ln_2
        self.qkv = linear(attention.in_proj_weight, attention.in_proj_bias, dtype)
        self.out = linear(attention.out_proj.weight, attention.out_proj.bias, dtype)
        self.mlp_in = linear(block.mlp[0].weight, block.mlp[0].bias, dtype)
        self.mlp_out = linear(block.mlp[3].weight, block.mlp[3].bias, dtype)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """x + A(norm(x)), then x + M(norm(x))."""
        views, length, _ = tokens.shape
        dtype = self.qkv.weight.dtype
        each = self.qkv(self.norm_1(tokens).to(dtype)).view(views, length, 3, self.heads, -1)
        query, key, value = each.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = tokens + self.out(seen)
        inner = F.gelu(self.mlp_in(self.norm_2(tokens).to(dtype)))
        after: torch.Tensor = tokens + self.mlp_out(inner)
        return after


def linear(weight: torch.Tensor, bias: torch.Tensor, dtype: torch.dtype) -> nn.Linear:
    """A layer of these numbers in a dtype."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.load_state_dict({"weight": weight.detach().to(dtype), "bias": bias.detach().to(dtype)}, assign=True)
    return layer.requires_grad_(False)
