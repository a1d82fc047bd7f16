"""Questions to the supervisor, which collects its workers' answers; see `admin_client`."""

from __future__ import annotations

import logging
import selectors
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TypeAlias

from restante.app.processes.admin_client import (
    ANSWER_SECONDS,
    END,
    MAX_QUESTION,
    Row,
    line,
)
from restante.app.processes.control import Message
from restante.app.processes.listen_sockets import Endpoint, unix_socket

log = logging.getLogger("restante.app")

MAX_QUESTIONS = 8
"""At the same time; further ones wait to be accepted."""

MAX_ANSWER = 64 << 20
"""Octets of an answer."""

Answer: TypeAlias = Callable[[str, int], tuple[list[Row], set[int]]]


@dataclass(eq=False, slots=True)
class Question:
    """One question.

    missing: the workers, by process id, that haven't answered; None: none is asked.
    silent: those that didn't in time.
    """

    number: int
    client: socket.socket
    until: float
    text: bytes = b""
    missing: set[int] | None = None
    silent: list[int] = field(default_factory=list)
    out: bytearray = field(default_factory=bytearray)


def listen_at(path: Path) -> socket.socket | None:
    """The socket where questions are asked; None if it can't be made, and the log says why."""
    if not hasattr(socket, "AF_UNIX"):
        return None
    try:
        if _is_answered(path):
            raise FileExistsError("another server answers there")
        return unix_socket(path, 0o600)
    except OSError as error:
        log.warning("%s: `restante sessions` won't work: %s", path, error)
        return None


def _is_answered(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(ANSWER_SECONDS)
            probe.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    return True


def address_rows(endpoints: Iterable[Endpoint]) -> list[Row]:
    """What is listened on."""
    return [
        {
            "protocol": each.protocol.lower(),
            "tls": each.tls,
            "host": each.host,
            "port": each.port,
            "path": str(each.path) if each.path else None,
        }
        for each in endpoints
    ]


class AdminSocket:
    """Answers questions that come by the socket at `path`.

    answer: gives the rows that the supervisor has, and the process ids of the workers that it has
        asked for more. Their answers come by `add`.
    """

    def __init__(self, selector: selectors.BaseSelector, path: Path, answer: Answer) -> None:
        self._selector = selector
        self._path = path
        self._answer = answer
        self._numbers = count(1)
        self._open: dict[int, Question] = {}
        self._listening = listen_at(path)
        self._accepting = False
        self._accept_or_pause()

    def _accept_or_pause(self) -> None:
        """Accept the next client if there is room for its question, else let it wait."""
        wanted = len(self._open) < MAX_QUESTIONS
        if self._listening is None or wanted == self._accepting:
            return
        self._accepting = wanted
        if wanted:
            self._selector.register(self._listening, selectors.EVENT_READ, self._accept)
        else:
            self._selector.unregister(self._listening)

    def close(self) -> None:
        """Remove the socket. Harmless when repeated."""
        if self._listening is not None:
            self._path.unlink(missing_ok=True)
        self.close_sockets()

    def close_sockets(self) -> None:
        """Close all sockets and leave the file: also for a worker, which has copies of them."""
        for question in self._open.values():
            question.client.close()
        self._open.clear()
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    def check_timeouts(self, now: float) -> None:
        """Stop waiting for workers that don't answer, and for clients that don't ask or read."""
        for question in [*self._open.values()]:
            if now > question.until + ANSWER_SECONDS:
                self._drop(question)
            elif now > question.until and question.missing:
                question.silent, question.missing = sorted(question.missing), set()
                self._continue(question)

    def add(self, number: int, pid: int, message: Message) -> None:
        """A part of a worker's answer. It is ignored when the question is over."""
        question = self._open.get(number)
        if question is None or question.missing is None:
            return
        for row in message["list"]:
            question.out += line({**row, "worker": pid})
        if message.get("end"):
            question.missing.discard(pid)
        self._continue(question)

    def worker_ended(self, pid: int) -> None:
        """Wait no more for a worker's answer."""
        for question in [*self._open.values()]:
            if question.missing and pid in question.missing:
                question.missing.discard(pid)
                self._continue(question)

    def _accept(self, _: int) -> None:
        assert self._listening is not None
        try:
            client, _address = self._listening.accept()
        except OSError:
            return
        client.setblocking(False)
        question = Question(next(self._numbers), client, time.monotonic() + ANSWER_SECONDS)
        self._open[question.number] = question
        self._selector.register(client, selectors.EVENT_READ, lambda _: self._read(question))
        self._accept_or_pause()

    def _read(self, question: Question) -> None:
        try:
            data = question.client.recv(MAX_QUESTION)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        question.text += data
        if not data or len(question.text) > MAX_QUESTION:
            self._drop(question)
        elif question.text.endswith(b"\n") and question.missing is None:
            text = question.text.decode("ascii", "replace").strip()
            rows, question.missing = self._answer(text, question.number)
            question.out += b"".join(map(line, rows))
            self._continue(question)

    def _continue(self, question: Question) -> None:
        """Send as much as the client takes; the end, when nobody has more to say."""
        if question.missing is not None and not question.missing:
            question.out += line({**END, "silent": question.silent})
            question.missing = None
            self._selector.modify(
                question.client, selectors.EVENT_WRITE, lambda _: self._send(question)
            )
        elif len(question.out) > MAX_ANSWER:
            self._drop(question)

    def _send(self, question: Question) -> None:
        try:
            sent = question.client.send(question.out)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            sent = len(question.out)
        del question.out[:sent]
        if not question.out:
            self._drop(question)

    def _drop(self, question: Question) -> None:
        if self._open.pop(question.number, None) is None:
            return
        with suppress(KeyError):
            self._selector.unregister(question.client)
        question.client.close()
        self._accept_or_pause()
