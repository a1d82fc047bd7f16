"""A folder of mail that is gone is an outage: it isn't made anew, or clients would find no mail."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from restante.stores.contract import LeaseLost, StoreError
from restante.stores.maildir import root as root_module
from restante.stores.maildir.files import Folder
from restante.stores.maildir.removed import RemovedFolder
from restante.stores.maildir.store import Maildir
from tests.stores.maildir.kit import ANNA, asked, close, commit, ids, opened, read
from tests.stores.maildir.test_delivery import deliver

USES: dict[str, Callable[[Maildir], object]] = {
    "a login": opened,
    "a delivery": lambda store: deliver(store, b"mail"),
    "a restored message": lambda store: store.restore(ANNA, "id"),
    "a pin": lambda store: store.pin(ANNA, {"name": "id"}),
    "a look": lambda store: store.look(ANNA),
    "a usage": lambda store: asked(store.usage(ANNA)),
    "a list of maildrops": lambda store: store.maildrops(),
    "a check": lambda store: asked(store.check()),
    "a collection": lambda store: asked(store.collect()),
}
each_use = pytest.mark.parametrize("use", USES.values(), ids=USES)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "mail"


def is_refused(use: Callable[[Maildir], object], store: Maildir, root: Path) -> None:
    with pytest.raises(StoreError, match="folder of mail") as caught:
        use(store)
    assert caught.value.temporary
    assert f"{root}" in str(caught.value)
    assert "mount or restore it" in str(caught.value)


@each_use
def test_a_folder_that_was_there_is_not_made_again(
    root: Path, use: Callable[[Maildir], object]
) -> None:
    store = Maildir(root, fsync=False)
    unique_id = deliver(store, b"mail")
    assert ids(store) == [unique_id]
    root.parent.rename(away := root.parent.with_name("away"))

    is_refused(use, store, root)
    is_refused(use, store, root)

    assert not root.parent.exists()
    away.rename(root.parent)
    assert ids(store) == [unique_id]


@pytest.mark.parametrize("before", [opened, lambda store: deliver(store, b"mail")])
def test_nor_where_others_made_it(root: Path, before: Callable[[Maildir], object]) -> None:
    store = Maildir(root, fsync=False)
    deliver(Maildir(root, fsync=False), b"mail")
    before(store)
    root.rename(root.with_name("away"))

    is_refused(USES["a delivery"], store, root)

    assert not root.exists()


def test_nor_by_a_new_process_that_was_told_that_it_was_made(root: Path) -> None:
    store = Maildir(root, fsync=False, make_root=False)

    is_refused(USES["a delivery"], store, root)
    is_refused(USES["a login"], store, root)

    assert not root.exists()
    root.mkdir(parents=True)
    deliver(store, b"mail")


def test_nor_by_a_session_that_removes_messages(root: Path) -> None:
    store = Maildir(root, fsync=False, undelete_days=1)
    deliver(store, b"mail")
    maildrop = opened(store)
    assert read(maildrop, 1)
    root.rename(root.with_name("away"))

    with pytest.raises(LeaseLost):
        commit(maildrop, 1)
    close(maildrop)

    assert not root.exists()


def test_nor_while_messages_are_being_removed(root: Path) -> None:
    folder = root / "anna"
    folder.mkdir(parents=True)
    (folder / "message").write_bytes(b"mail")
    with Folder(str(folder)) as source, RemovedFolder(str(folder), fsync=False) as resting:
        root.rename(root.with_name("away"))
        with pytest.raises(OSError, match="somebody has removed"):
            resting.take(source, 0, "message")

    assert not root.exists()


def test_it_is_made_at_its_first_use(root: Path) -> None:
    store = Maildir(root, fsync=False)
    assert not root.exists()

    deliver(store, b"mail")

    assert len(ids(store)) == 1


def test_an_empty_folder_that_something_was_mounted_on_is_no_folder_of_mail(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = True
    root.mkdir(parents=True)

    def stat(path: Path) -> SimpleNamespace:
        return SimpleNamespace(st_dev=path.stat().st_dev + (mounted and path == root))

    monkeypatch.setattr(root_module, "os", SimpleNamespace(stat=stat, path=os.path))
    store = Maildir(root, fsync=False)
    mounted = False

    is_refused(USES["a delivery"], store, root)
    is_refused(USES["a login"], store, root)
    is_refused(USES["a check"], store, root)

    assert not list(root.iterdir())
    mounted = True
    deliver(store, b"mail")
