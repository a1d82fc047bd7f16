"""The loops that servers run on."""

from __future__ import annotations

import asyncio

import pytest

from restante.server import server

try:
    import uvloop
except ImportError:
    LOOPS = ["asyncio"]
else:
    LOOPS = ["asyncio", "uvloop"]


@pytest.fixture(params=LOOPS)
def loop_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Servers started by `start` run on this kind of event loop."""
    kind: str = request.param
    if kind == "uvloop":
        monkeypatch.setattr(asyncio, "new_event_loop", uvloop.new_event_loop)
    return kind


@pytest.fixture
def quick_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time limits are looked at often enough for tests that wait for them."""
    monkeypatch.setattr(server, "SWEEP_SECONDS", 0.02)
