"""Names as Unicode: one form for what looks the same, and whether bytes were Unicode at all."""

from __future__ import annotations

import unicodedata


def composed(text: str) -> str:
    """Unicode's composed form (NFC): macOS stores `é` as two code points, everybody else as one."""
    return unicodedata.normalize("NFC", text)


def has_surrogates(text: str) -> bool:
    """Whether `text` holds bytes that were no UTF-8 (Python keeps them as lone surrogates)."""
    return not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)
