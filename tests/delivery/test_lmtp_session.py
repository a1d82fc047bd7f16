"""LMTP without a socket (RFC 2033): octets in, effects out."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from restante.accounts.contract import Account
from restante.delivery.deliver import Outcome
from restante.delivery.lmtp_session import (
    MAX_COMMAND,
    Abort,
    Begin,
    Close,
    Commit,
    Effect,
    Find,
    LmtpSession,
    Send,
    Write,
)
from restante.delivery.recipients import UNKNOWN
from restante.protocol.listing import UniqueId
from tests.delivery.helpers import as_data

HELLO = b"LHLO mta\r\nMAIL FROM:<a@b>\r\nRCPT TO:<joe>\r\n"


class Drive:
    """Performs effects at once and remembers what came of them."""

    def __init__(self, max_octets: int = 1000, failing: frozenset[str] = frozenset()) -> None:
        self.session = LmtpSession("mx", max_octets=max_octets, max_recipients=3)
        self.failing = failing
        self.sent = b""
        self.messages: list[bytes] = []
        self.begun: list[Begin] = []
        self.aborted = 0
        self.closed = False
        self._content = b""
        self.run()

    def feed(self, data: bytes) -> None:
        self.session.feed(data)
        self.run()

    def run(self) -> None:
        while (effect := self.session.next()) is not None:
            self.perform(effect)

    def perform(self, effect: Effect) -> None:
        match effect:
            case Send(data):
                self.sent += data
            case Find(address):
                known = address.startswith(("joe", "ann"))
                self.session.found(Account(address) if known else UNKNOWN)
            case Begin():
                self.begun.append(effect)
                self._content = b""
            case Write(block):
                self._content += block
            case Commit():
                self.messages.append(self._content)
                self.session.committed([self.outcome(r) for r in self.begun[-1].recipients])
            case Abort():
                self.aborted += 1
            case Close():
                self.closed = True

    def outcome(self, recipient: object) -> Outcome:
        address = recipient.address  # type: ignore[attr-defined]
        failed = address in self.failing
        unique_id = None if failed else UniqueId("u")
        return Outcome(recipient, unique_id, "abc" if failed else None)  # type: ignore[arg-type]

    @property
    def codes(self) -> list[str]:
        return [line[:9] for line in self.sent.decode().splitlines() if line[3:4] == " "]


def codes(data: bytes, **settings: object) -> list[str]:
    drive = Drive(**settings)  # type: ignore[arg-type]
    drive.feed(data)
    return drive.codes[1:]


def test_the_extensions() -> None:
    drive = Drive()
    drive.feed(b"LHLO mta\r\n")
    assert drive.sent.decode().splitlines() == [
        "220 mx LMTP",
        "250-mx",
        "250-PIPELINING",
        "250-ENHANCEDSTATUSCODES",
        "250-8BITMIME",
        "250-SMTPUTF8",
        "250 SIZE 1000",
    ]


def test_a_reply_for_each_recipient_after_data() -> None:
    """RFC 2033 §4.2"""
    drive = Drive(failing=frozenset({"ann"}))
    drive.feed(HELLO + b"RCPT TO:<nobody>\r\nRCPT TO:<ann>\r\nRCPT TO:<joe2>\r\nDATA\r\n")
    drive.feed(as_data(b"hello\r\n"))
    assert drive.codes[-8:-3] == [
        "250 2.1.5",
        "550 5.1.1",
        "250 2.1.5",
        "250 2.1.5",
        "354 end w",
    ]
    assert drive.codes[-3:] == ["250 2.0.0", "451 4.3.0", "250 2.0.0"]


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"x"]), max_size=10).map(b"".join),
    st.lists(st.integers(0, 200), max_size=6),
)
def test_a_pipelined_dialogue_is_the_same_at_every_split(body: bytes, cuts: list[int]) -> None:
    """F11"""
    wire = (
        HELLO
        + b"DATA\r\n"
        + as_data(body)
        + b"NOOP\r\n"
        + HELLO[10:]
        + b"QUIT\r\nMAIL FROM:<x>\r\n"
    )
    whole = Drive()
    whole.feed(wire)
    split = Drive()
    places = [0, *sorted(cut for cut in cuts if cut < len(wire)), len(wire)]
    for a, b in pairwise(places):
        split.feed(wire[a:b])
    octets = Drive()
    for n in range(len(wire)):
        octets.feed(wire[n : n + 1])
    expected = body if not body or body.endswith(b"\r\n") else body + b"\r\n"
    for drive in (whole, split, octets):
        assert drive.messages == [expected]
        assert drive.sent == whole.sent
        assert drive.closed
    assert whole.codes[-5:] == ["250 2.0.0", "250 2.0.0", "250 2.1.0", "250 2.1.5", "221 2.0.0"]


def test_smuggling_stays_inside_the_message() -> None:
    for end in (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r"):
        drive = Drive()
        drive.feed(HELLO + b"DATA\r\nhello" + end + HELLO[10:] + b"DATA\r\nevil\r\n.\r\n")
        assert len(drive.messages) == 1
        assert b"evil" in drive.messages[0]


def test_commands_in_the_wrong_order() -> None:
    assert codes(b"MAIL FROM:<a>\r\n") == ["503 5.5.1"]
    assert codes(b"LHLO x\r\nRCPT TO:<joe>\r\n")[-1] == "503 5.5.1"
    assert codes(b"LHLO x\r\nDATA\r\n")[-1] == "503 5.5.1"
    assert codes(b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<nobody>\r\nDATA\r\n")[-1] == "503 5.5.1"
    assert codes(HELLO + b"MAIL FROM:<c>\r\n")[-1] == "503 5.5.1"
    assert codes(HELLO + b"RSET\r\nDATA\r\n")[-2:] == ["250 2.0.0", "503 5.5.1"]
    assert codes(HELLO + b"LHLO x\r\nDATA\r\n")[-1] == "503 5.5.1"


def test_arguments() -> None:
    assert codes(b"HELO x\r\nEHLO x\r\nLHLO\r\nlhlo x\r\n")[:3] == [
        "500 5.5.1",
        "500 5.5.1",
        "501 5.5.4",
    ]
    hello = b"LHLO x\r\n"
    assert codes(hello + b"MAIL FROM:<a> SIZE=9 BODY=8bitmime SMTPUTF8\r\n")[-1] == "250 2.1.0"
    assert codes(hello + b"mail from: <>\n")[-1] == "250 2.1.0"
    assert codes(hello + b"MAIL <a>\r\n")[-1] == "501 5.5.4"
    assert codes(hello + b"MAIL FROM:<a\r\n")[-1] == "501 5.5.4"
    assert codes(hello + b"MAIL FROM:<a> AUTH=<>\r\n")[-1] == "555 5.5.4"
    assert codes(hello + b"MAIL FROM:<a> SIZE=1001\r\n")[-1] == "552 5.3.4"
    assert codes(HELLO + b"RCPT TO:<joe> NOTIFY=NEVER\r\n")[-1] == "555 5.5.4"
    assert codes(HELLO + b"RCPT joe\r\nDATA x\r\n")[-2:] == ["501 5.5.4", "501 5.5.4"]
    assert codes(HELLO + b"RCPT TO:<joe>\r\n" * 3)[-1] == "452 4.5.3"
    assert codes(b"VRFY joe\r\nNOOP x\r\nHELP\r\n\r\n") == [
        "252 2.5.0",
        "250 2.0.0",
        "500 5.5.1",
        "500 5.5.1",
    ]


def test_too_big_is_said_once_for_each_recipient_and_the_session_goes_on() -> None:
    drive = Drive(max_octets=10)
    drive.feed(HELLO + b"RCPT TO:<ann>\r\nDATA\r\n")
    for _ in range(1000):
        drive.feed(b"x" * 100 + b"\r\n")
    drive.feed(b".\r\n" + HELLO[10:] + b"DATA\r\n" + as_data(b"..345678\r\n"))
    assert drive.aborted == 1
    assert drive.codes.count("552 5.3.4") == 2
    assert drive.messages == [b"..345678\r\n"]


def test_the_limit_counts_octets_without_stuffing() -> None:
    """RFC 1870 §6"""
    drive = Drive(max_octets=10)
    drive.feed(HELLO + b"DATA\r\n....\r\n..\r\n.\r\n")
    assert drive.messages == [b"...\r\n.\r\n"]


def test_an_endless_line_is_cut_off() -> None:
    """L3"""
    drive = Drive()
    drive.feed(b"x" * (MAX_COMMAND - 1))
    assert not drive.closed
    drive.feed(b"x")
    assert drive.closed
    assert drive.codes[-1] == "500 5.5.6"
    drive.feed(b"\r\nNOOP\r\n" * 1000)
    assert drive.session.pending == 0


def test_a_browser_is_sent_away() -> None:
    drive = Drive()
    drive.feed(b"GET / HTTP/1.1\r\n" * 100)
    assert drive.closed
    assert drive.codes[-1] == "421 4.7.0"


WORDS = st.sampled_from(
    [
        b"LHLO x\r\n",
        b"MAIL FROM:<a@b>\r\n",
        b"RCPT TO:<joe>\r\n",
        b"RCPT TO:<\xff>\r\n",
        b"DATA\r\n",
        b".\r\n",
        b"\r\n.\r\n",
        b"\0",
        b"RSET\r\n",
        b"x" * 700,
    ]
)


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=40) | WORDS, max_size=40))
@example([HELLO, b"DATA\r\n", b"x" * 3000, b"\r\n.\r\n", b"\xff\xfe\r\n"])
def test_random_octets_never_raise_and_are_never_hoarded(blocks: list[bytes]) -> None:
    drive = Drive(max_octets=500)
    for block in blocks:
        drive.feed(block)
        assert drive.session.pending < MAX_COMMAND
    assert all(len(message) <= 500 for message in drive.messages)
    assert drive.sent.endswith(b"\r\n")
    assert drive.sent.isascii()
