"""A live POP3 server as a source: a good one, one that fails, and one that means harm."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from restante.migration.pop3 import MAX_LINE, Pop3Source
from restante.migration.report import AccountReport
from restante.migration.servers import Passwords, Server, Tls
from restante.stores import SqliteStore, Store, StoreError
from restante.testing import MailServer
from restante.testing.faults import Close, Gone, Reset
from tests.corpus import NASTY, wire_form
from tests.migration.kit import check, move, shown
from tests.migration.scripted import Answer, Scripted, endless, falling_silent

JOE = Passwords({"joe": "se cret "})

GREETING: Sequence[Answer] = (b"+OK\r\n", b"-ERR\r\n", b"+OK\r\n", b"+OK\r\n")
"""And answers to CAPA, USER and PASS."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return SqliteStore(tmp_path / "mail.sqlite")


def source(port: int, passwords: Passwords = JOE, **options: Any) -> Pop3Source:
    """localhost without TLS, if nothing else is said."""
    most = options.pop("max_octets", 10_000_000)
    server = Server(
        **{"host": "localhost", "port": port, "tls": "none", "timeout": 10.0, **options}
    )
    return Pop3Source(server, passwords, max_octets=most)


def outcome(origin: Pop3Source, store: Store, **options: Any) -> AccountReport:
    (account,) = move(origin, store, **options).accounts
    return account


@pytest.fixture
def kit() -> Any:
    with MailServer(certificate="valid") as server:
        yield server


def fill(server: MailServer) -> list[tuple[str, bytes]]:
    joe = server.account("joe", JOE.users["joe"])
    messages = {f"id-{number}": octets for number, octets in enumerate(NASTY.values())}
    for unique_id, octets in messages.items():
        joe.add(octets, unique_id=unique_id)
    return [(unique_id, wire_form(octets)) for unique_id, octets in messages.items()]


@pytest.mark.parametrize(
    ("tls", "verb"), [("implicit", ""), ("upgrade", "STLS"), ("none", "")], ids=str
)
def test_every_message_arrives_octet_for_octet(
    kit: MailServer, store: Store, tls: Tls, verb: str
) -> None:
    messages = fill(kit)
    port = kit.tls_port if tls == "implicit" else kit.port
    origin = source(port, tls=tls, context=None if tls == "none" else kit.ca.ssl_context())
    account = outcome(origin, store)
    assert account.is_well
    assert shown(store) == messages
    commands = kit.sessions[-1].commands
    assert commands[:4] == [*([verb] if verb else []), "CAPA", "UTF8", "USER joe", "PASS ****"][:4]
    assert commands[-1] == "QUIT"
    assert not any(command.startswith("DELE") for command in commands)
    assert check(origin, store, bodies=True).is_well


def test_a_second_run_fetches_nothing(kit: MailServer, store: Store) -> None:
    fill(kit)
    move(source(kit.port), store)
    account = outcome(source(kit.port), store)
    assert account.there == len(NASTY)
    assert not any(command.startswith("RETR") for command in kit.sessions[-1].commands)


def test_a_wrong_certificate_is_refused_before_any_password_is_sent(store: Store) -> None:
    with MailServer(accounts={"joe": "se cret "}, certificate="wrong-name") as server:
        for tls, port in (("implicit", server.tls_port), ("upgrade", server.port)):
            origin = source(port, tls=tls, context=server.ca.ssl_context())
            account = outcome(origin, store)
            assert "certificate" in account.error
            assert account.tries == 1
        assert not any("USER" in text for each in server.sessions for text in each.commands)


def test_whoever_the_system_does_not_trust_is_refused(kit: MailServer, store: Store) -> None:
    account = outcome(source(kit.tls_port, tls="implicit"), store)
    assert "certificate" in account.error


def test_a_server_without_stls_is_sent_no_password(store: Store) -> None:
    with MailServer(accounts={"joe": "se cret "}) as server:
        account = outcome(source(server.port, tls="upgrade"), store)
        assert account.error.startswith("STLS: the server says ")
        assert server.sessions[-1].commands[0] == "STLS"


def test_octets_in_the_clear_after_stls_end_it(store: Store) -> None:
    with Scripted([b"+OK\r\n", b"+OK begin\r\n+OK injected\r\n"]) as server:
        account = outcome(source(server.port, tls="upgrade"), store)
    assert account.error.endswith("octets in the clear after STLS")
    assert server.lines == [b"STLS\r\n"]


