"""The Hugging Face Hub: without a network one message at once, and what is in its cache all the same."""

from __future__ import annotations

import logging
import socket
import time
from typing import Any

import pytest
from huggingface_hub import constants

from frozenprobe.extract.backbones import hub
from frozenprobe.extract.backbones.hub import brief_hub, reachable


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "getproxies", dict)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def test_a_server_that_listens_is_reachable_and_one_that_does_not_is_not() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = f"https://127.0.0.1:{server.getsockname()[1]}"
        assert not reachable(address)
        server.listen()
        assert reachable(address)


def test_a_name_that_nobody_looks_up_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "PATIENCE", 0.01)
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: time.sleep(0.2) or socket.socket())
    assert not reachable(hub.ADDRESS)


def test_behind_a_proxy_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "getproxies", lambda: {"https": "http://proxy:3128"})
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("asked"))
    assert reachable(hub.ADDRESS)


@pytest.mark.parametrize(("there", "offline"), [(True, False), (False, True)])
def test_the_library_is_told_when_there_is_no_network_and_keeps_quiet(
    there: bool, offline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "reachable", lambda address: there)
    logger = logging.getLogger("huggingface_hub.utils._http")
    before = logger.getEffectiveLevel()
    with brief_hub() as missing:
        assert offline == constants.HF_HUB_OFFLINE
        assert not logger.isEnabledFor(logging.ERROR)
        assert missing == ("" if there else f"no connection ({constants.ENDPOINT})")
    assert not constants.HF_HUB_OFFLINE
    assert logger.getEffectiveLevel() == before


def test_who_asked_to_stay_offline_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "reachable", lambda address: pytest.fail("asked"))
    with brief_hub() as missing:
        assert missing.startswith("HF_HUB_OFFLINE is set")
    assert constants.HF_HUB_OFFLINE


def test_the_library_itself_gives_up_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Held against the installed version: nothing of it may ask the network where it was told that there is none."""
    from huggingface_hub import hf_hub_download

    monkeypatch.setattr(hub, "reachable", lambda address: False)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("asked"))
    with brief_hub(), pytest.raises(Exception, match=r"(?i)offline|local"):
        hf_hub_download("timm/nothing", "model.safetensors", cache_dir=tmp_path)
