"""Taps: what hooks on a plain network find is what the tapped one gives, in one pass, by any engine."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.models.beit import Beit
from timm.models.eva import Eva
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer as TimmVit
from torch import nn
from torchvision import models

from frozenprobe.cache.store import open_features
from frozenprobe.errors import FrozenprobeError, SpecMismatch
from frozenprobe.extract.backbones.backbone import Backbone
from frozenprobe.extract.backbones.catalogue import find_backbone
from frozenprobe.extract.backbones.taps import FAMILIES, names_of, tap_backbone
from frozenprobe.extract.compute.engines import make_engine
from frozenprobe.extract.options import TAPS, ExtractRequest
from frozenprobe.extract.run import extract_features
from frozenprobe.extract.views.preprocessing import Preprocessing
from tests.extract.test_run import choosing, request_, rows_of, untyped  # noqa: F401 - a fixture

LAST4 = ("cls", "cls-2", "cls-3", "cls-4", "mean")
SHAPE = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "num_heads": 3, "num_classes": 0}


def backbone_of(network: nn.Module, side: int = 32) -> Backbone:
    return Backbone(
        find_backbone("resnet18.in1k"), network.requires_grad_(False).eval(), None, Preprocessing(side, side), ""
    )


def vit(depth: int = 5) -> models.VisionTransformer:
    torch.manual_seed(0)
    network = models.VisionTransformer(32, 8, num_layers=depth, num_heads=3, hidden_dim=24, mlp_dim=48)
    network.heads = nn.Identity()
    nn.init.normal_(network.class_token)
    nn.init.normal_(network.encoder.ln.weight)
    return network


def timm_network(kind: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    network = kind(**{**SHAPE, "depth": 5, **options})
    for name, parameter in network.named_parameters():
        nn.init.normal_(parameter, std=0.3, mean=float("norm" in name and "weight" in name))
    return network


def images(count: int = 3, side: int = 32) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def hooked(
    network: nn.Module, watched: list[nn.Module], given: torch.Tensor
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """What some modules of a network put out in a pass, and what the network does."""
    seen: list[torch.Tensor] = []
    handles = [each.register_forward_hook(lambda _, __, output: seen.append(output)) for each in watched]
    with torch.inference_mode():
        output = network(given)
    for handle in handles:
        handle.remove()
    return seen, output


def run(backbone: Backbone, given: torch.Tensor) -> dict[str, torch.Tensor]:
    """Each tap's vectors."""
    with torch.inference_mode():
        output = backbone.network(given)
    names, dims = zip(*backbone.taps, strict=True)
    return dict(zip(names, output.split(dims, dim=1), strict=True))


@pytest.mark.parametrize(("tap", "names"), [("cls", ("cls",)), ("cls+mean", ("cls", "mean")), ("last4", LAST4)])
def test_names_are_those_of_dinov2s_protocol(tap: str, names: tuple[str, ...]) -> None:
    assert names_of(tap) == names


def test_the_last_four_class_tokens_and_the_mean_are_what_hooks_find() -> None:
    """Block by block, then the final norm, as DINOv2's get_intermediate_layers(n=4, norm=True).

    Not bit for bit: hooks keep torch's attention off its fast path, which some processors round otherwise.
    """
    network = vit()
    outputs, output = hooked(network, list(network.encoder.layers), images())
    with torch.inference_mode():
        normed = [network.encoder.ln(each) for each in outputs]
    found = run(tap_backbone(backbone_of(network), "last4"), images())
    assert tuple(found) == LAST4
    assert torch.allclose(found["cls"], output, atol=1e-6)
    for back in (2, 3, 4):
        assert torch.allclose(found[f"cls-{back}"], normed[-back][:, 0], atol=1e-6)
    assert torch.allclose(found["mean"], normed[-1][:, 1:].mean(dim=1), atol=1e-6)
    assert {vector.shape for vector in found.values()} == {(3, 24)}


@pytest.mark.parametrize("tap", ["auto", "cls", "mean", "cls+mean"])
def test_the_vectors_of_a_tap_do_not_depend_on_what_is_tapped_besides(tap: str) -> None:
    backbone = backbone_of(vit())
    everything, found = (run(tap_backbone(backbone, each), images()) for each in ("last4", tap))
    assert tuple(found) == names_of("cls" if tap == "auto" else tap)
    assert all(torch.equal(vector, everything[name]) for name, vector in found.items())


@pytest.mark.parametrize("tap", ["auto", "mean", "last4"])
def test_the_digest_is_that_of_the_network_whatever_is_tapped(tap: str) -> None:
    backbone = backbone_of(vit())
    assert tap_backbone(backbone, tap).digest == backbone.digest
    assert replace(tap_backbone(backbone, tap), architecture="other").digest != backbone.digest


