"""Where maildrops lie: no way out by name, and no folder for two names."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from restante.accounts.contract import Account
from restante.stores.contract import StoreError
from restante.stores.maildir import location
from restante.stores.maildir.location import MAX_COMPONENT, Place, folder_name
from restante.stores.maildir.store import Maildir
from tests.stores.maildir.kit import close, opened

ROOT = Path("/srv/mail")
TEMPLATES = ["{user}", "{name}", "{domain}/{user}/Maildir", "u-{name}/mail", "{domain}/{name}"]

names = st.one_of(
    st.text(st.characters(codec=None), max_size=60),
    st.text("aAbB./\\%@:~ \0\x1f-_", max_size=12),
    st.sampled_from(["..", ".", "/etc/passwd", "../ben", "con", "NUL.txt", "a/../../b", "~root"]),
)


def place(template: str, name: str) -> Path | None:
    try:
        return Place(ROOT, template).folder(name)
    except StoreError:
        return None


@given(names, st.sampled_from(TEMPLATES))
def test_every_name_stays_below_the_root(name: str, template: str) -> None:
    folder = place(template, name)
    if folder is None:
        return
    assert folder.parent != ROOT.parent
    assert len(folder.parts) == len(ROOT.parts) + len(template.split("/"))
    assert os.path.normpath(folder) == str(folder)
    assert folder.is_relative_to(ROOT)
    for part in folder.parts[len(ROOT.parts) :]:
        assert part.isascii()
        assert part.isprintable()
        assert not part.startswith(".")
        assert not part.endswith((".", " "))
        assert not set(part) & set('/\\:*?"<>|~')
        assert len(part) <= 255


@given(names, names, st.sampled_from(TEMPLATES))
def test_different_names_have_different_folders(one: str, other: str, template: str) -> None:
    assume(one != other)
    folder = place(template, one)
    assert folder is None or folder != place(template, other)


@given(names, names)
def test_where_case_is_ignored_names_differ_in_more_than_case(one: str, other: str) -> None:
    assume(one != other)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(location, "_PLAIN", re.compile(rb"[a-z0-9_\-+=@.]"))
        folder = place("{name}", one)
        there = place("{name}", other)
    if folder is not None and there is not None:
        assert str(folder).lower() != str(there).lower()


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("anna", "anna"),
        ("CleverTester", "CleverTester"),
        ("anna.b-c_d+e=f@example.org", "anna.b-c_d+e=f@example.org"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("a.", "a%2E"),
        (".a", "%2Ea"),
        ("../ben", "%2E.%2Fben"),
        ("a\\b", "a%5Cb"),
        ("a\0b", "a%00b"),
        ("%2E", "%252E"),
        ("con", "%63on"),
        ("Lpt1.txt", "%4Cpt1.txt"),
        ("console", "console"),
        ("grün", "gr%C3%BCn"),
    ],
)
def test_the_rule(name: str, folder: str) -> None:
    assert folder_name(name) == folder


@pytest.mark.parametrize("name", ["", "x" * (MAX_COMPONENT + 1), "ü" * 70])
def test_names_without_folder(name: str) -> None:
    with pytest.raises(StoreError) as caught:
        folder_name(name)
    assert not caught.value.temporary


def test_templates() -> None:
    anna = "anna@example.org"
    assert Place(ROOT, "{domain}/{user}/Maildir").folder(anna) == ROOT / "example.org/anna/Maildir"
    assert Place(ROOT, "{name}").folder(anna) == ROOT / anna
    assert Place(ROOT, "{user}").folder("anna") == ROOT / "anna"
    assert Place(ROOT, "{domain}/{user}").folder("a@b@c") == ROOT / "c/a@b"


def test_a_template_without_domain_keeps_the_domains_apart() -> None:
    folder = Place(ROOT, "{user}").folder
    assert folder("anna@example.org") != folder("anna@example.net") != folder("anna")


@pytest.mark.parametrize("name", ["anna", "anna@", "@example.org", "@", ""])
def test_a_template_with_domain_refuses_names_without(name: str) -> None:
    with pytest.raises(StoreError):
        Place(ROOT, "{domain}/{user}").folder(name)


@pytest.mark.parametrize(
    "template",
    [
        "",
        "mail",
        "{domain}",
        "../{user}",
        "/{user}",
        "{user}/",
        "{user}//mail",
        "{user}/..",
        "{user}-{domain}",
        "{host}/{user}",
        "{user!r}",
        "{user:>9}",
        "{user.x}",
        "{}",
        "{user",
        "C:{user}",
        "a\\{user}",
    ],
)
def test_templates_that_are_refused(template: str) -> None:
    with pytest.raises(ValueError, match="template"):
        Place(ROOT, template)


def test_capitals_are_refused_where_the_file_system_ignores_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Maildir(tmp_path)
    close(opened(store, Account("Anna")))
    store = Maildir(tmp_path)
    real = os.lstat
    monkeypatch.setattr(os, "lstat", lambda path: real(str(path).replace("anna", "Anna")))
    for action in (store.open, store.receive):
        with pytest.raises(StoreError, match="ignores case"):
            action(Account("Anna"))
    monkeypatch.undo()
    close(opened(store, Account("Anna")))
    assert list((tmp_path / "Anna/tmp").iterdir()) == []


def test_nothing_outside_the_root_is_made(tmp_path: Path) -> None:
    store = Maildir(tmp_path / "a/root", fsync=False)
    for name in ("..", "../x", "/x", "a/b", "\\x", "nul", ".x"):
        close(opened(store, Account(name)))
        store.receive(Account(name)).commit()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["root"]
    assert len(list((tmp_path / "a/root").iterdir())) == 7


def test_a_long_path_is_a_store_error(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["x" * 200] * 20)
    with pytest.raises(StoreError):
        opened(Maildir(deep), Account("anna"))
