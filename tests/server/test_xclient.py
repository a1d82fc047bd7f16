"""What a mail proxy says by XCLIENT."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from restante import ClientSession, Listener, Pop3Server
from restante.guard.settings import GuardSettings
from restante.protocol.policy import TlsMode
from restante.server.listen.xclient import XClient, parse_xclient
from tests.conftest import Authority
from tests.server.kit import PASSWORD, Client, serving


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (
            "ADDR=192.0.2.7 PORT=51423 SESSION=8yQ5+bAbc/AAB TTL=4",
            XClient("192.0.2.7", 51423, "8yQ5+bAbc/AAB"),
        ),
        (
            "ADDR=2001:DB8::7 PORT=1 DESTADDR=2001:db8::1 DESTPORT=110 CLIENT-TRANSPORT=TLS",
            XClient("2001:db8::7", 1, tls=True),
        ),
        ("addr=IPV6:2001:db8::7 client-transport=insecure", XClient("2001:db8::7", tls=False)),
        ("ADDR=::ffff:192.0.2.7", XClient("192.0.2.7")),
        ("ADDR=[UNAVAILABLE] PORT=[TEMPUNAVAIL]", XClient()),
        ("ADDR= PORT=", XClient()),
        (" PORT=110  ", XClient(port=110)),
        ("LOGIN=root NAME=pop.example.org FORWARD=a2V5PXZhbHVl= X=", XClient()),
        ("SESSION=" + "x" * 129, XClient()),
        ("SESSION=sitz\u00fcng", XClient()),
    ],
)
def test_attributes(argument: str, expected: XClient) -> None:
    assert parse_xclient(argument) == expected


@pytest.mark.parametrize(
    "argument",
    [
        "",
        "  ",
        "ADDR",
        "=x",
        "ADDR=localhost",
        "ADDR=192.0.2.256",
        "ADDR=fe80::1%eth0",
        "ADDR=192.0.2.7 ADDR=192.0.2.8",
        "PORT=65536",
        "PORT=-1",
        "PORT=1_0",
        "PORT=\u0661",
        "ADDR=192.0.2.7 nonsense",
    ],
)
def test_malformed(argument: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_xclient(argument)
    assert caught.value.args[0] in {
        "attributes missing",
        "malformed attribute",
        "attribute given twice",
        "malformed address",
        "malformed port",
    }


words = st.builds(
    "{}={}".format,
    st.sampled_from(["ADDR", "PORT", "SESSION", "TTL", "CLIENT-TRANSPORT", "X"]),
    st.one_of(st.text(max_size=20), st.ip_addresses().map(str), st.integers(-1, 70000).map(str)),
)


@given(st.one_of(st.text(max_size=100), st.lists(words, max_size=5).map(" ".join)))
@example("ADDR=IPV6:")
def test_whatever_comes_is_understood_or_refused(argument: str) -> None:
    try:
        said = parse_xclient(argument)
    except ValueError:
        return
    assert said.port is None or 0 <= said.port <= 65535
    assert said.session is None or said.session.isascii()


# In a server

XCLIENT = "XCLIENT ADDR=192.0.2.7 PORT=51423 SESSION=x TTL=4"
READY = b"+OK [XCLIENT] Restante ready"


def xclient_server(
    *networks: str, tls: TlsMode = "none", **settings: Any
) -> contextlib.AbstractContextManager[Pop3Server]:
    proxies = networks or ("127.0.0.1",)
    listener = Listener(port=0, tls=tls, xclient=True, proxy_networks=proxies)
    return serving(listeners=[listener], **settings)


def test_a_session_is_the_client_s(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "restante")
    with xclient_server() as server, Client(server.port) as client:
        seen: list[tuple[str, int]] = []

        @server.command("XWHO")
        async def who(session: ClientSession, *_: object) -> None:
            seen.append((session.peer_ip, session.peer_port))

        assert client.greeting.startswith(READY)
        client.ask("XWHO")
        # As Dovecot sends it, with the next command behind it.
        client.send(f"{XCLIENT}\r\nXWHO\r\n")
        assert client.line().startswith(b"+OK")
        assert client.line().startswith(b"+OK")
        client.log_in()
        assert [seen[0][0], seen[1]] == ["127.0.0.1", ("192.0.2.7", 51423)]
    assert "login: account='joe' peer=192.0.2.7 tls=no" in caplog.text


def test_whoever_is_no_proxy_hears_that_there_is_no_such_command() -> None:
    with xclient_server("192.0.2.0/24") as server, Client(server.port) as client:
        assert b"XCLIENT" not in client.greeting
        assert client.ask(XCLIENT) == client.ask("XNONSENSE") == b"-ERR unknown command"
    with serving() as server, Client(server.port) as client:
        assert b"XCLIENT" not in client.greeting
        assert client.ask(XCLIENT) == b"-ERR unknown command"


@pytest.mark.parametrize(
    "before", [[XCLIENT], ["USER joe"], ["USER joe", f"PASS {PASSWORD}"], ["APOP joe x"]]
)
def test_it_is_heard_once_and_before_a_login(before: list[str]) -> None:
    with xclient_server() as server, Client(server.port) as client:
        for line in before:
            client.ask(line)
        assert client.ask(XCLIENT.replace(".7", ".8")) == b"-ERR unknown command"


def test_a_malformed_one_changes_nothing() -> None:
    with xclient_server() as server, Client(server.port) as client:
        assert client.ask("XCLIENT ADDR=nobody") == b"-ERR malformed address"
        assert client.ask("XCLIENT") == b"-ERR attributes missing"
        assert client.ask(XCLIENT).startswith(b"+OK")


def test_the_guard_sees_the_client() -> None:
    guard = GuardSettings(deny_networks=("192.0.2.0/24",))
    with xclient_server(guard=guard) as server, Client(server.port) as client:
        assert client.ask(XCLIENT).startswith(b"-ERR ")
        assert client.rest() == b""


def test_the_proxy_counts_as_its_clients_do() -> None:
    guard = GuardSettings(max_connections_per_address=1, shared_networks=())
    with (
        xclient_server(guard=guard) as server,
        Client(server.port) as one,
        Client(server.port) as two,
        Client(server.port) as three,
    ):
        assert one.ask(XCLIENT).startswith(b"+OK")
        assert two.ask(XCLIENT.replace(".7", ".8")).startswith(b"+OK")
        assert three.ask(XCLIENT).startswith(b"-ERR ")


def test_it_comes_inside_tls_or_there_is_none(authority: Authority) -> None:
    trusting = authority.client_context()
    with xclient_server(tls="starttls", certificate=authority.certificate) as server:
        with Client(server.port) as client:
            client.start_tls(trusting)
            assert client.ask(XCLIENT).startswith(b"+OK")
            client.log_in()
        with Client(server.port) as client:
            assert client.ask(XCLIENT).startswith(b"+OK")
            assert client.ask("STLS") == b"-ERR STLS is not available"


def test_tls_between_client_and_proxy(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "restante")
    with xclient_server() as server, Client(server.port) as client:
        assert client.ask(f"{XCLIENT} CLIENT-TRANSPORT=TLS").startswith(b"+OK")
        client.log_in()
    assert "peer=192.0.2.7 tls=yes" in caplog.text
