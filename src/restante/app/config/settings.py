"""What can be configured: the sections, their keys, their defaults, what is allowed.

Each key says in words what it allows; errors and `docs/configuration.md` use those words.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from restante.accounts.ldap import ATTRIBUTES, VERSION_ATTRIBUTES
from restante.protocol.limits import MIN_IDLE_SECONDS

Port: TypeAlias = Annotated[int, Field(ge=0, le=65535)] | Literal["off"]

Workers: TypeAlias = Annotated[int, Field(ge=1, le=1024)] | Literal["auto"]

PORT = 'a port from 0 to 65535 (0: any that is free), or "off"'
HOST = "an IP address or a host name"
FLAG = "true or false"
FILE = "the path of a file"
FOLDER = "the path of a folder"
SECONDS = "seconds, more than 0"
NETWORKS = 'a list of IP addresses and networks, like "192.0.2.0/24"'
COUNT = "a whole number from 1"


def setting(default: Any, allowed: str, **bounds: Any) -> Any:
    """A key: its default, what it allows in words, and the bounds that pydantic checks."""
    return Field(default=default, description=allowed, **bounds)


class Section(BaseModel):
    """A table of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class ServerSection(Section):
    hostname: str = setting("", 'a host name; "" is the machine\'s own', max_length=255)
    data: Path = setting(Path("data"), FOLDER)
    drain_seconds: float = setting(10.0, "seconds, 0 or more", ge=0)
    workers: Workers = setting("auto", 'a whole number from 1 to 1024, or "auto"')


class ListenerSection(Section):
    host: str = setting("127.0.0.1", HOST, min_length=1)
    port: int = setting(1110, "a port from 0 to 65535 (0: any that is free)", ge=0, le=65535)
    tls: Literal["none", "implicit", "starttls", "starttls_required"] = setting(
        "starttls", '"none", "implicit", "starttls" or "starttls_required"'
    )
    backlog: int = setting(1024, "a whole number from 1", ge=1)
    proxy_protocol: bool = setting(False, FLAG)
    xclient: bool = setting(False, FLAG)


class Pop3Section(Section):
    host: str = setting("127.0.0.1", HOST, min_length=1)
    port: Port = setting(1110, PORT)
    tls: Literal["none", "starttls", "starttls_required"] = setting(
        "starttls", '"none", "starttls" or "starttls_required"'
    )
    tls_port: Port = setting(1995, PORT)
    proxy_protocol: bool = setting(False, FLAG)
    xclient: bool = setting(False, FLAG)
    proxy_networks: list[str] = setting([], NETWORKS)
    listeners: list[ListenerSection] = setting(
        [], "tables with host, port, tls, backlog, proxy_protocol, xclient"
    )
    use_auth: Literal["pop", "sasl", "both"] = setting("both", '"pop", "sasl" or "both"')
    allow_plaintext: bool = setting(False, FLAG)
    min_threads: int = setting(2, "a whole number from 0", ge=0)
    max_threads: int = setting(32, "a whole number from 1", ge=1)
    batch_size: int = setting(262144, "octets, from 512 to 16777216", ge=512, le=1 << 24)
    max_connections: int = setting(10000, "a whole number from 1", ge=1)
    idle_timeout: float = setting(600.0, "seconds, 600 or more", ge=MIN_IDLE_SECONDS)
    stall_timeout: float = setting(300.0, SECONDS, gt=0)
    handshake_timeout: float = setting(60.0, SECONDS, gt=0)
    failure_delay: float = setting(1.0, "seconds from 0 to 60", ge=0, le=60)
    login_delay: int = setting(0, "whole seconds, 0 or more", ge=0)
    login_burst: int = setting(1, "a whole number from 1", ge=1)
    expire_days: int | None = setting(None, "days, 0 or more", ge=0)
    utf8: bool = setting(True, FLAG)
    utf8_headers: Literal["downgrade", "refuse", "as-is"] = setting(
        "downgrade", '"downgrade", "refuse" or "as-is"'
    )


class NameSection(Section):
    certificate: Path = Field(description=FILE)
    key: Path | None = setting(None, FILE)
    key_password: SecretStr | None = setting(None, "text")


