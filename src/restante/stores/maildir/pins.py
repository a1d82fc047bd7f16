"""Unique-ids that are pinned to messages, whatever their files' names would give.

One text file in the maildrop, a line `unique-id key` for each; the last line for a key
counts. A key is the base name of the message's file. Where several messages have or had one
base name, it is that, a "/" and a digest of the message. Unlike the index it can't be made
anew: it is on the disk before an id that it holds is told to anybody. Only the lease's holder
writes it.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from urllib.parse import quote, unquote

from restante.protocol.listing import valid_unique_id
from restante.stores.maildir.files import NO_LINKS, NotAFile, create, read_lines, sync_folder

log = logging.getLogger("restante.stores")

PINS_FILE = "restante.pins"

RESTORED_FILE = "restante.restored"
"""Which of the pinned ones have come, as far as mail was ever restored: in the same form."""

MAX_PINS = 256 * 1024 * 1024
"""Octets of the file, and how many lines of it are read: more than a maildrop has messages."""
MAX_LINES = 2_000_000

_APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT | NO_LINKS
_SAFE = "!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"


def pins_stamp(folder: str) -> tuple[int, int]:
    """Modification time in ns and size of the file; zeros without one."""
    try:
        about = os.lstat(f"{folder}/{PINS_FILE}")
    except FileNotFoundError:
        return 0, 0
    return about.st_mtime_ns, about.st_size


def read_pins(folder: str, file: str = PINS_FILE, *, warn: bool = False) -> dict[str, str]:
    """Unique-ids by key. Lines that can't be read are passed over. Raises OSError.

    A FIFO, a symbolic link or a file of more than `MAX_PINS` octets counts as no file. There are
    no pins then, and the next `write_pins` puts a file in its place. warn: say so to the log.
    """
    path = f"{folder}/{file}"
    try:
        lines = read_lines(path, MAX_PINS, MAX_LINES)
    except NotAFile:
        if warn:
            log.warning("%s is passed over: it is no regular file, so nothing is pinned", path)
        return {}
    except FileNotFoundError:
        return {}
    pins = {}
    for line in lines:
        unique_id, _, key = line.decode("ascii", "replace").partition(" ")
        if key and valid_unique_id(unique_id):
            with suppress(ValueError):
                key = unquote(key, errors="surrogatepass") if "%" in key else key
                pins[key] = unique_id
    return pins


def add_pin(folder: str, key: str, unique_id: str, file: str = PINS_FILE) -> None:
    """Add one pin, durably and without writing the others again.

    Raises FileExistsError for a FIFO or a file with a second name, other OSErrors as they come.
    """
    path = f"{folder}/{file}"
    is_new = not os.path.lexists(path)
    fd = os.open(path, _APPEND, 0o600)
    try:
        about = os.stat(fd)
        if not stat.S_ISREG(about.st_mode) or about.st_nlink != 1:
            raise FileExistsError(errno.EEXIST, "not a file of ours", path)
        # What a crash has torn must not become a part of this line.
        torn = False
        if about.st_size:
            os.lseek(fd, -1, os.SEEK_END)
            torn = os.read(fd, 1) != b"\n"
        os.write(fd, (b"\n" if torn else b"") + _line(unique_id, key).encode("ascii"))
        os.fsync(fd)
    finally:
        os.close(fd)
    if is_new:
        sync_folder(folder)


def _line(unique_id: str, key: str) -> str:
    return f"{unique_id} {quote(key, safe=_SAFE, errors='surrogatepass')}\n"


def write_pins(
    folder: str,
    pins: Mapping[str, str],
    alive: Iterable[str] | None = None,
    *,
    file: str = PINS_FILE,
) -> None:
    """Add to the pins, durably. Raises OSError; the earlier ones stand then.

    alive: base names of all messages there are: pins of others may be dropped.
    """
    kept = read_pins(folder, file)
    if alive is not None:
        bases = set(alive)
        kept = {key: unique_id for key, unique_id in kept.items() if key.split("/")[0] in bases}
    kept.update(pins)
    lines = [_line(unique_id, key) for key, unique_id in kept.items()]
    draft = f"{folder}/{file}.new"
    with suppress(FileNotFoundError):
        os.unlink(draft)
    with os.fdopen(create(draft), "wb") as written:
        written.write("".join(lines).encode("ascii"))
        written.flush()
        os.fsync(written.fileno())
    os.replace(draft, f"{folder}/{file}")
    sync_folder(folder)
