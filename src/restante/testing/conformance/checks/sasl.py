"""AUTH (RFC 5034)."""

from __future__ import annotations

import base64
import binascii
import hmac
import re

from restante.testing.conformance.check import check
from restante.testing.conformance.failures import Failed, NotApplicable, hold
from restante.testing.conformance.levels import BREAKS, LOGIN, MUST, SHOULD
from restante.testing.conformance.probe import Probe
from restante.testing.conformance.wire import Reply, Wire

SASL = "capa:SASL"
HIDDEN = b"****"


def _challenge(wire: Wire, line: bytes) -> bytes:
    """Begin an exchange; the challenge, decoded. Raises Failed."""
    wire.send(line + b"\r\n")
    raw = wire.line()
    hold(raw.startswith(b"+ "), f"{line.decode()} is answered {raw!r}, where a challenge is due")
    return _decoded(raw)


def _decoded(raw: bytes) -> bytes:
    try:
        return base64.b64decode(raw[2:].rstrip(b"\r\n"), validate=True)
    except binascii.Error:
        raise Failed(f"{raw!r} isn't base64") from None


def _goes_on(p: Probe, wire: Wire) -> None:
    reply = p.say_login(wire, p.user, p.password)
    hold(reply.ok, f"the login after it is answered {reply}")


def _plain(p: Probe, response: bytes) -> Reply:
    """AUTH PLAIN with an initial response."""
    p.need_mechanism("PLAIN")
    return p.connect().command(b"AUTH PLAIN " + response, b"AUTH PLAIN ****")


@check("auth.alone", BREAKS, "RFC 5034 §4")
def alone(p: Probe) -> None:
    """AUTH alone is refused, or lists mechanisms down to a terminator."""
    wire = p.connect()
    if wire.command(b"AUTH").ok:
        wire.raw_body()
    after = wire.finish()
    hold(len(after) == 1, f"QUIT is followed by {len(after)} lines: {after[:3]!r}")


@check("auth.unknown-mechanism", MUST, "RFC 5034 §4")
def unknown_mechanism(p: Probe) -> None:
    """An unknown mechanism is answered -ERR, and the session goes on."""
    wire = p.connect()
    wire.err(b"AUTH X-CONFORMANCE")
    wire.ok(b"QUIT")


@check("auth.announced-is-known", MUST, "RFC 5034 §3", SASL)
def announced_is_known(p: Probe) -> None:
    """Each mechanism that is announced begins an exchange."""
    for name in p.mechanisms():
        wire = p.connect()
        wire.send(b"AUTH %b\r\n" % name.encode())
        raw = wire.line()
        hold(raw.startswith(b"+ "), f"AUTH {name} is answered {raw!r}")
        wire.err(b"*")


@check("auth.cancel", MUST, "RFC 5034 §4", SASL)
def cancel(p: Probe) -> None:
    """ "*" in place of a response is answered -ERR, and the session goes on."""
    wire = p.connect()
    _begin_any(p, wire)
    wire.err(b"*")
    wire.ok(b"QUIT")


def _begin_any(p: Probe, wire: Wire) -> None:
    name = next((each for each in ("PLAIN", "LOGIN") if each in p.mechanisms()), None)
    if name is None:
        raise NotApplicable("neither PLAIN nor LOGIN is announced")
    _challenge(wire, b"AUTH %b" % name.encode())


@check("auth.cancel-then-login", BREAKS, "RFC 5034 §4", SASL, LOGIN)
def cancel_then_login(p: Probe) -> None:
    """After a cancelled exchange a login works on the same connection."""
    wire = p.connect()
    _begin_any(p, wire)
    wire.err(b"*")
    _goes_on(p, wire)


@check("auth.challenge-form", MUST, "RFC 5034 §4", SASL)
def challenge_form(p: Probe) -> None:
    """A challenge without content is "+", a space and CRLF."""
    p.need_mechanism("PLAIN")
    wire = p.connect()
    wire.send(b"AUTH PLAIN\r\n")
    raw = wire.line()
    hold(raw == b"+ \r\n", f"the challenge is {raw!r}")


