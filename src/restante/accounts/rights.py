"""What an account may do, as it is kept in a database."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network
from typing import Self

from restante.accounts.contract import Account

PROTOCOLS = ("pop3", "smtp")


@dataclass(frozen=True, slots=True)
class Rights:
    """By what, from where and until when an account may log in; see `Account`."""

    protocols: frozenset[str] | None = None
    networks: tuple[str, ...] = ()
    expires: float | None = None
    master: bool = False

    @classmethod
    def of(cls, account: Account) -> Self:
        """Those that an account has."""
        return cls(account.protocols, account.networks, account.expires, account.master)

    def columns(self) -> dict[str, object]:
        """As they are kept. Raises ValueError for what can't be."""
        for protocol in self.protocols or ():
            if protocol not in PROTOCOLS:
                raise ValueError(f"protocol {protocol!r}: allowed are {', '.join(PROTOCOLS)}")
        return {
            "protocols": None if self.protocols is None else " ".join(sorted(self.protocols)),
            "networks": " ".join(str(ip_network(each)) for each in self.networks),
            "expires": self.expires,
            "master": self.master,
        }
