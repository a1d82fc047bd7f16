"""STLS (RFC 2595 §4)."""

from __future__ import annotations

import contextlib
import ssl

from restante.testing.conformance.check import check
from restante.testing.conformance.failures import Failed, hold
from restante.testing.conformance.levels import BREAKS, LOGIN, MUST, SHOULD, STLS
from restante.testing.conformance.probe import Probe
from restante.testing.conformance.wire import Wire


def _lenient() -> ssl.SSLContext:
    """Whether the certificate is right is asked by the checks of TLS."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _inside(p: Probe) -> Wire:
    wire = p.clear()
    wire.ok(b"STLS")
    p.secure(wire, _lenient())
    return wire


@check("stls.works", MUST, "RFC 2595 §4", STLS)
def works(p: Probe) -> None:
    """STLS is answered +OK, a handshake follows, and commands are answered after it."""
    _inside(p).ok(b"QUIT")


@check("stls.no-second-greeting", MUST, "RFC 2595 §4", STLS)
def no_second_greeting(p: Probe) -> None:
    """After the handshake the server waits for a command and says nothing first."""
    lines = _inside(p).finish()
    hold(len(lines) == 1, f"QUIT is followed by {len(lines)} lines: {lines[:3]!r}")


@check("stls.capa-inside", MUST, "RFC 2595 §4", STLS)
def capa_inside(p: Probe) -> None:
    """CAPA is answered inside TLS: clients must ask again."""
    hold(p.capa(_inside(p)) is not None, "CAPA is refused inside TLS")


@check("stls.not-said-inside", SHOULD, "RFC 2595 §4", STLS)
def not_said_inside(p: Probe) -> None:
    """STLS isn't announced inside TLS."""
    hold(b"STLS" not in (p.capa(_inside(p)) or {}), "STLS is announced inside TLS")


@check("stls.twice", SHOULD, "RFC 2595 §4", STLS)
def twice(p: Probe) -> None:
    """STLS inside TLS is answered -ERR, and the session goes on."""
    wire = _inside(p)
    wire.err(b"STLS")
    wire.ok(b"QUIT")


@check("stls.argument", SHOULD, "RFC 2595 §4", STLS)
def argument(p: Probe) -> None:
    """STLS with an argument is answered -ERR: it has none."""
    p.clear().err(b"STLS now")


@check("stls.injection", MUST, "RFC 2595 §4", STLS)
def injection(p: Probe) -> None:
    """What comes in the clear behind STLS is never answered inside TLS (CVE-2011-0411)."""
    wire = p.clear()
    wire.send(b"STLS\r\nCAPA\r\n")
    try:
        hold(wire.status().ok, "STLS is refused")
        wire.start_tls(_lenient(), p.target.host)
        wire.send(b"QUIT\r\n")
        lines = wire.rest().splitlines()
    except (Failed, ssl.SSLError):
        return  # closed, or the handshake came to nothing: both are safe
    hold(len(lines) <= 1, f"{len(lines)} lines inside TLS: {lines[:4]!r}")


@check("stls.forgets-user", SHOULD, "RFC 1939 §7 PASS", STLS, LOGIN)
def forgets_user(p: Probe) -> None:
    """What was said before TLS is forgotten: PASS inside doesn't go with USER outside."""
    wire = p.clear()
    wire.command(b"USER " + p.user)
    wire.ok(b"STLS")
    p.secure(wire, _lenient())
    wire.err(b"PASS " + p.password, b"PASS ****")


@check("stls.login-inside", MUST, "RFC 2595 §4", STLS, LOGIN)
def login_inside(p: Probe) -> None:
    """A login works inside TLS."""
    reply = p.say_login(_inside(p), p.user, p.password)
    hold(reply.ok, f"the login is answered {reply}")


@check("stls.commands-before", MUST, "RFC 2449 §6.6", STLS, "capa:PIPELINING")
def commands_before(p: Probe) -> None:
    """A command in the same segment before STLS is answered before it, with PIPELINING."""
    wire = p.clear()
    wire.send(b"XCONFORMANCE\r\nSTLS\r\n")
    hold(wire.status().err, "an unknown command isn't refused")
    hold(wire.status().ok, "STLS behind it is refused")
    p.secure(wire, _lenient())
    wire.ok(b"QUIT")


@check("stls.failed-handshake", BREAKS, "inbucket#515", STLS)
def failed_handshake(p: Probe) -> None:
    """After a handshake that fails no command is obeyed in the clear; one -ERR may say why."""
    wire = p.clear()
    wire.ok(b"STLS")
    with contextlib.suppress(Failed):
        wire.send(b"QUIT\r\nQUIT\r\nQUIT\r\n")
    said = wire.rest()
    hold(b"+OK" not in said and said.count(b"-ERR") <= 1, f"in the clear comes {said[:160]!r}")


@check("stls.others-keep-it", BREAKS, "RFC 2595 §4", STLS)
def others_keep_it(p: Probe) -> None:
    """Once one client has used STLS, others are still offered it, and those in the clear go on."""
    other = p.clear()
    _inside(p)
    hold(other.command(b"XCONFORMANCE").err, "the other connection is disturbed")
    hold(b"STLS" in (p.capa(p.clear()) or {}), "STLS isn't announced any more")
