"""Looking through the folders of a Maildir: what is there, and what is not known yet.

There is one way to look. It starts from rows that are believed (none, at first sight), lists
the folders that have changed, and finds files that have come, gone, or been renamed with their
base names kept. Only what has come is read, and not even that if it was noted before.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from restante.stores.maildir.columns import EMPTY, IN_CUR, TWICE, Draft, Rows, marked
from restante.stores.maildir.file_names import SUBFOLDERS, base_name, delivery_order, moment
from restante.stores.maildir.files import Folder, NotAFile, folder_time
from restante.stores.maildir.journal import journal_size, read_journal
from restante.stores.maildir.measured import Measured, measure_open
from restante.stores.maildir.steps import Steps

FEW = 64
"""Files of a folder that are looked through in place."""

READ_IN_PLACE = 256 * 1024
"""Octets of messages, or of what is known of them, that are read in place."""

SEARCHED = 16
"""Names that are searched for one by one instead of making a set of all."""

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

_SEEN_TWICE = marked(TWICE)

log = logging.getLogger("restante.stores")


# Folders


def folder_times(folder: str) -> tuple[int, int]:
    """Modification times of new/ and cur/ in ns.

    Raises StoreError when one of them, or tmp/, is something else than a folder; OSError.
    """
    with suppress(FileNotFoundError):  # nobody needs it to read mail
        folder_time(f"{folder}/tmp")
    return folder_time(f"{folder}/new"), folder_time(f"{folder}/cur")


class Subfolders:
    """new/ and cur/, each opened when it is needed. Closed as a context manager.

    opened: those that are open, else None. Raises OSError, and StoreError when one of them is no
    folder.
    """

    __slots__ = ("_folder", "opened")

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.opened: list[Folder | None] = [None, None]

    def __enter__(self) -> Subfolders:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Harmless when repeated."""
        for folder in self.opened:
            if folder is not None:
                folder.close()

    def here(self, in_cur: int) -> Folder:
        """One of both, the same from its first use on. Raises FileNotFoundError."""
        folder = self.opened[in_cur]
        if folder is None:
            folder = self.opened[in_cur] = Folder(f"{self._folder}/{SUBFOLDERS[in_cur]}")
        return folder

    def times(self) -> tuple[int, int]:
        """Modification times, as in a `Stamp`; 0 of one that is missing."""
        return self._time(0), self._time(1)

    def _time(self, in_cur: int) -> int:
        folder = self.opened[in_cur]
        if folder is not None:
            return folder.time()
        with suppress(FileNotFoundError):
            return folder_time(f"{self._folder}/{SUBFOLDERS[in_cur]}")
        return 0

    def names(self, in_cur: int, most: int | None = None) -> list[str]:
        """See `Folder.names`; none of one that is missing."""
        try:
            return self.here(in_cur).names(most)
        except FileNotFoundError:
            return []

    def stat(self, in_cur: int, name: str) -> os.stat_result:
        """About one entry; of a link about the link. Raises FileNotFoundError, OSError."""
        return self.here(in_cur).stat(name)


# Looking


class Seen(NamedTuple):
    """What there is now.

    draft: the messages; unique-ids are empty where they aren't known. come: how many weren't
    known. moved: some were moved while we looked, so that others may have been missed.
    unreadable: some had to be left out. times: of new/ and cur/, before the look.
    """

    draft: Draft
    come: int
    moved: bool
    unreadable: bool
    times: tuple[int, int]


