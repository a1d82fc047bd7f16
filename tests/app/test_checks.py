"""Mistakes that no single key shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from restante.accounts.sqlite import SqliteAccounts
from restante.app.cert import make_certificate
from restante.app.config.checks import check, is_local
from restante.app.config.load import read
from restante.app.config.problem import Problem
from tests.app.support import COMMAND, environment
from tests.needs import only_cpython


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
        "[[pop3.listeners]]\nport = 7\n[[pop3.listeners]]\nport = 7\nhost = '0.0.0.0'\n",
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
    ("[log]\nfile = 'restante.toml/log'\n", "log.file", "there is no folder"),
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
    ("[log]\nfile = 'nowhere/log'\n", "log.file", "there is no folder"),
    ("[log]\nfile = '.'\n", "log.file", "is a folder"),
    ("[lmtp]\nsocket = 'nowhere/l'\n", "lmtp.socket", "there is no folder"),
    ("[lmtp]\nsocket = 'restante.toml'\n", "lmtp.socket", "isn't a socket"),
    (f"[lmtp]\nsocket = '{'x' * 120}'\n", "lmtp.socket", "longer than a socket's path"),
    ("[smtp]\nhost = 'no-such-host.invalid'\n", "smtp.host", "doesn't resolve"),
    ("[lmtp]\nhost = '192.0.2.1'\n", "lmtp.host", "192.0.2.1 is no address of this machine"),
    (
        "[[pop3.listeners]]\nhost = '192.0.2.1'\n",
        "pop3.listeners.0.host",
        "192.0.2.1 is no address of this machine",
    ),
    ("[delivery]\ndomains = ['*.a.example']\n", "delivery.domains", "each domain is named"),
    ("[delivery]\ndomains = ['.a.example']\n", "delivery.domains", "is not a domain"),
    ("[accounts]\npath = '.'\n", "accounts.path", "is a folder"),
    (
        "[accounts]\nkind = 'static'\nstatic = {joe = 'x'}\npath = 'x.sqlite'\n",
        "accounts.path",
        'has no effect; allowed: with accounts.kind = "sqlite"',
    ),
    (
        "[accounts]\nkind = 'static'\nstatic = {joe = 'x'}\nscram = false\n",
        "accounts.scram",
        'has no effect; allowed: with accounts.kind = "sqlite"',
    ),
    (
        "[pop3]\nport = 110\n[[pop3.listeners]]\nport = 1110\n",
        "pop3.port",
        "has no effect; allowed: in each of pop3.listeners",
    ),
    (
        "[pop3]\ntls_port = 995\n[[pop3.listeners]]\nport = 1110\n",
        "pop3.tls_port",
        "has no effect; allowed: in each of pop3.listeners",
    ),
    (
        "[oauth]\nissuer = 'https://x'\naudience = ['a']\njwks_file = 'no'\n",
        "oauth.jwks_file",
        "can't be read",
    ),
]


@pytest.mark.parametrize(("text", "key", "says"), MISTAKES)
def test_a_mistake(folder: Path, text: str, key: str, says: str) -> None:
    (problem,) = [each for each in found(folder, DEVELOPMENT + text) if not each.warning]
    assert (problem.place, problem.key) == ("restante.toml", key)
    assert says in problem.text


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("[store]\nkind = 'sqlite'\nsqlite.path = '/proc/nosuch/mail'\n", "store.sqlite.path"),
        pytest.param(
            "[store]\nkind = 'postgres'\npostgres.dsn = 'postgresql://x@127.0.0.1/x'\n"
            "bodies.kind = 'folder'\nbodies.folder.path = '/proc/nosuch'\n",
            "store.bodies.folder.path",
            marks=only_cpython,
        ),
        ("[maildrops]\nroot = '/proc/nosuch'\n", "maildrops.root"),
        ("[log]\nfile = '/proc/log'\n", "log.file"),
    ],
)
def test_folders_that_not_even_root_can_make_or_write_to_are_mistakes(
    folder: Path, section: str, key: str
) -> None:
    (problem,) = [each for each in found(folder, DEVELOPMENT + section) if not each.warning]
    assert problem.key == key
    assert "isn't a folder that this user can write to" in problem.text


def test_looking_whether_folders_can_be_written_to_leaves_nothing_there(folder: Path) -> None:
    (folder / "mail").mkdir()
    assert found(folder, DEVELOPMENT + "[maildrops]\nroot = 'mail'\n") == []
    assert list((folder / "mail").iterdir()) == []
    assert not (folder / "data").exists()


def test_the_defaults_have_no_mistake() -> None:
    assert check(read(environ={})) == []


def test_a_port_twice_is_none_when_hosts_differ_or_the_system_chooses(folder: Path) -> None:
    text = "[pop3]\nport = 0\ntls_port = 0\n[smtp]\nhost = '127.0.0.2'\nport = 1026\n"
    assert found(folder, DEVELOPMENT + text) == []


def test_ipv4_and_ipv6_have_addresses_of_their_own(folder: Path) -> None:
    text = "[[pop3.listeners]]\nhost = '{}'\nport = 7\n"
    both = "".join(text.format(host) for host in ("0.0.0.0", "::"))
    assert [each for each in found(folder, DEVELOPMENT + both) if not each.warning] == []
    for one, other in (("localhost", "::1"), ("::1", "::"), ("localhost", "127.0.0.1")):
        both = text.format(one) + text.format(other)
        (problem,) = [each for each in found(folder, DEVELOPMENT + both) if not each.warning]
        assert "the same address" in problem.text


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
    assert "isn't the certificate of the key in" in keys["tls.names.x.certificate"]
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
        "[lmtp]\nhost = '0.0.0.0'\n[accounts]\nkind='static'\nstatic = {joe = 'x'}\n"
    )
    warnings = found(folder, text, mode=0o644)
    assert all(each.warning for each in warnings)
    keys = ["tls.certificate", "pop3.port", "lmtp.host"]
    assert [each.key for each in warnings] == keys + ["accounts.static"] * (os.name == "posix")


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
@pytest.mark.parametrize(
    ("dsn", "password", "key"),
    [
        ("postgresql://mail@127.0.0.1/mail", "", None),
        ("postgresql://mail@127.0.0.1/mail?sslmode=require", "", None),
        ("postgresql://mail:hush@127.0.0.1/mail", "", "store.postgres.dsn"),
        ("postgresql://mail@127.0.0.1/mail?password=hush", "", "store.postgres.dsn"),
        ("postgresql://mail@127.0.0.1/mail", "hush", "store.postgres.password"),
    ],
)
def test_the_address_of_a_database_is_a_secret_only_with_a_password(
    folder: Path, dsn: str, password: str, key: str | None
) -> None:
    text = f"[store]\nkind = 'postgres'\npostgres.dsn = '{dsn}'\n"
    if password:
        text += f"postgres.password = '{password}'\n"
    told = [
        each.key
        for each in found(folder, DEVELOPMENT + text, mode=0o644)
        if "holds passwords" in each.text
    ]
    assert told == ([key] if key else [])


WARNINGS = [
    (
        "[pop3]\nhost = '0.0.0.0'\nallow_plaintext = true\n",
        "pop3.allow_plaintext",
        "may cross the network in the clear",
    ),
    ("[smtp]\nhost = '0.0.0.0'\n", "delivery.domains", "mail for any domain is taken"),
    ("[smtp]\nport = 'off'\nauth = true\n", "smtp.auth", 'while smtp.port is "off"'),
    ("[lmtp]\nport = 'off'\ntimeout = 1\n", "lmtp.timeout", 'while lmtp.port is "off"'),
    ("[pop3]\nlogin_burst = 3\n", "pop3.login_burst", "without pop3.login_delay"),
    (f"[server]\ndata = '{'x' * 120}'\n", "server.data", "too long a path for the socket"),
]


@pytest.mark.parametrize(("text", "key", "says"), WARNINGS)
def test_what_may_not_be_meant_is_a_warning(folder: Path, text: str, key: str, says: str) -> None:
    (problem,) = found(folder, DEVELOPMENT + text)
    assert (problem.key, problem.warning) == (key, True)
    assert says in problem.text


def test_a_wrong_password_of_a_key_is_told_with_its_own_key(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    encrypted = BestAvailableEncryption(b"right")
    make_certificate(folder / "a.pem", folder / "a.key")
    (folder / "b.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encrypted))
    text = "[tls]\ncertificate = 'a.pem'\nkey = 'b.key'\nkey_password = '{}'\n"
    (problem,) = found(folder, text.format("wrong"))
    assert (problem.key, problem.value) == ("tls.key_password", "")
    assert problem.text == "doesn't open the private key"
    (problem,) = found(folder, text.format("right"))
    assert problem.key == "tls.certificate"


@pytest.mark.parametrize(
    ("library", "scheme"), [("argon2", "ARGON2ID"), ("bcrypt", "BLF-CRYPT"), ("passlib", "CRYPT")]
)
@pytest.mark.parametrize("kind", ["passwd-file", "static", "sqlite"])
def test_a_library_that_passwords_need_is_missed_before_anybody_logs_in(
    folder: Path, kind: str, library: str, scheme: str
) -> None:
    hashed = {
        "ARGON2ID": "{ARGON2ID}$argon2id$v=19$m=16,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0",
        "BLF-CRYPT": "{BLF-CRYPT}$2y$05$abcdefghijklmnopqrstuuSDbE8y2DoVu7O5RM4wUQCIrGkzxvjdu",
        "CRYPT": "{CRYPT}$6$abcdefgh$" + "a" * 86,
    }[scheme]
    (folder / "passwd").write_text(f"joe:{hashed}::::::\n")
    text = f"[accounts]\nkind = '{kind}'\n"
    if kind == "static":
        text += f"static = {{joe = '{hashed}'}}\n"
    elif kind == "passwd-file":
        text += "[accounts.passwd_file]\npath = 'passwd'\n"
    else:
        (folder / "data").mkdir()
        with SqliteAccounts(folder / "data" / "accounts.sqlite") as accounts:
            accounts.add("joe", credentials=[hashed])
    (folder / "restante.toml").write_text(DEVELOPMENT + text)
    program = f"import sys; sys.modules[{library!r}] = None\n{COMMAND[2]}"
    for prelude, status in ((program, 2), (COMMAND[2], 0)):
        done = subprocess.run(
            [sys.executable, "-c", prelude, "check-config"], cwd=folder, env=environment(),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        assert ("pip install 'restante[" in done.stderr) is bool(status)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_hosts_that_only_this_machine_reaches(host: str) -> None:
    assert is_local(host)
    assert not is_local("0.0.0.0")
    assert not is_local("mail.example.org")
