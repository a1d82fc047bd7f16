"""What can be configured: the sections, their keys, their defaults, what is allowed.

Each key says in words what it allows; errors and `docs/configuration.md` use those words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from restante.protocol.limits import MIN_IDLE_SECONDS

Port: TypeAlias = Annotated[int, Field(ge=0, le=65535)] | Literal["off"]

PORT = 'a port from 0 to 65535 (0: any that is free), or "off"'
HOST = "an IP address or a host name"
FLAG = "true or false"
FILE = "the path of a file"
FOLDER = "the path of a folder"
SECONDS = "seconds, more than 0"


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


class ListenerSection(Section):
    host: str = setting("127.0.0.1", HOST, min_length=1)
    port: int = setting(1110, "a port from 0 to 65535 (0: any that is free)", ge=0, le=65535)
    tls: Literal["none", "implicit", "starttls", "starttls_required"] = setting(
        "starttls", '"none", "implicit", "starttls" or "starttls_required"'
    )
    backlog: int = setting(1024, "a whole number from 1", ge=1)


class Pop3Section(Section):
    host: str = setting("127.0.0.1", HOST, min_length=1)
    port: Port = setting(1110, PORT)
    tls: Literal["none", "starttls", "starttls_required"] = setting(
        "starttls", '"none", "starttls" or "starttls_required"'
    )
    tls_port: Port = setting(1995, PORT)
    listeners: list[ListenerSection] = setting([], "tables with host, port, tls, backlog")
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


class AccountsSection(Section):
    kind: Literal["sqlite", "static"] = setting("sqlite", '"sqlite" or "static"')
    path: Path | None = setting(None, FILE)
    case_insensitive: bool = setting(True, FLAG)
    static: dict[str, Annotated[StaticAccountSection, BeforeValidator(_short_account)]] = setting(
        {}, "passwords by account name"
    )


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
    delivery: DeliverySection = setting(DeliverySection(), "a table")
    log: LogSection = setting(LogSection(), "a table")

    @property
    def mail_folder(self) -> Path:
        """Where the maildrops lie."""
        return self.maildrops.root or self.server.data / "mail"

    @property
    def accounts_file(self) -> Path:
        """The database of accounts."""
        return self.accounts.path or self.server.data / "accounts.sqlite"

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
        found = []
        if pop3.port != "off":
            each = ListenerSection(host=pop3.host, port=pop3.port, tls=pop3.tls)
            found.append(("pop3.port", each))
        if pop3.tls_port != "off":
            each = ListenerSection(host=pop3.host, port=pop3.tls_port, tls="implicit")
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
