"""What can be configured: the sections, their keys, their defaults, what is allowed.

Each section is a dataclass. A key that sets something of the guard or of the POP3 server has
its default and its bounds from there. Each key says in words what it allows; errors and
`docs/configuration.md` use those words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias, get_args

from restante.defaults import LDAP_ATTRIBUTES, LDAP_VERSION_ATTRIBUTES
from restante.guard.settings import GuardSettings
from restante.networks import check_host_name, parse_network
from restante.protocol.limits import MIN_IDLE_SECONDS
from restante.server.settings import Settings as ServerSettings
from restante.settings_fields import bounded, described, same

Port: TypeAlias = int | Literal["off"]
Workers: TypeAlias = int | Literal["auto"]
MailTls: TypeAlias = Literal["none", "starttls", "starttls_required"]
Kind: TypeAlias = Literal[
    "sqlite", "database", "static", "passwd-file", "postgres", "mysql", "ldap", "pam"
]
StoreKind: TypeAlias = Literal["maildir", "sqlite", "postgres"]
BodiesKind: TypeAlias = Literal["postgres", "folder", "s3"]

FILE = "the path of a file"
FOLDER = "the path of a folder"
DN = "a distinguished name"
KINDS = ", ".join(f'"{kind}"' for kind in get_args(Kind))


class Secret:
    """A text that is never shown by mistake."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return "**********" if self.text else ""


def _check_host(value: str) -> None:
    """Raises ValueError for what is neither an address nor a name, such as `host:port`."""
    if not value:
        raise ValueError("it is empty")
    if any(character.isspace() for character in value):
        raise ValueError("there is a blank in it")
    if len(value) > 255:
        raise ValueError("it has more than 255 characters")
    if set(value) & set(":/[]"):
        try:
            parse_network(value.partition("%")[0])
        except ValueError:
            raise ValueError("neither a port nor brackets nor a path belong here") from None


def _check_host_name(value: str) -> None:
    if value:
        check_host_name(value)


def _check_character(value: str) -> None:
    if len(value) > 1:
        raise ValueError(f"there are {len(value)}")


def _check_schema(value: str) -> None:
    if not re.fullmatch("[a-z_][a-z0-9_]{0,62}", value):
        raise ValueError("")


def _check_postgres_dsn(value: Secret) -> None:
    """Raises ValueError, which doesn't quote it."""
    from restante.accounts.postgres_driver import Servers  # noqa: PLC0415 - not for others

    if value.text:
        try:
            Servers(value.text, section="store.postgres")
        except ValueError as error:
            raise ValueError(str(error).removeprefix("dsn: ")) from None


def _check_node(value: str) -> None:
    if len(value) > 255 or not value.isprintable():
        raise ValueError("at most 255 characters that can be printed")


def _or_number(word: str, least: float, most: float) -> Callable[[Any], None]:
    def check(value: float | str) -> None:
        if value != word and not (isinstance(value, int | float) and least <= value <= most):
            raise ValueError("")

    return check


def listen_host() -> Any:
    """Where something listens."""
    return described("127.0.0.1", "an IP address or a host name", _check_host)


def listen_port(default: Port) -> Any:
    """Where something listens, or that it doesn't."""
    words = 'a port from 0 to 65535 (0: any that is free), or "off"'
    return described(default, words, _or_number("off", 0, 65535))


def no_networks() -> Any:
    """Addresses and networks; at first none."""
    return same(GuardSettings, "deny_networks")


def timeout_of(default: float) -> Any:
    """How long something may take."""
    return bounded(default, 0.01, unit="seconds")


def of_server(name: str) -> Any:
    """The setting of the POP3 server that has this name."""
    return same(ServerSettings, name)


def table(kind: type[Any]) -> Any:
    """A section."""
    return field(default_factory=kind)


@dataclass(frozen=True)
class ServerSection:
    hostname: str = described("", 'a host name; "" is the machine\'s own', _check_host_name)
    data: Path = described(Path("data"), FOLDER)
    notice_seconds: float = bounded(0.0, 0, 3600, unit="seconds")
    finish_seconds: float = of_server("finish_seconds")
    drain_seconds: float = of_server("drain_seconds")
    workers: Workers = described(
        "auto", 'a whole number from 1 to 1024, or "auto"', _or_number("auto", 1, 1024)
    )


