"""torchvision's networks: the feature is what their own classifier sees, and shapes are read off the tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import models

from frozenprobe.cache.store import open_features
from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.backbones.catalogue import ANY_VIT
from frozenprobe.extract.backbones.load import load_backbone
from frozenprobe.extract.backbones.torchvision_models import (
    KNOWN_HEADS,
    KNOWN_PREPROCESSING,
    VitShape,
    enum_preprocessing,
    read_vit_shape,
)
from frozenprobe.extract.options import Choices, ExtractRequest, WeightsOptions
from frozenprobe.extract.run import extract_features
from frozenprobe.extract.views.preprocessing import Preprocessing
from frozenprobe.images.sources import ImageSources
from tests.conftest import write_image

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
OPTIONS = WeightsOptions(heads=3, resize=36, interpolation="bicubic", mean=MEAN, std=STD)


def vit(**shape: int) -> models.VisionTransformer:
    """A small VisionTransformer with seeded weights; torchvision starts the classifier at zero."""
    whole = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 3, "hidden_dim": 24, "mlp_dim": 48}
    torch.manual_seed(0)
    network = models.VisionTransformer(**(whole | shape), num_classes=5)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network.eval()


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    """A network with seeded weights of a sensible size, without the seconds that its own initialisation takes."""
    torch.manual_seed(0)
    with torch.device("meta"):
        network = build()
    for name, tensor in network.to_empty(device="cpu").state_dict().items():
        if tensor.ndim > 1:
            nn.init.normal_(tensor, std=tensor[0].numel() ** -0.5)
        elif tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 1.5)
        else:
            nn.init.zeros_(tensor)
        assert torch.isfinite(tensor).all(), name
    return network.eval()


def saved(network: nn.Module, path: Path) -> Path:
    torch.save(network.state_dict(), path)
    return path


def hollow_vit(path: Path, **shape: int) -> Path:
    """A state dict of the shape of a VisionTransformer, full of zeros."""
    with torch.device("meta"):
        network = models.VisionTransformer(**shape)
    zeros = {name: torch.zeros(tensor.shape, dtype=torch.float16) for name, tensor in network.state_dict().items()}
    torch.save(zeros, path)
    return path


@pytest.mark.parametrize(
    ("name", "build", "size", "dim"),
    [("resnet18.in1k", models.resnet18, 70, 512), ("convnext_tiny.in1k", models.convnext_tiny, 64, 768)],
)
def test_feature_through_the_classifier_is_the_networks_own_logits(
    tmp_path: Path, name: str, build: Callable[[], nn.Module], size: int, dim: int
) -> None:
    network = seeded(build)
    backbone = load_backbone(name, saved(network, tmp_path / "w.pth"))
    images = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        feature = backbone.network(images)
        assert feature.shape == (2, dim)
        assert torch.allclose(backbone.classifier(feature), network(images), atol=1e-5)
    assert backbone.info.name == name
    assert backbone.weights_from == str(tmp_path / "w.pth")
    assert backbone.preprocessing == Preprocessing(256 if "resnet" in name else 236, 224)


@pytest.mark.parametrize(
    "shape",
    [{}, {"patch_size": 16}, {"hidden_dim": 48, "num_heads": 6}, {"num_layers": 1, "mlp_dim": 20}, {"image_size": 40}],
)
def test_vit_of_any_shape_gives_its_own_logits(tmp_path: Path, shape: dict[str, int]) -> None:
    """Patch, width, depth, MLP and image size are read off the tensors; the rest is given."""
    network = vit(**shape)
    options = WeightsOptions(shape.get("num_heads", 3), shape.get("image_size", 32) + 4, "bicubic", MEAN, STD)
    backbone = load_backbone(ANY_VIT, saved(network, tmp_path / "w.pth"), options)
    images = torch.randn(2, 3, *[shape.get("image_size", 32)] * 2)
    with torch.inference_mode():
        assert torch.allclose(backbone.classifier(backbone.network(images)), network(images), atol=1e-5)
    assert backbone.info.dim == shape.get("hidden_dim", 24)
    assert backbone.info.size == shape.get("image_size", 32)
    assert backbone.info.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert backbone.preprocessing == Preprocessing(options.resize, backbone.info.size, "bicubic", MEAN, STD)


def test_feature_of_the_vit_is_its_class_token_after_the_last_norm(tiny_vit: Path) -> None:
    network = models.VisionTransformer(
        32, 8, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=48, num_classes=5
    ).eval()
    network.load_state_dict(torch.load(tiny_vit, weights_only=True))
    seen: list[torch.Tensor] = []
    network.encoder.ln.register_forward_hook(lambda module, given, tokens: seen.append(tokens[:, 0]))
    images = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        network(images)
        assert torch.allclose(load_backbone(ANY_VIT, tiny_vit, OPTIONS).network(images), seen[0], atol=1e-6)


def test_half_precision_file_computes_in_float32(tmp_path: Path) -> None:
    network = vit().half()
    backbone = load_backbone(ANY_VIT, saved(network, tmp_path / "w.pth"), OPTIONS)
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(backbone.classifier(backbone.network(images)), network.float()(images), atol=1e-5)


def test_unknown_shape_without_options_is_an_error_that_names_them(tiny_vit: Path) -> None:
    with pytest.raises(FrozenprobeError) as caught:
        load_backbone(ANY_VIT, tiny_vit)
    assert "patch 8, width 24, 2 blocks, MLP 48, 32 px" in caught.value.found
    assert "--attention-heads --resize --interpolation --mean --std" in caught.value.remedy
    with pytest.raises(FrozenprobeError, match=r"give --resize --interpolation --mean --std"):
        load_backbone(ANY_VIT, tiny_vit, WeightsOptions(heads=3))
    with pytest.raises(FrozenprobeError, match=r"give --attention-heads as"):
        load_backbone(ANY_VIT, tiny_vit, WeightsOptions(None, 36, "bicubic", MEAN, STD))


@pytest.mark.parametrize(
    ("options", "where"),
    [
        (WeightsOptions(5, 36, "bicubic", MEAN, STD), "--attention-heads"),
        (WeightsOptions(0, 36, "bicubic", MEAN, STD), "--attention-heads"),
        (WeightsOptions(3, 31, "bicubic", MEAN, STD), "--resize"),
        (WeightsOptions(3, -1, "bicubic", MEAN, STD), "--resize"),
        (WeightsOptions(3, 36, "bicubic", MEAN, (0.2, 0.0, 0.2)), "--std"),
    ],
)
def test_options_no_network_can_have_are_errors(tiny_vit: Path, options: WeightsOptions, where: str) -> None:
    """5 heads do not divide a width of 24; a crop of 32 px does not fit into 31."""
    with pytest.raises(FrozenprobeError) as caught:
        load_backbone(ANY_VIT, tiny_vit, options)
    assert caught.value.where == where


def test_known_shape_needs_no_options(tmp_path: Path) -> None:
    """ViT-S/14 at 224 px: 6 heads, and the preprocessing of the only weights in use."""
    path = hollow_vit(
        tmp_path / "w.pth", image_size=224, patch_size=14, num_layers=12, num_heads=6, hidden_dim=384, mlp_dim=1536
    )
    backbone = load_backbone(ANY_VIT, path)
    assert backbone.architecture == "6 heads"
    assert backbone.preprocessing == Preprocessing(256, 224, "bicubic")
    assert (backbone.info.size, backbone.info.dim) == (224, 384)


def test_heads_given_for_a_known_shape_count_and_change_the_digest(tmp_path: Path) -> None:
    path = hollow_vit(
        tmp_path / "w.pth", image_size=224, patch_size=14, num_layers=12, num_heads=6, hidden_dim=384, mlp_dim=1536
    )
    six, twelve = load_backbone(ANY_VIT, path), load_backbone(ANY_VIT, path, WeightsOptions(heads=12))
    assert twelve.architecture == "12 heads"
    assert twelve.network.encoder.layers[0].self_attention.num_heads == 12
    assert six.digest != twelve.digest


@pytest.mark.parametrize("name", ["vit_l_16.swag_e2e", "vit_b_16.swag_e2e"])
def test_named_vit_with_a_file_of_another_shape_becomes_what_the_file_is(tiny_vit: Path, name: str) -> None:
    backbone = load_backbone(name, tiny_vit, OPTIONS)
    assert backbone.info.name == ANY_VIT
    assert (backbone.info.size, backbone.info.dim) == (32, 24)
    assert backbone.digest == load_backbone(ANY_VIT, tiny_vit, OPTIONS).digest
    assert "of the file" in backbone.info.licence


@pytest.mark.parametrize("change", [{"num_layers": 3}, {"patch_size": 32}, {"mlp_dim": 100}])
def test_same_side_and_width_in_another_shape_is_noticed_too(tmp_path: Path, change: dict[str, int]) -> None:
    shape = {"image_size": 384, "patch_size": 16, "num_layers": 2, "num_heads": 12, "hidden_dim": 768, "mlp_dim": 3072}
    path = hollow_vit(tmp_path / "w.pth", **(shape | change))
    backbone = load_backbone("vit_b_16.swag_e2e", path, WeightsOptions(12, 384, "bicubic", MEAN, STD))
    assert backbone.info.name == ANY_VIT
    assert len(backbone.network.encoder.layers) == (shape | change)["num_layers"]


def test_named_vit_with_a_file_of_its_own_shape_keeps_its_name(tmp_path: Path) -> None:
    shape = {"image_size": 384, "patch_size": 16, "num_layers": 12, "num_heads": 12, "hidden_dim": 768, "mlp_dim": 3072}
    backbone = load_backbone("vit_b_16.swag_e2e", hollow_vit(tmp_path / "w.pth", **shape))
    assert backbone.info.name == "vit_b_16.swag_e2e"
    assert backbone.preprocessing == enum_preprocessing(models.ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1)


def test_known_preprocessing_is_that_of_torchvisions_weights() -> None:
    """A file in the shape of SWAG's fine-tuned networks gets, under the free name, what SWAG's weights get."""
    builders = (
        (models.vit_b_16, models.ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1),
        (models.vit_l_16, models.ViT_L_16_Weights.IMAGENET1K_SWAG_E2E_V1),
        (models.vit_h_14, models.ViT_H_14_Weights.IMAGENET1K_SWAG_E2E_V1),
    )
    for build, enum in builders:
        size = enum.transforms().crop_size[0]
        with torch.device("meta"):
            network = build(image_size=size)
        shape = read_vit_shape(network.state_dict())
        key = (shape.patch, shape.width, shape.depth)
        assert KNOWN_HEADS[key] == network.encoder.layers[0].self_attention.num_heads
        assert KNOWN_PREPROCESSING[(*key, size)] == enum_preprocessing(enum)


def test_shape_is_read_off_the_tensors() -> None:
    assert read_vit_shape(vit(num_layers=11).state_dict()) == VitShape(8, 24, 11, 48, 32)
    assert read_vit_shape(models.resnet18().state_dict()) is None
    assert read_vit_shape({}) is None


def test_old_names_of_the_mlp_are_understood(tmp_path: Path) -> None:
    """torchvision called the MLP's layers linear_1 and linear_2 before its version 0.14, and still loads such files."""
    state = vit().state_dict()
    old = {name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): t for name, t in state.items()}
    assert set(old) != set(state)
    torch.save(old, tmp_path / "old.pth")
    torch.save(state, tmp_path / "new.pth")
    images = torch.randn(2, 3, 32, 32)
    one, other = (load_backbone(ANY_VIT, tmp_path / f"{name}.pth", OPTIONS).network(images) for name in ("old", "new"))
    assert torch.equal(one, other)


