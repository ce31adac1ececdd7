"""The seal of a sealed file: what its first and last 1,024 bytes say about everything between them."""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

SEAL_BYTES = 1024  # an HDF5 user block: libhdf5 looks for its superblock at 0, 512, 1024, 2048 ...
MAGIC = b"frozenprobe sealed file, version 2 (HDF5 behind this block)\n"
LARGEST_METADATA = 1 << 34  # bytes; a million images need 0.2 GB

Span = tuple[int, int]  # (offset, bytes) in the file


class Damage(ValueError):
    """Bytes that are not what was sealed; says where."""


class Seal(NamedTuple):
    """What the first and, if there is a spare, the last 1,024 bytes of a file say.

    Attributes:
        size: bytes in the file.
        features: spans of the feature arrays.
        spare: span of the dataset at the end that holds the metadata and the seal once more; None: there is none.
        metadata: SHA-256 of everything else behind the seal, hexadecimal.
    """

    size: int
    features: tuple[Span, ...]
    spare: Span | None
    metadata: str

    def spans(self) -> list[Span]:
        """Spans of the metadata: all but seal, feature arrays and spare."""
        spans, position = [], SEAL_BYTES
        for offset, size in (*self.features, self.spare or (self.size, 0)):
            spans.append((position, offset - position))
            position = offset + size
        return [*spans, (position, self.size - position)]

    def encode(self) -> bytes:
        """The seal as 1,024 bytes: a line for people, JSON, the SHA-256 of both, zeros."""
        text = MAGIC + json.dumps(self._asdict()).encode() + b"\n"
        return (text + hashlib.sha256(text).hexdigest().encode() + b"\n").ljust(SEAL_BYTES, b"\0")

    @classmethod
    def decode(cls, block: bytes) -> Seal:
        """Read a seal.

        Raises:
            Damage: it is none, or not a whole one.
        """
        if not block.startswith(MAGIC):
            raise Damage("no seal")
        text, separator, padding = block.partition(b"\n\0")
        body, newline, digest = text.rpartition(b"\n")
        body += newline
        whole = len(block) == SEAL_BYTES and separator and not padding.strip(b"\0")
        if not whole or hashlib.sha256(body).hexdigest().encode() != digest:
            raise Damage("a seal that has been changed")
        values = json.loads(body[len(MAGIC) :])
        features = tuple((int(offset), int(size)) for offset, size in values["features"])
        spare = values["spare"] and (int(values["spare"][0]), int(values["spare"][1]))
        seal = cls(**values | {"features": features, "spare": spare or None})
        spans = [size for _, size in seal.spans()]
        if min([*spans, *(size for _, size in seal.features)]) < 0 or sum(spans) > LARGEST_METADATA:
            raise Damage("a seal of spans that overlap")
        if seal.spare and seal.spare != (seal.size - sum(spans) - SEAL_BYTES, sum(spans) + SEAL_BYTES):
            raise Damage("a seal of a spare that is not a copy of the metadata")
        return seal