@pytest.mark.parametrize(
    "network",
    [
        timm_network(TimmVit, reg_tokens=4, init_values=1.0),
        timm_network(TimmVit, reg_tokens=4, no_embed_class=True, fc_norm=True),
        timm_network(TimmVit, pre_norm=True),
        timm_network(Eva, global_pool="token", num_reg_tokens=2, use_rot_pos_emb=True),
        timm_network(Beit, global_pool="token", use_rel_pos_bias=True),
    ],
    ids=["registers", "fc_norm", "pre_norm", "eva", "beit"],
)
def test_timms_transformers_give_what_hooks_find(network: Any) -> None:
    """The first token is the class token, whatever registers follow it; the mean is that of the patches alone."""
    backbone = backbone_of(network)
    outputs, output = hooked(network, list(network.blocks), images())
    with torch.inference_mode():
        normed = [network.norm(each) for each in outputs]
        wanted = {f"cls-{back}": network.fc_norm(normed[-back][:, 0]) for back in (2, 3, 4)}
        wanted["mean"] = network.fc_norm(normed[-1][:, -16:].mean(dim=1))
    found = run(tap_backbone(backbone, "last4"), images())
    assert tuple(found) == LAST4
    assert tap_backbone(backbone, "auto").tap == "cls"
    assert torch.equal(found["cls"], output)
    assert torch.equal(run(tap_backbone(backbone, "cls+mean"), images())["cls"], output)
    for name, vector in wanted.items():
        assert torch.allclose(found[name], vector, atol=1e-5), name


@pytest.mark.parametrize("options", [{"class_token": False}, {"class_token": False, "reg_tokens": 3}])
def test_a_transformer_without_class_token_has_the_mean_its_classifier_sees(options: dict[str, Any]) -> None:
    """With timm's average pooling the final norm stands behind it (fc_norm), and so it does in the tap."""
    backbone = backbone_of(timm_network(TimmVit, global_pool="avg", **options))
    own = tap_backbone(backbone, "auto")
    assert own.taps == (("head-input", 24),)
    assert torch.allclose(run(tap_backbone(backbone, "mean"), images())["mean"], backbone.network(images()), atol=1e-6)
    with pytest.raises(FrozenprobeError, match="sees head-input; besides it has mean"):
        tap_backbone(backbone, "cls+mean")


def test_a_class_token_that_the_classifier_does_not_see_is_not_taken_for_what_it_sees() -> None:
    backbone = backbone_of(timm_network(TimmVit, global_pool="avg"))
    assert tap_backbone(backbone, "auto").tap == "head-input"
    found = run(tap_backbone(backbone, "cls+mean"), images())
    assert torch.allclose(found["mean"], backbone.network(images()), atol=1e-6)
    assert not torch.allclose(found["cls"], found["mean"], atol=0.1)


def swin() -> Any:
    return SwinTransformer(
        img_size=32, patch_size=4, embed_dim=16, depths=(1, 1), num_heads=(2, 2), window_size=4, num_classes=0
    )


CONVOLUTIONAL = {
    "resnet18": (lambda: models.resnet18(num_classes=1), lambda network: network.layer4, (2, 3)),
    "convnext": (
        lambda: models.ConvNeXt([models.convnext.CNBlockConfig(8, 16, 1), models.convnext.CNBlockConfig(16, None, 1)]),
        lambda network: network.features,
        (2, 3),
    ),
    "efficientnet": (lambda: timm.create_model("tf_efficientnet_lite0"), lambda network: network.bn2, (2, 3)),
    "test_convnext": (lambda: timm.create_model("test_convnext"), lambda network: network.stages, (2, 3)),
    "swin": (swin, lambda network: network.norm, (1, 2)),
}


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_the_mean_of_a_convolutional_network_is_that_of_its_last_feature_map(name: str) -> None:
    make, last, places = CONVOLUTIONAL[name]
    torch.manual_seed(0)
    network = make()
    for leaf in ("fc", "classifier"):
        if isinstance(getattr(network, leaf, None), nn.Linear):
            setattr(network, leaf, nn.Identity())
    backbone = backbone_of(network)
    (feature_map,), output = hooked(backbone.network, [last(network)], images())
    found = run(tap_backbone(backbone, "mean"), images())["mean"]
    assert torch.allclose(found, feature_map.mean(dim=places), atol=1e-6)
    assert tap_backbone(backbone, "mean").taps == (("mean", found.shape[1]),)
    if name in ("resnet18", "efficientnet", "swin"):  # whose classifier sees that mean
        assert torch.allclose(found, output, atol=1e-6)
    for tap in ("cls", "last4"):
        with pytest.raises(FrozenprobeError, match="besides it has mean") as caught:
            tap_backbone(backbone, tap)
        assert caught.value.where == "--tap"


