"""How much a maildrop holds: the file maildirsize, as Courier and Dovecot keep it."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from restante.accounts.account import Account, Quota
from restante.stores.contract import OverQuota, StoreError
from restante.stores.maildir.size_file import MAX_SIZE_FILE
from restante.stores.maildir.store import Maildir
from tests.needs import need
from tests.peers.dovecot import is_24
from tests.stores.maildir.kit import asked, close, commit, opened, put, python

ANNA = Account("anna", quota=Quota(octets=1000, messages=10))
TEN = b"12345678\r\n"


def deliver(store: Maildir, message: bytes = TEN, account: Account = ANNA) -> None:
    incoming = store.receive(account)
    try:
        incoming.write(message)
        incoming.commit()
    finally:
        incoming.abort()


def size_file(root: Path) -> Path:
    return root / "anna" / "maildirsize"


def total(root: Path) -> tuple[int, int]:
    """Octets and messages by the file."""
    lines = [line.split() for line in size_file(root).read_text().splitlines()[1:]]
    return sum(int(line[0]) for line in lines), sum(int(line[1]) for line in lines)


@pytest.fixture
def store(tmp_path: Path) -> Maildir:
    return Maildir(tmp_path, fsync=False)


def test_without_a_quota_there_is_no_file(store: Maildir, tmp_path: Path) -> None:
    free = Account("anna")
    deliver(store, account=free)
    maildrop = opened(store, free)
    commit(maildrop, 1)
    close(maildrop)
    asked(store.admit(free, 10**12))
    assert sorted(each.name for each in (tmp_path / "anna").iterdir()) == [
        "cur", "new", "restante.lock", "tmp"
    ]  # fmt: skip


def test_its_lines_are_those_of_maildir_plus_plus(store: Maildir, tmp_path: Path) -> None:
    deliver(store)
    deliver(store)
    assert size_file(tmp_path).read_text() == "1000S,10C\n0 0\n10 1\n10 1\n"
    maildrop = opened(store, ANNA)
    commit(maildrop, 1, 2)
    close(maildrop)
    assert size_file(tmp_path).read_text().splitlines()[-1] == "-20 -2"
    deliver(store, account=Account("anna", quota=Quota(octets=500)))
    assert size_file(tmp_path).read_text() == "500S\n0 0\n10 1\n"


def test_what_others_have_counted_is_believed(store: Maildir, tmp_path: Path) -> None:
    put(tmp_path, "1600000001.M1P1.host", b"x")
    size_file(tmp_path).write_text("10C,1000S\n        900          3\n80 1\n")
    deliver(store)
    assert total(tmp_path) == (990, 5)
    with pytest.raises(OverQuota, match="11 of 1000"):  # doubted, and made anew
        deliver(store, b"x" * 995)
    assert total(tmp_path) == (11, 2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1000S,10C",
        "999S,10C\n5 5\n",
        "rubbish\n5 5\n",
        "1000S,10C\n5 5\nrubbish\n",
        "1000S,10C\n-5 -5\n",
        "1000S,10C\n" + "1 1\n" * MAX_SIZE_FILE,
        "1000S,10C\n" + "9" * 30 + " 1\n",
    ],
)
def test_what_cannot_be_used_is_made_anew(store: Maildir, tmp_path: Path, text: str) -> None:
    put(tmp_path, "1600000001.M1P1.host,S=100", b"x")  # the name's word is taken
    put(tmp_path, "1600000002.M1P1.host:2,S", b"x" * 50, "cur")
    put(tmp_path, "1600000003.M1P1.host,S=7,W=8", b"x" * 7, "cur", "anna/.Sent")
    put(tmp_path, "1600000004.M1P1.host,S=8", b"x" * 8, "cur", "anna/.Trash")
    size_file(tmp_path).write_text(text)
    deliver(store)
    assert total(tmp_path) == (167, 4)


def test_a_full_count_is_looked_at_again(store: Maildir, tmp_path: Path) -> None:
    put(tmp_path, "1600000001.M1P1.host", b"x" * 20)
    size_file(tmp_path).write_text("1000S,10C\n995 1\n")
    with pytest.raises(OverQuota):  # one line, and young
        deliver(store)
    size_file(tmp_path).write_text("1000S,10C\n995 1\n")
    then = time.time() - 16 * 60
    os.utime(size_file(tmp_path), (then, then))
    asked(store.admit(ANNA, 10))
    deliver(store)
    assert total(tmp_path) == (30, 2)


def test_removed_messages_make_room_although_they_rest(tmp_path: Path) -> None:
    store = Maildir(tmp_path, fsync=False, undelete_days=7)
    deliver(store, b"x" * 900)
    maildrop = opened(store, ANNA)
    commit(maildrop, 1)
    close(maildrop)
    deliver(store, b"x" * 900)
    size_file(tmp_path).unlink()
    with pytest.raises(OverQuota):
        deliver(store, b"x" * 900)
    assert total(tmp_path) == (902, 1)
    assert asked(store.undelete(ANNA, 60)) == 1  # they come back even so
    assert total(tmp_path) == (1804, 2)


class TestHostile:
    @pytest.mark.skipif(os.name == "nt", reason="links take an administrator there")
    @pytest.mark.parametrize("kind", ["link", "hard link", "fifo"])
    def test_what_lies_in_its_place_is_replaced(
        self, store: Maildir, tmp_path: Path, kind: str
    ) -> None:
        put(tmp_path, "1600000001.M1P1.host", b"x")
        other = tmp_path / "other"
        other.write_text("1000S,10C\n0 0\n")
        path = size_file(tmp_path)
        if kind == "link":
            path.symlink_to(other)
        elif kind == "hard link":
            path.hardlink_to(other)
        else:
            os.mkfifo(path)
        deliver(store)
        assert other.read_text() == "1000S,10C\n0 0\n"
        assert path.is_file()
        assert not path.is_symlink()
        assert total(tmp_path) == (11, 2)

    def test_a_folder_in_its_place_is_an_error_and_nothing_is_delivered(
        self, store: Maildir, tmp_path: Path
    ) -> None:
        put(tmp_path, "1600000001.M1P1.host", b"x")
        size_file(tmp_path).mkdir()
        with pytest.raises(StoreError):
            deliver(store)
        assert len(list((tmp_path / "anna" / "new").iterdir())) == 1
        assert list((tmp_path / "anna" / "tmp").iterdir()) == []


WORKER = """
import sys
from restante.accounts.account import Account, Quota
from restante.stores.contract import OverQuota
from restante.stores.maildir.store import Maildir
store, anna = Maildir(sys.argv[1], fsync=False), Account("anna", quota=Quota(messages=50))
sys.stdin.readline()
taken = 0
for number in range(60):
    incoming = store.receive(anna)
    incoming.write(b"x")
    try:
        incoming.commit()
        taken += 1
    except OverQuota:
        pass
