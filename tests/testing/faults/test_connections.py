"""Connections and TLS that fail, as a client sees them."""

from __future__ import annotations

import socket
import ssl
import warnings

import pytest

from restante.testing import Authority as KitAuthority
from restante.testing.faults import (
    BrokenStls,
    Close,
    Coalesce,
    ConnectionReset,
    CutHandshake,
    Delay,
    Drip,
    HalfClose,
    Hang,
    NoCloseNotify,
    OldTls,
    Refused,
    Reset,
    Split,
)
from restante.testing.wire import wiring_of
from tests.conftest import Authority
from tests.needs import only_cpython
from tests.testing.faults.harness import FIRST, eventually, failing

RSA_KEYS = {"AES256-GCM-SHA384", "AES128-GCM-SHA256", "AES256-CCM", "AES128-CCM"}
"""Some of their ciphers: those of most implementations come first."""

WHOLE = FIRST + b".\r\n"


def test_a_connection_is_refused_before_the_greeting() -> None:
    with failing(ConnectionReset(once=True)) as server:
        with pytest.raises(ConnectionResetError), server.connect() as client:
            client.rest()
        with server.connect() as client:
            assert client.line().startswith(b"+OK")
        assert server.fired == [ConnectionReset(once=True)]


def test_a_connection_is_refused_before_tls(authority: Authority) -> None:
    with failing(ConnectionReset(), tls="implicit", certificate=authority.certificate) as server:
        with pytest.raises(ConnectionResetError), server.connect() as client:
            client.rest()
        assert server.fired == [ConnectionReset()]


def test_a_server_accepts_and_says_nothing() -> None:
    with failing(Hang("greeting")) as server, server.connect() as client:
        assert client.quiet()
        client.send("USER joe")
        assert client.quiet()
        assert server.fired == [Hang("greeting")]


def test_a_hanging_connection_ends_with_its_client() -> None:
    with failing(Hang("STAT")) as server:
        with server.log_in() as client:
            client.send("STAT")
            assert client.quiet(0.05)
        eventually(lambda: server.server.sessions == 0)
        assert wiring_of(server.server).wires == set()


@pytest.mark.parametrize("when", ["greeting", "USER", "RETR"])
def test_reset_and_close_at_the_greeting_and_at_a_command(when: str) -> None:
    lines = ("USER joe", "PASS secret", "RETR 1")
    with failing(Reset(when)) as server:
        with pytest.raises(ConnectionError), server.connect() as client:
            client.converse(*lines)
        assert server.fired == [Reset(when)]
    with failing(Close(when)) as server, server.connect() as client:
        if when != "greeting":
            client.line()
            for line in lines[: 1 if when == "USER" else 3]:
                client.send(line)
        assert FIRST not in client.rest()
        assert server.fired == [Close(when)]


@pytest.mark.parametrize("octets", [0, 1, 10, len(FIRST)])
def test_a_body_ends_after_so_many_octets(octets: int) -> None:
    with failing(Close("RETR 1", after=octets)) as server, server.log_in() as client:
        client.send("RETR 1")
        assert client.line() == b"+OK 23 octets\r\n"
        assert client.rest() == WHOLE[:octets]
    with failing(Reset("RETR 1", after=octets)) as server, server.log_in() as client:
        client.send("RETR 1")
        with pytest.raises(ConnectionResetError):
            client.rest()


def test_a_body_ends_before_the_terminator() -> None:
    with failing(Close("RETR", after="body")) as server, server.log_in() as client:
        assert client.ask("RETR 1").startswith(b"+OK")
        assert client.rest() == FIRST


