"""Unique-ids that Courier's POP3 server has left behind, and Dovecot's order."""

from __future__ import annotations

from pathlib import Path

import pytest

from restante.migration.stores import StoreMaildrop, shown_by_dovecot
from restante.migration.unique_ids import UniqueIdFormat
from restante.stores.maildir.store import Maildir
from tests.stores.maildir.kit import ANNA, ids, put

NAMES = [f"170000000{n}.M{n}P1.host" for n in range(1, 6)]


def fill(root: Path) -> None:
    for name in NAMES:
        put(root, f"{name},S=2:2,S", b"x\n", "cur")


@pytest.mark.parametrize(
    ("head", "last"),
    [("/3 99 1600000000", ":0"), ("/3 99 1600000000", ":1"), ("/2 99 1600000000", "")],
)
def test_messages_have_the_unique_ids_that_courier_gave_them(
    tmp_path: Path, head: str, last: str
) -> None:
    fill(tmp_path)
    lines = [
        head,
        f"{NAMES[0]},S=2:2,S 3 7:1600000000{last}",
        f"{NAMES[1]},S=2:2, 3 8:0{last}",
        f"{NAMES[2]},S=2:2,RS 3 0:0{last}",
        "nonsense",
        f"{NAMES[3]} three 9:1{last}",
    ]
    (tmp_path / "anna" / "courierpop3dsizelist").write_text("\n".join(lines) + "\n")
    store = Maildir(tmp_path, unique_ids="courier", fsync=False)
    assert ids(store) == ["UID7-1600000000", "UID8", *NAMES[2:]]
    assert list(store.look(ANNA).listing.unique_ids) == ids(store)


def test_without_courier_s_list_messages_have_their_own(tmp_path: Path) -> None:
    fill(tmp_path)
    assert ids(Maildir(tmp_path, unique_ids="courier", fsync=False)) == NAMES
    for head in ("", "/1 5", "/3 x", "3 V1 N2"):
        (tmp_path / "anna" / "courierpop3dsizelist").write_text(f"{head}\n{NAMES[0]} 3 7:1:0\n")
        assert ids(Maildir(tmp_path, unique_ids="courier", fsync=False)) == NAMES


DOVECOT_LIST = f"""3 V1700000000 N9 Gabc
3 :{NAMES[0]},S=2
1 Gguid1 :{NAMES[1]},S=2
2 W4 Psaved :{NAMES[2]},S=2
7 O2 :{NAMES[3]},S=2
8 O1 :{NAMES[4]},S=2
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "%08Xu%08Xv",
            ["000000086553f100", "000000076553f100", "000000016553f100", "saved",
             "000000036553f100"],
        ),
        ("UID%u-%v", ["UID8-1700000000", "UID7-1700000000", "UID1-1700000000", "saved",
                      "UID3-1700000000"]),
        ("%g", [f"{NAMES[4]},S=2", f"{NAMES[3]},S=2", "guid1", "saved", f"{NAMES[0]},S=2"]),
    ],
)  # fmt: skip
def test_dovecot_s_messages_are_moved_in_its_order_by_its_format(
    tmp_path: Path, text: str, expected: list[str]
) -> None:
    fill(tmp_path)
    (tmp_path / "anna" / "dovecot-uidlist").write_text(DOVECOT_LIST)
    store = Maildir(tmp_path, unique_ids="dovecot", fsync=False)
    shown = shown_by_dovecot(store, UniqueIdFormat(text))(ANNA)
    maildrop = StoreMaildrop(store.look(ANNA), shown)
    assert list(maildrop.listing.unique_ids) == expected
    assert not maildrop.mapped


def test_the_names_of_maildrops_are_found_by_the_template(tmp_path: Path) -> None:
    for folder in ("example.org/joe", "example.org/an%20n", "example.net/joe", "example.org/x.y"):
        (tmp_path / folder / "cur").mkdir(parents=True)
    (tmp_path / "example.org" / "nothing").mkdir()
    (tmp_path / "file").write_text("")
    store = Maildir(tmp_path, template="{domain}/{user}")
    assert store.maildrops() == [
        "an n@example.org", "joe@example.net", "joe@example.org", "x.y@example.org"
    ]  # fmt: skip
    assert Maildir(tmp_path / "example.org").maildrops() == ["an n", "joe", "x.y"]
    assert Maildir(tmp_path, template="example.org/{user}").maildrops() == ["an n", "joe", "x.y"]
    assert Maildir(tmp_path / "none").maildrops() == []
