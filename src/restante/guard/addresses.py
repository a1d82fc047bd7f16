"""Where a client is, as the guard counts it, and by which rules."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from restante.guard.rates import Rule
from restante.guard.settings import GuardSettings
from restante.networks import Address, enclosing, network_set, parse_address

MAX_SPARE = 100
"""Failures that an address may have more, one for each account that is known there."""

SITE_FAILURES = 8
SITE_CONNECTIONS = 4
"""How many times as much as an address a /48 may have."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A client's whereabouts.

    key: the address; for IPv6 its /64. site: for IPv6 the /48, else "". trusted, shared: see
    `GuardSettings`. welcome: may connect, by the lists. caps: the keys by which its connections
    are counted, and how many there may be.
    """

    address: Address
    key: str
    site: str
    trusted: bool
    shared: bool
    welcome: bool
    caps: tuple[tuple[str, int], ...]


class Peers:
    """Finds peers by address."""

    def __init__(self, settings: GuardSettings) -> None:
        self._trusted = network_set(settings.trusted_networks)
        self._shared = network_set(settings.shared_networks)
        self._allowed = network_set(settings.allow_networks)
        self._denied = network_set(settings.deny_networks)
        self._most = settings.max_connections_per_address
        self.find = lru_cache(4096)(self._find)
        self.stranger = lru_cache(4096)(self._stranger)

    def _stranger(self, address: str) -> Peer | None:
        """Who is at an address; None for those that the guard is not about."""
        if not address:
            return None
        peer = self._find(address)
        return None if peer.trusted else peer

    def _find(self, text: str) -> Peer:
        """The peer at an address. All that can't be understood is one and the same."""
        try:
            address = parse_address(text)
        except ValueError:
            address = parse_address("::")
        six = address.version == 6
        key = str(enclosing(address, 64)) if six else str(address)
        site = str(enclosing(address, 48)) if six else ""
        shared = any(self._shared.covering(address))
        caps = [] if shared else [(key, self._most)]
        if caps and site:
            caps.append((site, SITE_CONNECTIONS * self._most))
        allowed = not len(self._allowed) or any(self._allowed.covering(address))
        return Peer(
            address,
            key=key,
            site=site,
            trusted=any(self._trusted.covering(address)),
            shared=shared,
            welcome=allowed and not any(self._denied.covering(address)),
            caps=tuple(caps),
        )


class Rules:
    """How addresses, sites and accounts are slowed."""

    def __init__(self, settings: GuardSettings) -> None:
        self._settings = settings
        self.account = _account_rule(settings)
        self._site = self._make(SITE_FAILURES, 0)
        self._address = [self._make(1, spare) for spare in range(MAX_SPARE + 1)]

    def of(self, key: str, known: int) -> Rule:
        """The rule for a peer's `key` or `site`. known: the accounts that are known there."""
        return self._site if is_site(key) else self._address[min(MAX_SPARE, known)]

    def _make(self, factor: int, spare: int) -> Rule:
        settings = self._settings
        limit = factor * settings.ban_after + spare
        return Rule(
            free=factor * settings.free_failures + spare,
            first=settings.delay_first,
            longest=settings.delay_max,
            limit=limit,
            forgiven=settings.ban_window / limit,
        )


def _account_rule(settings: GuardSettings) -> Rule:
    """Counts no further than to where the delay is longest, so that an account doesn't stay
    slow for long when it is left in peace."""
    free, first = settings.free_failures, settings.delay_first
    longest = settings.account_delay_max
    steps = 1
    while 0 < first * 2.0**steps < longest:
        steps += 1
    return Rule(free, first, longest, limit=free + steps, forgiven=max(longest, 1.0))


def is_site(key: str) -> bool:
    """Whether a key is the /48 of a peer."""
    return key.endswith("/48")
