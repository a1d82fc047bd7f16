"""Wires: a server's connections are tapped, and what is sent on them is changed."""

from __future__ import annotations

import poplib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante import MemoryStore, Pop3Server
from restante.testing.shaping import Act, Close, HalfClose, Reset, Shaper
from restante.testing.wire import Control, Framer, Occasion, Tap, Wire, wiring_of

MESSAGE = b"Subject: hello\r\n\r\n.dots\r\nbye\r\n"


class Recorder(Tap):
    def __init__(self) -> None:
        self.client = b""
        self.server = b""
        self.sends: list[bytes] = []
        self.sessions: set[str] = set()
        self.ends = 0

    def received(self, wire: Wire, data: bytes) -> None:
        assert wire.session is not None
        self.sessions.add(wire.session.id)
        self.client += data

    def sent(self, wire: Wire, data: bytes) -> None:
        assert wire.session is not None
        self.sessions.add(wire.session.id)
        self.server += data
        self.sends.append(data)

    def ended(self, wire: Wire) -> None:
        self.ends += 1


@contextmanager
def running(control: Control | None = None) -> Iterator[tuple[int, Recorder]]:
    store = MemoryStore()
    store.add("joe", MESSAGE, "a1")
    server = Pop3Server(accounts={"joe": "secret"}, store=store, port=0, for_tests=True)
    recorder = Recorder()
    wiring = wiring_of(server)
    wiring.taps.append(recorder)
    wiring.control = control
    with server:
        yield server.port, recorder


def said(port: int, *lines: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"".join(line + b"\r\n" for line in lines))
        received = b""
        while block := client.recv(4096):
            received += block
        return received


def test_taps_see_the_octets_of_both_sides() -> None:
    with running() as (port, recorder):
        replies = said(port, b"USER joe", b"PASS secret", b"RETR 1", b"QUIT")
    assert recorder.client == b"USER joe\r\nPASS secret\r\nRETR 1\r\nQUIT\r\n"
    assert recorder.server == replies
    assert b"\r\n..dots\r\nbye\r\n.\r\n" in replies
    assert len(recorder.sessions) == 1
    assert recorder.ends == 1


def test_a_server_has_one_wiring_and_none_once_it_runs() -> None:
    server = Pop3Server(accounts={}, store=MemoryStore(), port=0)
    assert wiring_of(server) is wiring_of(server)
    other = Pop3Server(accounts={}, store=MemoryStore(), port=0)
    with other, pytest.raises(RuntimeError, match="before it is started"):
        wiring_of(other)


class OfRetr(Control):
    """Shapes the reply to RETR."""

    def __init__(self, shaper: Shaper) -> None:
        self._shaper = shaper

    def begun(self, occasion: Occasion) -> None:
        if occasion.verb == "RETR":
            occasion.shapers.append(self._shaper)


class Replaced(Shaper):
    def __init__(self, head: list[Act], end: list[Act]) -> None:
        self._head = head
        self._end = end

    def head(self, line: bytes) -> list[Act]:
        return self._head

    def body(self, block: bytes) -> list[Act]:
        return []

    def end(self, terminator: bytes) -> list[Act]:
        return self._end


def test_a_reply_is_replaced_and_the_others_stay() -> None:
    with running(OfRetr(Replaced([b"+OK new\r\n"], [b"body\r\n", b".\r\n"]))) as (port, _):
        replies = said(port, b"USER joe", b"PASS secret", b"NOOP", b"RETR 1", b"STAT", b"QUIT")
    assert replies.endswith(b"+OK\r\n+OK new\r\nbody\r\n.\r\n+OK 1 30\r\n+OK bye\r\n")


def test_a_reset_reaches_the_client_as_one() -> None:
    with running(OfRetr(Replaced([b"+OK\r\n", Reset()], []))) as (port, _):
        client = poplib.POP3("127.0.0.1", port, timeout=10)
        client.user("joe")
        client.pass_("secret")
        with pytest.raises(ConnectionResetError):
            client.retr(1)
        client.close()


@pytest.mark.parametrize("act", [Close(), HalfClose()])
def test_an_end_without_an_error(act: Act) -> None:
    with running(OfRetr(Replaced([b"+OK\r\n", act], []))) as (port, _):
        replies = said(port, b"USER joe", b"PASS secret", b"RETR 1")
    assert replies.endswith(b"messages\r\n+OK\r\n") or replies.endswith(b"message\r\n+OK\r\n")


@given(st.lists(st.integers(0, 90), max_size=8))
def test_replies_are_told_apart_however_their_octets_are_cut(cuts: list[int]) -> None:
    body = b"one\r\n..\r\n\r\n.\rx\r\ny\r\n"
    stream = b"+OK hi\r\n-ERR no\r\n+OK\r\n" + body + b".\r\n+OK\r\n.\r\n+OK bye\r\n"
    framer = Framer()
    for verb in ("greeting", "RETR", "RETR", "LIST", "QUIT"):
        framer.due.append(Occasion(None, verb, "", 1))  # type: ignore[arg-type]
    found: list[tuple[str, str, bytes]] = []
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for begin, end in pairwise(places):
        for occasion, part, octets in framer.feed(stream[begin:end]):
            assert occasion is not None
            if found and found[-1][:2] == (occasion.verb, part) == (occasion.verb, "body"):
                octets = found.pop()[2] + octets  # noqa: PLW2901
            found.append((occasion.verb, part, octets))
    assert found == [
        ("greeting", "head", b"+OK hi\r\n"),
        ("greeting", "end", b""),
        ("RETR", "head", b"-ERR no\r\n"),
        ("RETR", "end", b""),
        ("RETR", "head", b"+OK\r\n"),
        ("RETR", "body", body),
        ("RETR", "end", b".\r\n"),
        ("LIST", "head", b"+OK\r\n"),
        ("LIST", "end", b".\r\n"),
        ("QUIT", "head", b"+OK bye\r\n"),
        ("QUIT", "end", b""),
    ]
