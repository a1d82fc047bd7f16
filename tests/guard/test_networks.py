"""Addresses and networks as text, and which networks an address is in."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.networks import (
    NetworkMap,
    enclosing,
    network_set,
    parse_address,
    parse_network,
    shown,
)

ADDRESSES = st.ip_addresses(v=4) | st.ip_addresses(v=6)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:DB8::1", "2001:db8::1"),
    ],
)
def test_addresses_in_all_their_spellings(text: str, meant: str) -> None:
    assert str(parse_address(text)) == meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1/32", "192.0.2.1"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::/0", "::/0"),
    ],
)
def test_networks_in_all_their_spellings(text: str, meant: str) -> None:
    assert shown(parse_network(text)) == meant


@pytest.mark.parametrize("text", ["", "x", "1.2.3", "1.2.3.4/33", "192.0.2.1/24", "::1/129", "1/"])
def test_what_is_no_network_is_told(text: str) -> None:
    with pytest.raises(ValueError):
        parse_network(text)


@given(st.text(max_size=60))
def test_nothing_but_value_error_escapes(text: str) -> None:
    for parse in (parse_address, parse_network):
        with suppress(ValueError):
            parse(text)


@given(st.lists(st.tuples(ADDRESSES, st.integers(0, 32))), st.lists(ADDRESSES, max_size=5))
def test_a_map_finds_what_a_search_of_all_finds(
    entries: list[tuple[object, int]], asked: list[object]
) -> None:
    found: NetworkMap[str] = NetworkMap()
    networks = [enclosing(ip_address(str(address)), length) for address, length in entries]
    for network in networks:
        found.put(network, str(network))
    for network in networks[::2]:
        found.drop(network)
    left = set(networks) - set(networks[::2])
    assert len(found) == len(left)
    for each in asked:
        address = ip_address(str(each))
        assert set(found.covering(address)) == {str(n) for n in left if address in n}


def test_a_value_is_replaced_and_then_the_latest() -> None:
    found: NetworkMap[int] = NetworkMap()
    found.put(ip_network("10.0.0.0/8"), 1)
    found.put(ip_network("11.0.0.0/8"), 2)
    found.put(ip_network("10.0.0.0/8"), 3)
    assert list(found.values()) == [2, 3]
    assert found.get(ip_network("10.0.0.0/8")) == 3
    found.drop(ip_network("12.0.0.0/8"))
    assert len(found) == 2


def test_a_set_of_networks_knows_its_own() -> None:
    ours = network_set(["10.0.0.0/8", "::1"])
    assert any(ours.covering(parse_address("::ffff:10.1.2.3")))
    assert any(ours.covering(parse_address("::1")))
    assert not any(ours.covering(parse_address("11.0.0.1")))