def test_a_wrong_password_is_told_and_not_tried_again(kit: MailServer, store: Store) -> None:
    fill(kit)
    account = outcome(source(kit.port, Passwords({"joe": "wrong"})), store)
    assert account.error.startswith("logging in: the server says ")
    assert "wrong" not in account.error
    assert account.tries == 1


def test_an_account_without_a_password_is_told(kit: MailServer, store: Store) -> None:
    account = outcome(source(kit.port, Passwords({"ann": "x"})), store)
    assert account.error == "there is no password for it in the file of users"


def test_a_master_user_opens_every_account(store: Store) -> None:
    origin = Passwords(master=("admin", "top"))
    answers = [
        b"+OK\r\n",
        b"-ERR\r\n",
        b"+ \r\n",
        b"+OK\r\n",
        b"+OK\r\n.\r\n",
        b"+OK\r\n.\r\n",
        b"",
    ]
    with Scripted(answers) as server:
        assert outcome(source(server.port, origin), store).is_well
    assert server.lines[1:3] == [b"AUTH PLAIN\r\n", b"am9lAGFkbWluAHRvcA==\r\n"]  # joe\0admin\0top


@pytest.mark.parametrize(
    "refusal", [b"-ERR [IN-USE] later", b"-ERR maildrop is locked", b"-ERR [LOGIN-DELAY] wait"]
)
def test_a_maildrop_in_use_is_tried_again(store: Store, refusal: bytes) -> None:
    busy = [*GREETING[:3], refusal + b"\r\n"]
    empty = [*GREETING, b"+OK\r\n.\r\n", b"+OK\r\n.\r\n", b""]
    with Scripted(busy, busy, empty) as server:
        account = outcome(source(server.port), store)
    assert account.is_well
    assert account.tries == 3


def test_a_line_that_is_cut_is_taken_up_where_it_was(kit: MailServer, store: Store) -> None:
    messages = fill(kit)
    kit.fault(Reset("RETR 2", after=1, once=True), Close("RETR 5", after=1, once=True))
    account = outcome(source(kit.port), store)
    assert account.is_well
    assert account.tries == 3
    assert shown(store) == messages


def test_a_message_that_the_server_can_not_give_is_told(kit: MailServer, store: Store) -> None:
    fill(kit)
    kit.fault(Gone(3))
    account = outcome(source(kit.port), store)
    assert len(account.failed) == 1
    assert account.failed[0].reason.startswith("RETR: the server says ")
    assert account.moved == len(NASTY) - 1


def listing(*unique_ids: bytes) -> list[Answer]:
    """Answers to LIST and UIDL, for messages of 3 octets."""
    sizes = b"".join(b"%d 3\r\n" % n for n in range(1, len(unique_ids) + 1))
    ids = b"".join(b"%d %b\r\n" % (n, text) for n, text in enumerate(unique_ids, 1))
    return [*GREETING, b"+OK\r\n" + sizes + b".\r\n", b"+OK\r\n" + ids + b".\r\n"]


def test_bad_unique_ids_are_replaced_as_everywhere_and_told(store: Store) -> None:
    message = b"+OK\r\nx\r\n.\r\n"
    ids = [b"good", b"x" * 71, b"a b", b"twice", b"twice", b"\xe4"]
    with Scripted([*listing(*ids), *[message] * 6, b""]) as server:
        account = outcome(source(server.port), store)
        again = [*listing(*ids), b""]
        server._connections = [again]
        second = outcome(source(server.port), store)
    assert account.is_well
    assert account.moved == 6
    given = [unique_id for unique_id, _ in shown(store)]
    assert [given[0], given[3]] == ["good", "twice"]
    assert len(set(given)) == 6
    assert [trouble.unique_id for trouble in account.mapped] == [
        unique_id for unique_id in given if unique_id not in ("good", "twice")
    ]
    assert "at the source it is 'xxx" in account.mapped[0].reason
    assert second.there == 6


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([endless(b"x" * 1000)], "a line without an end"),
        ([b"+OK" + b"x" * MAX_LINE + b"\r\n"], "a line without an end"),
        ([b"* OK IMAP4rev1\r\n"], "this is no answer of POP3"),
        ([*GREETING, b"+OK\r\nfrom here to there\r\n.\r\n"], "this is no scan listing"),
        ([*GREETING, b"+OK\r\n1 -5\r\n.\r\n"], "this is no scan listing"),
        ([*GREETING, b"+OK\r\n.\r\n", b"+OK\r\n1 a\r\n.\r\n"], "have different messages"),
        ([*GREETING, b"+OK\r\n1 3\r\n.\r\n", b"+OK\r\nnonsense\r\n.\r\n"], "this is no unique-id"),
        (
            [*GREETING, b"+OK\r\n1 3\r\n.\r\n", b"-ERR unknown\r\n"],
            "UIDL: the server says 'unknown'",
        ),
        ([b""], "has closed the connection"),
    ],
)
def test_nonsense_is_told(store: Store, answers: Sequence[Answer], error: str) -> None:
    with Scripted(answers) as server:
        account = outcome(source(server.port), store, tries=2)
    assert error in account.error


