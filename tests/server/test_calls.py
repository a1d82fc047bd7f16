"""What is quick is done in place; what isn't, or has handlers, is left to threads and tasks."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from restante import (
    Account,
    ClientSession,
    Content,
    Maildir,
    Maildrop,
    MaildropStore,
    MemoryStore,
    MessageInfo,
    Pop3Server,
)
from restante.protocol.listing import Listing, MessageNumber
from restante.server import at_once
from restante.stores.contract import OpensAtOnce, Store
from restante.stores.maildir import scan as survey
from tests.server.kit import NAME, PASSWORD, Client, new_server
from tests.stores.maildir.kit import put, settle

LOOP = "restante-loop"


class Watched(Maildir):
    """A Maildir that notes which thread it is opened on, and may be slow."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.threads: list[str] = []
        self.pause = 0.0

    def open(self, account: Account) -> Maildrop:
        self.threads.append(threading.current_thread().name)
        return super().open(account)

    def open_at_once(self, account: Account) -> Maildrop | None:
        maildrop = super().open_at_once(account)
        if maildrop is not None:
            time.sleep(self.pause)
            self.threads.append(threading.current_thread().name)
        return maildrop


@pytest.fixture
def store(tmp_path: Path) -> Watched:
    put(tmp_path, "1.M1P1.host", b"Subject: one\n\n.first\n", user=NAME)
    settle(tmp_path, user=NAME)
    return Watched(tmp_path)


@contextmanager
def running(store: Any, **settings: Any) -> Iterator[Pop3Server]:
    with new_server(store, **settings) as server:
        yield server


def admission(server: Pop3Server, messages: int = 1) -> None:
    with Client(server.port) as client:
        assert client.ask(f"USER {NAME}") == b"+OK send PASS"
        assert client.ask(f"PASS {PASSWORD}") == b"+OK %d messages" % messages
        assert client.ask("RETR 1").startswith(b"+OK")
        assert client.lines()[-1] == b".first"
        assert client.ask("QUIT") == b"+OK bye"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is not slow storage."""
    monkeypatch.setattr(at_once, "SLOW_SECONDS", 0.01)
    monkeypatch.setattr(at_once, "REST_SECONDS", 1.5)


@pytest.fixture
def much(store: Watched, tmp_path: Path) -> None:
    """More messages than are looked through in place."""
    for number in range(survey.FEW):
        put(tmp_path, f"2.M{number}P1.host", b"\n", user=NAME)
    settle(tmp_path, user=NAME)


@pytest.mark.usefixtures("much")
def test_an_unchanged_maildrop_is_opened_on_the_loop(store: Watched) -> None:
    with running(store) as server:
        for _ in range(3):
            admission(server, 1 + survey.FEW)
    first, *others = store.threads
    assert first != LOOP
    assert others == [LOOP, LOOP]


def test_a_maildrop_of_few_messages_is_opened_on_the_loop(store: Watched, tmp_path: Path) -> None:
    with running(store) as server:
        admission(server)
        put(tmp_path, "2.M1P1.host", b"Subject: two\n\n", user=NAME)
        admission(server, 2)
    assert store.threads == [LOOP, LOOP]


@pytest.mark.usefixtures("much")
def test_slow_storage_is_left_to_the_threads_for_a_while(store: Watched) -> None:
    with running(store) as server:
        admission(server, 1 + survey.FEW)
        store.pause = at_once.SLOW_SECONDS * at_once.MEMORY * 1.5
        admission(server, 1 + survey.FEW)
        store.pause = 0.0
        admission(server, 1 + survey.FEW)
        time.sleep(at_once.REST_SECONDS)
        admission(server, 1 + survey.FEW)
    assert [name == LOOP for name in store.threads] == [False, True, False, True]


def test_a_handler_is_heard_though_the_maildrop_is_quick(store: Watched) -> None:
    heard: list[str] = []
    server = new_server(store)

    @server.on("mailbox_info")
    def opened(session: ClientSession) -> None:
        heard.append("mailbox_info")

    @server.on("retrieve")
    def retrieved(session: ClientSession, number: MessageNumber) -> None:
        heard.append("retrieve")

    @server.on("authenticate")
    async def authenticate(session: ClientSession, claim: object, default: Any) -> object:
        heard.append("authenticate")
        return await default()

    with server:
        admission(server)
        admission(server)
    assert heard == ["authenticate", "mailbox_info", "retrieve"] * 2


class Piped(MaildropStore):
    """A message that comes out of a pipe, in its own time."""

    def __init__(self) -> None:
        self.readers: list[str] = []
        self.asked, self.gate = threading.Event(), threading.Event()

    def list(self, account: Account) -> list[MessageInfo]:
        return [MessageInfo("one", 24)]

    def read(self, account: Account, unique_id: str) -> BinaryIO:
        reader, writer = os.pipe()

        def write() -> None:
            with os.fdopen(writer, "wb") as file, suppress(BrokenPipeError):
                file.write(b"Subject: one\r\n\r\n")
                file.flush()
                self.asked.set()
                self.gate.wait(30)
                file.write(b".first\r\n")

        threading.Thread(target=write).start()
        return os.fdopen(reader, "rb")

    def delete(self, account: Account, unique_ids: Sequence[str]) -> None: ...


def test_a_pipe_never_holds_up_the_loop() -> None:
    piped = Piped()
    with running(piped) as server, Client(server.port) as other:
        visitor = threading.Thread(target=admission, args=[server])
        visitor.start()
        assert piped.asked.wait(30)
        assert other.ask("CAPA").startswith(b"+OK")
        piped.gate.set()
        visitor.join()


def test_content_found_at_once_is_what_fetch_gives(store: Watched) -> None:
    account = Account(NAME)
    maildrop = store.open(account)
    number = MessageNumber(1)
    assert isinstance(maildrop.fetch(number), Content)
    assert maildrop.fetch_at_once(number) == maildrop.fetch(number)
    maildrop.close()


class InPlace(Store):
    """A store that never waits, as it says, and whose methods are async all the same."""

    blocking = False

    def open(self, account: Account) -> Maildrop:
        return AsyncMaildrop()


class AsyncInPlace(Store):
    blocking = False

    async def open(self, account: Account) -> Maildrop:
        return AsyncMaildrop()


class AsyncMaildrop(Maildrop):
    def __init__(self) -> None:
        self.listing = Listing(["one"], [24])

    async def fetch(self, number: MessageNumber) -> Content:
        return Content(b"Subject: one\n\n.first\n")

    async def commit(self, numbers: Sequence[MessageNumber]) -> None: ...

    async def close(self) -> None: ...


@pytest.mark.parametrize("kind", [InPlace, AsyncInPlace])
def test_a_store_that_never_waits_may_be_async(kind: type[Any]) -> None:
    with running(kind()) as server:
        admission(server)


def test_a_store_in_memory_is_used_at_once() -> None:
    store = MemoryStore()
    store.add(NAME, b"Subject: one\n\n.first\n")
    assert isinstance(store, OpensAtOnce)
    maildrop = store.open_at_once(Account(NAME))
    number = MessageNumber(1)
    assert maildrop.fetch_at_once(number) == maildrop.fetch(number)
    assert maildrop.close_at_once()
    with running(store) as server:
        admission(server)
