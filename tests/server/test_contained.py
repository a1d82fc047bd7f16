"""What isn't an Exception, `sys.exit()` above all: in others' functions it ends no server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import pytest

from restante import Account, MaildropStore, MessageInfo, Pop3Server
from restante.accounts.contract import AccountStore
from restante.contained import contained
from restante.server.hooks import Event
from restante.threads import WorkerThreads
from tests.conftest import Authority
from tests.server.kit import NAME, PASSWORD, Client, new_server, serving, until
from tests.server.test_events import REFERENCE, registered

MAIL = [b"Subject: one\n\nfirst\n"]


class Outcome(BaseException):
    """As test frameworks have them: `pytest.fail` in a handler raises one."""


NOT_EXCEPTIONS = [
    SystemExit,
    Outcome,
    KeyboardInterrupt,
    GeneratorExit,
    asyncio.CancelledError,
]


@pytest.fixture(params=NOT_EXCEPTIONS)
def quits(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """A function that raises something that `except Exception` doesn't catch."""

    def function(*_: object) -> Any:
        raise request.param("for good")

    return function


@pytest.fixture(params=[False, True], ids=["plain", "async"])
def use_async(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def assert_serves(server: Pop3Server) -> None:
    """That a new client gets its mail."""
    with Client(server.port) as client:
        assert client.log_in().ask("NOOP") == b"+OK"
        assert client.ask("QUIT") == b"+OK bye"


def test_a_command_costs_itself(quits: Callable[..., Any], use_async: bool, loop_kind: str) -> None:
    async def coroutine(*_: object) -> Any:
        return quits()

    with serving(MAIL) as server:
        server.command("XQUITS")(coroutine if use_async else quits)
        with Client(server.port) as client:
            assert REFERENCE.fullmatch(client.log_in().ask("XQUITS"))
            assert client.ask("STAT") == b"+OK 1 23"
            client.ask("QUIT")
        assert_serves(server)


@pytest.mark.parametrize("event", ["authenticate", "mailbox_info", "retrieve", "delete"])
def test_an_event_costs_its_command(
    event: Event, quits: Callable[..., Any], use_async: bool, loop_kind: str
) -> None:
    with serving(MAIL) as server, Client(server.port) as client:
        if event in ("retrieve", "delete"):
            client.log_in()
            command = "RETR 1" if event == "retrieve" else "DELE 1"
        else:
            client.ask(f"USER {NAME}")
            command = f"PASS {PASSWORD}"
        registered(server, event, use_async)(quits)
        for _ in range(2):
            assert client.ask(command).startswith(b"-ERR [SYS/TEMP]")
            if command.startswith("PASS"):
                client.ask(f"USER {NAME}")
        with Client(server.port) as another:
            assert another.ask("NOOP") == b"-ERR log in first"


@pytest.mark.parametrize("event", ["close_connection", "receive_command", "send_response", "start"])
def test_one_who_is_only_told_costs_nothing(
    event: Event, quits: Callable[..., Any], use_async: bool, loop_kind: str
) -> None:
    errors: list[Exception] = []
    server = new_server()
    server.on("server_error")(lambda session, error: errors.append(error))
    registered(server, event, use_async)(quits)
    with server:
        assert_serves(server)
        assert_serves(server)
        until(lambda: errors != [])
    assert {type(error.__cause__) for error in errors} <= set(NOT_EXCEPTIONS)


class Letters(MaildropStore):
    """One letter; the method that is named in `failing` calls what is given with it."""

    def __init__(self) -> None:
        self.failing: dict[str, Callable[..., Any]] = {}

    def _at(self, step: str) -> None:
        self.failing.get(step, str)()

    def list(self, account: Account) -> Sequence[MessageInfo]:
        self._at("list")
        return [MessageInfo("one", None)]

    def read(self, account: Account, unique_id: str) -> Iterator[bytes]:
        self._at("read")
        return self._blocks()

    def _blocks(self) -> Iterator[bytes]:
        self._at("first block")
        yield MAIL[0]
        self._at("next block")

    def delete(self, account: Account, unique_ids: Sequence[str]) -> None:
        self._at("delete")


class LettersInPlace(Letters):
    blocking = False


class AsyncLetters(Letters):
    async def list(self, account: Account) -> Sequence[MessageInfo]:  # type: ignore[override]
        return super().list(account)

    async def read(self, account: Account, unique_id: str) -> AsyncIterator[bytes]:  # type: ignore[override]
        self._at("read")
        return self._async_blocks()

    async def _async_blocks(self) -> AsyncIterator[bytes]:
        for block in self._blocks():
            yield block

    async def delete(self, account: Account, unique_ids: Sequence[str]) -> None:  # type: ignore[override]
        super().delete(account, unique_ids)


@pytest.mark.parametrize("kind", [Letters, LettersInPlace, AsyncLetters])
@pytest.mark.parametrize("step", ["list", "read", "first block", "next block", "delete"])
def test_a_store_costs_what_it_was_asked_for(
    step: str, kind: type[Letters], quits: Callable[..., Any]
) -> None:
    store = kind()
    with new_server(store) as server:
        if step == "list":
            store.failing[step] = quits
        with Client(server.port) as client:
            if step == "list":
                client.ask(f"USER {NAME}")
                assert client.ask(f"PASS {PASSWORD}").startswith(b"-ERR [SYS/TEMP]")
            else:
                client.log_in().ask("DELE 1" if step == "delete" else "NOOP")
                store.failing[step] = quits
                client.send("QUIT\r\n" if step == "delete" else "RETR 1\r\n")
                # A message that has begun can't be taken back: the connection ends instead.
                said = client.rest() if step in ("next block", "delete") else client.line()
                assert said.startswith(b"-ERR [SYS/TEMP]") or (
                    step == "next block" and not said.endswith(b"\r\n.\r\n")
                )
        store.failing.clear()
        until(lambda: server.sessions == 0)
        assert_serves(server)


@pytest.mark.parametrize("blocking", [False, True])
def test_a_store_of_accounts_costs_the_login(
    blocking: bool, quits: Callable[..., Any], use_async: bool
) -> None:
    fails = [True]

    class Accounts(AccountStore):
        def __init__(self) -> None:
            self.blocking = blocking

        def lookup(self, name: str) -> Account:
            if fails:
                quits()
            return Account(name, (f"{{PLAIN}}{PASSWORD}",))

    class AsyncAccounts(Accounts):
        async def lookup(self, name: str) -> Account:  # type: ignore[override]
            return super().lookup(name)

    with serving(MAIL, accounts=AsyncAccounts() if use_async else Accounts()) as server:
        with Client(server.port) as client:
            client.ask(f"USER {NAME}")
            assert client.ask(f"PASS {PASSWORD}").startswith(b"-ERR [SYS/TEMP]")
        fails.clear()
        assert_serves(server)


@pytest.mark.asyncio
async def test_threads_tell_of_it() -> None:
    threads = WorkerThreads("test", 0, 1)
    try:
        for error in (SystemExit, KeyboardInterrupt, Outcome, asyncio.CancelledError):

            def function(error: type[BaseException] = error) -> None:
                raise error

            with pytest.raises(RuntimeError, match=error.__name__) as caught:
                await asyncio.wait_for(threads.run(function), 5)
            assert type(caught.value.__cause__) is error
            with pytest.raises(RuntimeError, match=error.__name__):
                threads.submit(function).result(5)
    finally:
        threads.stop()


@pytest.mark.parametrize("error", [asyncio.CancelledError, KeyboardInterrupt, GeneratorExit])
def test_what_is_the_loops_own_goes_through(error: type[BaseException]) -> None:
    with pytest.raises(error), contained:
        raise error


def test_a_certificates_handler_costs_its_say(
    quits: Callable[..., Any], authority: Authority
) -> None:
    with serving(MAIL, tls="implicit", certificate=authority.certificate) as server:
        server.on("certificate")(quits)
        for _ in range(2):
            with Client(server.port, tls=authority.client_context()) as client:
                assert client.log_in().ask("QUIT") == b"+OK bye"
