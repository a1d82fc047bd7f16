"""What an account may do, as it is kept in a database."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network
from typing import Self

from restante.accounts.account import Account, Quota

PROTOCOLS = ("pop3", "smtp")


@dataclass(frozen=True, slots=True)
class Rights:
    """By what, from where and until when an account may log in, how much mail it may have and
    for how long; see `Account`."""

    protocols: frozenset[str] | None = None
    networks: tuple[str, ...] = ()
    expires: float | None = None
    master: bool = False
    quota: Quota | None = None
    expire_days: int | None = None

    @classmethod
    def of(cls, account: Account) -> Self:
        """Those that an account has."""
        return cls(
            account.protocols,
            account.networks,
            account.expires,
            account.master,
            account.quota,
            account.expire_days,
        )

    def columns(self) -> dict[str, object]:
        """As they are kept. Raises ValueError for what can't be."""
        for protocol in self.protocols or ():
            if protocol not in PROTOCOLS:
                raise ValueError(f"protocol {protocol!r}: allowed are {', '.join(PROTOCOLS)}")
        if self.expire_days is not None and self.expire_days < 0:
            raise ValueError(f"expire_days={self.expire_days}: allowed is days, 0 or more")
        quota = self.quota or Quota()
        return {
            "protocols": None if self.protocols is None else " ".join(sorted(self.protocols)),
            "networks": " ".join(str(ip_network(each)) for each in self.networks),
            "expires": self.expires,
            "master": self.master,
            "quota_octets": quota.octets,
            "quota_messages": quota.messages,
            "expire_days": self.expire_days,
        }