class TlsSection(Section):
    certificate: Path | None = setting(None, FILE)
    key: Path | None = setting(None, FILE)
    key_password: SecretStr | None = setting(None, "text")
    development: bool = setting(False, FLAG)
    names: dict[str, NameSection] = setting(
        {}, "tables with certificate, key, key_password, by host name"
    )
    client_certificates: Literal["none", "ask", "require"] = setting(
        "none", '"none", "ask" or "require"'
    )
    client_ca: Path | None = setting(None, FILE)


class SmtpSection(Section):
    host: str = setting("127.0.0.1", HOST, min_length=1)
    port: Port = setting(1025, PORT)
    tls: Literal["none", "starttls", "starttls_required"] = setting(
        "starttls", '"none", "starttls" or "starttls_required"'
    )
    auth: bool = setting(False, FLAG)
    max_recipients: int = setting(100, "a whole number from 1", ge=1)
    max_connections: int = setting(200, "a whole number from 1", ge=1)
    timeout: float = setting(300.0, SECONDS, gt=0)


class LmtpSection(Section):
    host: str = setting("127.0.0.1", HOST, min_length=1)
    port: Port = setting(1026, PORT)
    socket: Path | None = setting(None, "the path of a Unix socket")
    max_recipients: int = setting(100, "a whole number from 1", ge=1)
    max_connections: int = setting(200, "a whole number from 1", ge=1)
    timeout: float = setting(300.0, SECONDS, gt=0)


class MaildropsSection(Section):
    root: Path | None = setting(None, FOLDER)
    template: str = setting("{user}", "a relative path with {user} or {name}, maybe {domain}")
    unique_ids: Literal["own", "dovecot"] = setting("own", '"own" or "dovecot"')
    fsync: bool = setting(True, FLAG)


def _short_account(value: Any) -> Any:
    return {"password": value} if isinstance(value, str) else value


class StaticAccountSection(Section):
    password: SecretStr = Field(description="a password, or {SCHEME} and its data")
    email: str = setting("", "an e-mail address")
    display_name: str = setting("", "text")
    maildrop: str | None = setting(None, "a maildrop's name")
    disabled: bool = setting(False, FLAG)
    protocols: list[Literal["pop3", "smtp"]] | None = setting(None, 'a list of "pop3", "smtp"')
    networks: list[str] = setting([], NETWORKS)
    expires: datetime | None = setting(None, "a date and time")
    master: bool = setting(False, FLAG)


class PasswdFileSection(Section):
    path: Path | None = setting(None, FILE)
    default_scheme: str = setting("CRYPT", "a password scheme")
    username_format: Literal["%u", "%n"] = setting("%u", '"%u" or "%n"')


class SqlSection(Section):
    """A database that is asked by queries of the operator's."""

    dsn: SecretStr = setting(SecretStr(""), "the address of the database")
    password: SecretStr | None = setting(None, "text")
    lookup: str = setting("", "a query with {name}, or {local} and {domain}")
    lookup_address: str = setting("", "a query with {address}, or {local} and {domain}")
    update: str = setting("", "a statement with {new}, {old} and {name}")
    schemes: list[str] = setting([], "a list of password schemes")
    default_scheme: str = setting("CRYPT", "a password scheme")
    max_connections: int = setting(10, COUNT, ge=1)
    timeout: float = setting(5.0, SECONDS, gt=0)


class LdapSection(Section):
    url: str = setting("", "ldap:// or ldaps:// and a host")
    base: str = setting("", "a distinguished name")
    filter: str = setting("(uid={name})", "an LDAP filter with {name}")
    dn: str = setting("", "a distinguished name with {name}; then nothing is searched")
    address_filter: str = setting("(mail={address})", "an LDAP filter with {address}")
    bind_dn: str = setting("", "a distinguished name")
    bind_password: SecretStr = setting(SecretStr(""), "text")
    start_tls: bool = setting(True, FLAG)
    allow_plaintext: bool = setting(False, FLAG)
    ca_file: Path | None = setting(None, FILE)
    scope: Literal["subtree", "onelevel", "base"] = setting(
        "subtree", '"subtree", "onelevel" or "base"'
    )
    attributes: dict[str, str] = setting(
        dict(ATTRIBUTES), "attributes by what they say of an account"
    )
    password_attribute: str = setting("", "the name of an attribute")
    schemes: list[str] = setting([], "a list of password schemes")
    version_attributes: list[str] = setting(list(VERSION_ATTRIBUTES), "a list of attributes")
    max_connections: int = setting(10, COUNT, ge=1)
    timeout: float = setting(5.0, SECONDS, gt=0)


