"""What clients were told of their maildrops, held against what is there."""

from __future__ import annotations

import random
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from threading import Lock

LARGE = 300_000
HUGE = 8_000_000
"""Octets of a message that S3 is sent by parts, even compressed."""


@lru_cache(64)
def lines_of(subject: str) -> list[bytes]:
    """The lines of the message with this subject: small, or each 25th large, each 400th huge."""
    chance, number = random.Random(subject), int(subject)
    size = chance.randrange(3000)
    if number % 400 == 7:
        size = HUGE
    elif number % 25 == 0:
        size = LARGE
    text = b64encode(chance.randbytes(size * 3 // 4))
    parts = [text[at : at + 76] for at in range(0, len(text), 76)]
    return [b"Subject: " + subject.encode(), b"", *parts]


def subject_of(lines: Sequence[bytes]) -> str:
    """The subject that a message says it has."""
    return lines[0].decode(errors="replace").removeprefix("Subject: ")


class State(Enum):
    """What is known of a message."""

    SENT = "nobody has said whether it is there; at most once"
    THERE = "there, once"
    LEAVING = "a QUIT has had no answer, or an error; the next session sees what it did"
    GONE = "not there"
    BACK = "perhaps an undelete has put it back, now or later"


@dataclass(eq=False, slots=True)
class Message:
    """A message in one maildrop. Each maildrop is sent a subject once only.

    removing, removed: when its QUIT began and ended, by `time.monotonic`.
    """

    account: str
    subject: str
    state: State = State.SENT
    unique_id: str = ""
    refused: bool = False
    removing: float = 0.0
    removed: float = 0.0


@dataclass
class Ledger:
    """All of them. wrong: what may never be. lost, doubled: how many messages."""

    accounts: Sequence[str]
    wrong: list[str] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0

    def __post_init__(self) -> None:
        self._lock = Lock()
        self._boxes: dict[str, dict[str, Message]] = {each: {} for each in self.accounts}
        self._deliveries: list[list[Message]] = []
        self._number = 0

    def sending(self, accounts: Iterable[str], chance: random.Random) -> list[Message]:
        """Messages of one delivery, to those of the accounts that haven't had it yet.

        Often one that others were sent lately: equal bodies are stored once.
        """
        with self._lock:
            self._number += 1
            back = chance.choice((0, 0, 1, 3, 10)) if self._number > 10 else 0
            subject = str(self._number - back)
            boxes = [self._boxes[each] for each in accounts]
            if any(subject in box for box in boxes):
                subject = str(self._number)
            made = [Message(each, subject) for each in accounts]
            for message, box in zip(made, boxes, strict=True):
                box[subject] = message
            self._deliveries.append(made)
            return made

    def told(self, message: Message) -> None:
        """It got its 250."""
        with self._lock:
            if message.state is State.SENT:  # else a session has seen it already
                message.state = State.THERE

    def refused(self, message: Message) -> None:
        """It got another reply than 250. It may be there all the same."""
        with self._lock:
            message.refused = True

    def before(self, account: str) -> dict[str, State]:
        """What a session that begins now must see."""
        with self._lock:
            return {subject: each.state for subject, each in self._boxes[account].items()}

    def known(self, account: str) -> dict[str, str]:
        """The subjects of unique-ids."""
        with self._lock:
            return {m.unique_id: m.subject for m in self._boxes[account].values() if m.unique_id}

    def seen(
        self, account: str, before: Mapping[str, State], found: Sequence[tuple[str, str]]
    ) -> list[Message]:
        """A session has begun, and these are its subjects and unique-ids. Gives its messages."""
        with self._lock:
            box = self._boxes[account]
            listed = []
            for subject, unique_id in found:
                message = box.get(subject)
                if message is None:
                    self.wrong.append(f"{account}: {subject!r} was never sent there")
                    continue
                if before.get(subject) is State.GONE:
                    self.wrong.append(f"{account}: {subject} is there again")
                if message.unique_id not in ("", unique_id):
                    self.wrong.append(f"{account}: {subject} has another unique-id")
                message.unique_id = unique_id
                message.state = State.THERE
                listed.append(message)
            times = Counter(subject for subject, _ in found)
            for subject, count in times.items():
                if count > 1:
                    self.wrong.append(f"{account}: {subject} is there {count} times")
                    self.doubled += 1
            leaving = [subject for subject, state in before.items() if state is State.LEAVING]
            if 0 < len(times.keys() & set(leaving)) < len(leaving):
                self.wrong.append(f"{account}: of {leaving} a QUIT has removed some")
            for subject, state in before.items():
                if state is State.THERE and subject not in times:
                    self.wrong.append(f"{account}: {subject} is lost")
                    self.lost += 1
                elif state is State.LEAVING and subject not in times:
                    self._gone(box[subject])
            return listed

    def removing(self, messages: Sequence[Message]) -> None:
        """QUIT is about to be sent."""
        with self._lock:
            for each in messages:
                each.state, each.removing = State.LEAVING, time.monotonic()

    def removed(self, messages: Sequence[Message]) -> None:
        """QUIT was answered by +OK."""
        with self._lock:
            for each in messages:
                self._gone(each)

    def _gone(self, message: Message) -> None:
        message.state, message.removed = State.GONE, time.monotonic()

    def undeleting(self, account: str, seconds: float) -> list[Message]:
        """An undelete of so many seconds is about to be asked for: what may be back from now on."""
        with self._lock:
            now = time.monotonic()
            found = [
                each
                for each in self._boxes[account].values()
                if each.state is State.GONE and now - each.removed <= seconds + 1
            ]
            for each in found:
                each.state = State.BACK
            return found

    def undeleted(self, messages: Sequence[Message], seconds: float) -> int:
        """It was done. Gives how many of them must be there."""
        with self._lock:
            now = time.monotonic()
            back = [each for each in messages if now - each.removing < seconds - 0.1]
            for each in back:
                each.state = State.THERE
            return len(back)

    def end_deliveries(self, *, whole: bool) -> None:
        """All maildrops were looked at after the last delivery.

        whole: each was for all of its recipients, or for none, but for those that were refused.
        """
        with self._lock:
            for delivery in self._deliveries if whole else ():
                made = [each for each in delivery if not each.refused]
                there = [each for each in made if each.unique_id]
                if 0 < len(there) < len(made):
                    self.wrong.append(
                        f"{made[0].subject} came to {[each.account for each in there]},"
                        f" not to all of {[each.account for each in made]}"
                    )
            self._deliveries.clear()