@dataclass(frozen=True)
class ListenerSection:
    host: str = listen_host()
    port: int = described(
        1110, "a port from 0 to 65535 (0: any that is free)", _or_number("", 0, 65535)
    )
    tls: Literal["none", "implicit", "starttls", "starttls_required"] = "starttls"
    backlog: int = bounded(1024, 1)
    proxy_protocol: bool = False
    xclient: bool = False


@dataclass(frozen=True)
class Pop3Section:
    host: str = listen_host()
    port: Port = listen_port(1110)
    tls: MailTls = "starttls"
    tls_port: Port = listen_port(1995)
    proxy_protocol: bool = False
    xclient: bool = False
    proxy_networks: tuple[str, ...] = no_networks()
    listeners: tuple[ListenerSection, ...] = described(
        (), "tables with host, port, tls, backlog, proxy_protocol, xclient"
    )
    use_auth: Literal["pop", "sasl", "both"] = of_server("use_auth")
    allow_plaintext: bool = of_server("allow_plaintext")
    min_threads: int = of_server("min_threads")
    max_threads: int = of_server("max_threads")
    batch_size: int = of_server("batch_size")
    max_connections: int = of_server("max_connections")
    # Not `of_server`: the component's may be shorter, for tests.
    idle_timeout: float = bounded(MIN_IDLE_SECONDS, MIN_IDLE_SECONDS, unit="seconds")
    stall_timeout: float = of_server("stall_timeout")
    handshake_timeout: float = of_server("handshake_timeout")
    failure_delay: float = of_server("failure_delay")
    login_delay: int = of_server("login_delay")
    login_burst: int = of_server("login_burst")
    expire_days: int | None = bounded(None, 1, unit="days")
    expire_user_days: int | None = bounded(None, 1, unit="days")
    utf8: bool = of_server("utf8")
    utf8_headers: Literal["internationalized", "downgrade", "refuse", "as-is"] = of_server(
        "utf8_headers"
    )


@dataclass(frozen=True)
class NameSection:
    certificate: Path = described(MISSING, FILE)
    key: Path | None = described(None, FILE)
    key_password: Secret | None = described(None, "text")


@dataclass(frozen=True)
class TlsSection:
    certificate: Path | None = described(None, FILE)
    key: Path | None = described(None, FILE)
    key_password: Secret | None = described(None, "text")
    development: bool = False
    names: dict[str, NameSection] = described(
        {}, "tables with certificate, key, key_password, by host name"
    )
    client_certificates: Literal["none", "ask", "require"] = "none"
    client_ca: Path | None = described(None, FILE)


@dataclass(frozen=True)
class SmtpSection:
    host: str = listen_host()
    port: Port = listen_port(1025)
    tls: MailTls = "starttls"
    auth: bool = False
    max_recipients: int = bounded(100, 1)
    max_connections: int = bounded(200, 1)
    timeout: float = timeout_of(300.0)


@dataclass(frozen=True)
class LmtpSection:
    host: str = listen_host()
    port: Port = listen_port(1026)
    socket: Path | None = described(None, "the path of a Unix socket")
    max_recipients: int = bounded(100, 1)
    max_connections: int = bounded(200, 1)
    timeout: float = timeout_of(300.0)


@dataclass(frozen=True)
class MaildropsSection:
    root: Path | None = described(None, FOLDER)
    template: str = described("{user}", "a relative path with {user} or {name}, maybe {domain}")
    unique_ids: Literal["own", "dovecot"] = "own"
    fsync: bool = True


@dataclass(frozen=True)
class SqliteStoreSection:
    path: Path | None = described(None, FILE)


@dataclass(frozen=True)
class PostgresStoreSection:
    dsn: Secret = described(Secret(""), "the address of the database", _check_postgres_dsn)
    password: Secret | None = described(None, "text")
    schema: str = described("restante", "1 to 63 of a-z, 0-9 and _, no digit first", _check_schema)
    max_connections: int = bounded(10, 1)
    timeout: float = timeout_of(10.0)
    leases: Literal["exclusive", "snapshot"] = "exclusive"
    lease_seconds: float = bounded(60.0, 5, 3600, unit="seconds")
    node: str = described("", 'a name; "" is the machine\'s own', _check_node)


@dataclass(frozen=True)
class FolderBodiesSection:
    path: Path | None = described(None, FOLDER)


@dataclass(frozen=True)
class S3BodiesSection:
    bucket: str = described("", "a bucket's name")
    prefix: str = described("", "what the objects' keys begin with")
    endpoint: str | None = described(None, "a URL")
    region: str = "us-east-1"
    access_key: Secret | None = described(None, "text")
    secret_key: Secret | None = described(None, "text")
    ca_file: Path | None = described(None, FILE)
    timeout: float = bounded(30.0, 1, 3600, unit="seconds")