class PamSection(Section):
    service: str = setting("restante", "the name of a file in PAM's folder", min_length=1)
    any_name: bool = setting(False, FLAG)
    max_processes: int = setting(2, COUNT, ge=1)
    timeout: float = setting(30.0, SECONDS, gt=0)


Kind: TypeAlias = Literal["sqlite", "static", "passwd-file", "postgres", "mysql", "ldap", "pam"]
KINDS = ", ".join(f'"{kind}"' for kind in get_args(Kind))


class AccountsSection(Section):
    kind: Kind | list[Kind] = setting("sqlite", f"{KINDS}, or a list of them, asked in turn")
    path: Path | None = setting(None, FILE)
    case_insensitive: bool = setting(True, FLAG)
    scram: bool = setting(True, FLAG)
    static: dict[str, Annotated[StaticAccountSection, BeforeValidator(_short_account)]] = setting(
        {}, "passwords by account name"
    )
    passwd_file: PasswdFileSection = setting(PasswdFileSection(), "a table")
    postgres: SqlSection = setting(SqlSection(), "a table")
    mysql: SqlSection = setting(SqlSection(), "a table")
    ldap: LdapSection = setting(LdapSection(), "a table")
    pam: PamSection = setting(PamSection(), "a table")

    @property
    def kinds(self) -> list[Kind]:
        """The stores, in the order in which they are asked."""
        return [self.kind] if isinstance(self.kind, str) else self.kind


class LoginSection(Section):
    mechanisms: list[str] | None = setting(None, "a list of SASL mechanisms")
    ntlm: bool = setting(False, FLAG)
    anonymous: str | None = setting(None, "an account's name")
    external_names: list[Literal["email", "dns", "upn", "cn", "uid"]] = setting(
        ["email", "cn"], 'a list of "email", "dns", "upn", "cn", "uid"'
    )
    master_separator: str = setting("", 'one character, or ""', max_length=1)
    scram_iterations: int = setting(
        16384, "a whole number from 4096 to 1000000", ge=4096, le=1_000_000
    )
    remember_seconds: float = setting(900.0, "seconds, 0 or more", ge=0)
    upgrade_hashes: bool = setting(True, FLAG)


class KerberosSection(Section):
    keytab: Path | None = setting(None, FILE)
    service: str = setting("pop", "the name of a service", min_length=1)
    hostname: str = setting("", 'a host name; "" is any that the keytab has keys of')
    realms: list[str] = setting([], "a list of realms; [] is the keytab's own")


class OAuthSection(Section):
    issuer: str = setting("", "the issuer's URL")
    audience: list[str] = setting([], "a list of audiences")
    scopes: list[str] = setting([], "a list of scopes")
    username_claim: list[str] = setting(["email"], "a list of claims")
    leeway: float = setting(60.0, "seconds, 0 or more", ge=0)
    jwks_url: str = setting("", "a URL")
    jwks_file: Path | None = setting(None, FILE)
    introspection_url: str = setting("", "a URL")
    client_id: str = setting("", "text")
    client_secret: SecretStr = setting(SecretStr(""), "text")
    algorithms: list[str] | None = setting(None, "a list of signature algorithms")
    ca_file: Path | None = setting(None, FILE)
    timeout: float = setting(10.0, SECONDS, gt=0)

    @property
    def is_wanted(self) -> bool:
        """Whether anything is said of it."""
        return bool(self.issuer or self.introspection_url)


