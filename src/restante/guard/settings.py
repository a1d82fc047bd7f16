"""The guard's numbers and lists, each with its reason, checked when they are given."""

from __future__ import annotations

from dataclasses import dataclass

from restante.networks import parse_network
from restante.settings_fields import bounded, check, items, suggest_settings

_NETWORKS = "addresses and networks such as 192.0.2.0/24"


@suggest_settings
@dataclass(frozen=True, slots=True, kw_only=True)
class GuardSettings:
    """How the guard treats strangers. The defaults leave room for offices behind one address.

    To test an application without delays and limits, trust the addresses it connects from:
    `GuardSettings(trusted_networks=("127.0.0.0/8", "::1"))`.

    free_failures: failed logins without delay, of an address and of an account: typing errors.
    delay_first: seconds that the next attempt waits; each further failure doubles them. 0: no
        delay.
    delay_max: the longest delay of an address in seconds, and the longest that any attempt
        waits: clients give up after half a minute or so. An attempt that would wait longer is
        refused without a check.
    account_delay_max: the longest delay between attempts at one account, in seconds, wherever
        strangers make them: by default 30 in an hour.
    ban_after, ban_window: an address is banned when it has failed so often, and faster than so
        often in so many seconds.
    ban_seconds: how long the first ban lasts. Each further one lasts twice as long, up to
        `ban_max`: by then the address may be somebody else's. 0: nobody is banned.
    remember_days: how long an address is known to an account that logged in from it.
    max_connections_per_address: open at once. A whole office polls through one address.
    max_before_login: connections that haven't logged in, in all, so that strangers can't use up
        `max_connections`.
    max_sessions_per_account: open at once. More than that is a client out of control.
    trusted_networks: nothing here holds for them.
    shared_networks: addresses that stand for many people, such as a webmail's on this machine,
        or a proxy's that doesn't pass on addresses. They are never banned, delayed or limited as
        addresses, and never known to an account; but failures at an account count.
    allow_networks: if given, only these may connect. deny_networks: these may never connect.

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
