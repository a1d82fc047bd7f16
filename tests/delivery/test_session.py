"""SMTP and LMTP without a socket: octets in, effects out."""

from __future__ import annotations

from base64 import b64encode
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from restante.accounts.contract import Account
from restante.delivery.deliver import Outcome
from restante.delivery.recipients import UNKNOWN
from restante.delivery.session import (
    COMMANDS,
    HTTP_VERBS,
    INVALID,
    MAIL_ONLY,
    MAX_COMMAND,
    Abort,
    Authenticate,
    Begin,
    Close,
    Commit,
    Effect,
    Find,
    MailSession,
    Offer,
    Protocol,
    Refused,
    Send,
    StartTls,
    Write,
)
from restante.protocol.listing import UniqueId
from tests.delivery.helpers import as_data

HELLO = b"LHLO mta\r\nMAIL FROM:<a@b>\r\nRCPT TO:<joe>\r\n"


class Drive:
    """Performs effects at once and remembers what came of them."""

    def __init__(
        self,
        max_octets: int = 1000,
        failing: frozenset[str] = frozenset(),
        protocol: Protocol = Protocol.LMTP,
        offer: Offer = MAIL_ONLY,
    ) -> None:
        self.session = MailSession(
            protocol, "mx", max_octets=max_octets, max_recipients=3, offer=offer
        )
        self.refused: list[Refused] = []
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
            case Find(address, _):
                known = address.startswith(("joe", "ann"))
                self.session.found(Account(address) if known else UNKNOWN)
            case Begin():
                self.begun.append(effect)
                self._content = b""
            case Write(block):
                self._content += block
            case Commit():
                self.messages.append(self._content)
                outcomes = [self.outcome(r) for r in self.begun[-1].recipients]
                self.session.committed(outcomes, "abc")
            case Abort():
                self.aborted += 1
            case StartTls(reply):
                self.sent += reply
                self.session.secured()
            case Authenticate(claim):
                right = (claim.name, claim.password) == ("joe", "pw")
                self.session.authenticated(None if right else INVALID)
            case Refused():
                self.refused.append(effect)
            case Close():
                self.closed = True

    def outcome(self, recipient: object) -> Outcome:
        address = recipient.address  # type: ignore[attr-defined]
        failed = address in self.failing
        return Outcome(recipient, None if failed else UniqueId("u"))  # type: ignore[arg-type]

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
    assert codes(hello + b"MAIL FROM:<a> BODY=BINARYMIME\r\n")[-1] == "555 5.5.4"
    assert codes(hello + b"MAIL FROM:<a> SIZE=1001\r\n")[-1] == "552 5.3.4"
    assert codes(HELLO + b"RCPT TO:<joe> SIZE=1\r\n")[-1] == "555 5.5.4"
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


BOTH = pytest.mark.parametrize("protocol", Protocol)
HTTP = b"""POST / HTTP/1.1\r
Host: 127.0.0.1:1026\r
Content-Length: 100\r
Content-Type: text/plain\r
\r
LHLO x\r
MAIL FROM:<a@evil.example>\r
RCPT TO:<joe>\r
DATA\r
Subject: from a web page\r
\r
hi\r
.\r
QUIT\r
"""


@BOTH
@pytest.mark.parametrize("verb", HTTP_VERBS)
def test_a_browser_delivers_nothing(protocol: Protocol, verb: str) -> None:
    """Whatever its first line is, and however it is cut."""
    for first in (f"{verb} / HTTP/1.1\r\n", f"{verb.lower()} /\n", f"{verb}\r\n", ""):
        request = first.encode() + HTTP.partition(b"\n")[2]
        for size in (1, len(request)):
            drive = Drive(protocol=protocol)
            for start in range(0, len(request), size):
                drive.feed(request[start : start + size])
            assert drive.closed
            assert drive.codes[1:] == ["421 4.7.0"]
            assert drive.messages == []
            assert [str(refused.reply)[:9] for refused in drive.refused] == ["421 4.7.0"]
            assert drive.session.pending == 0


@BOTH
def test_too_many_unknown_commands_end_the_session(protocol: Protocol) -> None:
    drive = Drive(protocol=protocol)
    drive.feed(b"WHAT\r\n" * 100)
    assert drive.closed
    assert drive.codes[-1] == "421 4.7.0"


