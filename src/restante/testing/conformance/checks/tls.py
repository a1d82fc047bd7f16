"""TLS itself: versions, certificate, how it ends."""

from __future__ import annotations

import re
import ssl
import time
import warnings

from restante.testing.conformance.check import add, check
from restante.testing.conformance.failures import Failed, NotApplicable, hold
from restante.testing.conformance.levels import BREAKS, LOGIN, MUST, SHOULD, TLS
from restante.testing.conformance.probe import Probe
from restante.testing.conformance.wire import Wire

DAYS_LEFT = 7


def _lenient() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _before_handshake(p: Probe) -> Wire:
    """A connection on which the handshake comes next."""
    if p.target.tls == "implicit":
        return p.bare()
    wire = p.clear()
    wire.ok(b"STLS")
    return wire


def _inside(p: Probe, context: ssl.SSLContext | None = None) -> Wire:
    wire = _before_handshake(p)
    p.secure(wire, context or _lenient())
    if p.target.tls == "implicit":
        wire.status()
    return wire


def _socket(wire: Wire) -> ssl.SSLSocket:
    assert isinstance(wire.socket, ssl.SSLSocket)
    return wire.socket


def _only(version: ssl.TLSVersion) -> ssl.SSLContext:
    """Offers that version alone. Raises NotApplicable where this machine can't."""
    context = _lenient()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = version
        if version < ssl.TLSVersion.TLSv1_2:
            context.set_ciphers("ALL:@SECLEVEL=0")
    except (ValueError, ssl.SSLError) as error:
        raise NotApplicable(f"this machine's OpenSSL can't: {error}") from None
    return context


def _old_version(version: ssl.TLSVersion, name: str, section: int) -> None:
    def refused(p: Probe) -> None:
        wire = _before_handshake(p)
        try:
            wire.start_tls(_only(version), p.target.host)
        except ssl.SSLError as error:
            if error.reason in ("NO_PROTOCOLS_AVAILABLE", "NO_CIPHERS_AVAILABLE"):
                raise NotApplicable(f"this machine's OpenSSL can't: {error.reason}") from None
            return
        except Failed:
            return
        raise Failed(f"{_socket(wire).version()} is taken")

    add(
        f"tls.no-{name.lower().replace(' ', '-')}",
        MUST,
        f"RFC 8996 §{section}",
        f"{name} is refused.",
        refused,
        (TLS,),
    )


_old_version(ssl.TLSVersion.TLSv1, "TLS 1.0", 4)
_old_version(ssl.TLSVersion.TLSv1_1, "TLS 1.1", 5)


@check("tls.1.2-or-later", MUST, "RFC 8997 §3", TLS)
def version(p: Probe) -> None:
    """TLS 1.2 or 1.3 is agreed upon."""
    found = _socket(_inside(p)).version()
    hold(found in ("TLSv1.2", "TLSv1.3"), f"it is {found}")


@check("tls.1.3", SHOULD, "RFC 9325 §3.1.1", TLS)
def version_13(p: Probe) -> None:
    """TLS 1.3 is taken."""
    _inside(p, _only(ssl.TLSVersion.TLSv1_3))


@check("tls.forward-secrecy", SHOULD, "RFC 9325 §4.1", TLS)
def forward_secrecy(p: Probe) -> None:
    """Keys are agreed upon with forward secrecy."""
    cipher = _socket(_inside(p)).cipher()
    name = cipher[0] if cipher else "nothing"
    hold(re.match(r"TLS_|ECDHE|DHE", name), f"the cipher is {name}")


@check("tls.no-plain-rsa", SHOULD, "RFC 9325 §4.1", TLS)
def no_plain_rsa(p: Probe) -> None:
    """Key transport by RSA, without forward secrecy, is refused."""
    context = _only(ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("kRSA:@SECLEVEL=0")
    wire = _before_handshake(p)
    try:
        wire.start_tls(context, p.target.host)
    except (ssl.SSLError, Failed):
        return
    raise Failed(f"{_socket(wire).cipher()} is taken")


@check("tls.certificate", MUST, "RFC 8314 §4.4", TLS)
def certificate(p: Probe) -> None:
    """The certificate comes from a known authority, names the host and is valid now."""
    if not p.target.verify:
        raise NotApplicable("--insecure: certificates aren't looked at")
    _inside(p, p.context())


@check("tls.certificate-time", SHOULD, "RFC 5280 §4.1.2.5", TLS)
def certificate_time(p: Probe) -> None:
    """The certificate is valid for another seven days at least."""
    if not p.target.verify:
        raise NotApplicable("--insecure: certificates aren't looked at")
    found = _socket(_inside(p, p.context())).getpeercert() or {}
    ends = str(found.get("notAfter", ""))
    days = (ssl.cert_time_to_seconds(ends) - time.time()) / 86_400
    hold(days >= DAYS_LEFT, f"it ends at {ends}")


@check("tls.close-notify", SHOULD, "RFC 8446 §6.1", TLS)
def close_notify(p: Probe) -> None:
    """After QUIT the server says close_notify before it closes."""
    wire = _inside(p)
    wire.ok(b"QUIT")
    sock = _socket(wire)
    sock.settimeout(wire.timeout)
    try:
        left = sock.recv(1)
    except ssl.SSLEOFError:
        raise Failed("it closes without close_notify") from None
    except TimeoutError:
        raise Failed("the connection stays open") from None
    except OSError as error:
        raise Failed(f"the connection is lost: {error}") from None
    hold(not left, "something comes after the reply to QUIT")


@check("tls.small-records", MUST, "RFC 8446 §5.1", TLS)
def small_records(p: Probe) -> None:
    """A command may come in TLS records of one octet."""
    wire = _inside(p)
    wire.send_by_octets(b"QUIT\r\n")
    hold(wire.status().ok, "QUIT by octets is refused")


@check("tls.several-commands-a-record", MUST, "RFC 8446 §5.1", TLS)
def several_commands(p: Probe) -> None:
    """Several commands in one TLS record are all answered."""
    wire = _inside(p)
    wire.send(b"XCONFORMANCE\r\nXCONFORMANCE\r\nQUIT\r\n")
    lines = wire.rest().splitlines()
    hold(len(lines) == 3, f"{len(lines)} replies to three commands: {lines[:4]!r}")


@check("tls.garbage", BREAKS, "inbucket#515", TLS)
def garbage(p: Probe) -> None:
    """What is no handshake is no command: one -ERR at most, and the next client is served."""
    wire = _before_handshake(p)
    wire.send(b"CAPA\r\nCAPA\r\nCAPA\r\nCAPA\r\n")
    said = wire.rest()
    hold(b"+OK" not in said and said.count(b"-ERR") <= 1, f"in the clear comes {said[:160]!r}")
    _inside(p).ok(b"QUIT")


@check("tls.login", MUST, "RFC 8314 §3.1", TLS, LOGIN)
def login(p: Probe) -> None:
    """A login works inside TLS."""
    reply = p.say_login(_inside(p), p.user, p.password)
    hold(reply.ok, f"the login is answered {reply}")
