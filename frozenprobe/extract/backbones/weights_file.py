"""Weights from a file that may be a stranger's: nothing in it is run, and it takes no more memory than its size."""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch

from frozenprobe.errors import FrozenprobeError, some

State = dict[str, torch.Tensor]
States = dict[tuple[str, ...], State]  # the state dicts of a file by the keys that they lie under
WRAPPERS = ("state_dict", "model_state_dict", "model", "model_ema", "teacher")  # asked first, in this order
AVERAGED = re.compile(
    "ema|averaged|swa|student"
)  # asked last: the plain weights go first, a teacher before its student
DEEPEST = 4  # keys around weights
PREFIXES = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before every name
LEGACY_PICKLES = 5  # before torch 1.6: magic number, protocol, system, object, keys of the storages that follow
# What a state dict is pickled of. torch lets more through, such as bytearray, with which 900 bytes make 3 GB.
NAMES = re.compile(
    r"collections (OrderedDict|Counter)|__builtin__ set|builtins set|torch Size|torch device|torch \w+Storage|"
    r"torch\.storage (Untyped|Typed)Storage|torch\._utils _rebuild_(tensor_v2|parameter|parameter_with_state)|"
    r"torch (float|int|uint|bfloat|complex|bool|double|half|long|short)\w*"
)
SHARED = 2  # tensors may share storage: tied embeddings take twice the file


def read_weights(path: Path) -> State:
    """The state dict of a file that is asked first, without what DataParallel and torch.compile put before its names.

    Raises:
        FrozenprobeError: as `read_states`.
    """
    state = next(iter(read_states(path).values()))
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state


def read_states(path: Path) -> States:
    """Read all state dicts of a file; nothing in it is run, and no more memory is taken than the file is large.

    Raises:
        FrozenprobeError: no such file, no state dict, or none that would not take more.
    """

    def broken(found: str) -> FrozenprobeError:
        code = f"import torch; c = torch.load({path.as_posix()!r}, map_location='cpu', weights_only=False); "
        code += "c = c.state_dict() if hasattr(c, 'state_dict') else c; torch.save("
        code += "{k: v for k, v in c.items() if isinstance(v, (dict, torch.Tensor)) and k != 'optimizer'}, "
        return FrozenprobeError(
            "A file of weights: a state dict saved by torch.save (.pth, .pt) or as .safetensors",
            found=found,
            where=path,
            remedy="save it with torch.save(model.state_dict(), FILE); a pickled model, which can run code, is refused."
            + (
                f' If you trust whoever made it:\n    python -c "{code}{cleaned_name(path)!r})"'
                if "names" in found
                else ""
            ),
        )

    if not path.is_file():
        raise broken("no such file")
    loaded: Any
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            loaded = load_file(path)
        else:
            require_modest(path)
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files make the readers raise a dozen types; all mean the same here
        raise broken(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}") from None
    states = dict(walk(loaded))
    if not states:
        raise broken(f"a {type(loaded).__name__} of other things than named tensors")
    swollen = {keys: swollen_tensors(state, path.stat().st_size) for keys, state in states.items()}
    sound = {keys: state for keys, state in states.items() if not swollen[keys]}
    if not sound:
        raise broken(f"tensors that are larger than the file: {some(next(iter(swollen.values())), most=3)}")
    return sound


def walk(loaded: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], State]]:
    """The named tensors of nested dicts, those of `WRAPPERS` first, averaged ones last, each after those inside."""
    if not isinstance(loaded, Mapping) or len(keys) > DEEPEST:
        return
    names = [name for name in loaded if isinstance(name, str)]
    order = {name: number for number, name in enumerate(WRAPPERS)}
    for name in sorted(names, key=lambda name: (order.get(name, len(order)), bool(AVERAGED.search(name.lower())))):
        yield from walk(loaded[name], (*keys, name))
    state = {name: loaded[name] for name in names if isinstance(loaded[name], torch.Tensor)}
    if state:
        yield keys, state


def cleaned_name(path: Path) -> str:
    """A name for what is saved of a file: beside it, as torch.save writes it."""
    return path.with_name(f"{path.stem}-clean.pth").as_posix()


def require_modest(path: Path) -> None:
    """Look at a file of torch.save before torch reads it.

    Raises:
        ValueError: compressed or overlapping members, which can be a thousand times the file's size, or a pickle that
            names other things than a state dict needs.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise ValueError("compressed members (torch.save writes none)")
            if sum(member.file_size for member in members) > path.stat().st_size:
                raise ValueError("members that overlap, or declare more than the file has")
            for member in members:
                if member.filename.endswith(".pkl"):
                    with archive.open(member) as file:
                        require_known_names(file)
        return
    with open(path, "rb") as raw:
        for _ in range(LEGACY_PICKLES):
            require_known_names(raw)


def require_known_names(file: IO[bytes]) -> None:
    """Walk through one pickle without running it.

    Raises:
        ValueError: it is none, or names something that no state dict needs.
    """
    for operation, argument, _ in pickletools.genops(file):
        if operation.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
            raise ValueError(f"a pickle that names something by {operation.name}")
        if operation.name in ("GLOBAL", "INST") and not NAMES.fullmatch(str(argument)):
            raise ValueError(f"a pickle that names {argument}")


def swollen_tensors(state: Mapping[str, torch.Tensor], size: int) -> list[str]:
    """Tensors that would take more memory than the file has: stretched by a stride of 0, or no plain arrays at all."""
    total = 0
    swollen: list[str] = []
    for name, tensor in state.items():
        plain = tensor.layout is torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"
        held = tensor.untyped_storage().nbytes() if plain else 0
        total += tensor.numel() * tensor.element_size()
        if not plain or tensor.numel() * tensor.element_size() > held:
            swollen.append(name)
    return swollen or (list(state) if total > SHARED * size else [])
