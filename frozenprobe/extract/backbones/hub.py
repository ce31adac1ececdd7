"""Downloads from the Hugging Face Hub: asked once whether it can be reached, and no page of retries."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from urllib.parse import urlsplit
from urllib.request import getproxies

PATIENCE = 5.0  # seconds for an answer; the library itself tries for a minute
ADDRESS = "https://huggingface.co"


@contextmanager
def brief_hub() -> Iterator[str]:
    """Take from the Hub, or at once from its cache alone where it cannot be reached; yields why not, or nothing.

    What the library logs of its tries is left out: the error that it raises in the end says the same.
    """
    try:
        from huggingface_hub import constants
    except ImportError:  # timm brings it along, but does without
        yield ""
        return
    logger = logging.getLogger("huggingface_hub")
    level, offline = logger.level, constants.HF_HUB_OFFLINE
    missing = "HF_HUB_OFFLINE is set" if offline else "" if reachable(constants.ENDPOINT) else "no connection"
    logger.setLevel(logging.CRITICAL)
    constants.HF_HUB_OFFLINE = bool(missing)
    try:
        yield f"{missing} ({constants.ENDPOINT})" if missing else ""
    finally:
        logger.setLevel(level)
        constants.HF_HUB_OFFLINE = offline


def reachable(address: str) -> bool:
    """Whether a server takes a connection; taken to, where a proxy stands between."""
    parts = urlsplit(address)
    if parts.scheme in getproxies():
        return True
    answered: list[bool] = []

    def connect() -> None:
        try:
            socket.create_connection((parts.hostname, parts.port or 443), timeout=PATIENCE).close()
            answered.append(True)
        except OSError:
            pass

    thread = Thread(target=connect, daemon=True)  # looking up a name has no time limit of its own
    thread.start()
    thread.join(PATIENCE)
    return bool(answered)
