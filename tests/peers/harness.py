"""A server with one maildrop for mail clients to fetch from, and what a client is to a test."""

from __future__ import annotations

import os
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal, Self

from restante import Account, ClientSession, Listener, Maildir, Pop3Server, StaticAccounts
from restante.protocol.policy import UseAuth
from tests.answers import done
from tests.conftest import Authority

Way = Literal["plain", "starttls", "implicit"]
WAYS: tuple[Way, ...] = ("plain", "starttls", "implicit")

NAME = "joe"
PASSWORD = "secret"


class Post:
    """A server, the mail in its one account's maildrop, and the lines that clients sent."""

    def __init__(
        self,
        root: Path,
        authority: Authority,
        *,
        credential: str = "{PLAIN}" + PASSWORD,
        use_auth: UseAuth = "both",
    ) -> None:
        self.authority = authority
        self.store = Maildir(root / "mail", fsync=False)
        self.account = Account(NAME, (credential,))
        self.lines: list[str] = []
        self._numbers = count(1)
        self._listeners = {
            "plain": Listener(port=0),
            "starttls": Listener(port=0, tls="starttls_required"),
            "implicit": Listener(port=0, tls="implicit"),
        }
        # UTF-8 headers go out as they are: no client here says UTF8, and what it would get
        # instead is another test's business.
        self.server = Pop3Server(
            accounts=StaticAccounts([self.account]),
            store=self.store,
            listeners=list(self._listeners.values()),
            certificate=authority.certificate,
            use_auth=use_auth,
            utf8_headers="as-is",
            failure_delay=0,
        )
        self.server.on("receive_command")(self._hear)

    async def _hear(self, session: ClientSession, line: str) -> None:
        self.lines.append(line)

    @property
    def verbs(self) -> list[str]:
        """The verbs that clients sent; of AUTH, with the mechanism."""
        split = [line.upper().split() for line in self.lines]
        return [" ".join(words[: 2 if words[0] == "AUTH" else 1]) for words in split]

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.server.stop()

    def port(self, way: Way) -> int:
        address = self.server.addresses[list(self._listeners).index(way)]
        return address[1]

    def put(self, messages: Iterable[bytes]) -> None:
        """Lay messages into the maildrop, as another program would, in an order that no
        clock decides."""
        self.count()  # makes the folders
        for message in messages:
            name = f"{1_700_000_000 + next(self._numbers)}.M0P1.peers"
            (self.store.folder(self.account) / "new" / name).write_bytes(message)

    def wait_for_release(self) -> None:
        """Wait until no session holds the maildrop."""
        deadline = time.monotonic() + 30
        while self.server.sessions:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def count(self) -> int:
        """Messages in the maildrop now."""
        maildrop = done(self.store.open(self.account))
        try:
            return len(maildrop.listing.unique_ids)
        finally:
            done(maildrop.close())


@dataclass(frozen=True)
class Visit:
    """How a client is to fetch.

    home: its folder: HOME, state from visit to visit. keep: leave the messages on the
    server, and fetch only those that no visit from this home has had.
    login: a peer's own word for a way to log in; None lets it choose.
    """

    post: Post
    home: Path
    way: Way = "plain"
    keep: bool = True
    login: str | None = None

    @property
    def port(self) -> int:
        return self.post.port(self.way)

    @property
    def ca(self) -> Path:
        return self.post.authority.file

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        ok: Iterable[int] = (0,),
        timeout: float = 90,
    ) -> str:
        """Run a program at home; its output. Any exit status but `ok` fails the test."""
        done = subprocess.run(
            [str(word) for word in argv],
            cwd=self.home,
            env={"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
            | dict(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
        output = done.stdout.decode(errors="replace")
        assert done.returncode in set(ok), f"{argv[0]}: exit {done.returncode}\n{output[-4000:]}"
        return output


class Peer(ABC):
    """A mail client."""

    name: str
    ways: tuple[Way, ...] = WAYS
    logins: tuple[tuple[str, str], ...] = ()
    """Ways to log in: the peer's word for each, and the verb that then reaches the server."""

    @abstractmethod
    def require(self) -> None:
        """Skip the test if the client isn't installed."""

    @abstractmethod
    def fetch(self, visit: Visit) -> list[bytes]:
        """Fetch by `visit`: the messages as the client gives them, oldest first."""

    def sees(self, wire: bytes) -> bytes | None:
        """What the client makes of a message with CRLF line ends, by its documentation or
        source; None for a message that it can't take."""
        return wire


class Out:
    """A folder that a client writes messages into, emptied by `take`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def take(self) -> list[bytes]:
        """The messages, in the order of their files' names."""
        messages = []
        for path in sorted(self.folder.iterdir()):
            messages.append(path.read_bytes())
            path.unlink()
        return messages


def differences(
    peer: Peer, sent: Mapping[str, bytes], got: Sequence[bytes]
) -> dict[str, tuple[bytes, bytes]]:
    """Messages that came otherwise than they should: by name, octets around the first
    difference, as expected and as they came."""
    found = {}
    for (name, wire), message in zip(sent.items(), got, strict=True):
        expected = peer.sees(wire)
        assert expected is not None
        if expected != message:
            pairs = enumerate(zip(expected, message, strict=False))
            at = next((at for at, (one, other) in pairs if one != other), 0)
            at = max(0, at - 10)
            found[name] = (expected[at : at + 50], message[at : at + 50])
    return found
