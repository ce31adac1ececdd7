"""Weights from files: what is read, what is refused, and the digest that tells one network from another."""

from __future__ import annotations

import pickle
import random
import resource
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.backbones.backbone import Backbone, finish_backbone, require_fit
from frozenprobe.extract.backbones.catalogue import find_backbone
from frozenprobe.extract.backbones.weights_file import read_weights
from frozenprobe.extract.views.preprocessing import Preprocessing

INFO = find_backbone("resnet18.in1k")


def small_network() -> nn.Sequential:
    """Convolution, batch norm (whose counter is no weight) and a classification layer."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 7)]
    network = nn.Sequential(*layers)
    nn.init.normal_(network[1].running_mean)
    return network


def finish(state: dict[str, torch.Tensor]) -> Backbone:
    return finish_backbone(
        INFO, small_network(), dict(state), last="4", preprocessing=Preprocessing(8, 8), weights_from="w.pth"
    )


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return small_network().state_dict()


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin"])
def test_state_dict_of_torch_is_read(tmp_path: Path, state: dict[str, torch.Tensor], name: str) -> None:
    torch.save(state, tmp_path / name)
    assert equal(read_weights(tmp_path / name), dict(state))


def test_state_dict_in_torchs_old_format_is_read(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    assert equal(read_weights(tmp_path / "w.pth"), dict(state))


def test_safetensors_are_read(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    save_file(state, tmp_path / "w.safetensors")
    assert equal(dict(sorted(read_weights(tmp_path / "w.safetensors").items())), dict(sorted(state.items())))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {"lr": 0.1}},
        lambda state: {"model_ema": state},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {f"_orig_mod.{name}": tensor for name, tensor in state.items()},
        lambda state: {f"module._orig_mod.{name}": tensor for name, tensor in state.items()},
    ],
)
def test_what_training_scripts_wrap_around_weights_is_taken_off(
    tmp_path: Path, state: dict[str, torch.Tensor], wrap: Callable[[Any], Any]
) -> None:
    torch.save(wrap(state), tmp_path / "w.pth")
    assert equal(read_weights(tmp_path / "w.pth"), dict(state))


class Code:
    """An object that opens a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, save: Callable[[Any, Path], None]) -> None:
    run = tmp_path / "it ran"
    save({"weight": torch.ones(2), "more": Code(run)}, tmp_path / "w.pth")
    with pytest.raises(FrozenprobeError, match="a pickled model, which can run code, is refused"):
        read_weights(tmp_path / "w.pth")
    assert not run.exists()
    pickle.loads(pickle.dumps(Code(run)))
    assert run.exists(), "the trap itself has to work"


def rewritten(
    path: Path, *, method: int = zipfile.ZIP_STORED, pickled: bytes | None = None, twice: bool = False
) -> None:
    """The zip file of torch.save again, with another compression, another pickle, or each tensor's entry twice."""
    with zipfile.ZipFile(path) as old:
        members = [(member.filename, old.read(member)) for member in old.infolist()]
    with zipfile.ZipFile(path, "w", method) as new:
        for name, content in members:
            new.writestr(name, pickled if pickled is not None and name.endswith("data.pkl") else content)
        for info in [info for info in new.filelist if twice]:
            copy = zipfile.ZipInfo(info.filename + "x")
            copy.header_offset, copy.file_size, copy.CRC = info.header_offset, info.file_size, info.CRC
            copy.compress_size = info.compress_size
            new.filelist.append(copy)
        new._didModify = True


class Swelling:
    """An object that is 3 GB when it is unpickled, and 80 bytes before; torch lets it through."""

    def __reduce__(self) -> tuple[Any, ...]:
        return bytearray, (3_000_000_000,)


def stretched(path: Path) -> None:
    torch.save({"w": torch.zeros(1).expand(1 << 20, 1 << 20)}, path)


def compressed(path: Path) -> None:
    torch.save({"w": torch.zeros(25_000_000)}, path)
    rewritten(path, method=zipfile.ZIP_DEFLATED)


def overlapping(path: Path) -> None:
    torch.save({"w": torch.zeros(100_000)}, path)
    rewritten(path, twice=True)


def allocating(path: Path) -> None:
    torch.save({"w": torch.zeros(1)}, path)
    rewritten(path, pickled=pickle.dumps({"w": Swelling()}, 2))


