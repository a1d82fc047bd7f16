"""Bodies are compressed where that makes them smaller, by zstd (RFC 8878)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, Literal, NamedTuple, TypeAlias, cast

from restante.extras import missing
from restante.stores.blobs.contract import BlobDamaged
from restante.stores.contract import StoreError
from restante.stores.zstd import has_zstd, zstd_decoder, zstd_module

Encoding: TypeAlias = Literal["identity", "zstd"]
"""How a blob's octets are made from the body's; the names are those of HTTP (RFC 9110 §8.4.1)."""

BLOCK = 64 * 1024

IN_MEMORY = 1024 * 1024
"""Octets of what is compressed that lie in memory; more go into a temporary file."""

WORTH_IT = 7 / 8
"""What is larger than this part of the body is stored as it is."""

_SMALLEST = 256
"""Octets of a body that isn't tried."""

_WINDOW_LOG = 19
"""2**19 octets are what each reader needs to decompress. Level 3 would take four times as many."""

_LARGEST_WINDOW_LOG = 23


class Compressed(NamedTuple):
    """What to put, `octets` of `file` from its beginning on, and how it is encoded."""

    file: BinaryIO
    octets: int
    encoding: Encoding


def compressed(
    source: BinaryIO, octets: int | None = None, *, encoding: Encoding | None = None
) -> Compressed:
    """The octets of `source` from its beginning on, compressed if that makes them smaller.

    octets: how many `source` has, if that is known. encoding: None to choose; else how it must
    be encoded, as another has begun to put the same body so.

    `file` is `source` itself or a temporary file, which the caller closes. It takes a while:
    call it on a thread. Other versions of the library give other octets for the same body, so
    nobody may count on the octets of a blob that another has put. Raises StoreError when
    `encoding` is zstd, and there is no library for it; OSError.
    """
    if octets is None:
        octets = source.seek(0, 2)
    source.seek(0)
    may = encoding == "zstd" or (encoding is None and octets >= _SMALLEST and has_zstd())
    if not may:
        return Compressed(source, octets, "identity")
    limit = octets * WORTH_IT if encoding is None else None
    packed = _packed(source, octets, limit)
    source.seek(0)
    if packed is None:
        return Compressed(source, octets, "identity")
    size = packed.tell()
    packed.seek(0)
    return Compressed(packed, size, "zstd")


def _packed(source: BinaryIO, octets: int, limit: float | None) -> BinaryIO | None:
    zstd = _zstd()
    known = zstd.CompressionParameter
    options = {known.compression_level: 3, known.window_log: _WINDOW_LOG, known.checksum_flag: 1}
    compressor = zstd.ZstdCompressor(options=options)
    compressor.set_pledged_input_size(octets)
    # Closed by the caller, or here when it isn't handed out.
    file = cast("BinaryIO", SpooledTemporaryFile(IN_MEMORY))  # noqa: SIM115
    try:
        left = octets
        while left > 0:
            block = source.read(min(left, BLOCK))
            if not block:
                raise ValueError(f"a body of {octets} octets ends {left} octets too early")
            left -= len(block)
            file.write(compressor.compress(block))
            if limit is not None and file.tell() > limit:
                break
        file.write(compressor.flush(compressor.FLUSH_FRAME) if not left else b"")
        if limit is None or file.tell() <= limit:
            return file
    except BaseException:
        file.close()
        raise
    file.close()
    return None


async def decoded(
    blocks: AsyncGenerator[bytes, None], encoding: str, octets: int | None = None
) -> AsyncGenerator[bytes, None]:
    """The octets of a body, in blocks, from those of its blob; bounded memory.

    Of `blocks` only as many are asked for as are needed, and they are closed in the end: who
    wants the beginning of a body takes the first blocks, and closes this.

    octets: how many the whole body has, if that is known: other numbers are BlobDamaged.
    Raises BlobDamaged, StoreError for an unknown encoding, and whatever `blocks` raises.
    """
    if encoding not in ("identity", "zstd"):
        raise StoreError(
            f"a body is encoded as {encoding!r}, which this version doesn't know", temporary=False
        )
    given = blocks if encoding == "identity" else _unpacked(blocks)
    async with aclosing(blocks), aclosing(given):
        total = 0
        async for block in given:
            total += len(block)
            if octets is not None and total > octets:
                raise BlobDamaged(f"a body of {octets} octets has more")
            yield block
    if octets is not None and total < octets:
        raise BlobDamaged(f"a body of {octets} octets has only {total}")


async def _unpacked(blocks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    _zstd()
    decoder = zstd_decoder(_LARGEST_WINDOW_LOG)
    async for block in blocks:
        data: bytes = block
        while True:
            out = _decompress(decoder, data)
            if out:
                yield out
            if decoder.eof:
                if decoder.unused_data:
                    raise BlobDamaged("something follows the end of a compressed body")
                break
            if len(out) < BLOCK and decoder.needs_input:
                break
            data = b""
    if not decoder.eof:
        raise BlobDamaged("a compressed body ends too early")


def _decompress(decoder: Any, data: bytes) -> bytes:
    try:
        return cast("bytes", decoder.decompress(data, BLOCK))
    except EOFError as error:
        raise BlobDamaged("something follows the end of a compressed body") from error
    except Exception as error:
        if type(error).__name__ == "ZstdError":
            raise BlobDamaged(f"a body can't be decompressed: {error}") from error
        raise


def _zstd() -> Any:
    try:
        return zstd_module()
    except ImportError as error:
        raise StoreError(
            missing("zstd", "A compressed body", "backports.zstd", error), temporary=True
        ) from error
