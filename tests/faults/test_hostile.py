"""Feature files made by an enemy, with digests that are right: no code is run, no other file read, no memory spent."""

from __future__ import annotations

import hashlib
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from frozenprobe.cache import store
from frozenprobe.cache.care.info import file_facts
from frozenprobe.cache.care.repair import repair_features
from frozenprobe.cache.care.verify import verify_features
from frozenprobe.cache.container import read as sealed
from frozenprobe.cache.container.hdf5 import write_tree
from frozenprobe.cache.container.seal import SEAL_BYTES, Seal
from frozenprobe.cache.layout import arrays_of, attributes_of
from frozenprobe.cache.store import open_features
from frozenprobe.errors import FeatureFileError
from tests.faults.synthetic import DIM, extract, holds, world

SMALL = world(9)


def forge(path: Path, change: Callable[[h5py.File], None], features: tuple[tuple[int, int], ...] = ()) -> None:
    """A feature file's index, changed with h5py, under a seal that fits."""
    contents = SMALL.contents()
    image, _ = write_tree(attributes_of(contents, store.FEATURES), arrays_of(contents), {}, user_block=SEAL_BYTES)
    with h5py.File(image, "r+") as file:
        change(file)
    seal = Seal(image.size, features, None, "")
    digest = hashlib.sha256(b"".join(image.get(*span) for span in seal.spans())).hexdigest()
    path.write_bytes(seal._replace(metadata=digest).encode() + image.get(SEAL_BYTES, image.size - SEAL_BYTES))


SHAPE = (4, 9, DIM)


def external_link(file: h5py.File) -> None:
    file["train/features/cls"] = h5py.ExternalLink("/etc/hostname", "/")


def soft_link(file: h5py.File) -> None:
    file["train/features/cls"] = h5py.SoftLink("/train/labels")


def virtual_dataset(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=SHAPE, dtype="f4")
    layout[:] = h5py.VirtualSource("/tmp/secret.h5", "x", shape=SHAPE)
    file.create_virtual_dataset("train/features/cls", layout)


def external_storage(file: h5py.File) -> None:
    size = int(np.prod(SHAPE)) * 4
    file.create_dataset("train/features/cls", SHAPE, "f4", external=[("/etc/passwd", 0, size)])


def external_ids(file: h5py.File) -> None:
    del file["train/ids"]
    file.create_dataset("train/ids", (9,), "S8", external=[("/etc/passwd", 0, 72)])


def four_gigabytes_in_a_chunk(file: h5py.File) -> None:
    file.create_dataset("train/features/cls", (1 << 20, 1 << 10, 1), "f4", chunks=(1 << 10, 1 << 10, 1), fillvalue=0)


def compressed(file: h5py.File) -> None:
    file.create_dataset("train/features/cls", data=np.zeros(SHAPE, "f4"), chunks=SHAPE, compression="gzip")


def terabytes_declared(file: h5py.File) -> None:
    file.create_dataset("train/features/cls", (4, 1 << 30, 1 << 10), "f4")


def billions_of_ids(file: h5py.File) -> None:
    del file["train/ids"]
    file.create_dataset("train/ids", (1 << 33,), "S64")


def texts_of_any_length(file: h5py.File) -> None:
    del file["train/ids"]
    file["train/ids"] = ["a"] * 9


def an_attribute_of_any_length(file: h5py.File) -> None:
    file.attrs["about"] = "{}"


def an_attribute_of_numbers(file: h5py.File) -> None:
    file.attrs["taps"] = np.arange(1000)


def references(file: h5py.File) -> None:
    file.create_dataset("train/references", data=np.array([file.ref], dtype=h5py.ref_dtype))


def compound(file: h5py.File) -> None:
    file["train/pairs"] = np.zeros(3, dtype=[("a", "i4"), ("b", "f4")])


def committed_type(file: h5py.File) -> None:
    file["type"] = np.dtype("f4")


def circle(file: h5py.File) -> None:
    file["train/again"] = file["train"]


def many_objects(file: h5py.File) -> None:
    for number in range(1000):
        file.create_group(f"g{number}")


def no_features(file: h5py.File) -> None:
    pass


def other_rows_than_images(file: h5py.File) -> None:
    file["train/features/cls"] = np.zeros((4, 8, DIM), "f4")


def labels_out_of_range(file: h5py.File) -> None:
    file["train/labels"][...] = 99


def fingerprint_of_another(file: h5py.File) -> None:
    file.attrs["fingerprint"] = np.bytes_("0" * 64)


