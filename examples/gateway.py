"""A gateway: whoever logs in here is logged in to another POP3 server, and sees that mailbox.

python examples/gateway.py --upstream-host pop.example.org --upstream-port 110 --port 1110
curl pop3://127.0.0.1:1110/1 -u joe:secret

It has no accounts and no mail of its own. Messages pass through in blocks while they are read;
DELE is passed on at QUIT. Between the gateway and the other server nothing is encrypted here:
see `ssl` of `asyncio.open_connection`.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Sequence

from restante import (
    Account,
    Backend,
    Claim,
    CommitFailed,
    Content,
    Listing,
    Maildrop,
    MaildropInUse,
    PasswordClaim,
    Peer,
    Pop3Server,
    StoreError,
)

SECONDS = 30
"""How long the other server may take for each line."""


class Gateway(Backend):
    """Logs in to another server with the name and the password that it is given."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port

    async def log_in(self, claim: Claim, peer: Peer) -> Maildrop | None:
        # A line end in a name or password would begin another command.
        if not isinstance(claim, PasswordClaim) or not (claim.name + claim.password).isprintable():
            return None
        if claim.authzid not in ("", claim.name):
            return None  # who would act as somebody else
        try:
            async with asyncio.timeout(SECONDS):
                upstream = Upstream(*await asyncio.open_connection(self.host, self.port))
        except OSError as error:
            raise StoreError(f"{self.host} port {self.port}: {error}") from error
        try:
            await upstream.ask()  # the greeting
            try:
                await upstream.ask(f"USER {claim.name}")
                await upstream.ask(f"PASS {claim.password}")
            except Refused as error:
                if error.code in ("", "AUTH"):
                    upstream.close()
                    return None
                raise
            peer.admit(Account(claim.name))
            ids = [line.split()[1].decode() async for line in upstream.lines("UIDL")]
            octets = [int(line.split()[1]) async for line in upstream.lines("LIST")]
            upstream.listing = Listing(ids, octets)
        except BaseException:
            upstream.close()
            raise
        return upstream


class Refused(StoreError):
    """The other server has answered -ERR."""

    def __init__(self, line: str) -> None:
        super().__init__(f"the other server says: {line}")
        self.code = line[6:].partition("]")[0] if line.startswith("-ERR [") else ""


class Upstream(Maildrop):
    """A session with the other server."""

    blocking = False

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.unread = False  # a listing or message hasn't been read to its end

    async def ask(self, command: str = "") -> None:
        """Send a command and wait for its status line. Raises StoreError."""
        while self.unread:  # TOP may have been satisfied with less
            await self.line()
        if command:
            self.writer.write(command.encode() + b"\r\n")
        status = (await self.line()).decode("latin-1").rstrip()
        if status.startswith("-ERR [IN-USE]"):
            raise MaildropInUse(status)
        if not status.startswith("+OK"):
            raise Refused(status)

    async def line(self) -> bytes:
        try:
            async with asyncio.timeout(SECONDS):
                line = await self.reader.readline()
        except (OSError, ValueError) as error:  # ValueError: a line that has no end
            raise StoreError(f"the other server: {error}") from error
        if not line.endswith(b"\n"):
            raise StoreError("the other server has closed the connection")
        self.unread = self.unread and line != b".\r\n"
        return line

    async def lines(self, command: str) -> AsyncIterator[bytes]:
        """What follows a command's status line, without what byte-stuffing has added."""
        await self.ask(command)
        self.unread = True
        while (line := await self.line()) and self.unread:
            yield line.removeprefix(b".")

    async def fetch(self, number: int, lines: int | None = None) -> Content:
        return Content(self.lines(f"RETR {number}" if lines is None else f"TOP {number} {lines}"))

    async def commit(self, numbers: Sequence[int]) -> None:
        try:
            for number in numbers:
                await self.ask(f"DELE {number}")
            await self.ask("QUIT")
        except StoreError as error:
            raise CommitFailed(str(error), remaining=len(numbers)) from error

    def close(self) -> None:
        self.writer.close()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--upstream-host", required=True)
    arguments.add_argument("--upstream-port", type=int, default=110)
    arguments.add_argument("--port", type=int, default=1110)
    given = arguments.parse_args()
    backend = Gateway(given.upstream_host, given.upstream_port)
    with Pop3Server(backend=backend, port=given.port) as server:
        print(f"POP3 on 127.0.0.1 port {server.port}", flush=True)
        input("Enter stops it\n")


if __name__ == "__main__":
    main()
