"""Where the supervisor is asked: it collects answers of its workers, and waits for nobody."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TypeAlias

from restante.app.processes.admin_client import (
    END,
    MAX_QUESTION,
    PATIENCE_SECONDS,
    Row,
    line,
    listen_at,
)
from restante.app.processes.control import Message

MAX_INQUIRIES = 8
"""At the same time; further ones wait to be accepted."""

MAX_ANSWER = 64 << 20
"""Octets of an answer."""

Answer: TypeAlias = Callable[[str, int], tuple[list[Row], set[int]]]


@dataclass(eq=False, slots=True)
class Inquiry:
    """One question.

    missing: the workers, by process id, that haven't answered; None: none is asked.
    silent: those that didn't in time.
    """

    number: int
    client: socket.socket
    until: float
    question: bytes = b""
    missing: set[int] | None = None
    silent: list[int] = field(default_factory=list)
    out: bytearray = field(default_factory=bytearray)


class Desk:
    """Answers questions that come by the socket at `path`.

    answer: gives what is known already, and who has been asked for more, which comes by `add`.
    """

    def __init__(self, selector: selectors.BaseSelector, path: Path, answer: Answer) -> None:
        self._selector = selector
        self._path = path
        self._answer = answer
        self._numbers = count(1)
        self._open: dict[int, Inquiry] = {}
        self._listening = listen_at(path)
        self._accepts = False
        self._choose()

    def _choose(self) -> None:
        """Accept the next one, or let it wait."""
        wanted = len(self._open) < MAX_INQUIRIES
        if self._listening is None or wanted == self._accepts:
            return
        self._accepts = wanted
        if wanted:
            self._selector.register(self._listening, selectors.EVENT_READ, self._accept)
        else:
            self._selector.unregister(self._listening)

    def close(self) -> None:
        """Answer no more. Harmless when repeated."""
        if self._listening is not None:
            self._path.unlink(missing_ok=True)
        self.let_go()

    def let_go(self) -> None:
        """Close the sockets, in a process that has them by inheritance too."""
        for inquiry in self._open.values():
            inquiry.client.close()
        self._open.clear()
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    def look_after(self, now: float) -> None:
        """Give up on workers that don't answer, and on clients that don't ask or read."""
        for inquiry in [*self._open.values()]:
            if now > inquiry.until + PATIENCE_SECONDS:
                self._drop(inquiry)
            elif now > inquiry.until and inquiry.missing:
                inquiry.silent, inquiry.missing = sorted(inquiry.missing), set()
                self._go_on(inquiry)

    def add(self, number: int, pid: int, message: Message) -> None:
        """A part of a worker's answer. An inquiry that is over is none of its business."""
        inquiry = self._open.get(number)
        if inquiry is None or inquiry.missing is None:
            return
        for row in message["list"]:
            inquiry.out += line({**row, "worker": pid})
        if message.get("end"):
            inquiry.missing.discard(pid)
        self._go_on(inquiry)

    def expect_no_more(self, pid: int) -> None:
        """A worker is gone."""
        for inquiry in [*self._open.values()]:
            if inquiry.missing and pid in inquiry.missing:
                inquiry.missing.discard(pid)
                self._go_on(inquiry)

    def _accept(self, _: int) -> None:
        assert self._listening is not None
        try:
            client, _address = self._listening.accept()
        except OSError:
            return
        client.setblocking(False)
        inquiry = Inquiry(next(self._numbers), client, time.monotonic() + PATIENCE_SECONDS)
        self._open[inquiry.number] = inquiry
        self._selector.register(client, selectors.EVENT_READ, lambda _: self._read(inquiry))
        self._choose()

    def _read(self, inquiry: Inquiry) -> None:
        try:
            data = inquiry.client.recv(MAX_QUESTION)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        inquiry.question += data
        if not data or len(inquiry.question) > MAX_QUESTION:
            self._drop(inquiry)
        elif inquiry.question.endswith(b"\n") and inquiry.missing is None:
            question = inquiry.question.decode("ascii", "replace").strip()
            rows, inquiry.missing = self._answer(question, inquiry.number)
            inquiry.out += b"".join(map(line, rows))
            self._go_on(inquiry)

    def _go_on(self, inquiry: Inquiry) -> None:
        """Send as much as the client takes; the end, when nobody has more to say."""
        if inquiry.missing is not None and not inquiry.missing:
            inquiry.out += line({**END, "silent": inquiry.silent})
            inquiry.missing = None
            self._selector.modify(
                inquiry.client, selectors.EVENT_WRITE, lambda _: self._send(inquiry)
            )
        elif len(inquiry.out) > MAX_ANSWER:
            self._drop(inquiry)

    def _send(self, inquiry: Inquiry) -> None:
        try:
            sent = inquiry.client.send(inquiry.out)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            sent = len(inquiry.out)
        del inquiry.out[:sent]
        if not inquiry.out:
            self._drop(inquiry)

    def _drop(self, inquiry: Inquiry) -> None:
        if self._open.pop(inquiry.number, None) is None:
            return
        with suppress(KeyError):
            self._selector.unregister(inquiry.client)
        inquiry.client.close()
        self._choose()
