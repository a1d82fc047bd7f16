"""Mail that was kept for its time is removed, and EXPIRE announces it (RFC 2449 §6.7)."""

from __future__ import annotations

import poplib
import time
from pathlib import Path
from typing import Any

import pytest

from restante.accounts.account import Account
from restante.app.config.load import load
from restante.app.maildrops import make_folder_of_mail, make_store
from restante.calls import finished
from restante.stores.contract import Store
from tests.app.conftest import Call
from tests.app.support import Server, write_config

DAY = 86_400
KINDS = {"maildir": "", "sqlite": '[store]\nkind = "sqlite"\n'}


@pytest.fixture(params=KINDS)
def store_section(request: pytest.FixtureRequest) -> str:
    return KINDS[request.param]


def asked(answer: Any) -> Any:
    return finished(answer)


def restore(store: Store, name: str, days: float, unique_id: str) -> None:
    """A message that has arrived so many days ago."""
    arrived = time.time() - days * DAY
    incoming: Any = asked(store.restore(Account(name), unique_id, arrived=arrived))
    incoming.write(b"Subject: x\r\n\r\n")
    incoming.commit()


def there(store: Store, name: str) -> list[str]:
    maildrop: Any = asked(store.look(Account(name)))
    asked(maildrop.close())
    return list(maildrop.listing.unique_ids)


def filled(folder: Path, config: str, *names: str) -> Store:
    write_config(folder, config)
    settings = load().settings
    make_folder_of_mail(settings)
    store = make_store(settings)
    folder.joinpath("data").mkdir(exist_ok=True)
    for name in names:
        for days in (100, 40, 20, 5):
            restore(store, name, days, f"{days}-days")
    return store


def test_collect_removes_what_is_older_and_undelete_has_it_back(
    folder: Path, call: Call, store_section: str
) -> None:
    store = filled(folder, f"expire_days = 30\n{store_section}", "joe")
    assert call("collect").out == "2 messages expired\n0 messages removed for good\n"
    assert there(store, "joe") == ["20-days", "5-days"]
    assert call("collect").out == "0 messages removed for good\n"
    assert call("undelete", "joe", "--since", "1h").out == "2 messages put back\n"
    assert len(there(store, "joe")) == 4


def test_without_days_nothing_is_ever_removed(folder: Path, call: Call, store_section: str) -> None:
    store = filled(folder, store_section, "joe")
    assert call("collect").out == "0 messages removed for good\n"
    assert len(there(store, "joe")) == 4


def test_accounts_have_days_of_their_own_but_not_fewer_than_the_least(
    folder: Path, call: Call
) -> None:
    accounts = (
        "[pop3]\nexpire_days = 90\nexpire_user_days = 10\n"
        '[accounts]\nkind = "static"\n[accounts.static]\njoe = "x"\n'
        'ann = {password = "x", expire_days = 30}\n'
        'bob = {password = "x", expire_days = 1}\n'
        'cid = {password = "x", expire_days = 0}\n'
        'dan = {password = "x", expire_days = 1}\n'
        'eve = {password = "x", expire_days = 50, maildrop = "dan"}\n'
    )
    names = ("joe", "ann", "bob", "cid", "dan")
    store = filled(folder, "", *names)
    (folder / "restante.toml").write_text(accounts)
    assert call("collect").status == 0
    assert {name: len(there(store, name)) for name in names} == {
        "joe": 3, "ann": 2, "bob": 1, "cid": 4, "dan": 3
    }  # fmt: skip


def test_a_maildrop_that_a_session_has_waits(folder: Path, call: Call) -> None:
    store = filled(folder, "expire_days = 30\n", "joe")
    maildrop: Any = asked(store.open(Account("joe")))
    assert call("collect").out == "0 messages removed for good\n"
    asked(maildrop.close())
    assert call("collect").out == "2 messages expired\n0 messages removed for good\n"


def test_nothing_is_made_for_accounts_without_mail(folder: Path, call: Call) -> None:
    write_config(folder, "expire_days = 30\n")
    assert call("collect").status == 0
    assert not (folder / "data" / "mail" / "joe").exists()


def test_accounts_that_cannot_be_listed_are_warned_of(folder: Path, call: Call) -> None:
    (folder / "restante.toml").write_text(
        '[pop3]\nexpire_days = 30\n[tls]\ndevelopment = true\n[accounts]\nkind = "ldap"\n'
        '[accounts.ldap]\nurl = "ldap://127.0.0.1"\nbase = "dc=x"\n'
    )
    done = call("check-config")
    assert "pop3.expire_days = 30: no mail is removed: accounts of kind ldap can't" in done.err
    assert call("check-config", "--set", "pop3.expire_days=0").status == 2


def expire_of(client: poplib.POP3) -> str:
    return " ".join(client.capa()["EXPIRE"])


def test_the_server_expires_mail_and_says_so(folder: Path) -> None:
    config = "expire_user_days = 7\n[store]\ncollect_minutes = 0.01\n"
    filled(folder, config, "ann")
    file = folder / "restante.toml"
    ann = '[accounts.static]\nann = {password = "geheim", expire_days = 30}\n'
    file.write_text(file.read_text().replace("[accounts.static]\n", ann))
    with Server(folder) as server:
        server.wait_for_log("expired: 2 messages were kept for their time and are removed")
        client = poplib.POP3("127.0.0.1", server.port("pop3", "starttls"), timeout=20)
        assert expire_of(client) == "7 USER"
        client.user("ann")
        client.pass_("geheim")
        assert expire_of(client) == "30"
        assert client.stat()[0] == 2
        client.quit()
