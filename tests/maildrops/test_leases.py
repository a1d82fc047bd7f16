"""Exclusive holds: between threads, between processes, and no longer than these live."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from restante.maildrops.contract import MaildropInUse
from restante.maildrops.leases import LOCK_FILE, Lease
from tests.maildrops.kit import python

HOLDER = """
import sys
from pathlib import Path
from restante.maildrops.leases import Lease
lease = Lease(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.readline()
"""


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    lease = Lease(tmp_path)
    assert lease.holds()
    with pytest.raises(MaildropInUse):
        Lease(tmp_path)
    lease.release()
    lease.release()
    assert not lease.holds()
    Lease(tmp_path).release()


def test_a_lock_file_that_was_left_behind_means_nothing(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_text("4711")
    Lease(tmp_path).release()
    assert (tmp_path / LOCK_FILE).exists()


def test_without_a_folder_there_is_no_lease(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Lease(tmp_path / "nowhere")


def test_the_same_folder_by_another_path(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    lease = Lease(tmp_path / "real")
    with pytest.raises(MaildropInUse):
        Lease(tmp_path / "link")
    lease.release()


def test_of_many_threads_one_gets_it(tmp_path: Path) -> None:
    for _ in range(20):
        barrier = threading.Barrier(8)
        won: list[Lease] = []

        def race(barrier: threading.Barrier = barrier, won: list[Lease] = won) -> None:
            barrier.wait()
            with suppress(MaildropInUse):
                won.append(Lease(tmp_path))

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
    real = Lease._take
    tries: list[int] = []

    def removing(self: Lease, folder: Path) -> None:
        tries.append(1)
        if len(tries) == 1:
            (tmp_path / LOCK_FILE).unlink()
        real(self, folder)

    monkeypatch.setattr(Lease, "_take", removing)
    lease = Lease(tmp_path)
    assert len(tries) == 2
    assert lease.holds()
    monkeypatch.undo()
    with pytest.raises(MaildropInUse):
        Lease(tmp_path)
    lease.release()


def test_a_holder_whose_lock_file_was_removed_knows(tmp_path: Path) -> None:
    lease = Lease(tmp_path)
    (tmp_path / LOCK_FILE).unlink()
    assert not lease.holds()
    other = Lease(tmp_path)
    assert not lease.holds()
    lease.release()
    assert other.holds()
    other.release()


def test_l1_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    process = python(HOLDER, tmp_path)
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(MaildropInUse):
            Lease(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        Lease(tmp_path).release()
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()
        process.stdin.close()


def test_the_clock_is_the_file_systems(tmp_path: Path) -> None:
    lease = Lease(tmp_path)
    assert abs(lease.clock() - time.time_ns()) < 2_000_000_000
    lease.release()
    assert abs(lease.clock() - time.time_ns()) < 2_000_000_000