def test_file_that_is_no_vit_is_an_error_for_the_free_name(tmp_path: Path) -> None:
    path = saved(nn.Sequential(nn.Linear(2, 2)), tmp_path / "w.pth")
    with pytest.raises(FrozenprobeError, match=r"found:  0 \(2\), such as 0\.weight"):
        load_backbone(ANY_VIT, path, OPTIONS)
    with pytest.raises(FrozenprobeError, match="--weights FILE"):
        load_backbone(ANY_VIT)


def test_file_of_another_architecture_is_an_error(tmp_path: Path, tiny_vit: Path) -> None:
    path = saved(seeded(models.resnet18), tmp_path / "w.pth")
    for name, file in (("convnext_tiny.in1k", path), ("vit_b_16.swag_e2e", path), ("resnet18.in1k", tiny_vit)):
        with pytest.raises(FrozenprobeError, match=f"Weights that fit the backbone {name}"):
            load_backbone(name, file)


def test_vit_with_a_ragged_position_grid_is_an_error(tmp_path: Path) -> None:
    state = vit().state_dict()
    state["encoder.pos_embedding"] = torch.zeros(1, 16, 24)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(FrozenprobeError, match=r"encoder\.pos_embedding \(1, 16, 24\)"):
        load_backbone(ANY_VIT, tmp_path / "w.pth", WeightsOptions(3, 36, "bicubic", MEAN, STD))