def allocating_by_name_on_the_stack(path: Path) -> None:
    torch.save({"w": torch.zeros(1)}, path)
    rewritten(path, pickled=pickle.dumps({"w": Swelling()}, 4))


def allocating_in_the_old_format(path: Path) -> None:
    torch.save({"w": torch.zeros(1)}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    assert b"ccollections\nOrderedDict" in whole
    path.write_bytes(whole.replace(b"ccollections\nOrderedDict", b"c__builtin__\nbytearray"))


def shared_by_hundreds(path: Path) -> None:
    one = torch.zeros(1_000_000)
    torch.save({f"w{number}": one.view(1, -1) for number in range(300)}, path)


def sparse(path: Path) -> None:
    torch.save({"w": torch.sparse_coo_tensor(torch.zeros(2, 1, dtype=torch.int64), [1.0], (1 << 20, 1 << 20))}, path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol", "ignore:Sparse invariant checks")
@pytest.mark.parametrize(
    "attack",
    [
        *(stretched, compressed, overlapping, allocating, allocating_by_name_on_the_stack),
        *(allocating_in_the_old_format, shared_by_hundreds, sparse),
    ],
)
def test_a_file_that_would_take_more_memory_than_its_size_is_refused(
    tmp_path: Path, attack: Callable[[Path], None]
) -> None:
    attack(tmp_path / "w.pth")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FrozenprobeError, match="A file of weights"):
        read_weights(tmp_path / "w.pth")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_tied_weights_are_no_attack(tmp_path: Path) -> None:
    one = torch.arange(100_000.0)
    torch.save({"embedding": one, "classifier": one}, tmp_path / "w.pth")
    assert torch.equal(read_weights(tmp_path / "w.pth")["classifier"], one)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>404</html>", bytes(64), b"PK\x03\x04", b"\x80\x02.", b"\x80\x02}."])
