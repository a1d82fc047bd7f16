"""Mistakes that no key shows by itself: files, folders, addresses, and keys that don't fit."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args
from urllib.parse import parse_qsl, urlsplit

from restante.accounts.contract import Account, AccountError
from restante.accounts.passwd_file import PasswdFile
from restante.accounts.schemes import needs_rehash, split_credential, verify
from restante.app import build, tracing
from restante.app.accounts import (
    ReplaceableAccounts,
    find_account,
    make_account,
    make_sqlite_accounts,
    make_store_of,
)
from restante.app.config.load import Loaded
from restante.app.config.problem import KeyMistake, Problem
from restante.app.config.read_tables import hint_at
from restante.app.config.settings import (
    AccountsSection,
    ClientsSection,
    ConsoleSection,
    Kind,
    LmtpSection,
    MetricsSection,
    Pop3Section,
    Secret,
    Settings,
    SmtpSection,
)
from restante.app.config.toml import toml_value
from restante.app.files import is_writable
from restante.app.maildrops import folder_of_mail, make_store
from restante.app.metrics import library_problem
from restante.app.tls import certificates
from restante.extras import install_command
from restante.guard.guard import Guard
from restante.server.mechanisms import mechanisms
from restante.server.tls.settings import Certificate
from restante.stores.contract import StoreError
from restante.stores.zstd import has_zstd

Finding = tuple[str, str]
"""A key, and what is wrong with it."""

_Listens = SmtpSection | LmtpSection | ConsoleSection | MetricsSection


def check(loaded: Loaded) -> list[Problem]:
    """Everything wrong with the configuration as a whole, reading mistakes first."""
    broken = {problem.key for problem in loaded.problems}
    found = list(loaded.problems)
    for look, warning in _LOOKS:
        for key, text in look(loaded.settings):
            if key not in broken:
                value = _value(loaded.settings, key)
                problem = Problem(loaded.place(key), key, value, text, warning)
                if problem not in found:  # the store and its accounts may miss the same
                    found.append(problem)
    found += _readable_secrets(loaded)
    return found


def _told(key: str, error: Exception) -> Finding:
    """The error as a finding: with its own key, if it says which, else with this one.

    What refuses an argument names it first, and the keys of a section have the arguments' names.
    """
    if isinstance(error, KeyMistake):
        return error.key, error.text
    name, colon, text = str(error).partition(": ")
    if colon and name.isidentifier() and hint_at((*key.split("."), name)) is not None:
        return f"{key}.{name}", text
    return key, str(error)


def _value(settings: Settings, key: str) -> str:
    """As in the file, for plain values that are no secrets."""
    value: object = settings
    for part in key.split("."):
        value = value[int(part)] if isinstance(value, tuple) else getattr(value, part, None)
    if isinstance(value, Path):
        return str(value)
    return toml_value(value) if isinstance(value, (str, int, float)) else ""


def addresses(settings: Settings) -> list[tuple[str, str, int]]:
    """All that is listened on: key, host, port."""
    found = [(key, each.host, each.port) for key, each in settings.pop3_listeners()]
    sections: tuple[tuple[str, _Listens], ...] = (
        ("smtp.port", settings.smtp),
        ("lmtp.port", settings.lmtp),
        ("console.port", settings.console),
        ("metrics.port", settings.metrics),
    )
    for key, section in sections:
        if section.port != "off":
            found.append((key, section.host, section.port))
    return found


def _observing(settings: Settings) -> Iterator[Finding]:
    """What metrics and traces need beside the server."""
    metrics = settings.metrics
    if metrics.is_wanted and (problem := library_problem()):
        yield "metrics.port" if metrics.port != "off" else "metrics.socket", problem
    if settings.tracing.enabled and (problem := tracing.library_problem()):
        yield "tracing.enabled", problem
    if metrics.names and not metrics.is_wanted:
        yield "metrics.names", "has no effect; allowed: with metrics.port or metrics.socket"


def _ports(settings: Settings) -> Iterator[Finding]:
    found = addresses(settings)
    mail = [key for key, _, _ in found if key not in ("console.port", "metrics.port")]
    if not mail and settings.lmtp.socket is None:
        yield "pop3.port", "nothing to listen on: every port is off"
    for i, (key, host, port) in enumerate(found):
        for other_key, other_host, other_port in found[:i]:
            if port and port == other_port and _overlap(host, other_host):
                yield key, f"the same address as {other_key}; allowed: another port"
                break


def _hosts(settings: Settings) -> Iterator[Finding]:
    """Hosts that nothing can listen on: names that don't resolve, other machines' addresses."""
    tried: dict[str, str] = {}
    for key, host, _ in addresses(settings):
        if host not in tried:
            tried[host] = _why_not_here(host)
        if tried[host]:
            yield _host_key(settings, key), tried[host]


def _host_key(settings: Settings, key: str) -> str:
    section, _, rest = key.partition(".")
    return f"{section}.{rest.rpartition('.')[0]}.host" if "." in rest else f"{section}.host"


def _why_not_here(host: str) -> str:
    """Why nothing can listen on a host; "" if something can."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        return (
            "doesn't resolve; allowed: an IP address, or a name that leads to one of this machine's"
        )
    for family, kind, _, _, address in found:
        try:
            with socket.socket(family, kind) as probe:
                probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return f"{address[0]} is no address of this machine"
    return ""


