"""Messages of a corpus come out as they went in."""

from __future__ import annotations

import re

from restante.testing.conformance.check import add, check
from restante.testing.conformance.failures import hold
from restante.testing.conformance.levels import BREAKS, LOGIN, MUST, RAW, WRITE, Level
from restante.testing.conformance.probe import Probe
from restante.testing.conformance.seed import CORPUS
from restante.testing.conformance.wire import shown

WORDS: dict[str, tuple[Level, str, str]] = {
    "plain": (MUST, "RFC 1939 §5 RETR", "A plain message comes out as it went in."),
    "dots": (MUST, "RFC 1939 §3", "Lines that begin with a dot are stuffed in RETR."),
    "dot-last": (MUST, "RFC 1939 §3", 'A last line "." is stuffed in RETR.'),
    "long-line": (MUST, "RFC 5322 §2.1.1", "Lines of 998 octets aren't folded or cut."),
    "octets": (BREAKS, "RFC 6152 §3", "Octets beyond ASCII and control characters stay."),
    "blank-lines": (MUST, "RFC 1939 §11", "Blank lines at both ends of a body stay."),
    "header-only": (MUST, "RFC 5322 §2.1", "A message without a body has none."),
    "large": (MUST, "RFC 1939 §3", "Dots at the start of a line are stuffed wherever blocks meet."),
    "no-final-newline": (
        MUST, "RFC 1939 §3", "A message without a line end at its end gets one, once.",
    ),
    "very-long-line": (BREAKS, "RFC 5322 §2.1.1", "A line of 70,000 octets isn't folded or cut."),
}  # fmt: skip


def _body(message: bytes) -> bytes:
    return message.partition(b"\r\n\r\n")[2]


def _same(wanted: bytes, got: bytes, what: str) -> None:
    if wanted == got:
        return
    pairs = zip(wanted, got, strict=False)
    at = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(wanted), len(got)))
    hold(
        False,
        f"{what} differs at octet {at} of the body: {shown(got[at : at + 20])} in place of "
        f"{shown(wanted[at : at + 20])}; {len(got)} octets, {len(wanted)} are due",
    )


def _wanted(name: str) -> bytes:
    body = CORPUS[name].body
    return body if body.endswith(b"\r\n") or not body else body + b"\r\n"


def _comes_out(name: str) -> None:
    level, source, title = WORDS[name]

    def run(p: Probe) -> None:
        wire, numbers = p.session(name)
        _same(_wanted(name), _body(wire.message(b"RETR %d" % numbers[name])), "RETR")

    needs = (RAW,) if CORPUS[name].raw else ()
    add(f"message.{name}", level, source, title, run, (LOGIN, WRITE, *needs))


for _name in WORDS:
    _comes_out(_name)


def _top_comes_out(name: str, title: str) -> None:
    def run(p: Probe) -> None:
        wire, numbers = p.session(name)
        top = wire.message(b"TOP %d 99999999" % numbers[name])
        _same(_wanted(name), _body(top), "TOP")

    add(
        f"message.{name}-by-top",
        MUST,
        "RFC 1939 §7 TOP, hmailserver#126" if name == "dots" else "RFC 1939 §7 TOP",
        title,
        run,
        (LOGIN, WRITE, "capa:TOP"),
    )


_top_comes_out("dots", "Lines that begin with a dot are stuffed in TOP.")
_top_comes_out("large", "TOP stuffs dots wherever blocks meet.")
_top_comes_out("blank-lines", "Blank lines at both ends of a body stay in TOP.")


@check("message.cut-by-top", MUST, "RFC 1939 §7 TOP", LOGIN, WRITE, "capa:TOP")
def cut_by_top(p: Probe) -> None:
    """TOP with 2 of a body that begins with blank lines has these two lines."""
    wire, numbers = p.session("blank-lines")
    _same(b"\r\n\r\n", _body(wire.message(b"TOP %d 2" % numbers["blank-lines"])), "TOP")


@check("message.no-doubled-cr", BREAKS, "twisted#2071", LOGIN, WRITE)
def no_doubled_cr(p: Probe) -> None:
    """No line ends with CR CR LF that didn't before."""
    wire, numbers = p.session("plain", "dots")
    for name in ("plain", "dots"):
        message = wire.message(b"RETR %d" % numbers[name])
        hold(b"\r\r\n" not in message, f"{name} has CR CR LF")


@check("message.header-stays", BREAKS, "RFC 1939 §5 RETR", LOGIN, WRITE)
def header_stays(p: Probe) -> None:
    """The fields of a header come out as they went in."""
    wire, numbers = p.session("plain")
    message = wire.message(b"RETR %d" % numbers["plain"])
    for field in re.findall(rb"^[^:\r\n]+: [^\r\n]*", CORPUS["plain"].octets, re.M)[:6]:
        hold(field + b"\r\n" in message, f"{shown(field)} is missing")


@check("message.octets-in-list", MUST, "RFC 1939 §11", LOGIN, WRITE)
def octets_in_list(p: Probe) -> None:
    """LIST counts neither stuffing nor terminator, and line ends as two."""
    wire, numbers = p.session()
    listed = p.listing(wire).octets
    for name, number in numbers.items():
        sent = len(wire.message(b"RETR %d" % number))
        hold(sent == listed[number], f"{name}: LIST {listed[number]}, RETR {sent}")
