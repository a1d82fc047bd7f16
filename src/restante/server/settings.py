"""A server's settings, checked when they are given."""

from __future__ import annotations

from dataclasses import dataclass, fields
from string import ascii_letters, digits, whitespace
from typing import get_args

from restante.accounts.verify import REMEMBER_SECONDS
from restante.protocol.limits import MIN_IDLE_SECONDS
from restante.protocol.policy import HeaderPolicy, UseAuth
from restante.sasl.scram import DEFAULT_ITERATIONS
from restante.server.tls.channel import EXTERNAL_NAMES, NAME_KINDS

_CHOICES: dict[str, tuple[str, ...]] = {
    "use_auth": get_args(UseAuth),
    "utf8_headers": get_args(HeaderPolicy),
}
_AT_LEAST: dict[str, float] = {
    "min_threads": 0,
    "max_threads": 1,
    "batch_size": 512,
    "stall_timeout": 0.01,
    "handshake_timeout": 0.01,
    "failure_delay": 0,
    "login_delay": 0,
    "login_burst": 1,
    "remember_seconds": 0,
    "scram_iterations": 4096,
    "max_connections": 1,
    "drain_seconds": 0,
}
_COMMON_IN_NAMES = frozenset(ascii_letters + digits + whitespace + "@.-_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything about a server that is a number or a choice.

    use_auth: log in by USER, PASS and APOP (`pop`), by AUTH (`sasl`), or by `both`.
    allow_plaintext: accept passwords without TLS from peers that are not on this machine.
    min_threads, max_threads: worker threads kept warm, and active at once, for plain
        handlers; as many again for stores.
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
    utf8: announce UTF8 (RFC 6856). utf8_headers: see `restante.protocol.policy.Policy`.
    hostname: this server's name in APOP timestamps and challenges; None asks the system.
    max_connections: open at once; the next is refused with `[SYS/TEMP]`.
    drain_seconds: how long `stop` lets replies in flight take.

    Raises ValueError naming the setting, its value and what is allowed.
    """

    use_auth: UseAuth = "both"
    allow_plaintext: bool = False
    min_threads: int = 2
    max_threads: int = 32
    batch_size: int = 256 * 1024
    idle_timeout: float = MIN_IDLE_SECONDS
    short_idle: bool = False
    stall_timeout: float = 300.0
    handshake_timeout: float = 60.0
    failure_delay: float = 1.0
    login_delay: int = 0
    login_burst: int = 1
    mechanisms: tuple[str, ...] | None = None
    ntlm: bool = False
    anonymous: str | None = None
    external_names: tuple[str, ...] = EXTERNAL_NAMES
    master_separator: str = ""
    scram_iterations: int = DEFAULT_ITERATIONS
    remember_seconds: float = REMEMBER_SECONDS
    upgrade_hashes: bool = True
    expire_days: int | None = None
    utf8: bool = True
    utf8_headers: HeaderPolicy = "internationalized"
    hostname: str | None = None
    max_connections: int = 10_000
    drain_seconds: float = 10.0

    def __post_init__(self) -> None:
        known = {each.name for each in fields(self)}
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"{name}={value!r}: allowed are {', '.join(allowed)}")
        for name, least in _AT_LEAST.items():
            assert name in known
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"{name}={value!r}: allowed is {least:g} or more")
        if self.min_threads > self.max_threads:
            raise ValueError(
                f"min_threads={self.min_threads}: allowed is up to max_threads={self.max_threads}"
            )
        for kind in self.external_names:
            if kind not in NAME_KINDS:
                raise ValueError(f"external_names={kind!r}: allowed are {', '.join(NAME_KINDS)}")
        if not _COMMON_IN_NAMES.isdisjoint(self.master_separator):
            raise ValueError(
                f"master_separator={self.master_separator!r}: many names have that in them"
            )
        if self.idle_timeout < MIN_IDLE_SECONDS and not self.short_idle:
            raise ValueError(
                f"idle_timeout={self.idle_timeout:g}: allowed is {MIN_IDLE_SECONDS:g} seconds or"
                " more (RFC 1939 §3); short_idle=True lifts this for tests"
            )
