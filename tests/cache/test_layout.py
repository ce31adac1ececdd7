"""Parts of a file that contradict each other are refused, whoever has put them together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from frozenprobe.cache.contents import Contents
from frozenprobe.cache.layout import check_contents
from tests.faults.synthetic import world

WHOLE = world(6).contents()
LABELS, IDS = WHOLE.train.labels, WHOLE.train.ids
assert LABELS is not None
assert WHOLE.test is not None


def with_train(**changes: object) -> Contents:
    return replace(WHOLE, train=replace(WHOLE.train, **changes))


def test_contents_that_agree_pass():
    check_contents(WHOLE)
    check_contents(replace(WHOLE, test=None))


@pytest.mark.parametrize(
    ("contents", "says"),
    [
        (replace(WHOLE, class_names=("c1", "c0", "c2")), "not sorted"),
        (replace(WHOLE, class_names=("c0", "c0", "c1")), "not different"),
        (replace(WHOLE, class_names=("c0", "c1")), "labels from 0 to 2 for 2 classes"),
        (with_train(labels=LABELS - 1), "labels from -1 to 1"),
        (with_train(labels=None), "without labels"),
        (with_train(usable=np.arange(6) > 0), "without labels or features"),
        (with_train(ids=(*IDS[:5], IDS[0])), "ids in train that are not different"),
        (replace(WHOLE, test=replace(WHOLE.test, ids=("t0.jpg",) * 4)), "ids in test that are not different"),
        (with_train(hashes=WHOLE.train.hashes[:5]), "different lengths in train"),
        (with_train(groups=("a",) * 5), "different lengths in train"),
        (with_train(folds=("a",) * 7), "different lengths in train"),
        (replace(WHOLE, test=replace(WHOLE.test, usable=np.ones(3, dtype=bool))), "different lengths in test"),
        (replace(WHOLE, taps=(("cls", 2), ("cls", 2))), "taps"),
        (replace(WHOLE, taps=(("cls", 0),)), "taps"),
        (replace(WHOLE, taps=(("../x", 2),)), "taps"),
        (replace(WHOLE, test_views=("hflip", "clean")), "views"),
        (replace(WHOLE, augmented_views=("aug1", "aug1")), "views"),
        (replace(WHOLE, about={"environments": "{"}), "Expecting"),
        (replace(WHOLE, spec=replace(WHOLE.spec, storage_dtype="float64")), "stored as float64"),
        (replace(WHOLE, spec=replace(WHOLE.spec, preprocessing="{}")), "preprocessing"),
    ],
    ids=range(20),
)
def test_parts_that_contradict_each_other_are_named(contents, says):
    with pytest.raises(ValueError, match=says):
        check_contents(contents)
