"""Lean blocks: the numbers of torchvision's module, in float32 to rounding, in half precision as near as autocast's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models import VisionTransformer

from frozenprobe.extract.backbones.backbone import TappedNetwork
from frozenprobe.extract.backbones.taps import names_of, pool_torchvision_vit
from frozenprobe.extract.compute.lean_vit import with_lean_blocks

SIDE = 48


def make_vit(seed: int = 0) -> nn.Module:
    """Of odd sizes, with weights that make attention attend."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        vit = VisionTransformer(SIDE, patch_size=8, num_layers=4, num_heads=3, hidden_dim=96, mlp_dim=160)
        for block in vit.encoder.layers:
            nn.init.normal_(block.self_attention.in_proj_weight, std=0.2)
            nn.init.normal_(block.self_attention.in_proj_bias, std=0.2)
            nn.init.normal_(block.ln_1.weight, 1, 0.2)
    vit.heads = nn.Identity()
    return vit.eval().requires_grad_(False)


def images(count: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def distance(found: torch.Tensor, exact: torch.Tensor) -> float:
    """1 - cosine, over the rows on average."""
    return float(1 - torch.nn.functional.cosine_similarity(found.double(), exact.double()).mean())


@pytest.mark.parametrize("tap", ["", "mean", "last4"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_in_float32_they_are_the_module(tap: str, layout: torch.memory_format) -> None:
    vit = make_vit()
    network = TappedNetwork(vit, names_of(tap), pool_torchvision_vit).eval() if tap else vit
    seen = images().to(memory_format=layout)
    with torch.inference_mode():
        expected, found = network(seen), with_lean_blocks(network, torch.float32)(seen)
    assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


def test_in_bfloat16_they_are_no_further_from_float32_than_autocast() -> None:
    lean, autocast = 0.0, 0.0
    for seed in range(3):
        vit, seen = make_vit(seed), images(8, seed)
        with torch.inference_mode():
            exact = vit(seen)
            lean += distance(with_lean_blocks(vit, torch.bfloat16)(seen), exact)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                autocast += distance(vit(seen), exact)
    assert 0 < lean < autocast


class Products(TorchDispatchMode):
    """Counts products of many small matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.batched = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.batched += "bmm" in str(func)
        return func(*args, **kwargs or {})


def test_no_product_is_taken_a_token_at_a_time() -> None:
    vit = make_vit()
    with torch.no_grad(), Products() as products, torch.autocast("cpu", dtype=torch.bfloat16):
        vit(images())
        asked = products.batched
        with_lean_blocks(vit, torch.bfloat16)(images())
    assert asked > 0
    assert products.batched == asked


def test_what_is_added_up_from_block_to_block_stays_in_float32() -> None:
    lean: Any = with_lean_blocks(make_vit(), torch.bfloat16)
    dtypes: set[torch.dtype] = set()
    for block in lean.encoder.layers:
        block.register_forward_hook(lambda module, given, result: dtypes.update((given[0].dtype, result.dtype)))
    with torch.inference_mode():
        assert lean(images()).dtype is torch.float32
    assert dtypes == {torch.float32}
    assert {block.qkv.weight.dtype for block in lean.encoder.layers} == {torch.bfloat16}


def test_the_module_they_were_made_of_stays_as_it_was() -> None:
    vit = make_vit()
    before = {name: tensor.clone() for name, tensor in vit.state_dict().items()}
    with_lean_blocks(vit, torch.bfloat16)
    assert vit.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in vit.state_dict().items())