def test_a_body_that_is_too_short_for_the_fault_comes_whole_and_that_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fault = Reset("RETR", after=30, once=True)
    with failing(fault) as server, server.log_in() as client:
        assert b"".join(client.ask_lines("RETR 1")[1:]) == FIRST
        assert server.fired == []
        assert server.missed == ["the reply's body had 23 octets"]
        assert "RETR:reset-after=30,once did not happen" in caplog.text
        assert server.faults.unfired == [fault]
        client.send("RETR 2")  # the chance isn't lost
        with pytest.raises(ConnectionResetError):
            client.rest()
        assert server.fired == [fault]


def test_a_reply_of_one_line_is_cut_within_it() -> None:
    with failing(Close("STAT", after=5)) as server, server.log_in() as client:
        client.send("STAT")
        assert client.rest() == b"+OK 2"


def test_the_command_is_not_obeyed_unless_octets_of_its_reply_are_sent() -> None:
    with failing(Reset("QUIT", once=True), Reset("QUIT", after=0, nth=1)) as server:
        with server.log_in() as client:
            client.ask("DELE 1")
            client.send("QUIT")
            with pytest.raises(ConnectionResetError):
                client.rest()
        eventually(lambda: not server.server.sessions)
        assert len(server.mail.messages("joe")) == 2
        with server.log_in() as client:
            client.ask("DELE 1")
            client.send("QUIT")
            with pytest.raises(ConnectionResetError):
                client.rest()
        assert len(server.mail.messages("joe")) == 1


def test_half_closed_a_connection_still_takes_commands() -> None:
    with failing(HalfClose("RETR", after=5)) as server, server.log_in() as client:
        client.send("RETR 1")
        client.line()
        assert client.rest() == FIRST[:5]
        client.send("NOOP")
        eventually(lambda: b"NOOP" in server.sends.received_octets)


def test_half_closed_within_tls_it_still_takes_commands(authority: Authority) -> None:
    fault = HalfClose("RETR", after=5)
    with failing(fault, tls="implicit", certificate=authority.certificate) as server:
        address = ("127.0.0.1", server.server.port)
        plain = socket.create_connection(address, timeout=20)
        trust = authority.client_context()
        with trust.wrap_socket(plain, server_hostname="localhost") as client:
            client.sendall(b"USER joe\r\nPASS secret\r\nRETR 1\r\n")
            received = b""
            while block := client.recv(1000):  # an end without close_notify would raise
                received += block
            assert received.endswith(b"\r\n" + FIRST[:5])
            for _ in range(2):
                client.sendall(b"NOOP\r\n")
            eventually(lambda: server.sends.received_octets.count(b"NOOP") == 2)


def test_a_reply_is_late() -> None:
    with failing(Delay("STAT", seconds=0.5)) as server, server.log_in() as client:
        client.send("STAT")
        assert client.quiet(0.02)
        assert client.line() == b"+OK 2 57\r\n"


def test_a_reply_drips() -> None:
    with failing(Drip("RETR", rate=250)) as server, server.log_in() as client:
        assert b"".join(client.ask_lines("RETR 1")[1:]) == FIRST
        assert max(map(len, server.sends.pieces[3:])) == 5
        assert server.fired == [Drip("RETR", rate=250)]


def test_a_slow_reader_of_a_drip_holds_nothing_up() -> None:
    with failing(Drip("RETR 1", rate=100)) as server, server.log_in() as client:
        client.send("RETR 1")
        client.line()
        with server.connect() as other:
            assert other.line().startswith(b"+OK")


def test_replies_are_split_at_every_octet() -> None:
    with failing(Split("RETR"), Split("greeting")) as server, server.log_in() as client:
        before = len(server.sends.pieces)
        assert b"".join(client.ask_lines("RETR 1")[1:]) == FIRST
        pieces = server.sends.pieces[before:]
        assert {len(piece) for piece in pieces} == {1}
        assert b"".join(pieces) == b"+OK 23 octets\r\n" + WHOLE


