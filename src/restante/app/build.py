"""The parts of the POP3 server, made as the configuration says."""

from __future__ import annotations

from dataclasses import asdict, fields

from restante.accounts.kerberos import Kerberos
from restante.accounts.oauth import OAuth
from restante.app.config.settings import Settings, revealed
from restante.server.listen.listener import Listener
from restante.server.settings import Settings as ServerSettings


def make_oauth(settings: Settings) -> OAuth | None:
    """None when it isn't configured. Raises ValueError, and ImportError without the libraries."""
    section = settings.oauth
    if not section.is_wanted:
        return None
    values = revealed(section)
    if section.algorithms is None:  # then those that OAuth thinks best
        del values["algorithms"]
    return OAuth(**values)


def make_kerberos(settings: Settings) -> Kerberos | None:
    """None when it isn't configured. Raises ValueError, OSError, ImportError."""
    section = settings.kerberos
    if section.keytab is None:
        return None
    return Kerberos(
        section.keytab,
        service=section.service,
        hostname=section.hostname or None,
        realms=section.realms,
    )


def make_listeners(settings: Settings) -> list[Listener]:
    """Where POP3 is spoken. Raises ValueError for proxies that can't be told."""
    networks = tuple(settings.pop3.proxy_networks)
    listeners = settings.pop3_listeners()
    return [Listener(**asdict(each), proxy_networks=networks) for _, each in listeners]


def server_settings(settings: Settings) -> ServerSettings:
    """What the sections server, pop3 and login say of the POP3 server. Raises ValueError."""
    known = {each.name for each in fields(ServerSettings)}
    given = {
        each.name: getattr(section, each.name)
        for section in (settings.server, settings.pop3, settings.login)
        for each in fields(section)
        if each.name in known
    }
    return ServerSettings(**{**given, "hostname": settings.server.hostname or None})
