"""Message files that Dovecot's compress plugin wrote: gzip, bzip2, xz, and zstd where there is
a library for it.

Dovecot recognises them by their first octets. So do we, but only when the file's name says
so, too: by the flag Z, or by a size `,S=` (which is the message's own) that the file doesn't
have. All else is served as it lies. What is decompressed is never held as a whole.
"""

from __future__ import annotations

import bz2
import lzma
import os
import re
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import Any, Protocol, TypeAlias

from restante.stores.contract import StoreError
from restante.stores.zstd import has_zstd, zstd_decoder

BLOCK = 64 * 1024

MAX_MEMORY = 96 * 1024 * 1024
"""Octets that xz may take to decompress; its strongest usual setting (9) needs 65 MB."""

MAX_DECOMPRESSED = 2 * 1024**3
"""Octets of a message. A file that gives more is no message, and is served as it lies."""

_SIZE = re.compile(r",S=(\d{1,19})(?=[,:;!]|\Z)")
_FLAG = re.compile(r"[:;!]2,[A-Za-z]*Z[A-Za-z]*\Z")


class Damaged(StoreError):
    """A file that can't be decompressed to its end, or to no end."""


class _Decoder(Protocol):
    eof: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """A member of a gzip file, with the interface of the other decoders."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        """Whether the member's end was reached."""
        return self._decoder.eof

    @property
    def unused_data(self) -> bytes:
        """What followed it."""
        return self._decoder.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """At most so many octets of what `data` and what was fed before give."""
        return self._decoder.decompress(self._decoder.unconsumed_tail + data, max_length)


def _xz() -> Any:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_MEMORY)


def _zstd() -> Any:
    return zstd_decoder(27)  # what its `--long` writes


_FORMS: dict[bytes, Callable[[], Any]] = {
    b"\x1f\x8b": _Gzip,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": _xz,
}
if has_zstd():
    _FORMS[b"\x28\xb5\x2f\xfd"] = _zstd


MAGIC = b"".join(magic[:1] for magic in _FORMS)
"""The first octets that compressed files have."""

Form: TypeAlias = Callable[[], Any]
"""Makes a decoder for each part of a compressed file."""


def form_told(head: bytes, name: str, size: int) -> Form | None:
    """How a file is compressed, by its first octets, its name and its size; None: it isn't."""
    form = form_of(head)
    if form is None or _FLAG.search(name):
        return form
    told = _SIZE.search(name)
    return form if told is not None and int(told[1]) != size else None


def form_of(head: bytes) -> Form | None:
    """How a file seems to be compressed, by its first octets alone."""
    for magic, form in _FORMS.items():
        if head.startswith(magic):
            return form
    return None


class Decompressed(Iterator[bytes]):
    """The octets of a compressed file, in blocks of bounded size. Closes the file at its end.

    Raises Damaged, OSError.
    """

    def __init__(self, fd: int, form: Form) -> None:
        self._fd = fd
        self._blocks = _decompressed(fd, form)

    def __next__(self) -> bytes:
        try:
            return next(self._blocks)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Harmless when repeated."""
        self._blocks.close()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


def _decompressed(fd: int, form: Form) -> Generator[bytes, None, None]:
    decoder: _Decoder = form()
    data, total = b"", 0
    try:
        while True:
            out = decoder.decompress(data, BLOCK)
            total += len(out)
            if total > MAX_DECOMPRESSED:
                raise Damaged(f"more than {MAX_DECOMPRESSED} octets when decompressed")
            if out:
                yield out
            if decoder.eof:  # another may follow: files are joined so
                data = decoder.unused_data.lstrip(b"\0") or os.read(fd, BLOCK).lstrip(b"\0")
                if not data:
                    return
                decoder = form()
            elif len(out) == BLOCK:
                data = b""  # there may be more of what was fed
            elif not (data := os.read(fd, BLOCK)):
                raise Damaged("the compressed file ends too early")
    except (zlib.error, lzma.LZMAError, ValueError, EOFError, MemoryError) as error:
        raise Damaged(str(error)) from error
    except OSError as error:
        if error.errno is None:  # of bz2
            raise Damaged(str(error)) from error
        raise
    except Exception as error:
        if type(error).__name__ == "ZstdError":
            raise Damaged(str(error)) from error
        raise