def test_replies_leave_together() -> None:
    with failing(Coalesce("NOOP", seconds=0.5)) as server, server.log_in() as client:
        before = len(server.sends.pieces)
        client.send("NOOP", "STAT")
        assert [client.line(), client.line()] == [b"+OK\r\n", b"+OK 2 57\r\n"]
        assert server.sends.pieces[before:] == [b"+OK\r\n+OK 2 57\r\n"]


# TLS


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_handshake_is_cut(authority: Authority, how: str) -> None:
    fault = CutHandshake(how=how, once=True)  # type: ignore[arg-type]
    with failing(fault, tls="implicit", certificate=authority.certificate) as server:
        with server.connect() as client, pytest.raises((ConnectionError, ssl.SSLError)):
            client.encrypt(authority.client_context())
        with server.connect() as client:
            client.encrypt(authority.client_context())
            assert client.line().startswith(b"+OK")
        assert server.fired == [fault]


def test_the_handshake_of_stls_is_cut(authority: Authority) -> None:
    certificate = authority.certificate
    with failing(CutHandshake(), tls="starttls", certificate=certificate) as server:
        with server.connect() as client:
            client.line()
            assert client.ask("STLS").startswith(b"+OK")
            with pytest.raises((ConnectionError, ssl.SSLError)):
                client.encrypt(authority.client_context())
        eventually(lambda: not server.server.sessions)
        assert wiring_of(server.server).wires == set()


def test_stls_is_offered_and_refused(authority: Authority) -> None:
    fault = Refused("STLS", text="no TLS today")
    settings = {"tls": "starttls", "certificate": authority.certificate}
    with failing(fault, **settings) as server, server.connect() as client:
        client.line()
        assert b"STLS\r\n" in client.ask_lines("CAPA")
        assert client.ask("STLS") == b"-ERR no TLS today\r\n"
        assert client.ask("USER joe").startswith(b"+OK")


@only_cpython  # PyPy's ssl can't be made to speak what is so old
def test_old_versions_of_tls_are_all_there_is(authority: Authority) -> None:
    fault = OldTls(nth=1)
    with failing(fault, tls="implicit", certificate=authority.certificate) as server:
        with server.connect() as client, pytest.raises(ssl.SSLError, match=r"(?i)protocol|version"):
            client.encrypt(authority.client_context())
        with server.connect() as client:  # the next one has what the server has in truth
            client.encrypt(authority.client_context())
            assert client.line().startswith(b"+OK")
        assert server.fired == [fault]


@only_cpython  # PyPy's ssl can't be made to speak what is so old
def test_a_lenient_client_gets_the_old_version(authority: Authority) -> None:
    context = authority.client_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with failing(OldTls(), tls="implicit", certificate=authority.certificate) as server:
        plain = socket.create_connection(("127.0.0.1", server.server.port), timeout=20)
        with context.wrap_socket(plain, server_hostname="localhost") as client:
            assert client.version() == "TLSv1.1"
            assert client.recv(3) == b"+OK"


@only_cpython  # PyPy's ssl can't be made to speak what is so old
def test_keys_are_transported_by_rsa() -> None:
    with KitAuthority() as authority:
        certificate, fault = authority.issue("rsa"), OldTls("rsa-keys")
        with failing(fault, tls="implicit", certificate=certificate) as server:
            strict = authority.ssl_context()
            strict.set_ciphers("ECDHE")  # as Python has it, but not Debian 13's
            with server.connect() as client, pytest.raises(ssl.SSLError):
                client.encrypt(strict)
            lenient = authority.ssl_context()
            lenient.set_ciphers("ALL")
            plain = socket.create_connection(("127.0.0.1", server.server.port), timeout=20)
            with lenient.wrap_socket(plain, server_hostname="localhost") as inside:
                assert inside.version() == "TLSv1.2"
                assert (inside.cipher() or ("",))[0] in RSA_KEYS
                assert inside.recv(3) == b"+OK"
            assert server.fired == [fault, fault]