print(taken, flush=True)
"""


def test_processes_at_once_do_not_exceed_the_quota(tmp_path: Path) -> None:
    workers = [python(WORKER, tmp_path) for _ in range(3)]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(b"\n")
        worker.stdin.flush()
    taken = [int(worker.communicate(timeout=60)[0]) for worker in workers]
    there = len(list((tmp_path / "anna" / "new").iterdir()))
    assert sum(taken) == there
    assert 48 <= there <= 51  # one line may be lost while the file is made anew


DOVECOT = """
mail_location = maildir:{folder}/mail/anna
mail_plugins = quota
log_path = /dev/stderr
base_dir = {folder}/run
plugin {{
  quota = maildir:User quota
  quota_rule = *:bytes=1000:messages=10
}}
"""


def test_dovecot_counts_in_the_same_file_and_counts_the_same() -> None:
    """Dovecot 2.3; 2.4 has its quotas elsewhere."""
    doveadm = need("doveadm", package="dovecot-core")
    if is_24(need("dovecot", package="dovecot-core")):
        pytest.skip("only Dovecot 2.3 has quotas of Maildir++")
    if os.geteuid() != 0:
        pytest.skip("only root can run Dovecot as it is packaged")
    with tempfile.TemporaryDirectory(prefix="quota-") as name:
        root = Path(name) / "mail"
        store = Maildir(root, fsync=False)
        for _ in range(3):
            deliver(store)
        put(root, "1600000001.M1P1.host:2,S", b"x" * 100, "cur")  # by a program without quotas
        (Path(name) / "conf").write_text(DOVECOT.format(folder=name))
        for path in (Path(name), *Path(name).rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o666)

        def quota(command: str) -> list[str]:
            done = subprocess.run(
                [doveadm, "-c", f"{name}/conf", "quota", command], timeout=60, check=True,
                capture_output=True, text=True, user=65534, group=65534, extra_groups=[],
                env={"HOME": name, "USER": "nobody", "PATH": os.environ["PATH"]},
            )  # fmt: skip
            return done.stdout.split()

        assert "3" in quota("get")  # by our lines, which it believes
        assert size_file(root).read_text() == "1000S,10C\n0 0\n10 1\n10 1\n10 1\n"
        quota("recalc")
        theirs = size_file(root).read_text()
        assert total(root) == (130, 4)
        size_file(root).unlink()
        deliver(store)
        ours = size_file(root).read_text().splitlines()
        assert (ours[:2], ours[2]) == (theirs.splitlines(), "10 1")
