"""`python -m benchmarks.logins`: what a download feels of many logins that cost much.

One client downloads a large message again and again, no faster than a line of a gigabit would
let it, alone first and then while many others log in at the same moment, each with a password
that is kept as an Argon2id hash. What matters is how much of its pace the download keeps.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks.processes import start, stop
from restante.accounts.schemes import hash_password
from restante.accounts.sqlite import SqliteAccounts

PASSWORD = "the same for all"
READER = "reader"
START_SECONDS = 30.0
BLOCK = 256 * 1024
PACE = 125_000_000
"""Octets a second that the download takes at most."""

_CONFIG = """
[server]
data = "{folder}/data"
[pop3]
port = 0
tls_port = "off"
tls = "none"
[smtp]
port = "off"
[lmtp]
port = "off"
[log]
level = "error"
"""


def prepare(folder: Path, logins: int, octets: int) -> None:
    """The accounts, and the reader's one large message."""
    (folder / "data").mkdir()
    (folder / "restante.toml").write_text(_CONFIG.format(folder=folder))
    hashed = hash_password(PASSWORD)
    with SqliteAccounts(folder / "data" / "accounts.sqlite") as accounts:
        accounts.add(READER, credentials=["{PLAIN}" + PASSWORD])
        for number in range(logins):
            accounts.add(f"user{number}", credentials=[hashed])
    for part in ("new", "cur", "tmp"):
        (folder / "data" / "mail" / READER / part).mkdir(parents=True)
    line = b"x" * 76 + b"\r\n"
    message = b"Subject: large\r\n\r\n" + line * (octets // len(line))
    (folder / "data" / "mail" / READER / "new" / "1.large").write_bytes(message)


async def log_in(port: int, name: str, took: list[float]) -> None:
    """One session, from connecting to the reply to PASS; it must be +OK."""
    begun = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await reader.readline()
        for command in (f"USER {name}", f"PASS {PASSWORD}"):
            writer.write(command.encode() + b"\r\n")
            reply = await reader.readline()
            if not reply.startswith(b"+OK"):
                raise RuntimeError(f"{name}: {reply!r}")
        took.append(time.monotonic() - begun)
        writer.write(b"QUIT\r\n")
        await reader.readline()
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


class Download:
    """Fetches the large message without end, and counts what arrives."""

    def __init__(self) -> None:
        self.octets = 0
        self.longest_pause = 0.0

    async def run(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=BLOCK)
        try:
            await reader.readline()
            for command in (f"USER {READER}", f"PASS {PASSWORD}"):
                writer.write(command.encode() + b"\r\n")
                await reader.readline()
            begun = last = time.monotonic()
            rest = b""
            writer.write(b"RETR 1\r\n")
            while block := await reader.read(BLOCK):
                now = time.monotonic()
                self.longest_pause = max(self.longest_pause, now - last)
                last = now
                self.octets += len(block)
                rest = (rest + block)[-5:]
                if rest == b"\r\n.\r\n":
                    writer.write(b"RETR 1\r\n")
                if (ahead := self.octets / PACE - (now - begun)) > 0:
                    await asyncio.sleep(ahead)
                    last = time.monotonic()
                else:
                    begun = now - self.octets / PACE  # what was missed isn't made up for
        finally:
            writer.close()

    async def pace(self, seconds: float) -> float:
        """Octets a second over the next `seconds`."""
        before, begun = self.octets, time.monotonic()
        await asyncio.sleep(seconds)
        return (self.octets - before) / (time.monotonic() - begun)


async def measure(port: int, logins: int, seconds: float) -> dict[str, float]:
    """The figures of one run."""
    download = Download()
    task = asyncio.create_task(download.run(port))
    await asyncio.sleep(1)
    alone = await download.pace(seconds)
    pause_alone, download.longest_pause = download.longest_pause, 0.0
    took: list[float] = []
    before, begun = download.octets, time.monotonic()
    await asyncio.gather(*(log_in(port, f"user{number}", took) for number in range(logins)))
    lasted = time.monotonic() - begun
    beside = (download.octets - before) / lasted
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return {
        "logins": logins,
        "logins_per_second": logins / lasted,
        "login_median_seconds": statistics.median(took),
        "login_longest_seconds": max(took),
        "download_alone_mb_per_second": alone / 1e6,
        "download_beside_logins_mb_per_second": beside / 1e6,
        "download_keeps": beside / alone,
        "longest_pause_alone_seconds": pause_alone,
        "longest_pause_beside_logins_seconds": download.longest_pause,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.logins", description=__doc__)
    parser.add_argument("--logins", type=int, default=1000, help="at the same moment (1000)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of download alone (5)")
    options = parser.parse_args(arguments)
    if not 1 <= options.logins <= 5000 or not 0 < options.seconds <= 60:
        parser.error("--logins is from 1 to 5000, --seconds up to 60")
    with tempfile.TemporaryDirectory(prefix="restante-benchmark-") as name:
        folder = Path(name)
        prepare(folder, options.logins, 20_000_000)
        ready, log = folder / "ready.json", folder / "log"
        program = "import sys; from restante.app.entry import main; sys.exit(main())"
        arguments_ = ("serve", "--config", folder / "restante.toml", "--ready-file", ready)
        server = start((sys.executable, "-c", program, *arguments_), None, log)
        try:
            limit = time.monotonic() + START_SECONDS
            while not ready.exists():
                if server.poll() is not None or time.monotonic() > limit:
                    print(log.read_text(), file=sys.stderr)
                    return 1
                time.sleep(0.05)
            port = json.loads(ready.read_text())["listening"][0]["port"]
            figures = asyncio.run(measure(port, options.logins, options.seconds))
        finally:
            stop(server)
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