@BOTH
@pytest.mark.parametrize(
    ("command", "accepted"),
    [
        ("MAIL FROM:<a@b> AUTH=<>", True),
        ("MAIL FROM:<a@b> AUTH=joe+40example.org", True),
        ("MAIL FROM:<a@b> RET=HDRS ENVID=QQ314159", True),
        ("mail from:<a@b> ret=full size=3 body=8bitmime smtputf8 auth=<>", True),
        ("MAIL FROM:<a@b> AUTH=", False),
        ("MAIL FROM:<a@b> NOTIFY=NEVER", False),
        ("MAIL FROM:<a@b> FUTURERELEASE=3", False),
        ("RCPT TO:<joe> NOTIFY=NEVER", True),
        ("RCPT TO:<joe> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;joe@example.org", True),
        ("RCPT TO:<joe> orcpt=utf-8;jürgen@example.org", True),
        ("RCPT TO:<joe> RET=FULL", False),
        ("RCPT TO:<joe> NOTIFY=", False),
    ],
)
def test_parameters_that_mean_nothing_here_are_ignored(
    protocol: Protocol, command: str, accepted: bool
) -> None:
    """RFC 4954 §5 and RFC 3461, announced or not."""
    drive = Drive(protocol=protocol)
    drive.feed(b"LHLO x\r\n" if protocol is Protocol.LMTP else b"EHLO x\r\n")
    if command.startswith("RCPT"):
        drive.feed(b"MAIL FROM:<>\r\n")
    drive.feed(command.encode() + b"\r\n")
    assert drive.codes[-1][:4] == ("250 " if accepted else "555 ")


def test_every_command_stands_once_in_the_table() -> None:
    rows = [(each, command.verb) for command in COMMANDS for each in command.protocols]
    assert len(rows) == len(set(rows))


def smtp(data: bytes, **settings: object) -> list[str]:
    return codes(data, protocol=Protocol.SMTP, **settings)


HELLO_SMTP = b"EHLO" + HELLO[4:]


def test_one_reply_for_all_in_smtp() -> None:
    body = b"RCPT TO:<ann>\r\nDATA\r\nx\r\n.\r\n"
    assert smtp(HELLO_SMTP + body)[-1] == "250 2.0.0"
    failing = frozenset({"ann"})
    assert smtp(HELLO_SMTP + body, failing=failing)[-2:] == ["354 end w", "451 4.3.0"]
    drive = Drive(protocol=Protocol.SMTP, max_octets=3)
    drive.feed(HELLO_SMTP + b"RCPT TO:<ann>\r\nDATA\r\nxxxx\r\n.\r\n")
    assert drive.codes[-2:] == ["354 end w", "552 5.3.4"]
    assert [(each.sender, each.protocol) for each in drive.refused] == [("a@b", "ESMTP")]


def test_lmtps_greeting_is_not_smtps() -> None:
    assert smtp(b"LHLO x\r\nEHLO\r\nEHLO x\r\n") == ["500 5.5.1", "501 5.5.4", "250 HELP"]
    assert smtp(b"HELO x\r\nMAIL FROM:<a>\r\n") == ["250 mx", "250 2.1.0"]


@pytest.mark.parametrize(
    ("greeting", "name"),
    [
        (b"HELO x\r\nMAIL FROM:<a>\r\n", "SMTP"),
        (b"EHLO x\r\nMAIL FROM:<a>\r\n", "ESMTP"),
        (b"EHLO x\r\nMAIL FROM:<a> SMTPUTF8\r\n", "UTF8SMTP"),
        (b"STARTTLS\r\nEHLO x\r\nMAIL FROM:<a>\r\n", "ESMTPS"),
        (b"STARTTLS\r\nEHLO x\r\nAUTH PLAIN AGpvZQBwdw==\r\nMAIL FROM:<a>\r\n", "ESMTPSA"),
        (
            b"STARTTLS\r\nEHLO x\r\nAUTH PLAIN AGpvZQBwdw==\r\nMAIL FROM:<a> SMTPUTF8\r\n",
            "UTF8SMTPSA",
        ),
    ],
)
def test_the_protocols_name_in_trace_lines(greeting: bytes, name: str) -> None:
    """RFC 3848, RFC 6531 §4.3"""
    drive = Drive(protocol=Protocol.SMTP, offer=Offer(tls=True, auth=True))
    for line in greeting.splitlines(keepends=True):
        drive.feed(line)
    drive.feed(b"RCPT TO:<joe>\r\nDATA\r\n.\r\n")
    assert drive.begun[0].protocol == name


