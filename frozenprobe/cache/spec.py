"""FeatureSpec: all that decides a feature row besides the image and the view, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from frozenprobe.errors import FeatureFileError, SpecMismatch


@dataclass(frozen=True)
class FeatureSpec:
    """What a feature row is a function of, besides (content hash, view).

    Attributes:
        backbone: name in the list of backbones.
        weights_digest: SHA-256 over names, shapes and float32 values of the network's tensors, without its classifier.
        preprocessing: the clean view's geometry and normalisation, as canonical text.
        recipe: name of the augmentation recipe.
        recipe_version: raised whenever the recipe draws other pixels.
        seed: of the augmented views.
        decoding: `full`, or `scaled` for JPEGs decoded at a half, a quarter or an eighth where that leaves enough.
        tap: where in the network the features are read.
        engine: what runs the network: torch, compile, onnxruntime or openvino.
        compute_dtype: of the forward pass: float32, bfloat16 or float16.
        storage_dtype: of the stored features: float32 or float16.
        augment_on: always `cpu` since 0.7.0; before, `device` was of augmented views cut from tensors.
    """

    backbone: str
    weights_digest: str
    preprocessing: str
    recipe: str
    recipe_version: int
    seed: int
    decoding: str
    tap: str
    engine: str
    compute_dtype: str
    storage_dtype: str
    augment_on: str = "cpu"

    def canonical(self) -> str:
        """The spec as JSON with sorted keys and no spaces: what the fingerprint is taken of."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=True)

    def fingerprint(self) -> str:
        """SHA-256 of the canonical text, 64 hexadecimal digits."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    @classmethod
    def parse(cls, text: str, *, where: Path) -> FeatureSpec:
        """The spec of a canonical text.

        Raises:
            FeatureFileError: no JSON object with exactly the spec's fields and types.
        """
        try:
            values = json.loads(text)
            kinds = {field.name: int if field.type == "int" else str for field in fields(cls)}
            if set(values) != set(kinds) or not all(type(values[name]) is kind for name, kind in kinds.items()):
                raise ValueError("other fields than this version's")
            return cls(**values)
        except (ValueError, TypeError, RecursionError) as error:
            raise FeatureFileError(
                "A feature specification", found=str(error), where=where, remedy="extract the features again"
            ) from None

    def require_equal(
        self, wanted: FeatureSpec, *, where: Path, options: Mapping[str, str], remedy: str | None = None
    ) -> None:
        """Refuse to go on with a file of another specification than wanted.

        Args:
            wanted: the specification asked for.
            where: the existing file.
            options: the option that sets a field, by field name.
            remedy: what to do in place of leaving the option out.

        Raises:
            SpecMismatch: naming the first field that differs, and both values.
        """
        for name, have in asdict(self).items():
            want = getattr(wanted, name)
            if have != want:
                leave = f"leave out {options[name]} to go on with this file, or " if name in options else ""
                raise SpecMismatch(
                    f"Features with {name} = {want}",
                    found=f"a file of features with {name} = {have}",
                    where=where,
                    remedy=remedy
                    or f"{leave}name another file with --out FILE (or remove this one and its folder of pieces)",
                )
