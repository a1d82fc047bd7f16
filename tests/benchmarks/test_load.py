"""What the load generators must notice: the Python one, and the C program if it compiles."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from benchmarks.corpus import PASSWORD, Expected, Group
from benchmarks.ground import Ground, make_certificate
from benchmarks.load import Generator, Outcome, Work, converse_all
from benchmarks.programs import Programs

from benchmarks import corpus
from restante import Certificate, Maildir, Pop3Server, TlsSettings
from restante.testing import MailAccount, MailServer
from restante.testing.faults import (
    Close,
    Fault,
    LongUniqueId,
    ManyMessages,
    NumberGap,
    Raw,
    Refused,
    SameUniqueId,
    Twice,
    Unstuffed,
    WrongOctets,
    WrongStat,
)

GROUP = Group("few", 2, (600, 6000, 40))
SCRIPTS = ["poll", "sync", "fetch", "pipelined", "drain"]


def generators(programs: Programs, channel: str = "clear") -> list[Callable[[int, Work], Outcome]]:
    found: list[Callable[[int, Work], Outcome]] = [converse_all]
    if programs.find("load") and (programs.tls or channel == "clear"):
        found.append(Generator(programs, None).run)
    return found


@pytest.mark.parametrize("crlf", [True, False])
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_server_in_order_has_no_violations(
    script: str, crlf: bool, tmp_path: Path, programs: Programs
) -> None:
    group = Group("few", 2, GROUP.sizes, crlf)
    accounts = dict.fromkeys(group.names, PASSWORD)
    with Pop3Server(accounts=accounts, store=Maildir(tmp_path), port=0) as server:
        for generate in generators(programs):
            expected = corpus.fill(tmp_path, group)
            outcome = generate(server.port, Work(script, group.prefix, 2, expected, 2, 2))
            assert outcome.first_violation == ""
            assert (outcome.sessions, outcome.violations) == (2, 0)
            assert outcome.octets > 0
            assert 0 < outcome.p50_ms <= outcome.p99_ms <= outcome.longest_ms


ONE, TWO = b"a: b\r\n\r\n.\r\n", b"a: b\r\n\r\n" + b"x" * 20 + b"\r\n"
OCTETS = len(ONE) + len(TWO)


@contextmanager
def failing(*faults: Fault, messages: Sequence[bytes] = (ONE, TWO)) -> Iterator[int]:
    """The port of a server that has these messages for everybody, and fails so."""

    def fill(account: MailAccount) -> None:
        for name, message in zip("ab", messages, strict=False):
            account.add(message, name)

    with MailServer(any_login=fill, faults=faults) as server:
        yield server.port


LISTS: dict[str, list[Fault]] = {
    "in order": [],
    "another sum": [WrongOctets(message=2)],
    "no octets": [Raw("LIST", b"+OK\r\n1 11\r\n2\r\n.\r\n")],
    "a message missing": [Raw("LIST", b"+OK\r\n1 11\r\n.\r\n")],
    "a number left out": [NumberGap(2)],
    "STAT says another": [WrongStat(octets=1)],
    "the same unique-id twice": [SameUniqueId()],
    "no unique-id": [Raw("UIDL", b"+OK\r\n1 a\r\n2 \r\n.\r\n")],
    "a unique-id too long": [LongUniqueId()],
    "a blank in a unique-id": [Raw("UIDL", b"+OK\r\n1 a\r\n2 b c\r\n.\r\n")],
    "octets after QUIT": [Twice("QUIT")],
}


@pytest.mark.parametrize("what", LISTS)
def test_lists_are_checked_line_by_line(what: str, programs: Programs) -> None:
    work = Work("sync", "joe", 1, Expected(2, OCTETS, 0), 1, 1)
    with failing(*LISTS[what]) as port:
        for generate in generators(programs):
            assert bool(generate(port, work).violations) == (what != "in order")


def test_more_messages_than_are_ever_fetched_are_listed(programs: Programs) -> None:
    work = Work("sync", "joe", 1, Expected(3000, 3000 * 64, 0), 1, 1)
    with failing(ManyMessages(3000, octets=64), messages=()) as port:
        for generate in generators(programs):
            assert generate(port, work).first_violation == ""


def answer(text: bytes) -> list[Fault]:
    return [Raw("RETR", b"+OK\r\n" + text)]


ANSWERS: dict[str, list[Fault]] = {
    "in order": [],
    "bare LF": answer(b"a: b\n\r\n..\r\n.\r\n"),
    "a lone CR": answer(b"a:\rb\r\n\r\n..\r\n.\r\n"),
    "CR CR LF": answer(b"a: b\r\r\n\r\n..\r\n.\r\n"),
    "a dot not stuffed": [Unstuffed("RETR")],
    "octets missing": answer(b"a: \r\n\r\n..\r\n.\r\n"),
    "octets too many": answer(b"a: bc\r\n\r\n..\r\n.\r\n"),
    "another message's dots": answer(b"a: b\r\n\r\na\r\n.\r\n"),
    "a refusal": [Refused("RETR")],
    "an early end": [Close("RETR", after=5)],
}


@pytest.mark.parametrize("what", ANSWERS)
def test_messages_are_checked_octet_by_octet(what: str, programs: Programs) -> None:
    work = Work("fetch", "joe", 1, Expected(1, len(ONE), 1), 1, 1)
    with failing(*ANSWERS[what], messages=[ONE]) as port:
        for generate in generators(programs):
            assert bool(generate(port, work).violations) == (what != "in order")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """A folder with a certificate."""
    pytest.importorskip("cryptography", reason="makes the certificate")
    folder = tmp_path_factory.mktemp("tls")
    found = Ground(folder, folder / "mail", {}, None)
    make_certificate(found)
    return found


@pytest.mark.parametrize("channel", ["tls", "resumed"])
@pytest.mark.parametrize("script", ["poll", "fetch"])
def test_tls_full_and_resumed(
    script: str, channel: str, ground: Ground, programs: Programs
) -> None:
    expected = corpus.fill(ground.maildrops, GROUP)
    accounts, store = dict.fromkeys(GROUP.names, PASSWORD), Maildir(ground.maildrops)
    certificate = Certificate(ground.certificate, ground.key)
    with Pop3Server(
        accounts=accounts, store=store, port=0, tls="implicit", certificate=certificate
    ) as server:
        for generate in generators(programs, channel):
            outcome = generate(server.port, Work(script, GROUP.prefix, 2, expected, 6, 2, channel))
            assert outcome.first_violation == ""
            assert outcome.resumed == (4 if channel == "resumed" else 0)


def test_what_should_be_resumed_and_is_not_counts(ground: Ground, programs: Programs) -> None:
    tls = TlsSettings(Certificate(ground.certificate, ground.key))
    tls.context.num_tickets = 0
    work = Work("poll", GROUP.prefix, 1, corpus.fill(ground.maildrops, GROUP), 3, 1, "resumed")
    accounts, store = dict.fromkeys(GROUP.names, PASSWORD), Maildir(ground.maildrops)
    with Pop3Server(
        accounts=accounts, store=store, port=0, tls="implicit", tls_settings=tls
    ) as server:
        for generate in generators(programs, "resumed"):
            outcome = generate(server.port, work)
            assert outcome.first_violation == "0 of 3 sessions were resumed"


def test_without_a_compiler_python_makes_the_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    without = Programs(tmp_path)
    assert "no C compiler" in without.about
    accounts = dict.fromkeys(GROUP.names, PASSWORD)
    with Pop3Server(accounts=accounts, store=Maildir(tmp_path), port=0) as server:
        work = Work("sync", GROUP.prefix, 2, corpus.fill(tmp_path, GROUP), 4, 2)
        outcome = Generator(without, None).run(server.port, work)
    assert (outcome.sessions, outcome.first_violation) == (4, "")


def test_load_can_be_ended_early(tmp_path: Path, programs: Programs) -> None:
    if programs.find("load") is None:
        pytest.skip("there is no C compiler")
    accounts = dict.fromkeys(GROUP.names, PASSWORD)
    with Pop3Server(accounts=accounts, store=Maildir(tmp_path), port=0) as server:
        work = Work("poll", GROUP.prefix, 1, corpus.fill(tmp_path, GROUP), 1_000_000, 1)
        load = Generator(programs, None).begin(server.port, work)
        time.sleep(0.2)
        outcome = load.stop()
    assert 0 < outcome.sessions < 1_000_000
    assert outcome.first_violation == ""
