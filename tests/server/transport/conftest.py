"""Each kind of readiness, on each kind of loop."""

from __future__ import annotations

import select

import pytest

from restante.server.transport.readiness import EpollReadiness, LoopReadiness
from tests.server.transport.kit import Ground

KINDS = [EpollReadiness, LoopReadiness] if hasattr(select, "epoll") else [LoopReadiness]


@pytest.fixture(params=KINDS, ids=[kind.__name__ for kind in KINDS])
def ground(request: pytest.FixtureRequest, loop_kind: str) -> Ground:
    return Ground(request.param)
