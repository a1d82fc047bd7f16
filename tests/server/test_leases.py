"""Leases that end: they are renewed while a session goes on, and a lost one commits nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import pytest

from restante import Account, Content, Lease, LeaseLost, Listing, Maildrop, Store
from restante.protocol.listing import MessageNumber
from tests.server.kit import Client, new_server, until

LETTER = b"Subject: x\r\n\r\nhello\r\n"


class Timed(Lease):
    """A lease of 0.2 seconds."""

    holder = "node-1"

    def __init__(self) -> None:
        self.expires: float | None = time.time() + 0.2
        self.renewed = 0
        self.taken_over = False
        self.fails = False

    @property
    def lost(self) -> bool:
        return self.taken_over

    def renew(self) -> None:
        self.renewed += 1
        if self.fails:
            raise OSError("canary")
        if self.taken_over:
            raise LeaseLost("node-2 has it")
        self.expires = time.time() + 0.2


class Leased(Maildrop):
    blocking = False

    def __init__(self, store: Leases) -> None:
        self.listing = Listing(["one"], [len(LETTER)])
        self.lease = store.lease
        self._store = store

    def fetch(self, number: MessageNumber, lines: int | None = None) -> Content:
        return Content(LETTER)

    def commit(self, numbers: Sequence[MessageNumber]) -> None:
        self._store.committed += len(numbers)


class Leases(Store):
    blocking = False

    def __init__(self) -> None:
        self.lease = Timed()
        self.committed = 0

    def open(self, account: Account) -> Maildrop:
        return Leased(self)


@pytest.mark.usefixtures("quick_sweep")
def test_a_lease_is_renewed_for_as_long_as_the_session_lasts() -> None:
    store = Leases()
    with new_server(store) as server:
        with Client(server.port) as client:
            client.log_in().ask("DELE 1")
            until(lambda: store.lease.renewed >= 3)
            assert client.ask("QUIT") == b"+OK bye"
            assert client.is_cut()
        until(lambda: server.sessions == 0)
        renewed = store.lease.renewed
        with Client(server.port) as other:
            other.ask("NOOP")
    assert store.committed == 1
    assert store.lease.renewed == renewed


@pytest.mark.usefixtures("quick_sweep")
def test_a_session_that_has_lost_its_lease_reads_on_and_removes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An operator has released it, or another node took over: the log warns, and no more."""
    store = Leases()
    errors: list[Exception] = []
    with new_server(store) as server, Client(server.port) as client:
        server.on("server_error")(lambda session, error: errors.append(error))
        client.log_in().ask("DELE 1")
        store.lease.taken_over = True
        until(lambda: store.lease.renewed)
        client.ask("RSET")
        assert client.fetch("RETR 1") == LETTER
        client.ask("DELE 1")
        assert client.ask("QUIT") == (
            b"-ERR [SYS/TEMP] the maildrop was taken over by another session: nothing was removed"
        )
    assert store.committed == 0
    assert errors == []
    first, second = (each for each in caplog.records if each.levelno > logging.INFO)
    assert first.getMessage().endswith(": the lease was lost: node-2 has it")
    assert (second.levelno, second.exc_info) == (logging.WARNING, None)
    session = first.getMessage().split(":")[0]
    assert second.getMessage() == (
        f"{session} has lost its lease, so nothing was removed: the lease of node-1 has ended"
    )


@pytest.mark.usefixtures("quick_sweep")
def test_a_renewal_that_fails_is_told_and_tried_again() -> None:
    store = Leases()
    store.lease.fails = True
    errors: list[Exception] = []
    with new_server(store) as server, Client(server.port) as client:
        server.on("server_error")(lambda session, error: errors.append(error))
        client.log_in()
        until(lambda: errors)
        store.lease.fails = False
        until(lambda: store.lease.renewed >= 3)
    assert isinstance(errors[0], OSError)
