"""The console's process: `restante serve` starts it. Its configuration comes on standard input."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import signal
import socket
import sys
from contextlib import suppress

import uvicorn

from restante.app import logs
from restante.app.config.load import Loaded
from restante.app.console.app import make_app
from restante.app.tls import certificates

MAX_CONNECTIONS = 200
MAX_HEADER = 32 * 1024

log = logging.getLogger("restante.console")


async def _serve(loaded: Loaded, life: int, sockets: list[socket.socket]) -> None:
    server = uvicorn.Server(_config(loaded))
    loop = asyncio.get_running_loop()

    def gone() -> None:
        """The server that has started us has ended."""
        loop.remove_reader(life)
        server.should_exit = True

    loop.add_reader(life, gone)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    await server.serve(sockets)


def _config(loaded: Loaded) -> uvicorn.Config:
    certificate, _ = certificates(loaded.settings)
    if loaded.settings.console.tls == "none":
        certificate = None
    files = [] if certificate is None else certificate.files()
    return uvicorn.Config(
        make_app(loaded),
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        h11_max_incomplete_event_size=MAX_HEADER,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=1,
        ssl_certfile=files[0] if files else None,
        ssl_keyfile=files[-1] if files else None,
        ssl_keyfile_password=None if certificate is None else certificate.password,
    )


def main() -> int:
    """Serve pages until the server ends. Gives the exit status."""
    with suppress(OSError):
        os.nice(5)  # mail comes first
    life, *descriptors = map(int, sys.argv[1:])
    loaded: Loaded = pickle.load(sys.stdin.buffer)  # noqa: S301 - our own server's
    given = loaded.settings.log
    logs.configure(format=given.format, level=given.level, file=given.file)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    asyncio.run(_serve(loaded, life, [socket.socket(fileno=each) for each in descriptors]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