@only_cpython
def test_keys_that_are_no_rsa_keys_cannot_be_transported_so() -> None:
    with KitAuthority() as authority:
        certificate = authority.issue("valid")
        with failing(OldTls("rsa-keys"), tls="implicit", certificate=certificate) as server:
            with server.connect() as client:
                client.encrypt(authority.ssl_context())
                assert client.line().startswith(b"+OK")
            assert server.missed == ['the certificate has no RSA key: give certificate="rsa"']


def test_a_handshake_is_answered_in_the_clear(authority: Authority) -> None:
    certificate, fault = authority.certificate, CutHandshake("text")
    with failing(fault, tls="implicit", certificate=certificate) as server:
        with server.connect() as client:
            client.send("not a handshake")
            assert client.rest() == b"+OK no TLS here\r\n"
        with server.connect() as client, pytest.raises(ssl.SSLError, match=r"(?i)wrong.version"):
            client.encrypt(authority.client_context())
        assert server.fired == [fault, fault]


def test_a_server_greets_again_inside_tls(authority: Authority) -> None:
    fault = BrokenStls("greeting")
    with failing(fault, tls="starttls", certificate=authority.certificate) as server:
        with server.connect() as client:
            client.line()
            assert client.ask("STLS").startswith(b"+OK")
            client.encrypt(authority.client_context())
            assert client.line() == b"+OK ready\r\n"
            assert client.ask("USER joe") == b"+OK send PASS\r\n"
        assert server.fired == [fault]


def test_what_comes_behind_stls_is_obeyed_inside_tls(authority: Authority) -> None:
    fault = BrokenStls("injection")
    with failing(fault, tls="starttls", certificate=authority.certificate) as server:
        with server.connect() as client:
            client.line()
            client.send("stls", "USER joe", "PASS secret")
            assert client.line().startswith(b"+OK")
            client.encrypt(authority.client_context())
            assert client.line() == b"+OK send PASS\r\n"
            assert client.line() == b"+OK 2 messages\r\n"
        assert server.fired == [fault]


def test_an_stls_that_comes_alone_has_nothing_behind_it(authority: Authority) -> None:
    fault = BrokenStls("injection")
    with failing(fault, tls="starttls", certificate=authority.certificate) as server:
        with server.connect() as client:
            client.line()
            assert client.ask("STLS").startswith(b"+OK")
            client.encrypt(authority.client_context())
            assert client.ask("USER joe") == b"+OK send PASS\r\n"
        assert server.missed == ["nothing came in one segment with STLS"]


def test_tls_ends_without_a_word(authority: Authority) -> None:
    certificate = authority.certificate
    with failing(NoCloseNotify(), tls="implicit", certificate=certificate) as server:
        plain = socket.create_connection(("127.0.0.1", server.server.port), timeout=20)
        context = authority.client_context()
        with context.wrap_socket(
            plain, server_hostname="localhost", suppress_ragged_eofs=False
        ) as client:
            client.sendall(b"QUIT\r\n")
            received = b""
            while not received.endswith(b"bye\r\n"):
                received += client.recv(4096)
            with pytest.raises(ssl.SSLEOFError):
                client.recv(4096)
        assert server.fired == [NoCloseNotify()]


def test_octets_of_a_body_within_tls_and_then_a_reset(authority: Authority) -> None:
    certificate = authority.certificate
    fault = Reset("RETR", after=4)
    with failing(fault, tls="implicit", certificate=certificate) as server:
        plain = socket.create_connection(("127.0.0.1", server.server.port), timeout=20)
        with authority.client_context().wrap_socket(
            plain, server_hostname="localhost", suppress_ragged_eofs=False
        ) as client:
            client.sendall(b"USER joe\r\nPASS secret\r\nRETR 1\r\n")
            received = b""
            while not received.endswith(b"octets\r\nSubj"):
                received += client.recv(4096)
            # Some versions of Python have no other word for a reset within TLS.
            with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
                client.recv(4096)
        assert server.fired == [fault]
