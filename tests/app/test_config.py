"""The configuration: where it comes from, what goes before what, and how mistakes are told."""

from __future__ import annotations

from pathlib import Path
from typing import get_type_hints

import pytest

from restante.app.config.load import Loaded, Override, load, parse_flag, read, show
from restante.app.config.problem import ConfigError, Problem
from restante.app.config.settings import LoginSection, Pop3Section, Settings
from restante.app.config.toml import toml_value
from restante.guard.settings import GuardSettings
from restante.server.settings import Settings as ServerSettings


def given(folder: Path, text: str, **environ: str) -> Loaded:
    file = folder / "restante.toml"
    file.write_text(text)
    return read(file, environ=environ)


MISTAKES = [
    ('[pop3]\nport = "x"', "pop3.port", '"x"', "allowed: a port from 0 to 65535"),
    ("[pop3]\nport = 65536", "pop3.port", "65536", "allowed: a port"),
    ("[pop3]\nport = true", "pop3.port", "true", "allowed: a port"),
    ("[pop3]\nprot = 1", "pop3.prot", "", "unknown key; did you mean pop3.port?"),
    ("[pop3]\ncatch_all = 1", "pop3.catch_all", "", "did you mean delivery.catch_all?"),
    ("[pop3]\nzzz = 1", "pop3.zzz", "", "unknown key; known here: host, port"),
    ("[smpt]\nport = 1", "smpt", "", "unknown key; did you mean smtp?"),
    ("pop3 = 3", "pop3", "", "allowed: a table"),
    ("[pop3]\nidle_timeout = 30", "pop3.idle_timeout", "30", "allowed: seconds, 600 or more"),
    ('[pop3]\ntls = "yes"', "pop3.tls", '"yes"', 'allowed: "none", "starttls"'),
    ("[pop3]\nbatch_size = 3.5", "pop3.batch_size", "3.5", "allowed: octets"),
    ("[[pop3.listeners]]\nport = -1", "pop3.listeners.0.port", "-1", "allowed: a port"),
    ('[pop3]\nutf8 = "true"', "pop3.utf8", '"true"', "allowed: true or false"),
    ("[delivery]\ndomains = 'x'", "delivery.domains", '"x"', "allowed: a list of domains"),
    ("[delivery]\nseparator = '+-'", "delivery.separator", '"+-"', "allowed: one character"),
    ("[tls]\ncertificate = 3", "tls.certificate", "3", "allowed: the path of a file"),
    ('[tls.names."a.example"]\nkey = "k"', "tls.names.a.example.certificate", "", "missing"),
    ("[accounts.static.joe]\nemail = 'j@x'", "accounts.static.joe.password", "", "missing"),
    ("[accounts.static]\njoe = 3", "accounts.static.joe", "", "allowed: passwords by account"),
    ("[log]\nfile = [1]", "log.file", "[1]", "allowed: the path of a file"),
    ("[pop3]\nhost = 'a b'", "pop3.host", '"a b"', "host name (there is a blank in it)"),
    ("[smtp]\nhost = 'a:25'", "smtp.host", '"a:25"', "(neither a port nor brackets nor"),
    ("[server]\nhostname = 'a b'", "server.hostname", '"a b"', "(' ' is in it; letters, digits"),
    ("[server]\nhostname = 'a/b'", "server.hostname", '"a/b"', "('/' is in it; letters"),
    ("[server]\nhostname = 'é.fr'", "server.hostname", '"é.fr"', "as A-labels (xn--…))"),
    (
        "[kerberos]\nhostname = 'a b'",
        "kerberos.hostname",
        '"a b"',
        "(' ' is in it",
    ),
    ("[pop3]\nstall_timeout = nan", "pop3.stall_timeout", "nan", "allowed: seconds, 0.01"),
    ("[guard]\ndelay_max = 301", "guard.delay_max", "301", "allowed: seconds from 0 to 300"),
    ("[guard]\ndelay_first = 50", "guard.delay_first", "50.0", "allowed is up to delay_max=30"),
    ("[guard]\ndeny_networks = ['x']", "guard.deny_networks", '["x"]', "'x' does not appear"),
    ("[pop3]\nproxy_networks = ['10.0.0.1/8']", "pop3.proxy_networks", '["10.0.0.1/8"]', "host b"),
]


