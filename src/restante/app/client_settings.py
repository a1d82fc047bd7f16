"""What to type into mail programs, and the files and DNS records by which they find out.

Everything is made of the configuration, the addresses of the server if it runs, and a mail
address; nothing is asked of the network, and nothing tells whether there is such an account.
"""

from __future__ import annotations

import plistlib
import re
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias
from uuid import NAMESPACE_DNS, uuid5
from xml.etree import ElementTree

from restante.app.config.checks import is_local
from restante.app.config.settings import ListenerSection, Settings

Tls: TypeAlias = Literal["implicit", "starttls", "none"]

Answer: TypeAlias = tuple[bytes, str]
"""A file's octets, and its content type."""

MAX_ADDRESS = 254
"""Octets of an address (RFC 5321 §4.5.3.1, erratum 1690)."""

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?")
_OUTLOOK = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
_OUTLOOK_ANSWER = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"


class ClientSettingsError(Exception):
    """There are no such settings; the text says why, and which key would give them."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that clients connect to."""

    host: str
    port: int
    tls: Tls


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What a mail program needs for one address.

    login: the name to log in with. incoming: POP3, the best first. outgoing: the SMTP server
    for sending; None: none is configured, and Restante itself sends nothing.
    kerberos: whether a Kerberos ticket logs in, too. plaintext: passwords may go without TLS.
    """

    address: str
    login: str
    incoming: tuple[Endpoint, ...]
    outgoing: Endpoint | None
    kerberos: bool = False

    @property
    def domain(self) -> str:
        """Of the address, in ASCII."""
        return _ascii_domain(self.address.rpartition("@")[2])


def client_settings(
    settings: Settings, address: str, host: str = "", *, login: str | None = None
) -> ClientSettings:
    """What to type for `address`.

    host: the server's name where the configuration has none. login: the account's name, if it
    is known; else `clients.login` says what it is made of.

    Raises ValueError for what isn't an address or a host name, ClientSettingsError when there is
    nothing that clients could connect to.
    """
    local, domain = _split(address)
    clients = settings.clients
    found = [
        (_ORDER[each.tls], each.port, each.tls, each.host)
        for _, each in settings.pop3_listeners()
        if each.tls != "none" or settings.pop3.allow_plaintext or is_local(each.host)
    ]
    if not found:
        raise ClientSettingsError("POP3 isn't listened for: set pop3.tls_port or pop3.port")
    name = clients.hostname or settings.server.hostname or host
    if not name:
        everything_is_local = all(is_local(where) for *_, where in found)
        name = "localhost" if everything_is_local else socket.gethostname()
    if not _HOST.fullmatch(name):
        raise ValueError(f"{name!r} isn't a host name; set clients.hostname")
    if login is None:
        login = local if clients.login == "local-part" else address
    outgoing = None
    if clients.submission_host:
        outgoing = Endpoint(
            clients.submission_host, clients.submission_port, clients.submission_tls
        )
    _ascii_domain(domain)
    return ClientSettings(
        address,
        login,
        # A name may have several addresses, each with the same port.
        tuple(dict.fromkeys(Endpoint(name, port, _TLS[tls]) for _, port, tls, _ in sorted(found))),
        outgoing,
        settings.kerberos.keytab is not None,
    )


def as_it_listens(settings: Settings, addresses: Iterable[Mapping[str, Any]]) -> Settings:
    """The settings with the addresses at which a running server speaks POP3.

    They may differ from the configuration, as by `restante serve --pop3-port 0`. addresses: its
    answer to the question `addresses`.
    """
    listeners = tuple(
        ListenerSection(each["host"], each["port"], each["tls"])
        for each in addresses
        if each.get("protocol") == "pop3"
    )
    pop3 = replace(settings.pop3, listeners=listeners, port="off", tls_port="off")
    return replace(settings, pop3=pop3)


_ORDER = {"implicit": 0, "starttls_required": 1, "starttls": 2, "none": 3}
_TLS: dict[str, Tls] = {
    "implicit": "implicit",
    "starttls_required": "starttls",
    "starttls": "starttls",
    "none": "none",
}


def _split(address: str) -> tuple[str, str]:
    """An address's two parts. Raises ValueError for what can't be one."""
    local, at, domain = address.rpartition("@")
    octets = len(address.encode("utf-8"))  # a ValueError for half a character
    if not local or not domain or not at or octets > MAX_ADDRESS:
        raise ValueError(f"{address[:80]!r}: allowed is an address such as joe@example.org")
    if not address.isprintable() or " " in address:
        raise ValueError(f"{address!r}: there are blanks or control characters in it")
    return local, domain


def _ascii_domain(domain: str) -> str:
    try:
        name = domain if domain.isascii() else domain.encode("idna").decode("ascii")
    except UnicodeError:
        raise ValueError(f"{domain!r} is not a domain") from None
    if not _HOST.fullmatch(name):
        raise ValueError(f"{domain!r} is not a domain")
    return name.lower()


def answer(
    form: str, settings: Settings, address: str, host: str = "", *, login: str | None = None
) -> Answer:
    """The file of this form, see `FORMS`, for an address. Raises as `client_settings` does.

    host: the server's name where the configuration has none, such as the one that a web
    server was asked by.
    """
    if form not in FORMS:
        raise ValueError(f"{form!r}: allowed are {', '.join(FORMS)}")
    return FORMS[form](client_settings(settings, address, host, login=login))


# Thunderbird and others


def autoconfig(settings: ClientSettings) -> Answer:
    """config-v1.1.xml of Thunderbird, for `/.well-known/autoconfig/mail/config-v1.1.xml` or
    `/mail/config-v1.1.xml`. Evolution, KMail and others read it, too.

    Raises ClientSettingsError without a server for sending, as Thunderbird refuses such a file.
    """
    outgoing = _outgoing(settings, "Thunderbird's file")
    root = ElementTree.Element("clientConfig", version="1.1")
    provider = ElementTree.SubElement(root, "emailProvider", id=settings.domain)
    _add(provider, "domain", settings.domain)
    _add(provider, "displayName", settings.domain)
    _add(provider, "displayShortName", settings.domain)
    for each in settings.incoming:
        server = ElementTree.SubElement(provider, "incomingServer", type="pop3")
        _add_server(server, each, settings)
        pop3 = ElementTree.SubElement(server, "pop3")
        _add(pop3, "leaveMessagesOnServer", "true")
    server = ElementTree.SubElement(provider, "outgoingServer", type="smtp")
    _add_server(server, outgoing, settings)
    return _xml(root), "text/xml; charset=utf-8"


_SOCKET_TYPES: dict[Tls, str] = {"implicit": "SSL", "starttls": "STARTTLS", "none": "plain"}


def _add_server(server: ElementTree.Element, endpoint: Endpoint, settings: ClientSettings) -> None:
    _add(server, "hostname", endpoint.host)
    _add(server, "port", str(endpoint.port))
    _add(server, "socketType", _SOCKET_TYPES[endpoint.tls])
    _add(server, "authentication", "password-cleartext")
    if settings.kerberos and server.tag == "incomingServer":
        _add(server, "authentication", "GSSAPI")
    _add(server, "username", settings.login)


def _outgoing(settings: ClientSettings, what: str) -> Endpoint:
    if settings.outgoing is None:
        raise ClientSettingsError(
            f"{what} must name a server for sending, and Restante sends nothing: set"
            " clients.submission_host"
        )
    return settings.outgoing


# Outlook


def autodiscover(settings: ClientSettings) -> Answer:
    """The answer to Outlook's question for `/autodiscover/autodiscover.xml`."""
    root = ElementTree.Element("Autodiscover", xmlns=_OUTLOOK)
    response = ElementTree.SubElement(root, "Response", xmlns=_OUTLOOK_ANSWER)
    account = ElementTree.SubElement(response, "Account")
    _add(account, "AccountType", "email")
    _add(account, "Action", "settings")
    # Outlook has TLS from the start, or none, in this form: not STLS.
    best = settings.incoming[0]
    _add_protocol(account, "POP3", best, settings.login)
    if settings.outgoing is not None:
        _add_protocol(account, "SMTP", settings.outgoing, settings.login)
    return _xml(root), "text/xml; charset=utf-8"


