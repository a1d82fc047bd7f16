"""The guard's numbers and lists, each with its reason, checked when they are given."""

from __future__ import annotations

from dataclasses import dataclass

from restante.networks import parse_network
from restante.settings_fields import bounded, check, items

_NETWORKS = "addresses and networks such as 192.0.2.0/24"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardSettings:
    """How the guard treats strangers. The defaults leave room for offices behind one address.

    To test an application without delays and limits, trust the addresses it connects from:
    `GuardSettings(trusted_networks=("127.0.0.0/8", "::1"))`.

    free_failures: failed logins, of an address or of an account, without delay: typing errors.
    delay_first: seconds that the next try waits; each further failure doubles them. 0: no delay.
    delay_max: up to so many for an address; also the longest that a try is held at all, as
        clients give up after half a minute or so. What would wait longer is refused unseen.
    account_delay_max: up to so many between tries of strangers at one account, from wherever
        they come: 30 in an hour.
    ban_after, ban_window: an address is banned when it has failed so often, and faster than
        so often in so many seconds.
    ban_seconds: how long, the first time; it doubles each time after, up to `ban_max`: by then
        the address may well be somebody else's. 0: nobody is banned.
    remember_days: how long an address is known to an account that logged in from it.
    max_connections_per_address: at once; a whole office polls through one address.
    max_before_login: in all, so that strangers can't take all of `max_connections`.
    max_sessions_per_account: connections logged in at once: more is a program gone wild.
    trusted_networks: exempt from everything here.
    shared_networks: addresses that stand for many people, such as a webmail's on this very
        machine, or a proxy that doesn't say whose connection it is: never banned, delayed or
        capped as addresses, but delayed by account, and never known to one.
    allow_networks: when given, all others are turned away. deny_networks: always turned away.

    Raises TypeError for a value of a wrong type, and ValueError for one that isn't allowed. Both
    name the setting, its value and what is allowed.
    """

    free_failures: int = bounded(5, 1, 1000)
    delay_first: float = bounded(1.0, 0, 60, unit="seconds")
    delay_max: float = bounded(30.0, 0, 300, unit="seconds")
    account_delay_max: float = bounded(120.0, 0, 3600, unit="seconds")
    ban_after: int = bounded(20, 1, 100_000)
    ban_window: float = bounded(3600.0, 1, 30 * 86_400, unit="seconds")
    ban_seconds: float = bounded(3600.0, 0, 365 * 86_400, unit="seconds")
    ban_max: float = bounded(86_400.0, 0, 365 * 86_400, unit="seconds")
    remember_days: float = bounded(30.0, 0, 3650, unit="days")
    max_connections_per_address: int = bounded(100, 1, 1_000_000)
    max_before_login: int = bounded(5000, 1, 1_000_000)
    max_sessions_per_account: int = bounded(20, 1, 1_000_000)
    trusted_networks: tuple[str, ...] = items((), _NETWORKS, parse_network)
    shared_networks: tuple[str, ...] = items(("127.0.0.0/8", "::1"), _NETWORKS, parse_network)
    allow_networks: tuple[str, ...] = items((), _NETWORKS, parse_network)
    deny_networks: tuple[str, ...] = items((), _NETWORKS, parse_network)

    def __post_init__(self) -> None:
        check(self)
        for low, high in (("delay_first", "delay_max"), ("ban_seconds", "ban_max")):
            least, most = getattr(self, low), getattr(self, high)
            if least > most:
                raise ValueError(f"{low}={least!r}: allowed is up to {high}={most!r}")