@dataclass(frozen=True)
class BodiesSection:
    kind: BodiesKind = "postgres"
    folder: FolderBodiesSection = table(FolderBodiesSection)
    s3: S3BodiesSection = table(S3BodiesSection)


@dataclass(frozen=True)
class CacheSection:
    folder: Path | None = described(None, FOLDER)
    max_octets: int = bounded(1024 * 1024 * 1024, 1024 * 1024, unit="octets")


@dataclass(frozen=True)
class StoreSection:
    kind: StoreKind = "maildir"
    undelete_days: float = bounded(7.0, 0, 3650, unit="days")
    quota_octets: int = bounded(0, 0, unit="octets")
    quota_messages: int = bounded(0, 0, unit="messages")
    collect_minutes: float | Literal["off"] = described(
        60.0, 'minutes from 0.01 to 10080, or "off"', _or_number("off", 0.01, 10080)
    )
    sqlite: SqliteStoreSection = table(SqliteStoreSection)
    postgres: PostgresStoreSection = table(PostgresStoreSection)
    bodies: BodiesSection = table(BodiesSection)
    cache: CacheSection = table(CacheSection)


@dataclass(frozen=True)
class StaticAccountSection:
    """In place of the table a text stands for the password."""

    SHORT: ClassVar[str] = "password"

    password: Secret = described(MISSING, "a password, or {SCHEME} and its data")
    email: str = described("", "an e-mail address")
    display_name: str = ""
    maildrop: str | None = described(None, "a maildrop's name")
    disabled: bool = False
    protocols: tuple[Literal["pop3", "smtp"], ...] | None = None
    networks: tuple[str, ...] = no_networks()
    expires: datetime | None = described(None, "a date and time")
    master: bool = False
    quota_octets: int | None = bounded(None, 0, unit="octets")
    quota_messages: int | None = bounded(None, 0, unit="messages")
    expire_days: int | None = bounded(None, 0, unit="days")


@dataclass(frozen=True)
class PasswdFileSection:
    path: Path | None = described(None, FILE)
    default_scheme: str = described("CRYPT", "a password scheme")
    username_format: Literal["%u", "%n"] = "%u"


@dataclass(frozen=True)
class SqlSection:
    """A database that is asked by queries of the operator's."""

    dsn: Secret = described(Secret(""), "the address of the database")
    password: Secret | None = described(None, "text")
    lookup: str = described("", "a query with {name}, or {local} and {domain}")
    lookup_address: str = described("", "a query with {address}, or {local} and {domain}")
    update: str = described("", "a statement with {new}, {old} and {name}")
    schemes: tuple[str, ...] = described((), "password schemes")
    default_scheme: str = described("CRYPT", "a password scheme")
    max_connections: int = bounded(10, 1)
    timeout: float = timeout_of(5.0)


@dataclass(frozen=True)
class LdapSection:
    url: str = described("", "ldap:// or ldaps:// and a host")
    base: str = described("", DN)
    filter: str = described("(uid={name})", "an LDAP filter with {name}")
    dn: str = described("", f"{DN} with {{name}}; then nothing is searched")
    address_filter: str = described("(mail={address})", "an LDAP filter with {address}")
    bind_dn: str = described("", DN)
    bind_password: Secret = described(Secret(""), "text")
    start_tls: bool = True
    allow_plaintext: bool = False
    ca_file: Path | None = described(None, FILE)
    scope: Literal["subtree", "onelevel", "base"] = "subtree"
    attributes: dict[str, str] = described(
        LDAP_ATTRIBUTES, "attributes by what they say of an account"
    )
    password_attribute: str = described("", "the name of an attribute")
    schemes: tuple[str, ...] = described((), "password schemes")
    version_attributes: tuple[str, ...] = described(LDAP_VERSION_ATTRIBUTES, "attributes")
    max_connections: int = bounded(10, 1)
    timeout: float = timeout_of(5.0)


@dataclass(frozen=True)
class PamSection:
    service: str = described("restante", "the name of a file in PAM's folder", _check_host)
    any_name: bool = False
    max_processes: int = bounded(2, 1)
    timeout: float = timeout_of(30.0)


