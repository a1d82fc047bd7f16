"""STAT, LIST and UIDL, one held against the other."""

from __future__ import annotations

import re

from restante.testing.conformance.check import check
from restante.testing.conformance.failures import NotApplicable, hold
from restante.testing.conformance.levels import BREAKS, LOGIN, MAIL, MUST, SHOULD
from restante.testing.conformance.probe import Probe
from restante.testing.conformance.wire import Wire

UIDL = "capa:UIDL"


def _scan(wire: Wire) -> list[tuple[int, int]]:
    """LIST, read strictly."""
    found = []
    for line in wire.multi(b"LIST"):
        match = re.match(rb"(\d+) (\d+)( |$)", line)
        hold(match, f"a line of LIST is {line!r}")
        assert match is not None
        found.append((int(match[1]), int(match[2])))
    return found


def _ids(wire: Wire) -> list[tuple[int, bytes]]:
    found = []
    for line in wire.multi(b"UIDL"):
        number, _, unique_id = line.partition(b" ")
        hold(number.isdigit() and unique_id, f"a line of UIDL is {line!r}")
        found.append((int(number), unique_id))
    return found


@check("noop.works", MUST, "RFC 1939 §5 NOOP", LOGIN)
def noop(p: Probe) -> None:
    """NOOP is answered +OK."""
    p.login().ok(b"NOOP")


@check("rset.works", MUST, "RFC 1939 §5 RSET", LOGIN)
def rset(p: Probe) -> None:
    """RSET is answered +OK."""
    p.login().ok(b"RSET")


@check("rset.one-reply", MUST, "RFC 1939 §5 RSET", LOGIN)
def rset_one_reply(p: Probe) -> None:
    """RSET is answered by one line."""
    wire = p.login()
    wire.send(b"RSET\r\n")
    lines = wire.finish()
    hold(len(lines) == 2, f"with the reply to QUIT {len(lines)} lines: {lines[:4]!r}")


@check("quit.after-login", MUST, "RFC 1939 §6", LOGIN)
def quit_after_login(p: Probe) -> None:
    """QUIT after the login is answered +OK, and the connection closes."""
    reply = p.login().quit()
    hold(reply.ok, f"QUIT is answered {reply}")


@check("stat.form", MUST, "RFC 1939 §5 STAT", LOGIN)
def stat_form(p: Probe) -> None:
    """STAT is answered "+OK", a space, the count, a space and the octets."""
    reply = p.login().ok(b"STAT")
    hold(re.match(rb"\+OK \d+ \d+( |\r?\n)", reply.raw), f"the reply is {reply}")


@check("stat.no-leading-zeros", BREAKS, "RFC 1939 §5 STAT", LOGIN)
def stat_zeros(p: Probe) -> None:
    """STAT's numbers have no zeros before them."""
    reply = p.login().ok(b"STAT")
    hold(not re.search(rb" 0\d", reply.line), f"the reply is {reply}")


@check("list.form", MUST, "RFC 1939 §5 LIST", LOGIN, MAIL)
def list_form(p: Probe) -> None:
    """A line of LIST is the number, one space and the octets."""
    wire = p.login()
    p.need_message(wire)
    _scan(wire)


@check("list.crlf", MUST, "RFC 1939 §3", LOGIN)
def list_crlf(p: Probe) -> None:
    """All lines of LIST end with CRLF, the terminator too."""
    wire = p.login()
    wire.ok(b"LIST")
    lines = wire.raw_body()
    hold(all(line.endswith(b"\r\n") for line in lines), f"the lines are {lines[:3]!r}")


@check("list.numbers", MUST, "RFC 1939 §4", LOGIN, MAIL)
def list_numbers(p: Probe) -> None:
    """Messages are numbered 1, 2, 3 …, in that order."""
    wire = p.login()
    p.need_message(wire)
    numbers = [number for number, _ in _scan(wire)]
    hold(numbers == list(range(1, len(numbers) + 1)), f"the numbers are {numbers[:20]}")


@check("list.count", MUST, "RFC 1939 §5 STAT", LOGIN)
def list_count(p: Probe) -> None:
    """STAT counts as many messages as LIST has."""
    wire = p.login()
    count, _ = p.count(wire)
    listed = len(_scan(wire))
    hold(count == listed, f"STAT counts {count}, LIST has {listed}")


@check("list.octets", MUST, "RFC 1939 §5 STAT", LOGIN)
def list_octets(p: Probe) -> None:
    """STAT's octets are the sum of those in LIST."""
    wire = p.login()
    _, octets = p.count(wire)
    total = sum(octets for _, octets in _scan(wire))
    hold(octets == total, f"STAT says {octets}, LIST's sum is {total}")


@check("list.one", MUST, "RFC 1939 §5 LIST", LOGIN, MAIL)
def list_one(p: Probe) -> None:
    """LIST with a number is answered by "+OK", that number and the octets."""
    wire = p.login()
    count = p.need_message(wire)
    scan = dict(_scan(wire))
    for number in {1, count}:
        reply = wire.ok(b"LIST %d" % number)
        wanted = b"+OK %d %d" % (number, scan.get(number, -1))
        hold(re.match(re.escape(wanted) + rb"( |$)", reply.line), f"LIST {number}: {reply}")


