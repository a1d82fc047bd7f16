"""What programmers fall into: each of these once went wrong."""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from restante import (
    Account,
    AccountStore,
    Claim,
    ClientSession,
    Listener,
    Maildir,
    Maildrop,
    MaildropStore,
    MemoryStore,
    MessageInfo,
    OnThread,
    Pop3Error,
    Pop3Server,
)
from restante.server import Event
from tests.server.kit import NAME, PASSWORD, Client, new_server, serving
from tests.server.test_events import REFERENCE, registered
from tests.stores.maildir.kit import put

MAIL = b"Subject: one\n\nfirst\n"


@pytest.fixture(params=[False, True], ids=["plain", "async"])
def use_async(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


# Stores


class Database(MaildropStore):
    """Three methods, and one of its own that is named as the full store's is."""

    def __init__(self) -> None:
        self.opened = 0

    def open(self) -> Database:
        self.opened += 1
        return self

    def list(self, account: Account) -> Sequence[MessageInfo]:
        self.open()
        return [MessageInfo("one")]

    def read(self, account: Account, unique_id: str) -> bytes:
        return MAIL

    def delete(self, account: Account, unique_ids: Sequence[str]) -> None: ...


def test_a_store_of_three_methods_may_have_an_open_of_its_own() -> None:
    store = Database()
    with new_server(store) as server, Client(server.port) as client:
        assert client.log_in().fetch("RETR 1") == b"Subject: one\r\n\r\nfirst\r\n"
    assert store.opened == 1


class Counting(Maildir):
    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.names: list[str] = []

    def open(self, account: Account) -> Maildrop | OnThread[Maildrop]:
        self.names.append(account.name)
        return super().open(account)


def test_open_of_a_subclass_of_maildir_is_called_for_every_login(tmp_path: Path) -> None:
    """The first, when the maildrop is new, and all others, when it is as it was."""
    put(tmp_path, "1.M1P1.host", MAIL, user=NAME)
    store = Counting(tmp_path)
    with new_server(store) as server:
        for _ in range(5):
            with Client(server.port) as client:
                assert client.log_in().ask("QUIT") == b"+OK bye"
    assert store.names == [NAME] * 5


# Listeners


def test_one_listener_given_to_two_servers_keeps_each_ones_policy_and_port() -> None:
    listener = Listener(port=0)
    first = new_server(listeners=[listener], expire_days=7)
    second = new_server(listeners=[listener], use_auth="pop", accounts={NAME: "another"})
    second.command("XSECOND", capability="XSECOND")(lambda *_: "second")
    with first, second:
        assert first.port != second.port
        assert listener.address is None  # it is the programmer's own
        with Client(first.port) as client:
            said = client.fetch("CAPA")
            assert b"EXPIRE 7" in said
            assert b"XSECOND" not in said
            client.log_in()
        with Client(second.port) as client:
            said = client.fetch("CAPA")
            assert b"EXPIRE NEVER" in said
            assert b"XSECOND" in said
            assert b"SASL" not in said
            client.log_in(password="another")


# Overridden methods


class PlainSuper(Pop3Server):
    def on_authenticate(
        self, session: ClientSession, claim: Claim, default: Callable[[], Any]
    ) -> Any:
        return super().on_authenticate(session, claim, default)


class AsyncSuper(Pop3Server):
    async def on_authenticate(
        self, session: ClientSession, claim: Claim, default: Callable[[], Any]
    ) -> Any:
        return await super().on_authenticate(session, claim, default)


@pytest.mark.parametrize("kind", [PlainSuper, AsyncSuper])
def test_super_on_authenticate_asks_the_accounts(kind: type[Pop3Server]) -> None:
    with new_server(kind=kind) as server, Client(server.port) as client:
        client.ask(f"USER {NAME}")
        assert client.ask("PASS wrong").startswith(b"-ERR [AUTH]")
        client.log_in()


def test_all_other_super_methods_let_things_happen() -> None:
    class Supers(Pop3Server):
        def on_accept_connection(self, session: ClientSession) -> Any:
            return super().on_accept_connection(session)

        async def on_retrieve(self, session: ClientSession, number: int) -> Any:
            return super().on_retrieve(session, number)  # type: ignore[arg-type]

        def on_delete(self, session: ClientSession, number: int) -> Any:
            return super().on_delete(session, number)  # type: ignore[arg-type]

        def on_receive_command(self, session: ClientSession, line: str) -> Any:
            return super().on_receive_command(session, line)

    store = MemoryStore()
    store.add(NAME, MAIL)
    with new_server(store, kind=Supers) as server, Client(server.port) as client:
        assert client.log_in().fetch("RETR 1") == b"Subject: one\r\n\r\nfirst\r\n"
        assert client.ask("DELE 1") == b"+OK marked"


# Vetoes

VETOES: tuple[Event, ...] = (
    "accept_connection", "mailbox_info", "retrieve", "delete", "receive_command",
)  # fmt: skip


def asked(event: Event, how: object, use_async: bool) -> bytes:
    """What the client reads when a handler of `event` answers with `how`."""
    store = MemoryStore()
    store.add(NAME, MAIL)
    server = new_server(store)
    if event == "accept_connection":
        registered(server, event, use_async)(answering(how))
    with server, Client(server.port) as client:
        if event == "accept_connection":
            return client.greeting
        if event != "mailbox_info":
            client.log_in()
        registered(server, event, use_async)(answering(how))
        if event == "mailbox_info":
            client.ask(f"USER {NAME}")
        command = {"mailbox_info": f"PASS {PASSWORD}", "retrieve": "RETR 1", "delete": "DELE 1"}
        return client.ask(command.get(event, "NOOP"))


def answering(how: object) -> Callable[..., Any]:
    def decide(*_: object) -> object:
        if isinstance(how, Exception):
            raise how
        return how

    return decide


@pytest.mark.parametrize("event", VETOES)
def test_a_veto_is_the_same_from_event_to_event(event: Event, use_async: bool) -> None:
    for yes in (None, True):
        assert asked(event, yes, use_async).startswith(b"+OK")
    refused = asked(event, False, use_async)
    assert refused.startswith(b"-ERR ")
    assert not refused.startswith(b"-ERR [")
    told = Pop3Error("not today", "SYS/PERM")
    assert asked(event, told, use_async) == b"-ERR [SYS/PERM] not today"


@pytest.mark.parametrize("event", VETOES)
@pytest.mark.parametrize("answer", [0, 1, "", "no", (False, "no"), [], object()])
def test_an_answer_of_a_wrong_kind_is_an_error_that_the_client_is_told(
    event: Event, answer: object, use_async: bool
) -> None:
    """What might be meant as a refusal isn't taken for a yes."""
    assert REFERENCE.fullmatch(asked(event, answer, use_async))


def test_it_is_told_to_the_log_and_to_server_error(caplog: pytest.LogCaptureFixture) -> None:
    errors: list[str] = []
    with serving() as server:
        server.on("server_error")(lambda session, error: errors.append(str(error)))
        registered(server, "receive_command", False)(answering("no"))
        with Client(server.port) as client:
            reference = client.ask("NOOP").rpartition(b"ref ")[2].rstrip(b")").decode()
    told = "a handler of receive_command returned str; it may return None, True or False"
    assert errors == [told]
    assert told in caplog.text
    assert f"(ref {reference})" in caplog.text


# Commands


def test_a_replaced_secret_command_stays_secret(caplog: pytest.LogCaptureFixture) -> None:
    """By `command` and by `commands.replace`: no handler sees a password in a line."""
    lines: list[str] = []

    def wrap(session: ClientSession, argument: str, default: Callable[[], Any]) -> Any:
        return default()

    caplog.set_level(logging.DEBUG)
    ways: list[Callable[[Pop3Server], object]] = [
        lambda server: server.command("PASS")(wrap),
        lambda server: server.commands.replace("PASS", wrap),
        lambda server: server.commands.replace("PASS", wrap, secret=False),
    ]
    for replace in ways:
        with serving() as server:
            replace(server)
            server.on("receive_command")(lambda session, line: lines.append(line))
            server.debug_log.choose(everything=True)
            with Client(server.port) as client:
                client.log_in()
    assert lines.count("PASS ****") == 3
    assert caplog.text.count("C: PASS ****") == 3
    assert PASSWORD not in caplog.text


# Accounts


class Asked(AccountStore):
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def lookup(self, name: str) -> Account | None:
        self.names.append(name)
        return Account(name, (f"{{PLAIN}}{PASSWORD}",)) if name == NAME else None


class AskedAsync(Asked):
    async def lookup(self, name: str) -> Account | None:  # type: ignore[override]
        return super().lookup(name)


@pytest.mark.parametrize("kind", [Asked, AskedAsync])
@pytest.mark.parametrize("name", [NAME, "nobody"])
@pytest.mark.parametrize("how", ["USER", "PLAIN", "handler"])
def test_a_wrong_password_is_looked_up_once(kind: type[Asked], name: str, how: str) -> None:
    accounts = kind()
    server = new_server(accounts=accounts)
    if how == "handler":

        @server.on("authenticate")
        async def ask(
            session: ClientSession, claim: Claim, default: Callable[[], Awaitable[Account | None]]
        ) -> Account | None:
            return await default()

    with server, Client(server.port) as client:
        accounts.names.clear()
        if how == "PLAIN":
            response = b64encode(f"\0{name}\0wrong".encode()).decode()
            assert client.ask(f"AUTH PLAIN {response}").startswith(b"-ERR [AUTH]")
        else:
            client.ask(f"USER {name}")
            assert client.ask("PASS wrong").startswith(b"-ERR [AUTH]")
    assert accounts.names == [name]
