"""Unique-ids that are pinned to messages, whatever their files' names would give.

One text file in the maildrop, a line `unique-id base-name` for each; the last line for a
name counts. Unlike the index it can't be made anew: it is on the disk before an id
that it holds is told to anybody. Only the lease's holder writes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote, unquote

from restante.protocol.listing import valid_unique_id
from restante.stores.maildir.files import open_regular, sync_folder

PINS_FILE = "restante.pins"

_SAFE = "!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"


def pins_stamp(folder: Path) -> tuple[int, int]:
    """Modification time in ns and size of the file; zeros without one."""
    try:
        about = os.lstat(f"{folder}/{PINS_FILE}")  # joining as text: every login comes here
    except FileNotFoundError:
        return 0, 0
    return about.st_mtime_ns, about.st_size


def read_pins(folder: Path) -> dict[str, str]:
    """Unique-ids by base name. Raises OSError."""
    try:
        fd, _ = open_regular(f"{folder}/{PINS_FILE}")
    except FileNotFoundError:
        return {}
    with os.fdopen(fd, "rb") as file:
        data = file.read()
    pins = {}
    for line in data.decode("ascii", "replace").split("\n")[:-1]:  # no "\n": a torn write
        unique_id, _, base = line.partition(" ")
        if base and valid_unique_id(unique_id):
            pins[unquote(base, errors="surrogatepass") if "%" in base else base] = unique_id
    return pins


def write_pins(folder: Path, pins: Mapping[str, str], alive: Iterable[str] | None = None) -> None:
    """Add to the pins, durably. Raises OSError; the earlier ones stand then.

    alive: base names of all messages there are: pins of others may be dropped.
    """
    kept = read_pins(folder)
    if alive is not None:
        kept = {base: kept[base] for base in alive if base in kept}
    kept.update(pins)
    lines = [
        f"{unique_id} {quote(base, safe=_SAFE, errors='surrogatepass')}\n"
        for base, unique_id in kept.items()
    ]
    draft = folder / (PINS_FILE + ".new")
    draft.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
        file.write("".join(lines).encode("ascii"))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / PINS_FILE)
    sync_folder(folder)
