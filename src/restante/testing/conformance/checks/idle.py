"""How long a client may say nothing. These take minutes: --slow asks for them."""

from __future__ import annotations

import time

from restante.testing.conformance.check import check
from restante.testing.conformance.levels import BREAKS, LOGIN, MUST, SLOW
from restante.testing.conformance.probe import Probe
from restante.testing.conformance.wire import Wire


def _wait(p: Probe, wire: Wire, seconds: float) -> None:
    seconds = seconds if p.target.idle is None else p.target.idle
    wire.note(f"nothing for {seconds:g} s")
    time.sleep(seconds)


@check("idle.minute-before-login", BREAKS, "mailpit#312", SLOW)
def minute_before_login(p: Probe) -> None:
    """A client that says nothing for a minute before the login is still served."""
    wire = p.connect()
    _wait(p, wire, 60)
    wire.ok(b"QUIT")


@check("idle.two-minutes", BREAKS, "wildduck#709", SLOW, LOGIN)
def two_minutes(p: Probe) -> None:
    """A client that says nothing for two minutes in the TRANSACTION state is still served."""
    wire = p.login()
    _wait(p, wire, 120)
    wire.ok(b"NOOP")


@check("idle.ten-minutes", MUST, "RFC 1939 §3", SLOW, LOGIN)
def ten_minutes(p: Probe) -> None:
    """The idle timer is ten minutes at least."""
    wire = p.login()
    _wait(p, wire, 595)
    wire.ok(b"NOOP")
