"""A seal that claims what cannot be is refused, before anything is allocated for it."""

from __future__ import annotations

import hashlib

import pytest

from frozenprobe.cache.container.seal import MAGIC, SEAL_BYTES, Damage, Seal
from frozenprobe.cache.store import open_features
from frozenprobe.errors import FeatureFileError
from tests.faults.synthetic import extract, world

SMALL = world(9)

OTHER_JSON = [
    *(b"[]", b"{}", b"null", b'{"size": "a"}', b'{"size": 1, "spare": 2, "features": [1], "metadata": 0}'),
    b'{"features": [[1e999, 1]], "size": 1, "spare": null, "metadata": ""}',
    b'{"features": ' + b"[" * 400 + b"]" * 400 + b', "size": 1, "spare": null, "metadata": ""}',
]


def test_spans_beyond_the_file_are_refused_before_anything_is_allocated(tmp_path):
    path = tmp_path / "f.h5"
    extract(path, SMALL, batch=100)
    content = path.read_bytes()
    seal = Seal.decode(content[:SEAL_BYTES])
    huge = 1 << 50
    for forged in (
        seal._replace(size=huge),
        seal._replace(spare=None, size=huge),
        seal._replace(spare=(seal.spare[0], huge), size=seal.spare[0] + huge),
        seal._replace(features=((seal.features[0][0], huge),), size=huge * 2),
        seal._replace(features=((10, 20),)),
        seal._replace(features=((-5, huge),)),
        seal._replace(size=seal.size + 1),
        seal._replace(size=1 << 33, features=(), spare=None),
    ):
        path.write_bytes(forged.encode() + content[SEAL_BYTES:])
        with pytest.raises(FeatureFileError):
            open_features(path)


@pytest.mark.parametrize("json", OTHER_JSON)
def test_a_seal_of_other_contents_is_damage(tmp_path, json):
    text = MAGIC + json + b"\n"
    block = (text + hashlib.sha256(text).hexdigest().encode() + b"\n").ljust(SEAL_BYTES, b"\0")
    (tmp_path / "f.h5").write_bytes(block * 3)
    with pytest.raises(FeatureFileError):
        open_features(tmp_path / "f.h5")


def test_any_changed_bit_of_a_seal_is_damage():
    """Also one that leaves valid JSON with other numbers in it."""
    block = Seal(5000, ((2000, 300),), None, "0" * 64).encode()
    assert Seal.decode(block).size == 5000
    for place in range(len(block)):
        changed = bytearray(block)
        changed[place] ^= 1
        with pytest.raises(Damage):
            Seal.decode(bytes(changed))
