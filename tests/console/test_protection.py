"""What stands before the console's pages, asked without a browser's manners."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from restante.app.administrators import Administrators
from tests.app.support import Server
from tests.console.site import ADMIN, ADMIN_PASSWORD, Site, prepare, token_in

pytest.importorskip("starlette")

from restante.app.config.settings import Settings
from restante.app.console.logins import Logins, Refused
from restante.app.console.protection import allowed_names, host_name

PATHS = (
    "/",
    "/sessions",
    "/dialogue",
    "/dialogue/save?session=x",
    "/accounts",
    "/accounts/one?name=joe",
    "/maildrop",
    "/maildrop?account=joe",
    "/maildrop/message?account=joe&id=x",
    "/maildrop/html?account=joe&id=x&part=1",
    "/maildrop/part?account=joe&id=x&part=1",
    "/maildrop/download?account=joe&id=x",
    "/mail-in",
    "/explain",
    "/explain?account=joe",
    "/bans",
    "/settings",
    "/nowhere",
)
CHANGES = (
    "/logout",
    "/sessions/end",
    "/dialogue/on",
    "/dialogue/off",
    "/accounts/add",
    "/accounts/change",
    "/bans/add",
    "/bans/lift",
)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server that is one process, with its console."""
    folder = tmp_path_factory.mktemp("plain")
    prepare(folder)
    with Server(folder, "--console-port", "0", "--workers", "1") as server:
        yield Site(server)


@pytest.mark.parametrize("path", PATHS)
def test_without_a_login_every_page_leads_to_the_form(plain: Site, path: str) -> None:
    answer = plain.ask("GET", path)
    assert answer.status == 303
    assert answer.headers["location"].startswith("/login?to=/")
    assert plain.ask("GET", path, hx_request="true").status == 401


@pytest.mark.parametrize("path", CHANGES)
def test_nothing_is_changed_without_login_or_without_the_token(plain: Site, path: str) -> None:
    assert plain.ask("POST", path, {"token": "x"}).status == 403
    cookie, token = plain.session()
    for wrong in ("", "x", token[:-1], token + "x", "ü"):
        assert plain.ask("POST", path, {"token": wrong}, cookie=cookie).status == 403
    other, _ = plain.session()
    assert plain.ask("POST", path, {"token": token}, cookie=other).status == 403


def test_a_form_from_elsewhere_is_refused(plain: Site) -> None:
    cookie, token = plain.session()
    form = {"token": token, "network": "192.0.2.1"}
    for wrong in (
        {"origin": "http://evil.example"}, {"origin": "null"}, {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ):  # fmt: skip
        assert plain.ask("POST", "/bans/add", form, cookie=cookie, **wrong).status == 403
    kind = plain.ask("POST", "/bans/add", b"{}", cookie=cookie, content_type="application/json")
    assert kind.status == 415
    assert "192.0.2.1" not in plain.ask("GET", "/bans", cookie=cookie).body


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "evil.example:80",
        "",
        "[::2]",
        "a@localhost",
        "localhost/x",
        "[",
        "\xff",
    ],
)
def test_a_host_from_elsewhere_is_misdirected(plain: Site, host: str) -> None:
    answer = plain.ask("GET", "/login", host=host)
    assert answer.status in (400, 421)
    assert "token" not in answer.body


def test_hosts_that_are_ours() -> None:
    settings = Settings()
    names = allowed_names(settings)
    for host in ("localhost", "LOCALHOST.", "127.0.0.1:1180", "[::1]:1180", "[0:0::1]"):
        assert host_name(host) in names, host


def test_answers_let_the_browser_load_nothing_from_elsewhere(plain: Site) -> None:
    cookie, _ = plain.session()
    for path in ("/login", "/", "/nowhere", "/static/console.css"):
        headers = plain.ask("GET", path, cookie=cookie).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
    assert "server" not in plain.ask("GET", "/login").headers


def test_cookies_are_for_this_site_and_for_no_script(plain: Site) -> None:
    first = plain.ask("GET", "/login")
    for text in first.cookies.values():
        assert "; HttpOnly; SameSite=Strict" in text


