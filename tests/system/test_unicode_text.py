"""What looks alike, and what is not seen at all."""

import pytest

from frozenprobe.system.unicode_text import likeness, visible, without_invisible


@pytest.mark.parametrize(
    "names",
    [
        ("Red_Apple", "red apple", " red  apple ", "RED-APPLE", "red\u00a0apple", "redApple", "red\u2013apple"),
        ("apple", "ap\u00adple", "apple\u200b", "\ufeffapple", "\uff41pple", "apple\ufe0f"),
        ("0", "0.0", "00", "-0", "+0"),
        ("7", "07", "7.00"),
        ("fold 1", "fold_1", "Fold1"),
        ("1-2", "1_2", "1 2"),
        ("Straße", "STRASSE"),
    ],
)
def test_names_that_look_alike_are_alike(names):
    assert len({likeness(name) for name in names}) == 1, [*map(likeness, names)]


@pytest.mark.parametrize(
    ("one", "other"), [("1", "-1"), ("1-2", "12"), ("a", "b"), ("1.5", "15"), ("c", "c++"), ("7", "70"), ("e", "é")]
)
def test_other_names_are_not(one, other):
    assert likeness(one) != likeness(other)


def test_what_nobody_sees_is_shown():
    assert visible("red\u200b \u00a0ap\u00adple") == r"'red\u200b \xa0ap\xadple'"
    assert visible("Äpfel 猫") == "'Äpfel 猫'"
    assert without_invisible("a\u200bb\u00adc\ufe0f d\te") == "abc d\te"
