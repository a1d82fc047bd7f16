"""The programs that stand beside Restante: the ceiling, those who hold, Twisted's server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from benchmarks.corpus import PASSWORD, Expected, Group
from benchmarks.ground import Ground, Unavailable, make_certificate
from benchmarks.held import Crowd, Holder, hold_until
from benchmarks.load import Generator, Work
from benchmarks.others import start_ceiling, start_twisted
from benchmarks.processes import stop
from benchmarks.programs import Programs
from benchmarks.servers import Running

from benchmarks import corpus
from restante import Maildir, Pop3Server

FEW = Group("few", 2, (600, 6000, 40))


@pytest.mark.parametrize("crlf", [True, False])
@pytest.mark.parametrize("script", ["poll", "sync", "fetch", "pipelined"])
@pytest.mark.parametrize("channel", ["clear", "tls", "resumed"])
def test_the_ceiling_sends_what_the_maildrops_hold(
    channel: str, script: str, crlf: bool, tmp_path: Path, programs: Programs
) -> None:
    if programs.find("ceiling") is None:
        pytest.skip("there is no C compiler")
    if channel != "clear" and not programs.tls:
        pytest.skip("there are no headers of OpenSSL (libssl-dev)")
    group = Group("few", 2, (600, 6000, 400_000), crlf)
    expected = corpus.fill(tmp_path / "mail", group)
    ground = Ground(tmp_path, tmp_path / "mail", {}, None)
    program = programs.find("ceiling")
    make_certificate(ground)
    process, ports = start_ceiling(program, ground, tmp_path, tmp_path / "log", [group])
    try:
        for _ in range(2):
            work = Work(script, "few", 2, expected, 6, 2, channel)
            outcome = Generator(programs, None).run(ports[channel != "clear"], work)
            assert (outcome.first_violation, outcome.sessions) == ("", 6)
            assert bool(outcome.resumed) == (channel == "resumed")
    finally:
        stop(process)


@pytest.mark.parametrize("script", ["poll", "sync"])
def test_twisted_is_asked_for_what_it_can(script: str, tmp_path: Path, programs: Programs) -> None:
    pytest.importorskip("twisted")
    accounts = dict.fromkeys(FEW.names, PASSWORD)
    expected = corpus.fill(tmp_path / "mail", FEW)
    ground = Ground(tmp_path, tmp_path / "mail", accounts, None)
    process, (port, _) = start_twisted(ground, tmp_path, tmp_path / "log")
    try:
        outcome = Generator(programs, None).run(port, Work(script, "few", 2, expected, 4, 2))
        assert (outcome.first_violation, outcome.sessions) == ("", 4)
    finally:
        stop(process)


def test_without_a_compiler_there_is_no_ceiling(tmp_path: Path) -> None:
    ground = Ground(tmp_path, tmp_path, {}, None)
    with pytest.raises(Unavailable, match="no C compiler"):
        start_ceiling(None, ground, tmp_path, tmp_path / "log")


@contextmanager
def crowd(tmp_path: Path, programs: Programs, accounts: int) -> Iterator[tuple[Crowd, Running]]:
    """A server whose first accounts are there; the crowd has six."""
    if programs.find("hold") is None:
        pytest.skip("there is no C compiler")
    ground = Ground(tmp_path, tmp_path / "mail", {}, None)
    found = Crowd(ground, programs, Generator(programs, None), 6)
    names = [name for name in found.ground.accounts if name not in ("held3", "held4", "held5")]
    there = found.ground.accounts if accounts == 6 else dict.fromkeys(names, PASSWORD)
    store = Maildir(found.ground.maildrops)
    with Pop3Server(accounts=dict(there), store=store, port=0, failure_delay=0) as server:
        yield found, Running("restante", 0, server.port, 0)


def test_sessions_are_held_until_they_are_let_go(tmp_path: Path, programs: Programs) -> None:
    with (
        crowd(tmp_path, programs, 6) as (found, server),
        found.holders(server.port, "clear", 6) as holders,
    ):
        assert hold_until(holders, 2) == ""
        assert hold_until(holders, 6) == ""
        [holder] = holders
        assert (holder.held, holder.alive()) == (6, 6)
        holder.drop(2)
        assert (holder.held, holder.alive()) == (4, 4)
        assert found.polls(server, 3).outcome().first_violation == ""


def test_what_is_in_the_way_of_holding_more_is_told(tmp_path: Path, programs: Programs) -> None:
    with (
        crowd(tmp_path, programs, 3) as (found, server),
        found.holders(server.port, "clear", 6) as holders,
    ):
        assert hold_until(holders, 6).startswith("-ERR")
        assert holders[0].held == 3


def test_sessions_that_have_gone_are_noticed(tmp_path: Path, programs: Programs) -> None:
    with crowd(tmp_path, programs, 6) as (_, server):
        holder = Holder(programs, server.port, "clear")
        holder.hold(0, 3)
    try:
        assert holder.alive() == 0
    finally:
        holder.end()


def test_links_make_the_same_maildrop_as_files(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(corpus.message(1, 4000))
    expected = corpus.link(tmp_path / "box", [source], 5)
    files = corpus.files(tmp_path / "box")
    wire = source.read_bytes()
    assert [file.read_bytes() for file in files] == [wire] * 5
    assert expected == Expected(5, 5 * len(wire), 5 * wire.count(b"\r\n."))


def test_canned_replies_are_stuffed_and_in_wire_form() -> None:
    assert corpus.wire(b"a\n.b\n") == b"a\r\n.b\r\n"
    assert corpus.wire(b"a\r\n") == b"a\r\n"
    assert corpus.stuffed(b".a\r\n.\r\nb.\r\n") == b"..a\r\n..\r\nb.\r\n"