@dataclass(frozen=True)
class AccountsSection:
    kind: Kind | tuple[Kind, ...] = described(
        "sqlite", f"{KINDS}, or a list of them, asked in turn"
    )
    path: Path | None = described(None, FILE)
    case_insensitive: bool = True
    scram: bool = True
    static: dict[str, StaticAccountSection] = described({}, "passwords by account name")
    passwd_file: PasswdFileSection = table(PasswdFileSection)
    postgres: SqlSection = table(SqlSection)
    mysql: SqlSection = table(SqlSection)
    ldap: LdapSection = table(LdapSection)
    pam: PamSection = table(PamSection)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The stores, in the order in which they are asked."""
        return (self.kind,) if isinstance(self.kind, str) else self.kind


@dataclass(frozen=True)
class LoginSection:
    mechanisms: tuple[str, ...] | None = described(None, "SASL mechanisms")
    ntlm: bool = of_server("ntlm")
    anonymous: str | None = described(None, "an account's name")
    external_names: tuple[str, ...] = of_server("external_names")
    master_separator: str = described("", 'one character, or ""', _check_character)
    scram_iterations: int = of_server("scram_iterations")
    remember_seconds: float = of_server("remember_seconds")
    upgrade_hashes: bool = of_server("upgrade_hashes")


@dataclass(frozen=True)
class KerberosSection:
    keytab: Path | None = described(None, FILE)
    service: str = described("pop", "the name of a service", _check_host)
    hostname: str = described(
        "", 'a host name; "" is any that the keytab has keys of', _check_host_name
    )
    realms: tuple[str, ...] = described((), "realms; [] is the keytab's own")


@dataclass(frozen=True)
class OAuthSection:
    issuer: str = described("", "the issuer's URL")
    audience: tuple[str, ...] = described((), "audiences")
    scopes: tuple[str, ...] = described((), "scopes")
    username_claim: tuple[str, ...] = described(("email",), "claims")
    leeway: float = bounded(60.0, 0, unit="seconds")
    jwks_url: str = described("", "a URL")
    jwks_file: Path | None = described(None, FILE)
    introspection_url: str = described("", "a URL")
    client_id: str = ""
    client_secret: Secret = described(Secret(""), "text")
    algorithms: tuple[str, ...] | None = described(None, "signature algorithms")
    ca_file: Path | None = described(None, FILE)
    timeout: float = timeout_of(10.0)

    @property
    def is_wanted(self) -> bool:
        """Whether tokens are accepted."""
        return bool(self.issuer or self.introspection_url)


@dataclass(frozen=True)
class DeliverySection:
    domains: tuple[str, ...] = described((), "domains")
    catch_all: str | None = described(None, "an account's name")
    separator: str = described("+", 'one character, or ""', _check_character)
    size_limit: int = bounded(50 * 1024 * 1024, 65536, unit="octets")
    trace: bool = False


@dataclass(frozen=True)
class ClientsSection:
    hostname: str = described("", 'a host name; "" is server.hostname', _check_host_name)
    login: Literal["local-part", "address"] = "local-part"
    submission_host: str = described("", 'a host name; "" is none', _check_host_name)
    submission_port: int = bounded(465, 1, 65535)
    submission_tls: Literal["implicit", "starttls"] = "implicit"


@dataclass(frozen=True)
class HistorySection:
    enabled: bool = True
    place: Literal["auto", "file", "database"] = "auto"
    max_size: int = bounded(256 * 1024 * 1024, 1024 * 1024, unit="octets")
    days: float = bounded(30.0, 0.01, 3650, unit="days")


@dataclass(frozen=True)
class LogSection:
    format: Literal["human", "json"] = "human"
    level: Literal["debug", "info", "warning", "error"] = "info"
    file: Path | None = described(None, FILE)
    protocol: bool = False


@dataclass(frozen=True)
class MetricsSection:
    host: str = listen_host()
    port: Port = listen_port("off")
    socket: Path | None = described(None, "the path of a Unix socket")
    names: tuple[str, ...] = described((), "host names")

    @property
    def is_wanted(self) -> bool:
        """Whether there is anybody to count for."""
        return self.port != "off" or self.socket is not None


@dataclass(frozen=True)
class TracingSection:
    enabled: bool = False


@dataclass(frozen=True)
class ConsoleSection:
    host: str = listen_host()
    port: Port = listen_port("off")
    tls: Literal["none", "implicit"] = "none"
    names: tuple[str, ...] = described((), "host names")
    idle_minutes: float = bounded(30.0, 1, 1440, unit="minutes")
    session_hours: float = bounded(12.0, 0.1, 168, unit="hours")


@dataclass(frozen=True)
class Settings:
    """The whole configuration, all paths absolute."""

    server: ServerSection = table(ServerSection)
    pop3: Pop3Section = table(Pop3Section)
    tls: TlsSection = table(TlsSection)
    smtp: SmtpSection = table(SmtpSection)
    lmtp: LmtpSection = table(LmtpSection)
    store: StoreSection = table(StoreSection)
    maildrops: MaildropsSection = table(MaildropsSection)
    accounts: AccountsSection = table(AccountsSection)
    login: LoginSection = table(LoginSection)
    kerberos: KerberosSection = table(KerberosSection)
    oauth: OAuthSection = table(OAuthSection)
    guard: GuardSettings = table(GuardSettings)
    delivery: DeliverySection = table(DeliverySection)
    clients: ClientsSection = table(ClientsSection)
    history: HistorySection = table(HistorySection)
    log: LogSection = table(LogSection)
    metrics: MetricsSection = table(MetricsSection)
    tracing: TracingSection = table(TracingSection)
    console: ConsoleSection = table(ConsoleSection)

    @property
    def mail_folder(self) -> Path:
        """Where the maildrops lie, for `store.kind = "maildir"`."""
        return self.maildrops.root or self.server.data / "mail"

    @property
    def mail_file(self) -> Path:
        """Where the mail is, for `store.kind = "sqlite"`."""
        return self.store.sqlite.path or self.server.data / "mail.sqlite"

    @property
    def spool_folder(self) -> Path:
        """Where copies of messages lie that an operator must deliver."""
        return self.server.data / "undelivered"

    @property
    def accounts_file(self) -> Path:
        """The database of accounts."""
        return self.accounts.path or self.server.data / "accounts.sqlite"

    @property
    def bans_file(self) -> Path | None:
        """The database of bans; None: they are in PostgreSQL, where the mail is."""
        return None if self.store.kind == "postgres" else self.server.data / "bans.sqlite"

    @property
    def history_file(self) -> Path | None:
        """The file of what sessions and deliveries did; None: it is in PostgreSQL."""
        by_store = "database" if self.store.kind == "postgres" else "file"
        place = by_store if self.history.place == "auto" else self.history.place
        return None if place == "database" else self.server.data / "history.sqlite"

    @property
    def secret_file(self) -> Path:
        """What keys for names without an account are made up from."""
        return self.server.data / "secret.key"

    @property
    def admin_socket(self) -> Path:
        """Where a running server answers questions."""
        return self.server.data / "restante.sock"

    @property
    def administrators_file(self) -> Path:
        """Who may log in to the console."""
        return self.server.data / "administrators.json"

    @property
    def debug_log_file(self) -> Path:
        """The control file of the debug log."""
        return self.server.data / "debug-log.json"

    @property
    def development_certificate(self) -> tuple[Path, Path]:
        """Where the development certificate and its key lie."""
        folder = self.server.data / "tls"
        return folder / "certificate.pem", folder / "key.pem"

    def pop3_listeners(self) -> list[tuple[str, ListenerSection]]:
        """The POP3 listeners, each with the key that its port comes from."""
        pop3 = self.pop3
        if pop3.listeners:
            return [(f"pop3.listeners.{i}.port", each) for i, each in enumerate(pop3.listeners)]
        shared = ListenerSection(
            host=pop3.host, proxy_protocol=pop3.proxy_protocol, xclient=pop3.xclient
        )
        found = []
        if pop3.port != "off":
            found.append(("pop3.port", replace(shared, port=pop3.port, tls=pop3.tls)))
        if pop3.tls_port != "off":
            found.append(("pop3.tls_port", replace(shared, port=pop3.tls_port, tls="implicit")))
        return found

    def wanting_tls(self) -> list[str]:
        """The keys because of which a certificate is needed."""
        keys = [
            key.removesuffix("port") + "tls" if each.tls != "implicit" else key
            for key, each in self.pop3_listeners()
            if each.tls != "none"
        ]
        if self.smtp.port != "off" and self.smtp.tls != "none":
            keys.append("smtp.tls")
        if self.console.port != "off" and self.console.tls != "none":
            keys.append("console.tls")
        return keys


def revealed(section: Any) -> dict[str, Any]:
    """The keys of a section and their values, secrets as plain text."""
    values = ((each.name, getattr(section, each.name)) for each in fields(section))
    return {name: value.text if isinstance(value, Secret) else value for name, value in values}
