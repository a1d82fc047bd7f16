"""Message-numbers that are none, for each command that takes one."""

from __future__ import annotations

from restante.testing.conformance.check import add
from restante.testing.conformance.failures import hold
from restante.testing.conformance.levels import LOGIN, MAIL, MUST, SHOULD, WRITE, Level
from restante.testing.conformance.probe import Probe

KINDS: dict[str, tuple[Level, str, str]] = {
    "zero": (MUST, "0", "is 0"),
    "past-the-last": (MUST, "", "is past the last"),
    "word": (MUST, "one", "is a word"),
    "negative": (MUST, "-1", "is negative"),
    "fraction": (SHOULD, "1.5", "is a fraction"),
    # 2^32 + 1 and 2^64 + 1, which are 1 to whoever counts with so many bits.
    "wraps-32-bits": (SHOULD, "4294967297", "is 4294967297"),
    "wraps-64-bits": (SHOULD, "18446744073709551617", "is 18446744073709551617"),
}

# DELE with a number that a server may take for another one is for accounts that may be emptied.
_DANGEROUS = ("fraction", "wraps-32-bits", "wraps-64-bits")


def _refused(verb: str, kind: str) -> None:
    level, text, words = KINDS[kind]

    def run(p: Probe) -> None:
        if verb == "DELE" and kind in _DANGEROUS:
            p.fill()
            wire = p.login()
            wire.marked = True  # whatever comes of it is forgotten
        else:
            wire = p.login()
        number = text or str(p.count(wire)[0] + 1)
        reply = wire.command(f"{verb} {number}{' 0' if verb == 'TOP' else ''}".encode())
        hold(reply.err, f"it is answered {reply}")
        wire.ok(b"NOOP")

    extra = {"TOP": ("capa:TOP",), "UIDL": ("capa:UIDL",)}.get(verb, ())
    needs = (WRITE,) if verb == "DELE" and kind in _DANGEROUS else (MAIL,)
    section = "§7 " if verb in ("TOP", "UIDL") else "§5 "
    add(
        f"number.{verb.lower()}-{kind}",
        level,
        f"RFC 1939 {section}{verb}",
        f"{verb} is answered -ERR when the message-number {words}.",
        run,
        (LOGIN, *needs, *extra),
    )


for _verb in ("LIST", "RETR", "DELE", "TOP", "UIDL"):
    for _kind in KINDS:
        _refused(_verb, _kind)


def _missing(line: str, what: str, needs: tuple[str, ...] = ()) -> None:
    def run(p: Probe) -> None:
        wire = p.login()
        wire.err(line.encode())
        wire.ok(b"NOOP")

    verb = line.split(maxsplit=1)[0]
    add(
        f"number.{line.lower().replace(' ', '-')}-{what}",
        MUST,
        f"RFC 1939 §{'7' if verb == 'TOP' else '5'} {verb}",
        f"{verb} without its {'second ' if ' ' in line else ''}number is answered -ERR.",
        run,
        (LOGIN, *needs),
    )


_missing("RETR", "missing")
_missing("DELE", "missing")
_missing("TOP", "missing")
_missing("TOP 1", "missing", (MAIL, "capa:TOP"))
