"""Mistakes about logging in that must not pass in silence, and secrets that must not show."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from restante.app.accounts import ReplaceableAccounts
from restante.app.config.load import read, show
from restante.app.service import Service
from tests.app.test_checks import found
from tests.needs import only_cpython

PROXIES = "proxy_networks = ['10.0.0.0/8']\n"

MISTAKES = [
    ("[pop3]\nproxy_protocol = true\n", "pop3.proxy_networks", "addresses of the proxies"),
    ("[pop3]\nxclient = true\nproxy_networks = ['nowhere']\n", "pop3.proxy_networks", "nowhere"),
    (
        "[[pop3.listeners]]\nport = 0\nxclient = true\ntls = 'none'\n",
        "pop3.proxy_networks",
        "addresses of the proxies",
    ),
    (f"[pop3]\n{PROXIES}", "pop3.proxy_networks", "has no effect"),
    (
        f"[pop3]\nproxy_protocol = true\n{PROXIES}[[pop3.listeners]]\nport = 0\n",
        "pop3.proxy_protocol",
        "has no effect",
    ),
    ("[login]\nmechanisms = ['SCRAM-SHA256']\n", "login.mechanisms", "SCRAM-SHA-256"),
    ("[login]\nmechanisms = ['GSSAPI']\n", "login.mechanisms", "GSSAPI"),
    ("[login]\nmaster_separator = '@'\n", "login.master_separator", "many names"),
    ("[login]\nmaster_separator = 'e'\n", "login.master_separator", "many names"),
    ("[login]\nanonymous = 'nobody'\n", "login.anonymous", "no such account"),
    ("[oauth]\njwks_url = 'https://id.example/keys'\n", "oauth", "has no effect"),
    ("[oauth]\naudience = ['mail']\nscopes = ['mail']\n", "oauth", "has no effect"),
    ("[kerberos]\nrealms = ['EXAMPLE.ORG']\n", "kerberos", "has no effect"),
    ("[accounts.ldap]\nurl = 'ldap://localhost'\n", "accounts.ldap", "has no effect"),
    ("[accounts.passwd_file]\npath = 'users'\n", "accounts.passwd_file", "has no effect"),
    ("[accounts.postgres]\nlookup = 'SELECT'\n", "accounts.postgres", "has no effect"),
    pytest.param(
        "[accounts]\nkind = ['sqlite', 'pam']\n[accounts.mysql]\ndsn = 'x'\n",
        "accounts.mysql",
        "no",
        marks=only_cpython,
    ),
    ("[guard]\nban_seconds = 100000\n", "guard.ban_seconds", "ban_max"),
    ("[guard]\ntrusted_networks = ['10.0.0.1/8']\n", "guard.trusted_networks", "host bits"),
]


@pytest.mark.parametrize(("text", "key", "told"), MISTAKES)
def test_mistakes(text: str, key: str, told: str, tmp_path: Path) -> None:
    problems = list(found(tmp_path, "[tls]\ndevelopment = true\n" + text))
    assert [(each.key, each.warning) for each in problems] == [(key, False)], problems
    assert told in problems[0].text


FINE = [
    f"[pop3]\nproxy_protocol = true\n{PROXIES}",
    f"[pop3]\n{PROXIES}[[pop3.listeners]]\nport = 0\ntls = 'none'\nxclient = true\n",
    "[login]\nmaster_separator = '*'\nexternal_names = ['uid', 'dns']\n",
    "[login]\nmechanisms = ['PLAIN', 'SCRAM-SHA-256']\n",
    "[login]\nmechanisms = ['NTLM']\nntlm = true\n",
]


@pytest.mark.parametrize("text", FINE)
def test_no_mistakes(text: str, tmp_path: Path) -> None:
    assert found(tmp_path, "[tls]\ndevelopment = true\n" + text) == []


SECRET = "pass-word-of-the-server"
SECRETS = [
    f"[tls]\nkey_password = '{SECRET}'\n",
    f"[accounts]\nkind='static'\nstatic = {{joe = '{SECRET}'}}\n",
    f"[accounts.ldap]\nbind_password = '{SECRET}'\n",
    f"[accounts.postgres]\ndsn = 'postgresql://u:{SECRET}@localhost/db'\n",
    f"[accounts.mysql]\npassword = '{SECRET}'\n",
    f"[oauth]\nclient_secret = '{SECRET}'\n",
]


@pytest.mark.parametrize("text", SECRETS)
def test_secrets_are_shown_nowhere(text: str, tmp_path: Path) -> None:
    problems = "\n".join(map(str, found(tmp_path, text)))
    settings = read(tmp_path / "restante.toml", environ={}).settings
    for shown in (problems, show(settings), repr(settings)):
        assert SECRET not in shown


@pytest.mark.skipif(os.name != "posix", reason="only where files have modes")
@pytest.mark.parametrize("text", SECRETS)
def test_a_file_with_secrets_is_nobody_else_s(text: str, tmp_path: Path) -> None:
    def warned() -> bool:
        return any("may read it" in str(each) for each in found(tmp_path, text, mode=0o644))

    assert warned()
    (tmp_path / "restante.toml").chmod(0o600)
    assert not any("may read it" in str(each) for each in found(tmp_path, text))


@pytest.mark.parametrize("kind", ["'static'", "['static', 'sqlite']", "['sqlite', 'static']"])
def test_who_is_taken_out_of_the_configuration_is_out(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "restante.toml"
    text = f"[accounts]\nkind = {kind}\n[pop3]\nport = 'off'\ntls_port = 'off'\n"
    file.write_text(text + "[accounts.static]\njoe = 'x'\nann = 'y'\n")
    (tmp_path / "data").mkdir()

    service = Service(read(file, environ={}), lambda: read(file, environ={}))
    stores = getattr(service.accounts, "stores", (service.accounts,))
    (static,) = (each for each in stores if isinstance(each, ReplaceableAccounts))
    assert static.lookup("joe") is not None
    file.write_text(text + "[accounts.static]\nann = 'y'\n")
    service.reload()
    assert static.lookup("joe") is None
    assert static.lookup("ann") is not None
