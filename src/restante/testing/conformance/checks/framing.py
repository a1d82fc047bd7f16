"""Lines, letter case, limits, states: all that needs no login."""

from __future__ import annotations

import re

from restante.testing.conformance.check import add, check
from restante.testing.conformance.failures import Failed, NotApplicable, hold
from restante.testing.conformance.levels import BREAKS, LOGIN, MUST, SHOULD
from restante.testing.conformance.probe import Probe

UNKNOWN = b"XCONFORMANCE"


@check("quit.before-login", MUST, "RFC 1939 §4")
def quit_before_login(p: Probe) -> None:
    """QUIT before the login is answered +OK."""
    p.connect().ok(b"QUIT")


@check("quit.closes", MUST, "RFC 1939 §6")
def quit_closes(p: Probe) -> None:
    """The server closes the connection after QUIT."""
    wire = p.connect()
    wire.command(b"QUIT")
    wire.rest()


@check("quit.one-reply", MUST, "RFC 1939 §4, stalwart#567")
def quit_one_reply(p: Probe) -> None:
    """QUIT is answered by one line."""
    lines = p.connect().finish()
    hold(len(lines) == 1, f"{len(lines)} lines: {lines[:4]!r}")


@check("reply.crlf", MUST, "RFC 1939 §3")
def reply_crlf(p: Probe) -> None:
    """Status lines end with CRLF, those of refusals too."""
    wire = p.connect()
    for line in (UNKNOWN, b"USER", b"QUIT"):
        reply = wire.command(line)
        hold(reply.raw.endswith(b"\r\n"), f"{line.decode()} is answered {reply.raw!r}")


@check("reply.length", MUST, "RFC 1939 §3")
def reply_length(p: Probe) -> None:
    """A status line has at most 512 octets, even one that repeats what the client said."""
    wire = p.connect()
    for line in (UNKNOWN, b"X" * 200, b"USER " + b"u" * 200):
        reply = wire.command(line)
        hold(len(reply.raw) <= 512, f"{len(reply.raw)} octets: {reply}")


@check("reply.no-echo-of-controls", SHOULD, "RFC 6856 §2.1")
def reply_printable(p: Probe) -> None:
    """A refusal repeats no control characters and nothing beyond ASCII."""
    reply = p.connect().command(b"X\x1b[31m\x07\xff")
    hold(re.fullmatch(rb"[ -~]*", reply.line), f"the reply is {reply.raw!r}")


@check("reply.status-then-space", MUST, "RFC 2449 §3")
def reply_space(p: Probe) -> None:
    """The indicator stands alone or is followed by a space."""
    wire = p.connect()
    for line in (UNKNOWN, b"QUIT"):
        reply = wire.command(line)
        hold(re.match(rb"(\+OK|-ERR)( |\r?\n)", reply.raw), f"the reply is {reply.raw!r}")


@check("command.lower-case", MUST, "RFC 1939 §3")
def lower_case(p: Probe) -> None:
    """Commands in lower case are understood."""
    p.connect().ok(b"quit")


@check("command.mixed-case", MUST, "RFC 1939 §3")
def mixed_case(p: Probe) -> None:
    """Commands in mixed case are understood."""
    p.connect().ok(b"QuIt")


@check("command.unknown", MUST, "RFC 1939 §3")
def unknown(p: Probe) -> None:
    """An unknown command is answered -ERR."""
    p.connect().err(UNKNOWN)


@check("command.unknown-goes-on", BREAKS, "RFC 1939 §3")
def unknown_goes_on(p: Probe) -> None:
    """Three unknown commands in a row don't end the connection: clients try things out."""
    wire = p.connect()
    for _ in range(3):
        wire.err(UNKNOWN)
    wire.ok(b"QUIT")


@check("command.unknown-one-reply", MUST, "RFC 1939 §3")
def unknown_one_reply(p: Probe) -> None:
    """An unknown command is answered by one line."""
    wire = p.connect()
    wire.send(UNKNOWN + b"\r\n")
    lines = wire.finish()
    hold(len(lines) == 2, f"with the reply to QUIT {len(lines)} lines: {lines[:4]!r}")


@check("command.empty", SHOULD, "RFC 1939 §3")
def empty(p: Probe) -> None:
    """An empty line is answered -ERR, and the session goes on."""
    wire = p.connect()
    wire.err(b"")
    wire.ok(b"QUIT")


@check("command.trailing-blank", BREAKS, "RFC 1939 §3")
def trailing_blank(p: Probe) -> None:
    """A blank at the end of a command does no harm: some clients send it."""
    p.connect().ok(b"QUIT ")


@check("command.bare-lf", BREAKS, "RFC 1939 §3")
def bare_lf(p: Probe) -> None:
    """A command that ends with LF alone is answered: some clients send it."""
    wire = p.connect()
    wire.send(b"QUIT\n")
    hold(wire.status().ok, "QUIT with LF is refused")


@check("command.by-octets", MUST, "RFC 1939 §3")
def by_octets(p: Probe) -> None:
    """A command may come in segments of one octet."""
    wire = p.connect()
    wire.send_by_octets(UNKNOWN + b"\r\n")
    hold(wire.status().err, "an unknown command by octets isn't refused")
    wire.send_by_octets(b"QUIT\r\n")
    hold(wire.status().ok, "QUIT by octets is refused")