def _add_protocol(account: ElementTree.Element, kind: str, endpoint: Endpoint, login: str) -> None:
    protocol = ElementTree.SubElement(account, "Protocol")
    _add(protocol, "Type", kind)
    _add(protocol, "Server", endpoint.host)
    _add(protocol, "Port", str(endpoint.port))
    _add(protocol, "LoginName", login)
    _add(protocol, "DomainRequired", "off")
    _add(protocol, "SPA", "off")
    _add(protocol, "SSL", "on" if endpoint.tls == "implicit" else "off")
    if endpoint.tls == "starttls":
        _add(protocol, "Encryption", "TLS")
    _add(protocol, "AuthRequired", "on")


# Apple


def mobileconfig(settings: ClientSettings) -> Answer:
    """A profile for iPhones, iPads and Macs, unsigned: the device asks before it takes it.

    Raises ClientSettingsError without a server for sending, which a profile must name, and
    where POP3 is offered with STLS only, which a profile can't say.
    """
    outgoing = _outgoing(settings, "Apple's profile")
    incoming = settings.incoming[0]
    if incoming.tls == "starttls":
        raise ClientSettingsError("Apple's profile needs TLS from the start: set pop3.tls_port")
    name = f"restante.{settings.domain}.{settings.address}"
    mail = {
        "PayloadType": "com.apple.mail.managed",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"{name}.mail",
        "PayloadUUID": _uuid(f"{name}.mail"),
        "PayloadDisplayName": settings.address,
        "EmailAccountType": "EmailTypePOP",
        "EmailAccountDescription": settings.address,
        "EmailAddress": settings.address,
        "IncomingMailServerAuthentication": "EmailAuthPassword",
        "IncomingMailServerHostName": incoming.host,
        "IncomingMailServerPortNumber": incoming.port,
        "IncomingMailServerUseSSL": incoming.tls == "implicit",
        "IncomingMailServerUsername": settings.login,
        "OutgoingMailServerAuthentication": "EmailAuthPassword",
        "OutgoingMailServerHostName": outgoing.host,
        "OutgoingMailServerPortNumber": outgoing.port,
        "OutgoingMailServerUseSSL": True,
        "OutgoingMailServerUsername": settings.login,
        "OutgoingPasswordSameAsIncomingPassword": True,
    }
    profile = {
        "PayloadType": "Configuration",
        "PayloadVersion": 1,
        "PayloadIdentifier": name,
        "PayloadUUID": _uuid(name),
        "PayloadDisplayName": f"Mail of {settings.address}",
        "PayloadContent": [mail],
    }
    return plistlib.dumps(profile), "application/x-apple-aspen-config"