@check("list.one-is-one-line", MUST, "RFC 1939 §5 LIST, mailpit#518", LOGIN, MAIL)
def list_one_line(p: Probe) -> None:
    """LIST with a number has no further line."""
    wire = p.login()
    p.need_message(wire)
    wire.ok(b"LIST 1")
    after = wire.finish()
    hold(len(after) == 1, f"QUIT is followed by {len(after)} lines: {after[:3]!r}")


@check("list.same-again", MUST, "RFC 1939 §4", LOGIN)
def list_again(p: Probe) -> None:
    """In one session LIST says the same again."""
    wire = p.login()
    first, second = _scan(wire), _scan(wire)
    hold(first == second, f"first {first[:3]}, then {second[:3]}")


@check("uidl.exists", BREAKS, "RFC 1939 §7 UIDL", LOGIN)
def uidl_exists(p: Probe) -> None:
    """The server has UIDL: most clients need it to leave mail on the server."""
    p.login().ok(b"UIDL")


@check("top.exists", SHOULD, "RFC 1939 §7 TOP", LOGIN, MAIL)
def top_exists(p: Probe) -> None:
    """The server has TOP."""
    wire = p.login()
    p.need_message(wire)
    wire.ok(b"TOP 1 0")


@check("uidl.form", MUST, "RFC 1939 §7 UIDL", LOGIN, MAIL, UIDL)
def uidl_form(p: Probe) -> None:
    """A line of UIDL is the number, one space and the unique-id, and nothing behind it."""
    wire = p.login()
    p.need_message(wire)
    for line in wire.multi(b"UIDL"):
        hold(re.fullmatch(rb"\d+ [^ ]+", line), f"a line is {line!r}")


@check("uidl.length", MUST, "RFC 1939 §7 UIDL", LOGIN, MAIL, UIDL)
def uidl_length(p: Probe) -> None:
    """A unique-id has 1 to 70 characters."""
    wire = p.login()
    p.need_message(wire)
    longest = max((unique_id for _, unique_id in _ids(wire)), key=len)
    hold(len(longest) <= 70, f"one has {len(longest)}: {longest!r}")


@check("uidl.characters", MUST, "RFC 1939 §7 UIDL", LOGIN, MAIL, UIDL)
def uidl_characters(p: Probe) -> None:
    """A unique-id has characters of 0x21 to 0x7E only."""
    wire = p.login()
    p.need_message(wire)
    bad = [each for _, each in _ids(wire) if not re.fullmatch(rb"[!-~]+", each)]
    hold(not bad, f"one is {bad[:1]!r}")


@check("uidl.distinct", MUST, "RFC 1939 §7 UIDL", LOGIN, MAIL, UIDL)
def uidl_distinct(p: Probe) -> None:
    """No two messages have the same unique-id."""
    wire = p.login()
    p.need_message(wire)
    ids = [unique_id for _, unique_id in _ids(wire)]
    twice = {each for each in ids if ids.count(each) > 1}
    hold(not twice, f"twice: {sorted(twice)[:3]!r}")


@check("uidl.numbers", MUST, "RFC 1939 §7 UIDL", LOGIN, UIDL)
def uidl_numbers(p: Probe) -> None:
    """UIDL has the numbers that LIST has."""
    wire = p.login()
    scan, ids = [n for n, _ in _scan(wire)], [n for n, _ in _ids(wire)]
    hold(scan == ids, f"LIST has {scan[:9]}, UIDL {ids[:9]}")


@check("uidl.one", MUST, "RFC 1939 §7 UIDL", LOGIN, MAIL, UIDL)
def uidl_one(p: Probe) -> None:
    """UIDL with a number is answered by "+OK", that number and the unique-id."""
    wire = p.login()
    count = p.need_message(wire)
    ids = dict(_ids(wire))
    for number in {1, count}:
        reply = wire.ok(b"UIDL %d" % number)
        wanted = b"+OK %d %b" % (number, ids.get(number, b""))
        hold(reply.line.rstrip() == wanted, f"UIDL {number}: {reply}")


@check("uidl.one-is-one-line", MUST, "RFC 1939 §7 UIDL, curl#14808", LOGIN, MAIL, UIDL)
def uidl_one_line(p: Probe) -> None:
    """UIDL with a number has no further line."""
    wire = p.login()
    p.need_message(wire)
    wire.ok(b"UIDL 1")
    after = wire.finish()
    hold(len(after) == 1, f"QUIT is followed by {len(after)} lines: {after[:3]!r}")


@check("uidl.next-session", MUST, "RFC 1939 §7 UIDL", LOGIN, MAIL, UIDL)
def uidl_next_session(p: Probe) -> None:
    """A message has the same unique-id in the next session."""
    wire = p.login()
    p.need_message(wire)
    before = {unique_id for _, unique_id in _ids(wire)}
    wire.quit()
    after = {unique_id for _, unique_id in _ids(p.login())}
    hold(before <= after, f"gone: {sorted(before - after)[:3]!r}")


@check("uidl.after-reading", MUST, "RFC 1939 §7 UIDL, cyrus-imapd#374", LOGIN, MAIL, UIDL)
def uidl_after_reading(p: Probe) -> None:
    """That a message was read doesn't change its unique-id."""
    wire = p.login()
    count = p.need_message(wire)
    before = dict(_ids(wire))
    wire.message(b"RETR %d" % count)
    wire.quit()
    after = dict(_ids(p.login()))
    if len(after) < len(before):
        raise NotApplicable("the maildrop has changed meanwhile")
    hold(before[count] == after[count], f"{before[count]!r} became {after[count]!r}")