def pickled_code(file: h5py.File) -> None:
    file.attrs["spec"] = np.void(b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")


ATTACKS = {
    external_link: "a soft or external link: train/features/cls",
    soft_link: "a soft or external link: train/features/cls",
    virtual_dataset: "chunked, compact or virtual",
    external_storage: "outside the file",
    external_ids: "outside the file",
    four_gigabytes_in_a_chunk: "chunked, compact or virtual",
    compressed: "chunked, compact or virtual",
    terabytes_declared: "0 bytes of storage where 17,592,186,044,416 are declared",
    billions_of_ids: "0 bytes of storage where 549,755,813,888 are declared",
    texts_of_any_length: "no fixed size",
    an_attribute_of_any_length: "no fixed size",
    an_attribute_of_numbers: "neither one text nor one whole number",
    references: "no number and no text",
    compound: "no number and no text",
    committed_type: "neither a group nor a dataset",
    circle: "in a circle",
    many_objects: "more than 64 objects",
    no_features: "no features in train",
    other_rows_than_images: "no features in train",
    labels_out_of_range: "labels from 99 to 99 for 3 classes",
    fingerprint_of_another: "not that of the specification",
    pickled_code: "no number and no text",
}


@pytest.mark.parametrize(("attack", "says"), ATTACKS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_forged_file_is_refused_for_what_it_does_and_without_its_weight(attack, says, tmp_path):
    path = tmp_path / "f.h5"
    forge(path, attack)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for call in (open_features, verify_features):
        with pytest.raises(FeatureFileError, match=says) as caught:
            call(path)
        assert caught.value.where == str(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def deep(file: h5py.File) -> None:
    file.attrs["about"] = np.bytes_("[" * 30_000)


def deep_spec(file: h5py.File) -> None:
    file.attrs["spec"] = np.bytes_("[" * 30_000)


def with_spec(**changes: str) -> Callable[[h5py.File], None]:
    spec = replace(SMALL.contents().spec, **changes)

    def change(file: h5py.File) -> None:
        file.attrs["spec"], file.attrs["fingerprint"] = np.bytes_(spec.canonical()), np.bytes_(spec.fingerprint())

    return change


def environments(file: h5py.File) -> None:
    file.attrs["about"] = np.bytes_('{"environments": "not a list"}')


def with_taps(text: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file.attrs["taps"] = np.bytes_(text)

    return change


def unusable_training_image(file: h5py.File) -> None:
    file["train/usable"][0] = 0


TEXTS = [
    (deep, "RecursionError"),
    (deep_spec, "RecursionError|recursion"),
    (environments, "JSONDecodeError"),
    (with_spec(storage_dtype="int8"), "features stored as int8"),
    (with_spec(storage_dtype="foo"), "features stored as foo"),
    (with_spec(preprocessing="no JSON"), "JSONDecodeError"),
    (with_spec(preprocessing="[]"), "a preprocessing without a name"),
    *((with_taps(text), "parts that agree|whose parts agree") for text in ("[]", "{}", "x", '[["cls"]]', "[1]")),
    *((with_taps(text), "taps ") for text in ('[["../x", 1]]', '[["a+b", 1]]', '[["a", 0]]', '[["a", 1], ["a", 1]]')),
    (unusable_training_image, "training images without labels or features"),
]


@pytest.mark.parametrize(("attack", "says"), TEXTS, ids=range(len(TEXTS)))
def test_texts_that_are_not_what_they_should_be_are_refused(attack, says, tmp_path):
    path = tmp_path / "f.h5"
    forge(path, attack)
    for call in (open_features, verify_features, repair_features, file_facts):
        with pytest.raises(FeatureFileError, match=says):
            call(path)


def test_a_seal_with_a_span_of_nothing_is_refused(tmp_path):
    path = tmp_path / "f.h5"
    forge(path, no_features, features=((2_000, 10),))
    with pytest.raises(FeatureFileError):
        open_features(path)


def test_a_forged_file_that_is_damaged_too_is_refused_all_the_same(tmp_path):
    path = tmp_path / "f.h5"
    forge(path, external_link)
    path.write_bytes(path.read_bytes() + b"x")
    for call in (open_features, verify_features, repair_features, file_facts):
        with pytest.raises(FeatureFileError, match="a soft or external link"):
            call(path)


def test_the_forger_of_these_tests_can_make_a_good_file(tmp_path):
    """Else everything above would be refused for a reason of its own."""
    path, good = tmp_path / "f.h5", tmp_path / "good.h5"
    extract(good, SMALL, batch=100)
    forge(path, lambda file: None)
    assert sealed.SealedFile(path).attributes == attributes_of(SMALL.contents(), store.FEATURES)
    assert holds(good, SMALL)


def test_metadata_of_noise_under_a_right_seal_are_refused(tmp_path):
    """libhdf5 parses what an enemy chose: no other file is opened, and its error is a message."""
    rng = np.random.default_rng(0)
    contents = SMALL.contents()
    image, _ = write_tree(attributes_of(contents, store.FEATURES), arrays_of(contents), {}, user_block=SEAL_BYTES)
    whole = image.get(SEAL_BYTES, image.size - SEAL_BYTES)
    for length in (0, 8, 96, 400, 2000):
        content = rng.bytes(length) + whole[length:] if length else whole[: len(whole) // 2]
        seal = Seal(SEAL_BYTES + len(content), (), None, hashlib.sha256(content).hexdigest())
        (tmp_path / "f.h5").write_bytes(seal.encode() + content)
        with pytest.raises(FeatureFileError):
            open_features(tmp_path / "f.h5")
