"""Several commands in one write: replies in order, none lost, nothing after QUIT."""

from __future__ import annotations

from restante.testing.conformance.check import check
from restante.testing.conformance.failures import hold
from restante.testing.conformance.levels import BREAKS, LOGIN, MAIL, MUST, SHOULD
from restante.testing.conformance.probe import Probe
from restante.testing.conformance.wire import Wire

PIPELINING = "capa:PIPELINING"


def _batch(wire: Wire) -> None:
    wire.send(b"STAT\r\nLIST\r\nNOOP\r\nXCONFORMANCE\r\nSTAT\r\n")
    first = wire.status()
    hold(first.ok, f"STAT is answered {first}")
    hold(wire.status().ok, "LIST is refused")
    wire.raw_body()
    noop = wire.status()
    hold(noop.ok, f"NOOP is answered {noop}")
    hold(wire.status().err, "an unknown command is answered +OK")
    last = wire.status()
    hold(last.raw == first.raw, f"STAT is answered {first}, then {last}")


@check("pipeline.announced", MUST, "RFC 2449 §6.6", LOGIN, PIPELINING)
def announced(p: Probe) -> None:
    """Where PIPELINING is announced, commands in one write are answered in their order."""
    _batch(p.login())


@check("pipeline.anyway", BREAKS, "RFC 1939 §3", LOGIN)
def anyway(p: Probe) -> None:
    """Commands in one write are answered in order, announced or not: some clients don't ask."""
    _batch(p.login())


@check("pipeline.many", BREAKS, "RFC 2449 §6.6", LOGIN)
def many(p: Probe) -> None:
    """Two hundred commands in one write get two hundred replies."""
    wire = p.login()
    wire.send(b"NOOP\r\n" * 200)
    for each in range(200):
        reply = wire.status()
        hold(reply.ok, f"NOOP {each + 1} is answered {reply}")


@check("pipeline.login", BREAKS, "RFC 2449 §6.6", LOGIN, PIPELINING)
def login(p: Probe) -> None:
    """USER, PASS, STAT and QUIT in one write are answered in order: mpop sends all at once."""
    p.need_user_command()
    p.login().quit()
    wire = p.connect()
    wire.send(
        b"USER %b\r\nPASS %b\r\nSTAT\r\nQUIT\r\n" % (p.user, p.password),
        b"USER %b\r\nPASS ****\r\nSTAT\r\nQUIT\r\n" % p.user,
    )
    for verb in ("USER", "PASS", "STAT", "QUIT"):
        reply = wire.status()
        hold(reply.ok, f"{verb} is answered {reply}")


@check("pipeline.by-octets", MUST, "RFC 1939 §3", LOGIN)
def by_octets(p: Probe) -> None:
    """The same commands octet by octet are answered in the same way."""
    wire = p.login()
    wire.send_by_octets(b"STAT\r\nNOOP\r\n")
    hold(wire.status().line.startswith(b"+OK "), "STAT is refused")
    hold(wire.status().ok, "NOOP is refused")


@check("pipeline.split-anywhere", MUST, "RFC 1939 §3", LOGIN)
def split_anywhere(p: Probe) -> None:
    """A segment may end in the middle of the next command."""
    wire = p.login()
    wire.send(b"NOOP\r\nNO")
    hold(wire.status().ok, "NOOP is refused")
    wire.send(b"OP\r\n")
    hold(wire.status().ok, "NOOP in two segments is refused")


@check("pipeline.after-quit", SHOULD, "wildduck#938", LOGIN)
def after_quit(p: Probe) -> None:
    """What follows QUIT in the same write isn't answered."""
    wire = p.login()
    wire.send(b"QUIT\r\nNOOP\r\nSTAT\r\n")
    lines = wire.rest().splitlines()
    hold(len(lines) == 1, f"{len(lines)} replies: {lines[:3]!r}")


@check("pipeline.retr", BREAKS, "RFC 2449 §6.6", LOGIN, MAIL)
def retr(p: Probe) -> None:
    """Twenty RETR in one write are answered in order, each whole."""
    wire = p.login()
    p.need_message(wire)
    wire.ok(b"RETR 1")
    wanted = wire.raw_body()
    wire.send(b"RETR 1\r\n" * 20)
    for _ in range(20):
        hold(wire.status().ok, "RETR is refused")
        hold(wire.raw_body() == wanted, "a message differs from the one before")


@check("pipeline.unread", BREAKS, "RFC 2449 §6.6", LOGIN, MAIL)
def unread(p: Probe) -> None:
    """A client that writes 3,000 commands before it reads gets 3,000 replies."""
    wire = p.login()
    p.need_message(wire)
    count = 3000
    wire.send(b"LIST 1\r\n" * count)
    for each in range(count):
        reply = wire.status()
        hold(reply.ok, f"LIST 1, number {each + 1}, is answered {reply}")
