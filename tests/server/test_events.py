"""Events: what each handler gets, what it can decide, and what its failure costs."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

from restante import (
    Account,
    ClientSession,
    MaildropInUse,
    MemoryStore,
    Pop3Error,
    Pop3Server,
    State,
)
from restante.server.hooks import EVENTS, Event
from tests.server.kit import NAME, PASSWORD, Client, new_server, serving, store_of, until

MAIL = [b"Subject: one\n\nfirst\n", b"Subject: two\n\nsecond\n"]
CANARY = "canary text of an exception"
REFERENCE = re.compile(rb"-ERR \[SYS/TEMP\] internal error \(ref [0-9a-f]{4,}\)")


class Failure(Exception):
    def __init__(self) -> None:
        super().__init__(CANARY)


class Recorder:
    """Hears everything that an event says, on the kind of function asked for."""

    def __init__(self, server: Pop3Server, *, use_async: bool) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.threads: set[str] = set()
        for event in EVENTS:
            if event not in ("authenticate", "certificate"):
                server.on(event)(self._handler(event, use_async))

    def _handler(self, event: Event, use_async: bool) -> Callable[..., Any]:
        def plain(*args: Any) -> None:
            self.threads.add(threading.current_thread().name)
            self.told.append((event, *args))

        async def coroutine(*args: Any) -> None:
            plain(*args)

        return coroutine if use_async else plain

    def named(self, event: str) -> list[tuple[Any, ...]]:
        return [args for name, *args in self.told if name == event]  # type: ignore[misc]


@pytest.fixture(params=[False, True], ids=["plain", "async"])
def use_async(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def registered(server: Pop3Server, event: Event, use_async: bool) -> Callable[[Any], None]:
    """A way to register a function that decides, in either kind."""

    def register(decide: Callable[..., Any]) -> None:
        async def coroutine(*args: Any) -> Any:
            return decide(*args)

        server.on(event)(coroutine if use_async else decide)

    return register


def test_a_whole_session_as_the_events_tell_it(use_async: bool, loop_kind: str) -> None:
    store = MemoryStore()
    for message in MAIL:
        store.add(NAME, message)
    server = new_server(store)
    recorder = Recorder(server, use_async=use_async)
    with server, Client(server.port) as client:
        client.ask("USER joe")
        client.ask(f"PASS {PASSWORD}")
        client.fetch("RETR 2")
        client.fetch("TOP 1 0")
        client.ask("DELE 1")
        client.ask("RSET")
        client.ask("DELE 2")
        assert client.ask("QUIT") == b"+OK bye"
        client.rest()
    told = recorder.told
    assert [event for event, *_ in told if event not in ("receive_command", "send_response")] == [
        "start", "accept_connection", "mailbox_info", "retrieve", "retrieve", "delete", "reset",
        "delete", "close_connection", "stop",
    ]  # fmt: skip
    session = recorder.named("accept_connection")[0][0]
    assert isinstance(session, ClientSession)
    assert session.peer_ip == "127.0.0.1"
    assert session.peer_port > 0
    assert all(args[0] is session for event, *args in told if event not in ("start", "stop"))
    assert [args[1] for args in recorder.named("retrieve")] == [2, 1]
    assert [args[1] for args in recorder.named("delete")] == [1, 2]
    assert [args[1] for args in recorder.named("receive_command")] == [
        "USER joe", "PASS ****", "RETR 2", "TOP 1 0", "DELE 1", "RSET", "DELE 2", "QUIT",
    ]  # fmt: skip
    assert [args[1] for args in recorder.named("send_response")] == [
        "+OK send PASS", "+OK 2 messages", "+OK 24 octets", "+OK top of message follows",
        "+OK marked", "+OK 2 messages", "+OK marked", "+OK bye",
    ]  # fmt: skip
    if use_async:
        assert recorder.threads == {"restante-loop"}
    else:
        assert recorder.threads == {"restante-worker"}


def test_methods_of_a_subclass_are_called_before_registered_functions() -> None:
    told: list[str] = []

    class Ours(Pop3Server):
        def on_accept_connection(self, session: ClientSession) -> None:
            told.append("method")

        async def on_delete(self, session: ClientSession, number: int) -> bool:
            told.append(f"delete {number}")
            return number != 1

    store = MemoryStore()
    for message in MAIL:
        store.add(NAME, message)
    server = new_server(store, kind=Ours)
    server.on("accept_connection")(lambda session: told.append("function"))
    with server, Client(server.port) as client:
        client.log_in()
        assert client.ask("DELE 1") == b"-ERR message may not be deleted"
        assert client.ask("DELE 2") == b"+OK marked"
    assert told == ["method", "function", "delete 1", "delete 2"]


def test_an_unknown_event_is_refused_with_the_names_of_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"'retreive'.*accept_connection.*retrieve"):
        new_server().on("retreive")(print)  # type: ignore[call-overload]


# What handlers decide


@pytest.mark.parametrize(
    ("how", "greeting"),
    [
        (False, b"-ERR connection refused"),
        (Pop3Error("not from {here}", "SYS/PERM"), b"-ERR [SYS/PERM] not from {here}"),
        (Failure(), None),
        (None, b"+OK"),
        (True, b"+OK"),
        (0, None),
    ],
)
def test_accept_connection_may_turn_a_client_away(
    how: object, greeting: bytes | None, use_async: bool, loop_kind: str
) -> None:
    server = new_server()

    @registered(server, "accept_connection", use_async)
    def decide(session: ClientSession) -> object:
        if isinstance(how, Exception):
            raise how
        return how

    with server:
        with Client(server.port) as client:
            if greeting == b"+OK":
                assert client.greeting.startswith(b"+OK")
                assert client.ask("QUIT") == b"+OK bye"
            elif greeting is None:
                assert REFERENCE.fullmatch(client.greeting)
            else:
                assert client.greeting == greeting
            assert client.is_cut()
        until(lambda: server.sessions == 0)


def test_commands_sent_before_the_greeting_wait_for_it() -> None:
    leave = threading.Event()
    server = new_server()
    server.on("accept_connection")(lambda session: leave.wait(10) and None)
    with server, Client(server.port, greet=False) as client:
        client.send("NOOP\r\nQUIT\r\n")
        leave.set()
        first, *others = client.rest().splitlines()
        assert first.startswith(b"+OK Restante")
        assert others == [b"-ERR log in first", b"+OK bye"]


def test_mailbox_info_sees_the_maildrop_and_may_refuse_the_login(use_async: bool) -> None:
    seen: list[object] = []
    refusals = iter([Pop3Error("not today", "SYS/TEMP"), None])
    store = MemoryStore()
    for message in MAIL:
        store.add(NAME, message)
    server = new_server(store)

    @registered(server, "mailbox_info", use_async)
    def decide(session: ClientSession) -> None:
        box = session.mailbox
        name = session.account.name if session.account else None
        seen.append((name, box.active_count, box.active_size, len(box.listing)))
        if error := next(refusals):
            raise error

    with server, Client(server.port) as client:
        client.ask("USER joe")
        assert client.ask(f"PASS {PASSWORD}") == b"-ERR [SYS/TEMP] not today"
        assert client.ask("STAT") == b"-ERR log in first"
        client.log_in()  # the lease was given back
        assert client.ask("STAT") == b"+OK 2 47"
    assert seen == [(NAME, 2, 47, 2)] * 2


def test_retrieve_may_refuse_and_may_replace(use_async: bool) -> None:
    server = new_server()
    store = store_of(server)
    assert isinstance(store, MemoryStore)
    for message in MAIL:
        store.add(NAME, message)

    @registered(server, "retrieve", use_async)
    def decide(session: ClientSession, number: int) -> bytes | None:
        if number == 1:
            raise Pop3Error("held back", "SYS/PERM")
        return b"Subject: ours\n\n.replaced" if session.data.setdefault("replace", True) else None

    with server, Client(server.port) as client:
        client.log_in()
        assert client.ask("RETR 1") == b"-ERR [SYS/PERM] held back"
        assert client.ask("TOP 1 0") == b"-ERR [SYS/PERM] held back"
        assert client.ask("RETR 2") == b"+OK 28 octets"  # of what is sent
        assert client.body() == b"Subject: ours\r\n\r\n.replaced\r\n"
        assert client.fetch("TOP 2 0") == b"Subject: ours\r\n\r\n"


@pytest.mark.parametrize(
    ("how", "answer"),
    [
        (False, b"-ERR message may not be deleted"),
        (Pop3Error("keep it"), b"-ERR keep it"),
        (None, b"+OK marked"),
        (True, b"+OK marked"),
    ],
)
def test_delete_may_be_refused(how: object, answer: bytes, use_async: bool) -> None:
    server = new_server()
    assert isinstance(store_of(server), MemoryStore)
    store_of(server).add(NAME, MAIL[0])

    @registered(server, "delete", use_async)
    def decide(session: ClientSession, number: int) -> object:
        if isinstance(how, Exception):
            raise how
        return how

    with server, Client(server.port) as client:
        client.log_in()
        assert client.ask("DELE 1") == answer
        kept = 0 if answer.startswith(b"+OK") else 1
        assert client.ask("STAT").startswith(b"+OK %d " % kept)
        assert client.ask("QUIT") == b"+OK bye"
        assert len(store_of(server).messages(NAME)) == kept


def test_a_session_can_be_closed_from_a_handler() -> None:
    with serving(MAIL) as server:
        server.on("delete")(lambda session, number: session.close())
        with Client(server.port) as client:
            client.log_in().send("DELE 1\r\nSTAT\r\n")
            assert client.rest() == b"+OK marked\r\n"


# What a failure costs


@pytest.mark.parametrize("event", ["mailbox_info", "retrieve", "delete"])
def test_an_exception_costs_that_command_alone(event: Event, use_async: bool) -> None:
    errors: list[tuple[ClientSession | None, Exception]] = []
    fail = [True]
    server = new_server()
    assert isinstance(store_of(server), MemoryStore)
    store_of(server).add(NAME, MAIL[0])
    server.on("server_error")(lambda session, error: errors.append((session, error)))

    @registered(server, event, use_async)
    def decide(*_: object) -> None:
        if fail.pop() if fail else False:
            raise Failure

    with server, Client(server.port) as client:
        client.ask("USER joe")
        answers = [client.ask(f"PASS {PASSWORD}")]
        if event == "mailbox_info":
            client.log_in()
        else:
            answers.append(client.ask("RETR 1"))
            if answers[-1].startswith(b"+OK"):
                client.body()
            answers.append(client.ask("DELE 1"))
        failed = [answer for answer in answers if answer.startswith(b"-ERR")]
        assert len(failed) == 1
        assert REFERENCE.fullmatch(failed[0])
        assert CANARY.encode() not in failed[0]
        assert client.ask("QUIT") == b"+OK bye"
    assert [(session is not None, type(error)) for session, error in errors] == [(True, Failure)]


@pytest.mark.parametrize(
    "event", ["reset", "receive_command", "send_response", "close_connection", "start", "stop"]
)
def test_an_exception_of_one_who_is_only_told_costs_nothing(event: Event, use_async: bool) -> None:
    errors: list[Exception] = []
    server = new_server()
    server.on("server_error")(lambda session, error: errors.append(error))

    @registered(server, event, use_async)
    def fail(*_: object) -> None:
        raise Failure

    with server, Client(server.port) as client:
        client.log_in()
        assert client.ask("RSET") == b"+OK 0 messages"
        assert client.ask("QUIT") == b"+OK bye"
        client.rest()
    assert errors
    assert {type(error) for error in errors} == {Failure}


def test_a_failing_server_error_handler_is_logged_and_nothing_else(
    use_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    server = new_server()

    @registered(server, "server_error", use_async)
    def fail(*_: object) -> None:
        raise Failure

    @server.command("XFAIL")
    def handler(*_: object) -> None:
        raise ZeroDivisionError

    with server, Client(server.port) as client:
        assert REFERENCE.fullmatch(client.ask("XFAIL"))
        assert client.ask("QUIT") == b"+OK bye"
    assert "the handler of server_error failed" in caplog.text


def test_the_reference_in_the_reply_is_in_the_log_and_never_the_same_twice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving() as server:

        @server.command("XFAIL")
        def handler(*_: object) -> None:
            raise Failure

        with Client(server.port) as client:
            answers = [client.ask("XFAIL") for _ in range(20)]
    references = [answer.rpartition(b"ref ")[2].rstrip(b")").decode() for answer in answers]
    assert len(set(references)) == 20
    assert all(f"(ref {reference})" in caplog.text for reference in references)
    assert CANARY in caplog.text  # the operator sees it


def test_store_errors_reach_server_error_and_a_taken_lease_does_not() -> None:
    errors: list[Exception] = []
    store = MemoryStore()
    with new_server(store) as server:
        server.on("server_error")(lambda session, error: errors.append(error))
        holder = store.open(Account(NAME))
        with Client(server.port) as client:
            client.ask("USER joe")
            assert client.ask(f"PASS {PASSWORD}").startswith(b"-ERR [IN-USE]")
        holder.close()
    assert not [error for error in errors if isinstance(error, MaildropInUse)]


def test_the_client_session_as_handlers_see_it() -> None:
    seen: list[object] = []
    with serving(MAIL) as server:

        @server.command("XSEE")
        def see(session: ClientSession, argument: str, default: object) -> str:
            box = session.mailbox
            seen.append((session.state, session.account, session.tls, session.peer_certificate))
            seen.append((box.active_count, box.active_size, sorted(box.deleted)))
            session.data["count"] = session.data.get("count", 0) + 1
            return f"{session.data['count']} {session!r}"

        with Client(server.port) as client:
            assert client.ask("XSEE").startswith(b"+OK 1 <ClientSession ")
            client.log_in().ask("DELE 1")
            answer = client.ask("XSEE")
            assert answer.startswith(b"+OK 2 ")
            assert answer.endswith(b" 127.0.0.1 joe TRANSACTION>")
            assert PASSWORD.encode() not in answer
    assert seen[0] == (State.AUTHORIZATION, None, False, None)
    assert seen[1] == (0, 0, [])
    assert seen[3] == (1, 24, [1])
