"""The guard's numbers and lists, each with its reason, checked when they are given."""

from __future__ import annotations

from dataclasses import dataclass

from restante.networks import parse_network

_ALLOWED: dict[str, tuple[float, float]] = {
    "free_failures": (1, 1000),
    "delay_first": (0, 60),
    "delay_max": (0, 300),
    "account_delay_max": (0, 3600),
    "ban_after": (1, 100_000),
    "ban_window": (1, 30 * 86_400),
    "ban_seconds": (0, 365 * 86_400),
    "ban_max": (0, 365 * 86_400),
    "remember_days": (0, 3650),
    "max_connections_per_address": (1, 1_000_000),
    "max_before_login": (1, 1_000_000),
    "max_sessions_per_account": (1, 1_000_000),
}
_LISTS = ("trusted_networks", "shared_networks", "allow_networks", "deny_networks")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardSettings:
    """How the guard treats strangers. The defaults leave room for offices behind one address.

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

    Raises ValueError naming the setting, its value and what is allowed.
    """

    free_failures: int = 5
    delay_first: float = 1.0
    delay_max: float = 30.0
    account_delay_max: float = 120.0
    ban_after: int = 20
    ban_window: float = 3600.0
    ban_seconds: float = 3600.0
    ban_max: float = 86_400.0
    remember_days: float = 30.0
    max_connections_per_address: int = 100
    max_before_login: int = 5000
    max_sessions_per_account: int = 20
    trusted_networks: tuple[str, ...] = ()
    shared_networks: tuple[str, ...] = ("127.0.0.0/8", "::1")
    allow_networks: tuple[str, ...] = ()
    deny_networks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, (least, most) in _ALLOWED.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name}={value!r}: allowed is {least:g} to {most:g}")
        for low, high in (("delay_first", "delay_max"), ("ban_seconds", "ban_max")):
            least, most = getattr(self, low), getattr(self, high)
            if least > most:
                raise ValueError(f"{low}={least!r}: allowed is up to {high}={most!r}")
        for name in _LISTS:
            for text in getattr(self, name):
                _check_network(name, text)


def _check_network(name: str, text: str) -> None:
    try:
        parse_network(text)
    except ValueError as error:
        raise ValueError(
            f"{name}={text!r}: allowed are addresses and networks such as 192.0.2.0/24 ({error})"
        ) from None
