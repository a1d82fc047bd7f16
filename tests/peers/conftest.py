"""Fixtures of the tests with real mail clients."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.conftest import Authority
from tests.peers.harness import Post


@pytest.fixture
def post(
    tmp_path_factory: pytest.TempPathFactory,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Post]:
    """A server with an empty maildrop, which must log no error while it is in use."""
    with Post(tmp_path_factory.mktemp("post"), authority) as post:
        yield post
    errors = [record for record in caplog.get_records("call") if record.levelno >= logging.ERROR]
    assert not errors