def test_what_is_no_weights_is_an_error(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(FrozenprobeError, match="A file of weights") as caught:
        read_weights(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize(
    "value", [[torch.ones(2)], torch.ones(2), {"a": 1}, {"state_dict": {"a": "b"}}, {1: torch.ones(2)}]
)
def test_tensors_without_names_are_no_state_dict(tmp_path: Path, value: Any) -> None:
    torch.save(value, tmp_path / "w.pth")
    with pytest.raises(FrozenprobeError, match="A file of weights"):
        read_weights(tmp_path / "w.pth")


def test_missing_file_and_folder_are_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(FrozenprobeError, match="no such file"):
            read_weights(path)


@pytest.mark.filterwarnings("ignore")  # torch's remarks on damaged pickles
@pytest.mark.parametrize("kind", ["zip", "old", "safetensors", "noise"])
def test_damaged_weights_raise_nothing_but_the_error(tmp_path: Path, state: dict[str, torch.Tensor], kind: str) -> None:
    """torch's unpickler answers damage with IndexError, AssertionError, struct.error and more."""
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    whole, refused = path.read_bytes(), 0
    for seed in range(80):
        rng = random.Random(seed)
        content = bytearray(b"\x80\x02" + rng.randbytes(60) if kind == "noise" else whole)
        if seed % 4 == 0:
            del content[rng.randrange(len(content)) :]
        else:
            for _ in range(seed % 4):
                content[rng.randrange(min(len(content), 400))] ^= rng.randrange(1, 256)
        path.write_bytes(bytes(content))
        try:
            read_weights(path)
        except FrozenprobeError:
            refused += 1
    assert refused >= 20


def test_feature_is_what_the_classification_layer_saw(state: dict[str, torch.Tensor]) -> None:
    whole = small_network().eval()
    backbone = finish(state)
    images = torch.randn(5, 3, 8, 8)
    with torch.inference_mode():
        features = backbone.network(images)
        assert features.shape == (5, 4)
        assert torch.allclose(backbone.classifier(features), whole(images), atol=1e-6)


def test_finished_network_is_frozen_and_in_eval_mode(state: dict[str, torch.Tensor]) -> None:
    backbone = finish(state)
    assert not backbone.network.training
    assert not any(parameter.requires_grad for parameter in backbone.network.parameters())
    assert not any(parameter.requires_grad for parameter in backbone.classifier.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_compute_in_float32(state: dict[str, torch.Tensor], dtype: torch.dtype) -> None:
    stored = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    backbone = finish(stored)
    assert {parameter.dtype for parameter in backbone.network.parameters()} == {torch.float32}
    assert torch.equal(backbone.network[0].weight, stored["0.weight"].float())
    assert backbone.classifier.weight.dtype == torch.float32


@pytest.mark.parametrize(
    "change",
    [
        lambda state: [state.pop("4.weight"), state.pop("4.bias")],
        lambda state: state.update({"4.weight": torch.ones(4)}),
        lambda state: state.update({"4.bias": torch.ones(3)}),
    ],
)
def test_weights_without_a_usable_classifier_give_features_all_the_same(
    state: dict[str, torch.Tensor], change: Callable[[Any], Any]
) -> None:
    change(state)
    backbone = finish(state)
    assert backbone.classifier is None
    assert backbone.network(torch.zeros(1, 3, 8, 8)).shape == (1, 4)


def test_misfit_names_what_is_missing_left_over_and_of_another_shape(state: dict[str, torch.Tensor]) -> None:
    del state["0.bias"], state["1.weight"]
    state |= {f"extra.{number}": torch.ones(1) for number in range(5)}
    state["0.weight"] = torch.ones(4, 3, 5, 5)
    with pytest.raises(FrozenprobeError) as caught:
        finish(state)
    assert "2 missing: 0.bias, 1.weight" in caught.value.found
    assert "5 left over: extra.0, extra.1, extra.2 and 2 more" in caught.value.found
    assert "1 of another shape: 0.weight (4, 3, 5, 5) for (4, 3, 3, 3)" in caught.value.found
    assert caught.value.where == "w.pth"
    assert INFO.name in caught.value.wanted


def test_batch_counters_may_be_missing(state: dict[str, torch.Tensor]) -> None:
    del state["1.num_batches_tracked"]
    assert finish(state).network(torch.zeros(1, 3, 8, 8)).shape == (1, 4)


def test_fit_is_held_against_the_whole_network() -> None:
    network = models.resnet18()
    require_fit(network, dict(network.state_dict()), "resnet18.in1k", "")
    with pytest.raises(FrozenprobeError, match=r"1 missing: fc\.bias"):
        require_fit(network, {k: v for k, v in network.state_dict().items() if k != "fc.bias"}, "resnet18.in1k", "")


# The digest: what the specification knows the weights by.


def test_digest_is_the_same_for_the_same_weights(state: dict[str, torch.Tensor]) -> None:
    assert finish(state).digest == finish({name: tensor.clone() for name, tensor in state.items()}).digest


def test_digest_does_not_know_the_classifier_or_the_order(state: dict[str, torch.Tensor]) -> None:
    headless = {name: tensor for name, tensor in reversed(state.items()) if not name.startswith("4.")}
    assert finish(headless).digest == finish(state).digest


def test_digest_does_not_know_the_dtype_that_equal_values_were_stored_in(state: dict[str, torch.Tensor]) -> None:
    halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    floats = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in halves.items()}
    assert finish(halves).digest == finish(floats).digest != finish(state).digest


@pytest.mark.parametrize("name", ["0.weight", "0.bias", "1.weight", "1.running_mean", "1.running_var"])
def test_digest_changes_with_any_value(state: dict[str, torch.Tensor], name: str) -> None:
    before = finish(state).digest
    state[name] = state[name].clone()
    state[name].view(-1)[-1] += 1e-6
    assert finish(state).digest != before


def test_digest_changes_with_shapes_names_and_architecture() -> None:
    """The same twelve numbers, as a 3 x 4 or a 4 x 3 matrix, under two names, with and without a remark."""

    def digest(shape: tuple[int, int], name: str = "a", architecture: str = "") -> str:
        network = nn.Module()
        network.register_buffer(name, torch.arange(12.0).view(shape))
        return Backbone(INFO, network, None, Preprocessing(8, 8), "", architecture).digest

    assert len({digest((3, 4)), digest((4, 3)), digest((3, 4), "b"), digest((3, 4), "a", "3 heads")}) == 4


def test_digest_does_not_know_the_memory_format(state: dict[str, torch.Tensor]) -> None:
    plain = finish(state)
    last = replace(plain, network=plain.network.to(memory_format=torch.channels_last))
    assert last.digest == finish(state).digest
