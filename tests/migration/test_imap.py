"""An IMAP server as a source: what it says, what it fails to say, and what means harm.

A real one is in `tests/peers/test_migrating.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from restante.migration import imap as module
from restante.migration.imap import ImapSource
from restante.migration.report import AccountReport
from restante.migration.servers import Passwords, Server
from restante.migration.unique_ids import UniqueIdFormat
from restante.stores import SqliteStore, Store
from tests.migration.kit import check, move, shown, times
from tests.migration.scripted import Answer, Scripted, endless, falling_silent

JOE = Passwords({"joe": "se cret"})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return SqliteStore(tmp_path / "mail.sqlite")


def source(port: int, passwords: Passwords = JOE, **options: Any) -> ImapSource:
    unique_ids = options.pop("unique_ids", None)
    usual = {"host": "localhost", "port": port, "tls": "none", "timeout": 10.0}
    server = Server(**{**usual, **options})
    return ImapSource(server, passwords, max_octets=100_000, unique_ids=unique_ids)


def outcome(origin: ImapSource, store: Store, **options: Any) -> AccountReport:
    (account,) = move(origin, store, **options).accounts
    return account


def said(text: bytes, status: bytes = b"OK done") -> Answer:
    """An answer to whatever was asked: untagged text, then the end with the command's tag."""

    def send(connection: Any) -> None:
        connection.sendall(text + server.lines[-1].split()[0] + b" " + status + b"\r\n")

    server = current[-1]
    return send


current: list[Scripted] = []


@pytest.fixture
def serve() -> Any:
    """Starts a server; its answers are made by a function, as they need its lines."""
    servers: list[Scripted] = []

    def start(answers: Callable[[], Sequence[Answer]]) -> Scripted:
        server = Scripted([])
        current.append(server)
        server._connections[:] = [answers()]
        servers.append(server.__enter__())
        return server

    yield start
    for server in servers:
        server.__exit__(None, None, None)
    current.clear()


def greeting(capabilities: bytes = b"IMAP4rev1") -> list[Answer]:
    return [b"* OK ready\r\n", said(b"* CAPABILITY " + capabilities + b"\r\n")]


def opened(count: int, validity: bytes = b"1700000000") -> list[Answer]:
    return [
        *greeting(),
        said(b""),  # LOGIN
        said(b"* %d EXISTS\r\n* OK [UIDVALIDITY %b] ok\r\n" % (count, validity)),
    ]


def listed(*messages: tuple[int, int]) -> Answer:
    """Messages by uid and size."""
    when = b'INTERNALDATE "14-Nov-2023 22:13:20 +0000"'
    lines = [
        b"* %d FETCH (UID %d RFC822.SIZE %d %b)\r\n" % (number, uid, size, when)
        for number, (uid, size) in enumerate(messages, 1)
    ]
    return said(b"".join(lines))


def body(octets: bytes, start: int = 0, uid: int = 1) -> Answer:
    about = (uid, start, len(octets), octets)
    return said(b"* 1 FETCH (UID %d BODY[]<%d> {%d}\r\n%b)\r\n" % about)


def test_messages_arrive_with_their_times_in_the_order_of_their_uids(
    serve: Any, store: Store
) -> None:
    server = serve(
        lambda: [
            *opened(2),
            listed((9, 6), (5, 6)),
            body(b"five\r\n", uid=5),
            body(b"nine\r\n", uid=9),
            said(b"* BYE\r\n"),
        ]
    )
    account = outcome(source(server.port), store)
    assert account.is_well, account
    assert shown(store) == [("000000056553f100", b"five\r\n"), ("000000096553f100", b"nine\r\n")]
    assert times(store) == pytest.approx([1_700_000_000.0] * 2, abs=0.001)
    commands = [line.split(b" ", 1)[1] for line in server.lines]
    assert commands[1] == b'LOGIN joe "se cret"\r\n'
    assert commands[2] == b"EXAMINE INBOX\r\n"
    assert commands[4] == b"UID FETCH 5 (BODY.PEEK[]<0.1048576>)\r\n"


def test_a_large_message_comes_in_blocks(
    serve: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 10)
    server = serve(
        lambda: [
            *opened(1),
            listed((1, 20)),
            body(b"0123456789"),
            body(b"01234567\r\n", 10),
            said(b'* 1 FETCH (UID 1 BODY[]<20> "")\r\n'),
            said(b"* BYE\r\n"),
        ]
    )
    account = outcome(source(server.port), store)
    assert account.is_well, account
    assert shown(store) == [("000000016553f100", b"012345678901234567\r\n")]


