"""An application that embeds the server: `python embedded.py CONFIGURATION READY`.

The configuration is a JSON object: `maildrops`, a folder; `accounts`, passwords by name; and
`handlers`, events for each of which there is a plain handler that does nothing. The port is
written to the file READY. It imports nothing else of `benchmarks`, so that it runs with the
Restante of any checkout.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from restante import Maildir, Pop3Server
from restante.server import Event


def handle(*args: Any) -> None:
    """Do nothing, in a plain function."""


async def serve(about: dict[str, Any], ready: Path) -> None:
    """Serve until the end."""
    store = Maildir(Path(about["maildrops"]))
    server = Pop3Server(accounts=about["accounts"], store=store, port=0)
    events: list[Event] = about["handlers"]
    for event in events:
        server.on(event)(handle)
    async with server:
        ready.write_text(f"{server.port}\n")  # noqa: ASYNC240 - nobody is served yet
        await asyncio.Event().wait()


def main() -> None:
    """On uvloop, where it is installed."""
    about = json.loads(Path(sys.argv[1]).read_text())
    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with suppress(ImportError):
        from uvloop import new_event_loop as new_loop  # noqa: PLC0415
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(serve(about, Path(sys.argv[2])))


if __name__ == "__main__":
    main()
