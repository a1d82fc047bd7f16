r"""What a poll takes of Python at least: Restante's own transport, with canned replies.

    python -m benchmarks --scenarios poll \
        --peer 'bare=python -m benchmarks.canned {pop3} {maildirs}'

There is no POP3 behind it: no session, account, maildrop, limit or log. What Restante takes more
than this is the price of what it does.
"""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from benchmarks import corpus
from benchmarks.scenarios import BOX
from restante.server.listen.accept import AcceptingListener
from restante.server.listen.listener import Listener
from restante.server.transport.readiness import readiness

GREETING = b"+OK ready\r\n"
REPLIES = {b"USER": b"+OK send PASS\r\n", b"PASS": b"+OK logged in\r\n", b"QUIT": b"+OK bye\r\n"}


class Canned(asyncio.Protocol):
    """Answers each read by its first four octets. Clients of polls send a command at a time."""

    __slots__ = ("_transport",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(GREETING)

    def data_received(self, data: bytes) -> None:
        verb = data[:4]
        self._transport.write(REPLIES.get(verb, b"-ERR\r\n"))
        if verb == b"QUIT":
            self._transport.close()


async def serve(port: int) -> None:
    """Serve on the loopback interface until the task is cancelled."""
    listener = AcceptingListener(
        Listener(host="127.0.0.1", port=port),
        lambda proxied, admission: Canned(),
        readiness=readiness(asyncio.get_running_loop()),
    )
    await listener.start()
    await asyncio.get_running_loop().create_future()


def stat(maildrop: Path) -> bytes:
    """The reply to STAT. All maildrops that are polled are alike."""
    sizes = [len(corpus.wire(path.read_bytes())) for path in corpus.files(maildrop)]
    return b"+OK %d %d\r\n" % (len(sizes), sum(sizes))


if __name__ == "__main__":
    REPLIES[b"STAT"] = stat(Path(sys.argv[2]) / BOX.names[0])
    run = import_module("uvloop").run if find_spec("uvloop") else asyncio.run
    run(serve(int(sys.argv[1])))
