"""A node's cache of blobs: what it saves, how much it takes, and that nothing depends on it."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from restante.stores.blobs.cached import LARGEST, CachedBlobs
from restante.stores.blobs.contract import BlobMissing
from restante.stores.blobs.folder import FolderBlobs
from restante.stores.contract import StoreError
from restante.testing.contracts import BlobsContract
from restante.testing.contracts.blobs import Octets

ROOM = 4 * LARGEST
BODY = Octets.part(0, 100_000)


class TestCachedFolder(BlobsContract):
    def make_blobs(self, folder: Path) -> CachedBlobs:
        return CachedBlobs(FolderBlobs(folder / "blobs"), folder / "cache", ROOM)


class Counted(FolderBlobs):
    """Blobs that know what was read of them."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.reads: list[str] = []

    def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        self.reads.append(key)
        return super().read(key, start, end)


class Node:
    """A cache and what is behind it."""

    def __init__(self, folder: Path) -> None:
        self.behind = Counted(folder / "blobs")
        self.blobs = CachedBlobs(self.behind, folder / "cache", ROOM)

    async def put(self, key: str, body: bytes = BODY) -> None:
        await self.blobs.put(key, BytesIO(body), len(body))

    async def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        async with aclosing(self.blobs.read(key, start, end)) as blocks:
            return b"".join([block async for block in blocks])

    def reads(self) -> list[str]:
        """What came from behind since this was asked."""
        reads, self.behind.reads = self.behind.reads, []
        return reads

    def octets(self) -> int:
        """Of the cache's files."""
        return sum(file.stat().st_size for file in self.blobs.folder.rglob("*") if file.is_file())


Use = Callable[[Callable[[Node], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def use(tmp_path: Path) -> Use:
    def using(work: Callable[[Node], Coroutine[Any, Any, None]]) -> None:
        async def running() -> None:
            node = Node(tmp_path)
            try:
                await node.blobs.prepare()
                await work(node)
            finally:
                await node.blobs.aclose()

        asyncio.run(running())

    return using


def test_what_was_read_once_comes_from_the_cache(use: Use) -> None:
    async def work(node: Node) -> None:
        await node.put("1-x")
        assert await node.read("1-x") == BODY
        assert node.reads() == ["1-x"]
        assert await node.read("1-x") == BODY
        assert await node.read("1-x", 10, 5000) == BODY[10:5000]
        assert await node.read("1-x", 99_999) == BODY[99_999:]
        assert await node.read("1-x", 10**6) == b""
        assert node.reads() == []

    use(work)


def test_an_empty_blob_is_kept_too(use: Use) -> None:
    async def work(node: Node) -> None:
        await node.put("1-x", b"")
        assert [await node.read("1-x") for _ in range(2)] == [b"", b""]
        assert node.reads() == ["1-x"]

    use(work)


def test_parts_of_what_is_not_there_pass_by(use: Use) -> None:
    async def work(node: Node) -> None:
        await node.put("1-x")
        for _ in range(2):
            assert await node.read("1-x", 10, 5000) == BODY[10:5000]
            async with aclosing(node.blobs.read("1-x")) as blocks:
                await anext(blocks)
        assert node.reads() == ["1-x"] * 4
        assert not node.blobs.file_of("1-x").exists()

    use(work)


def test_large_ones_pass_by(use: Use) -> None:
    async def work(node: Node) -> None:
        await node.put("1-x", Octets.part(0, LARGEST))
        await node.put("2-x", Octets.part(0, LARGEST + 1))
        for key in ("1-x", "1-x", "2-x", "2-x"):
            await node.read(key)
        assert node.reads() == ["1-x", "2-x", "2-x"]

    use(work)


def test_what_is_removed_is_gone_from_both(use: Use) -> None:
    async def work(node: Node) -> None:
        await node.put("1-x")
        await node.read("1-x")
        await node.blobs.remove("1-x")
        with pytest.raises(BlobMissing):
            await node.read("1-x")

    use(work)


def test_it_is_private(use: Use) -> None:
    async def work(node: Node) -> None:
        await node.put("1-x")
        await node.read("1-x")
        for path in [node.blobs.folder, *node.blobs.folder.rglob("*")]:
            assert path.stat().st_mode & 0o077 == 0

    use(work)


# Room


def test_it_never_takes_more_room_than_it_has(use: Use) -> None:
    async def work(node: Node) -> None:
        for number in range(60):
            await node.put(f"{number}-x")
            await node.read(f"{number}-x")
            assert node.octets() <= ROOM + 32
        assert node.octets() > ROOM // 2

    use(work)


def test_what_was_not_read_for_the_longest_time_goes_first(use: Use) -> None:
    async def work(node: Node) -> None:
        now = time.time()
        for number in range(40):
            await node.put(f"{number}-x")
            await node.read(f"{number}-x")
            os.utime(node.blobs.file_of(f"{number}-x"), (now, now - 10_000 + number))
        await node.read("0-x")  # again
        for number in range(40, 42):
            await node.put(f"{number}-x")
            await node.read(f"{number}-x")
        left = [number for number in range(42) if node.blobs.file_of(f"{number}-x").exists()]
        assert left == [0, *range(left[1], 42)]
        assert 5 < left[1] < 20

    use(work)


def test_room_that_a_killed_process_used_is_found_again(use: Use) -> None:
    async def work(node: Node) -> None:
        abandoned = node.blobs.folder / "tmp-00aa"
        abandoned.write_bytes(bytes(LARGEST))
        os.utime(abandoned, (0, time.time() - 4000))
        (node.blobs.folder / "octets").write_text("rubbish")
        await node.put("1-x")
        await node.read("1-x")
        assert not abandoned.exists()
        size = node.blobs.file_of("1-x").stat().st_size
        assert (node.blobs.folder / "octets").read_text() == str(size)

    use(work)


FILL = """
import asyncio, sys
from pathlib import Path
from restante.stores import CachedBlobs, FolderBlobs

async def fill(folder, number):
    blobs = CachedBlobs(FolderBlobs(folder / "blobs"), folder / "cache", int(sys.argv[3]))
    for turn in range(40):
        key = f"{(turn * 7 + number * 3) % 60}-x"
        body = b"".join([block async for block in blobs.read(key)])
        assert len(body) == 100_000
    await blobs.aclose()

asyncio.run(fill(Path(sys.argv[1]), int(sys.argv[2])))
"""


def test_processes_share_it(tmp_path: Path, use: Use) -> None:
    async def work(node: Node) -> None:
        for number in range(60):
            await node.put(f"{number}-x")
        others = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", FILL, str(tmp_path), str(number), str(ROOM)
            )
            for number in range(3)
        ]
        assert [await other.wait() for other in others] == [0, 0, 0]
        assert ROOM // 2 < node.octets() <= ROOM + 32
        told = int((node.blobs.folder / "octets").read_text())
        assert told == node.octets() - len(str(told))

    use(work)


# Damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes() + b"x"),
        lambda file: file.write_bytes(file.read_bytes().replace(b"0017", b"0018")),
        lambda file: file.write_bytes(bytes(2 * LARGEST)),
        lambda file: file.unlink(),
    ],
)
def test_what_is_damaged_is_read_again(use: Use, damage: Callable[[Path], object]) -> None:
    async def work(node: Node) -> None:
        await node.put("1-x")
        await node.read("1-x")
        damage(node.blobs.file_of("1-x"))
        node.reads()
        assert [await node.read("1-x") for _ in range(2)] == [BODY, BODY]
        assert node.reads() == ["1-x"]

    use(work)


