"""Messages from files into a maildrop, each durable before the next, and none twice."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import IO

from restante.accounts.contract import Account
from restante.calls import Caller
from restante.delivery.deliver import Delivery, Recipient
from restante.delivery.envelope import Envelope
from restante.delivery.observer import DeliveryObserver
from restante.delivery.sources import SourceError, SourceMessage
from restante.stores.contract import Store, StoreError
from restante.threads import WorkerThreads


@dataclass(slots=True)
class ImportResult:
    """What became of an import.

    imported, octets: messages now in the maildrop, and their size in the source.
    known: messages passed over because the journal says an earlier run imported them.
    failed: origin and reason of each message that could not be imported.
    """

    imported: int = 0
    octets: int = 0
    known: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


async def import_messages(
    store: Store,
    account: Account,
    messages: Iterable[SourceMessage],
    *,
    progress: Callable[[int], object] | None = None,
    journal: Path | str | None = None,
    observer: DeliveryObserver | None = None,
) -> ImportResult:
    """Put `messages` into the account's maildrop, in order, each durable before the next.

    progress: called after each message with its octets in the source.
    journal: a file that remembers, by digest, what was imported; an import that was
        interrupted and is run again with the same journal goes on where it stopped. Equal
        messages are counted: a source that holds one twice is imported with both. If the
        machine stops between a message and its line in the journal, that one message
        comes twice. Use one journal for one account: while an import holds it, another
        one is refused with SourceError, so that two at once double nothing.
    observer: is told of each message. Its reading of files blocks the event loop, so this
        is for a program that does nothing else.

    A message that can't be read or written is reported in the result, and the rest goes on.
    """
    result = ImportResult()
    with ExitStack() as stack:
        memory = None if journal is None else _Journal(stack, Path(journal))
        threads = WorkerThreads("import", 0, 1)
        stack.callback(threads.stop)
        call = Caller(threads, blocking=True)
        for message in messages:
            envelope = Envelope(protocol="import")
            recipient = Recipient(account.name, account)
            delivery = Delivery(store, [recipient], envelope, call=call, observer=observer)
            try:
                await _import(delivery, message, memory, result)
            except (OSError, StoreError) as error:
                result.failed.append((message.origin, str(error)))
            finally:
                await delivery.abort()
            if progress is not None:
                progress(message.octets)
    return result


async def _import(
    delivery: Delivery, message: SourceMessage, journal: _Journal | None, result: ImportResult
) -> None:
    digest = "" if journal is None else _digest(message)
    if journal is not None and journal.knows(digest):
        result.known += 1
        return
    for block in message.blocks():
        await delivery.write(block)
    (outcome,) = await delivery.commit()
    if not outcome.taken:
        raise StoreError(outcome.reason)
    result.imported += 1
    result.octets += message.octets
    if journal is not None:
        journal.add(digest)


class _Journal:
    """Digests of what was imported, one a line, each as often as it was. Locked while open."""

    def __init__(self, stack: ExitStack, path: Path) -> None:
        self._file = stack.enter_context(path.open("a+", encoding="ascii", errors="replace"))
        _lock(self._file)
        self._file.seek(0)
        # A line cut short by a crash is no digest and is never matched.
        self._known = Counter(line.strip() for line in self._file)
        if self._file.tell():
            self._file.write("\n")

    def knows(self, digest: str) -> bool:
        """Whether an earlier run imported this message; each answer of yes uses up one."""
        self._known[digest] -= 1
        return self._known[digest] >= 0

    def add(self, digest: str) -> None:
        self._file.write(digest + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def _lock(file: IO[str]) -> None:
    """Hold the file against other imports, as long as it is open. Raises SourceError."""
    try:
        import fcntl  # noqa: PLC0415 - not on Windows, where two imports aren't kept apart
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SourceError("another import into this maildrop is running") from None


def _digest(message: SourceMessage) -> str:
    digest = sha256()
    for block in message.blocks():
        digest.update(block)
    return digest.hexdigest()
