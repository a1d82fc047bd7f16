"""Where a maildrop lies below the root: no way out by name, no folder for two names.

The rule, for each name that a template's field puts into a path:

* ASCII letters, digits and `_ - + = @ .` stay as they are. Everything else is written
  `%XX`, a pair of hexadecimal digits for each octet of its UTF-8: separators, control
  characters, blanks, `%` itself, all that is not ASCII.
* So is a dot at the beginning or the end, and the first letter of a name that Windows
  takes for a device (`con`, `nul.txt` …).
* On systems whose file names ignore case (Windows, macOS) capital letters are written
  `%XX` too. Where such a file system is met elsewhere, names with capitals are refused.
* A name that comes out empty or longer than 200 characters is refused.

Symbolic links above a maildrop and the maildrop's own folder may lead anywhere: they
are the operator's. Inside a maildrop no link is followed.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from string import Formatter
from urllib.parse import unquote

from restante.stores.contract import StoreError

MAX_COMPONENT = 200
"""Octets of a folder's name; file systems allow 255, some encrypting ones less."""

_FIELDS = frozenset({"user", "domain", "name"})
_IGNORES_CASE = sys.platform in ("win32", "cygwin", "darwin")
_PLAIN = re.compile(rb"[a-z0-9_\-+=@.]" if _IGNORES_CASE else rb"[A-Za-z0-9_\-+=@.]")
_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


def folder_name(name: str) -> str:
    """The folder name for `name`: by the rule above, and never the same for two names.

    Raises StoreError when there can be none.
    """
    octets = name.encode("utf-8", "surrogatepass")
    if not octets:
        raise StoreError("an empty name has no folder", temporary=False)
    pieces = [chr(o) if _PLAIN.match(bytes((o,))) else f"%{o:02X}" for o in octets]
    for at in {0, len(pieces) - 1}:
        if pieces[at] == ".":
            pieces[at] = "%2E"
    if _DEVICE.fullmatch("".join(pieces)):
        pieces[0] = f"%{ord(pieces[0]):02X}"
    result = "".join(pieces)
    if len(result) > MAX_COMPONENT:
        raise StoreError("a name too long for a folder", temporary=False)
    return result


class Place:
    """The folders of maildrops, by name.

    root: the folder above all maildrops.
    template: path of a maildrop below it. `{name}` is the whole name, `{domain}` what
        follows its last "@", `{user}` what precedes it; where the template has no
        `{domain}`, `{user}` is the whole name, lest two domains share a folder. At most
        one field in each folder's name. Raises ValueError for a template that could
        lead two names to one folder or out of the root.
    """

    def __init__(self, root: Path, template: str) -> None:
        self.root = root
        self._parts = template.split("/")
        fields = self._used = set[str]().union(*map(_fields, self._parts))
        if not fields & {"user", "name"}:
            raise ValueError(f"template {template!r} needs {{user}} or {{name}}")
        self._split = "domain" in fields and "user" in fields
        self._needs_domain = "domain" in fields

    @lru_cache(maxsize=4096)  # noqa: B019 - a store has one of these, for its whole life
    def folder(self, maildrop_name: str) -> Path:
        """Where the maildrop lies. Raises StoreError for a name that can have no folder."""
        user, at, domain = maildrop_name.rpartition("@")
        if self._needs_domain and not (at and domain and user):
            raise StoreError("the name needs user and domain for this template", temporary=False)
        values = {"name": maildrop_name, "user": user if self._split else maildrop_name}
        values["domain"] = domain
        encoded = {
            field: folder_name(value) for field, value in values.items() if field in self._used
        }
        return self.root.joinpath(*[part.format_map(encoded) for part in self._parts])

    def names(self) -> list[str]:
        """The names of the maildrops that are there now, sorted. Raises OSError."""
        found: list[tuple[Path, dict[str, str]]] = [(self.root, {})]
        for part in self._parts:
            (field,) = _fields(part) or {""}
            before, _, after = part.partition(f"{{{field}}}")
            below = []
            for folder, values in found:
                if not field:
                    below.append((folder / part, values))
                    continue
                for name in os.listdir(folder) if folder.is_dir() else ():
                    value = name.removeprefix(before).removesuffix(after)
                    if name == f"{before}{value}{after}":
                        value = unquote(value, errors="replace")
                        below.append((folder / name, {**values, field: value}))
            found = below
        names = set()
        for folder, values in found:
            name = values.get("name") or values.get("user", "")
            if self._split:
                name = f"{values['user']}@{values['domain']}"
            with suppress(StoreError):
                if self.folder(name) == folder and (folder / "cur").is_dir():
                    names.add(name)
        return sorted(names)


def _fields(part: str) -> set[str]:
    try:
        pieces = list(Formatter().parse(part))
    except ValueError as error:
        raise ValueError(f"template: {part!r}: {error}") from error
    fields = [field for _, field, _, _ in pieces if field is not None]
    literal = "".join(text for text, _, _, _ in pieces)
    formatted = any(spec or conversion for _, _, spec, conversion in pieces)
    if not part or part in (".", "..") or "\\" in part or "\0" in part or ":" in literal:
        raise ValueError(f"template: {part!r} can't be a folder's name")
    if len(fields) > 1:
        raise ValueError(f"template: {part!r} has two fields; separate them by '/'")
    if formatted or not _FIELDS.issuperset(fields):
        raise ValueError(f"template: {part!r}: fields are {{user}}, {{domain}} and {{name}}")
    return set(fields)


def refuse_if_case_is_ignored(folder: str, maildrop_name: str) -> None:
    """Raise StoreError when names that differ only in case would meet in `folder`.

    Asked of the file system only for names with capital letters: of two such names at
    least one has them.
    """
    if _IGNORES_CASE or maildrop_name == maildrop_name.lower():
        return
    for path in (Path(folder), *Path(folder).parents):
        other = path.with_name(path.name.lower()) if path.name else path
        if path == other:
            continue
        try:
            here, there = os.lstat(path), os.lstat(other)
        except OSError:
            continue
        if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
            text = f"{path}: the file system ignores case: no maildrop with capitals"
            raise StoreError(text, temporary=False)
