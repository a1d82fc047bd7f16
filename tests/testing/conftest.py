"""What the tests of the test kit share."""

from __future__ import annotations

import poplib
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from restante.testing import MailServer

Connect = Callable[[MailServer], poplib.POP3]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connects a client to a server; hangs up at the end of the test."""
    with ExitStack() as stack:

        def make(server: MailServer) -> poplib.POP3:
            client = poplib.POP3(server.host, server.port, timeout=30)
            stack.callback(client.close)
            return client

        yield make


@pytest.fixture
def log_in(connect: Connect) -> Connect:
    """The same, logged in as joe with "secret"."""

    def make(server: MailServer) -> poplib.POP3:
        client = connect(server)
        client.user("joe")
        client.pass_("secret")
        return client

    return make
