"""Bodies are compressed where it helps, and read from their beginning without the rest."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from io import BytesIO
from typing import BinaryIO, cast

import pytest

from restante.stores import zstd
from restante.stores.blobs import compression
from restante.stores.blobs.compression import Compressed, compressed, decoded
from restante.stores.blobs.contract import BlobDamaged
from restante.stores.contract import StoreError
from restante.testing.contracts.blobs import Octets
from tests.needs import only_cpython

TEXT = Octets.part(0, 300_000)
NOISE = random.Random(1).randbytes(300_000)


class Blocks:
    """A blob's octets by blocks; it knows how many were asked for."""

    def __init__(self, octets: bytes, size: int = 10_000) -> None:
        self._octets, self._size = octets, size
        self.given = 0
        self.closed = False

    async def read(self) -> AsyncGenerator[bytes, None]:
        try:
            for start in range(0, len(self._octets), self._size):
                block = self._octets[start : start + self._size]
                self.given += len(block)
                yield block
        finally:
            self.closed = True


def octets_of(found: Compressed) -> bytes:
    with found.file:
        octets = found.file.read()
    assert len(octets) == found.octets
    return octets


def body_of(blob: bytes, encoding: str, octets: int | None = None, size: int = 10_000) -> bytes:
    async def all_of_it() -> bytes:
        blocks = Blocks(blob, size)
        found = b"".join([block async for block in decoded(blocks.read(), encoding, octets)])
        assert blocks.closed
        return found

    return asyncio.run(all_of_it())


@only_cpython
@pytest.mark.parametrize("size", [1, 100, 65_536, 10**6])
def test_text_is_compressed_and_comes_back(size: int) -> None:
    source = BytesIO(TEXT)
    source.seek(99)
    found = compressed(source)
    assert found.encoding == "zstd"
    assert found.octets < len(TEXT) // 4
    assert body_of(octets_of(found), "zstd", len(TEXT), size) == TEXT


@pytest.mark.parametrize("body", [b"", b"short", NOISE], ids=["empty", "short", "noise"])
def test_what_would_not_become_smaller_is_left_as_it_is(body: bytes) -> None:
    source = BytesIO(body)
    found = compressed(source, len(body))
    assert found == Compressed(cast("BinaryIO", source), len(body), "identity")
    assert body_of(octets_of(found), "identity", len(body)) == body


@only_cpython
@pytest.mark.parametrize("body", [b"", b"short", NOISE, TEXT])
def test_the_encoding_can_be_told(body: bytes) -> None:
    found = compressed(BytesIO(body), encoding="zstd")
    assert found.encoding == "zstd"
    assert body_of(octets_of(found), "zstd", len(body)) == body
    assert compressed(BytesIO(body), encoding="identity").encoding == "identity"


@only_cpython
def test_only_so_many_octets_are_taken_as_are_told() -> None:
    found = compressed(BytesIO(TEXT), 5000)
    assert body_of(octets_of(found), found.encoding) == TEXT[:5000]
    with pytest.raises(ValueError, match="1 octets too early"):
        compressed(BytesIO(TEXT), len(TEXT) + 1)


def test_without_the_library_bodies_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> object:
        raise ModuleNotFoundError("No module named 'backports'")

    monkeypatch.setattr(compression, "has_zstd", lambda: False)
    monkeypatch.setattr(compression, "zstd_module", none)
    assert compressed(BytesIO(TEXT)).encoding == "identity"
    with pytest.raises(StoreError, match=r"restante\[zstd\]") as caught:
        compressed(BytesIO(TEXT), encoding="zstd")
    assert caught.value.temporary
    with pytest.raises(StoreError, match=r"restante\[zstd\]"):
        body_of(b"anything", "zstd")


@only_cpython
def test_the_beginning_of_a_large_body_needs_little_of_its_blob() -> None:
    source = Octets(50 * 1024 * 1024)
    blocks = Blocks(octets_of(compressed(cast("BinaryIO", source))), 16_384)

    async def beginning() -> bytes:
        body = decoded(blocks.read(), "zstd", source.octets)
        first = await anext(body)
        await body.aclose()
        return first

    first = asyncio.run(beginning())
    assert first == Octets.part(0, len(first))
    assert len(first) <= 65_536
    assert blocks.given == 16_384
    assert blocks.closed


@only_cpython
def test_little_memory_is_needed_whatever_the_size() -> None:
    source = Octets(64 * 1024 * 1024)
    tracemalloc = pytest.importorskip("tracemalloc", reason="only CPython counts memory so")
    tracemalloc.start()
    try:
        blocks = Blocks(octets_of(compressed(cast("BinaryIO", source))))

        async def count() -> int:
            body = decoded(blocks.read(), "zstd")
            return sum([len(block) async for block in body])

        tracemalloc.reset_peak()
        assert asyncio.run(count()) == source.octets
        assert tracemalloc.get_traced_memory()[1] < 16 * 1024 * 1024
    finally:
        tracemalloc.stop()


@only_cpython
def test_a_frame_that_needs_much_memory_is_refused() -> None:
    module = zstd.zstd_module()
    options = {module.CompressionParameter.window_log: 27}
    blob = module.compress(NOISE * 100, options=options)
    with pytest.raises(BlobDamaged, match="can't be decompressed"):
        body_of(blob, "zstd")


@only_cpython
@pytest.mark.parametrize(
    "damage",
    [
        lambda blob: blob[:-1],
        lambda blob: blob[: len(blob) // 2],
        lambda blob: b"",
        lambda blob: blob + b"x",
        lambda blob: blob + blob,
        lambda blob: b"\0" + blob[1:],
        lambda blob: blob[:1000] + b"\xff" * 50 + blob[1050:],
        lambda blob: b"no zstd at all",
    ],
)
def test_damage_is_found(damage: object) -> None:
    blob = octets_of(compressed(BytesIO(TEXT)))
    for size in (1000, 10**6):
        with pytest.raises(BlobDamaged) as caught:
            body_of(damage(blob), "zstd", len(TEXT), size)  # type: ignore[operator]
        assert caught.value.temporary


@pytest.mark.parametrize("octets", [0, 4, 6, 10**12])
def test_another_length_than_the_bodys_is_found(octets: int) -> None:
    with pytest.raises(BlobDamaged, match=f"a body of {octets} octets has"):
        body_of(b"short", "identity", octets)


def test_an_unknown_encoding_is_told() -> None:
    with pytest.raises(StoreError, match="'br'") as caught:
        body_of(b"", "br")
    assert not caught.value.temporary


@only_cpython
def test_what_is_small_lies_in_no_file() -> None:
    with compressed(BytesIO(TEXT)).file as file:
        assert getattr(file, "_rolled", None) is False
