"""Stores of the application's behind the server: every kind of source, and every way to fail."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, BinaryIO

import pytest

from restante import (
    Account,
    CommitFailed,
    Content,
    Maildrop,
    MaildropInUse,
    MaildropStore,
    MemoryStore,
    MessageGone,
    MessageInfo,
    Store,
    StoreError,
)
from restante.protocol.facts import measure
from restante.protocol.listing import Listing
from tests.corpus import NASTY, wire_form
from tests.server.kit import NAME, PASSWORD, Client, new_server, until

BIG = b"Subject: big\n\n" + b".line of text\n" * 60_000
MAIL = {"a": NASTY["dots-lf"], "b": NASTY["mixed-line-ends"], "big": BIG, "empty": b""}


class Letters(MaildropStore):
    """A store of three plain methods; what `source` makes of a message is what it reads."""

    def __init__(self, source: Callable[[bytes], Any], *, sizes: bool = False) -> None:
        self.letters = dict(MAIL)
        self.source = source
        self.sizes = sizes

    def list(self, account: Account) -> list[MessageInfo]:
        return [
            MessageInfo(unique_id, measure([letter]).octets if self.sizes else None)
            for unique_id, letter in self.letters.items()
        ]

    def read(self, account: Account, unique_id: str) -> Any:
        return self.source(self.letters[unique_id])

    def delete(self, account: Account, unique_ids: Sequence[str]) -> None:
        for unique_id in unique_ids:
            self.letters.pop(unique_id, None)


class AsyncLetters(Letters):
    """The same with coroutine functions."""

    async def list(self, account: Account) -> Any:  # type: ignore[override]
        return super().list(account)

    async def read(self, account: Account, unique_id: str) -> Any:
        return super().read(account, unique_id)

    async def delete(self, account: Account, unique_ids: Sequence[str]) -> None:  # type: ignore[override]
        super().delete(account, unique_ids)


def blocks(letter: bytes) -> Iterator[bytes]:
    for at in range(0, len(letter), 1000):
        yield letter[at : at + 1000]


async def async_blocks(letter: bytes) -> AsyncIterator[bytes]:
    for block in blocks(letter):
        await asyncio.sleep(0)
        yield block


class Closing:
    """An iterator with a `close` of its own; counts those that are open."""

    open = 0

    def __init__(self, letter: bytes) -> None:
        self._blocks = blocks(letter)
        Closing.open += 1

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._blocks)

    def close(self) -> None:
        Closing.open -= 1


SOURCES: dict[str, Callable[[bytes], Any]] = {
    "bytes": bytes,
    "file": io.BytesIO,
    "generator": blocks,
    "async-generator": async_blocks,
    "closing": Closing,
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", [Letters, AsyncLetters])
@pytest.mark.parametrize("sizes", [False, True])
def test_a_three_method_store(
    source: str, kind: type[Letters], sizes: bool, loop_kind: str
) -> None:
    store = kind(SOURCES[source], sizes=sizes)
    with new_server(store, batch_size=4096) as server:
        with Client(server.port) as client:
            client.log_in()
            listed = [int(line.split()[1]) for line in client.fetch("LIST").splitlines()]
            for number, letter in enumerate(MAIL.values(), 1):
                got = client.fetch(f"RETR {number}")
                assert got == wire_form(letter)
                assert len(got) == listed[number - 1]  # F5
            assert client.fetch("TOP 3 1") == b"Subject: big\r\n\r\n.line of text\r\n"
            assert client.fetch("TOP 3 99999999") == wire_form(BIG)
            client.ask("DELE 1")
            client.ask("DELE 3")
            assert list(store.letters) == list(MAIL)  # D2
            assert client.ask("QUIT") == b"+OK bye"
        assert list(store.letters) == ["b", "empty"]
        with Client(server.port) as client:
            assert client.log_in().ask("STAT").startswith(b"+OK 2 ")
    assert Closing.open == 0


def test_leases_of_a_three_method_store() -> None:
    with new_server(Letters(bytes)) as server, Client(server.port) as one:
        one.log_in()
        with Client(server.port) as two:
            two.ask("USER joe")
            assert two.ask(f"PASS {PASSWORD}").startswith(b"-ERR [IN-USE]")
            one.ask("QUIT")
            two.log_in()


# Failing


@pytest.mark.parametrize("kind", [Letters, AsyncLetters])
@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (StoreError("s3 canary"), b"-ERR [SYS/TEMP] temporary failure: try again later"),
        (
            StoreError("lost canary", temporary=False),
            b"-ERR [SYS/PERM] the server's operator must look into this",
        ),
        (MessageGone("canary"), b"-ERR message was removed from elsewhere"),
        (KeyError("canary"), b"-ERR [SYS/TEMP] temporary failure: try again later"),
        (OSError("canary"), b"-ERR [SYS/TEMP] temporary failure: try again later"),
    ],
)
def test_what_a_store_says_when_it_cannot_give_a_message(
    kind: type[Letters], error: Exception, answer: bytes
) -> None:
    """L8: and the session goes on."""

    def source(letter: bytes) -> bytes:
        if letter == MAIL["b"]:
            raise error
        return letter

    with new_server(kind(source, sizes=True)) as server, Client(server.port) as client:
        client.log_in()
        said = client.ask("RETR 2")
        assert said.startswith(answer)
        assert b"canary" not in said
        assert client.fetch("RETR 1") == wire_form(MAIL["a"])
        assert client.ask("STAT").startswith(b"+OK 4 ")


def failing_at_first(letter: bytes) -> Iterator[bytes]:
    if letter == BIG:
        raise StoreError("canary")
    yield letter


async def async_failing_at_first(letter: bytes) -> AsyncIterator[bytes]:
    if letter == BIG:
        raise MessageGone("canary")
    yield letter


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        (failing_at_first, b"-ERR [SYS/TEMP] temporary failure: try again later"),
        (async_failing_at_first, b"-ERR message was removed from elsewhere"),
    ],
)
def test_a_generator_that_finds_out_at_its_first_block(source: Any, answer: bytes) -> None:
    """D4, L8: nothing has been sent, so there is still something to say."""
    with new_server(Letters(source, sizes=True)) as server, Client(server.port) as client:
        client.log_in()
        assert client.ask("RETR 3") == answer
        assert client.fetch("RETR 1") == wire_form(MAIL["a"])


def failing_half_way(letter: bytes) -> Iterator[bytes]:
    yield from list(blocks(letter))[:30]
    raise StoreError("canary")


async def async_failing_half_way(letter: bytes) -> AsyncIterator[bytes]:
    for block in list(blocks(letter))[:30]:
        yield block
    raise ConnectionRefusedError("canary")


class FailingFile(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > 30_000:
            raise OSError("canary")
        return super().read(size)


@pytest.mark.parametrize("source", [failing_half_way, async_failing_half_way, FailingFile])
def test_a_read_that_fails_half_way_cuts_the_connection_without_terminator(
    source: Any, loop_kind: str
) -> None:
    """Nothing may look like a whole message that isn't one."""
    errors: list[Exception] = []
    store = Letters(source, sizes=True)
    with new_server(store, batch_size=4096) as server:
        server.on("server_error")(lambda session, error: errors.append(error))
        with Client(server.port) as client:
            client.log_in().ask("DELE 1")
            client.send("RETR 3\r\nQUIT\r\n")
            got = b""
            try:
                client.line()
                got = client.rest()
            except ConnectionError:
                pass
            assert b"\r\n.\r\n" not in got
            assert b"canary" not in got
        until(lambda: server.sessions == 0)
        assert [str(error) for error in errors] == ["canary"]
        assert list(store.letters) == list(MAIL)
        with Client(server.port) as client:
            client.log_in()  # the lease is free


