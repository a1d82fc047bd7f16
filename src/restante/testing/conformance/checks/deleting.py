"""DELE, RSET and what QUIT does. All need an account that may be emptied."""

from __future__ import annotations

from collections.abc import Callable

from restante.testing.conformance.check import add, check
from restante.testing.conformance.failures import hold
from restante.testing.conformance.levels import BREAKS, LOGIN, MUST, SHOULD, WRITE
from restante.testing.conformance.probe import Probe
from restante.testing.conformance.wire import Wire

UIDL = "capa:UIDL"
MARKED = "dots"


def _marked(p: Probe) -> tuple[Wire, dict[str, int], int]:
    """A session in which a message in the middle is marked."""
    wire, numbers = p.session()
    wire.ok(b"DELE %d" % numbers[MARKED])
    return wire, numbers, numbers[MARKED]


def _ids(p: Probe, wire: Wire) -> dict[int, bytes]:
    return p.listing(wire).ids


@check("dele.works", MUST, "RFC 1939 §5 DELE", LOGIN, WRITE)
def works(p: Probe) -> None:
    """DELE is answered +OK."""
    p.changed()
    p.put("plain")
    p.login().ok(b"DELE 1")


@check("dele.stat", MUST, "RFC 1939 §5 STAT, twisted#9094", LOGIN, WRITE)
def stat(p: Probe) -> None:
    """STAT doesn't count marked messages, nor their octets."""
    wire, _ = p.session()
    listed = p.listing(wire).octets
    count, octets = p.count(wire)
    wire.ok(b"DELE 1")
    now = p.count(wire)
    hold(now == (count - 1, octets - listed[1]), f"{count} {octets} became {now[0]} {now[1]}")


@check("dele.list", MUST, "RFC 1939 §5 LIST, twisted#9094", LOGIN, WRITE)
def list_(p: Probe) -> None:
    """LIST doesn't have marked messages."""
    wire, _, number = _marked(p)
    hold(number not in p.listing(wire).octets, f"{number} is still listed")


@check("dele.uidl", MUST, "RFC 1939 §7 UIDL", LOGIN, WRITE, UIDL)
def uidl(p: Probe) -> None:
    """UIDL doesn't have marked messages."""
    wire, _, number = _marked(p)
    hold(number not in _ids(p, wire), f"{number} is still there")


@check("dele.numbers-stay", MUST, "RFC 1939 §4", LOGIN, WRITE)
def numbers_stay(p: Probe) -> None:
    """The other messages keep their numbers and octets."""
    wire, _ = p.session()
    before = p.listing(wire).octets
    wire.ok(b"DELE 1")
    after = p.listing(wire).octets
    del before[1]
    hold(after == before, f"{before} became {after}")


def _refused(command: str, name: str, section: str, needs: tuple[str, ...] = ()) -> None:
    def run(p: Probe) -> None:
        wire, _, number = _marked(p)
        wire.err(command.format(number).encode())

    verb = command.split(maxsplit=1)[0]
    add(
        f"dele.{name}",
        MUST,
        f"RFC 1939 {section} {verb}",
        f"{verb} of a marked message is answered -ERR.",
        run,
        (LOGIN, WRITE, *needs),
    )


_refused("RETR {}", "retr-refused", "§5")
_refused("LIST {}", "list-refused", "§5")
_refused("DELE {}", "twice-refused", "§5")
_refused("TOP {} 0", "top-refused", "§7", ("capa:TOP",))
_refused("UIDL {}", "uidl-refused", "§7", (UIDL,))


@check("rset.list", MUST, "RFC 1939 §5 RSET", LOGIN, WRITE)
def rset_list(p: Probe) -> None:
    """After RSET the listing is the one of before, and STAT too."""
    wire, numbers = p.session()
    before, count = p.listing(wire), p.count(wire)
    for number in numbers.values():
        wire.ok(b"DELE %d" % number)
    wire.ok(b"RSET")
    hold(p.listing(wire) == before, "the listing differs")
    hold(p.count(wire) == count, "STAT differs")


@check("rset.then-quit", MUST, "RFC 1939 §5 RSET", LOGIN, WRITE)
def rset_then_quit(p: Probe) -> None:
    """After RSET and QUIT all messages are still there."""
    wire, numbers, _ = _marked(p)
    wire.ok(b"RSET")
    wire.quit()
    _all_there(p, numbers)


def _all_there(p: Probe, numbers: dict[str, int]) -> None:
    p.changed()
    found = p.numbers(p.login())
    hold(set(found) == set(numbers), f"missing: {sorted(set(numbers) - set(found))}")
    p.state.seeded = True


def _ended_otherwise(name: str, level_source: str, title: str, end: Callable[[Wire], None]) -> None:
    def run(p: Probe) -> None:
        wire, numbers, _ = _marked(p)
        end(wire)
        _all_there(p, numbers)

    add(f"quit.{name}", MUST, level_source, title, run, (LOGIN, WRITE))


