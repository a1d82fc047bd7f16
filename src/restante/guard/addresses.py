"""Addresses as the guard counts them, and the rules by which it slows them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from restante.guard.failure_counts import DelayRule
from restante.guard.settings import GuardSettings
from restante.networks import Address, enclosing, network_set, parse_address

MAX_SPARE = 100
"""Failures that an address may have more, one for each account that is known there."""

SITE_FAILURES = 8
SITE_CONNECTIONS = 4
"""How many times as much as a /64 a /48 may have."""


@dataclass(frozen=True, slots=True)
class Peer:
    """An address as the guard counts it.

    key: the address; for IPv6 its /64. keys: those by which failures and connections are
    counted: of a shared address none, for IPv6 the /48 too. limits: how many connections there
    may be, by key. trusted, shared: see `GuardSettings`. welcome: may connect, by the lists.
    """

    address: Address
    key: str
    keys: tuple[str, ...]
    limits: tuple[tuple[str, float], ...]
    trusted: bool
    shared: bool
    welcome: bool


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
        """The peer at an address; None for one on a Unix socket or at a trusted address."""
        if not address:
            return None
        peer = self._find(address)
        return None if peer.trusted else peer

    def _find(self, text: str) -> Peer:
        """The peer at an address. Everything that is no address is one and the same."""
        try:
            address = parse_address(text)
        except ValueError:
            address = parse_address("::")
        six = address.version == 6
        key = str(enclosing(address, 64)) if six else str(address)
        shared = any(self._shared.covering(address))
        limits: list[tuple[str, float]] = [] if shared else [(key, self._most)]
        if limits and six:
            limits.append((str(enclosing(address, 48)), SITE_CONNECTIONS * self._most))
        allowed = not len(self._allowed) or any(self._allowed.covering(address))
        return Peer(
            address,
            key=key,
            keys=tuple(name for name, _ in limits),
            limits=tuple(limits),
            trusted=any(self._trusted.covering(address)),
            shared=shared,
            welcome=allowed and not any(self._denied.covering(address)),
        )


class DelayRules:
    """How addresses, sites and accounts are slowed."""

    def __init__(self, settings: GuardSettings) -> None:
        self._settings = settings
        self.account = _account_rule(settings)
        self._site = self._make(SITE_FAILURES, 0)
        self._address = [self._make(1, spare) for spare in range(MAX_SPARE + 1)]

    def of(self, key: str, known: int) -> DelayRule:
        """The rule for a peer's `key` or `site`. known: the accounts that are known there."""
        return self._site if is_site(key) else self._address[min(MAX_SPARE, known)]

    def _make(self, factor: int, spare: int) -> DelayRule:
        settings = self._settings
        limit = factor * settings.ban_after + spare
        return DelayRule(
            free=factor * settings.free_failures + spare,
            first=settings.delay_first,
            longest=settings.delay_max,
            limit=limit,
            forgiven=settings.ban_window / limit,
        )


def _account_rule(settings: GuardSettings) -> DelayRule:
    """Counts no further than to where the delay is longest, so that an account doesn't stay
    slow for long when it is left in peace."""
    free, first = settings.free_failures, settings.delay_first
    longest = settings.account_delay_max
    steps = 1
    while 0 < first * 2.0**steps < longest:
        steps += 1
    return DelayRule(free, first, longest, limit=free + steps, forgiven=max(longest, 1.0))


def is_site(key: str) -> bool:
    """Whether a key is the /48 of a peer."""
    return key.endswith("/48")