@pytest.mark.parametrize(
    "error", [StoreError("canary"), OSError("canary"), MaildropInUse("canary")]
)
def test_a_store_that_cannot_be_opened(error: Exception) -> None:
    class Broken(Letters):
        def list(self, account: Account) -> Any:
            raise error

    with new_server(Broken(bytes)) as server, Client(server.port) as client:
        client.ask("USER joe")
        answer = client.ask(f"PASS {PASSWORD}")
        assert answer.startswith((b"-ERR [SYS/TEMP]", b"-ERR [IN-USE]"))
        assert b"canary" not in answer
        assert client.ask("STAT") == b"-ERR log in first"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommitFailed("canary", 2), b"SYS/TEMP"),
        (CommitFailed("canary", 2, temporary=False), b"SYS/PERM"),
        (StoreError("canary", temporary=False), b"SYS/PERM"),
        (OSError("canary"), b"SYS/TEMP"),
    ],
)
def test_quit_tells_what_remains(error: Exception, code: bytes) -> None:
    """D3"""

    class ReadOnly(Letters):
        def delete(self, account: Account, unique_ids: Sequence[str]) -> None:
            raise error

    store = ReadOnly(bytes)
    with new_server(store) as server:
        with Client(server.port) as client:
            client.log_in().send("DELE 1\r\nDELE 2\r\nQUIT\r\n")
            *_, answer = client.rest().splitlines()
        assert answer.startswith(b"-ERR [%s] 2 deleted messages not removed (ref " % code)
        with Client(server.port) as client:
            client.log_in()


class Opened(Maildrop):
    """A maildrop that counts, and fails when told so."""

    def __init__(self, store: Opening) -> None:
        self.store = store
        self.listing = Listing(["u1"], [7])

    def fetch(self, number: int, lines: int | None = None) -> Content:
        return Content(b"hello\r\n")

    def commit(self, numbers: Sequence[int]) -> None:
        self.store.committed += len(numbers)

    def close(self) -> None:
        self.store.closed += 1
        if self.store.close_fails:
            raise OSError("canary")


class Opening(Store):
    """A store that opens maildrops, on storage threads."""

    def __init__(self, *, close_fails: bool = False) -> None:
        self.opened = self.closed = self.committed = 0
        self.close_fails = close_fails
        self.gate = threading.Event()
        self.gate.set()

    def open(self, account: Account) -> Maildrop:
        self.opened += 1
        self.gate.wait(10)
        return Opened(self)


