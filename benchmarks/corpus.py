"""The maildrops that all servers under measurement are given: the same files."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

PASSWORD = "clevertester"
SENT = 1_700_000_000
"""When the first message came, in seconds."""

HOUR = 3600 * 10**9
"""Nanoseconds by which folders are made older, so that no server takes them for just changed."""

LINE = 72
DOT_EVERY = 50
"""One line in so many begins with a dot: more than in most mail."""


@dataclass(frozen=True)
class Group:
    """Accounts whose maildrops are alike, named `<prefix><number>`.

    sizes: of the messages, in octets, roughly.
    crlf: the files are in wire form (CRLF line ends); else they have LF.
    dots: some lines begin with a dot, as in text; in an attachment none do.
    """

    prefix: str
    accounts: int
    sizes: tuple[int, ...]
    crlf: bool = True
    dots: bool = True

    @property
    def names(self) -> list[str]:
        """The accounts."""
        return [f"{self.prefix}{number}" for number in range(self.accounts)]


@dataclass(frozen=True)
class Expected:
    """What a session must see in a maildrop. octets: of all messages, as LIST counts them."""

    messages: int
    octets: int
    dots: int


def message(number: int, size: int, *, dots: bool = True) -> bytes:
    """A message of about `size` octets with CRLF line ends, always the same for a number."""
    chance = random.Random(number)
    head = (
        f"Return-Path: <sender{number}@example.org>\r\n"
        f"Message-ID: <{number}.{size}@example.org>\r\n"
        f"Date: Mon, 02 Feb 2026 10:{number % 60:02}:00 +0000\r\n"
        f"From: Sender {number} <sender{number}@example.org>\r\n"
        "To: someone@example.net\r\n"
        f"Subject: message {number}\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\n"
        "\r\n"
    )
    alphabet = "abcdefghijklmnopqrstuvwxyz     "
    paragraph = "".join(chance.choices(alphabet, k=LINE * DOT_EVERY))
    lines = [paragraph[at : at + LINE] for at in range(0, len(paragraph), LINE)]
    if dots:
        lines[0] = "." + lines[0]
    body = "\r\n".join(lines) + "\r\n"
    wanted = max(0, size - len(head))
    return (head + body * (wanted // len(body)) + body[: wanted % len(body)] + "\r\n").encode()


def fill(root: Path, group: Group) -> Expected:
    """Write the group's maildrops anew. What servers keep in them for themselves stays."""
    wires = [message(number, size, dots=group.dots) for number, size in enumerate(group.sizes)]
    for name in group.names:
        folder = root / name
        for sub in ("tmp", "new", "cur"):
            (folder / sub).mkdir(parents=True, exist_ok=True)
        for old in (folder / "cur").iterdir():
            old.unlink()
        for number, wire in enumerate(wires):
            stored = wire if group.crlf else wire.replace(b"\r\n", b"\n")
            unique = f"{SENT + number}.M{number}R{os.urandom(6).hex()}.host"
            file = folder / "cur" / f"{unique},S={len(stored)},W={len(wire)}:2,S"
            file.write_bytes(stored)
        for sub in ("new", "cur"):
            changed = time.time_ns() - HOUR  # another time for each filling
            os.utime(folder / sub, ns=(changed, changed))
    octets = sum(map(len, wires))
    return Expected(len(wires), octets, sum(wire.count(b"\r\n.") for wire in wires))


def give_to(root: Path, uid: int, gid: int) -> None:
    """Make the folders and files under `root` belong to a user."""
    for path in (root, *root.rglob("*")):
        os.chown(path, uid, gid, follow_symlinks=False)
