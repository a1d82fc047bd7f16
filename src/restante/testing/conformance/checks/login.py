"""USER, PASS and APOP."""

from __future__ import annotations

import contextlib
import hashlib
import re

from restante.testing.conformance.check import check
from restante.testing.conformance.checks.greeting import timestamp
from restante.testing.conformance.failures import Closed, NotApplicable, hold
from restante.testing.conformance.levels import BREAKS, LOGIN, MUST, SHOULD
from restante.testing.conformance.probe import Probe
from restante.testing.conformance.wire import Reply, Wire

WRONG = b"wrong-"
NOBODY = b"conformance-nobody"


def _user_pass(p: Probe, wire: Wire, password: bytes) -> Reply:
    wire.ok(b"USER " + p.user)
    return wire.command(b"PASS " + password, b"PASS ****")


@check("login.user-pass", MUST, "RFC 1939 §7 PASS", LOGIN)
def user_pass(p: Probe) -> None:
    """USER and PASS with the right password log in."""
    p.need_user_command()
    wire = p.login()
    wire.ok(b"NOOP")


@check("login.wrong-password", MUST, "RFC 1939 §7 PASS", LOGIN)
def wrong_password(p: Probe) -> None:
    """A wrong password is answered -ERR, and what needs a login stays refused."""
    p.need_user_command()
    wire = p.connect()
    reply = _user_pass(p, wire, WRONG + p.password)
    hold(reply.err, f"a wrong password is answered {reply}")
    with contextlib.suppress(Closed):
        wire.err(b"STAT")


@check("login.again", BREAKS, "RFC 1939 §4", LOGIN)
def again(p: Probe) -> None:
    """After a wrong password the right one logs in on the same connection."""
    p.need_user_command()
    wire = p.connect()
    _user_pass(p, wire, WRONG + p.password)
    reply = _user_pass(p, wire, p.password)
    hold(reply.ok, f"the right password is answered {reply}")


@check("login.user-forgotten", SHOULD, "RFC 1939 §7 PASS", LOGIN)
def user_forgotten(p: Probe) -> None:
    """PASS comes right after USER: after a wrong one, PASS alone logs nobody in."""
    p.need_user_command()
    wire = p.connect()
    _user_pass(p, wire, WRONG + p.password)
    with contextlib.suppress(Closed):
        wire.err(b"PASS " + p.password, b"PASS ****")


@check("login.last-user", BREAKS, "RFC 1939 §7 USER", LOGIN)
def last_user(p: Probe) -> None:
    """Of two USER commands the last one counts."""
    p.need_user_command()
    wire = p.connect()
    wire.command(b"USER " + NOBODY)
    reply = _user_pass(p, wire, p.password)
    hold(reply.ok, f"the login is answered {reply}")


@check("login.unknown-user", SHOULD, "RFC 1939 §13", LOGIN)
def unknown_user(p: Probe) -> None:
    """An unknown user is refused in the same words as a wrong password."""
    p.need_user_command()
    wire = p.connect()
    wrong = _user_pass(p, wire, WRONG + p.password)
    wire = p.connect()
    first = wire.command(b"USER " + NOBODY)
    unknown = wire.command(b"PASS x", b"PASS ****") if first.ok else first
    # References, session names and the like differ from one reply to the next.
    texts = [re.sub(rb"[0-9a-f]{4,}|<[^>]*>", b"", reply.line) for reply in (wrong, unknown)]
    hold(
        texts[0].replace(p.user, b"") == texts[1].replace(NOBODY, b""),
        f"{wrong} for a wrong password, {unknown} for an unknown user",
    )


@check("login.trailing-blank", BREAKS, "twisted#9100", LOGIN)
def trailing_blank(p: Probe) -> None:
    """A blank at the end of a password is part of it."""
    p.need_user_command()
    reply = _user_pass(p, p.connect(), p.password + b" ")
    hold(reply.err, "the password with a blank behind it logs in")


@check("login.empty-password", MUST, "RFC 1939 §7 PASS", LOGIN)
def empty_password(p: Probe) -> None:
    """PASS without a password logs nobody in."""
    p.need_user_command()
    wire = p.connect()
    wire.ok(b"USER " + p.user)
    wire.err(b"PASS")


@check("login.secret-not-repeated", SHOULD, "CWE-209", LOGIN)
def secret_not_repeated(p: Probe) -> None:
    """A refusal doesn't repeat the password."""
    p.need_user_command()
    wire = p.connect()
    wire.ok(b"USER " + p.user)
    reply = wire.command(b"PASS conformance-sesame", b"PASS ****")
    hold(b"sesame" not in reply.line, f"the reply is {reply}")


@check("login.auth-code", MUST, "RFC 3206 §6", LOGIN, "capa:AUTH-RESP-CODE")
def auth_code(p: Probe) -> None:
    """Where AUTH-RESP-CODE is announced, a wrong password is refused with [AUTH]."""
    reply = p.say_login(p.connect(), p.user, WRONG + p.password)
    hold(reply.code == "AUTH", f"the reply is {reply}")


@check("login.numbers", BREAKS, "RFC 1939 §7 PASS", LOGIN)
def numbers(p: Probe) -> None:
    """A first number in the reply to PASS is the count of messages: Perl's Net::POP3 takes it."""
    p.need_user_command()
    wire = p.connect()
    reply = _user_pass(p, wire, p.password)
    hold(reply.ok, f"the login is answered {reply}")
    found = re.search(rb"(\d+) message", reply.line)
    if found is None:
        raise NotApplicable("the reply counts no messages")
    count, _ = p.count(wire)
    hold(int(found[1]) == count, f"the reply is {reply}, STAT counts {count}")


def _digest(wire_greeting: bytes, secret: bytes) -> bytes:
    return (
        hashlib.md5(timestamp(wire_greeting) + secret, usedforsecurity=False).hexdigest().encode()
    )


@check("apop.works", BREAKS, "curl#3278", LOGIN)
def apop_works(p: Probe) -> None:
    """A greeting with a timestamp means that APOP works: clients try it first."""
    if p.target.tls == "stls":
        raise NotApplicable("the greeting comes before TLS")
    wire = p.ungreeted()
    digest = _digest(wire.line(), p.password)
    wire.ok(b"APOP %b %b" % (p.user, digest), b"APOP **** ****")


@check("apop.wrong", MUST, "RFC 1939 §7 APOP", LOGIN)
def apop_wrong(p: Probe) -> None:
    """APOP with a wrong digest is answered -ERR."""
    wire = p.clear()
    wire.err(b"APOP %b %b" % (p.user, b"0" * 32))


@check("apop.goes-on", BREAKS, "MailKit#29", LOGIN)
def apop_goes_on(p: Probe) -> None:
    """After a failed APOP, USER and PASS log in on the same connection."""
    p.need_user_command()
    wire = p.connect()
    wire.command(b"APOP %b %b" % (p.user, b"0" * 32))
    reply = _user_pass(p, wire, p.password)
    hold(reply.ok, f"the login is answered {reply}")
