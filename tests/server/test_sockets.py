"""Listening on sockets that were made elsewhere, and by several processes."""

from __future__ import annotations

import poplib
import socket
import sys
from contextlib import ExitStack

import pytest

from restante import Listener, MemoryStore, Pop3Server
from restante.server.listen.sockets import bind_shared
from tests.conftest import Authority


def listening(port: int = 0) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))


@pytest.mark.parametrize("count", [1, 2])
def test_a_listener_takes_sockets_that_listen_already(count: int) -> None:
    sockets = [listening() for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    listener = Listener(sockets=sockets)
    server = Pop3Server(accounts={"joe": "secret"}, store=MemoryStore(), listeners=[listener])
    with server:
        assert server.port == ports[0]
        for port in ports:
            client = poplib.POP3("127.0.0.1", port, timeout=20)
            client.user("joe")
            client.pass_("secret")
            client.quit()
    assert all(each.fileno() == -1 for each in sockets)


def test_tls_begins_at_once_on_a_given_socket_too(authority: Authority) -> None:
    given = listening()
    port = given.getsockname()[1]
    server = Pop3Server(
        accounts={"joe": "secret"},
        store=MemoryStore(),
        listeners=[Listener(tls="implicit", sockets=[given])],
        certificate=authority.certificate,
    )
    with server:
        client = poplib.POP3_SSL("localhost", port, timeout=20, context=authority.client_context())
        client.user("joe")
        client.pass_("secret")
        client.quit()


def test_each_share_has_sockets_at_the_same_addresses() -> None:
    with ExitStack() as stack:
        shares = bind_shared("127.0.0.1", 0, 5, 3)
        for sockets in shares:
            for each in sockets:
                stack.enter_context(each)
        (address,) = {each.getsockname() for sockets in shares for each in sockets}
        assert address[1] > 0
        different = len({each.fileno() for sockets in shares for each in sockets})
        assert different == (3 if sys.platform == "linux" else 1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux spreads connections")
def test_connections_are_spread_over_all_shares() -> None:
    with ExitStack() as stack:
        shares = bind_shared("127.0.0.1", 0, 100, 2)
        for (each,) in shares:
            stack.enter_context(each)
        address = shares[0][0].getsockname()
        for _ in range(64):
            stack.enter_context(socket.create_connection(address, 20))
        for (each,) in shares:
            accepted, _ = each.accept()
            stack.enter_context(accepted)


@pytest.mark.parametrize("shared", [False, True])
def test_an_address_at_which_somebody_listens_cannot_be_shared(shared: bool) -> None:
    with socket.socket() as taken:
        if shared and hasattr(socket, "SO_REUSEPORT"):
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            bind_shared("127.0.0.1", taken.getsockname()[1], 5, 2)


def test_a_name_with_several_addresses_has_a_socket_for_each() -> None:
    with ExitStack() as stack:
        shares = bind_shared("", 0, 5, 2)
        for sockets in shares:
            for each in sockets:
                stack.enter_context(each)
        assert len(shares[0]) == len(shares[1]) >= 1
        assert [s.getsockname() for s in shares[0]] == [s.getsockname() for s in shares[1]]