@pytest.mark.parametrize(("text", "key", "value", "says"), MISTAKES)
def test_a_mistake_is_told_with_file_key_value_and_what_is_allowed(
    folder: Path, text: str, key: str, value: str, says: str
) -> None:
    (problem,) = given(folder, text).problems
    assert (problem.place, problem.key, problem.value) == ("restante.toml", key, value)
    assert says in problem.text


def test_all_mistakes_are_told_at_once_wherever_they_are(folder: Path) -> None:
    (folder / "restante.toml").write_text("[pop3]\nport = -1\nmax_threads = 0\n[log]\nlevel = 1\n")
    environ = {"RESTANTE_SMTP__PORT": "many", "RESTANTE_POP3_TLS": "none"}
    with pytest.raises(ConfigError) as caught:
        load(environ=environ, overrides=[parse_flag("lmtp.timeout=never")])
    assert {(Path(each.place).name, each.key) for each in caught.value.problems} == {
        ("restante.toml", "pop3.port"),
        ("restante.toml", "pop3.max_threads"),
        ("restante.toml", "log.level"),
        ("RESTANTE_SMTP__PORT", "smtp.port"),
        ("RESTANTE_POP3_TLS", "pop3.tls"),
        ("--set", "lmtp.timeout"),
    }
    assert "RESTANTE_POP3__TLS" in str(caught.value)


def test_a_byte_order_mark_is_no_mistake(folder: Path) -> None:
    (folder / "x.toml").write_bytes(b"\xef\xbb\xbf[pop3]\nport = 7\n")
    assert load(folder / "x.toml", environ={}).settings.pop3.port == 7


def test_what_the_server_and_the_guard_have_is_declared_there_only() -> None:
    """Names and types of keys that stand for their settings, and nothing else, are repeated."""
    theirs = get_type_hints(ServerSettings)
    for section in (Pop3Section, LoginSection):
        same = {name: hint for name, hint in get_type_hints(section).items() if name in theirs}
        assert same == {name: theirs[name] for name in same}
    assert get_type_hints(Settings)["guard"] is GuardSettings


def test_what_is_right_beside_a_mistake_counts(folder: Path) -> None:
    settings = given(folder, "[pop3]\nport = 1\nmax_threads = 'x'\n").settings
    assert (settings.pop3.port, settings.pop3.max_threads) == (1, 32)


@pytest.mark.parametrize(
    "text",
    [
        "[accounts.static]\njoe = {pasword = 'hush'}",
        "[accounts.static.joe]\npassword = 3\nemail = 'hush'\nsecret = 'hush'",
        "[accounts]\nstatic = 'hush'",
        "[tls]\nkey_pasword = 'hush'",
        "[tls]\nkey_password = ['hush']",
        "accounts = 'hush'",
    ],
)
def test_secrets_are_never_shown(folder: Path, text: str) -> None:
    loaded = given(folder, text)
    assert loaded.problems
    assert "hush" not in "".join(map(str, loaded.problems))


def test_show_hides_secrets(folder: Path) -> None:
    text = "[accounts.static]\njoe = 'hush'\n[tls]\nkey_password = 'hush'"
    loaded = given(folder, text)
    assert not loaded.problems
    assert "hush" not in show(loaded.settings) + repr(loaded.settings)


def test_flags_go_before_environment_before_file_before_defaults(folder: Path) -> None:
    (folder / "restante.toml").write_text("[pop3]\nport = 1\ntls_port = 1\nmin_threads = 1\n")
    environ = {"RESTANTE_POP3__PORT": "2", "RESTANTE_POP3__TLS_PORT": "2"}
    pop3 = load(environ=environ, overrides=[parse_flag("pop3.port=3")]).settings.pop3
    assert (pop3.port, pop3.tls_port, pop3.min_threads, pop3.max_threads) == (3, 2, 1, 32)