@check("auth.not-base64", MUST, "RFC 5034 §4", SASL)
def not_base64(p: Probe) -> None:
    """A response that isn't base64 is answered -ERR, and the session goes on."""
    wire = p.connect()
    _begin_any(p, wire)
    wire.err(b"!!!!")
    wire.ok(b"QUIT")


@check("auth.plain-initial", MUST, "RFC 5034 §4", SASL, LOGIN)
def plain_initial(p: Probe) -> None:
    """PLAIN with an initial response logs in."""
    reply = _plain(p, p.plain(p.user, p.password))
    hold(reply.ok, f"the reply is {reply}")


@check("auth.plain-challenge", MUST, "RFC 5034 §4", SASL, LOGIN)
def plain_challenge(p: Probe) -> None:
    """PLAIN with the response after a challenge logs in."""
    p.need_mechanism("PLAIN")
    wire = p.connect()
    _challenge(wire, b"AUTH PLAIN")
    wire.ok(p.plain(p.user, p.password), HIDDEN)
    wire.ok(b"NOOP")


@check("auth.lower-case", MUST, "RFC 5034 §5", SASL, LOGIN)
def lower_case(p: Probe) -> None:
    """The mechanism's name may be in lower case."""
    p.need_mechanism("PLAIN")
    wire = p.connect()
    wire.ok(b"auth plain " + p.plain(p.user, p.password), b"auth plain ****")


@check("auth.plain-wrong", MUST, "RFC 5034 §4", SASL, LOGIN)
def plain_wrong(p: Probe) -> None:
    """PLAIN with a wrong password is answered -ERR."""
    reply = _plain(p, p.plain(p.user, b"wrong-" + p.password))
    hold(reply.err, f"the reply is {reply}")


@check("auth.plain-wrong-goes-on", BREAKS, "RFC 5034 §4", SASL, LOGIN)
def plain_wrong_goes_on(p: Probe) -> None:
    """After a refused AUTH the next mechanism may be tried on the same connection."""
    p.need_mechanism("PLAIN")
    wire = p.connect()
    wire.err(b"AUTH PLAIN " + p.plain(p.user, b"wrong-" + p.password), b"AUTH PLAIN ****")
    _goes_on(p, wire)


@check("auth.plain-own-authzid", BREAKS, "RFC 4616 §2", SASL, LOGIN)
def plain_own_authzid(p: Probe) -> None:
    """The user's own name as authorization identity logs in: many clients send it."""
    reply = _plain(p, p.plain(p.user, p.password, p.user))
    hold(reply.ok, f"the reply is {reply}")


@check("auth.plain-other-authzid", MUST, "RFC 4616 §2", SASL, LOGIN)
def plain_other_authzid(p: Probe) -> None:
    """Somebody else's name as authorization identity is answered -ERR."""
    reply = _plain(p, p.plain(p.user, p.password, b"conformance-nobody"))
    hold(reply.err, f"the reply is {reply}")


@check("auth.plain-malformed", MUST, "RFC 4616 §2", SASL, LOGIN)
def plain_malformed(p: Probe) -> None:
    """A response without its two NULs is answered -ERR."""
    reply = _plain(p, base64.b64encode(p.user + p.password))
    hold(reply.err, f"the reply is {reply}")


@check("auth.plain-trailing-nul", BREAKS, "cpython#94019", SASL, LOGIN)
def plain_trailing_nul(p: Probe) -> None:
    """What follows a NUL behind the password isn't ignored: the login is refused."""
    reply = _plain(p, p.plain(p.user, p.password + b"\0x"))
    hold(reply.err, f"the reply is {reply}")


@check("auth.plain-line-end", BREAKS, "nginx/tests#93", SASL, LOGIN)
def plain_line_end(p: Probe) -> None:
    """A password with CR LF behind it is another password: the login is refused."""
    reply = _plain(p, p.plain(p.user, p.password + b"\r\n"))
    hold(reply.err, f"the reply is {reply}")


@check("auth.equals", MUST, "RFC 5034 §4", SASL)
def equals(p: Probe) -> None:
    """ "=" is a response of no octets: for PLAIN it is refused, and no challenge comes."""
    reply = _plain(p, b"=")
    hold(reply.err, f"the reply is {reply}")


