"""Exclusive holds: between threads, between processes, and no longer than these live."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from restante.stores.contract import MaildropInUse
from restante.stores.maildir import lease as leases
from restante.stores.maildir.lease import LOCK_FILE, FolderLease
from tests.stores.maildir.kit import python

HOLDER = """
import sys
from pathlib import Path
from restante.stores.maildir.lease import FolderLease
lease = FolderLease(sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
"""


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    lease = FolderLease(str(tmp_path))
    assert not lease.lost
    with pytest.raises(MaildropInUse):
        FolderLease(str(tmp_path))
    lease.release()
    lease.release()
    assert lease.lost
    FolderLease(str(tmp_path)).release()


def test_a_lock_file_that_was_left_behind_means_nothing(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_text("4711")
    FolderLease(str(tmp_path)).release()
    assert (tmp_path / LOCK_FILE).exists()


def test_without_a_folder_there_is_no_lease(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FolderLease(str(tmp_path / "nowhere"))


def test_the_same_folder_by_another_path(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    lease = FolderLease(str(tmp_path / "real"))
    with pytest.raises(MaildropInUse):
        FolderLease(str(tmp_path / "link"))
    lease.release()


def test_of_many_threads_one_gets_it(tmp_path: Path) -> None:
    for _ in range(20):
        barrier = threading.Barrier(8)
        won: list[FolderLease] = []

        def race(barrier: threading.Barrier = barrier, won: list[FolderLease] = won) -> None:
            barrier.wait()
            with suppress(MaildropInUse):
                won.append(FolderLease(str(tmp_path)))

        threads = [threading.Thread(target=race) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        won[0].release()


def test_a_lock_file_replaced_between_opening_and_locking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = FolderLease._take
    tries: list[int] = []

    def removing(self: FolderLease, fd: int) -> None:
        tries.append(1)
        if len(tries) == 1:
            (tmp_path / LOCK_FILE).unlink()
        real(self, fd)

    monkeypatch.setattr(FolderLease, "_take", removing)
    lease = FolderLease(str(tmp_path))
    assert len(tries) == 2
    assert not lease.lost
    monkeypatch.undo()
    with pytest.raises(MaildropInUse):
        FolderLease(str(tmp_path))
    lease.release()


def test_a_holder_whose_lock_file_was_removed_knows(tmp_path: Path) -> None:
    lease = FolderLease(str(tmp_path))
    (tmp_path / LOCK_FILE).unlink()
    assert lease.lost
    other = FolderLease(str(tmp_path))
    assert lease.lost
    lease.release()
    assert not other.lost
    other.release()


def test_l1_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    process = python(HOLDER, tmp_path)
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(MaildropInUse):
            FolderLease(str(tmp_path))
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        FolderLease(str(tmp_path)).release()
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()
        process.stdin.close()


def test_the_clock_is_the_file_systems(tmp_path: Path) -> None:
    lease = FolderLease(str(tmp_path))
    assert abs(lease.clock() - time.time_ns()) < 2_000_000_000
    lease.release()
    assert abs(lease.clock() - time.time_ns()) < 2_000_000_000


def descriptors(path: Path) -> list[int]:
    """Those of this process that have the file open."""
    found = []
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if each.readlink() == path:
                found.append(int(each.name))
    return found


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")


class TestKeptOpen:
    """Lock files stay open between sessions, and that is all that there is to see of it."""

    @pytest.fixture(autouse=True)
    def _none_at_first(self) -> None:
        leases.close_idle()

    @needs_proc
    def test_the_same_file_is_used_again(self, tmp_path: Path) -> None:
        FolderLease(str(tmp_path)).release()
        one = descriptors(tmp_path / LOCK_FILE)
        assert len(one) == 1
        for _ in range(3):
            lease = FolderLease(str(tmp_path))
            assert descriptors(tmp_path / LOCK_FILE) == one
            lease.release()
            lease.release()
        leases.close_idle()
        assert descriptors(tmp_path / LOCK_FILE) == []

    def test_it_is_locked_again(self, tmp_path: Path) -> None:
        FolderLease(str(tmp_path)).release()
        lease = FolderLease(str(tmp_path))
        assert not lease.lost
        for _ in range(2):
            with pytest.raises(MaildropInUse):
                FolderLease(str(tmp_path))
        lease.release()
        assert lease.lost
        FolderLease(str(tmp_path)).release()

    def test_another_process_holds_it(self, tmp_path: Path) -> None:
        FolderLease(str(tmp_path)).release()
        process = python(HOLDER, tmp_path)
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            assert process.stdout.readline() == b"held\n"
            for _ in range(2):
                with pytest.raises(MaildropInUse):
                    FolderLease(str(tmp_path))
        finally:
            process.kill()
            process.wait(10)
            process.stdout.close()
            process.stdin.close()
        FolderLease(str(tmp_path)).release()

    @needs_proc
    @pytest.mark.parametrize("again", [False, True])
    def test_a_file_that_was_replaced_meanwhile(self, tmp_path: Path, again: bool) -> None:
        FolderLease(str(tmp_path)).release()
        old = descriptors(tmp_path / LOCK_FILE)
        (tmp_path / LOCK_FILE).rename(tmp_path / "old")
        if again:
            (tmp_path / LOCK_FILE).touch()
        lease = FolderLease(str(tmp_path))
        assert not lease.lost
        assert descriptors(tmp_path / "old") == []
        with pytest.raises(MaildropInUse):
            FolderLease(str(tmp_path))
        lease.release()
        assert len(descriptors(tmp_path / LOCK_FILE)) == len(old) == 1

    def test_a_folder_that_was_removed_meanwhile(self, tmp_path: Path) -> None:
        folder = tmp_path / "anna"
        folder.mkdir()
        FolderLease(str(folder)).release()
        (folder / LOCK_FILE).unlink()
        folder.rmdir()
        with pytest.raises(FileNotFoundError):
            FolderLease(str(folder))
        folder.mkdir()
        lease = FolderLease(str(folder))
        assert not lease.lost
        lease.release()

    def test_the_same_folder_by_another_path(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        for path in ("real", "link"):
            FolderLease(str(tmp_path / path)).release()
        for one, other in (("real", "link"), ("link", "real")):
            lease = FolderLease(str(tmp_path / one))
            with pytest.raises(MaildropInUse):
                FolderLease(str(tmp_path / other))
            assert not lease.lost
            lease.release()

    @needs_proc
    def test_the_one_used_longest_ago_is_closed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(leases, "_idle_limit", lambda: 2)
        for name in "abacd":
            (tmp_path / name).mkdir(exist_ok=True)
            FolderLease(str(tmp_path / name)).release()
        kept = [name for name in "abcd" if descriptors(tmp_path / name / LOCK_FILE)]
        assert kept == ["c", "d"]

    def test_no_more_than_an_eighth_of_the_descriptors(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for limit, kept in ((64, 8), (10**6, leases.MAX_IDLE), (7, 0)):
            monkeypatch.setattr(leases, "_descriptors", lambda limit=limit: limit)
            leases._idle_limit.cache_clear()
            assert leases._idle_limit() == kept
        FolderLease(str(tmp_path)).release()
        assert not leases._idle
        leases._idle_limit.cache_clear()

    def test_when_descriptors_run_out_those_kept_are_given_up(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in "ab":
            (tmp_path / name).mkdir()
        FolderLease(str(tmp_path / "a")).release()
        real = os.open

        def scarce(path: str, flags: int, mode: int = 0o777) -> int:
            if leases._idle:
                raise OSError(errno.EMFILE, "Too many open files", path)
            return real(path, flags, mode)

        monkeypatch.setattr(os, "open", scarce)
        lease = FolderLease(str(tmp_path / "b"))
        assert not lease.lost
        lease.release()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork there")
    def test_a_forked_child_has_nothing_of_its_parents(self, tmp_path: Path) -> None:
        """And its parent's lease doesn't outlive the parent in it."""
        process = python(FORKING, tmp_path)
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            assert process.stdout.readline() == b"child: in use, False, 0 open\n"
            assert process.stdout.readline() == b"parent: True\n"
            process.kill()
            process.wait(10)
            FolderLease(str(tmp_path / "held")).release()
        finally:
            process.kill()
            process.wait(10)
            process.stdin.close()  # the child ends
            assert process.stdout.read() == b""
            process.stdout.close()


FORKING = """
import os, sys
from pathlib import Path
from restante.stores.maildir import lease as leases
from restante.stores.maildir import lease as leases
from restante.stores.contract import MaildropInUse
from restante.stores.maildir.lease import FolderLease
root = Path(sys.argv[1])
for name in ("held", "idle"):
    (root / name).mkdir()
lease = FolderLease(str(root / "held"))
FolderLease(str(root / "idle")).release()
ready, told = os.pipe()
if os.fork() == 0:
    held = not lease.lost
    lease.release()
    open = sum(name.endswith(".lock") for name in map(os.readlink, (
        f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")
        if os.path.islink(f"/proc/self/fd/{fd}")
    ))) if os.path.isdir("/proc/self/fd") else 0
    try:
        FolderLease(str(root / "held"))
    except MaildropInUse:
        print(f"child: in use, {held}, {open} open", flush=True)
    FolderLease(str(root / "idle")).release()
    os.write(told, b"x")
    sys.stdin.readline()
    os._exit(0)
os.read(ready, 1)
print(f"parent: {not lease.lost}", flush=True)
sys.stdin.readline()
"""
