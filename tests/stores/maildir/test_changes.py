"""What has changed is found without a look at the rest, and is what a look at all finds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restante.stores.maildir import measured, scan
from restante.stores.maildir.file_names import delivery_order
from restante.stores.maildir.files import Folder
from restante.stores.maildir.index import INDEX_FILE
from restante.stores.maildir.packed_text import CHUNK
from restante.stores.maildir.store import Maildir
from tests.stores.maildir.kit import close, count_calls, ids, opened, put, read, settle

COUNT = 2 * CHUNK + 10


def fill(root: Path, count: int = COUNT) -> None:
    """Messages in new/ and cur/ by turns, times a second apart."""
    for number in range(count):
        sub, flags = ("cur", ":2,S") if number % 3 == 0 else ("new", "")
        put(root, f"{1000 + number}.x{flags}", b"%d\n.dot\n" % number, sub)
    settle(root)


def message_files(root: Path) -> list[Path]:
    return sorted(path for sub in ("new", "cur") for path in (root / "anna" / sub).iterdir())


def what_is_there(store: Maildir) -> list[tuple[str, int, bytes]]:
    maildrop = opened(store)
    found = [
        (unique_id, maildrop.listing.octets[row], read(maildrop, row + 1))
        for row, unique_id in enumerate(maildrop.listing.unique_ids)
    ]
    listing = maildrop.listing
    assert listing.total == sum(listing.octets)
    lines = [f"{row} {octets}\r\n" for row, (_, octets, _) in enumerate(found, 1)]
    assert listing.scan_block() == "".join(lines).encode()
    close(maildrop)
    return found


def test_changes_of_each_kind_need_no_look_at_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path)
    store = Maildir(tmp_path)
    before = ids(store)
    folder = tmp_path / "anna"
    (folder / "new/1100.x").rename(folder / "cur/1100.x:2,RS")
    (folder / "cur/1090.x:2,S").rename(folder / "cur/1090.x:2,FS")
    (folder / "new/1130.x").unlink()
    put(tmp_path, "1120.between", b"between\n")
    put(tmp_path, "2000.last", b"last\n")
    (folder / "new/2001.folder").mkdir()
    put(tmp_path, ".2002.hidden", b"x\n")
    settle(tmp_path)
    monkeypatch.setattr(scan.Notes, "add", None)
    reads = count_calls(monkeypatch, "read")
    found = what_is_there(store)
    assert len(reads) == len(found) + 2
    at = before.index("1120.x")
    expected = [*before[:at], "1120.between", *before[at:], "2000.last"]
    expected.remove("1130.x")
    assert [unique_id for unique_id, _, _ in found] == expected
    assert found[at - 20][2] == b"100\n.dot\n"
    assert what_is_there(Maildir(tmp_path)) == found


@pytest.mark.parametrize("changed", ["new", "cur"])
def test_a_folder_that_has_not_changed_is_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    fill(tmp_path)
    store = Maildir(tmp_path)
    ids(store)
    put(tmp_path, "2000.x", b"x\n", changed)
    listed: list[str] = []
    real = Folder.names

    def names(folder: Folder, most: int | None = None) -> list[str]:
        listed.append(Path(folder.path).name)
        return real(folder, most)

    monkeypatch.setattr(Folder, "names", names)
    assert len(ids(store)) == COUNT + 1
    assert set(listed) - {"tmp"} == {changed}


def test_what_is_moved_while_it_is_looked_for_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path)
    store = Maildir(tmp_path)
    before = ids(store)
    put(tmp_path, "2000.x", b"x\n")
    folder = tmp_path / "anna"
    real = os.listdir

    def moving(fd: int) -> list[str]:
        if (folder / "new/1001.x").exists():
            (folder / "new/1001.x").rename(folder / "cur/1001.x:2,S")
        return real(fd)

    monkeypatch.setattr(os, "listdir", moving)
    assert ids(store) == [*before, "2000.x"]


def test_a_message_that_cannot_be_read_is_left_out_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path)
    store = Maildir(tmp_path)
    before = ids(store)
    put(tmp_path, "2000.x", b"x\n")
    settle(tmp_path)

    def failing(fd: int, about: os.stat_result, name: str) -> None:
        raise PermissionError(13, "no")

    monkeypatch.setattr(scan, "measure_open", failing)
    assert ids(store) == before
    monkeypatch.undo()
    assert ids(store) == [*before, "2000.x"]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["come", "flag", "move", "back", "gone", "sizes", "namesake", "twice"]),
        st.integers(0, 10_000),
    ),
    max_size=6,
)


def step(root: Path, what: str, dice: int) -> None:
    """Change something, as other programs do."""
    there = message_files(root)
    path = there[dice % len(there)]
    base, _, flags = path.name.partition(":")
    cur, new = root / "anna/cur", root / "anna/new"
    # Another message that takes a base name over is not what base names are for.
    alone = sum(other.name.partition(":")[0] == base for other in there) == 1
    match what:
        case "come":
            put(root, f"{1000 + dice % 200}.new{dice}", b"new %d\n" % dice)
        case "flag":
            path.rename(cur / f"{base}:2,F{dice}")
        case "move":
            path.rename(cur / f"{base}:2,")
        case "back":
            path.rename(new / base)
        case "gone" if alone:
            path.unlink()
        case "sizes" if alone:
            path.rename(path.with_name(f"{base},S=9{flags and ':' + flags}"))
        case "namesake" if alone:
            put(root, f"{base}:2,T{dice}", b"another %d\n" % dice, "cur")
        case "twice" if alone:
            os.link(path, cur / f"{base}:2,D")


@settings(max_examples=30)
@given(st.lists(STEPS, min_size=1, max_size=3), st.booleans())
def test_it_is_what_a_look_at_all_finds(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[list[tuple[str, int]]], remembered: bool
) -> None:
    root = tmp_path_factory.mktemp("mail")
    fill(root)
    store = Maildir(root, fsync=False)
    ids(store)
    for steps in rounds:
        for what, dice in steps:
            step(root, what, dice)
        settle(root)
        if not remembered:
            store = Maildir(root, fsync=False)
        found = what_is_there(store)
        (root / "anna" / INDEX_FILE).unlink(missing_ok=True)
        assert what_is_there(Maildir(root, fsync=False)) == found
        assert len(found) == len({path.stat().st_ino for path in message_files(root)})


class TestFirstSight:
    """A result that took long is saved before the session ends, and on the way to it."""

    def test_much_is_saved_at_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("restante.stores.maildir.store.MANY", COUNT)
        fill(tmp_path)
        maildrop = opened(Maildir(tmp_path))
        assert (tmp_path / "anna" / INDEX_FILE).exists()
        monkeypatch.setattr(scan, "measure_open", None)
        assert maildrop.close() is None
        assert len(ids(Maildir(tmp_path))) == COUNT

    def test_a_crash_on_the_way_undoes_little(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scan, "SAVE_EVERY", 50)
        fill(tmp_path)
        names: list[str] = []

        def dying(fd: int, about: os.stat_result, name: str) -> measured.Measured:
            names.append(name)
            if len(names) == 70:
                raise KeyboardInterrupt
            return measured.measure_open(fd, about, name)

        monkeypatch.setattr(scan, "measure_open", dying)
        with pytest.raises(KeyboardInterrupt):
            opened(Maildir(tmp_path))
        assert ids(Maildir(tmp_path)) == [f"{1000 + number}.x" for number in range(COUNT)]
        assert len(names) == 70 + COUNT - 50


def test_names_are_sorted_in_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "RUN", 7)
    order = [f"{number}{text}" for number in range(30) for text in (".M5P", ".M5Q", ".M11", "x")]
    expected = sorted(order, key=delivery_order)
    for name in order:
        put(tmp_path, name, b"x\n")
    assert ids(Maildir(tmp_path)) == expected
