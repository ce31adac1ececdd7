"""Names as Unicode: one form for what looks the same, and whether bytes were Unicode at all."""

from __future__ import annotations

import re
import unicodedata


def composed(text: str) -> str:
    """Unicode's composed form (NFC): macOS stores `é` as two code points, everybody else as one."""
    return unicodedata.normalize("NFC", text)


def has_surrogates(text: str) -> bool:
    """Whether `text` holds bytes that were no UTF-8 (Python keeps them as lone surrogates)."""
    return not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)


def is_invisible(letter: str) -> bool:
    """Whether a character is seen as nothing at all: zero-width ones, soft hyphens, controls, selectors of variants."""
    return unicodedata.category(letter) in ("Cf", "Cc") or "\ufe00" <= letter <= "\ufe0f"


def without_invisible(text: str) -> str:
    """Text without characters that nobody sees; tabs and line ends stay."""
    return (
        text if text.isascii() else "".join(letter for letter in text if letter.isspace() or not is_invisible(letter))
    )


def visible(text: str) -> str:
    """Text in quotes in which characters that are not seen, or look like a space, are escaped: `'red\\u200b'`."""
    escaped = "".join(
        ascii(letter)[1:-1] if letter != " " and (is_invisible(letter) or letter.isspace()) else letter
        for letter in text
    )
    return f"'{escaped}'"


def likeness(text: str) -> str:
    """What names that look alike have in common: `Red_Apple` and `red  apple`, `07` and `7.0`.

    Compatibility forms, case and invisible characters do not count, and of a number only its value does. Blanks, dashes
    and underscores are left out, except between digits, where they are one dash.
    """
    plain = without_invisible(unicodedata.normalize("NFKC", text)).casefold().strip()
    if re.fullmatch(r"[+-]?\d{1,15}(\.\d+)?", plain, re.ASCII):
        return str(float(plain) + 0.0)
    parted = "".join(
        "-" if letter.isspace() or unicodedata.category(letter) in ("Pd", "Pc") else letter for letter in plain
    )
    return re.sub(r"(?<!\d)-+|-+(?!\d)", "", re.sub("-+", "-", parted))
