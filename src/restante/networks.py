"""IP addresses, networks and host names as text; a map of the networks an address is in."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Generic, TypeAlias, TypeVar

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

T = TypeVar("T")

A_HOST_NAME = "a host name, as mail.example.org"

_STRANGE = re.compile(r"[^A-Za-z0-9._-]")
_MAPPED = 96  # bits before the IPv4 address in an IPv4-mapped one (RFC 4291 §2.5.5.2)


def parse_address(text: str) -> Address:
    """The address that `text` is, without its zone; IPv4-mapped ones as IPv4.

    Raises ValueError.
    """
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def parse_network(text: str) -> Network:
    """The network that `text` is, as `192.0.2.0/24` or a single address.

    Raises ValueError, also when bits behind the prefix are set: it might be a slip.
    """
    network = ip_network(text)
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - _MAPPED))
    return network


def check_host_name(text: str) -> None:
    """Raise ValueError, with the reason, for what is no host name (RFC 1123 §2.1).

    The underscore is taken too: machines in containers have it in their names.
    """
    if strange := _STRANGE.search(text):
        raise ValueError(
            f"{strange[0]!r} is in it; letters, digits, hyphens and dots may be,"
            " and other letters as A-labels (xn--…)"
        )
    if len(text) > 253:
        raise ValueError("it has more than 253 characters")
    if not all(0 < len(label) <= 63 for label in text.split(".")):
        raise ValueError("between its dots there must be 1 to 63 characters")


def own_host_name() -> str:
    """This machine's name. What doesn't belong in a host name is replaced by hyphens."""
    return _STRANGE.sub("-", socket.gethostname()) or "localhost"


def enclosing(address: Address, length: int) -> Network:
    """The network of `length` bits that `address` is in."""
    return ip_network((address, length), strict=False)


def shown(network: Network) -> str:
    """As people write it: a single address without its length."""
    single = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if single else str(network)


class NetworkMap(Generic[T]):
    """Values by network. A look-up takes one step for each length of prefix in use."""

    def __init__(self) -> None:
        self._values: dict[Network, T] = {}
        # The same, by bits of an address and of them behind the prefix, and then by prefix.
        self._by_length: dict[tuple[int, int], dict[int, T]] = {}

    def __len__(self) -> int:
        return len(self._values)

    def values(self) -> Iterable[T]:
        """All values, the longest kept first."""
        return self._values.values()

    def get(self, network: Network) -> T | None:
        """The value of exactly this network."""
        return self._values.get(network)

    def put(self, network: Network, value: T) -> None:
        """Set a network's value; it is then the latest."""
        self.drop(network)
        self._values[network] = value
        kind, prefix = _kind_and_prefix(network)
        self._by_length.setdefault(kind, {})[prefix] = value

    def drop(self, network: Network) -> None:
        """Forget a network, if it is there."""
        if self._values.pop(network, None) is None:
            return
        kind, prefix = _kind_and_prefix(network)
        del self._by_length[kind][prefix]
        if not self._by_length[kind]:
            del self._by_length[kind]

    def covering(self, address: Address) -> list[T]:
        """The values of all networks that the address is in."""
        number = int(address)
        bits = 32 if isinstance(address, IPv4Address) else 128
        found = []
        for (of, behind), values in self._by_length.items():
            if of == bits and (value := values.get(number >> behind)) is not None:
                found.append(value)
        return found


def _kind_and_prefix(network: Network) -> tuple[tuple[int, int], int]:
    bits = network.max_prefixlen
    behind = bits - network.prefixlen
    return (bits, behind), int(network.network_address) >> behind


def network_set(texts: Iterable[str]) -> NetworkMap[bool]:
    """The networks of `texts`, each with the value True. Raises ValueError."""
    found: NetworkMap[bool] = NetworkMap()
    for text in texts:
        found.put(parse_network(text), True)
    return found


@lru_cache(1024)
def is_local(address: str) -> bool:
    """Whether an address is this machine's own, so that no network sees what it sends.

    An empty text stands for a Unix socket.
    """
    if address.startswith("::ffff:"):
        address = address.removeprefix("::ffff:")
    return not address or address.startswith("127.") or address == "::1"
