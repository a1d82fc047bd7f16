"""The maildrops that all servers under measurement are given: the same files."""

from __future__ import annotations

import errno
import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

PASSWORD = "clevertester"
HASHED = (
    "{SHA512-CRYPT}$6$restantemeasured$QIkU"
    "b/Nl7fWN5T5mQ9DlULHhqxVnxrlKhtLwNE.UKB5n34bgCY7/Hqlb7rCFTAnQfUweW/EcIjeRvYDn2fyWD/"
)
"""The same with 5,000 rounds, as `doveadm pw` and crypt(3) have it where nothing else is said."""

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


def files(maildrop: Path) -> list[Path]:
    """The messages' files, the oldest first."""
    return sorted((maildrop / "cur").iterdir(), key=lambda path: path.name)


def wire(stored: bytes) -> bytes:
    """A message with the line ends that it has on the wire."""
    return stored if b"\r\n" in stored else stored.replace(b"\n", b"\r\n")


def stuffed(message: bytes) -> bytes:
    """A message in wire form with a further dot before each that begins a line."""
    return (b"\n" + message).replace(b"\n.", b"\n..")[1:]


def fill(root: Path, group: Group) -> Expected:
    """Write the group's maildrops anew. What servers keep in them for themselves stays."""
    wires = [message(number, size, dots=group.dots) for number, size in enumerate(group.sizes)]
    for name in group.names:
        folder = make_folders(root / name)
        for old in (folder / "cur").iterdir():
            old.unlink()
        for number, wire in enumerate(wires):
            stored = wire if group.crlf else wire.replace(b"\r\n", b"\n")
            file = file_name(number, os.urandom(6).hex(), len(stored), len(wire))
            (folder / "cur" / file).write_bytes(stored)
        make_older(folder)
    octets = sum(map(len, wires))
    return Expected(len(wires), octets, sum(wire.count(b"\r\n.") for wire in wires))


def link(maildrop: Path, sources: list[Path], count: int) -> Expected:
    """Fill a maildrop with `count` messages quickly: links to the sources, which are in wire
    form, in turn. Where a file system allows a file no more links (some have it that 65,000 are
    enough), a message of its own takes the place of the source, and is added to the list."""
    folder = make_folders(maildrop)
    wires = [source.read_bytes() for source in sources]
    linked = list(sources)
    for number in range(count):
        which = number % len(wires)
        size = len(wires[which])
        file = folder / "cur" / file_name(number, f"{number:08x}", size, size)
        try:
            file.hardlink_to(linked[which])
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            file.write_bytes(wires[which])
            linked[which] = file
            sources.append(file)
    make_older(folder)
    turns = [wires[number % len(wires)] for number in range(count)]
    dots = [wire.count(b"\r\n.") for wire in wires]
    return Expected(
        count, sum(map(len, turns)), sum(dots[number % len(dots)] for number in range(count))
    )


def file_name(number: int, chance: str, stored: int, on_wire: int) -> str:
    """A message file's name, with its sizes, as most programs write them."""
    return f"{SENT + number}.M{number}R{chance}.host,S={stored},W={on_wire}:2,S"


def make_folders(maildrop: Path) -> Path:
    """A Maildir's folders, if they aren't there."""
    for sub in ("tmp", "new", "cur"):
        (maildrop / sub).mkdir(parents=True, exist_ok=True)
    return maildrop


def make_older(maildrop: Path) -> None:
    """Let the folders have changed an hour ago: another time for each filling."""
    for sub in ("new", "cur"):
        changed = time.time_ns() - HOUR
        os.utime(maildrop / sub, ns=(changed, changed))


def give_to(root: Path, uid: int, gid: int) -> None:
    """Make the folders and files under `root` belong to a user."""
    for path in (root, *root.rglob("*")):
        give_to_one(path, uid, gid)


def give_to_one(path: Path, uid: int, gid: int) -> None:
    """Make a folder or file belong to a user."""
    os.chown(path, uid, gid, follow_symlinks=False)
