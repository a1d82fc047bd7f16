"""Looking through the folders of a Maildir: what is there, and what is not known yet."""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from heapq import merge
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from restante.stores.contract import StoreError
from restante.stores.maildir.changes import Surveyed, catch_up
from restante.stores.maildir.columns import IN_CUR, TWICE, Draft, Rows
from restante.stores.maildir.file_names import SUBFOLDERS, base_name, delivery_order, moment
from restante.stores.maildir.files import Measured, TooMuch, make_folder
from restante.stores.maildir.index import REVIEW, Stamp
from restante.stores.maildir.journal import read_journal
from restante.stores.maildir.learning import learn

FEW = 64
"""Files of a maildrop that are looked through in one go, and in place if that is quick."""

READ_AT_ONCE = 64 * 1024
"""Octets of a file that may be read in place: of a message to be measured, or what is known."""

CLEANED_AT_ONCE = 64
"""Entries of tmp/ that are looked at in place."""

TRIES = 3
"""How often a maildrop is looked through while others move files in it."""

SAVE_EVERY = 50_000
"""Messages read after which what is known is saved, though others are to be read: some
seconds' work that a crash or a restart doesn't undo. Later less often, for each save writes
all that there is."""

RUN = 50_000
"""Names that are sorted at a time: no other thread runs meanwhile."""

TMP_SECONDS = 36 * 3600
"""Age at which a file in tmp/ is a delivery that failed: what the Maildir convention says."""

log = logging.getLogger("restante.stores")


class Found(NamedTuple):
    """One message's file. `shared`: another message has the same base name."""

    base: str
    in_cur: int
    name: str
    twice: bool = False
    shared: bool = False


def folder_times(folder: Path) -> tuple[int, int]:
    """Modification times of new/ and cur/ in ns.

    Raises StoreError when one of them is something else than a folder, OSError.
    """
    return _folder_time(f"{folder}/new"), _folder_time(f"{folder}/cur")


def made_folder_times(folder: Path, fsync: bool) -> tuple[int, int]:
    """The same; makes what is missing of the Maildir."""
    try:
        return folder_times(folder)
    except FileNotFoundError:
        try:
            make_maildir(folder, fsync)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            return 0, 0
    return folder_times(folder)


def make_maildir(folder: Path, fsync: bool) -> None:
    """Make the folders of a Maildir, as far as they are missing."""
    for sub in ("tmp", "new", "cur"):
        make_folder(folder / sub, fsync)


def _folder_time(folder: str) -> int:
    about = os.lstat(folder)
    if not stat.S_ISDIR(about.st_mode):
        raise StoreError(f"{folder} is not a folder (links are not followed)", temporary=False)
    return about.st_mtime_ns


def scan(folder: Path, most: int | None = None) -> Iterator[tuple[int, str]]:
    """The files of all messages: 1 for those in cur/, else 0, and their names. Any order.

    new/ is listed before cur/, because that is the way messages are moved: one may then
    be seen twice, but not missed.
    most: TooMuch is raised when a folder has more entries.
    """
    for in_cur, sub in enumerate(SUBFOLDERS):
        try:
            entries = os.scandir(f"{folder}/{sub}")
        except FileNotFoundError:
            continue
        with entries:
            for entry in islice(entries, most):
                if not entry.name.startswith(".") and entry.is_file(follow_symlinks=False):
                    yield in_cur, entry.name
            if most is not None and next(entries, None) is not None:
                raise TooMuch


def list_few(folder: Path) -> list[Found] | None:
    """What `list_files` gives; None when there are many, or two with one base name."""
    files: dict[str, Found] = {}
    try:
        for in_cur, name in scan(folder, FEW):
            base = base_name(name)
            if base in files:
                return None
            files[base] = Found(base, in_cur, name)
    except TooMuch:
        return None
    return [files[base] for base in sorted(files, key=delivery_order)]


def list_files(folder: Path) -> Iterator[Found]:
    """The files of all messages, in message-number order."""
    group: list[Found] = []
    for file in _in_order(folder):
        found = Found(base_name(file[1:]), int(file[0]), file[1:])
        if group and group[0].base != found.base:
            yield from _told_apart(folder, group)
            group.clear()
        group.append(found)
    yield from _told_apart(folder, group)


def _in_order(folder: Path) -> Iterator[str]:
    """All files in order of delivery, "0" or "1" before the name: a hundred thousand pairs
    would take more room."""
    files = [f"{in_cur}{name}" for in_cur, name in scan(folder)]
    runs = [files[at : at + RUN] for at in range(0, len(files), RUN)]
    files.clear()
    for run in runs:
        run.sort(key=_moment, reverse=True)
    for _, equal in groupby(merge(*map(_popped, runs)), itemgetter(0)):
        same = [file for _, file in equal]
        if len(same) > 1:
            same.sort(key=lambda file: (delivery_order(base_name(file[1:])), file))
        yield from same


