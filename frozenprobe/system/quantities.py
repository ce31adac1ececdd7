"""Bytes for a person, and the time as text that sorts."""

from __future__ import annotations

from datetime import datetime, timezone


def megabytes(number: int) -> str:
    """A number of bytes for a person."""
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:,.1f} MB"


def utc_now(timespec: str = "microseconds") -> str:
    """The time in UTC, ISO 8601, by default to the microsecond, so that text order is time order."""
    return datetime.now(timezone.utc).isoformat(timespec=timespec)
