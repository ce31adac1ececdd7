"""The fingerprint covers the specification, all of it."""

import hashlib
import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from frozenprobe.cache.spec import FeatureSpec
from frozenprobe.errors import FeatureFileError, SpecMismatch
from tests.conftest import SPEC


@pytest.mark.parametrize("name", [field.name for field in fields(FeatureSpec)])
def test_every_field_changes_the_fingerprint(name):
    value = getattr(SPEC, name)
    other = replace(SPEC, **{name: value + 1 if isinstance(value, int) else value + "x"})
    assert other.fingerprint() != SPEC.fingerprint()


def test_the_fingerprint_is_the_sha256_of_sorted_json():
    text = SPEC.canonical()
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert SPEC.fingerprint() == hashlib.sha256(text.encode()).hexdigest()


def test_the_fingerprint_of_version_3_stays_what_it_is():
    """Golden: a change here makes every existing feature file unreadable and needs a new format version."""
    assert SPEC.fingerprint() == "c5a457b44e7c530cec6110b271b9c201f444440ccaa956155838ec382284b516"


def test_files_of_version_0_6_keep_their_fingerprint():
    """Golden, computed by 0.6.0: rows are found again, and those cut on a device never mixed with them."""
    on_device = replace(SPEC, augment_on="device")
    assert on_device.fingerprint() == "7075c4563ea0fb4c4618a6840ede6e788f6758fecc5dabe98506e5b1789d5481"
    text = SPEC.canonical().replace("cpu", "device")
    assert FeatureSpec.parse(text, where=Path("x.h5")) == on_device
    assert replace(SPEC, augment_on=FeatureSpec.augment_on) == SPEC


def test_a_spec_is_read_again():
    assert FeatureSpec.parse(SPEC.canonical(), where=Path("x.h5")) == SPEC


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"backbone": 1}', "null"])
def test_another_text_is_an_error_that_names_the_file(text):
    with pytest.raises(FeatureFileError, match=r"x\.h5"):
        FeatureSpec.parse(text, where=Path("x.h5"))


def test_fields_of_another_type_are_refused():
    text = SPEC.canonical().replace('"seed":0', '"seed":"0"')
    with pytest.raises(FeatureFileError):
        FeatureSpec.parse(text, where=Path("x.h5"))


def test_a_difference_names_field_values_and_option():
    with pytest.raises(SpecMismatch) as error:
        SPEC.require_equal(replace(SPEC, seed=5), where=Path("x.h5"), options={"seed": "--seed"})
    for part in ("seed = 5", "seed = 0", "x.h5", "--seed", "--out"):
        assert part in str(error.value)


def test_equal_specs_pass():
    SPEC.require_equal(replace(SPEC), where=Path("x.h5"), options={})
