"""Commands of the application's: replaced, wrapped, renamed, added, removed."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from restante import (
    ClientSession,
    CommitFailed,
    Err,
    MemoryStore,
    MultiLine,
    Ok,
    Pop3Error,
    Pop3Server,
    State,
)
from restante.protocol.replies import Body, Prepared
from tests.server.kit import NAME, PASSWORD, Client, new_server, serving, store_of, until

Default = Callable[..., Any]
MAIL = [b"Subject: one\n\n.first\n", b"Subject: two\n\n" + b"x" * 300_000 + b"\n"]
REFERENCE = re.compile(rb"-ERR \[SYS/TEMP\] internal error \(ref [0-9a-f]{4,}\)")


@pytest.fixture
def running() -> Iterator[Pop3Server]:
    with serving(MAIL) as server:
        yield server


def wrapped(server: Pop3Server, verb: str, use_async: bool) -> list[object]:
    """Let a handler answer `verb` by its default; gives what that answered."""
    answers: list[object] = []

    def plain(session: ClientSession, argument: str, default: Default) -> Any:
        answers.append(default())
        return answers[-1]

    async def coroutine(
        session: ClientSession, argument: str, default: Callable[..., Awaitable[object]]
    ) -> Any:
        answers.append(await default())
        return answers[-1]

    server.command(verb)(coroutine if use_async else plain)
    return answers


@pytest.fixture(params=[False, True], ids=["plain", "async"])
def use_async(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


# What a handler may return


@pytest.mark.parametrize(
    ("answer", "wire"),
    [
        (None, b"+OK\r\n"),
        ("text", b"+OK text\r\n"),
        ("{braces} stay", b"+OK {braces} stay\r\n"),
        ("two\r\n-ERR lines", b"+OK two  -ERR lines\r\n"),
        ("", b"+OK\r\n"),
        (Ok("fine"), b"+OK fine\r\n"),
        (Err("no", "SYS/PERM"), b"-ERR [SYS/PERM] no\r\n"),
        (["a", ".b", "."], b"+OK\r\na\r\n..b\r\n..\r\n.\r\n"),
        ([], b"+OK\r\n.\r\n"),
        (MultiLine("{n} lines", ["x"], {"n": 1}), b"+OK 1 lines\r\nx\r\n.\r\n"),
        (Prepared("", b"1 2\r\n"), b"+OK\r\n1 2\r\n.\r\n"),
    ],
)
def test_return_values(answer: object, wire: bytes, use_async: bool) -> None:
    def plain(session: ClientSession, argument: str, default: Default) -> Any:
        return answer

    async def coroutine(*args: Any) -> Any:
        return plain(*args)

    with serving() as server:
        server.command("XSAY")(coroutine if use_async else plain)
        with Client(server.port) as client:
            client.send("XSAY\r\nQUIT\r\n")
            assert client.rest() == wire + b"+OK bye\r\n"


@pytest.mark.parametrize("lines", [1, 1000, 300_000])
def test_a_listing_of_any_length_among_other_replies(lines: int) -> None:
    block = b"".join(b"%d some-unique-id\r\n" % number for number in range(1, lines + 1))
    with serving() as server:
        server.command("XLIST")(lambda *_: Prepared("", block))
        with Client(server.port) as client:
            client.send("XLIST\r\n" * 3 + "QUIT\r\n")
            assert client.rest() == (b"+OK\r\n" + block + b".\r\n") * 3 + b"+OK bye\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"octets",
        7,
        True,
        ("a", "b"),
        object(),
        {"a": 1},
        Ok("{missing}", {"other": 1}),
        MultiLine("", [1]),  # type: ignore[list-item]
    ],
)
def test_what_cannot_be_a_reply_costs_that_command_alone(answer: Any) -> None:
    with serving() as server:
        server.command("XODD")(lambda *_: answer)
        with Client(server.port) as client:
            assert REFERENCE.fullmatch(client.ask("XODD"))
            assert client.ask("QUIT") == b"+OK bye"


def test_pop3_error_is_the_one_line_refusal(running: Pop3Server) -> None:
    @running.command("XNO")
    def refuse(session: ClientSession, argument: str, default: Default) -> None:
        raise Pop3Error(f"no {{argument}} like\r\n{argument}", code="SYS/TEMP")

    with Client(running.port) as client:
        assert client.ask("XNO .") == b"-ERR [SYS/TEMP] no {argument} like  ."


def test_the_argument_comes_as_text(running: Pop3Server) -> None:
    @running.command("XECHO")
    def echo(session: ClientSession, argument: str, default: Default) -> str:
        return repr(argument)

    with Client(running.port) as client:
        assert client.ask("XECHO  a  b ") == b"+OK ' a  b '"
        assert client.ask("xecho") == b"+OK ''"
        assert client.ask(b"XECHO \xff") == b"-ERR argument is not UTF-8"
        assert client.ask(b"XECHO a\0") == b"-ERR control characters are not allowed"


# Replacing and wrapping


def test_replaced(running: Pop3Server) -> None:
    running.command("STAT")(lambda session, argument, default: "0 0")
    with Client(running.port) as client:
        assert client.ask("STAT") == b"-ERR log in first"  # its states stay
        assert client.log_in().ask("stat") == b"+OK 0 0"


def test_wrapped_without_io(running: Pop3Server, use_async: bool) -> None:
    stat = wrapped(running, "STAT", use_async)
    listed = wrapped(running, "LIST", use_async)
    with Client(running.port) as client:
        client.log_in()
        assert client.ask("STAT") == b"+OK 2 300042"
        assert client.fetch("LIST") == b"1 24\r\n2 300018\r\n"
        assert client.ask("LIST 2") == b"+OK 2 300018"
        assert client.ask("LIST x") == b"-ERR argument must be a number"
        assert client.ask("LIST 3") == b"-ERR no such message"
        assert client.ask("DELE 1") == b"+OK marked"
        assert client.fetch("LIST") == b"2 300018\r\n"
    assert stat == [Ok("2 300042")]
    assert isinstance(listed[0], Prepared)


def test_wrapped_retr_and_top_stream_the_message(
    running: Pop3Server, use_async: bool, loop_kind: str
) -> None:
    answers = wrapped(running, "RETR", use_async)
    wrapped(running, "TOP", use_async)
    with Client(running.port) as client:
        client.log_in()
        assert client.fetch("RETR 1") == b"Subject: one\r\n\r\n.first\r\n"
        assert len(client.fetch("RETR 2")) == 300_018
        assert client.fetch("TOP 2 0") == b"Subject: two\r\n\r\n"
        assert client.ask("RETR 3") == b"-ERR no such message"
    assert [type(each) for each in answers] == [Body, Body, Err]


def test_a_wrapped_retr_may_have_another_text(running: Pop3Server) -> None:
    @running.command("RETR")
    async def retr(
        session: ClientSession, argument: str, default: Callable[..., Awaitable[Any]]
    ) -> Any:
        return replace(await default(), text="here it is")

    with Client(running.port) as client:
        assert client.log_in().ask("RETR 1") == b"+OK here it is"
        assert client.body() == b"Subject: one\r\n\r\n.first\r\n"


def test_default_may_be_called_with_another_argument(running: Pop3Server, use_async: bool) -> None:
    def plain(session: ClientSession, argument: str, default: Default) -> Any:
        return default("1")

    async def coroutine(session: ClientSession, argument: str, default: Default) -> Any:
        return await default("1")

    running.command("RETR")(coroutine if use_async else plain)
    with Client(running.port) as client:
        assert client.log_in().fetch("RETR 77") == b"Subject: one\r\n\r\n.first\r\n"


def test_wrapped_quit_commits_and_closes(use_async: bool) -> None:
    with serving(MAIL) as server:
        answers = wrapped(server, "QUIT", use_async)
        with Client(server.port) as client:
            client.log_in().ask("DELE 1")
            assert client.ask("QUIT") == b"+OK bye"
            assert client.is_cut()
        assert isinstance(store_of(server), MemoryStore)
        assert len(store_of(server).messages(NAME)) == 1
        assert answers == [Ok("bye")]


def test_a_handler_that_fails_after_its_default_cannot_undo_it() -> None:
    with serving(MAIL) as server:

        @server.command("QUIT")
        def fail(session: ClientSession, argument: str, default: Default) -> None:
            default()
            raise ZeroDivisionError

        with Client(server.port) as client:
            client.log_in().ask("DELE 1")
            assert REFERENCE.fullmatch(client.ask("QUIT"))
            assert client.is_cut()
        assert isinstance(store_of(server), MemoryStore)
        assert len(store_of(server).messages(NAME)) == 1


def test_wrapped_pass(running: Pop3Server, use_async: bool) -> None:
    answers = wrapped(running, "PASS", use_async)
    with Client(running.port) as client:
        client.ask("USER joe")
        assert client.ask("PASS wrong").startswith(b"-ERR [AUTH]")
        client.log_in()
        assert client.ask("STAT").startswith(b"+OK 2")
    assert [type(each) for each in answers] == [Err, Ok]


def encoded(*texts: str) -> list[str]:
    return [base64.b64encode(text.encode()).decode() for text in texts]


def test_wrapped_auth_runs_a_whole_exchange(
    running: Pop3Server, use_async: bool, loop_kind: str
) -> None:
    wrapped(running, "AUTH", use_async)
    name, password, token = encoded(NAME, PASSWORD, f"\0{NAME}\0{PASSWORD}")
    with Client(running.port) as client:
        assert client.fetch("AUTH").endswith(b"\r\nPLAIN\r\nLOGIN\r\nCRAM-MD5\r\n")
        assert client.ask("AUTH LOGIN") == b"+ VXNlcm5hbWU6"
        assert client.ask("*") == b"-ERR authentication cancelled"
        assert client.ask("AUTH PLAIN !") == b"-ERR malformed response: not base64"
        assert client.ask("AUTH LOGIN") == b"+ VXNlcm5hbWU6"
        assert client.ask(name) == b"+ UGFzc3dvcmQ6"
        assert client.ask(password) == b"+OK 2 messages"
        assert client.ask("STAT") == b"+OK 2 300042"
    with Client(running.port) as client:
        client.send(f"AUTH PLAIN\r\n{token}\r\nSTAT\r\nQUIT\r\n")  # all at once
        assert client.rest().split(b"\r\n")[:-1] == [
            b"+ ", b"+OK 2 messages", b"+OK 2 300042", b"+OK bye",
        ]  # fmt: skip


def test_wrapped_auth_takes_long_responses_and_bounds_them(running: Pop3Server) -> None:
    """A5, L3"""
    wrapped(running, "AUTH", False)
    with Client(running.port) as client:
        assert client.ask("AUTH PLAIN") == b"+ "
        for _ in range(9):
            client.send(b"A" * 10_000)
        assert client.ask(b"").startswith(b"-ERR malformed response")
        assert client.ask("AUTH PLAIN") == b"+ "
        client.send(b"A" * 120_000)
        assert client.rest() == b"-ERR line of more than 98304 octets\r\n"


@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
def test_a_client_that_leaves_in_the_middle_of_a_wrapped_exchange(
    running: Pop3Server, use_async: bool, how: str
) -> None:
    closed: list[ClientSession] = []
    errors: list[Exception] = []
    running.on("close_connection")(closed.append)
    running.on("server_error")(lambda session, error: errors.append(error))
    wrapped(running, "AUTH", use_async)
    with Client(running.port) as client:
        assert client.ask("AUTH LOGIN").startswith(b"+ ")
        if how == "half-close":
            client.shut_writing()
            assert client.is_cut()
        elif how == "reset":
            client.reset()
    until(lambda: closed)
    until(lambda: running.sessions == 0)
    assert errors == []


def test_wrapped_capa_can_say_more(running: Pop3Server) -> None:
    @running.command("CAPA")
    async def capa(session: ClientSession, argument: str, default: Default) -> Any:
        reply = await default()
        return MultiLine(reply.text, [*reply.lines, "X-OURS"])

    with Client(running.port) as client:
        lines = client.fetch("CAPA").split(b"\r\n")
        assert b"X-OURS" in lines
        assert b"UIDL" in lines


# The registry


def test_added_with_states_and_capability(running: Pop3Server) -> None:
    @running.command("XMARK", states=[State.TRANSACTION], capability="XMARK 1.0")
    def mark(session: ClientSession, argument: str, default: Default) -> str:
        return f"marked {argument}"

    with Client(running.port) as client:
        assert b"XMARK 1.0\r\n" in client.fetch("CAPA")
        assert client.ask("XMARK 1") == b"-ERR log in first"
        assert client.log_in().ask("XMARK 1") == b"+OK marked 1"
        assert b"XMARK 1.0\r\n" in client.fetch("CAPA")


def test_an_added_command_has_no_default(running: Pop3Server) -> None:
    @running.command("XNEW")
    def handler(session: ClientSession, argument: str, default: Default) -> Any:
        return default()

    with Client(running.port) as client:
        assert client.ask("XNEW") == b"-ERR command has no default"


def test_renamed_and_removed_while_sessions_run(running: Pop3Server) -> None:
    with Client(running.port) as client:
        client.log_in()
        assert client.ask("UIDL 1").startswith(b"+OK 1 ")
        running.commands.rename("UIDL", "XUIDL")
        running.commands.remove("NOOP")
        assert client.ask("UIDL 1") == b"-ERR unknown command"
        assert client.ask("XUIDL 1").startswith(b"+OK 1 ")
        assert client.ask("NOOP") == b"-ERR unknown command"
        assert b"UIDL" not in client.fetch("CAPA")


def test_adding_what_is_there_with_states_is_refused(running: Pop3Server) -> None:
    with pytest.raises(ValueError, match="replace"):
        running.command("STAT", states=[State.TRANSACTION])(print)


def test_async_callable_objects_are_awaited(running: Pop3Server) -> None:
    class Handler:
        async def __call__(self, session: ClientSession, argument: str, default: Default) -> str:
            return "awaited"

    running.command("XOBJECT")(Handler())
    with Client(running.port) as client:
        assert client.ask("XOBJECT") == b"+OK awaited"


def test_truthful_quit() -> None:
    """D3: what could not be removed is said, and that it stays."""

    class Stubborn(MemoryStore):
        def remove(self, maildrop_name: str, unique_id: str) -> None:
            raise CommitFailed("read-only disk", 2)

    store = Stubborn()
    for message in MAIL:
        store.add(NAME, message)
    with new_server(store) as server:
        with Client(server.port) as client:
            client.log_in().send("DELE 1\r\nDELE 2\r\nQUIT\r\n")
            *_, last = client.rest().splitlines()
            assert re.fullmatch(
                rb"-ERR \[SYS/TEMP\] 2 deleted messages not removed \(ref [0-9a-f]+\)", last
            )
        with Client(server.port) as client:
            assert client.log_in().ask("STAT").startswith(b"+OK 2 ")
