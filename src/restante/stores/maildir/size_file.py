"""How much a Maildir holds, as Maildir++ keeps count of it: the file `maildirsize`.

Its first line is the quota, `<octets>S,<messages>C`; each further line is `<octets> <messages>`,
and their sum is what the maildrop holds. Whoever adds or removes messages appends a line; Courier,
Dovecot, maildrop and Exim do the same. It is made anew, from the names and sizes of the files,
when there is none, when it names another quota, when it is longer than 5,120 octets, when it
can't be read, and when it says that there is no room and has several lines or is older than 15
minutes. Only maildrops with a quota have the file.

A delivery appends its line first, and then looks whether all lines up to its own fit: of two at
once the later line gives way, and both are never let in. Whoever makes the file anew counts
deliveries of ours that have their line and aren't in new/ yet. A line that is appended just
then to the file that is replaced may be lost: so much a quota can be exceeded.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from restante.accounts.account import Quota
from restante.stores.contract import OverQuota, Usage
from restante.stores.maildir.file_names import SUBFOLDERS, new_name
from restante.stores.maildir.files import NO_LINKS, Folder, as_store_error
from restante.stores.room import check_room

SIZE_FILE = "maildirsize"

MAX_SIZE_FILE = 5120
"""Octets past which it is made anew."""

STALE_SECONDS = 15 * 60

COMING_SECONDS = 3600
"""A file in tmp/ that is older belongs to a delivery that was cut off."""

NOT_COUNTED = frozenset({".", "..", ".Trash"})
"""Folders of a Maildir++ that don't count, besides those that aren't any."""

_APPEND = os.O_RDWR | os.O_APPEND | NO_LINKS
_SIZE = re.compile(r",S=(\d{1,18})(?=[,:;!]|\Z)", re.ASCII)
_LINE = re.compile(rb"\s*(-?\d{1,18})\s+(-?\d{1,18})\s*", re.ASCII)


class _Count(NamedTuple):
    """What the file said. lines: how many it had, without the first one. age: in seconds."""

    usage: Usage
    lines: int
    age: float

    @property
    def is_doubtful(self) -> bool:
        """Whether it is to be made anew before somebody is turned away."""
        return self.lines > 1 or self.age > STALE_SECONDS


def counted_size(name: str, octets: int) -> int:
    """The octets that a file counts for: what its name says, else its size."""
    found = _SIZE.search(name)
    return int(found[1]) if found else octets


def reserve(folder: str, quota: Quota, octets: int, name: str) -> None:
    """Count a message of so many octets that is about to come. Raises OverQuota, StoreError.

    name: of its file in tmp/, with `,S=` in it: others see by it that the message was counted.
    """
    check_room(quota, Usage(0, 0), octets)
    with as_store_error("quota"):
        for again in (False, True):
            fd = _opened(folder, quota, name)
            try:
                count = _count(fd, _appended(fd, octets, 1))
                try:
                    check_room(quota, count.usage, 0, 0)
                except OverQuota:
                    _appended(fd, -octets, -1)
                    if again or not count._replace(lines=count.lines - 1).is_doubtful:
                        rest = Usage(count.usage.messages - 1, count.usage.octets - octets)
                        check_room(quota, rest, octets)  # says what there is without this one
                        raise
                else:
                    return
                _make_anew(folder, quota, name, fd)
            finally:
                os.close(fd)


def change(folder: str, quota: Quota, octets: int, messages: int) -> None:
    """Count messages that have come or, with negative numbers, gone. Failing to is no error."""
    with suppress(OSError):
        fd = os.open(f"{folder}/{SIZE_FILE}", _APPEND)
        try:
            if _is_ours(os.stat(fd)):
                _appended(fd, octets, messages)
        finally:
            os.close(fd)


def check(folder: str, quota: Quota, octets: int) -> None:
    """Raise OverQuota if there is no room for so many octets; StoreError."""
    with as_store_error("quota"):
        for again in (False, True):
            fd = _opened(folder, quota)
            try:
                count = _count(fd, MAX_SIZE_FILE)
                try:
                    check_room(quota, count.usage, octets)
                except OverQuota as error:
                    if again or error.never or not count.is_doubtful:
                        raise
                else:
                    return
                _make_anew(folder, quota, "", fd)
            finally:
                os.close(fd)


def _opened(folder: str, quota: Quota, own: str = "") -> int:
    """The file, open; made anew if it can't be used. own: see `_make_anew`. Raises OSError."""
    for _ in range(5):
        fd = _usable(folder, quota)
        if fd is not None:
            return fd
        _make_anew(folder, quota, own, None)
    raise OSError(f"{folder}/{SIZE_FILE}: somebody else keeps another quota in it")