class GuardSection(Section):
    """See `restante.guard.settings.GuardSettings`."""

    free_failures: int = setting(5, "a whole number from 1 to 1000", ge=1, le=1000)
    delay_first: float = setting(1.0, "seconds from 0 to 60", ge=0, le=60)
    delay_max: float = setting(30.0, "seconds from 0 to 300", ge=0, le=300)
    account_delay_max: float = setting(120.0, "seconds from 0 to 3600", ge=0, le=3600)
    ban_after: int = setting(20, "a whole number from 1 to 100000", ge=1, le=100_000)
    ban_window: float = setting(3600.0, "seconds from 1 to 2592000", ge=1, le=2_592_000)
    ban_seconds: float = setting(3600.0, "seconds from 0 to 31536000", ge=0, le=31_536_000)
    ban_max: float = setting(86400.0, "seconds from 0 to 31536000", ge=0, le=31_536_000)
    remember_days: float = setting(30.0, "days from 0 to 3650", ge=0, le=3650)
    max_connections_per_address: int = setting(100, COUNT, ge=1, le=1_000_000)
    max_before_login: int = setting(5000, COUNT, ge=1, le=1_000_000)
    max_sessions_per_account: int = setting(20, COUNT, ge=1, le=1_000_000)
    trusted_networks: list[str] = setting([], NETWORKS)
    shared_networks: list[str] = setting(["127.0.0.0/8", "::1"], NETWORKS)
    allow_networks: list[str] = setting([], NETWORKS)
    deny_networks: list[str] = setting([], NETWORKS)


class DeliverySection(Section):
    domains: list[str] = setting([], "a list of domains")
    catch_all: str | None = setting(None, "an account's name")
    separator: str = setting("+", 'one character, or ""', max_length=1)
    size_limit: int = setting(50 * 1024 * 1024, "octets, from 65536", ge=65536)
    trace: bool = setting(False, FLAG)


class LogSection(Section):
    format: Literal["human", "json"] = setting("human", '"human" or "json"')
    level: Literal["debug", "info", "warning", "error"] = setting(
        "info", '"debug", "info", "warning" or "error"'
    )
    file: Path | None = setting(None, FILE)
    protocol: bool = setting(False, FLAG)


class Settings(Section):
    """The whole configuration, all paths absolute."""

    server: ServerSection = setting(ServerSection(), "a table")
    pop3: Pop3Section = setting(Pop3Section(), "a table")
    tls: TlsSection = setting(TlsSection(), "a table")
    smtp: SmtpSection = setting(SmtpSection(), "a table")
    lmtp: LmtpSection = setting(LmtpSection(), "a table")
    maildrops: MaildropsSection = setting(MaildropsSection(), "a table")
    accounts: AccountsSection = setting(AccountsSection(), "a table")
    login: LoginSection = setting(LoginSection(), "a table")
    kerberos: KerberosSection = setting(KerberosSection(), "a table")
    oauth: OAuthSection = setting(OAuthSection(), "a table")
    guard: GuardSection = setting(GuardSection(), "a table")
    delivery: DeliverySection = setting(DeliverySection(), "a table")
    log: LogSection = setting(LogSection(), "a table")

    @property
    def mail_folder(self) -> Path:
        """Where the maildrops lie."""
        return self.maildrops.root or self.server.data / "mail"

    @property
    def spool_folder(self) -> Path:
        """Where copies of messages lie that an operator must deliver."""
        return self.server.data / "undelivered"

    @property
    def accounts_file(self) -> Path:
        """The database of accounts."""
        return self.accounts.path or self.server.data / "accounts.sqlite"

    @property
    def bans_file(self) -> Path:
        """The database of bans."""
        return self.server.data / "bans.sqlite"

    @property
    def secret_file(self) -> Path:
        """What keys for names without an account are made up from."""
        return self.server.data / "secret.key"

    @property
    def inquiry_socket(self) -> Path:
        """Where a running server is asked for its sessions."""
        return self.server.data / "restante.sock"

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
        shared = pop3.model_dump(include={"host", "proxy_protocol", "xclient"})
        found = []
        if pop3.port != "off":
            each = ListenerSection(port=pop3.port, tls=pop3.tls, **shared)
            found.append(("pop3.port", each))
        if pop3.tls_port != "off":
            each = ListenerSection(port=pop3.tls_port, tls="implicit", **shared)
            found.append(("pop3.tls_port", each))
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
        return keys
