"""U5: unique-ids that clients know from another server stay what they are."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.protocol.listing import valid_unique_id
from restante.stores.contract import MaildropInUse
from restante.stores.maildir.dovecot import UIDLIST_FILE, read_uidlist
from restante.stores.maildir.index import INDEX_FILE
from restante.stores.maildir.pins import PINS_FILE, read_pins, write_pins
from restante.stores.maildir.store import Maildir
from tests.needs import need
from tests.peers.dovecot import START_24, is_24
from tests.stores.maildir.kit import ANNA, close, commit, ids, opened, put

POP3 = Path("/usr/lib/dovecot/pop3")

UIDLIST = """\
3 V1795360031 N9 Ge83095231f05036b5221000083ecc375
1 W17 :1700000000.M1P1.host
2 W17 :1700000001.M1P1.host,S=14
11 G0123456789abcdef0123456789abcdef Pcustom.id-77 W17 :1700000002.M1P1.host,S=14,W=17
"""


def dovecot_maildir(root: Path) -> None:
    put(root, "1700000000.M1P1.host", b"Subject: a\n\nx\n")
    put(root, "1700000001.M1P1.host,S=14:2,S", b"Subject: b\n\nx\n", "cur")
    put(root, "1700000002.M1P1.host,S=14,W=17:2,", b"Subject: c\n\nx\n", "cur")
    put(root, "1700000003.M1P1.host", b"Subject: d\n\nx\n")
    (root / "anna" / UIDLIST_FILE).write_text(UIDLIST)


DOVECOT_IDS = ["000000016b03051f", "000000026b03051f", "custom.id-77", "1700000003.M1P1.host"]


def test_messages_keep_dovecots_ids_and_others_have_their_own(tmp_path: Path) -> None:
    dovecot_maildir(tmp_path)
    assert ids(Maildir(tmp_path, unique_ids="dovecot")) == DOVECOT_IDS


def test_own_ids_are_the_rule(tmp_path: Path) -> None:
    dovecot_maildir(tmp_path)
    assert ids(Maildir(tmp_path)) == [f"170000000{n}.M1P1.host" for n in range(4)]
    assert not (tmp_path / "anna" / PINS_FILE).exists()
    assert ids(Maildir(tmp_path, unique_ids="dovecot")) == DOVECOT_IDS


def test_once_given_they_stay(tmp_path: Path) -> None:
    dovecot_maildir(tmp_path)
    ids(Maildir(tmp_path, unique_ids="dovecot"))
    (tmp_path / "anna" / UIDLIST_FILE).write_text(
        UIDLIST.replace("V1795360031", "V5") + "12 :1700000003.M1P1.host\n"
    )
    (tmp_path / "anna" / INDEX_FILE).unlink()
    (tmp_path / "anna/new/1700000003.M1P1.host").rename(
        tmp_path / "anna/cur/1700000003.M1P1.host:2,S"
    )
    assert ids(Maildir(tmp_path, unique_ids="dovecot")) == DOVECOT_IDS
    (tmp_path / "anna" / UIDLIST_FILE).unlink()
    (tmp_path / "anna" / INDEX_FILE).unlink()
    assert ids(Maildir(tmp_path, unique_ids="dovecot")) == DOVECOT_IDS
    assert ids(Maildir(tmp_path)) == DOVECOT_IDS


def test_u3_dovecots_duplicates_are_told_apart(tmp_path: Path) -> None:
    put(tmp_path, "1.x", b"x\n")
    put(tmp_path, "2.x", b"x\n")
    (tmp_path / "anna" / UIDLIST_FILE).write_text("3 V1 N3\n1 Pdup :1.x\n2 Pdup :2.x\n")
    first = ids(Maildir(tmp_path, unique_ids="dovecot"))
    assert first[0] == "dup"
    assert len(set(first)) == 2
    (tmp_path / "anna/new/1.x").unlink()
    (tmp_path / "anna" / INDEX_FILE).unlink()
    assert ids(Maildir(tmp_path, unique_ids="dovecot")) == first[1:]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1 7 3\n1 1.x\n2 2.x:2,S\n", {"1.x": "0000000100000007", "2.x": "0000000200000007"}),
        ("3 V7 N3\n1 :1.x\n2 :2.x", {"1.x": "0000000100000007"}),
        ("3 V7 N3\n1 :a b\n", {"a b": "0000000100000007"}),
        ("3 V7 N3\nx :1.x\n\n5\n6 W1 :\n", {}),
        ("3 N3\n1 :1.x\n", {}),
        ("", {}),
        ("junk\n1 :1.x\n", {}),
    ],
)
def test_forms_of_the_list(tmp_path: Path, text: str, found: dict[str, str]) -> None:
    (tmp_path / UIDLIST_FILE).write_text(text)
    assert read_uidlist(str(tmp_path)) == found


@given(st.binary(max_size=200))
def test_any_list_gives_valid_ids(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    root = tmp_path_factory.mktemp("mail")
    put(root, "1.x", b"x\n")
    put(root, "2.x", b"x\n")
    (root / "anna" / UIDLIST_FILE).write_bytes(b"3 V1 N2\n1 P" + junk + b" :1.x\n" + junk)
    found = ids(Maildir(root, unique_ids="dovecot", fsync=False))
    assert len(set(found)) == 2
    assert all(map(valid_unique_id, found))


@pytest.mark.peer
@pytest.mark.skipif(not POP3.exists() or os.getuid() != 0, reason="needs Dovecot and root")
def test_dovecot_gives_the_same(tmp_path: Path) -> None:
    dovecot_maildir(tmp_path)
    (tmp_path / "anna" / UIDLIST_FILE).unlink()
    for path in (tmp_path / "anna").parents[: len(tmp_path.parts) - 2]:
        path.chmod(0o755)
    for path in (tmp_path / "anna", *(tmp_path / "anna").rglob("*")):
        os.chown(path, 65534, 65534)
    config = tmp_path / "dovecot.conf"
    where = f"mail_location = maildir:{tmp_path}/anna\n"
    if is_24(need("dovecot", package="dovecot-core")):
        where = f"{START_24}mail_driver = maildir\nmail_path = {tmp_path}/anna\n"
    config.write_text(
        f"{where}mail_uid = 65534\nmail_gid = 65534\n"
        f"first_valid_uid = 0\nbase_dir = {tmp_path}/run\nlog_path = {tmp_path}/log\n"
    )
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", POP3, "-k", "-c", config],
        input=b"UIDL\r\nQUIT\r\n",
        capture_output=True,
        env={**os.environ, "USER": "anna", "HOME": str(tmp_path)},
        timeout=30,
        check=False,
    )
    lines = [line.split() for line in done.stdout.decode().splitlines()]
    theirs = [line[1] for line in lines if len(line) == 2 and line[0].isdigit()]
    assert len(theirs) == 4, done
    assert ids(Maildir(tmp_path, unique_ids="dovecot")) == theirs


class TestPin:
    def test_messages_there_and_to_come(self, tmp_path: Path) -> None:
        put(tmp_path, "1.x,S=2:2,S", b"x\n", "cur")
        store = Maildir(tmp_path)
        assert ids(store) == ["1.x"]
        store.pin(ANNA, {"1.x,S=2": "old-1", "2.x:2,S": "old-2"})
        assert ids(store) == ids(Maildir(tmp_path)) == ["old-1"]
        put(tmp_path, "2.x", b"x\n")
        (tmp_path / "anna" / INDEX_FILE).unlink()
        assert ids(store) == ids(Maildir(tmp_path)) == ["old-1", "old-2"]

    def test_a_pin_that_is_anothers_own_id(self, tmp_path: Path) -> None:
        put(tmp_path, "1.x", b"x\n")
        put(tmp_path, "2.x", b"x\n")
        store = Maildir(tmp_path)
        store.pin(ANNA, {"2.x": "1.x"})
        found = ids(store)
        assert found[1] == "1.x"
        assert found[0].startswith("h")
        maildrop = opened(store)
        commit(maildrop, 2)
        close(maildrop)
        assert ids(Maildir(tmp_path)) == found[:1]

    @pytest.mark.parametrize(
        "pins", [{"1.x": "a b"}, {"1.x": ""}, {"1.x": "x" * 71}, {"1.x": "a", "2.x": "a"}]
    )
    def test_what_cannot_be_pinned(self, tmp_path: Path, pins: dict[str, str]) -> None:
        store = Maildir(tmp_path)
        with pytest.raises(ValueError, match="unique-id"):
            store.pin(ANNA, pins)
        store.pin(ANNA, {"9.x": "a"})
        with pytest.raises(ValueError, match="two messages"):
            store.pin(ANNA, {"1.x": "a"})
        assert read_pins(str(tmp_path / "anna")) == {"9.x": "a"}

    def test_not_during_a_session(self, tmp_path: Path) -> None:
        store = Maildir(tmp_path)
        maildrop = opened(store)
        with pytest.raises(MaildropInUse):
            store.pin(ANNA, {"1.x": "a"})
        close(maildrop)


unique_id = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=70)
base = st.text(st.characters(codec=None, exclude_characters="\0/"), min_size=1, max_size=20)


@given(st.dictionaries(base, unique_id, max_size=5), st.dictionaries(base, unique_id, max_size=5))
def test_pins_are_kept(
    tmp_path_factory: pytest.TempPathFactory, one: dict[str, str], other: dict[str, str]
) -> None:
    folder = tmp_path_factory.mktemp("pins")
    write_pins(str(folder), one)
    write_pins(str(folder), other)
    assert read_pins(str(folder)) == {**one, **other}
    write_pins(str(folder), {}, alive=list(other))
    assert read_pins(str(folder)) == other


def test_a_torn_line_is_no_pin(tmp_path: Path) -> None:
    write_pins(str(tmp_path), {"1.x": "a", "2.x": "b"})
    path = tmp_path / PINS_FILE
    path.write_bytes(path.read_bytes()[:-2])
    assert read_pins(str(tmp_path)) == {"1.x": "a"}


def test_pins_of_messages_long_gone_are_dropped(tmp_path: Path) -> None:
    put(tmp_path, "1.x", b"x\n")
    put(tmp_path, "5000.x", b"x\n")
    store = Maildir(tmp_path, unique_ids="dovecot")
    store.pin(ANNA, {f"{n}.x": f"id{n}" for n in range(2000)})
    assert ids(store) == ["id1", "5000.x"]
    assert read_pins(str(tmp_path / "anna")) == {"1.x": "id1", "5000.x": "5000.x"}