_ended_otherwise(
    "not-by-close",
    "RFC 1939 §6",
    "A connection that is closed without QUIT removes nothing.",
    Wire.drop,
)
_ended_otherwise(
    "not-by-reset", "RFC 1939 §6", "A connection that is reset removes nothing.", Wire.reset
)


@check("quit.not-half", MUST, "RFC 1939 §6", LOGIN, WRITE)
def not_half(p: Probe) -> None:
    """ "QUIT" without its line end, and then the end, removes nothing."""
    wire, numbers, _ = _marked(p)
    wire.send(b"QUIT")
    wire.drop()
    _all_there(p, numbers)


@check("quit.removes", MUST, "RFC 1939 §6", LOGIN, WRITE)
def removes(p: Probe) -> None:
    """+OK to QUIT is true: what was marked is gone in the next session, and nothing else."""
    wire, numbers, _ = _marked(p)
    p.changed()
    reply = wire.quit()
    hold(reply.ok, f"QUIT is answered {reply}")
    left = set(p.numbers(p.login()))
    hold(left == set(numbers) - {MARKED}, f"left are {sorted(left)}")


@check("quit.ids-stay", MUST, "RFC 1939 §7 UIDL", LOGIN, WRITE, UIDL)
def ids_stay(p: Probe) -> None:
    """What is left keeps its unique-ids when others are removed."""
    wire, numbers = p.session()
    ids = _ids(p, wire)
    before = {name: ids.get(number) for name, number in numbers.items()}
    wire.ok(b"DELE %d" % numbers["plain"])
    p.changed()
    wire.quit()
    wire = p.login()
    ids = _ids(p, wire)
    for name, number in p.numbers(wire).items():
        hold(ids.get(number) == before[name], f"{before[name]!r} became {ids.get(number)!r}")


@check("quit.numbers-begin-again", MUST, "RFC 1939 §4", LOGIN, WRITE)
def numbers_begin_again(p: Probe) -> None:
    """In the next session the numbers are 1, 2, 3 … again."""
    wire, _ = p.session()
    wire.ok(b"DELE 1")
    p.changed()
    wire.quit()
    numbers = list(p.listing(p.login()).octets)
    hold(numbers == list(range(1, len(numbers) + 1)), f"the numbers are {numbers}")


@check("uidl.not-reused", SHOULD, "RFC 1939 §7 UIDL", LOGIN, WRITE, UIDL)
def not_reused(p: Probe) -> None:
    """A new message doesn't get the unique-id of one that was removed."""
    wire, _ = p.session()
    old = set(_ids(p, wire).values())
    wire.quit()
    p.empty()
    p.put_other(2)
    new = set(_ids(p, p.login()).values())
    hold(not old & new, f"again: {sorted(old & new)!r}")


@check("pipeline.dele-and-quit", BREAKS, "RFC 2449 §6.6", LOGIN, WRITE)
def dele_and_quit(p: Probe) -> None:
    """DELE of all messages and QUIT in one write remove all: some clients end so."""
    wire, _ = p.session()
    count, _ = p.count(wire)
    p.changed()
    wire.send(b"".join(b"DELE %d\r\n" % (n + 1) for n in range(count)) + b"QUIT\r\n")
    for each in range(count + 1):
        reply = wire.status()
        hold(reply.ok, f"reply {each + 1} of {count + 1} is {reply}")
    wire.rest()
    left, _ = p.count(p.login())
    hold(left == 0, f"{left} of {count} are left")


def _empty(p: Probe) -> Wire:
    p.empty()
    return p.login()


@check("empty.stat", MUST, "RFC 1939 §5 STAT", LOGIN, WRITE)
def empty_stat(p: Probe) -> None:
    """An empty maildrop has 0 messages and 0 octets."""
    reply = _empty(p).ok(b"STAT")
    hold(reply.line.startswith(b"+OK 0 0"), f"STAT is answered {reply}")


@check("empty.list", MUST, "RFC 1939 §5 LIST", LOGIN, WRITE)
def empty_list(p: Probe) -> None:
    """LIST of an empty maildrop is +OK and the terminator."""
    lines = _empty(p).multi(b"LIST")
    hold(not lines, f"LIST has {lines!r}")


@check("empty.uidl", MUST, "RFC 1939 §7 UIDL", LOGIN, WRITE, UIDL)
def empty_uidl(p: Probe) -> None:
    """UIDL of an empty maildrop is +OK and the terminator."""
    lines = _empty(p).multi(b"UIDL")
    hold(not lines, f"UIDL has {lines!r}")


@check("empty.retr", MUST, "RFC 1939 §5 RETR", LOGIN, WRITE)
def empty_retr(p: Probe) -> None:
    """RETR 1 of an empty maildrop is answered -ERR."""
    _empty(p).err(b"RETR 1")
