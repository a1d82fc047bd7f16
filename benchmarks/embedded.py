"""Restante in a process of its own, with the settings that `restante serve` has by default.

python -m benchmarks.embedded LOOP MAILDROPS ACCOUNTS CERTIFICATE KEY ACCESS-LOG
Prints the plain and the TLS port as a line of JSON, and serves until SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from pathlib import Path

from restante import Certificate, Listener, Maildir, Pop3Server, StaticAccounts


def make_server(maildrops: Path, accounts: Path, certificate: Path, key: Path) -> Pop3Server:
    """A server for the accounts in a file of lines `name:password`."""
    passwords = dict(line.split(":", 1) for line in accounts.read_text().splitlines())
    return Pop3Server(
        accounts=StaticAccounts(passwords, case_insensitive=True),
        store=Maildir(maildrops),
        listeners=[Listener(port=0, tls="starttls"), Listener(port=0, tls="implicit")],
        certificate=Certificate(certificate, key),
    )


async def serve(server: Pop3Server) -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with server:
        print(json.dumps([port for _, port in server.addresses]), flush=True)
        await stop.wait()


def main() -> None:
    """Serve as the arguments say."""
    loop, maildrops, accounts, certificate, key, access_log = sys.argv[1:]
    logging.basicConfig(
        filename=access_log, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    work = serve(make_server(*map(Path, (maildrops, accounts, certificate, key))))
    if loop == "uvloop":
        import uvloop  # noqa: PLC0415

        uvloop.run(work)
    else:
        asyncio.run(work)


if __name__ == "__main__":
    main()