def _uuid(name: str) -> str:
    """The same for the same name, so that a new profile takes the old one's place."""
    return str(uuid5(NAMESPACE_DNS, name)).upper()


# DNS and people


def dns(settings: ClientSettings) -> Answer:
    """Records for the domain's zone file (RFC 6186, RFC 8314 §5.1): what there is, and that
    there is none of the rest."""
    domain, lines = settings.domain, []
    for service, tls in (("_pop3s", "implicit"), ("_pop3", "starttls")):
        found = next((each for each in settings.incoming if each.tls == tls), None)
        lines.append(_srv(service, domain, found))
    submission = settings.outgoing
    services: tuple[tuple[str, Tls], ...] = (
        ("_submissions", "implicit"), ("_submission", "starttls"),
    )  # fmt: skip
    if submission is not None:
        for service, tls in services:
            lines.append(_srv(service, domain, submission if submission.tls == tls else None))
    host = settings.incoming[0].host
    lines.append(f"autoconfig.{domain}. 3600 IN CNAME {host}.")
    lines.append(f"_autodiscover._tcp.{domain}. 3600 IN SRV 0 0 443 {host}.")
    return "".join(f"{line}\n" for line in lines).encode("ascii"), "text/dns; charset=us-ascii"


def _srv(service: str, domain: str, endpoint: Endpoint | None) -> str:
    """RFC 6186 §3.4: a target of "." says that there is no such service."""
    if endpoint is None:
        return f"{service}._tcp.{domain}. 3600 IN SRV 0 0 0 ."
    return f"{service}._tcp.{domain}. 3600 IN SRV 0 1 {endpoint.port} {endpoint.host}."


_CONNECTION = {
    "implicit": "SSL/TLS",
    "starttls": "STARTTLS",
    "none": "none (only on this machine)",
}


def text(settings: ClientSettings) -> Answer:
    """What to type, for people."""
    rows: list[tuple[str, str]] = [("Kind of account", "POP3 (not IMAP)")]
    rows.append(("E-mail address", settings.address))
    rows.append(("User name", settings.login))
    rows.append(("Password", "the account's, or an app password"))
    kind = "normal password" + (", or Kerberos / GSSAPI" if settings.kerberos else "")
    rows.append(("Kind of password", kind))
    for at, each in enumerate(settings.incoming):
        rows.append(("Incoming server" if not at else "or", each.host))
        rows.append(("  Port, connection", f"{each.port}, {_CONNECTION[each.tls]}"))
    if settings.outgoing is None:
        rows.append(("Outgoing server", "yours for sending mail: Restante sends none."))
        rows.append(("", "Set clients.submission_host to have it named here."))
    else:
        rows.append(("Outgoing server", settings.outgoing.host))
        connection = _CONNECTION[settings.outgoing.tls]
        rows.append(("  Port, connection", f"{settings.outgoing.port}, {connection}"))
    table = _aligned(rows)
    advice = (
        "Thunderbird: Account settings, Account Actions, Add Mail Account, Configure manually.\n"
        "Outlook: File, Add Account, Advanced options, Let me set up my account manually, POP.\n"
        "iPhone, iPad: Settings, Apps, Mail, Mail Accounts, Add Account, Other, POP.\n"
        "Android: Add account, Other, Personal (POP3).\n"
        "Leave messages on the server, if several programs read this mail.\n"
    )
    return f"{table}\n{advice}".encode(), "text/plain; charset=utf-8"


def _aligned(rows: Sequence[tuple[str, str]]) -> str:
    width = max(len(left) for left, _ in rows) + 2
    return "".join(f"{left:{width}}{right}\n" for left, right in rows)


FORMS: dict[str, Callable[[ClientSettings], Answer]] = {
    "text": text,
    "autoconfig": autoconfig,
    "autodiscover": autodiscover,
    "mobileconfig": mobileconfig,
    "dns": dns,
}
"""The forms in which settings are given, by name."""


def _add(parent: ElementTree.Element, tag: str, value: str) -> None:
    ElementTree.SubElement(parent, tag).text = value


def _xml(root: ElementTree.Element) -> bytes:
    ElementTree.indent(root)
    found: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return found + b"\n"
