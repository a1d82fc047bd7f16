"""Looking through the folders of a Maildir: what is there, and what is not known yet."""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from restante.maildrops.contract import StoreError
from restante.maildrops.files import Measured, make_folder, measure_file
from restante.maildrops.index import IN_CUR, TWICE, Rows
from restante.maildrops.journal import read_journal
from restante.maildrops.names import base_name, delivery_order, own_unique_id
from restante.protocol.listing import as_unique_id

SUBFOLDERS = ("new", "cur")
TRIES = 3
"""How often a maildrop is looked through while others move files in it."""

TMP_SECONDS = 36 * 3600
"""Age at which a file in tmp/ is a delivery that failed: what the Maildir convention says."""

log = logging.getLogger("restante.maildrops")


class Found(NamedTuple):
    """One message's file. `shared`: another message has the same base name."""

    base: str
    in_cur: int
    name: str
    twice: bool = False
    shared: bool = False


class Surveyed(NamedTuple):
    """rows: the messages.

    moved: some were moved while we looked, so that others may have been missed.
    unreadable: some had to be left out.
    """

    rows: Rows
    moved: bool
    unreadable: bool


def folder_times(folder: Path, fsync: bool) -> tuple[int, int]:
    """Modification times of new/ and cur/ in ns; makes what is missing of the Maildir.

    Raises StoreError when one of them is something else than a folder.
    """
    try:
        return _folder_time(f"{folder}/new"), _folder_time(f"{folder}/cur")
    except FileNotFoundError:
        try:
            make_maildir(folder, fsync)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            return 0, 0
    return _folder_time(f"{folder}/new"), _folder_time(f"{folder}/cur")


def make_maildir(folder: Path, fsync: bool) -> None:
    """Make the folders of a Maildir, as far as they are missing."""
    for sub in ("tmp", "new", "cur"):
        make_folder(folder / sub, fsync)


def _folder_time(folder: str) -> int:
    about = os.lstat(folder)
    if not stat.S_ISDIR(about.st_mode):
        raise StoreError(f"{folder} is not a folder (links are not followed)", temporary=False)
    return about.st_mtime_ns


def scan(folder: Path) -> list[tuple[int, str]]:
    """The files of all messages: 1 for those in cur/, else 0, and their names. Any order.

    new/ is listed before cur/, because that is the way messages are moved: one may then
    be seen twice, but not missed.
    """
    files = []
    for in_cur, sub in enumerate(SUBFOLDERS):
        try:
            entries = os.scandir(folder / sub)
        except FileNotFoundError:
            continue
        with entries:
            files += [
                (in_cur, entry.name)
                for entry in entries
                if not entry.name.startswith(".") and entry.is_file(follow_symlinks=False)
            ]
    return files


def list_files(folder: Path) -> list[Found]:
    """The files of all messages, in message-number order."""
    found = []
    for in_cur, name in scan(folder):
        base = base_name(name)
        found.append((*delivery_order(base), in_cur, name))
    found.sort()
    return _told_apart(folder, [Found(base, cur, name) for _, _, base, cur, name in found])


def _told_apart(folder: Path, files: list[Found]) -> list[Found]:
    """Merge neighbours with one base name when they are the same file, else mark them."""
    result: list[Found] = []
    for file in files:
        last = result[-1] if result else None
        if last is None or last.base != file.base:
            result.append(file)
            continue
        identity = _identity(folder, last)
        if identity is None or identity == _identity(folder, file):
            result[-1] = file._replace(twice=True)
        else:
            result[-1] = last._replace(shared=True)
            result.append(file._replace(shared=True))
    return result


def _identity(folder: Path, file: Found) -> tuple[int, int] | None:
    try:
        about = (folder / SUBFOLDERS[file.in_cur] / file.name).lstat()
    except FileNotFoundError:
        return None
    return about.st_dev, about.st_ino


def survey(folder: Path, old: Rows | None, review: bool) -> Surveyed:
    """The messages there are now. Reads only those that `old` and the journal don't know.

    review: hold the known ones against their files' sizes and times.
    Unique-ids are taken over from `old`, and left empty for new messages.
    """
    noted = read_journal(folder)
    for _ in range(TRIES):
        times = _times(folder)
        result = _survey_once(folder, old, review, noted)
        if not result.moved and times == _times(folder):
            break
        old, review = result.rows, False
    return result