def test_a_wrong_password_is_refused_and_counted(tmp_path: Path) -> None:
    """The guard's own way: some are free, then each waits longer, then none is checked."""
    administrators = Administrators(tmp_path / "administrators.json")
    administrators.set(ADMIN, ADMIN_PASSWORD, new=True)
    logins, refused = _logins(tmp_path), []
    checked: list[str] = []
    logins._administrators = SimpleNamespace(  # type: ignore[assignment]
        matches=lambda name, password: checked.append(password), version=lambda name: ""
    )
    slept: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", slept.append)
        for number in range(30):
            with pytest.raises(Refused) as caught:
                logins.attempt(ADMIN, f"wrong {number}", "127.0.0.1")
            refused.append(caught.value.status)
    assert refused[:5] == [403] * 5
    assert refused[-1] == 429
    assert len(checked) < 12
    assert sorted(slept) == slept
    assert slept


def _logins(folder: Path, **given: float) -> Logins:
    settings = Settings()
    section = SimpleNamespace(idle_minutes=30.0, session_hours=12.0, **{})
    for name, value in given.items():
        setattr(section, name, value)
    fake: Any = SimpleNamespace(
        console=section, administrators_file=folder / "administrators.json", server=settings.server
    )
    return Logins(fake)


def test_sessions_end_when_idle_when_old_and_with_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    administrators = Administrators(tmp_path / "administrators.json")
    administrators.set(ADMIN, ADMIN_PASSWORD, new=True)
    now = [1000.0]
    monkeypatch.setattr("restante.app.console.logins.time.monotonic", lambda: now[0])
    logins = _logins(tmp_path)
    idle, _ = logins.attempt(ADMIN, ADMIN_PASSWORD, "127.0.0.1")
    now[0] += 20 * 60
    assert logins.find(idle, by_person=False) is not None  # pages that renew themselves
    now[0] += 11 * 60
    assert logins.find(idle, by_person=True) is None
    old, _ = logins.attempt(ADMIN, ADMIN_PASSWORD, "127.0.0.1")
    for _ in range(35):
        now[0] += 20 * 60
        assert logins.find(old, by_person=True) is not None
    now[0] += 30 * 60
    assert logins.find(old, by_person=True) is None
    key, _ = logins.attempt(ADMIN, ADMIN_PASSWORD, "127.0.0.1")
    administrators.set(ADMIN, "another password")
    assert logins.find(key, by_person=True) is None


def test_a_wrong_login_is_answered_in_words(plain: Site) -> None:
    first = plain.ask("GET", "/login")
    cookie = "restante-form=" + first.cookies["restante-form"].partition(";")[0]
    form = {
        "token": token_in(first.body),
        "name": "nobody",
        "password": "x",
        "to": "//evil.example",
    }
    answer = plain.ask("POST", "/login", form, cookie=cookie)
    assert (answer.status, "Name or password is wrong." in answer.body) == (403, True)
    assert "evil" not in answer.body


def test_what_is_too_much_is_refused(plain: Site) -> None:
    cookie, token = plain.session()
    assert plain.ask("POST", "/bans/add", b"x" * 70_000, cookie=cookie).status == 413
    many = "&".join(f"f{number}=" for number in range(200)).encode()
    assert plain.ask("POST", "/bans/add", many, cookie=cookie).status == 400
    assert plain.ask("POST", "/bans/add", "ü".encode(), cookie=cookie).status == 400
    assert plain.ask("GET", "/" + "x" * 20_000).status == 414
    assert plain.ask("PUT", "/bans/add", cookie=cookie).status == 405
    assert token


