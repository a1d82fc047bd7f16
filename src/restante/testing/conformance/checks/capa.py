"""CAPA, in both states, and whether what it says is true."""

from __future__ import annotations

import re
from collections.abc import Sequence

from restante.testing.conformance.check import add, check
from restante.testing.conformance.failures import NotApplicable, hold
from restante.testing.conformance.levels import BREAKS, LOGIN, MUST, SHOULD
from restante.testing.conformance.probe import Probe
from restante.testing.conformance.wire import Wire

# What may be said before the login only, or change with it: they are of no use any more.
_BEFORE_ONLY = {b"STLS", b"SASL", b"USER", b"APOP", b"AUTH", b"X-ORIGIN", b"IMPLEMENTATION"}


def _lines(wire: Wire) -> list[bytes]:
    """The raw lines of CAPA. Raises NotApplicable when there is no CAPA."""
    if not wire.command(b"CAPA").ok:
        raise NotApplicable("the server has no CAPA")
    return wire.raw_body()


def _argument(p: Probe, name: bytes) -> bytes:
    return (p.capabilities() or {})[name]


@check("capa.exists", SHOULD, "RFC 2449 §5")
def exists(p: Probe) -> None:
    """The server has CAPA."""
    p.connect().ok(b"CAPA")


@check("capa.crlf", MUST, "RFC 2449 §3")
def crlf(p: Probe) -> None:
    """All lines of CAPA end with CRLF, the terminator too."""
    lines = _lines(p.connect())
    hold(all(line.endswith(b"\r\n") for line in lines), f"the lines are {lines!r}")


@check("capa.line-length", MUST, "RFC 2449 §3")
def line_length(p: Probe) -> None:
    """A capability has at most 512 octets."""
    longest = max(map(len, _lines(p.connect())))
    hold(longest <= 512, f"a line has {longest} octets")


@check("capa.form", MUST, "RFC 2449 §3")
def form(p: Probe) -> None:
    """A capability is a tag of printable ASCII, then arguments after one space each."""
    for line in _lines(p.connect())[:-1]:
        hold(re.fullmatch(rb"[!-~]+( [!-~]+)*\r?\n", line), f"a line is {line!r}")


@check("capa.arguments-apart", MUST, "RFC 2449 §3")
def arguments_apart(p: Probe) -> None:
    """A space is between a capability and its arguments: "EXPIRENEVER" says nothing."""
    for line in _lines(p.connect())[:-1]:
        glued = re.match(rb"EXPIRE(NEVER|\d)|LOGIN-DELAY\d|SASL(PLAIN|LOGIN|CRAM)|UTF8USER", line)
        hold(glued is None, f"a line is {line!r}")


@check("capa.no-duplicates", SHOULD, "RFC 2449 §5")
def no_duplicates(p: Probe) -> None:
    """No capability is there twice."""
    tags = [line.split()[0].upper() for line in _lines(p.connect())[:-1] if line.split()]
    twice = sorted({tag for tag in tags if tags.count(tag) > 1})
    hold(not twice, f"twice: {b' '.join(twice).decode('latin-1')}")


@check("capa.same-again", SHOULD, "RFC 2449 §5")
def same_again(p: Probe) -> None:
    """Asked twice, CAPA says the same."""
    wire = p.connect()
    first, second = _lines(wire), _lines(wire)
    hold(first == second, f"first {first!r}, then {second!r}")


@check("capa.one-reply", MUST, "RFC 2449 §5")
def one_reply(p: Probe) -> None:
    """Nothing follows the terminator."""
    wire = p.connect()
    _lines(wire)
    after = wire.finish()
    hold(len(after) == 1, f"QUIT is followed by {len(after)} lines: {after[:3]!r}")


@check("capa.lower-case", MUST, "RFC 1939 §3")
def lower_case(p: Probe) -> None:
    """CAPA in lower case is understood, where CAPA is."""
    wire = p.connect()
    _lines(wire)
    wire.ok(b"capa")


@check("capa.after-login", MUST, "RFC 2449 §5", LOGIN)
def after_login(p: Probe) -> None:
    """CAPA is answered after the login, where it is before."""
    if p.capabilities() is None:
        raise NotApplicable("the server has no CAPA")
    p.login().ok(b"CAPA")


@check("capa.kept-after-login", MUST, "RFC 2449 §5", LOGIN)
def kept(p: Probe) -> None:
    """What is announced before the login still is after it, but for ways to log in."""
    before = p.capabilities()
    if before is None:
        raise NotApplicable("the server has no CAPA")
    after = p.capa(p.login())
    if after is None:
        raise NotApplicable("CAPA isn't answered after the login")
    lost = sorted(set(before) - set(after) - _BEFORE_ONLY)
    hold(not lost, f"no longer announced: {b' '.join(lost).decode('latin-1')}")


