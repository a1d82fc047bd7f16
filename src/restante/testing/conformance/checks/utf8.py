"""UTF8 and LANG (RFC 6856)."""

from __future__ import annotations

import re

from restante.testing.conformance.check import check
from restante.testing.conformance.failures import NotApplicable, hold
from restante.testing.conformance.levels import BREAKS, LOGIN, MUST, RAW, SHOULD, WRITE
from restante.testing.conformance.probe import Probe
from restante.testing.conformance.wire import Wire

UTF8, LANG = "capa:UTF8", "capa:LANG"


@check("utf8.works", SHOULD, "RFC 6856 §2.1", UTF8)
def works(p: Probe) -> None:
    """UTF8 before the login is answered +OK, where it is announced."""
    p.connect().ok(b"UTF8")


@check("utf8.then-login", MUST, "RFC 6856 §2.1", UTF8, LOGIN)
def then_login(p: Probe) -> None:
    """A login works after UTF8."""
    wire = p.connect()
    wire.ok(b"UTF8")
    reply = p.say_login(wire, p.user, p.password)
    hold(reply.ok, f"the login is answered {reply}")


@check("utf8.after-login", BREAKS, "RFC 6856 §2.1", UTF8, LOGIN)
def after_login(p: Probe) -> None:
    """UTF8 after the login isn't refused where it is announced: Outlook gives up then."""
    p.login().ok(b"UTF8")


@check("utf8.unknown-goes-on", BREAKS, "RFC 6856 §2.1", LOGIN)
def unknown_goes_on(p: Probe) -> None:
    """Whatever the answer to UTF8 is after the login, the session goes on: Outlook sends it."""
    wire = p.login()
    wire.command(b"UTF8")
    wire.ok(b"STAT")


@check("utf8.octets", SHOULD, "RFC 6856 §2.1", UTF8, LOGIN, WRITE, RAW)
def octets(p: Probe) -> None:
    """After UTF8 a message with UTF-8 in its header comes as it is, as many octets as LIST says."""
    wire, numbers = p.session("utf-8")
    wire.quit()
    wire = p.connect()
    wire.ok(b"UTF8")
    reply = p.say_login(wire, p.user, p.password)
    hold(reply.ok, f"the login is answered {reply}")
    number = numbers["utf-8"]
    listed = p.listing(wire).octets[number]
    message = wire.message(b"RETR %d" % number)
    hold("naïve".encode() in message, "the header isn't the one that was brought in")
    hold(len(message) == listed, f"LIST {listed}, RETR {len(message)}")


@check("utf8.not-asked-for", MUST, "RFC 6856 §2.1", UTF8, LOGIN, WRITE, RAW)
def not_asked_for(p: Probe) -> None:
    """Without UTF8 that message can be read as well, and LIST says its octets, or RETR refuses."""
    wire, numbers = p.session("utf-8")
    number = numbers["utf-8"]
    listed = p.listing(wire).octets[number]
    if not wire.command(b"RETR %d" % number).ok:
        return
    sent = len(wire.body())
    hold(sent == listed, f"LIST {listed}, RETR {sent}")


@check("utf8.header-in-ascii", MUST, "RFC 6856 §2.1", UTF8, LOGIN, WRITE, RAW)
def header_in_ascii(p: Probe) -> None:
    """Without UTF8 UTF-8 in addresses comes in ASCII, in a surrogate, or RETR refuses."""
    wire, numbers = p.session("utf-8")
    if not wire.command(b"RETR %d" % numbers["utf-8"]).ok:
        return
    header, _, _ = wire.body().partition(b"\r\n\r\n")
    other = re.search(rb"[^\r\n]*[\x80-\xff][^\r\n]*", header)
    hold(other is None, f"a line is {other[0] if other else b''!r}")


def _languages(wire: Wire) -> list[bytes]:
    """What LANG lists. Raises NotApplicable: it may be unable to (RFC 6856 §3.3)."""
    if not wire.command(b"LANG").ok:
        raise NotApplicable("LANG lists no languages")
    return [line.rstrip(b"\r\n") for line in wire.raw_body()[:-1]]


@check("lang.list", MUST, "RFC 6856 §3.2", LANG)
def lang_list(p: Probe) -> None:
    """LANG alone lists languages: a tag, perhaps a space and a description each."""
    lines = _languages(p.connect())
    hold(lines, "the list is empty")
    for line in lines:
        hold(re.match(rb"[A-Za-z0-9]{1,8}(-[A-Za-z0-9]{1,8})*( |$)", line), f"a line is {line!r}")


@check("lang.choose", MUST, "RFC 6856 §3.2", LANG)
def lang_choose(p: Probe) -> None:
    """Each language that is listed can be chosen."""
    wire = p.connect()
    for line in _languages(wire):
        wire.ok(b"LANG " + line.split()[0])


@check("lang.any", SHOULD, "RFC 6856 §3.2", LANG)
def lang_any(p: Probe) -> None:
    """LANG * is answered +OK."""
    p.connect().ok(b"LANG *")


@check("lang.unknown", MUST, "RFC 6856 §3.2", LANG)
def lang_unknown(p: Probe) -> None:
    """A language that nobody has is answered -ERR, and the session goes on."""
    wire = p.connect()
    wire.err(b"LANG x-conformance")
    wire.ok(b"QUIT")


@check("lang.after-login", MUST, "RFC 6856 §3.1", LANG, LOGIN)
def lang_after_login(p: Probe) -> None:
    """LANG is answered after the login, too."""
    wire = p.login()
    wire.ok(b"LANG *")


@check("lang.not-announced", SHOULD, "RFC 6856 §3.1")
def lang_not_announced(p: Probe) -> None:
    """LANG is announced where it works."""
    capabilities = p.capabilities()
    if capabilities is None:
        raise NotApplicable("the server has no CAPA")
    if not p.connect().command(b"LANG").ok:
        raise NotApplicable("the server has no LANG")
    hold(b"LANG" in capabilities, "LANG works and isn't announced")
