"""What the tests of this room share: a store that can fail and remembers, listeners, raw peers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from restante.accounts.contract import Account
from restante.accounts.static import StaticAccounts
from restante.delivery import Intake, Recipients, smtp_protocol
from restante.protocol.listing import UniqueId
from restante.stores.contract import Answer, Incoming, Maildrop, Store, StoreError
from restante.stores.memory import MemoryStore

ACCOUNTS = StaticAccounts(
    {
        "joe": Account("joe", email="joe@example.org"),
        "ann": Account("ann", email="ann@example.org"),
        "bob": Account("bob", disabled=True),
        "jürgen": Account("jürgen"),
    }
)


class FakeStore(Store):
    """A MemoryStore that writes down what happens, and where, and fails where it is told to."""

    def __init__(self, **faults: BaseException) -> None:
        self.memory = MemoryStore()
        self.faults = faults  # "joe_receive", "joe_write", "joe_prepare", "joe_commit"
        self.events: list[str] = []
        self.threads: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()

    def open(self, account: Account) -> Maildrop:
        return self.memory.open(account)

    def receive(self, account: Account) -> Incoming:
        self.happens(account.name, "receive")
        return _FakeIncoming(self, account.name, self.memory.receive(account))

    def happens(self, name: str, event: str) -> None:
        self.gate.wait(10)
        self.threads.add(threading.current_thread().name)
        fault = self.faults.get(f"{name}_{event}")
        if fault is not None:
            raise fault
        if self.events[-1:] != [f"{name} {event}"]:
            self.events.append(f"{name} {event}")

    def mail(self, name: str) -> list[bytes]:
        return list(self.memory.messages(name).values())


class _FakeIncoming(Incoming):
    def __init__(self, store: FakeStore, name: str, incoming: Incoming) -> None:
        self._store, self._name, self._incoming = store, name, incoming

    def write(self, block: bytes) -> None:
        self._store.happens(self._name, "write")
        self._incoming.write(block)

    def prepare(self) -> None:
        self._store.happens(self._name, "prepare")

    def commit(self) -> Answer[UniqueId]:
        self._store.happens(self._name, "commit")
        return self._incoming.commit()

    def abort(self) -> None:
        if fault := self._store.faults.get(f"{self._name}_abort"):
            raise fault
        self._incoming.abort()


SECRET_FAULT = StoreError("disk /dev/secret is full")


def intake_for(store: FakeStore, **settings: object) -> Intake:
    recipients = settings.pop("recipients", None) or Recipients(ACCOUNTS, domains=["example.org"])
    assert isinstance(recipients, Recipients)
    return Intake(
        recipients=recipients,
        store=store,
        hostname="mail.example.org",
        **settings,  # type: ignore[arg-type]
    )


@asynccontextmanager
async def listening(factory: Callable[[], asyncio.Protocol], intake: Intake) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(factory, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await intake.stop(0.2)
        await server.wait_closed()


@contextmanager
def serving(make: Callable[[], tuple[Callable[[], asyncio.Protocol], Intake]]) -> Iterator[int]:
    """A listener on a thread with a loop of its own, for blocking clients."""
    started: list[int] = []
    up, loop, ended = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def main() -> None:
        factory, intake = make()
        async with listening(factory, intake) as port:
            started.append(port)
            up.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
    thread.start()
    try:
        assert up.wait(10)
        yield started[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


class Peer:
    """A raw client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port: int) -> Peer:
        peer = cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 20))
        assert (await peer.reply()).startswith("220 ")
        return peer

    async def reply(self) -> str:
        """One reply, its lines joined by LF; "" at the connection's end."""
        lines = []
        while True:
            line = (await asyncio.wait_for(self.reader.readline(), 10)).decode()
            lines.append(line.removesuffix("\r\n"))
            if line[3:4] != "-":
                return "\n".join(lines)

    async def say(self, *lines: str | bytes) -> str:
        """Send lines one by one; gives the last one's reply."""
        answer = ""
        for line in lines:
            data = line.encode() if isinstance(line, str) else line
            self.writer.write(data + b"\r\n")
            answer = await self.reply()
        return answer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def data(self, wire: bytes) -> str:
        """DATA, the octets as they are, and the reply."""
        assert (await self.say("DATA")).startswith("354 ")
        await self.send(wire)
        return await self.reply()

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            return


def as_data(message: bytes) -> bytes:
    """A message in wire form as DATA: stuffed, with the end. Bare LF begins no line."""
    if message.startswith(b"."):
        message = b"." + message
    message = message.replace(b"\r\n.", b"\r\n..")
    if message and not message.endswith(b"\r\n"):
        message += b"\r\n"
    return message + b".\r\n"


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def flood(writer: asyncio.StreamWriter, line: bytes) -> None:
    """Ask and ask, and never read an answer, until the other side has had enough."""
    try:
        for _ in range(2000):
            writer.write(line * 1000)
            await writer.drain()
    except OSError:
        pass
    await Peer(asyncio.StreamReader(), writer).close()


@contextmanager
def smtp_served(store: FakeStore, **settings: object) -> Iterator[int]:
    def make() -> tuple[Callable[[], asyncio.Protocol], Intake]:
        intake = intake_for(store, trace=True)
        return smtp_protocol(intake, **settings), intake  # type: ignore[arg-type]

    with serving(make) as port:
        yield port