def test_an_empty_inbox_and_one_whose_message_has_gone(serve: Any, store: Store) -> None:
    server = serve(lambda: [*opened(0), said(b"* BYE\r\n")])
    assert outcome(source(server.port), store).is_well
    server = serve(lambda: [*opened(1), listed((1, 5)), said(b""), said(b"* BYE\r\n")])
    account = outcome(source(server.port), store)
    assert (account.is_well, account.vanished) == (True, 1)


def test_a_last_line_end_that_pop3_adds_is_no_difference(serve: Any, store: Store) -> None:
    def answers() -> list[Answer]:
        return [*opened(1), listed((1, 4)), body(b"half"), said(b"* BYE\r\n")]

    assert outcome(source(serve(answers).port), store).is_well
    assert shown(store) == [("000000016553f100", b"half\r\n")]
    assert check(source(serve(answers).port), store).is_well


@pytest.mark.parametrize(
    ("row", "octets"),
    [
        (rb'* 1 FETCH (UID 1 BODY[]<0> "S: \"x\\ UID 9")', b'S: "x\\ UID 9\r\n'),
        (b"* 1 FETCH (BODY[]<0> {4}\r\nS: x UID 1)", b"S: x\r\n"),
        (b"* 1 FETCH (UID 1 BODY[] {4}\r\nS: x)", b"S: x\r\n"),
    ],
)
def test_a_body_in_any_form_is_read(serve: Any, store: Store, row: bytes, octets: bytes) -> None:
    size = len(octets) - 2
    server = serve(lambda: [*opened(1), listed((1, size)), said(row + b"\r\n"), said(b"* BYE\r\n")])
    assert outcome(source(server.port), store).is_well
    assert shown(store) == [("000000016553f100", octets)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"* 1 FETCH (UID 1 BODY[]<0> NIL)\r\n", "only 2 of 10 listed octets came"),
        (b'* 1 FETCH (UID 1 BODY[]<0> "S: x")\r\n', "only 6 of 10 listed octets came"),
        (
            b"* 5 FETCH (UID 999 BODY[]<0> {10}\r\n0123456789)\r\n",
            "FETCH: the server sends what it wasn't asked for",
        ),
        (
            b"* 1 FETCH (UID 1 BODY[]<7> {10}\r\n0123456789)\r\n",
            "FETCH: the server sends what it wasn't asked for",
        ),
    ],
)
def test_what_is_not_the_message_is_not_taken_for_it(
    serve: Any, store: Store, row: bytes, reason: str
) -> None:
    tries = 2 if "only" in reason else 1
    server = serve(lambda: [*opened(1), listed((1, 10)), *[said(row)] * tries, said(b"* BYE\r\n")])
    account = outcome(source(server.port), store)
    assert [each.reason for each in account.failed] == [reason]
    assert shown(store) == []


def test_a_list_that_lacks_a_message_is_told(serve: Any, store: Store) -> None:
    server = serve(lambda: [*opened(2), listed((1, 5)), said(b"* BYE\r\n")])
    account = outcome(source(server.port), store, tries=2)
    assert account.error.endswith("the INBOX has 2 messages, and FETCH lists 1")
    assert account.tries == 2


def test_a_master_user_acts_for_each_account(serve: Any, store: Store) -> None:
    server: Scripted = serve(
        lambda: [
            *greeting(b"IMAP4rev1 AUTH=PLAIN"),
            b"+ \r\n",
            lambda connection: connection.sendall(server.lines[1].split()[0] + b" OK in\r\n"),
            said(b"* 0 EXISTS\r\n"),
            said(b"* BYE\r\n"),
        ]
    )
    account = outcome(source(server.port, Passwords(master=("admin", "top"))), store)
    assert account.is_well, account
    assert server.lines[2] == b"am9lAGFkbWluAHRvcA==\r\n"  # joe\0admin\0top


def test_a_wrong_password_is_told_and_not_tried_again(serve: Any, store: Store) -> None:
    server = serve(lambda: [*greeting(), said(b"", b"NO [AUTHENTICATIONFAILED] no"), b""])
    account = outcome(source(server.port), store)
    assert "[AUTHENTICATIONFAILED]" in account.error
    assert "se cret" not in account.error
    assert account.tries == 1