def _popped(files: list[str]) -> Iterator[tuple[float, str]]:
    while files:
        file = files.pop()
        yield _moment(file), file


def _moment(file: str) -> float:
    return moment(base_name(file[1:]))


def _told_apart(folder: Path, files: list[Found]) -> list[Found]:
    """Merge files with one base name when they are the same file, else mark them."""
    if len(files) < 2:
        return files
    result: list[Found] = []
    for file in files:
        last = result[-1] if result else None
        if last is None:
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


def survey(
    folder: Path,
    known: tuple[Stamp, Rows] | None,
    times: Sequence[int] | None = None,
    *,
    quick: bool = False,
    until: float | None = None,
    save_half: Callable[[Rows], None] = lambda rows: None,
) -> Surveyed:
    """The messages there are now. Reads only those that `known` and the journal don't know.

    known: as they were found before, and when. Where the stamp says so (`REVIEW`), each
        is held against its file's size and time.
    times: of new/ and cur/, if they have just been looked at.
    quick: look for what has changed only; a folder with the time of the stamp isn't listed.
    until: time, by `monotonic`, after which to give up; TooMuch is raised then, and when
        there are more than few files, or a large one.
    save_half: called with what there is so far, again and again, while many are read.
    """
    most = None if until is None else READ_AT_ONCE
    noted = read_journal(folder, most)

    def learned(path: str, base: str) -> Measured:
        if until is not None and time.monotonic() > until:
            raise TooMuch
        return learn(path, noted.get(base), most)

    times = times or _times(folder)
    stamp, old = known or (None, None)
    review = stamp is not None and stamp.new == REVIEW
    tries = TRIES
    while True:
        tries -= 1
        result = None
        few = list_few(folder) if not old or len(old) <= FEW else None
        if few is None and until is not None:
            raise TooMuch
        if few is None and quick and stamp is not None and old is not None and not review:
            changed = [at != then for at, then in zip(times, stamp, strict=False)]
            result = catch_up(str(folder), old, changed, noted)
        if result is None:
            files = list_files(folder) if few is None else few
            result = _survey_once(folder, files, old, learned, save_half, review=review)
        before, times = times, _times(folder)
        if not tries or (not result.moved and times == before):
            return result
        old, stamp, review = result.draft.rows(), None, False


def _times(folder: Path) -> tuple[int, int]:
    """Modification times of new/ and cur/, as in a `Stamp`."""
    try:
        return folder_times(folder)
    except FileNotFoundError:
        return 0, 0


def _survey_once(
    folder: Path,
    files: Iterable[Found],
    old: Rows | None,
    learned: Callable[[str, str], Measured],
    save_half: Callable[[Rows], None],
    *,
    review: bool,
) -> Surveyed:
    known: dict[str, int | None] = {}
    for at, name in enumerate(old.names if old else ()):
        base = base_name(name)
        known[base] = None if base in known else at
    draft, come, moved, unreadable = Draft(), 0, False, False
    save_at = SAVE_EVERY
    for file in files:
        path = f"{folder}/{SUBFOLDERS[file.in_cur]}/{file.name}"
        marks = IN_CUR * file.in_cur | TWICE * file.twice
        row = None if file.shared else known.get(file.base)
        if old is not None and row is not None and not (review and _changed(path, old, row)):
            draft.copy(old, row, file.name, marks)
            continue
        try:
            found = learned(path, file.base)
        except FileNotFoundError:
            moved = True
            continue
        except OSError as error:
            unreadable = True
            log.warning("left out of its maildrop: %s", error)
            continue
        draft.add(file.name, marks, *found)
        draft.unique_ids.append("" if row is None or old is None else old.unique_ids[row])
        come += 1
        if come == save_at:
            save_half(draft.so_far())
            save_at += max(SAVE_EVERY, come // 2)
    return Surveyed(draft, come, moved, unreadable)


def _changed(path: str, old: Rows, row: int) -> bool:
    try:
        about = os.lstat(path)
    except OSError:
        return True
    return (about.st_size, about.st_mtime_ns) != (old.sizes[row], old.mtimes[row])


def clean_tmp(folder: Path, most: int | None = None) -> None:
    """Remove what deliveries left behind in tmp/ long ago. Failing to is no error.

    most: entries that are looked at.
    """
    limit = time.time() - TMP_SECONDS
    with suppress(OSError), os.scandir(folder / "tmp") as entries:
        for entry in islice(entries, most):
            about = entry.stat(follow_symlinks=False)
            old = max(about.st_mtime, about.st_atime, about.st_ctime) < limit
            if old and stat.S_ISREG(about.st_mode):
                Path(entry.path).unlink(missing_ok=True)
