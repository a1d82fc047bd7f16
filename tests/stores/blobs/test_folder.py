"""Blobs as files: the contract, and what only files can show."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable, Coroutine
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from restante.stores.blobs.folder import LEFT_BEHIND, FolderBlobs
from restante.stores.contract import StoreError
from restante.testing.contracts import BlobsContract


class TestFolderBlobs(BlobsContract):
    def make_blobs(self, folder: Path) -> FolderBlobs:
        return FolderBlobs(folder / "deep" / "blobs")


def using(
    folder: Path,
    work: Callable[[FolderBlobs], Coroutine[Any, Any, object]],
    *,
    prepare: bool = True,
) -> None:
    async def run() -> None:
        blobs = FolderBlobs(folder)
        try:
            if prepare:
                await blobs.prepare()
            await work(blobs)
        finally:
            await blobs.aclose()

    asyncio.run(run())


def files_of(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def test_each_lies_two_folders_deep_and_is_only_its_owners_to_read(tmp_path: Path) -> None:
    async def put(blobs: FolderBlobs) -> None:
        for number in range(20):
            await blobs.put(f"{number}-x", BytesIO(b"body"), 4)

    using(tmp_path / "blobs", put)
    found = files_of(tmp_path / "blobs")
    assert len(found) == 20
    assert {len(path.parts) for path in found} == {3}
    for path in (tmp_path / "blobs").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0


def test_it_works_without_being_prepared(tmp_path: Path) -> None:
    async def put(blobs: FolderBlobs) -> None:
        await blobs.put("1-x", BytesIO(b"body"), 4)

    using(tmp_path / "blobs", put, prepare=False)
    assert len(files_of(tmp_path / "blobs")) == 1


def test_a_blob_and_its_name_are_durable_before_put_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noting(fd: int) -> None:
        synced.append(os.path.relpath(Path(f"/proc/self/fd/{fd}").readlink(), tmp_path))
        fsync(fd)

    async def put(blobs: FolderBlobs) -> None:
        monkeypatch.setattr(os, "fsync", noting)
        await blobs.put("1-x", BytesIO(b"body"), 4)
        file = blobs.file_of("1-x")
        first, second = file.parents[1].name, file.parents[0].name
        assert synced[0].startswith("tmp/1-x.")
        assert synced[1:] == [".", first, f"{first}/{second}"]
        synced.clear()
        await blobs.put("1-x", BytesIO(b"body"), 4)  # its first put may not have come so far
        assert synced == [f"{first}/{second}"]

    if not Path("/proc/self/fd").exists():
        pytest.skip("only Linux tells the file of a descriptor")
    using(tmp_path, put)


def test_preparing_removes_what_was_left_behind_long_ago(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    old, new = tmp_path / "tmp" / "1-x.aa", tmp_path / "tmp" / "2-x.bb"
    for file in (old, new):
        file.write_bytes(b"a part")
    os.utime(old, (0, time.time() - LEFT_BEHIND - 60))

    async def nothing(_: FolderBlobs) -> None:
        pass

    using(tmp_path, nothing)
    assert files_of(tmp_path) == [Path("tmp/2-x.bb")]


def test_what_a_start_that_was_killed_leaves_is_removed_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows its file: it must lie where such files are looked for."""

    def killed(*_: object) -> None:
        raise SystemExit

    async def prepare(blobs: FolderBlobs) -> None:
        monkeypatch.setattr(blobs, "_remove", killed)
        with pytest.raises(SystemExit):
            blobs._prepare()

    using(tmp_path, prepare, prepare=False)
    (left,) = files_of(tmp_path)
    assert left.parts[0] == "tmp"


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")

    async def read(blobs: FolderBlobs) -> None:
        file = blobs.file_of("1-x")
        file.parent.mkdir(parents=True)
        file.symlink_to(tmp_path / "secret")
        with pytest.raises(StoreError, match="1-x"):
            await anext(blobs.read("1-x"))

    using(tmp_path / "blobs", read)


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def prepare(blobs: FolderBlobs) -> None:
        with pytest.raises(StoreError, match=r"file.*Not a directory|File exists"):
            await blobs.prepare()

    using(tmp_path / "file", prepare, prepare=False)


@pytest.mark.parametrize(
    ("number", "text"),
    [(errno.ENOSPC, "No space left"), (errno.EIO, "Input/output"), (errno.EPERM, "hard links")],
)
def test_what_the_disk_refuses_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, text: str
) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    async def put(blobs: FolderBlobs) -> None:
        if number == errno.EPERM:
            monkeypatch.setattr(Path, "hardlink_to", refused)
        else:
            monkeypatch.setattr(os, "fsync", refused)
        with pytest.raises(StoreError, match=text) as caught:
            await blobs.put("1-x", BytesIO(b"body"), 4)
        assert caught.value.temporary

    using(tmp_path, put)
    assert files_of(tmp_path) == []


def test_a_file_system_that_writes_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_bytes", lambda _: b"something else")

    async def prepare(blobs: FolderBlobs) -> None:
        with pytest.raises(StoreError, match="not what was just written"):
            await blobs.prepare()

    using(tmp_path, prepare, prepare=False)
