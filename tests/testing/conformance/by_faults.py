"""For each check: the fault of the kit that it catches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from restante.server.settings import SettingsGiven
from restante.testing.authority import CertificateKind
from restante.testing.conformance.checks import numbers
from restante.testing.conformance.seed import CORPUS
from restante.testing.faults import (
    BrokenLines,
    BrokenMechanism,
    BrokenPipelining,
    BrokenStls,
    ChangedUniqueId,
    Close,
    CutHandshake,
    DeletesAtOnce,
    DeletionForgotten,
    ExtraLines,
    Fault,
    Hang,
    LeaseKept,
    LineLimit,
    LoginFails,
    LoneLf,
    LongLine,
    LongUniqueId,
    NoCloseNotify,
    NoFinalCrlf,
    NoLease,
    NoReply,
    NoUniqueId,
    NumberGap,
    OldTls,
    Raw,
    Refused,
    ReusedUniqueId,
    SameUniqueId,
    Text,
    Twice,
    Unstuffed,
    Without,
    WrongOctets,
    WrongStat,
)

NAME = "joe"

OK = b"+OK\r\n"


@dataclass(frozen=True)
class ByFault:
    """fault: None: one of the server's settings, or its certificate, is what fails.

    tls: how the checks speak to the server. certificate: its kind, and settings: of `MailServer`;
    both are those of the server that fails. beside: a fault that the server has in either case:
    what the check is about shows only then.
    """

    fault: Fault | None
    tls: str = "none"
    certificate: CertificateKind = "valid"
    settings: SettingsGiven = field(default_factory=SettingsGiven)
    beside: Fault | None = None


def listed(*lines: str) -> bytes:
    """A reply of several lines."""
    return "".join(f"{line}\r\n" for line in ("+OK", *lines, ".")).encode()


def capa(*lines: str) -> Fault:
    return Raw("CAPA", listed(*lines))


def message(name: str, body: bytes, verb: str = "RETR") -> Fault:
    """A message of the corpus has another body."""
    number = list(CORPUS).index(name) + 1
    header = b"Subject: Conformance\r\nX-Conformance: %b\r\n\r\n" % name.encode()
    return Raw(f"{verb} {number}", b"+OK\r\n" + header + body + b".\r\n")


def each(ids: Iterable[str], fault: Fault, tls: str = "none") -> dict[str, ByFault]:
    return {id: ByFault(fault, tls) for id in ids}


def agrees(verb: str, nth: int | None = None) -> Fault:
    """+OK, and nothing is done."""
    return Raw(verb, OK, obeyed=False, nth=nth)


FOUR_LINES = listed("Subject: x", "", "1", "2", "3", "4")

BY_FAULT: dict[str, ByFault] = {
    **each(["greeting.positive"], Refused("greeting")),
    **each(["greeting.crlf"], LoneLf("greeting")),
    **each(["greeting.length"], LongLine("greeting")),
    **each(["greeting.one-line"], Raw("greeting", b"+OK ready\r\nmore\r\n")),
    **each(["greeting.ascii"], Raw("greeting", "+OK prêt\r\n".encode())),
    **each(["greeting.timestamp-form"], Raw("greeting", b"+OK <today@host>\r\n")),
    **each(["greeting.timestamp-differs"], Raw("greeting", b"+OK <1.2@localhost>\r\n")),
    **each(["greeting.many"], Refused("greeting", nth=6)),
    **each(
        [
            "quit.before-login", "quit.after-login", "command.lower-case", "command.mixed-case",
            "command.trailing-blank", "command.bare-lf",
        ],
        Refused("QUIT"),
    ),
    **each(["quit.closes"], Hang("QUIT", after=len(b"+OK bye\r\n"))),
    **each(["quit.one-reply"], Twice("QUIT")),
    **each(["reply.crlf"], LoneLf("QUIT")),
    **each(["reply.length"], LongLine("USER")),
    **each(["reply.status-then-space"], Raw("QUIT", b"+OKbye\r\n")),
    **each(["reply.no-echo-of-controls"], Raw("unknown", b"-ERR what is X\x1b[31m?\r\n")),
    # Lines
    **each(["command.unknown", "command.nul"], agrees("unknown")),
    **each(["command.http"], Raw("unknown", OK * 3)),
    **each(["command.unknown-goes-on"], Close("unknown", nth=2)),
    **each(["command.unknown-one-reply"], Twice("unknown")),
    **each(["command.empty"], NoReply("unknown")),
    **each(["command.by-octets"], BrokenLines()),
    **each(["command.split-line-end"], BrokenLines("cr")),
    **each(["command.argument-of-40"], LineLimit(40)),
    **each(["command.line-of-255", "command.line-of-10000"], LineLimit(200)),
    **each(["command.endless-line"], LineLimit(200, rest="dropped")),
    # States
    **{
        f"state.before-login-{verb}": ByFault(agrees(verb.upper()))
        for verb in ("stat", "list", "retr", "dele", "noop", "rset", "top", "uidl")
    },
    **{
        f"state.after-login-{verb}": ByFault(Raw(verb.upper(), OK, obeyed=False, account=NAME))
        for verb in ("user", "pass", "apop", "auth", "stls")
    },
    **each(["state.pass-first"], agrees("PASS")),
    **each(["state.user-without-name"], agrees("USER")),
    # CAPA
    **each(["capa.exists"], Without("CAPA")),
    **each(["capa.crlf"], LoneLf("CAPA")),
    **each(["capa.line-length"], capa("X" * 600)),
    **each(["capa.form"], capa("X-TWO  BLANKS")),
    **each(["capa.arguments-apart"], capa("EXPIRENEVER")),
    **each(["capa.no-duplicates"], capa("TOP", "TOP")),
    **each(["capa.same-again"], Raw("CAPA", listed("TOP"), nth=2)),
    **each(["capa.lower-case"], Refused("CAPA", nth=2)),
    **each(["capa.one-reply"], Twice("CAPA")),
    **each(["capa.after-login"], Refused("CAPA", account=NAME)),
    **each(
        ["capa.kept-after-login", "capa.sasl-after-login"],
        Raw("CAPA", listed("USER"), account=NAME),
    ),
    **each(["capa.known-before-login"], Raw("CAPA", listed("USER"), once=True)),
    **each(["capa.uidl-is-true", "uidl.exists"], Refused("UIDL")),
    **each(["capa.top-is-true", "top.exists"], Refused("TOP")),
    **each(["capa.user-is-true"], Refused("USER")),
    **each(["capa.user-is-said", "capa.uidl-is-said", "lang.not-announced"], capa("TOP")),
    **each(["capa.codes-are-said"], capa("USER")),
    **each(["capa.sasl-names"], capa("SASL plain")),
    **each(["capa.login-delay-form"], capa("LOGIN-DELAY soon")),
    **each(["capa.expire-form"], capa("EXPIRE later")),
    **each(["capa.implementation-form"], capa("IMPLEMENTATION")),
    # Logging in
    **each(["login.user-pass"], LoginFails()),
    **each(["login.again"], Refused("PASS", nth=2)),
    **each(
        ["login.wrong-password", "login.trailing-blank", "login.empty-password"], agrees("PASS")
    ),
    **each(["login.user-forgotten"], agrees("PASS", nth=2)),
    **each(["login.last-user"], Refused("USER", nth=2)),
    **each(["login.unknown-user"], Refused("USER conformance-nobody", text="no such user")),
    **each(["login.secret-not-repeated"], Raw("PASS", b"-ERR conformance-sesame is wrong\r\n")),
    **each(["login.auth-code"], Refused("PASS")),
    **each(["login.numbers"], Text("PASS", "999 messages")),
    **each(["apop.works"], Refused("APOP")),
    **each(["apop.wrong"], agrees("APOP")),
    **each(["apop.goes-on"], Close("APOP")),
    **each(["auth.alone"], Twice("AUTH")),
    **each(["auth.announced-is-known"], BrokenMechanism("PLAIN", how="refused")),
    **each(["auth.cancel", "auth.not-base64", "auth.cram-md5-wrong"], agrees("AUTH", nth=2)),
    **each(["auth.cancel-then-login", "auth.large-response"], Close("AUTH", nth=2)),
    **each(["auth.challenge-form"], Raw("AUTH", b"+\r\n")),
    **each(["auth.plain-challenge"], Raw("AUTH", b"+OK \r\n")),
    **each(
        ["auth.plain-initial", "auth.lower-case", "auth.plain-own-authzid"], Refused("AUTH")
    ),
    **each(
        [
            "auth.unknown-mechanism", "auth.plain-wrong", "auth.plain-other-authzid",
            "auth.plain-malformed", "auth.plain-trailing-nul", "auth.plain-line-end",
            "auth.equals",
        ],
        agrees("AUTH"),
    ),
    **each(["auth.plain-wrong-goes-on", "auth.large-initial"], Close("AUTH")),
    **each(["auth.login"], Raw("AUTH", b"+ Username:\r\n")),
    **each(["auth.login-wrong"], agrees("AUTH", nth=3)),
    **each(["auth.cram-md5"], BrokenMechanism("CRAM-MD5")),
    **each(["auth.cram-md5-differs"], Raw("AUTH", b"+ PDFAY2FubmVkPg==\r\n")),
    # TLS
    **each(["stls.works"], Refused("STLS"), "stls"),
    **each(["stls.not-said-inside"], capa("STLS"), "stls"),
    **each(["stls.twice"], agrees("STLS", nth=2), "stls"),
    **each(["stls.argument"], agrees("STLS"), "stls"),
    **each(["stls.forgets-user"], agrees("PASS"), "stls"),
    **each(["stls.login-inside"], LoginFails(), "stls"),
    **each(["stls.no-second-greeting"], BrokenStls("greeting"), "stls"),
    **each(["stls.capa-inside"], Refused("CAPA"), "stls"),
    **each(["stls.injection"], BrokenStls("injection"), "stls"),
    **each(["stls.failed-handshake"], CutHandshake("text"), "stls"),
    **each(["stls.others-keep-it"], capa("TOP"), "stls"),
    **each(["stls.commands-before"], BrokenPipelining(), "stls"),
    **each(
        ["tls.no-tls-1.0", "tls.no-tls-1.1", "tls.1.2-or-later", "tls.1.3"], OldTls(), "implicit"
    ),
    **{
        id: ByFault(OldTls("rsa-keys"), "implicit", "rsa")
        for id in ("tls.forward-secrecy", "tls.no-plain-rsa")
    },
    "tls.certificate": ByFault(None, "implicit", "wrong-name"),
    "tls.certificate-time": ByFault(None, "implicit", "ends-soon"),
    **each(["tls.small-records"], BrokenLines(), "implicit"),
    **each(["tls.garbage"], CutHandshake("text"), "implicit"),
    **each(["tls.close-notify"], NoCloseNotify(), "implicit"),
    **each(["tls.several-commands-a-record"], BrokenPipelining(), "implicit"),
    **each(["tls.login"], LoginFails(), "implicit"),
    # Listings
    **each(["noop.works"], Refused("NOOP")),
    **each(["rset.works"], Refused("RSET")),
    **each(["rset.one-reply"], Twice("RSET")),
    **each(["stat.form"], Raw("STAT", b"+OK  11 500\r\n")),
    **each(["stat.no-leading-zeros"], Raw("STAT", b"+OK 011 500\r\n")),
    **each(["list.form"], Raw("LIST", listed("1  500"))),
    **each(["list.crlf"], LoneLf("LIST")),
    **each(["list.numbers", "quit.numbers-begin-again"], NumberGap(1)),
    **each(["list.count"], WrongStat(messages=1)),
    **each(["list.octets"], WrongStat(octets=1)),
    **each(["list.one"], Text("LIST", "500")),
    **each(["list.one-is-one-line"], ExtraLines("LIST")),
    **each(["list.same-again"], Raw("LIST", listed("1 500"), nth=2)),
    **each(["uidl.form"], Raw("UIDL", listed("1 one more"))),
    **each(["uidl.length"], LongUniqueId()),
    **each(["uidl.characters"], Raw("UIDL", "+OK\r\n1 é\r\n.\r\n".encode())),
    **each(["uidl.distinct"], SameUniqueId()),
    **each(["uidl.numbers"], NoUniqueId(2)),
    **each(["uidl.one"], Text("UIDL", "1 another")),
    **each(["uidl.one-is-one-line"], ExtraLines("UIDL")),
    **each(["uidl.next-session", "uidl.after-reading", "quit.ids-stay"], ChangedUniqueId()),
    **{
        f"number.{verb}-{kind}": ByFault(agrees(verb.upper()))
        for verb in ("list", "retr", "dele", "top", "uidl")
        for kind in numbers.KINDS
    },
    **each(["number.retr-missing"], agrees("RETR")),
    **each(["number.dele-missing"], agrees("DELE")),
    **each(["number.top-missing", "number.top-1-missing"], agrees("TOP")),
    # Messages
    **each(["retr.crlf"], LoneLf("RETR")),
    **each(
        ["retr.octets", "message.octets-in-list", "utf8.octets", "utf8.not-asked-for"],
        WrongOctets(),
    ),
    **each(["retr.octets-in-status"], Text("RETR", "5 octets")),
    **each(["retr.same-again"], Raw("RETR", FOUR_LINES, nth=2)),
    **each(["retr.trailing-blank", "retr.lower-case"], Refused("RETR")),
    **each(["retr.nothing-follows"], Twice("RETR")),
    **each(["retr.header"], Raw("RETR", listed(">From the store", "", "text"))),
    **each(["top.zero", "top.one", "top.three", "top.all"], Raw("TOP", FOUR_LINES)),
    **each(["top.leaves-list"], Raw("LIST", listed("1 500"), nth=3)),
    **each(["top.lines-negative", "top.lines-word"], agrees("TOP")),
    **each(["top.crlf"], LoneLf("TOP")),
    **each(["message.plain"], message("plain", b"another\r\n")),
    **each(["message.dots", "message.dot-last", "message.large"], Unstuffed("RETR")),
    **each(["message.long-line"], message("long-line", b"l" * 900 + b"\r\n" + b"l" * 98)),
    **each(["message.octets"], message("octets", b"end\r\n")),
    **each(["message.blank-lines"], message("blank-lines", b"\r\n\r\nmiddle\r\n\r\n")),
    **each(["message.header-only"], message("header-only", b"\r\n")),
    **each(["message.no-final-newline"], NoFinalCrlf("RETR")),
    **each(["message.very-long-line"], message("very-long-line", b"v" * 60_000 + b"\r\nend\r\n")),
    **each(["message.dots-by-top", "message.large-by-top"], Unstuffed("TOP")),
    **each(["message.blank-lines-by-top"], message("blank-lines", b"\r\nmiddle\r\n", "TOP")),
    **each(["message.cut-by-top"], message("blank-lines", b"\r\n", "TOP")),
    **each(["message.no-doubled-cr"], message("plain", b"line 1\r\r\n")),
    **each(["message.header-stays"], message("plain", b"line 1\r\n")),
    **each(
        ["utf8.header-in-ascii"], Raw("RETR", "+OK\r\nReply-To: naïve\r\n\r\n.\r\n".encode())
    ),
    # Pipelining
    **{
        f"pipeline.{what}": ByFault(BrokenPipelining())
        for what in ("announced", "anyway", "many", "login", "retr", "unread", "dele-and-quit")
    },
    **each(["pipeline.by-octets", "pipeline.split-anywhere"], BrokenLines()),
    **each(["pipeline.after-quit"], Raw("QUIT", b"+OK bye\r\n+OK\r\n+OK 0 0\r\n")),
    # UTF8 and LANG
    **each(["utf8.works", "utf8.after-login"], Refused("UTF8")),
    **each(["utf8.then-login"], LoginFails()),
    **each(["utf8.unknown-goes-on"], Close("UTF8")),
    **each(["lang.list"], Raw("LANG", b"+OK\r\n.\r\n")),
    **each(["lang.choose"], Refused("LANG en")),
    **each(["lang.any"], Refused("LANG *")),
    **each(["lang.unknown"], agrees("LANG")),
    **each(["lang.after-login"], Refused("LANG", account=NAME)),
    # Two sessions
    **each(["lease.exclusive"], NoLease()),
    **each(["lease.answered"], NoReply("PASS", connection=2)),
    **each(["lease.code"], Refused("PASS", text="in use", connection=3)),
    **each(["lease.first-goes-on"], Close("STAT", connection=1)),
    **each(["lease.second-tries-again"], Close("PASS", connection=2)),
    **each(
        ["lease.free-after-close", "lease.free-after-reset", "lease.free-after-reset-in-body"],
        LeaseKept(),
    ),
    "snapshot.other-deletes": ByFault(Raw("RETR", FOUR_LINES, nth=2), beside=NoLease()),
    **each(["snapshot.new-mail"], Raw("LIST", listed("1 500"), nth=3)),
    **each(["snapshot.next-session"], Raw("STAT", b"+OK 11 500\r\n")),
    **each(["lease.free-after-quit"], LoginFails("IN-USE", nth=2)),
    # Deleting
    **each(["dele.works"], Refused("DELE")),
    **each(
        [
            "dele.stat", "dele.list", "dele.uidl", "dele.twice-refused", "dele.retr-refused",
            "dele.top-refused", "dele.list-refused", "dele.uidl-refused",
        ],
        agrees("DELE"),
    ),
    **each(["rset.list", "rset.then-quit"], agrees("RSET")),
    **each(["dele.numbers-stay"], Raw("LIST", listed("1 500"), nth=3)),
    **each(["quit.not-by-close", "quit.not-by-reset", "quit.not-half"], DeletesAtOnce()),
    **each(["uidl.not-reused"], ReusedUniqueId()),
    **each(["quit.removes"], DeletionForgotten()),
    **each(["empty.stat"], Raw("STAT", b"+OK 1 5\r\n")),
    **each(["empty.list"], Raw("LIST", listed("1 5"))),
    **each(["empty.uidl"], Raw("UIDL", listed("1 a"))),
    **each(["empty.retr"], agrees("RETR")),
    # Idle time
    **{
        f"idle.{how_long}": ByFault(None, settings={"idle_timeout": 0.05})
        for how_long in ("minute-before-login", "two-minutes", "ten-minutes")
    },
}  # fmt: skip