@pytest.mark.parametrize(
    "path",
    [
        "/maildrop?account=nobody",
        "/maildrop?account=joe&page=2",
        "/maildrop?account=joe&page=0",
        "/maildrop?account=joe&page=x",
        "/maildrop?account=joe&page=99999999999999999999",
        "/maildrop/message?account=joe&id=nothing",
        "/maildrop/download?account=joe&id=nothing",
        "/maildrop/message?account=../../etc&id=x",
        "/maildrop?account=" + "x" * 3000,
        "/accounts/one?name=nobody",
        "/accounts/one",
        "/sessions?from=-1_x",
        "/sessions?from=1",
        "/sessions?from=nan_x",
        "/mail-in?before=x",
        "/static/../app.py",
        "/static/nothing.js",
        "/nowhere",
    ],
)
def test_what_is_not_there_is_not_found(plain: Site, path: str) -> None:
    cookie, _ = plain.session()
    answer = plain.ask("GET", path, cookie=cookie)
    assert answer.status == 404
    assert "Traceback" not in answer.body


@pytest.mark.parametrize(
    ("path", "form", "said"),
    [
        ("/sessions/end", {"session": "none"}, "has ended already"),
        ("/sessions/end", {"session": "a b"}, "That is no session"),
        ("/bans/add", {"network": "everybody"}, "everybody"),
        ("/bans/add", {"network": "192.0.2.1", "for": "soon"}, "not a time such as"),
        ("/bans/lift", {"network": "192.0.2.9"}, "banned any more"),
        ("/dialogue/on", {"account": "joe", "minutes": "0"}, "allowed is 1 to"),
        ("/dialogue/on", {"address": "nowhere", "minutes": "5"}, "does not appear to be"),
        ("/dialogue/on", {"minutes": "5"}, "Give an account or an address"),
        ("/accounts/add", {"name": "joe", "password": "x"}, "joe"),
        ("/accounts/change", {"name": "nobody", "do": "disable"}, "nobody"),
        ("/accounts/change", {"name": "joe", "do": "rights", "expires": "x"}, "does not match"),
        ("/accounts/change", {"name": "joe", "do": "sing"}, "done here"),
    ],
)
def test_a_change_that_cannot_be_made_says_why(
    plain: Site, path: str, form: dict[str, str], said: str
) -> None:
    cookie, token = plain.session()
    answer = plain.ask("POST", path, {**form, "token": token}, cookie=cookie)
    assert answer.status == 303
    to = answer.headers["location"].replace("nobody", "joe")
    assert said in plain.ask("GET", to, cookie=cookie).body


def test_every_change_is_in_the_log_with_who_made_it(plain: Site) -> None:
    cookie, token = plain.session()
    form = {"network": "198.51.100.0/24", "for": "1h", "token": token}
    assert plain.ask("POST", "/bans/add", form, cookie=cookie).status == 303
    plain.server.wait_for_log(
        "console: administrator=admin address=127.0.0.1 banned 198.51.100.0/24 for 1h"
    )


def test_no_secret_is_shown_or_logged(plain: Site) -> None:
    cookie, token = plain.session()
    form = {"name": "dora", "password": "a secret of hers", "token": token}
    answer = plain.ask("POST", "/accounts/add", form, cookie=cookie)
    pages = [answer.body, *(plain.ask("GET", path, cookie=cookie).body for path in PATHS[:6])]
    pages.append(plain.ask("GET", "/settings?all=yes", cookie=cookie).body)
    for text in (*pages, plain.server.log.read_text()):
        for secret in ("a secret of hers", ADMIN_PASSWORD, "$argon2", token + " "):
            assert secret not in text


@pytest.mark.parametrize("damage", ["garbage", "missing", "a folder"])
def test_the_pages_stand_without_the_history(plain: Site, damage: str) -> None:
    path = next(plain.folder.glob("data/history*"), plain.folder / "data" / "history.sqlite")
    kept = path.with_suffix(".kept")
    if path.exists():
        path.rename(kept)
    if damage == "garbage":
        path.write_bytes(b"no database" * 1000)
    elif damage == "a folder":
        path.mkdir()
    cookie, _ = plain.session()
    try:
        for page in (
            "/",
            "/mail-in",
            "/accounts/one?name=joe",
            "/maildrop?account=joe",
            "/explain?account=joe",
        ):
            assert plain.ask("GET", page, cookie=cookie).status == 200, page
        if damage != "missing":
            text = plain.ask("GET", "/mail-in", cookie=cookie).body
            assert "The history can&#39;t be read" in text
    finally:
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
        if kept.exists():
            kept.rename(path)