class OfTimm(nn.Module):
    """A network of timm's that nobody knows: several scales, tokens in another order, a map of other channels."""

    def __init__(self, make: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.make, self.num_features = make, 3

    def forward_features(self, given: torch.Tensor) -> Any:
        return self.make(given)


def test_too_few_blocks_and_unknown_networks_say_what_they_can_give() -> None:
    with pytest.raises(FrozenprobeError, match=r"sees cls; besides it has mean, cls\+mean"):
        tap_backbone(backbone_of(vit(3)), "last4")
    with pytest.raises(FrozenprobeError, match="sees head-input; besides it has none that is known"):
        tap_backbone(backbone_of(nn.Flatten()), "mean")
    for make in (lambda map_: [map_], lambda map_: map_.flatten(2), lambda map_: map_[:, :2]):
        with pytest.raises(FrozenprobeError, match="besides it has none that is known"):
            tap_backbone(backbone_of(OfTimm(make)), "mean")
    assert tap_backbone(backbone_of(OfTimm(lambda map_: map_)), "mean").taps == (("mean", 3),)
    assert tap_backbone(backbone_of(nn.Flatten()), "auto").taps == (("head-input", 3 * 32 * 32),)


def test_dimensions_are_known_before_anything_is_computed() -> None:
    """By a pass without numbers, which costs neither time nor memory: this network would have 20 billion parameters."""
    with torch.device("meta"):
        network = models.VisionTransformer(224, 14, num_layers=48, num_heads=48, hidden_dim=6144, mlp_dim=24576)
        network.heads = nn.Identity()
    assert tap_backbone(backbone_of(network, 224), "last4").taps == tuple((name, 6144) for name in LAST4)


def test_torch_compile_takes_a_tapped_network_whole() -> None:
    """One graph without a break; its backend changes nothing of that."""
    tapped = tap_backbone(backbone_of(vit()), "last4").network
    with torch.inference_mode():
        compiled = torch.compile(tapped, backend="eager", fullgraph=True)(images())
        assert torch.allclose(compiled, tapped(images()), atol=1e-6)
        assert torch.allclose(copy.deepcopy(tapped)(images()), tapped(images()))


@pytest.mark.parametrize("network", [vit(), timm_network(TimmVit, reg_tokens=2)], ids=["torchvision", "timm"])
def test_onnxruntime_gives_the_same_vectors_for_any_batch(network: nn.Module) -> None:
    pytest.importorskip("onnxruntime")
    tapped = tap_backbone(backbone_of(network), "last4").network
    engine = make_engine("onnxruntime", tapped, torch.device("cpu"), torch.float32, side=32, threads=1)
    for count in (1, 5):
        with torch.inference_mode():
            assert torch.allclose(engine(images(count)), tapped(images(count)), atol=1e-4)


# Families of timm, held against its own networks of tiny size.

TINY = {"embed_dim": 48, "depth": 2, "num_heads": 3}
OF_FAMILIES = {  # name, options, the tap of auto, and the options with which timm pools the same by itself
    "vit_small_patch16_dinov3": (TINY, "cls", {"global_pool": "token"}),
    "vit_7b_patch16_dinov3": (TINY, "cls", {"global_pool": "token"}),
    "vit_small_patch14_dinov2": (TINY, "cls", {}),
    "vit_small_patch14_reg4_dinov2": (TINY, "cls", {}),
    "vit_base_patch14_reg1_tipsv2": (TINY, "cls", {}),
    "convnext_tiny.dinov3_lvd1689m": ({"dims": (8, 8, 16, 16), "depths": (1, 1, 1, 1)}, "head-input", {}),
    "vit_base_patch16_siglip_224": (TINY, "head-input", {}),
    "vit_base_patch16_siglip_gap_224": (TINY, "head-input", {}),
    "vit_pe_core_base_patch16_224": ({**TINY, "attn_pool_num_heads": 3, "num_classes": 0}, "head-input", {}),
    "vit_pe_spatial_base_patch16_512": (TINY, "head-input", {}),
    "aimv2_large_patch14_224": (TINY, "head-input", {}),
    "eva02_tiny_patch14_224": (TINY, "head-input", {}),
    "vit_so150m2_patch16_reg1_gap_256": ({**TINY, "num_classes": 0}, "head-input", {}),
}


def of_family(name: str, **options: Any) -> tuple[Backbone, Any]:
    torch.manual_seed(0)
    side = 28 if "patch14" in name else 32
    given = {} if name.startswith("convnext") else {"img_size": side}
    network = timm.create_model(name, **OF_FAMILIES[name][0], **given, **options).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, mean=0.1, std=0.3)
    return replace(backbone_of(network, side), design=network.default_cfg["architecture"]), network


