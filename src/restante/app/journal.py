"""systemd's journal: log lines with their fields, by its native protocol.

An entry is a datagram of lines `NAME=value`. See systemd's `systemd.journal-fields` and its
page on the native journal protocol.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import sys
from contextlib import suppress
from typing import Self

SOCKET = "/run/systemd/journal/socket"
"""Where the journal takes entries."""

ADD_SEALS = 1033
"""F_ADD_SEALS of Linux, which not every Python names."""

SEALS = 0x0F
"""Seals against shrinking, growing, writing, and further seals."""

MAX_ENTRY = 1 << 20
"""Octets of an entry; what is longer is cut."""


class JournalStream:
    """What log lines are written to: entries, each ended by an empty line, with no blank value.

    Whoever writes must keep line ends out of values.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    @classmethod
    def of_standard_error(cls) -> Self | None:
        """The journal, if standard error leads there; systemd says so by JOURNAL_STREAM."""
        device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
        with suppress(OSError, ValueError):
            status = os.fstat(sys.stderr.fileno())
            if (int(device), int(inode)) == (status.st_dev, status.st_ino):
                return cls(SOCKET)
        return None

    def write(self, entries: str) -> int:
        """Send entries. Raises OSError when the journal takes none."""
        for entry in entries.split("\n\n"):
            if data := entry.strip("\n").encode("utf-8", "backslashreplace")[:MAX_ENTRY]:
                self._send(data + b"\n")
        return len(entries)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Close the socket. Harmless when repeated."""
        self._socket.close()

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendto(data, self._path)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            self._send_as_file(data)

    def _send_as_file(self, data: bytes) -> None:
        """An entry that is too long for a datagram goes as a sealed file in memory."""
        fd = os.memfd_create("restante-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.write(fd, data)
            fcntl.fcntl(fd, ADD_SEALS, SEALS)
            rights = array.array("i", [fd])
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
            self._socket.sendmsg([b""], ancillary, 0, self._path)
        finally:
            os.close(fd)