def _overlap(one: str, other: str) -> bool:
    """Whether two hosts share an address. Sockets for IPv6 take no connections of IPv4."""
    return any(
        family == other_family and (address == other_address or "*" in (address, other_address))
        for family, address in _reach(one)
        for other_family, other_address in _reach(other)
    )


def _reach(host: str) -> list[tuple[int, str]]:
    """Families and addresses of a host; "*" for all of a family's."""
    known = {
        "": [(4, "*"), (6, "*")],
        "0.0.0.0": [(4, "*")],  # noqa: S104 - to recognise, not to bind
        "::": [(6, "*")],
        "localhost": [(4, "127.0.0.1"), (6, "::1")],
    }
    if host in known:
        return known[host]
    try:
        return [(ipaddress.ip_address(host).version, str(ipaddress.ip_address(host)))]
    except ValueError:
        return [(4, host), (6, host)]


def is_local(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _certificates(settings: Settings) -> Iterator[Finding]:
    tls = settings.tls
    default, by_name = certificates(settings)
    wanting = settings.wanting_tls()
    if default is None and wanting:
        yield (
            "tls.certificate",
            f"missing, but wanted by {', '.join(wanting)}; allowed: a PEM file, or"
            " tls.development = true, or no TLS there",
        )
    if tls.certificate is None:
        for key in ("key", "key_password", "names"):
            if getattr(tls, key):
                yield f"tls.{key}", "goes with tls.certificate, which is missing"
    elif default is not None:
        yield from _certificate("tls", default)
    for name, certificate in by_name.items():
        yield from _certificate(f"tls.names.{name}", certificate)
    if tls.client_certificates != "none" and tls.client_ca is None:
        yield "tls.client_ca", "missing, but wanted by tls.client_certificates"
    if tls.client_ca is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(tls.client_ca)
        except OSError as error:
            yield "tls.client_ca", _why(error, "isn't a PEM file of certificates")


def _certificate(key: str, certificate: Certificate) -> Iterator[Finding]:
    for name, path in zip(("certificate", "key"), certificate.files(), strict=False):
        try:
            path.read_bytes()
        except OSError as error:
            yield f"{key}.{name}", _why(error, "")
            return
    try:
        certificate.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    except OSError as error:
        yield _why_not_loaded(key, certificate, error)


def _why_not_loaded(key: str, certificate: Certificate, error: OSError) -> Finding:
    """The key that is to blame, and why, as far as OpenSSL says."""
    reason = getattr(error, "reason", None) or ""
    if "MISMATCH" in reason:
        return (
            f"{key}.certificate",
            f"isn't the certificate of the key in {certificate.files()[-1]}",
        )
    if certificate.password and ("BAD_DECRYPT" in reason or "BAD_PASSWORD" in reason or not reason):
        return f"{key}.key_password", "doesn't open the private key"
    said = f" ({reason.replace('_', ' ').lower()})" if reason else ""
    text = f"isn't a PEM certificate with the key that fits it{said}"
    return f"{key}.certificate", _why(error, text)


def _why(error: OSError, otherwise: str) -> str:
    if isinstance(error, ssl.SSLError) or error.strerror is None:
        return otherwise
    return f"can't be read: {error.strerror}"


def _expired(settings: Settings) -> Iterator[Finding]:
    try:
        from cryptography import x509  # noqa: PLC0415 - an extra, and slow to load
    except ImportError:
        return
    default, by_name = certificates(settings)
    all_of_them = {f"tls.names.{name}.certificate": each for name, each in by_name.items()}
    if default is not None:
        all_of_them["tls.certificate"] = default
    for key, each in all_of_them.items():
        try:
            found = x509.load_pem_x509_certificate(Path(each.chain).read_bytes())
        except (OSError, ValueError):
            continue
        if found.not_valid_after_utc <= datetime.now(UTC):
            yield key, f"expired on {found.not_valid_after_utc:%Y-%m-%d}"


MAX_SOCKET_PATH = 107
"""Octets of a Unix socket's path on Linux; elsewhere it may be a little less."""


def _folders(settings: Settings) -> Iterator[Finding]:
    """Folders that the server makes or writes to."""
    files = {"accounts.path": settings.accounts.path}
    wanted = {"server.data": settings.server.data}
    match settings.store.kind:
        case "maildir" if settings.maildrops.root is not None:
            wanted["maildrops.root"] = settings.maildrops.root
        case "sqlite":
            files["store.sqlite.path"] = settings.store.sqlite.path
        case "postgres":
            bodies, cache = settings.store.bodies, settings.store.cache
            if bodies.kind == "folder" and bodies.folder.path is not None:
                wanted["store.bodies.folder.path"] = bodies.folder.path
            if cache.folder is not None:
                wanted["store.cache.folder"] = cache.folder
    wanted |= {key: file.parent for key, file in files.items() if file is not None}
    for key, folder in wanted.items():
        if not is_writable(folder):
            yield key, f"{folder} isn't a folder that this user can write to"
    for key, file in files.items():
        if file is not None and file.is_dir():
            yield key, "is a folder; allowed: the path of a file"
        elif file is not None and file.exists() and not os.access(file, os.R_OK | os.W_OK):
            yield key, "can't be read and written to by this user"


def _files(settings: Settings) -> Iterator[Finding]:
    """Files that the server makes, in folders that it doesn't make."""
    made = {settings.server.data, folder_of_mail(settings)}
    sockets = {"lmtp.socket": settings.lmtp.socket, "metrics.socket": settings.metrics.socket}
    for key, file in {"log.file": settings.log.file, **sockets}.items():
        if file is None:
            continue
        if not file.parent.is_dir() and file.parent not in made:
            yield key, f"there is no folder {file.parent}"
        elif not is_writable(file.parent):
            yield key, f"{file.parent} isn't a folder that this user can write to"
        elif file.is_dir():
            yield key, "is a folder; allowed: the path of a file"
        elif key in sockets and file.exists() and not file.is_socket():
            yield key, "there is a file that isn't a socket"
        elif key == "log.file" and file.exists() and not os.access(file, os.W_OK):
            yield key, "can't be written to by this user"
    for key, path in sockets.items():
        if path is not None and _is_too_long(path):
            yield key, f"is longer than a socket's path may be, {MAX_SOCKET_PATH} octets"


def _is_too_long(path: Path) -> bool:
    return len(os.fsencode(path)) > MAX_SOCKET_PATH


def _unlisted(settings: Settings) -> Iterator[Finding]:
    """Mail can be expired of accounts alone that are known without their logging in."""
    listed = ("sqlite", "database", "static", "passwd-file")
    others = [kind for kind in settings.accounts.kinds if kind not in listed]
    for key in ("expire_days", "expire_user_days"):
        if getattr(settings.pop3, key) is not None and others:
            kinds = ", ".join(others)
            yield f"pop3.{key}", f"no mail is removed: accounts of kind {kinds} can't be listed"


def _history(settings: Settings) -> Iterator[Finding]:
    """What stands where the history is to be."""
    file = settings.history_file if settings.history.enabled else None
    if file is not None and file.is_dir():
        yield "history.enabled", f"{file} is a folder, so no history can be kept"
    elif file is not None and file.exists() and not os.access(file, os.W_OK):
        yield "history.enabled", f"{file} can't be written to by this user: no history is kept"
    if not settings.history.enabled and _is_set(replace(settings.history, enabled=True)):
        yield "history", "has no effect while history.enabled = false"


def _history_place(settings: Settings) -> Iterator[Finding]:
    if settings.history.place == "database" and settings.store.kind != "postgres":
        yield "history.place", 'allowed with store.kind = "postgres" alone'


def _readable(settings: Settings) -> Iterator[Finding]:
    """Files that are only read once somebody logs in."""
    for key, file in (
        ("oauth.ca_file", settings.oauth.ca_file),
        ("oauth.jwks_file", settings.oauth.jwks_file),
    ):
        try:
            if file is not None:
                file.open("rb").close()
        except OSError as error:
            yield key, f"can't be read: {error.strerror}"


def _maildrops(settings: Settings) -> Iterator[Finding]:
    """What is wrong with the store; databases aren't asked."""
    given, kind = settings.store, settings.store.kind
    try:
        make_store(settings)
    except (ValueError, OSError, StoreError) as error:
        yield _told("maildrops.template" if kind == "maildir" else f"store.{kind}", error)
    sections = (
        ("maildir", "maildrops", settings.maildrops),
        ("sqlite", "store.sqlite", given.sqlite),
    )
    for wanted, name, section in sections:
        if kind != wanted and _is_set(section):
            yield name, f'has no effect; allowed: with store.kind = "{wanted}"'
    if kind != "postgres":
        for name in ("postgres", "bodies", "cache"):
            if _is_set(getattr(given, name)):
                yield f"store.{name}", 'has no effect; allowed: with store.kind = "postgres"'
        return
    for name in ("folder", "s3"):
        if given.bodies.kind != name and _is_set(getattr(given.bodies, name)):
            text = f'has no effect; allowed: with store.bodies.kind = "{name}"'
            yield f"store.bodies.{name}", text
    if given.bodies.kind == "postgres" and _is_set(given.cache):
        yield "store.cache", 'has no effect; allowed: with store.bodies.kind = "folder" or "s3"'
    elif given.cache.folder is None and _is_set(given.cache):
        yield "store.cache.max_octets", "has no effect; allowed: with store.cache.folder"
    if given.postgres.leases == "snapshot" and given.postgres.lease_seconds != 60:
        text = 'has no effect; allowed: with store.postgres.leases = "exclusive"'
        yield "store.postgres.lease_seconds", text


def _compression(settings: Settings) -> Iterator[Finding]:
    """What nodes that share bodies should have alike."""
    if settings.store.kind == "postgres" and not has_zstd():
        text = (
            "zstd isn't installed: bodies aren't compressed, and those that other nodes have"
            f" compressed can't be read: {install_command('zstd')}"
        )
        yield "store.kind", text


def _accounts(settings: Settings) -> Iterator[Finding]:
    given = settings.accounts
    if not given.kinds or len(set(given.kinds)) < len(given.kinds):
        yield "accounts.kind", "names no store, or one twice"
    if "static" in given.kinds and not given.static:
        yield "accounts.static", 'missing, but wanted by accounts.kind = "static"'
    if "static" not in given.kinds and given.static:
        yield "accounts.static", 'has no effect; allowed: with accounts.kind = "static"'
    fine = True
    for name, each in given.static.items():
        try:
            make_account(name, each)
        except ValueError as error:
            fine = False
            yield f"accounts.static.{name}", str(error)
    for kind in given.kinds if fine else ():
        yield from _store(settings, kind)


def _store(settings: Settings, kind: Kind) -> Iterator[Finding]:
    """What is wrong with one store; databases and directories aren't asked."""
    key = "accounts." + {
        "sqlite": "path",
        "database": "kind",
        "passwd-file": "passwd_file.path",
    }.get(kind, kind)
    listed: Sequence[Account] = ()
    try:
        if kind != "sqlite":
            store = make_store_of(settings, kind)
            if isinstance(store, PasswdFile | ReplaceableAccounts):
                listed = store.list()
        elif settings.accounts_file.is_file():
            with make_sqlite_accounts(settings) as database:
                listed = database.list()
        yield from ((key, text) for text in _unusable(listed))
    except (ValueError, AccountError, ImportError) as error:
        yield _told(key, error)


_BY_LIBRARIES = {"ARGON2I", "BLF-CRYPT", "SHA512-CRYPT", "SHA256-CRYPT", "MD5-CRYPT"}
"""Schemes that the standard library doesn't have."""


def _unusable(accounts: Sequence[Account]) -> Iterator[str]:
    """Why passwords of these accounts can't be checked: libraries that are missing."""
    samples = {
        split_credential(each)[0]: each for account in accounts for each in account.credentials
    }
    for scheme, credential in samples.items():
        try:
            if scheme == "ARGON2ID":
                needs_rehash(credential)  # doesn't take the time that checking takes
            elif scheme in _BY_LIBRARIES:
                verify(credential, "x")
        except AccountError as error:
            yield str(error)
        except (ValueError, MemoryError):  # one that is damaged is no mistake in the configuration
            continue


def _login(settings: Settings) -> Iterator[Finding]:
    """What logging in needs beside accounts."""
    made: dict[str, Any] = {}
    for key, make in _LOGIN_PARTS.items():
        try:
            made[key] = make(settings)
        except (ValueError, OSError, ImportError) as error:
            yield key, str(error)
    if len(made) == len(_LOGIN_PARTS):
        try:
            own = build.server_settings(settings)
            mechanisms(own, made["kerberos.keytab"], made["oauth"])
        except ValueError as error:  # it begins with the setting's name
            name, _, text = str(error).partition("=")
            section = "pop3" if hasattr(settings.pop3, name) else "login"
            yield f"{section}.{name}", text
    anonymous = settings.login.anonymous
    if anonymous is not None and not _exists(settings, anonymous):
        yield "login.anonymous", "there is no such account, or it is disabled"


_LOGIN_PARTS: dict[str, Callable[[Settings], object]] = {
    "guard": lambda settings: Guard(settings.guard),
    "oauth": build.make_oauth,
    "kerberos.keytab": build.make_kerberos,
    "pop3.proxy_networks": build.make_listeners,
}


def _idle(settings: Settings) -> Iterator[Finding]:
    """What was set, but isn't used because of what was not."""
    given = settings.accounts
    for kind in get_args(Kind):
        section = getattr(given, kind.replace("-", "_"), None)
        if is_dataclass(section) and _is_set(section) and kind not in given.kinds:
            key = f"accounts.{kind.replace('-', '_')}"
            yield key, f'has no effect; allowed: with accounts.kind = "{kind}"'
    for name, wanted in (("path", ("sqlite",)), ("scram", ("sqlite", "database"))):
        differs = getattr(given, name) != getattr(AccountsSection(), name)
        if differs and not set(wanted) & set(given.kinds):
            words = " or ".join(f'"{kind}"' for kind in wanted)
            yield f"accounts.{name}", f"has no effect; allowed: with accounts.kind = {words}"
    if _is_set(settings.oauth) and not settings.oauth.is_wanted:
        yield "oauth", "has no effect; allowed: with oauth.issuer or oauth.introspection_url"
    if _is_set(settings.kerberos) and settings.kerberos.keytab is None:
        yield "kerberos", "has no effect; allowed: with kerberos.keytab"
    yield from _idle_proxies(settings)
    yield from _idle_clients(settings)


def _idle_clients(settings: Settings) -> Iterator[Finding]:
    """What is told to clients only with a server for sending."""
    given, default = settings.clients, ClientsSection()
    for name in ("submission_port", "submission_tls"):
        if not given.submission_host and getattr(given, name) != getattr(default, name):
            yield f"clients.{name}", "has no effect; allowed: with clients.submission_host"


def _is_set(section: Any) -> bool:
    return bool(section != type(section)())


def _idle_proxies(settings: Settings) -> Iterator[Finding]:
    pop3 = settings.pop3
    apart = ("host", "port", "tls", "tls_port", "proxy_protocol", "xclient")
    default = Pop3Section()
    unused = [
        name for name in apart if pop3.listeners and getattr(pop3, name) != getattr(default, name)
    ]
    for name in unused:
        yield f"pop3.{name}", "has no effect; allowed: in each of pop3.listeners"
    heeded = any(each.proxy_protocol or each.xclient for _, each in settings.pop3_listeners())
    if pop3.proxy_networks and not heeded and not unused:
        yield "pop3.proxy_networks", "has no effect; allowed: with proxy_protocol or xclient"


def _idle_mail(settings: Settings) -> Iterator[Finding]:
    """Keys that count again when something is switched on."""
    smtp, lmtp, pop3 = settings.smtp, settings.lmtp, settings.pop3
    sections: tuple[tuple[str, SmtpSection | LmtpSection, bool], ...] = (
        ("smtp", smtp, smtp.port == "off"),
        ("lmtp", lmtp, lmtp.port == "off" and lmtp.socket is None),
    )
    for name, section, is_off in sections:
        default = type(section)()
        for each in fields(section):
            differs = getattr(section, each.name) != getattr(default, each.name)
            if is_off and differs and each.name not in ("host", "port"):
                yield f"{name}.{each.name}", f'has no effect while {name}.port is "off"'
    if settings.console.port == "off" and _is_set(settings.console):
        yield "console", 'has no effect while console.port is "off"'
    if pop3.login_burst > 1 and not pop3.login_delay:
        yield "pop3.login_burst", "has no effect without pop3.login_delay"


def _delivery(settings: Settings) -> Iterator[Finding]:
    for domain in settings.delivery.domains:
        if "*" in domain:
            text = f"{domain!r}: each domain is named; with [] mail for all domains is taken"
            yield "delivery.domains", text
        elif not domain or set(domain) & set(" @<>/\\,;:") or domain.startswith("."):
            yield "delivery.domains", f"{domain!r} is not a domain"
    name = settings.delivery.catch_all
    if name is not None and not _exists(settings, name, by_address=True):
        yield "delivery.catch_all", "there is no such account, or it is disabled"
    if settings.smtp.auth and settings.smtp.tls == "none":
        yield "smtp.auth", 'needs smtp.tls: "starttls" or "starttls_required"'


def _console(settings: Settings) -> Iterator[Finding]:
    console = settings.console
    if console.port == "off":
        return
    if console.tls == "none" and not is_local(console.host):
        yield "console.host", 'needs console.tls = "implicit", or an address such as 127.0.0.1'
    missing_library = _why_no_console()
    if missing_library:
        yield "console.port", missing_library


def _why_no_console() -> str:
    """Why the console can't run; "" if it can."""
    if not hasattr(socket, "AF_UNIX") or not hasattr(os, "fork"):
        return 'not on this system; allowed: "off"'
    for name in ("starlette", "jinja2", "uvicorn"):
        if find_spec(name) is None:
            return f"the console needs {name}: {install_command('console')}"
    return ""


def _exists(settings: Settings, name: str, *, by_address: bool = False) -> bool:
    if settings.accounts.kinds == ("sqlite",) and not settings.accounts_file.exists():
        return False
    try:
        account = find_account(settings, name, by_address=by_address)
    except (ValueError, AccountError, ImportError):
        return True  # what is wrong with the accounts is reported already
    return account is not None and not account.disabled and not account.assumed


def _exposed(settings: Settings) -> Iterator[Finding]:
    for key, each in settings.pop3_listeners():
        if is_local(each.host):
            continue
        if each.tls == "none" and not settings.pop3.allow_plaintext:
            yield key, "without TLS only clients on this machine can log in with a password"
        elif settings.pop3.allow_plaintext and each.tls in ("none", "starttls"):
            text = f"passwords for {each.host} may cross the network in the clear, for all to read"
            yield "pop3.allow_plaintext", text
    smtp = settings.smtp
    if smtp.port != "off" and not is_local(smtp.host) and not settings.delivery.domains:
        text = "mail for any domain is taken, by what stands before the @; name your domains"
        yield "delivery.domains", text
    if _is_too_long(settings.admin_socket):
        yield "server.data", "is too long a path for the socket that `restante status` asks by"
    if settings.lmtp.port != "off" and not is_local(settings.lmtp.host):
        yield "lmtp.host", "LMTP asks nobody who they are: whoever reaches it can deliver"


def _readable_secrets(loaded: Loaded) -> list[Problem]:
    if loaded.file is None or os.name != "posix" or not loaded.file.stat().st_mode & 0o004:
        return []
    key = next(filter(loaded.is_in_file, _secrets(loaded.settings)), None)
    if key is None:
        return []
    text = "holds passwords and everybody on this machine may read it: chmod o= it"
    return [Problem(loaded.place(key), key, "", text, True)]


def _secrets(section: Any, above: str = "") -> Iterator[str]:
    """The keys of all secrets that were given."""
    for each in fields(section):
        value, key = getattr(section, each.name), above + each.name
        if is_dataclass(value):
            yield from _secrets(value, f"{key}.")
        elif isinstance(value, dict):
            yield from (key for one in value.values() if is_dataclass(one) and any(_secrets(one)))
        elif isinstance(value, Secret) and _holds_secret(each.name, value.text):
            yield key


def _holds_secret(name: str, text: str) -> bool:
    """Whether there is anything to hide: the address of a database need not have a password."""
    if name != "dsn":
        return bool(text)
    try:
        url = urlsplit(text)
    except ValueError:
        return True
    return bool(url.password) or any(
        key.endswith("password") and value for key, value in parse_qsl(url.query)
    )


_LOOKS: tuple[tuple[Callable[[Settings], Iterator[Finding]], bool], ...] = (
    (_ports, False),
    (_hosts, False),
    (_certificates, False),
    (_folders, False),
    (_files, False),
    (_readable, False),
    (_maildrops, False),
    (_history_place, False),
    (_accounts, False),
    (_login, False),
    (_observing, False),
    (_idle, False),
    (_delivery, False),
    (_console, False),
    (_compression, True),
    (_idle_mail, True),
    (_history, True),
    (_expired, True),
    (_unlisted, True),
    (_exposed, True),
)
