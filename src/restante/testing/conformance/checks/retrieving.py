"""RETR and TOP, on whatever mail there is."""

from __future__ import annotations

import re
from collections.abc import Iterator

from restante.testing.conformance.check import check
from restante.testing.conformance.failures import NotApplicable, hold
from restante.testing.conformance.levels import BREAKS, LOGIN, MAIL, MUST, SHOULD
from restante.testing.conformance.probe import Probe
from restante.testing.conformance.wire import Wire

TOP = "capa:TOP"

LOOKED_AT = 12
"""Messages that are read, the first ones of those that aren't too large."""

MAX_OCTETS = 1_000_000


def _numbers(p: Probe, wire: Wire) -> list[int]:
    p.need_message(wire)
    octets = p.listing(wire).octets
    small = [number for number, size in octets.items() if size <= MAX_OCTETS]
    if not small:
        raise NotApplicable(f"all messages have more than {MAX_OCTETS} octets")
    return small[:LOOKED_AT]


def _messages(p: Probe) -> Iterator[tuple[Wire, int, bytes]]:
    wire = p.login()
    for number in _numbers(p, wire):
        yield wire, number, wire.message(b"RETR %d" % number)


def _parts(message: bytes) -> tuple[bytes, list[bytes]]:
    """Header with the blank line, lines of the body. Raises NotApplicable."""
    at = 0 if message.startswith(b"\r\n") else message.find(b"\r\n\r\n") + 2
    if at == 1:
        raise NotApplicable("the message has no blank line")
    return message[: at + 2], message[at + 2 :].splitlines(keepends=True)


def _body_lines(body: bytes) -> list[bytes]:
    return [line + b"\r\n" for line in body.split(b"\r\n")[:-1]]


@check("retr.crlf", MUST, "RFC 1939 §11", LOGIN, MAIL)
def crlf(p: Probe) -> None:
    """Each line of a message ends with CRLF."""
    for _, number, message in _messages(p):
        bare = message.replace(b"\r\n", b"").find(b"\n")
        hold(bare < 0, f"message {number} has a bare LF")


@check("retr.octets", MUST, "RFC 1939 §11", LOGIN, MAIL)
def octets(p: Probe) -> None:
    """LIST says how many octets RETR sends, without stuffing and terminator."""
    wire = p.login()
    listed = p.listing(wire).octets
    for number in _numbers(p, wire):
        sent = len(wire.message(b"RETR %d" % number))
        hold(sent == listed[number], f"message {number}: LIST {listed[number]}, RETR {sent}")


@check("retr.octets-in-status", BREAKS, "aenetmail#150", LOGIN, MAIL)
def octets_in_status(p: Probe) -> None:
    """A number of octets in RETR's status line is the one that is sent."""
    wire = p.login()
    found = 0
    for number in _numbers(p, wire):
        reply = wire.ok(b"RETR %d" % number)
        sent = len(wire.body())
        said = re.match(rb"\+OK (\d+)( octets|$)", reply.line)
        if said:
            found += 1
            hold(int(said[1]) == sent, f"message {number}: {reply}, and {sent} octets are sent")
    if not found:
        raise NotApplicable("the status line says no octets")


@check("retr.same-again", MUST, "RFC 1939 §5 RETR", LOGIN, MAIL)
def same_again(p: Probe) -> None:
    """RETR twice sends the same twice."""
    for wire, number, message in _messages(p):
        hold(wire.message(b"RETR %d" % number) == message, f"message {number} differs")


@check("retr.trailing-blank", BREAKS, "RFC 1939 §3", LOGIN, MAIL)
def trailing_blank(p: Probe) -> None:
    """A blank behind the number does no harm."""
    wire = p.login()
    wire.message(b"RETR %d " % _numbers(p, wire)[0])


@check("retr.lower-case", MUST, "RFC 1939 §3", LOGIN, MAIL)
def lower_case(p: Probe) -> None:
    """Commands in lower case are understood after the login, too."""
    wire = p.login()
    wire.message(b"retr %d" % _numbers(p, wire)[0])


