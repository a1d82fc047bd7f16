"""What has changed in a Maildir that is known: found without a look at what has not.

Files that have come, gone, or been renamed with their base names kept, are all that is
handled here. Whatever is harder (two files with one base name) is left to a survey.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from restante.stores.maildir.columns import IN_CUR, TWICE, Draft, Rows
from restante.stores.maildir.file_names import SUBFOLDERS, base_name, delivery_order
from restante.stores.maildir.files import Measured
from restante.stores.maildir.learning import learn

FEW = 16
"""Names that are searched for one by one instead of making a set of all."""

_SEEN_TWICE = re.compile(b"[%c-%c]" % (TWICE, 2 * TWICE - 1))


log = logging.getLogger("restante.stores")


class File(NamedTuple):
    """A message's file: 1 in cur/, 0 in new/."""

    in_cur: int
    name: str


class Changes(NamedTuple):
    """gone: rows without file; renamed: by row; come: files that are new, by base name."""

    gone: set[int]
    renamed: dict[int, File]
    come: dict[str, File]


class Come(NamedTuple):
    """A message that is new, and the row that it comes before. Sorts as it comes."""

    row: int
    order: tuple[int, int, str]
    file: File
    found: Measured


class Surveyed(NamedTuple):
    """draft: the messages; unique-ids are empty where they are not known.

    come: how many weren't known; moved: some were moved while we looked, so that others
    may have been missed; unreadable: some had to be left out.
    """

    draft: Draft
    come: int
    moved: bool
    unreadable: bool


def catch_up(
    folder: str, old: Rows, changed: Sequence[bool], noted: Mapping[str, Measured]
) -> Surveyed | None:
    """The messages there are now, by what has changed since `old`; see `find_changes`.

    None when only a survey can tell. What comes before the first change is taken over as
    a whole: the rows past the draft's `keep` are all that can be new.
    """
    changes = find_changes(folder, old, changed)
    if changes is None:
        return None
    come, moved, unreadable = _learned(folder, old, changes.come, noted)
    first = min([len(old), *changes.gone, *changes.renamed, *(each.row for each in come)])
    draft = Draft(old, first)
    at = draft.keep
    events: list[tuple[int, int, Come | None]] = [(each.row, 0, each) for each in come]
    events += [(row, 1, None) for row in changes.gone | changes.renamed.keys()]
    for row, _, new in sorted(events):
        draft.copy_run(old, at, row)
        at = row
        if new is not None:
            draft.add(new.file.name, IN_CUR * new.file.in_cur, *new.found)
            draft.unique_ids.append("")
            continue
        at += 1
        if file := changes.renamed.get(row):
            draft.copy(old, row, file.name, IN_CUR * file.in_cur)
    draft.copy_run(old, at, len(old))
    return Surveyed(draft, len(come), moved, unreadable)


def _learned(
    folder: str, old: Rows, files: Mapping[str, File], noted: Mapping[str, Measured]
) -> tuple[list[Come], bool, bool]:
    come, moved, unreadable = [], False, False
    for base, file in files.items():
        try:
            found = learn(f"{folder}/{SUBFOLDERS[file.in_cur]}/{file.name}", noted.get(base))
        except FileNotFoundError:
            moved = True
            continue
        except OSError as error:
            unreadable = True
            log.warning("left out of its maildrop: %s", error)
            continue
        order = delivery_order(base)
        row = bisect_right(old.names, order, key=lambda name: delivery_order(base_name(name)))
        come.append(Come(row, order, file, found))
    return come, moved, unreadable


def find_changes(folder: str, old: Rows, changed: Sequence[bool]) -> Changes | None:
    """What is not as `old` says; None when only a survey can tell.

    changed: for new/ and cur/, whether anything in it may have. new/ is listed first,
    because that is the way messages are moved: one may be seen twice, but not missed.
    """
    if _SEEN_TWICE.search(old.marks):
        return None
    names = old.names.all()
    missing: dict[str, File] = {}
    strange: dict[str, File] = {}
    for in_cur, sub in enumerate(SUBFOLDERS):
        if not changed[in_cur]:
            continue
        pairs = zip(names, old.marks, strict=True)
        known = {name for name, marks in pairs if marks & IN_CUR == in_cur}
        # Set against list in one call: a loop would take twice the time.
        for name in known.symmetric_difference(_listed(f"{folder}/{sub}")):
            if name not in known and not _is_message(f"{folder}/{sub}/{name}", name):
                continue
            among, base = missing if name in known else strange, base_name(name)
            if base in among:
                return None
            among[base] = File(in_cur, name)
    rows = _rows_of(old, names, missing)
    renamed = {rows.pop(base): strange.pop(base) for base in missing.keys() & strange.keys()}
    gone = set(rows.values())
    once = [base_name(names[row]) for row in renamed]
    if not _are_alone(old, names, gone, once, strange):
        return None
    return Changes(gone, renamed, strange)


def _rows_of(old: Rows, names: list[str], files: Mapping[str, File]) -> dict[str, int]:
    """Which rows have these files, by base name."""
    wanted = {file.name: base for base, file in files.items()}
    return {
        base: row
        for row, name in enumerate(names if wanted else ())
        if (base := wanted.get(name)) is not None and files[base].in_cur == old.marks[row] & IN_CUR
    }


def _are_alone(
    old: Rows, names: list[str], gone: set[int], once: list[str], never: Iterable[str]
) -> bool:
    """Whether of the messages that stay one has each base name of `once`, none of `never`."""
    never = list(never)
    if len(once) + len(never) <= FEW:
        found = [len(old.names.with_base(base)) for base in (*once, *never)]
        return found == [1] * len(once) + [0] * len(never)
    kept = {base_name(name) for row, name in enumerate(names) if row not in gone}
    return len(kept) == len(names) - len(gone) and kept.isdisjoint(never)


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - a Path for each name costs ten times as much
    except FileNotFoundError:
        return []


def _is_message(path: str, name: str) -> bool:
    if name.startswith("."):
        return False
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False  # moved since: the folder's time tells