def test_a_list_without_an_end_is_left(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restante.migration.pop3.MAX_MESSAGES", 1000)
    with Scripted([*GREETING, endless(b"1 3\r\n" * 100, b"+OK\r\n")]) as server:
        account = outcome(source(server.port), store)
    assert "lists more than 1000 lines" in account.error
    assert account.tries == 1


def test_a_list_that_takes_too_long_is_left(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restante.migration.servers.LISTING_TIMEOUT", 0.3)
    with Scripted([*GREETING, falling_silent(b"+OK\r\n1 3")]) as server:
        account = outcome(source(server.port), store)
    assert account.error.endswith("the maildrop isn't listed within 0.3 seconds")
    assert account.tries == 1


def test_a_message_without_an_end_is_told_and_the_next_is_moved(store: Store) -> None:
    first = [*listing(b"a", b"b"), endless(b"x" * 1000 + b"\r\n", b"+OK\r\n")]
    then = [*listing(b"a", b"b"), b"+OK\r\nx\r\n.\r\n", b""]
    with Scripted(first, then) as server:
        account = outcome(source(server.port, max_octets=50_000), store)
    assert [(each.unique_id, each.reason) for each in account.failed] == [
        ("a", "it has more than 50000 octets")
    ]
    assert shown(store) == [("b", b"x\r\n")]


def test_a_server_that_falls_silent_is_left(store: Store) -> None:
    with Scripted([falling_silent(b"")]) as server:
        account = outcome(source(server.port, timeout=0.2), store, tries=1)
    assert "no answer within 0.2 seconds" in account.error


def test_nobody_listens(store: Store) -> None:
    with Scripted([b""]) as server:
        port = server.port
    account = outcome(source(port), store, tries=2)
    assert account.tries == 2
    assert f"localhost:{port}" in account.error


@pytest.mark.parametrize("name", ["joe\r\nDELE 1", "joe\0", "joe\n"])
def test_a_name_can_not_carry_commands(store: Store, name: str) -> None:
    with Scripted([b"+OK\r\n"]) as server:
        origin = source(server.port, Passwords({name: "x"}))
        origin_open: Callable[..., Any] = origin.open
        with pytest.raises(StoreError, match="control character"):
            asyncio.run(origin_open(name, None))
    assert server.lines == []


@pytest.mark.parametrize("password", ["se cret ", "pä\"s\\s'"])
@pytest.mark.parametrize(
    "answers",
    [
        lambda said: [b"+OK\r\n", b"-ERR\r\n", b"+OK\r\n", b"-ERR " + said],
        lambda said: [b"+OK\r\n", b"-ERR\r\n", b"+OK\r\n", b"-ERR " + b"x" * 190 + said],
        lambda said: [b"+OK\r\n", b"-ERR\r\n", b"+OK\r\n", b"* " + said],
        lambda said: [*GREETING, b"+OK\r\n" + said],
        lambda said: [*GREETING, b"+OK\r\n.\r\n", b"+OK\r\n" + said],
        lambda said: [*GREETING, b"+OK\r\n1 3\r\n.\r\n", b"+OK\r\n1 a b " + said + b".\r\n"],
    ],
)
def test_a_password_that_the_server_sends_back_is_masked(
    store: Store, answers: Any, password: str
) -> None:
    said = f"<{password}>\r\n".encode()
    with Scripted(answers(said)) as server:
        account = outcome(source(server.port, Passwords({"joe": password})), store, tries=1)
    texts = account.error + "".join(each.reason for each in account.mapped)
    assert "<***" in texts
    for part in (password[:4], password[-4:]):
        assert part not in texts


def test_passwords_are_not_shown() -> None:
    assert "se cret" not in repr(JOE) + repr(JOE.login("joe")) + source(1).name