def test_before_tls_that_is_required() -> None:
    """RFC 3207 §4"""
    offer = Offer(tls=True, tls_required=True)
    dialogue = b"EHLO x\r\nNOOP\r\nMAIL FROM:<a>\r\nVRFY a\r\nRSET\r\nHELP\r\n"
    assert smtp(dialogue, offer=offer)[1:] == ["250 2.0.0"] + ["530 5.7.0"] * 4
    drive = Drive(protocol=Protocol.SMTP, offer=offer)
    for line in (b"STARTTLS now\r\n", b"STARTTLS\r\n", b"MAIL FROM:<a>\r\n", b"STARTTLS\r\n"):
        drive.feed(line)
    assert drive.codes[1:] == ["501 5.5.4", "220 2.0.0", "503 5.5.1", "503 5.5.1"]


@pytest.mark.parametrize("behind", [b"\n", b"N", b"EHLO x\r\n", b"\x16\x03\x01"])
def test_what_stands_behind_starttls_ends_the_session(behind: bytes) -> None:
    drive = Drive(protocol=Protocol.SMTP, offer=Offer(tls=True))
    drive.feed(b"STARTTLS\r\n" + behind)
    assert drive.closed
    assert drive.codes[1:] == ["503 5.5.1"]


AUTH = Offer(auth=True, auth_without_tls=True)


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (b"AUTH PLAIN AGpvZQBwdw==\r\n", "235 2.7.0"),
        (b"auth plain\r\nAGpvZQBwdw==\r\n", "235 2.7.0"),
        (b"AUTH LOGIN am9l\r\ncHc=\r\n", "235 2.7.0"),
        (b"AUTH LOGIN\r\nam9l\r\ncHc=\r\n", "235 2.7.0"),
        (b"AUTH LOGIN =\r\n", "501 5.5.2"),
        (b"AUTH PLAIN\r\n*\r\n", "501 5.7.0"),
        (b"AUTH PLAIN\r\n!\r\n", "501 5.5.2"),
        (b"AUTH PLAIN\r\n\xff\r\n", "501 5.5.2"),
        (b"AUTH PLAIN \xff\r\n", "501 5.5.2"),
        (b"AUTH PLAIN\r\nPOST\r\n", "501 5.5.2"),
        (b"AUTH\r\n", "504 5.5.4"),
        (b"MAIL FROM:<a>\r\nAUTH PLAIN AGpvZQBwdw==\r\n", "503 5.5.1"),
        (b"AUTH PLAIN AGpvZQBwdw==\r\nAUTH PLAIN AGpvZQBwdw==\r\n", "503 5.5.1"),
    ],
)
def test_auth_and_the_session_goes_on(lines: bytes, code: str) -> None:
    """RFC 4954"""
    assert smtp(b"EHLO x\r\n" + lines + b"NOOP\r\n", offer=AUTH)[-2:] == [code, "250 2.0.0"]


def test_auth_only_where_it_is_offered() -> None:
    line = b"AUTH PLAIN " + b64encode(b"\0joe\0pw") + b"\r\n"
    assert smtp(b"EHLO x\r\n" + line, offer=Offer(tls=True, auth=True))[-1] == "538 5.7.1"
    assert smtp(b"HELO x\r\n" + line, offer=AUTH)[-1] == "503 5.5.1"
    assert smtp(line, offer=AUTH)[-1] == "503 5.5.1"
    assert codes(b"LHLO x\r\n" + line)[-1] == "500 5.5.1"


WORDS = st.sampled_from(
    [
        b"LHLO x\r\n",
        b"EHLO x\r\n",
        b"STARTTLS\r\n",
        b"AUTH PLAIN\r\n",
        b"AUTH LOGIN am9l\r\n",
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
@given(st.lists(st.binary(max_size=40) | WORDS, max_size=40), st.sampled_from(Protocol))
@example([HELLO, b"DATA\r\n", b"x" * 3000, b"\r\n.\r\n", b"\xff\xfe\r\n"], Protocol.LMTP)
def test_random_octets_never_raise_and_are_never_hoarded(
    blocks: list[bytes], protocol: Protocol
) -> None:
    drive = Drive(max_octets=500, protocol=protocol, offer=Offer(tls=True, auth=True))
    for block in blocks:
        drive.feed(block)
        assert drive.session.pending < MAX_COMMAND
    assert all(len(message) <= 500 for message in drive.messages)
    assert drive.sent.endswith(b"\r\n")
    assert drive.sent.isascii()