@check("command.split-line-end", MUST, "RFC 1939 §3")
def split_line_end(p: Probe) -> None:
    """CR and LF may come apart; the command has one reply."""
    wire = p.connect()
    wire.send_apart(UNKNOWN + b"\r", b"\n")
    lines = wire.finish()
    hold(len(lines) == 2, f"with the reply to QUIT {len(lines)} lines: {lines[:4]!r}")


@check("command.argument-of-40", MUST, "RFC 1939 §3")
def argument_of_40(p: Probe) -> None:
    """An argument of 40 characters is read: the session goes on."""
    wire = p.connect()
    wire.command(b"USER " + b"u" * 40)
    wire.ok(b"QUIT")


@check("command.line-of-255", MUST, "RFC 2449 §4")
def line_of_255(p: Probe) -> None:
    """A command line of 255 octets is read as one command, where there is CAPA."""
    if p.capabilities() is None:
        raise NotApplicable("the server has no CAPA")
    wire = p.connect()
    wire.command(b"USER " + b"u" * 248)
    lines = wire.finish()
    hold(len(lines) == 1, f"{len(lines)} lines after QUIT: {lines[:3]!r}")


@check("command.line-of-10000", SHOULD, "RFC 2449 §4")
def line_of_10000(p: Probe) -> None:
    """A line of 10,000 octets is one command or ends the connection, never several commands."""
    wire = p.connect()
    wire.send(UNKNOWN + b" " + b"x" * 10_000 + b"\r\n")
    wire.send(b"QUIT\r\n")
    lines = wire.rest().splitlines()
    hold(len(lines) <= 2, f"{len(lines)} replies to one line and QUIT: {lines[:3]!r}")


@check("command.endless-line", SHOULD, "GHSA-w878-pj84-3j5v")
def endless_line(p: Probe) -> None:
    """A line without end is cut off: the server answers or closes before 16 MiB have come."""
    wire = p.connect()
    block = b"x" * 65536
    wire.note("64 KiB without a line end, up to 256 times")
    wire.sent = b"16 MiB without a line end"
    for _ in range(256):
        try:
            wire.socket.settimeout(wire.timeout)
            try:
                wire.socket.sendall(block)
            except TimeoutError:
                raise Failed("it neither reads on nor answers nor closes") from None
            wire.socket.settimeout(0.0001)
            if wire.socket.recv(1) in (b"", b"-"):
                return
        except TimeoutError:
            continue
        except (OSError, ValueError):
            return  # cut off
    wire.socket.settimeout(0.5)
    try:
        answer = wire.socket.recv(1)
    except TimeoutError:
        raise Failed("16 MiB without a line end are taken without a word") from None
    except OSError:
        return
    hold(answer in (b"", b"-"), f"the answer begins with {answer!r}")


@check("command.nul", SHOULD, "RFC 1939 §3")
def nul(p: Probe) -> None:
    """NUL in a command is refused, or ends the connection; the server lives on."""
    wire = p.connect()
    wire.send(b"X\0Y\r\n")
    try:
        reply = wire.status()
    except Failed as error:
        if "closed" not in str(error):
            raise
    else:
        hold(reply.err, f"the reply is {reply}")
    p.connect().ok(b"QUIT")


@check("command.http", SHOULD, "RFC 1939 §3")
def http(p: Probe) -> None:
    """A browser's request never gets +OK, whatever is in it: web pages can send it here."""
    wire = p.connect()
    wire.send(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    try:
        replies = [wire.status() for _ in range(3)]
    except Failed as error:
        if "closed" in str(error) or "lost" in str(error):
            return
        raise
    hold(all(reply.err for reply in replies), f"the replies are {[str(r) for r in replies]}")


def _refused_before(line: bytes) -> None:
    def refused(p: Probe) -> None:
        wire = p.connect()
        wire.err(line)
        wire.ok(b"QUIT")

    verb = line.split()[0].decode()
    add(
        f"state.before-login-{verb.lower()}",
        MUST,
        f"RFC 1939 §{7 if verb in ('TOP', 'UIDL') else 5}",
        f"{verb} before the login is answered -ERR.",
        refused,
    )


for _line in (
    b"STAT", b"LIST", b"RETR 1", b"DELE 1", b"NOOP", b"RSET", b"TOP 1 0", b"UIDL"
):  # fmt: skip
    _refused_before(_line)


def _refused_after(line: bytes, source: str, needs: tuple[str, ...] = ()) -> None:
    def refused(p: Probe) -> None:
        wire = p.login()
        wire.err(line)
        wire.ok(b"NOOP")

    verb = line.split()[0].decode()
    add(
        f"state.after-login-{verb.lower()}",
        MUST,
        source,
        f"{verb} after the login is answered -ERR, and the session goes on.",
        refused,
        (LOGIN, *needs),
    )


_refused_after(b"USER joe", "RFC 1939 §7 USER")
_refused_after(b"PASS x", "RFC 1939 §7 PASS")
_refused_after(b"APOP joe c4c9334bac560ecc979e58001b3e22fb", "RFC 1939 §7 APOP")
_refused_after(b"AUTH PLAIN AGpvZQB4", "RFC 5034 §4", ("capa:SASL",))
_refused_after(b"STLS", "RFC 2595 §4")


@check("state.pass-first", MUST, "RFC 1939 §7 PASS")
def pass_first(p: Probe) -> None:
    """PASS without USER before it is answered -ERR."""
    p.connect().err(b"PASS x", b"PASS ****")


@check("state.user-without-name", SHOULD, "RFC 1939 §7 USER")
def user_without_name(p: Probe) -> None:
    """USER without a name is answered -ERR."""
    p.connect().err(b"USER")