class Notes:
    """What was found out about files before, by base name. Believed of a file that still has
    its size and its time."""

    def __init__(self, noted: Mapping[str, Measured]) -> None:
        self._noted = noted
        self._rows = EMPTY
        self._places: dict[str, int | list[int]] = {}

    def add(self, rows: Rows) -> None:
        """Note all messages of `rows`, instead of rows that were noted before."""
        self._rows, self._places = rows, {}
        for row, name in enumerate(rows.names):
            base = base_name(name)
            other = self._places.setdefault(base, row)
            if other != row:
                rows_of = other if isinstance(other, list) else [other]
                self._places[base] = [*rows_of, row]

    def know(self, base: str) -> bool:
        """Whether anything was found out about files with this base name."""
        return base in self._places or base in self._noted

    def find(self, file: _File, about: os.stat_result) -> tuple[Measured | None, str, bool]:
        """What is known of a file, its unique-id, and whether it has another's base name.

        A file that was changed in place has its unique-id still. One that has another name,
        size and time than the known one is another message.
        """
        base, in_cur, name, _, shared = file
        place = self._places.get(base)
        rows = self._rows
        for row in place if isinstance(place, list) else () if place is None else (place,):
            if rows.sizes[row] == about.st_size and rows.mtimes[row] == about.st_mtime_ns:
                return rows.measured(row), rows.unique_ids[row], isinstance(place, list)
        noted = self._noted.get(base)
        if noted and (noted.size, noted.mtime) != (about.st_size, about.st_mtime_ns):
            noted = None
        if place is None:
            return noted, "", False
        if shared or isinstance(place, list) or is_another(rows, place, about, in_cur, name):
            return noted, "", True
        return noted, rows.unique_ids[place], False


def is_another(rows: Rows, row: int, about: os.stat_result, in_cur: int, name: str) -> bool:
    """Whether a file with the base name of message `row` is another message.

    Flags change a file's name, edits its size and time, compression its size: not all of them
    at once.
    """
    moved = rows.names[row] != name or rows.marks[row] & IN_CUR != in_cur
    return moved and rows.sizes[row] != about.st_size and rows.mtimes[row] != about.st_mtime_ns


def look(
    folder: str,
    rows: Rows,
    then: Sequence[int] | None,
    times: tuple[int, int],
    save_half: Callable[[Rows], None] = lambda rows: None,
) -> Steps[Seen]:
    """The messages there are now.

    rows: as they were found before. then: the times of new/ and cur/ at which they were so;
    None if each message is to be held against its file. times: theirs of just now. save_half:
    called with what there is so far, again and again, while many are read. Raises StoreError,
    OSError.
    """
    size = journal_size(folder)
    if size > READ_IN_PLACE or len(rows) > FEW:
        yield
    notes = Notes(read_journal(folder) if size else {})
    old = EMPTY
    if then is None:
        notes.add(rows)
    else:
        old = rows
    tries = TRIES
    with Subfolders(folder) as subs:
        while True:
            seen = yield from _look(subs, old, then, times, notes, save_half=save_half)
            if seen is None:  # two files with one base name: looking at each one tells
                notes.add(old)
                old, then = EMPTY, None
                continue
            tries -= 1
            times = subs.times()
            if not tries or (not seen.moved and times == seen.times):
                return seen
            notes.add(seen.draft.rows())