@pytest.mark.parametrize("password", ["se cret", "pa\"s\\s'"])
@pytest.mark.parametrize("words", [b"NO wrong: ", b"NO " + b"x" * 180, b"NO [INUSE] ", b"BAD "])
def test_a_password_that_the_server_sends_back_is_masked(
    serve: Any, store: Store, words: bytes, password: str
) -> None:
    def answers() -> list[Answer]:
        def echo(connection: Any) -> None:
            sent = server.lines[-1].strip()
            connection.sendall(sent.split()[0] + b" " + words + sent.split(b"joe ")[1] + b"\r\n")

        return [*greeting(), echo, said(b"* BYE\r\n")]

    server: Scripted = serve(answers)
    account = outcome(source(server.port, Passwords({"joe": password})), store, tries=1)
    assert "***" in account.error
    for part in (password[:4], password[-4:]):
        assert part not in account.error


def test_an_inbox_in_use_is_tried_again(serve: Any, store: Store) -> None:
    server = serve(lambda: [*greeting(), said(b"", b"NO [INUSE] later"), said(b"* BYE\r\n")])
    account = outcome(source(server.port), store, tries=3)
    assert account.tries == 3
    assert account.error.startswith("the source is in use")


def test_a_server_without_starttls_is_sent_no_password(serve: Any, store: Store) -> None:
    server = serve(lambda: [*greeting(), b""])
    account = outcome(source(server.port, tls="upgrade"), store)
    assert "TLS" in account.error
    assert not any(b"se cret" in line for line in server.lines)


@pytest.mark.parametrize(
    "harm",
    [
        lambda: [*opened(1), endless(b"* 1 FETCH (UID 1 RFC822.SIZE 5)\r\n" * 100)],
        lambda: [*opened(1), endless(b"x" * 10_000)],
        lambda: [*opened(1), listed((1, 5)), b"* 1 FETCH (BODY[]<0> {9999999999}\r\n"],
        lambda: [*opened(1), listed((1, 5)), endless(b"* OK more\r\n" * 100)],
        lambda: [*opened(10**8), b""],
        lambda: [*greeting(), endless(b"* CAPABILITY x\r\n" * 1000)],
    ],
)
def test_a_server_that_means_harm_is_left(
    serve: Any, store: Store, harm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 100_000)
    monkeypatch.setattr(module._Bounded, "left", 100_000)
    account = outcome(source(serve(harm).port), store, tries=1)
    assert account.error
    assert shown(store) == []


def test_a_server_that_sends_without_an_end_is_not_asked_again(
    serve: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 10_000)
    server = serve(lambda: [*opened(1), endless(b"* OK more\r\n" * 100)])
    account = outcome(source(server.port), store)
    assert (account.error, account.tries) == ("the server sends more than it was asked for", 1)


def test_a_list_that_takes_too_long_is_left(
    serve: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restante.migration.servers.LISTING_TIMEOUT", 0.3)
    server = serve(lambda: [*opened(1), falling_silent(b"* 1 FETCH (")])
    account = outcome(source(server.port), store)
    assert account.error.endswith("the maildrop isn't listed within 0.3 seconds")
    assert account.tries == 1


def test_a_message_without_an_end_is_told(
    serve: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 50_000)

    def answers() -> list[Answer]:
        blocks = [body(b"x" * 50_000, start) for start in range(0, 250_000, 50_000)]
        return [*opened(1), listed((1, 5)), *blocks, said(b"* BYE\r\n")]

    server = serve(answers)
    account = outcome(source(server.port), store)
    assert [each.reason for each in account.failed] == ["it has more than 100000 octets"]


def test_unique_ids_are_made_as_is_said(serve: Any, store: Store) -> None:
    server = serve(lambda: [*opened(1), listed((7, 3)), body(b"x\r\n", uid=7), said(b"* BYE\r\n")])
    assert outcome(source(server.port, unique_ids=UniqueIdFormat("UID%u-%v")), store).is_well
    assert shown(store) == [("UID7-1700000000", b"x\r\n")]


def test_a_guid_can_not_be_had() -> None:
    with pytest.raises(ValueError, match="IMAP tells no GUID"):
        source(1, unique_ids=UniqueIdFormat("%g"))
