"""A server's settings, each declared once with what is allowed, and checked when given."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_letters, digits, whitespace
from typing import TypedDict

from restante.defaults import (
    EXTERNAL_NAMES,
    NAME_KINDS,
    REMEMBER_SECONDS,
    SCRAM_ITERATIONS,
)
from restante.networks import A_HOST_NAME, check_host_name
from restante.protocol.limits import MIN_IDLE_SECONDS
from restante.protocol.policy import HeaderPolicy, UseAuth
from restante.settings_fields import bounded, check, choice, described, suggest_settings

_COMMON_IN_NAMES = frozenset(ascii_letters + digits + whitespace + "@.-_")


@suggest_settings
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything about a server that is a number or a choice.

    use_auth: log in by USER, PASS and APOP (`pop`), by AUTH (`sasl`), or by `both`.
    allow_plaintext: accept passwords without TLS from peers that are not on this machine.
    min_threads, max_threads: worker threads kept warm, and active at once, for plain
        handlers; as many again for stores.
    hashing_threads: threads for slow checks of passwords; None: one less than the processors
        that may be used.
    batch_size: octets of a message that are read and written at a time.
    idle_timeout: seconds without a command after which a session is closed; RFC 1939 §3
        wants ten minutes or more, so less is refused unless `short_idle` says it is meant.
    stall_timeout: seconds in which a client must have taken something of what is sent.
    handshake_timeout: seconds that a TLS handshake may take.
    failure_delay: seconds before a refused login is answered.
    login_delay: seconds between logins of an account (`LOGIN-DELAY`); 0 is none.
    login_burst: logins that an account has free before the delay is felt.
    mechanisms: SASL mechanisms that may be used, by name; None: all that can be.
    ntlm: offer NTLM, which is weak. anonymous: the account that ANONYMOUS logs in to.
    external_names: what of a client's certificate names the account, in this order:
        `email`, `dns`, `upn`, `cn`, `uid`.
    master_separator: divides `user*master`, by which a master logs in as a user.
    scram_iterations: of keys for SCRAM that are made up for names that have none: as many as
        the accounts' own have.
    remember_seconds: how long a verified password needn't be verified again.
    upgrade_hashes: replace outdated password hashes at login, where the store can.
    expire_days: announced as EXPIRE; None means that mail is never removed unasked.
    expire_user_days: the least that `Account.expire_days` may be, announced as `EXPIRE n USER`
        before the login; None: accounts have no numbers of their own.
    utf8: announce UTF8 (RFC 6856). utf8_headers: see `restante.protocol.policy.Policy`.
    hostname: this server's name in APOP timestamps and challenges; None asks the system.
    max_connections: open at once; the next is refused with `[SYS/TEMP]`.
    finish_seconds: how long `stop` lets sessions go on, of which no new ones begin.
    drain_seconds: how long it lets replies in flight take after that.

    Raises TypeError for a value of a wrong type and ValueError for one that isn't allowed. Both
    name the setting, its value and what is allowed.
    """

    use_auth: UseAuth = "both"
    allow_plaintext: bool = False
    min_threads: int = bounded(2, 0)
    max_threads: int = bounded(32, 1)
    hashing_threads: int | None = bounded(None, 1)
    batch_size: int = bounded(256 * 1024, 512, 1 << 24, unit="octets")
    idle_timeout: float = bounded(MIN_IDLE_SECONDS, 0.01, unit="seconds")
    short_idle: bool = False
    stall_timeout: float = bounded(300.0, 0.01, unit="seconds")
    handshake_timeout: float = bounded(60.0, 0.01, unit="seconds")
    failure_delay: float = bounded(1.0, 0, 60, unit="seconds")
    login_delay: int = bounded(0, 0, 604_800, unit="whole seconds")
    login_burst: int = bounded(1, 1, 1000)
    mechanisms: tuple[str, ...] | None = None
    ntlm: bool = False
    anonymous: str | None = None
    external_names: tuple[str, ...] = choice(EXTERNAL_NAMES, *NAME_KINDS)
    master_separator: str = ""
    scram_iterations: int = bounded(SCRAM_ITERATIONS, 4096, 1_000_000)
    remember_seconds: float = bounded(REMEMBER_SECONDS, 0, unit="seconds")
    upgrade_hashes: bool = True
    expire_days: int | None = bounded(None, 0, unit="days")
    expire_user_days: int | None = bounded(None, 0, unit="days")
    utf8: bool = True
    utf8_headers: HeaderPolicy = "internationalized"
    hostname: str | None = described(None, A_HOST_NAME, check_host_name)
    max_connections: int = bounded(10_000, 1)
    finish_seconds: float = bounded(0.0, 0, unit="seconds")
    drain_seconds: float = bounded(10.0, 0, unit="seconds")

    def __post_init__(self) -> None:
        check(self)
        if self.min_threads > self.max_threads:
            raise ValueError(
                f"min_threads={self.min_threads}: allowed is up to max_threads={self.max_threads}"
            )
        if not _COMMON_IN_NAMES.isdisjoint(self.master_separator):
            raise ValueError(
                f"master_separator={self.master_separator!r}: many names have that in them"
            )
        if self.idle_timeout < MIN_IDLE_SECONDS and not self.short_idle:
            raise ValueError(
                f"idle_timeout={self.idle_timeout:g}: allowed is {MIN_IDLE_SECONDS:g} seconds or"
                " more (RFC 1939 §3); short_idle=True lifts this for tests"
            )


class SettingsGiven(TypedDict, total=False):
    """The same settings as keyword arguments of `Pop3Server`, for type checkers."""

    use_auth: UseAuth
    allow_plaintext: bool
    min_threads: int
    max_threads: int
    hashing_threads: int | None
    batch_size: int
    idle_timeout: float
    short_idle: bool
    stall_timeout: float
    handshake_timeout: float
    failure_delay: float
    login_delay: int
    login_burst: int
    mechanisms: tuple[str, ...] | None
    ntlm: bool
    anonymous: str | None
    external_names: tuple[str, ...]
    master_separator: str
    scram_iterations: int
    remember_seconds: float
    upgrade_hashes: bool
    expire_days: int | None
    expire_user_days: int | None
    utf8: bool
    utf8_headers: HeaderPolicy
    hostname: str | None
    max_connections: int
    finish_seconds: float
    drain_seconds: float