def _look(
    subs: Subfolders,
    old: Rows,
    then: Sequence[int] | None,
    times: tuple[int, int],
    notes: Notes,
    *,
    save_half: Callable[[Rows], None],
) -> Steps[Seen | None]:
    """One look; None when there are two files with one base name and `old` isn't empty."""
    if _SEEN_TWICE.search(old.marks):
        return None
    changed = [then is None or at != then[in_cur] for in_cur, at in enumerate(times)]
    changes = yield from _find_changes(subs, old, changed)
    if changes is None:
        return None
    renamed, gone, come = changes
    if len(gone) == len(old):  # as after a client that removes all that it has fetched
        old, gone = EMPTY, set()
    files = _groups(come)
    group = next(files, None)
    left = sorted([*gone, *renamed], reverse=True)
    first = _place(old, group[0]) if group else len(old)
    draft = Draft(old, min(first, *left[-1:], len(old)))
    kept = _Kept(draft, old, renamed, left)
    reader = _Reader(subs, notes)
    save_at = SAVE_EVERY
    while group is not None:
        if len(old):
            kept.copy_to(_place(old, group[0]))
        for file in _told_apart(subs, *group):
            found, unique_id, other = yield from reader.read(file)
            if found is None:
                continue
            _, in_cur, name, twice, shared = file
            if shared or other:
                draft.namesakes.add(len(draft.names))
            draft.add(name, IN_CUR * in_cur | TWICE * twice, found, unique_id)
        if reader.count >= save_at and not len(old):
            save_half(draft.so_far())
            save_at += max(SAVE_EVERY, reader.count // 2)
        group = next(files, None)
    kept.copy_to(len(old))
    return Seen(draft, reader.count, reader.moved, reader.unreadable, times)


class _Reader:
    """Finds out what there is to know of files: it was noted, or it is read."""

    def __init__(self, subs: Subfolders, notes: Notes) -> None:
        self._subs = subs
        self._notes = notes
        self._octets = 0
        self.count = 0
        self.moved = self.unreadable = False

    def read(self, file: _File) -> Steps[tuple[Measured | None, str, bool]]:
        """See `Notes.find`; nothing is found of what is no message, can't be read, or is gone."""
        found, unique_id, other = None, "", False
        base, in_cur, name, _, _ = file
        try:
            if self._notes.know(base):
                about = self._subs.stat(in_cur, name)
                if not stat.S_ISREG(about.st_mode):
                    return None, "", False
                found, unique_id, other = self._notes.find(file, about)
            if found is None:
                fd, about = self._subs.here(in_cur).open(name)
                try:
                    if self._octets <= READ_IN_PLACE:
                        self._octets += about.st_size
                        if self._octets > READ_IN_PLACE:
                            yield
                    found = measure_open(fd, about, name)
                finally:
                    os.close(fd)
                self.count += 1
        except NotAFile:
            pass
        except FileNotFoundError:
            self.moved = True
        except OSError as error:
            self.unreadable = True
            where = f"{SUBFOLDERS[in_cur]}/{name}"
            log.warning("left out of its maildrop: %s: %s", where, error)
        return found, unique_id, other


class _Kept:
    """Copies rows that stay into a draft, in order, what has come between them.

    changed: rows that were renamed or are gone, the last one first.
    """

    def __init__(
        self, draft: Draft, old: Rows, renamed: Mapping[int, Place], changed: list[int]
    ) -> None:
        self._draft = draft
        self._old = old
        self._renamed = renamed
        self._changed = changed
        self._at = draft.keep

    def copy_to(self, row: int) -> None:
        """Copy all that stay before `row`."""
        while self._changed and self._changed[-1] < row:
            place = self._changed.pop()
            self._draft.copy_run(self._old, self._at, place)
            self._at = place + 1
            if place in self._renamed:
                in_cur, name = self._renamed[place]
                self._draft.copy(self._old, place, name, IN_CUR * in_cur)
        self._draft.copy_run(self._old, self._at, row)
        self._at = row


Place = tuple[int, str]  # 1 in cur/, 0 in new/, and the file's name


def _find_changes(
    subs: Subfolders, old: Rows, changed: Sequence[bool]
) -> Steps[tuple[dict[int, Place], set[int], list[str]] | None]:
    """What isn't as `old` says: rows that were renamed, rows that are gone, files that have
    come (with "0" or "1" before their names). None for two files with one base name.

    new/ is listed first, because that is the way messages are moved: one may be seen twice,
    but not missed.
    """
    missing: dict[str, int] = {}
    come: list[str] = []
    names = old.names.all() if len(old) else []
    for in_cur in (0, 1):
        if not changed[in_cur]:
            continue
        there = subs.names(in_cur, FEW)
        if len(there) > FEW:
            yield
            there = subs.names(in_cur)
        if not names:
            come += [f"{in_cur}{name}" for name in there if name[0] != "."]
            continue
        rows = zip(names, range(len(names)), old.marks, strict=True)
        known = {name: row for name, row, marks in rows if marks & IN_CUR == in_cur}
        # Keys against list in one call: a loop would take twice the time.
        differing = known.keys() ^ there
        come += [f"{in_cur}{name}" for name in differing if name not in known and name[0] != "."]
        for name in [name for name in differing if name in known]:
            base = base_name(name)
            if base in missing:
                return None
            missing[base] = known[name]
    if not names or not (missing or come):
        return {}, set(), come
    return _renamed(subs, old, names, missing, come)


def _renamed(
    subs: Subfolders, old: Rows, names: list[str], missing: dict[str, int], come: list[str]
) -> tuple[dict[int, Place], set[int], list[str]] | None:
    """See `_find_changes`. missing: rows whose files aren't where they were, by base name."""
    strange: dict[str, Place] = {base_name(file[1:]): (int(file[0]), file[1:]) for file in come}
    if len(strange) < len(come):
        return None
    renamed: dict[int, Place] = {}
    once = []
    for base in missing.keys() & strange.keys():
        in_cur, name = strange[base]
        try:
            about = subs.stat(in_cur, name)
        except FileNotFoundError:  # moved since: the folder's time tells
            del strange[base]
            continue
        if not stat.S_ISREG(about.st_mode):
            del strange[base]
            continue
        if is_another(old, missing[base], about, in_cur, name):
            return None
        renamed[missing.pop(base)] = strange.pop(base)
        once.append(base)
    gone = set(missing.values())
    if not _are_alone(old, names, gone, once, list(strange)):
        return None
    if len(strange) < len(come):
        come = [f"{in_cur}{name}" for in_cur, name in strange.values()]
    return renamed, gone, come


def _are_alone(
    old: Rows, names: list[str], gone: set[int], once: list[str], never: list[str]
) -> bool:
    """Whether of the messages that stay one has each base name of `once`, none of `never`."""
    if len(gone) == len(names):
        return True
    if len(once) + len(never) <= SEARCHED:
        found = [len(old.names.with_base(base)) for base in (*once, *never)]
        return found == [1] * len(once) + [0] * len(never)
    kept = {base_name(name) for row, name in enumerate(names) if row not in gone}
    return len(kept) == len(names) - len(gone) and kept.isdisjoint(never)


def _place(old: Rows, base: str) -> int:
    """The row before which a file with this base name comes."""
    order = delivery_order(base)
    return bisect_right(old.names, order, key=lambda name: delivery_order(base_name(name)))


def _groups(files: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Base names in order of delivery, and the files that have each. Empties `files`."""
    if len(files) <= FEW:
        ordered = sorted([(delivery_order(base_name(file[1:])), file) for file in files])
        files.clear()
        for (_, _, base), group in groupby(ordered, itemgetter(0)):
            yield base, [file for _, file in group]
        return
    alike: list[str] = []
    base = ""
    for file in _in_order(files):
        its = base_name(file[1:])
        if alike and its != base:
            yield base, alike
            alike = []
        base = its
        alike.append(file)
    if alike:
        yield base, alike


def _in_order(files: list[str]) -> Iterator[str]:
    """All files in order of delivery; empties `files`, for a hundred thousand take room."""
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


class _File(NamedTuple):
    """A message's file. twice: seen under another name, too. shared: another message has its
    base name."""

    base: str
    in_cur: int
    name: str
    twice: bool = False
    shared: bool = False


def _told_apart(subs: Subfolders, base: str, group: list[str]) -> list[_File]:
    """Files with one base name: those that are the same file count once."""
    if len(group) == 1:
        file = group[0]
        return [_File(base, int(file[0]), file[1:])]
    files = [_File(base, int(file[0]), file[1:]) for file in group]
    found: dict[tuple[int, int], _File] = {}
    moved = []
    for each in files:
        try:
            about = subs.stat(each.in_cur, each.name)
        except FileNotFoundError:
            moved.append(each)
            continue
        if stat.S_ISREG(about.st_mode):
            twice = (about.st_dev, about.st_ino) in found
            found[about.st_dev, about.st_ino] = each._replace(twice=twice)
    shared = len(found) > 1
    return [*(each._replace(shared=shared) for each in found.values()), *moved]


def clean_tmp(folder: str) -> Steps[None]:
    """Remove what deliveries left behind in tmp/ long ago. Failing to is no error."""
    limit = time.time() - TMP_SECONDS
    with suppress(OSError), Folder(f"{folder}/tmp") as tmp:
        names = tmp.names(FEW)
        if len(names) > FEW:
            yield
            names = tmp.names()
        for name in names:
            with suppress(FileNotFoundError):
                about = tmp.stat(name)
                old = max(about.st_mtime, about.st_atime, about.st_ctime) < limit
                if old and stat.S_ISREG(about.st_mode):
                    tmp.unlink(name)
