"""An application as type checkers should let it be. Checked, and never run."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

from restante import (
    Account,
    AccountStore,
    Backend,
    Claim,
    ClientSession,
    Content,
    GuardSettings,
    Incoming,
    Listing,
    Maildrop,
    MaildropStore,
    MessageInfo,
    Messages,
    MultiLine,
    Observer,
    Ok,
    OnThread,
    Peer,
    Pop3Server,
    Reply,
    SqliteAccounts,
    State,
    Store,
)
from restante.server import AsyncDefault, Default


class Notes(MaildropStore):
    def list(self, account: Account) -> Messages:
        return [MessageInfo("one"), MessageInfo(2, octets=10)]

    def read(self, account: Account, unique_id: str) -> bytes:
        return b""

    def delete(self, account: Account, unique_ids: Sequence[str]) -> None: ...

    def names(self) -> Sequence[str]:
        return ["one"]


class AsyncNotes(MaildropStore):
    async def list(self, account: Account) -> Iterable[MessageInfo]:
        return []

    async def read(self, account: Account, unique_id: str) -> AsyncIterator[bytes]:
        async def blocks() -> AsyncIterator[bytes]:
            yield b""

        return blocks()

    async def delete(self, account: Account, unique_ids: Sequence[str]) -> None: ...


class Drop(Maildrop):
    def __init__(self) -> None:
        self.listing = Listing(["one"], [10])

    def fetch(self, number: int, lines: int | None = None) -> Content | OnThread[Content]:
        return OnThread(Content, b"")

    async def commit(self, numbers: Sequence[int]) -> None: ...


class Drops(Store):
    blocking = False

    def open(self, account: Account) -> Drop:
        return Drop()

    async def receive(self, account: Account) -> Incoming:
        raise NotImplementedError


class Elsewhere(Backend):
    async def log_in(self, claim: Claim, peer: Peer) -> Maildrop | None:
        return Drop()


class Ours(AccountStore):
    async def lookup(self, name: str) -> Account | None:
        return Account(name, ("{PLAIN}x",))


server = Pop3Server(
    accounts={"joe": "secret", "ann": Account("ann")},
    store=Notes(),
    port=0,
    idle_timeout=600,
    mechanisms=("PLAIN",),
    guard=GuardSettings(ban_after=3),
)
Pop3Server(accounts=Ours(), store=AsyncNotes(), for_tests=True)
Pop3Server(accounts=SqliteAccounts("a.db"), store=Drops(), use_auth="sasl", expire_days=None)
Pop3Server(backend=Elsewhere())


@server.on("start")
def started() -> None: ...


@server.on("accept_connection")
def accept(session: ClientSession) -> bool:
    return session.peer_ip != "192.0.2.1"


@server.on("certificate")
def certificate(name: str | None) -> ssl.SSLContext | None:
    return None


@server.on("authenticate")
async def authenticate(
    session: ClientSession, claim: Claim, default: Callable[[], Awaitable[Account | None]]
) -> Account | None:
    return await default()


@server.on("authenticate")
def authenticate_plain(
    session: ClientSession, claim: Claim, default: Callable[[], Account | None]
) -> bool:
    return default() is not None


@server.on("retrieve")
async def retrieve(session: ClientSession, number: int) -> bytes | None:
    return b""


@server.on("delete")
def delete(session: ClientSession, number: int) -> bool | None:
    return True


@server.on("receive_command")
async def received(session: ClientSession, line: str) -> None: ...


@server.on("send_response")
def sent(session: ClientSession, line: str) -> None: ...


@server.on("server_error")
def failed(session: ClientSession | None, error: Exception) -> None: ...


accept(ClientSession.__new__(ClientSession))  # a decorated function stays what it was


@server.command("STAT")
def stat(session: ClientSession, argument: str, default: Default) -> Reply:
    return default("1") if argument else Ok("{count}", {"count": 0})


@server.command("CAPA")
async def capa(session: ClientSession, argument: str, default: AsyncDefault) -> Reply:
    reply = await default()
    return MultiLine("", [*reply.lines, "X"]) if isinstance(reply, MultiLine) else reply


@server.command("XTIME", states=[State.TRANSACTION], capability="XTIME", secret=True)
def time(session: ClientSession, argument: str, default: object) -> list[str]:
    return ["a line"]


@server.command("XNOTHING")
async def nothing(session: ClientSession, argument: str, default: object) -> None: ...


class Counting(Observer):
    def connected(self, session: ClientSession) -> None: ...

    def committed(self, session: ClientSession, numbers: Sequence[int]) -> None: ...


server.observe(Counting())


class Subclass(Pop3Server):
    def on_delete(self, session: ClientSession, number: int) -> bool:
        return True

    async def on_retrieve(self, session: ClientSession, number: int) -> None: ...

    async def on_authenticate(
        self, session: ClientSession, claim: Claim, default: Callable[[], Awaitable[Account | None]]
    ) -> Account | None:
        return await default()
