"""Two sessions at once, and when a maildrop is free again."""

from __future__ import annotations

import time

from restante.testing.conformance.check import check
from restante.testing.conformance.failures import NotApplicable, Silent, hold
from restante.testing.conformance.levels import BREAKS, LOGIN, MUST, SHOULD, WRITE
from restante.testing.conformance.probe import Probe
from restante.testing.conformance.wire import Reply, Wire

FREE_WITHIN = 5.0
"""Seconds. Clients reconnect at once."""


def _two(p: Probe) -> tuple[Wire, Wire, Reply | None]:
    """A session, a connection and the answer to its login; None when it is left waiting."""
    first = p.login()
    second = p.connect()
    try:
        return first, second, p.say_login(second, p.user, p.password)
    except Silent:
        second.drop()
        return first, second, None


def _refused(p: Probe) -> tuple[Wire, Wire, Reply]:
    first, second, reply = _two(p)
    if reply is None:
        raise NotApplicable("the second login waits, and isn't answered")
    if reply.ok:
        raise NotApplicable("two sessions may have the maildrop at once")
    return first, second, reply


@check("lease.exclusive", SHOULD, "RFC 1939 §4", LOGIN)
def exclusive(p: Probe) -> None:
    """While a session has the maildrop a second login doesn't get it."""
    _, _, reply = _two(p)
    hold(reply is None or reply.err, f"the second login is answered {reply}")


@check("lease.answered", BREAKS, "RFC 1939 §4", LOGIN)
def answered(p: Probe) -> None:
    """The second login is answered in time (--timeout) and not left waiting."""
    _, _, reply = _two(p)
    hold(reply, f"no answer within {p.target.timeout:g} s")


@check("lease.code", SHOULD, "RFC 2449 §8.1.2", LOGIN, "capa:RESP-CODES")
def code(p: Probe) -> None:
    """Where RESP-CODES is announced, that refusal has the code [IN-USE]."""
    _, _, reply = _refused(p)
    hold(reply.code == "IN-USE", f"the reply is {reply}")


@check("lease.first-goes-on", MUST, "RFC 1939 §4", LOGIN)
def first_goes_on(p: Probe) -> None:
    """The first session goes on while a second one knocks."""
    first, _, _ = _two(p)
    first.ok(b"STAT")
    first.ok(b"NOOP")


@check("lease.second-tries-again", BREAKS, "RFC 1939 §4", LOGIN)
def second_tries_again(p: Probe) -> None:
    """The refused connection stays open and gets in once the first session is over."""
    first, second, _ = _refused(p)
    first.quit()
    until = time.monotonic() + FREE_WITHIN
    while not (reply := p.say_login(second, p.user, p.password)).ok:
        hold(time.monotonic() < until, f"still refused: {reply}")
        time.sleep(0.2)


def _free_again(p: Probe, what: str) -> None:
    until = time.monotonic() + FREE_WITHIN
    while True:
        wire = p.connect()
        reply = p.say_login(wire, p.user, p.password)
        if reply.ok:
            return
        wire.leave()
        hold(time.monotonic() < until, f"{FREE_WITHIN:g} s after {what}: {reply}")
        time.sleep(0.2)


@check("lease.free-after-quit", MUST, "RFC 1939 §6", LOGIN)
def free_after_quit(p: Probe) -> None:
    """After QUIT the next login works at once."""
    wire = p.login()
    hold(wire.quit().ok, "QUIT is refused")
    wire = p.connect()
    reply = p.say_login(wire, p.user, p.password)
    hold(reply.ok, f"the next login is answered {reply}")


@check("lease.free-after-close", BREAKS, "hmailserver#203", LOGIN)
def free_after_close(p: Probe) -> None:
    """When a client has closed without QUIT, the maildrop is free within five seconds."""
    wire = p.login()
    wire.drop()
    _free_again(p, "the client closed")


@check("lease.free-after-reset", BREAKS, "hmailserver#203", LOGIN)
def free_after_reset(p: Probe) -> None:
    """When a connection was reset, the maildrop is free within five seconds."""
    wire = p.login()
    wire.reset()
    _free_again(p, "the connection was reset")


@check("lease.free-after-reset-in-body", BREAKS, "dada-mail#335", LOGIN, WRITE)
def free_after_reset_in_body(p: Probe) -> None:
    """When a connection was reset in the middle of a large message, it is free as well."""
    wire, numbers = p.session("large")
    wire.send(b"RETR %d\r\n" % numbers["large"])
    wire.status()
    wire.reset()
    _free_again(p, "the connection was reset")


@check("snapshot.other-deletes", BREAKS, "JAMES-3709", LOGIN, WRITE)
def other_deletes(p: Probe) -> None:
    """Where two sessions may be open at once, numbers stay when the other one removes mail."""
    first, numbers = p.session("plain", "dots")
    second = p.connect()
    try:
        both = p.say_login(second, p.user, p.password).ok
    except Silent:
        second.drop()
        both = False
    if not both:
        raise NotApplicable("one session at a time has the maildrop")
    p.changed()
    before = first.message(b"RETR %d" % numbers["dots"])
    second.ok(b"DELE %d" % numbers["plain"])
    second.quit()
    hold(first.message(b"RETR %d" % numbers["dots"]) == before, "the number is another message's")


@check("snapshot.new-mail", SHOULD, "RFC 1939 §4", LOGIN, WRITE)
def new_mail(p: Probe) -> None:
    """Mail that comes in during a session isn't seen in it."""
    wire, _ = p.session()
    before = p.listing(wire).octets
    p.changed()
    p.bring_other()
    hold(p.listing(wire).octets == before, "the listing has changed")
    _, octets = p.count(wire)
    hold(octets == sum(before.values()), "STAT has changed")


@check("snapshot.next-session", MUST, "RFC 1939 §4", LOGIN, WRITE)
def next_session(p: Probe) -> None:
    """It is seen in the next session."""
    wire, _ = p.session()
    before, _ = p.count(wire)
    p.changed()
    p.bring_other()
    wire.quit()
    until = time.monotonic() + p.target.timeout
    while True:
        wire = p.login()
        count, _ = p.count(wire)
        wire.quit()
        if count == before + 1:
            return
        hold(time.monotonic() < until, f"{before} messages before, {count} after")
        time.sleep(0.2)