@check("capa.sasl-after-login", MUST, "RFC 5034 §3", LOGIN, "capa:SASL")
def sasl_after_login(p: Probe) -> None:
    """SASL is still announced after the login, though no AUTH is possible any more."""
    after = p.capa(p.login())
    if after is None:
        raise NotApplicable("CAPA isn't answered after the login")
    hold(b"SASL" in after, "SASL is announced before the login only")


@check("capa.known-before-login", BREAKS, "greenmail#65", LOGIN)
def known_before(p: Probe) -> None:
    """UIDL, TOP and PIPELINING are announced before the login if they are after it."""
    before = p.capabilities()
    if before is None:
        raise NotApplicable("the server has no CAPA")
    late = {b"UIDL", b"TOP", b"PIPELINING"} & set(p.capa(p.login()) or ()) - set(before)
    hold(not late, f"announced only after the login: {b' '.join(sorted(late)).decode()}")


def _announced(command: bytes, name: str, section: str, needs: Sequence[str]) -> None:
    def works(p: Probe) -> None:
        wire = p.login()
        if b"1" in command:
            p.need_message(wire)
        reply = wire.command(command)
        hold(reply.ok, f"{command.decode()} is answered {reply}")

    add(
        f"capa.{name.lower()}-is-true",
        MUST,
        f"RFC 2449 §{section}",
        f"{name} works where CAPA announces it.",
        works,
        (LOGIN, f"capa:{name}", *needs),
    )


_announced(b"UIDL", "UIDL", "6.8", ())
_announced(b"TOP 1 0", "TOP", "6.1", ("mail",))


@check("capa.user-is-true", MUST, "RFC 2449 §6.2", "capa:USER")
def user_is_true(p: Probe) -> None:
    """USER is taken where CAPA announces it."""
    p.connect().ok(b"USER joe")


@check("capa.user-is-said", SHOULD, "RFC 2449 §6.2", LOGIN)
def user_is_said(p: Probe) -> None:
    """CAPA announces USER where USER and PASS work."""
    if p.capabilities() is None:
        raise NotApplicable("the server has no CAPA")
    p.need_user_command()
    hold(b"USER" in (p.capabilities() or {}), "USER works and isn't announced")


@check("capa.uidl-is-said", BREAKS, "RFC 2449 §6.8", LOGIN)
def uidl_is_said(p: Probe) -> None:
    """CAPA announces UIDL where it works: without it clients don't leave mail on the server."""
    if p.capabilities() is None:
        raise NotApplicable("the server has no CAPA")
    if not p.login().command(b"UIDL").ok:
        raise NotApplicable("the server has no UIDL")
    hold(b"UIDL" in (p.capabilities() or {}), "UIDL works and isn't announced")


@check("capa.sasl-names", MUST, "RFC 4422 §3.1", "capa:SASL")
def sasl_names(p: Probe) -> None:
    """SASL names at least one mechanism, in capitals, digits, "-" and "_", 20 at most."""
    names = _argument(p, b"SASL").split()
    hold(names, "SASL names no mechanism")
    bad = [name for name in names if not re.fullmatch(rb"[A-Z0-9_-]{1,20}", name)]
    hold(not bad, f"no names of mechanisms: {bad!r}")


@check("capa.login-delay-form", MUST, "RFC 2449 §6.5", "capa:LOGIN-DELAY")
def login_delay_form(p: Probe) -> None:
    """LOGIN-DELAY has a number of seconds, and before the login perhaps USER."""
    said = _argument(p, b"LOGIN-DELAY")
    hold(re.fullmatch(rb"\d+( USER)?", said), f"it says {said!r}")


@check("capa.expire-form", MUST, "RFC 2449 §6.7", "capa:EXPIRE")
def expire_form(p: Probe) -> None:
    """EXPIRE has a number of days or NEVER, and before the login perhaps USER."""
    said = _argument(p, b"EXPIRE")
    hold(re.fullmatch(rb"(\d+|NEVER)( USER)?", said), f"it says {said!r}")


@check("capa.implementation-form", MUST, "RFC 2449 §6.9", "capa:IMPLEMENTATION")
def implementation_form(p: Probe) -> None:
    """IMPLEMENTATION has a text."""
    hold(_argument(p, b"IMPLEMENTATION"), "it says nothing")


@check("capa.codes-are-said", MUST, "RFC 2449 §8")
def codes_are_said(p: Probe) -> None:
    """Who uses response codes announces RESP-CODES or AUTH-RESP-CODE."""
    capabilities = p.capabilities()
    if capabilities is None:
        raise NotApplicable("the server has no CAPA")
    wire = p.connect()
    replies = [wire.command(b"PASS x", b"PASS ****"), wire.command(b"XCONFORMANCE")]
    if p.target.user is not None:
        replies.append(p.say_login(p.connect(), p.user, b"wrong-" + p.password))
    codes = {reply.code for reply in replies if reply.code}
    if not codes:
        raise NotApplicable("no response code came")
    hold(
        {b"RESP-CODES", b"AUTH-RESP-CODE"} & set(capabilities),
        f"[{sorted(codes)[0]}] came and isn't announced",
    )
