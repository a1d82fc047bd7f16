"""For each check a fault that it catches: the canned server with it, and the check fails."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from restante.testing.conformance.check import CHECKS
from restante.testing.conformance.checks import numbers
from tests.testing.conformance.canned import CAPABILITIES, Edit, Faults


@dataclass(frozen=True)
class Proof:
    """tls: how the checks speak to the server. context: the server's TLS, by its name in
    test_proofs. right: flags of the server without the fault."""

    faults: Faults
    tls: str = "none"
    context: str = "good"
    right: frozenset[str] = frozenset()


def flag(*names: str, capabilities: Iterable[str] = CAPABILITIES) -> Proof:
    return Proof(Faults(flags=frozenset(names), capabilities=tuple(capabilities)))


def edit(verb: str, change: Edit) -> Proof:
    return Proof(Faults(edits={verb: change}))


def says(verb: str, reply: bytes) -> Proof:
    return edit(verb, lambda _: reply)


def announces(*capabilities: str) -> Proof:
    return Proof(Faults(capabilities=(*CAPABILITIES, *capabilities)))


def without(*names: str) -> list[str]:
    return [each for each in CAPABILITIES if each.split()[0] not in names]


def silent(*names: str) -> Proof:
    return Proof(Faults(capabilities=tuple(without(*names))))


def instead(name: str, capability: str) -> Proof:
    return Proof(Faults(capabilities=(*without(name), capability)))


def stls(proof: Proof) -> Proof:
    return Proof(proof.faults, "stls")


def implicit(proof: Proof | None = None, context: str = "good") -> Proof:
    return Proof(proof.faults if proof else Faults(), "implicit", context)


def lf(reply: bytes) -> bytes:
    return reply.replace(b"\r\n", b"\n")


def doubled(reply: bytes) -> bytes:
    return reply * 2


def then_more(reply: bytes) -> bytes:
    return reply + b"more\r\n"


def replaced(verb: str, old: bytes, new: bytes) -> Proof:
    return edit(verb, lambda reply: reply.replace(old, new))


def by_pattern(verb: str, pattern: bytes, new: bytes) -> Proof:
    return edit(verb, lambda reply: re.sub(pattern, new, reply))


def is_single(reply: bytes) -> bool:
    return reply.count(b"\n") == 1


def in_one_line(verb: str, change: Edit) -> Proof:
    """Only replies of one line are changed."""
    return edit(verb, lambda reply: change(reply) if is_single(reply) else reply)


def refusals(verb: str, reply: bytes) -> Proof:
    return edit(verb, lambda old: reply if old.startswith(b"-ERR") else old)


def without_first(reply: bytes) -> bytes:
    lines = reply.splitlines(keepends=True)
    return b"".join(lines[:1] + lines[2:]) if len(lines) > 1 else reply


def counting(verb: str, old: bytes, new: bytes) -> Proof:
    count = itertools.count(1)
    return edit(verb, lambda reply: reply.replace(old, new % next(count)))


def after(times: int, verb: str, reply: bytes) -> Proof:
    count = itertools.count(1)
    return edit(verb, lambda old: reply if next(count) > times else old)


def one_line_more(reply: bytes) -> bytes:
    return reply[:-3] + b"x\r\n.\r\n" if reply.endswith(b"\r\n.\r\n") else reply


def blank_line_more(reply: bytes) -> bytes:
    return reply[:-3] + b"\r\n.\r\n" if reply.endswith(b"\r\n.\r\n") else reply


def unstuffed(reply: bytes) -> bytes:
    return reply.replace(b"\r\n..", b"\r\n.")


def blank_cut(reply: bytes) -> bytes:
    return reply.replace(b"\r\n\r\n.\r\n", b"\r\n.\r\n")


ERR = b"-ERR no\r\n"

PROOFS: dict[str, Proof] = {
    "greeting.positive": says("", ERR),
    "greeting.crlf": edit("", lf),
    "greeting.length": says("", b"+OK " + b"x" * 600 + b"\r\n"),
    "greeting.one-line": edit("", then_more),
    "greeting.ascii": says("", "+OK prêt\r\n".encode()),
    "greeting.timestamp-form": says("", b"+OK <today@host>\r\n"),
    "greeting.timestamp-differs": flag("stamp-fixed"),
    "greeting.many": after(5, "", b"-ERR too many\r\n"),
    "quit.before-login": says("QUIT", ERR),
    "quit.closes": flag("stays-open"),
    "quit.one-reply": edit("QUIT", doubled),
    "reply.crlf": edit("XCONFORMANCE", lf),
    "reply.length": says("XCONFORMANCE", b"-ERR " + b"x" * 600 + b"\r\n"),
    "reply.no-echo-of-controls": replaced("*", b"unknown", b"\x1b"),
    "reply.status-then-space": says("XCONFORMANCE", b"-ERRunknown\r\n"),
    "command.lower-case": flag("case"),
    "command.mixed-case": flag("case"),
    "command.unknown": flag("takes-unknown"),
    "command.unknown-goes-on": flag("impatient"),
    "command.unknown-one-reply": edit("XCONFORMANCE", doubled),
    "command.empty": flag("silent-empty"),
    "command.trailing-blank": flag("strict-blanks"),
    "command.bare-lf": flag("only-crlf"),
    "command.by-octets": flag("no-octets"),
    "command.split-line-end": flag("cr-ends"),
    "command.argument-of-40": flag("cuts-lines"),
    "command.line-of-255": flag("cuts-at-200"),
    "command.line-of-10000": flag("cuts-at-200"),
    "command.endless-line": flag("endless"),
    "command.nul": flag("takes-unknown"),
    "command.http": flag("takes-unknown"),
    **{
        f"state.before-login-{verb}": flag("no-states")
        for verb in ("stat", "list", "retr", "dele", "noop", "rset", "top", "uidl")
    },
    **{
        f"state.after-login-{verb}": flag("no-states")
        for verb in ("user", "pass", "apop", "auth", "stls")
    },
    "state.pass-first": flag("pass-first"),
    "state.user-without-name": flag("user-empty"),
    # CAPA
    "capa.exists": says("CAPA", ERR),
    "capa.crlf": edit("CAPA", lf),
    "capa.line-length": announces("X" * 600),
    "capa.form": announces("X-TWO  BLANKS"),
    "capa.arguments-apart": instead("EXPIRE", "EXPIRENEVER"),
    "capa.no-duplicates": announces("TOP"),
    "capa.same-again": flag("capa-changes"),
    "capa.one-reply": edit("CAPA", doubled),
    "capa.lower-case": flag("case"),
    "capa.after-login": flag("no-capa-later"),
    "capa.kept-after-login": flag("forgets-top"),
    "capa.sasl-after-login": flag("forgets-sasl"),
    "capa.known-before-login": flag("late-uidl", capabilities=without("UIDL")),
    "capa.uidl-is-true": says("UIDL", ERR),
    "capa.top-is-true": says("TOP", ERR),
    "capa.user-is-true": says("USER", ERR),
    "capa.user-is-said": silent("USER"),
    "capa.uidl-is-said": silent("UIDL"),
    "capa.sasl-names": instead("SASL", "SASL plain"),
    "capa.login-delay-form": instead("LOGIN-DELAY", "LOGIN-DELAY soon"),
    "capa.expire-form": instead("EXPIRE", "EXPIRE later"),
    "capa.implementation-form": instead("IMPLEMENTATION", "IMPLEMENTATION"),
    "capa.codes-are-said": silent("RESP-CODES", "AUTH-RESP-CODE"),
    # Logging in
    "login.user-pass": says("PASS", ERR),
    "login.wrong-password": flag("any"),
    "login.again": flag("once"),
    "login.user-forgotten": flag("keeps-user"),
    "login.last-user": flag("first-user"),
    "login.unknown-user": flag("tells-unknown"),
    "login.trailing-blank": flag("trims"),
    "login.empty-password": flag("empty-password"),
    "login.secret-not-repeated": refusals("PASS", b"-ERR conformance-sesame is wrong\r\n"),
    "login.auth-code": replaced("PASS", b"[AUTH] ", b""),
    "login.numbers": Proof(
        Faults(flags=frozenset({"wrong-numbers"})), right=frozenset({"told-count"})
    ),
    "apop.works": flag("no-apop"),
    "apop.wrong": flag("any"),
    "apop.goes-on": flag("apop-closes"),
    "auth.alone": edit("AUTH", then_more),
    "auth.unknown-mechanism": flag("takes-unknown"),
    "auth.announced-is-known": flag("no-auth"),
    "auth.cancel": flag("cancel-ok"),
    "auth.cancel-then-login": flag("cancel-closes"),
    "auth.challenge-form": flag("no-space"),
    "auth.not-base64": flag("not-base64"),
    "auth.plain-initial": flag("no-initial"),
    "auth.plain-challenge": flag("plus-ok"),
    "auth.lower-case": flag("case-auth"),
    "auth.plain-wrong": flag("any"),
    "auth.plain-wrong-goes-on": flag("once"),
    "auth.plain-own-authzid": flag("no-authzid"),
    "auth.plain-other-authzid": flag("any-authzid"),
    "auth.plain-malformed": flag("lenient-plain"),
    "auth.plain-trailing-nul": flag("lenient-plain"),
    "auth.plain-line-end": flag("lenient-plain"),
    "auth.equals": flag("equals"),
    "auth.large-response": flag("short-tokens"),
    "auth.large-initial": flag("short-tokens"),
    "auth.login": flag("raw-challenge"),
    "auth.login-wrong": flag("any"),
    "auth.cram-md5": flag("cram-broken"),
    "auth.cram-md5-wrong": flag("any"),
    "auth.cram-md5-differs": flag("cram-fixed"),
    # TLS
    "stls.works": stls(flag("no-stls")),
    "stls.no-second-greeting": stls(flag("greets-again")),
    "stls.capa-inside": stls(flag("no-capa-inside")),
    "stls.not-said-inside": stls(flag("stls-inside")),
    "stls.twice": stls(flag("stls-again")),
    "stls.argument": stls(flag("stls-argument")),
    "stls.injection": stls(flag("injection")),
    "stls.forgets-user": stls(flag("remembers")),
    "stls.login-inside": stls(says("PASS", ERR)),
    "stls.commands-before": stls(flag("line-a-read")),
    "stls.failed-handshake": stls(flag("talks-in-clear")),
    "stls.others-keep-it": stls(flag("stls-for-all")),
    "tls.no-tls-1.0": implicit(context="old"),
    "tls.no-tls-1.1": implicit(context="old"),
    "tls.1.2-or-later": implicit(context="only old"),
    "tls.1.3": implicit(context="only 1.2"),
    "tls.forward-secrecy": implicit(context="plain RSA"),
    "tls.no-plain-rsa": implicit(context="plain RSA"),
    "tls.certificate": implicit(context="wrong name"),
    "tls.certificate-time": implicit(context="ends soon"),
    "tls.close-notify": implicit(flag("no-close-notify")),
    "tls.small-records": implicit(flag("no-octets")),
    "tls.several-commands-a-record": implicit(flag("line-a-read")),
    "tls.garbage": implicit(flag("talks-in-clear")),
    "tls.login": implicit(says("PASS", ERR)),
    # Listings
    "noop.works": says("NOOP", ERR),
    "rset.works": says("RSET", ERR),
    "rset.one-reply": edit("RSET", doubled),
    "quit.after-login": says("QUIT", ERR),
    "stat.form": replaced("STAT", b"+OK ", b"+OK  "),
    "stat.no-leading-zeros": replaced("STAT", b"+OK ", b"+OK 0"),
    "list.form": replaced("LIST", b" ", b"  "),
    "list.crlf": edit("LIST", lf),
    "list.numbers": edit("LIST", without_first),
    "list.count": edit("LIST", without_first),
    "list.octets": flag("list-octets"),
    "list.one": in_one_line("LIST", lambda _: b"+OK 500\r\n"),
    "list.one-is-one-line": in_one_line("LIST", lambda reply: reply + b".\r\n"),
    "list.same-again": counting("LIST", b"\r\n1 ", b"\r\n1 %d"),
    "uidl.exists": says("UIDL", ERR),
    "top.exists": says("TOP", ERR),
    "uidl.form": by_pattern("UIDL", rb"(\d+ \S+)\r\n", rb"\1 more\r\n"),
    "uidl.length": by_pattern("UIDL", rb"(\d+ \S+)\r\n", rb"\1" + b"x" * 80 + b"\r\n"),
    "uidl.characters": by_pattern("UIDL", rb"(\d+ \S+)\r\n", rb"\1" + b"\xe9\r\n"),
    "uidl.distinct": by_pattern("UIDL", rb"(\d+) \S+\r\n", rb"\1 same\r\n"),
    "uidl.numbers": edit("UIDL", without_first),
    "uidl.one": in_one_line("UIDL", lambda _: b"+OK 1 another\r\n"),
    "uidl.one-is-one-line": in_one_line("UIDL", lambda reply: reply + b".\r\n"),
    "uidl.next-session": flag("ids-change"),
    "uidl.after-reading": flag("flags-in-ids"),
    **{
        f"number.{verb}-{kind}": flag("any-number")
        for verb in ("list", "retr", "dele", "top", "uidl")
        for kind in numbers.KINDS
    },
    **{f"number.{what}-missing": flag("any-number") for what in ("retr", "dele", "top", "top-1")},
    # Messages
    "retr.crlf": edit("RETR", lf),
    "retr.octets": flag("list-octets"),
    "retr.octets-in-status": by_pattern("RETR", rb"^\+OK \d+", b"+OK 5"),
    "retr.same-again": flag("changes"),
    "retr.trailing-blank": flag("strict-blanks"),
    "retr.lower-case": flag("case"),
    "retr.nothing-follows": edit("RETR", then_more),
    "retr.header": by_pattern("RETR", rb"octets\r\n", b"octets\r\n>From the store\r\n"),
    "top.zero": edit("TOP", one_line_more),
    "top.one": edit("TOP", one_line_more),
    "top.three": edit("TOP", one_line_more),
    "top.all": edit("TOP", one_line_more),
    "top.lines-negative": flag("any-number"),
    "top.lines-word": flag("any-number"),
    "top.crlf": edit("TOP", lf),
    "top.leaves-list": flag("top-deletes"),
    "message.plain": replaced("RETR", b"line 3", b"line x"),
    "message.dots": edit("RETR", unstuffed),
    "message.dot-last": edit("RETR", unstuffed),
    "message.large": edit("RETR", unstuffed),
    "message.long-line": replaced("RETR", b"l" * 998, b"l" * 900 + b"\r\n" + b"l" * 98),
    "message.octets": edit("RETR", lambda reply: bytes(each & 0x7F for each in reply)),
    "message.blank-lines": edit("RETR", blank_cut),
    "message.header-only": edit("RETR", blank_line_more),
    "message.no-final-newline": edit("RETR", blank_line_more),
    "message.very-long-line": replaced("RETR", b"v" * 70_000, b"v" * 60_000),
    "message.dots-by-top": edit("TOP", unstuffed),
    "message.large-by-top": edit("TOP", unstuffed),
    "message.blank-lines-by-top": edit("TOP", blank_cut),
    "message.cut-by-top": edit("TOP", blank_cut),
    "message.no-doubled-cr": replaced("RETR", b"line 1\r\n", b"line 1\r\r\n"),
    "message.header-stays": by_pattern("RETR", rb"Subject: [^\r]*\r\n", b""),
    "message.octets-in-list": flag("list-octets"),
    # Pipelining
    **{
        f"pipeline.{what}": flag("line-a-read")
        for what in ("announced", "anyway", "many", "login", "retr", "unread", "dele-and-quit")
    },
    "pipeline.by-octets": flag("no-octets"),
    "pipeline.split-anywhere": flag("no-octets"),
    "pipeline.after-quit": flag("answers-after-quit"),
    # UTF8 and LANG
    "utf8.works": says("UTF8", ERR),
    "utf8.then-login": says("PASS", ERR),
    "utf8.after-login": says("UTF8", ERR),
    "utf8.unknown-goes-on": flag("utf8-kills"),
    "utf8.octets": flag("list-octets"),
    "utf8.not-asked-for": flag("list-octets"),
    "utf8.header-in-ascii": flag("raw-header"),
    "lang.list": says("LANG", b"+OK\r\n.\r\n"),
    "lang.choose": in_one_line("LANG", lambda _: ERR),
    "lang.any": in_one_line("LANG", lambda _: ERR),
    "lang.unknown": flag("any-language"),
    "lang.after-login": says("LANG", ERR),
    "lang.not-announced": silent("LANG"),
    # Two sessions
    "lease.exclusive": flag("shared"),
    "lease.answered": flag("waits"),
    "lease.code": replaced("PASS", b"[IN-USE] ", b""),
    "lease.first-goes-on": flag("evicts"),
    "lease.second-tries-again": flag("closes-busy"),
    "lease.free-after-quit": flag("lock-stuck"),
    "lease.free-after-close": flag("lock-stuck"),
    "lease.free-after-reset": flag("lock-stuck"),
    "lease.free-after-reset-in-body": flag("lock-stuck"),
    "snapshot.other-deletes": Proof(
        Faults(flags=frozenset({"shared", "renumbers-live"})), right=frozenset({"shared"})
    ),
    "snapshot.new-mail": flag("no-snapshot"),
    "snapshot.next-session": flag("loses-mail"),
    # Deleting
    "dele.works": says("DELE", ERR),
    "dele.stat": flag("lists-marked"),
    "dele.list": flag("lists-marked"),
    "dele.uidl": flag("lists-marked"),
    "dele.numbers-stay": flag("renumbers"),
    **{
        f"dele.{what}-refused": flag("lists-marked")
        for what in ("retr", "list", "twice", "top", "uidl")
    },
    "rset.list": flag("rset-nothing"),
    "rset.then-quit": flag("rset-nothing"),
    "quit.not-by-close": flag("removes-anyway"),
    "quit.not-by-reset": flag("removes-anyway"),
    "quit.not-half": flag("half-quit"),
    "quit.removes": flag("removes-one-more"),
    "quit.ids-stay": flag("renames"),
    "quit.numbers-begin-again": flag("numbers-go-on"),
    "uidl.not-reused": flag("ids-reused"),
    "empty.stat": replaced("STAT", b"+OK 0 0", b"+OK 0 2"),
    "empty.list": replaced("LIST", b"+OK\r\n.\r\n", ERR),
    "empty.uidl": replaced("UIDL", b"+OK\r\n.\r\n", ERR),
    "empty.retr": refusals("RETR", b"+OK\r\n.\r\n"),
    "idle.minute-before-login": flag("idle"),
    "idle.two-minutes": flag("idle"),
    "idle.ten-minutes": flag("idle"),
}

assert CHECKS  # filled by the import of the checks