def test_a_close_that_fails_does_not_make_quit_a_lie() -> None:
    """What was removed is removed; the failure is the operator's to know."""
    store = Opening(close_fails=True)
    errors: list[Exception] = []
    with new_server(store) as server:
        server.on("server_error")(lambda session, error: errors.append(error))
        with Client(server.port) as client:
            client.log_in().ask("DELE 1")
            assert client.ask("QUIT") == b"+OK bye"
        with Client(server.port) as client:
            client.log_in()
        until(lambda: store.closed == 2)
        until(lambda: len(errors) == 2)
    assert store.committed == 1


def test_content_without_facts_is_converted_with_care() -> None:
    with new_server(Opening()) as server, Client(server.port) as client:
        client.log_in()
        assert client.fetch("RETR 1") == b"hello\r\n"


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_while_its_maildrop_is_opened_leaves_no_lease(
    how: str, loop_kind: str
) -> None:
    store = Opening()
    with new_server(store) as server:
        store.gate.clear()
        with Client(server.port) as client:
            client.send(f"USER joe\r\nPASS {PASSWORD}\r\n")
            until(lambda: store.opened == 1)
            client.reset() if how == "reset" else client.close()
        time.sleep(0.02)
        store.gate.set()
        until(lambda: store.closed == 1)
        until(lambda: server.sessions == 0)


def test_a_client_that_leaves_while_its_password_is_checked(loop_kind: str) -> None:
    gate, entered = threading.Event(), threading.Event()
    store = Opening()
    with new_server(store) as server:

        @server.on("authenticate")
        def slowly(*_: object) -> bool:
            entered.set()
            return gate.wait(10)

        with Client(server.port) as client:
            client.send(f"USER joe\r\nPASS {PASSWORD}\r\n")
            entered.wait(10)
            client.reset()
        gate.set()
        until(lambda: server.sessions == 0)
    assert store.opened == store.closed


def test_a_slow_store_does_not_hold_up_other_sessions(loop_kind: str) -> None:
    gate, entered = threading.Event(), threading.Event()

    class Slow(Letters):
        def read(self, account: Account, unique_id: str) -> bytes:
            if account.name == "slow":
                entered.set()
                waited.append(gate.wait(60))
            return self.letters[unique_id]

    waited: list[bool] = []
    accounts = {"slow": PASSWORD, NAME: PASSWORD}
    with (
        new_server(Slow(bytes, sizes=True), accounts) as server,
        Client(server.port) as slow,
        Client(server.port) as quick,
    ):
        slow.log_in("slow").send("RETR 1\r\n")
        entered.wait(10)
        quick.log_in()
        assert quick.fetch("RETR 1") == wire_form(MAIL["a"])
        assert waited == []
        gate.set()
        assert slow.line().startswith(b"+OK")
        assert waited == [True]
        assert slow.body() == wire_form(MAIL["a"])


def test_a_hundred_thousand_messages() -> None:
    """L5"""
    count = 100_000

    class Many(Letters):
        def list(self, account: Account) -> Any:
            return (MessageInfo(f"u{number}", 7) for number in range(count))

        def read(self, account: Account, unique_id: str) -> bytes:
            return b"hello\n"

    with new_server(Many(bytes)) as server, Client(server.port) as client:
        assert client.log_in().ask("STAT") == b"+OK %d %d" % (count, 7 * count)
        assert len(client.fetch("LIST").splitlines()) == count
        assert client.fetch("UIDL").splitlines()[-1] == b"%d u%d" % (count, count - 1)
        client.send(b"".join(b"DELE %d\r\n" % number for number in range(1, 20_001)))
        for _ in range(20_000):
            assert client.line() == b"+OK marked"
        lines = client.fetch("LIST").splitlines()
        assert (len(lines), lines[0]) == (count - 20_000, b"20001 7")


def test_unique_ids_that_rfc_1939_does_not_allow_are_mapped() -> None:
    """U2, U3"""

    class Odd(Letters):
        def list(self, account: Account) -> Any:
            return [MessageInfo(each, 7) for each in ("x" * 300, "two words", "fine", "fine")]

        def read(self, account: Account, unique_id: str) -> BinaryIO:
            return io.BytesIO(unique_id.encode())

    seen = []
    with new_server(Odd(bytes)) as server:
        for _ in range(2):
            with Client(server.port) as client:
                client.log_in()
                seen.append([line.split()[1] for line in client.fetch("UIDL").splitlines()])
                assert client.fetch("RETR 2") == b"two words\r\n"
                client.ask("QUIT")
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 4
    assert all(len(each) <= 70 for each in seen[0])
    assert seen[0][2] == b"fine"


def test_mail_delivered_during_a_session_shows_in_the_next() -> None:
    """RFC 1939 §8: a snapshot per session."""
    store = MemoryStore()
    with new_server(store) as server:
        with Client(server.port) as client:
            client.log_in()
            store.add(NAME, b"late\n")
            assert client.ask("STAT") == b"+OK 0 0"
            client.ask("QUIT")
        with Client(server.port) as client:
            assert client.log_in().ask("STAT") == b"+OK 1 6"
