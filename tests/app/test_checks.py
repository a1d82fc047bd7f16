"""Mistakes that no single key shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from restante.accounts.sqlite import SqliteAccounts
from restante.app.cert import make_certificate
from restante.app.config.checks import check, is_local
from restante.app.config.load import read
from restante.app.config.problem import Problem


def found(folder: Path, text: str, *, mode: int = 0o600) -> list[Problem]:
    file = folder / "restante.toml"
    file.write_text(text)
    file.chmod(mode)
    return check(read(file, environ={}))


DEVELOPMENT = "[tls]\ndevelopment = true\n"

MISTAKES = [
    ("[pop3]\nmin_threads = 9\nmax_threads = 3\n", "pop3.min_threads", "up to max_threads=3"),
    ("[pop3]\nport = 1025\n", "smtp.port", "the same address as pop3.port"),
    ("[lmtp]\nport = 1995\nhost = '0.0.0.0'\n", "lmtp.port", "the same address as pop3.tls_port"),
    (
        "[[pop3.listeners]]\nport = 7\n[[pop3.listeners]]\nport = 7\nhost = '::'\n",
        "pop3.listeners.1.port",
        "the same address as pop3.listeners.0.port",
    ),
    (
        "[pop3]\nport='off'\ntls_port='off'\n[smtp]\nport='off'\n[lmtp]\nport='off'\n",
        "pop3.port",
        "every port is off",
    ),
    ("[maildrops]\ntemplate = '../{user}'\n", "maildrops.template", "template"),
    ("[maildrops]\ntemplate = 'mail'\n", "maildrops.template", "template"),
    ("[maildrops]\nroot = 'restante.toml'\n", "maildrops.root", "isn't a folder"),
    ("[server]\ndata = 'restante.toml/x'\n", "server.data", "isn't a folder"),
    ("[log]\nfile = 'restante.toml/log'\n", "log.file", "isn't a folder"),
    ("[accounts]\nkind = 'static'\n", "accounts.static", "missing"),
    ("[accounts.static]\njoe = 'x'\n", "accounts.static", "has no effect"),
    ("[accounts]\nkind='static'\nstatic = {joe = ''}\n", "accounts.static.joe", "empty"),
    (
        "[accounts]\nkind='static'\nstatic = {joe = 'x', JOE = 'y'}\n",
        "accounts.static",
        "account 'JOE' exists",
    ),
    (
        "[accounts]\nkind='static'\nstatic = {joe = {password = 'x', email = 'joe'}}\n",
        "accounts.static.joe",
        "not of the form local@domain",
    ),
    ("[accounts]\npath = 'restante.toml'\n", "accounts.path", "not a database"),
    ("[delivery]\ncatch_all = 'joe'\n", "delivery.catch_all", "no such account"),
    ("[delivery]\ndomains = ['a.example', 'joe@b']\n", "delivery.domains", "'joe@b'"),
    ("[smtp]\nauth = true\ntls = 'none'\n", "smtp.auth", "needs smtp.tls"),
]


@pytest.mark.parametrize(("text", "key", "says"), MISTAKES)
def test_a_mistake(folder: Path, text: str, key: str, says: str) -> None:
    (problem,) = [each for each in found(folder, DEVELOPMENT + text) if not each.warning]
    assert (problem.place, problem.key) == ("restante.toml", key)
    assert says in problem.text


def test_the_defaults_have_no_mistake() -> None:
    assert check(read(environ={})) == []


def test_a_port_twice_is_none_when_hosts_differ_or_the_system_chooses(folder: Path) -> None:
    text = "[pop3]\nport = 0\ntls_port = 0\n[smtp]\nhost = '127.0.0.2'\nport = 1026\n"
    assert found(folder, DEVELOPMENT + text) == []


def test_tls_without_a_certificate(folder: Path) -> None:
    (problem,) = found(folder, "")
    assert problem.key == "tls.certificate"
    assert "wanted by pop3.tls, pop3.tls_port, smtp.tls" in problem.text
    none = "[pop3]\ntls = 'none'\ntls_port = 'off'\n[smtp]\ntls = 'none'\n"
    assert found(folder, none) == []


def test_reading_mistakes_and_these_are_told_together_and_none_twice(folder: Path) -> None:
    keys = [each.key for each in found(folder, "[delivery]\ncatch_all = 'x'\n[smtp]\nport='x'\n")]
    assert keys == ["smtp.port", "tls.certificate", "delivery.catch_all"]
    text = "[tls]\ncertificate = 3\n"
    assert [each.key for each in found(folder, text)] == ["tls.certificate"]


def test_certificates_are_read_and_fitted_to_their_keys(folder: Path) -> None:
    make_certificate(folder / "a.pem", folder / "a.key")
    make_certificate(folder / "b.pem", folder / "b.key")
    (folder / "junk").write_text("junk")
    text = "[tls]\ncertificate = '{}'\nkey = '{}'\n[tls.names.x]\ncertificate = '{}'\nkey='b.key'\n"
    assert found(folder, text.format("a.pem", "a.key", "b.pem")) == []
    keys = {each.key: each.text for each in found(folder, text.format("a.pem", "no", "a.pem"))}
    assert keys["tls.key"] == "can't be read: No such file or directory"
    assert "key that fits" in keys["tls.names.x.certificate"]
    (problem,) = found(folder, text.format("junk", "a.key", "b.pem"))
    assert problem.key == "tls.certificate"


def test_client_certificates_need_authorities(folder: Path) -> None:
    text = DEVELOPMENT + "client_certificates = 'require'\n"
    (problem,) = found(folder, text)
    assert problem.key == "tls.client_ca"
    (problem,) = found(folder, text + "client_ca = 'restante.toml'\n")
    assert (problem.key, problem.text) == ("tls.client_ca", "isn't a PEM file of certificates")
    make_certificate(folder / "a.pem", folder / "a.key")
    assert found(folder, text + "client_ca = 'a.pem'\n") == []


def test_the_catch_all_is_looked_for_in_either_kind_of_accounts(folder: Path) -> None:
    static = "[accounts]\nkind = 'static'\nstatic = {joe = 'x'}\n"
    assert found(folder, DEVELOPMENT + static + "[delivery]\ncatch_all = 'joe'\n") == []
    (folder / "data").mkdir()
    with SqliteAccounts(folder / "data" / "accounts.sqlite") as accounts:
        accounts.add("ann", "x")
        assert found(folder, DEVELOPMENT + "[delivery]\ncatch_all = 'ann'\n") == []
        accounts.disable("ann")
    (problem,) = found(folder, DEVELOPMENT + "[delivery]\ncatch_all = 'ann'\n")
    assert "disabled" in problem.text


def test_an_unknown_password_scheme_is_told_without_the_password(folder: Path) -> None:
    text = "[accounts]\nkind = 'static'\nstatic = {joe = '{hush}hush'}\n"
    (problem,) = found(folder, DEVELOPMENT + text)
    assert "hush" not in str(problem).lower()
    assert "unknown password scheme" in problem.text


def test_warnings(folder: Path) -> None:
    make_certificate(folder / "a.pem", folder / "a.key", days=-0.02)
    text = (
        "[tls]\ncertificate = 'a.pem'\nkey = 'a.key'\n[pop3]\nhost = '0.0.0.0'\ntls = 'none'\n"
        "[lmtp]\nhost = '192.0.2.1'\n[accounts]\nkind='static'\nstatic = {joe = 'x'}\n"
    )
    warnings = found(folder, text, mode=0o644)
    assert all(each.warning for each in warnings)
    keys = ["tls.certificate", "pop3.port", "lmtp.host"]
    assert [each.key for each in warnings] == keys + ["accounts.static"] * (os.name == "posix")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_hosts_that_only_this_machine_reaches(host: str) -> None:
    assert is_local(host)
    assert not is_local("0.0.0.0")
    assert not is_local("mail.example.org")
