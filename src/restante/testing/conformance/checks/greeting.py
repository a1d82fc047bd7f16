"""What the server says first."""

from __future__ import annotations

import re

from restante.testing.conformance.check import check
from restante.testing.conformance.failures import NotApplicable, hold
from restante.testing.conformance.levels import BREAKS, MUST, SHOULD
from restante.testing.conformance.probe import Probe

_STAMP = re.compile(rb"<[^<>\s]+@[^<>\s]+>")
_USUAL = re.compile(rb"<\d+(?:\.\d+)*@[A-Za-z0-9.-]+>")


def timestamp(greeting: bytes) -> bytes:
    """The timestamp of APOP. Raises NotApplicable when there is none."""
    found = _STAMP.search(greeting)
    if found is None:
        raise NotApplicable("the greeting has no timestamp")
    return found[0]


@check("greeting.positive", MUST, "RFC 1939 §4")
def positive(p: Probe) -> None:
    """The greeting is a positive status line."""
    greeting = p.ungreeted().line()
    hold(greeting.startswith(b"+OK"), f"the greeting is {greeting!r}")


@check("greeting.crlf", MUST, "RFC 1939 §3")
def crlf(p: Probe) -> None:
    """The greeting ends with CRLF."""
    greeting = p.ungreeted().line()
    hold(greeting.endswith(b"\r\n"), f"it ends with {greeting[-2:]!r}")


@check("greeting.length", MUST, "RFC 2449 §4")
def length(p: Probe) -> None:
    """The greeting has at most 512 octets."""
    greeting = p.ungreeted().line()
    hold(len(greeting) <= 512, f"it has {len(greeting)} octets")


@check("greeting.one-line", MUST, "RFC 1939 §4")
def one_line(p: Probe) -> None:
    """The greeting is one line."""
    wire = p.connect() if p.target.tls == "stls" else p.ungreeted()
    if p.target.tls != "stls":
        wire.line()
    lines = wire.finish()
    hold(len(lines) == 1, f"QUIT at once is followed by {len(lines)} lines: {lines[:4]!r}")


@check("greeting.ascii", SHOULD, "RFC 6856 §2.1")
def ascii_(p: Probe) -> None:
    """The greeting is printable ASCII, as no client has asked for UTF-8 yet."""
    greeting = p.ungreeted().line().rstrip(b"\r\n")
    hold(re.fullmatch(rb"[ -~]*", greeting), f"the greeting is {greeting!r}")


@check("greeting.timestamp-form", BREAKS, "RFC 1939 §7 APOP")
def timestamp_form(p: Probe) -> None:
    """A timestamp is digits and dots, "@" and a host name: some clients take no other."""
    stamp = timestamp(p.ungreeted().line())
    hold(_USUAL.fullmatch(stamp), f"the timestamp is {stamp!r}")


@check("greeting.timestamp-differs", MUST, "RFC 1939 §7 APOP")
def timestamp_differs(p: Probe) -> None:
    """Each greeting has another timestamp."""
    stamps = [timestamp(p.ungreeted().line()) for _ in range(3)]
    hold(len(set(stamps)) == 3, f"the timestamps are {stamps!r}")


@check("greeting.many", BREAKS, "docker-mailserver#1165")
def many(p: Probe) -> None:
    """Ten connections from one address are greeted: that many come from behind a NAT."""
    wires = [p.ungreeted() for _ in range(10)]
    greetings = [wire.line() for wire in wires]
    refused = [each for each in greetings if not each.startswith(b"+OK")]
    hold(not refused, f"{len(refused)} of 10 are refused: {refused[:1]!r}")
