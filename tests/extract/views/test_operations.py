"""Operations by a table are torchvision's to the pixel."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import functional as F

from frozenprobe.extract.views import operations
from tests.extract.views.test_transforms import picture


@settings(max_examples=60, deadline=None)
@given(key=st.integers(0, 50), factor=st.floats(0, 3))
def test_tables_give_torchvisions_pixels(key: int, factor: float) -> None:
    image = picture(key=key)
    for ours, theirs in (
        (operations.adjust_brightness, F.adjust_brightness),
        (operations.adjust_contrast, F.adjust_contrast),
    ):
        assert np.array_equal(ours(image, factor), theirs(image, factor))