@check("retr.nothing-follows", MUST, "RFC 1939 §3", LOGIN, MAIL)
def nothing_follows(p: Probe) -> None:
    """Nothing follows the terminator of a message."""
    wire = p.login()
    wire.message(b"RETR %d" % _numbers(p, wire)[0])
    after = wire.finish()
    hold(len(after) == 1, f"QUIT is followed by {len(after)} lines: {after[:3]!r}")


@check("retr.header", BREAKS, "RFC 5322 §2.1", LOGIN, MAIL)
def header(p: Probe) -> None:
    """A message begins with a header, not with something of the server's storage."""
    for _, number, message in _messages(p):
        first = message.partition(b"\r\n")[0]
        hold(re.match(rb"[!-9;-~]+[ \t]*:", first), f"message {number} begins with {first!r}")


@check("top.zero", MUST, "RFC 1939 §7 TOP", LOGIN, MAIL, TOP)
def top_zero(p: Probe) -> None:
    """TOP with 0 lines is the header and the blank line."""
    for wire, number, message in _messages(p):
        top = wire.message(b"TOP %d 0" % number)
        hold(
            top == _parts(message)[0],
            f"message {number}: {len(top)} octets, the header has {len(_parts(message)[0])}",
        )


def _top_is(p: Probe, count: int) -> None:
    for wire, number, message in _messages(p):
        head, _ = _parts(message)
        wanted = head + b"".join(_body_lines(message[len(head) :])[:count])
        top = wire.message(b"TOP %d %d" % (number, count))
        hold(top == wanted, f"message {number}: {len(top)} octets, {len(wanted)} are due")


@check("top.one", MUST, "RFC 1939 §7 TOP", LOGIN, MAIL, TOP)
def top_one(p: Probe) -> None:
    """TOP with 1 is the header, the blank line and one line of the body."""
    _top_is(p, 1)


@check("top.three", MUST, "RFC 1939 §7 TOP", LOGIN, MAIL, TOP)
def top_three(p: Probe) -> None:
    """TOP with 3 has three lines of the body, blank ones counted."""
    _top_is(p, 3)


@check("top.all", MUST, "RFC 1939 §7 TOP", LOGIN, MAIL, TOP)
def top_all(p: Probe) -> None:
    """TOP with more lines than there are is the whole message: fetchmail reads so."""
    for wire, number, message in _messages(p):
        top = wire.message(b"TOP %d 99999999" % number)
        hold(top == message, f"message {number}: {len(top)} octets of {len(message)}")


@check("top.lines-negative", SHOULD, "RFC 1939 §7 TOP", LOGIN, MAIL, TOP)
def top_negative(p: Probe) -> None:
    """TOP with a negative number of lines is answered -ERR."""
    wire = p.login()
    wire.err(b"TOP %d -1" % _numbers(p, wire)[0])


@check("top.lines-word", MUST, "RFC 1939 §7 TOP", LOGIN, MAIL, TOP)
def top_word(p: Probe) -> None:
    """TOP with a word for the lines is answered -ERR."""
    wire = p.login()
    wire.err(b"TOP %d all" % _numbers(p, wire)[0])


@check("top.crlf", MUST, "RFC 1939 §3", LOGIN, MAIL, TOP)
def top_crlf(p: Probe) -> None:
    """All lines of TOP end with CRLF, the terminator too."""
    wire = p.login()
    wire.ok(b"TOP %d 5" % _numbers(p, wire)[0])
    lines = wire.raw_body()
    hold(all(line.endswith(b"\r\n") for line in lines), f"the last lines are {lines[-2:]!r}")


@check("top.leaves-list", MUST, "RFC 1939 §7 TOP", LOGIN, MAIL, TOP)
def top_leaves(p: Probe) -> None:
    """TOP changes nothing: LIST is the same after it."""
    wire = p.login()
    before = p.listing(wire).octets
    wire.message(b"TOP %d 1" % _numbers(p, wire)[0])
    hold(p.listing(wire).octets == before, "LIST has changed")