@check("auth.large-response", SHOULD, "RFC 5034 §4", SASL)
def large_response(p: Probe) -> None:
    """A response of 8 KiB is read whole and gets one reply: tokens are that large."""
    p.need_mechanism("PLAIN")
    wire = p.connect()
    _challenge(wire, b"AUTH PLAIN")
    wire.send(p.plain(b"conformance-nobody", b"x" * 6000) + b"\r\n", b"**** of 8 KiB\r\n")
    hold(wire.status().err, "the response isn't refused")
    after = wire.finish()
    hold(len(after) == 1, f"QUIT is followed by {len(after)} lines: {after[:3]!r}")


@check("auth.large-initial", BREAKS, "RFC 7628 §3.1", SASL)
def large_initial(p: Probe) -> None:
    """An initial response of 4 KiB gets one reply: clients send tokens so, RFC 5034 or not."""
    p.need_mechanism("PLAIN")
    wire = p.connect()
    response = p.plain(b"conformance-nobody", b"x" * 3000)
    wire.send(b"AUTH PLAIN " + response + b"\r\n", b"AUTH PLAIN **** of 4 KiB\r\n")
    hold(wire.status().err, "the response isn't refused")
    after = wire.finish()
    hold(len(after) == 1, f"QUIT is followed by {len(after)} lines: {after[:3]!r}")


@check("auth.login", BREAKS, "RFC 5034 §4", SASL, LOGIN)
def login(p: Probe) -> None:
    """LOGIN asks twice in base64 and logs in, where it is announced."""
    p.need_mechanism("LOGIN")
    wire = p.connect()
    hold(_challenge(wire, b"AUTH LOGIN"), "the first challenge is empty")
    wire.send(base64.b64encode(p.user) + b"\r\n")
    raw = wire.line()
    hold(raw.startswith(b"+ "), f"the second challenge is {raw!r}")
    _decoded(raw)
    wire.ok(base64.b64encode(p.password), HIDDEN)


@check("auth.login-wrong", MUST, "RFC 5034 §4", SASL, LOGIN)
def login_wrong(p: Probe) -> None:
    """LOGIN with a wrong password is answered -ERR."""
    p.need_mechanism("LOGIN")
    wire = p.connect()
    _challenge(wire, b"AUTH LOGIN")
    wire.send(base64.b64encode(p.user) + b"\r\n")
    wire.line()
    wire.err(base64.b64encode(b"wrong-" + p.password), HIDDEN)


def _cram(p: Probe, wire: Wire, password: bytes) -> Reply:
    p.need_mechanism("CRAM-MD5")
    challenge = _challenge(wire, b"AUTH CRAM-MD5")
    hold(re.fullmatch(rb"<[^<>\s]+@[^<>\s]+>", challenge), f"the challenge is {challenge!r}")
    digest = hmac.new(password, challenge, "md5").hexdigest().encode()
    return wire.command(base64.b64encode(p.user + b" " + digest), HIDDEN)


@check("auth.cram-md5", BREAKS, "RFC 2195 §2", SASL, LOGIN)
def cram_md5(p: Probe) -> None:
    """CRAM-MD5's challenge has the form of a Message-ID, and the right answer logs in."""
    reply = _cram(p, p.connect(), p.password)
    hold(reply.ok, f"the reply is {reply}")


@check("auth.cram-md5-wrong", MUST, "RFC 2195 §2", SASL, LOGIN)
def cram_md5_wrong(p: Probe) -> None:
    """CRAM-MD5 with a wrong password is answered -ERR."""
    reply = _cram(p, p.connect(), b"wrong-" + p.password)
    hold(reply.err, f"the reply is {reply}")


@check("auth.cram-md5-differs", MUST, "RFC 2195 §2", SASL)
def cram_md5_differs(p: Probe) -> None:
    """CRAM-MD5's challenge is another one each time."""
    p.need_mechanism("CRAM-MD5")
    challenges = {_challenge(p.connect(), b"AUTH CRAM-MD5") for _ in range(3)}
    hold(len(challenges) == 3, f"three times {sorted(challenges)!r}")