@pytest.mark.parametrize(
    "error", [URLError("no route to host"), RuntimeError("invalid hash value"), OSError(28, "full")]
)
def test_failed_download_names_address_target_and_the_way_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    asked: dict[str, bool] = {}

    def fail(self: models.WeightsEnum, **options: bool) -> None:
        asked.update(options)
        raise error

    monkeypatch.setattr(models.WeightsEnum, "get_state_dict", fail)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    with pytest.raises(FrozenprobeError) as caught:
        load_backbone("vit_l_16.swag_e2e")
    assert "https://download.pytorch.org/models/vit_l_16_swag" in caught.value.where
    assert str(tmp_path / "hub" / "checkpoints" / "vit_l_16_swag") in caught.value.where
    assert "--weights FILE" in caught.value.remedy
    assert type(error).__name__ in caught.value.found
    assert asked["check_hash"]
    assert asked["weights_only"]


def test_official_weights_are_loaded_by_their_enum(monkeypatch: pytest.MonkeyPatch) -> None:
    network = seeded(models.resnet18)
    monkeypatch.setattr(models.WeightsEnum, "get_state_dict", lambda self, **options: network.state_dict())
    backbone = load_backbone("resnet18.in1k")
    assert backbone.weights_from == "ResNet18_Weights.IMAGENET1K_V1"
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(backbone.classifier(backbone.network(images)), network(images), atol=1e-5)