@pytest.mark.parametrize("name", OF_FAMILIES)
def test_auto_is_what_the_authors_of_a_family_take(name: str) -> None:
    _, tap, options = OF_FAMILIES[name]
    backbone, _ = of_family(name)
    _, same = of_family(name, **options)
    assert re.match("|".join(family for family, _ in FAMILIES), backbone.design), "the family is in the table"
    tapped = tap_backbone(backbone, "auto")
    assert tapped.tap == tap
    given = images(2, backbone.preprocessing.size)
    with torch.inference_mode():
        assert torch.allclose(tapped.network(given), same(given), atol=1e-5)


def test_attention_pooling_is_not_the_mean_and_the_mean_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("vit_base_patch16_siglip_224", "vit_pe_core_base_patch16_224"):
        backbone, _ = of_family(name)
        own, mean = tap_backbone(backbone, "auto"), tap_backbone(backbone, "mean")
        assert "its pooling by attention was trained" in caplog.messages[-1]
        with torch.inference_mode():
            given = images(2)
            assert not torch.allclose(own.network(given), mean.network(given), atol=0.05)
    assert len(caplog.messages) == 2


def test_dinov3s_other_vectors_are_still_to_be_had_and_auto_says_what_it_took(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "frozenprobe")
    backbone, network = of_family("vit_small_patch16_dinov3")
    given = images(2)
    with torch.inference_mode():
        pooled = network(given)
    assert torch.allclose(run(tap_backbone(backbone, "head-input"), given)["head-input"], pooled, atol=1e-6)
    assert torch.allclose(run(tap_backbone(backbone, "cls+mean"), given)["mean"], pooled, atol=1e-5)
    assert not caplog.messages
    tap_backbone(backbone, "auto")
    assert "--tap cls+mean stores the patches' mean, too" in caplog.text


def test_a_classifier_trained_on_the_mean_keeps_the_mean() -> None:
    """DINOv3 fine-tuned with timm's pooling: its own classifier tells better than its family."""
    backbone, _ = of_family("vit_small_patch16_dinov3")
    assert tap_backbone(replace(backbone, classifier=nn.Linear(48, 5)), "auto").tap == "head-input"


# Through the whole extraction.


@pytest.mark.parametrize("tap", ["mean", "cls+mean"])
def test_a_file_keeps_its_tap_under_auto(tap: str, request_: ExtractRequest) -> None:  # noqa: F811
    extract_features(choosing(request_, tap=tap))
    report = extract_features(untyped(request_, tap="auto", views=3))
    assert (report.computed, open_features(request_.out).spec.tap) == (12, tap)


def test_one_pass_stores_each_tap_in_an_array_of_its_own(request_: ExtractRequest) -> None:  # noqa: F811
    extract_features(choosing(request_, tap="cls+mean"))
    both = open_features(request_.out)
    assert both.taps == (("cls", 24), ("mean", 24))
    assert both.spec.tap == "cls+mean"
    extract_features(replace(choosing(request_, tap="mean"), out=request_.out.with_name("mean.h5")))
    mean = open_features(request_.out.with_name("mean.h5"))
    alone, selected = rows_of(mean), rows_of(both.select_tap("mean"))
    assert alone.keys() == selected.keys()
    assert all(np.array_equal(alone[key], selected[key]) for key in alone)
    assert mean.spec.weights_digest == both.spec.weights_digest


def test_a_file_grows_with_its_tap_and_refuses_another(request_: ExtractRequest) -> None:  # noqa: F811
    extract_features(choosing(request_, tap="cls+mean"))
    before = rows_of(open_features(request_.out))
    report = extract_features(untyped(request_, views=3))
    after = open_features(request_.out)
    assert (report.computed, after.tap) == (12, "cls+mean")
    assert all(np.array_equal(row, rows_of(after)[key]) for key, row in before.items())
    with pytest.raises(SpecMismatch, match=r"tap = mean[\s\S]*tap = cls\+mean[\s\S]*--tap"):
        extract_features(untyped(request_, tap="mean"))


def test_what_is_not_typed_is_the_class_token_of_a_vit(request_: ExtractRequest) -> None:  # noqa: F811
    extract_features(request_)
    assert open_features(request_.out).taps == (("cls", 24),)
    assert not extract_features(choosing(request_, tap="cls")).written


def test_a_tap_that_the_backbone_has_not_is_refused_before_the_pass(request_: ExtractRequest) -> None:  # noqa: F811
    for tap, says in (("last4", "besides it has mean"), ("head-input", "layer sees cls"), ("clss", "did you mean cls")):
        with pytest.raises(FrozenprobeError, match=says):
            extract_features(choosing(request_, tap=tap))
    assert not Path(request_.out).exists()
    assert {"cls", "mean", "cls+mean", "last4"} <= {*TAPS}