def _usable(folder: str, quota: Quota) -> int | None:
    """The file, open; None if there is none that can be used. Raises OSError."""
    try:
        fd = os.open(f"{folder}/{SIZE_FILE}", _APPEND)
    except OSError:  # nothing there, or a link: what hinders making it anew is told then
        return None
    try:
        about = os.stat(fd)
        usable = _is_ours(about) and about.st_size <= MAX_SIZE_FILE
        if usable and _names_quota(_read(fd, MAX_SIZE_FILE), quota):
            return fd
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _read(fd: int, octets: int) -> bytes:
    """The beginning of the file. Raises OSError."""
    os.lseek(fd, 0, os.SEEK_SET)
    return os.read(fd, octets)


def _is_ours(about: os.stat_result) -> bool:
    """Not somebody else's file that was linked here, nor anything but a file."""
    return stat.S_ISREG(about.st_mode) and about.st_nlink == 1


def _quota_line(quota: Quota) -> bytes:
    limits = [(quota.octets, "S"), (quota.messages, "C")]
    return ",".join(f"{limit}{letter}" for limit, letter in limits if limit).encode()


def _names_quota(data: bytes, quota: Quota) -> bool:
    """Whether the file is of this quota, and all its lines can be read."""
    first, end, rest = data.partition(b"\n")
    return (
        bool(end)
        and {*first.split(b",")} - {b"0S", b"0C"} == {*_quota_line(quota).split(b",")}
        and all(map(_LINE.fullmatch, rest.splitlines()))
        and min(_sum(rest)) >= 0
    )


def _sum(lines: bytes) -> Usage:
    octets = messages = 0
    for line in lines.splitlines():
        found = _LINE.fullmatch(line)
        if found is not None:
            octets += int(found[1])
            messages += int(found[2])
    return Usage(messages, octets)


def _appended(fd: int, octets: int, messages: int) -> int:
    """Add a line. Gives where it ends in the file. Raises OSError."""
    os.write(fd, b"%d %d\n" % (octets, messages))
    return os.lseek(fd, 0, os.SEEK_CUR)


def _count(fd: int, end: int) -> _Count:
    """The sum of the lines that end at this place or before."""
    _, _, lines = _read(fd, end).partition(b"\n")
    return _Count(_sum(lines), lines.count(b"\n"), time.time() - os.stat(fd).st_mtime)


def _make_anew(folder: str, quota: Quota, own: str, doubted: int | None) -> None:
    """Count all there is, and write that. Raises OSError.

    own: the name in tmp/ of a message that isn't to be counted. doubted: the file that it is
    made in place of, open. One process does it at a time, and those who waited have nothing to do.
    """
    with _alone(folder):
        there = _usable(folder, quota)
        if there is not None:
            try:
                if doubted is None or os.stat(there).st_ino != os.stat(doubted).st_ino:
                    return
            finally:
                os.close(there)
        octets, messages = _total(folder, own)
        with Folder(f"{folder}/tmp") as tmp:
            name = new_name()
            with os.fdopen(tmp.create(name), "wb") as file:
                file.write(b"%s\n%d %d\n" % (_quota_line(quota), octets, messages))
            try:
                tmp.rename_out(name, f"{folder}/{SIZE_FILE}")
            except BaseException:
                tmp.unlink(name)
                raise


def _total(folder: str, own: str) -> tuple[int, int]:
    octets = messages = 0
    for sub in (folder, *_subfolders(folder)):
        for part in SUBFOLDERS:
            with suppress(FileNotFoundError), Folder(f"{sub}/{part}") as there:
                for name in there.names():
                    if name.startswith("."):
                        continue
                    with suppress(FileNotFoundError):
                        found = _SIZE.search(name)
                        octets += int(found[1]) if found else there.stat(name).st_size
                        messages += 1
    with Folder(f"{folder}/tmp") as tmp:  # those that are counted and not in new/ yet
        for name in tmp.names():
            found = _SIZE.search(name)
            if found is not None and name != own:
                with suppress(FileNotFoundError):
                    if time.time() - tmp.stat(name).st_ctime < COMING_SECONDS:
                        octets += int(found[1])
                        messages += 1
    return octets, messages


@contextmanager
def _alone(folder: str) -> Iterator[None]:
    """Keep other processes and threads from doing the same; for a short time, as others may
    hold the folder's lock for ever."""
    if sys.platform == "win32":
        yield
        return
    import fcntl  # noqa: PLC0415 - Unix has it alone

    fd = os.open(folder, os.O_RDONLY | NO_LINKS)
    try:
        for _ in range(100):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                time.sleep(0.02)
        yield
    finally:
        os.close(fd)


def _subfolders(folder: str) -> list[str]:
    """The further folders of a Maildir++. A link among them isn't followed."""
    with os.scandir(folder) as entries:
        return [
            entry.path
            for entry in entries
            if entry.name.startswith(".")
            and entry.name not in NOT_COUNTED
            and entry.is_dir(follow_symlinks=False)
        ]