def _times(folder: Path) -> list[int]:
    with suppress(FileNotFoundError):
        return [(folder / sub).stat().st_mtime_ns for sub in SUBFOLDERS]
    return []


def _survey_once(
    folder: Path, old: Rows | None, review: bool, noted: Mapping[str, Measured]
) -> Surveyed:
    known: dict[str, int | None] = {}
    for at, name in enumerate(old.names if old else ()):
        base = base_name(name)
        known[base] = None if base in known else at
    rows, moved, unreadable = Rows(), False, False
    for file in list_files(folder):
        path = f"{folder}/{SUBFOLDERS[file.in_cur]}/{file.name}"
        marks = IN_CUR * file.in_cur | TWICE * file.twice
        row = None if file.shared else known.get(file.base)
        if old is not None and row is not None and not (review and _changed(path, old, row)):
            rows.copy(old, row, file.name, marks)
            continue
        try:
            size, mtime, facts = _learn(path, noted.get(file.base))
        except FileNotFoundError:
            moved = True
            continue
        except OSError as error:
            unreadable = True
            log.warning("left out of its maildrop: %s", error)
            continue
        rows.add(file.name, marks, size, mtime, facts)
        rows.unique_ids.append("" if row is None or old is None else old.unique_ids[row])
    return Surveyed(rows, moved, unreadable)


def _learn(path: str, noted: Measured | None) -> Measured:
    if noted is not None:
        about = os.lstat(path)
        if (about.st_size, about.st_mtime_ns) == (noted.size, noted.mtime):
            return noted
    return measure_file(path)


def _changed(path: str, old: Rows, row: int) -> bool:
    try:
        about = os.lstat(path)
    except OSError:
        return True
    return (about.st_size, about.st_mtime_ns) != (old.sizes[row], old.mtimes[row])


def assign_unique_ids(
    rows: Rows, pins: Mapping[str, str], foreign: Mapping[str, str] | None
) -> dict[str, str]:
    """Give each message in `rows` its unique-id; returns what has to be pinned.

    A pinned one comes first, then the one it has, then `foreign`, then its own. A second
    message with the same one gets a digest, which is pinned, so that it keeps it when the
    first is removed.
    """
    bases = [base_name(name) for name in rows.names]
    taken: set[str] = set()
    wanting: list[int] = []
    for row, base in enumerate(bases):
        unique_id = rows.unique_ids[row] = pins.get(base) or rows.unique_ids[row]
        if not unique_id or unique_id in taken:
            wanting.append(row)
        taken.add(unique_id)
    to_pin: dict[str, str] = {}
    for row in wanting:
        base = bases[row]
        wish = rows.unique_ids[row] or (foreign or {}).get(base) or own_unique_id(base)
        unique_id, copy = as_unique_id(wish), 1
        while unique_id in taken:
            copy += 1
            unique_id = as_unique_id(f"{wish}\0{base}\0{copy}")
        taken.add(unique_id)
        rows.unique_ids[row] = unique_id
        to_pin.setdefault(base, unique_id)
    everything = foreign is not None
    first: dict[str, str] = {}
    for base, unique_id in zip(bases, rows.unique_ids, strict=True):
        first.setdefault(base, unique_id)
    return {
        base: unique_id
        for base, unique_id in (first if everything else to_pin).items()
        if first[base] == unique_id
        and pins.get(base) != unique_id
        and (everything or unique_id != own_unique_id(base))
    }


def clean_tmp(folder: Path) -> None:
    """Remove what deliveries left behind in tmp/ long ago. Failing to is no error."""
    limit = time.time() - TMP_SECONDS
    with suppress(OSError), os.scandir(folder / "tmp") as entries:
        for entry in entries:
            about = entry.stat(follow_symlinks=False)
            old = max(about.st_mtime, about.st_atime, about.st_ctime) < limit
            if old and stat.S_ISREG(about.st_mode):
                Path(entry.path).unlink(missing_ok=True)