def test_text_of_the_environment_becomes_what_its_key_wants() -> None:
    environ = {
        "RESTANTE_POP3__PORT": "off",
        "RESTANTE_POP3__UTF8": "false",
        "RESTANTE_POP3__EXPIRE_DAYS": "30",
        "RESTANTE_SERVER__HOSTNAME": "123",
        "RESTANTE_SERVER__DRAIN_SECONDS": "3",
        "RESTANTE_DELIVERY__DOMAINS": "a.example, b.example",
        "RESTANTE_POP3__LISTENERS": "[{port = 7}]",
        "RESTANTE_ACCOUNTS__STATIC": '{joe = "x"}',
        "RESTANTE_HOME": "/anywhere",
    }
    settings = load(environ=environ).settings
    assert (settings.pop3.port, settings.pop3.utf8, settings.pop3.expire_days) == ("off", False, 30)
    assert (settings.server.hostname, settings.server.drain_seconds) == ("123", 3.0)
    assert settings.delivery.domains == ("a.example", "b.example")
    assert [each.port for each in settings.pop3.listeners] == [7]
    assert list(settings.accounts.static) == ["joe"]


def test_a_list_may_be_toml_too() -> None:
    settings = load(environ={"RESTANTE_DELIVERY__DOMAINS": '["a.example"]'}).settings
    assert settings.delivery.domains == ("a.example",)


def test_paths_in_the_file_are_relative_to_the_file_and_others_to_the_current_folder(
    folder: Path,
) -> None:
    other = folder / "etc"
    other.mkdir()
    text = "[tls]\ncertificate = 'c.pem'\n[tls.names.x]\ncertificate = 'x.pem'\n"
    (other / "r.toml").write_text(text)
    environ = {"RESTANTE_CONFIG": "etc/r.toml", "RESTANTE_LOG__FILE": "log"}
    loaded = load(environ=environ, overrides=[Override("--set", ("tls", "key"), "k.pem")])
    settings = loaded.settings
    assert loaded.file == other / "r.toml"
    assert settings.tls.certificate == other / "c.pem"
    assert settings.tls.names["x"].certificate == other / "x.pem"
    assert settings.server.data == other / "data"
    assert settings.mail_folder == other / "data" / "mail"
    assert (settings.tls.key, settings.log.file) == (folder / "k.pem", folder / "log")


def test_without_a_file_data_lie_in_the_current_folder_and_a_certificate_is_made(
    folder: Path,
) -> None:
    settings = load(environ={}).settings
    assert settings.server.data == folder / "data"
    assert settings.tls.development


def test_with_a_file_no_certificate_is_made_unasked(folder: Path) -> None:
    assert not given(folder, "").settings.tls.development


@pytest.mark.parametrize(
    ("octets", "says"), [(b"[pop3\n", "isn't TOML"), (b"\xff", "isn't UTF-8"), (None, "can't be")]
)
def test_a_file_that_cannot_be_read(folder: Path, octets: bytes | None, says: str) -> None:
    file = folder / "x.toml"
    if octets is not None:
        file.write_bytes(octets)
    with pytest.raises(ConfigError, match=says):
        read(file, environ={})


@pytest.mark.parametrize("text", ["pop3.port", "port=1", ".port=1", "=1", ""])
def test_a_flag_that_sets_nothing(text: str) -> None:
    with pytest.raises(ConfigError, match=r"section\.key=value"):
        parse_flag(text)


def test_unknown_keys_of_flags_and_environment_are_mistakes() -> None:
    loaded = read(environ={"RESTANTE_POP3__PROT": "1"}, overrides=[parse_flag("a.b.c=1")])
    assert [each.place for each in loaded.problems] == ["RESTANTE_POP3__PROT", "--set"]


def test_a_problem_reads_like_the_line_it_is_about() -> None:
    problem = Problem("f.toml", "pop3.port", '"x"', "allowed: y")
    assert str(problem) == 'f.toml: pop3.port = "x": allowed: y'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('a"\\\n', '"a\\"\\\\\\U0000000A"'),
        ({"a b": [1, True]}, '{"a b" = [1, true]}'),
        (1.5, "1.5"),
    ],
)
def test_values_as_toml(value: object, text: str) -> None:
    assert toml_value(value) == text