@pytest.mark.slow
def test_vit_l_16_at_512_px_equals_a_plain_torchvision_loop(tmp_path: Path) -> None:
    """The mission's backbone, with seeded random weights: one image and one forward each way for the comparison."""
    torch.manual_seed(0)
    network = models.vit_l_16(image_size=512).eval()
    nn.init.normal_(network.heads.head.weight, std=0.05)
    weights = saved(network, tmp_path / "vit_l_16.pth")
    paths = [write_image(tmp_path / "train" / name / "0.png", key, (611, 433)) for key, name in enumerate("ab")]
    request = ExtractRequest(
        sources=ImageSources(train=tmp_path / "train", test=None),
        choices=Choices(
            "vit_l_16.swag_e2e",
            weights,
            recipe="none",
            test_views=("clean",),
            storage_dtype="float32",
            compute_dtype="float32",
        ),
        out=tmp_path / "f.h5",
        batch_size=1,
    )
    report = extract_features(request)
    assert report.computed == 2
    features = open_features(report.path)
    assert features.spec.backbone == "vit_l_16.swag_e2e"
    found = features.read("train", [0])[:, 0]
    logits = nn.functional.linear(torch.from_numpy(found[:1]), network.heads.head.weight, network.heads.head.bias)
    with torch.inference_mode(), Image.open(paths[0]) as image:
        batch = models.ViT_L_16_Weights.IMAGENET1K_SWAG_E2E_V1.transforms()(image)[None]
        seen: list[torch.Tensor] = []
        network.heads.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
        own = network(batch)
    assert np.abs(found[0] - seen[0][0].numpy()).max() < 1e-5
    assert torch.allclose(logits, own, atol=1e-5)