def test_a_file_of_another_blob_is_not_taken(use: Use) -> None:
    async def work(node: Node) -> None:
        for key in ("1-x", "2-x"):
            await node.put(key, key.encode())
            await node.read(key)
        shutil.copy(node.blobs.file_of("1-x"), node.blobs.file_of("2-x"))
        assert await node.read("2-x") == b"2-x"

    use(work)


def test_the_folder_may_vanish(use: Use) -> None:
    async def work(node: Node) -> None:
        await node.put("1-x")
        await node.read("1-x")
        shutil.rmtree(node.blobs.folder)
        node.reads()
        assert [await node.read("1-x") for _ in range(2)] == [BODY, BODY]
        assert node.reads() == ["1-x"]

    use(work)


def test_a_full_disk_only_costs_the_cache(
    use: Use, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def work(node: Node) -> None:
        await node.put("1-x")
        monkeypatch.setattr(Path, "write_bytes", full)
        assert [await node.read("1-x") for _ in range(3)] == [BODY] * 3
        assert node.reads() == ["1-x"] * 3
        assert [*node.blobs.folder.glob("tmp-*")] == []

    use(work)
    assert [record.getMessage().split(" can't ")[1] for record in caplog.records] == [
        "be used as a cache: No space left on device"
    ]


def test_while_another_process_changes_it_nobody_waits(use: Use) -> None:
    fcntl = pytest.importorskip("fcntl", reason="only where there are locks of this kind")

    async def work(node: Node) -> None:
        await node.put("1-x")
        with (node.blobs.folder / "octets").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert await node.read("1-x") == BODY
            assert not node.blobs.file_of("1-x").exists()
        await node.read("1-x")
        assert node.blobs.file_of("1-x").exists()

    use(work)


def test_a_folder_that_cannot_be_used_is_told_at_the_beginning(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")

    async def preparing() -> None:
        node = Node(tmp_path)
        with pytest.raises(StoreError, match=r"cache: (File exists|Not a directory)"):
            await node.blobs.prepare()
        await node.blobs.aclose()

    asyncio.run(preparing())


@pytest.mark.parametrize("octets", [0, -1, LARGEST - 1, 1.5e9, "1 GB"])
def test_room_for_nothing_is_refused(tmp_path: Path, octets: Any) -> None:
    with pytest.raises(ValueError, match="max_octets"):
        CachedBlobs(FolderBlobs(tmp_path), tmp_path / "cache", octets)


def test_a_put_goes_to_what_is_behind(use: Use) -> None:
    class Broken(BytesIO):
        def read(self, _: int | None = -1, /) -> bytes:
            raise OSError(errno.EIO, "broken")

    async def work(node: Node) -> None:
        source: BinaryIO = Broken()
        with pytest.raises(StoreError, match="broken"):
            await node.blobs.put("1-x", source, 10)
        with pytest.raises(BlobMissing):
            await node.read("1-x")

    use(work)
