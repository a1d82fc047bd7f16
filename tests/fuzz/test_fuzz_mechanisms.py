"""The fuzz target on inputs that never change, so that the suite says the same each time."""

from __future__ import annotations

import gc
import random
import sys
import time
from base64 import b64decode
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.fuzz_mechanisms import (
    HOLDERS,
    NAMES,
    changed,
    main,
    one_input,
    read,
    recorded,
    seeds,
    written,
)

SEEDS = seeds()
SLOWEST_SECONDS = 2.0
"""For one input on a busy machine; a login by password takes some 5 ms, all else less."""


def test_real_exchanges_let_their_owner_in() -> None:
    """Otherwise the changed ones would prove nothing."""
    for data in SEEDS:
        account, said = one_input(data).session.account, read(data)
        if said.mechanism == "CRAM-MD5" and said.early:  # it has no initial response
            assert account is None
        else:
            assert account is not None, said
            assert account.name == HOLDERS[said.mechanism]


@pytest.mark.parametrize("mechanism", NAMES)
def test_changed_exchanges(mechanism: str) -> None:
    chance = random.Random(mechanism)
    starts = [data for data in SEEDS if read(data).mechanism == mechanism]
    let_in = 0
    for _ in range(250):
        data = changed(chance.choice(starts), chance)
        begun = time.monotonic()
        let_in += one_input(data).session.account is not None
        assert time.monotonic() - begun < SLOWEST_SECONDS
    assert let_in < 250


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "CRAM-MD5", "NTLM", "PLAIN", "LOGIN"])
def test_no_bit_of_a_proof_can_change(mechanism: str) -> None:
    """Of the last response with something in it, but for those that mean nothing."""
    said = recorded(mechanism)
    last = max(at for at, response in enumerate(said) if response)
    for at, bit in product(range(len(said[last])), range(8)):
        proof = bytearray(said[last])
        proof[at] ^= 1 << bit
        driver = one_input(written(mechanism, [*said[:last], bytes(proof), *said[last + 1 :]], 0))
        if driver.session.account is not None:
            assert meaning(mechanism, bytes(proof)) == meaning(mechanism, said[last])


def meaning(mechanism: str, proof: bytes) -> object:
    """Without the letter case of hex digits, and what is over in base64's last letter."""
    if mechanism == "CRAM-MD5":
        return proof.lower()
    if mechanism == "SCRAM-SHA-256":
        rest, _, encoded = proof.rpartition(b",p=")
        return rest, b64decode(encoded)
    return proof


@given(st.integers(0, len(NAMES) - 1), st.integers(0, 7), st.binary(max_size=300))
def test_any_bytes_at_all(mechanism: int, options: int, said: bytes) -> None:
    account = one_input(bytes([mechanism, options]) + said).session.account
    if NAMES[mechanism] not in ("ANONYMOUS", "EXTERNAL"):  # which need nothing said
        assert account is None


def test_nothing_grows() -> None:
    """The same inputs once more leave no more memory in use than before."""
    chance = random.Random(0)
    inputs = [changed(chance.choice(SEEDS), chance) for _ in range(300)]
    for data in inputs:
        one_input(data)
    tracemalloc = pytest.importorskip("tracemalloc", reason="only CPython counts memory so")
    tracemalloc.start()
    try:
        for data in inputs:
            one_input(data)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for data in inputs:
            one_input(data)
        gc.collect()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 64 * 1024
    assert peak < 32 * 1024 * 1024


def test_without_atheris_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "atheris", None)
    with pytest.raises(SystemExit, match="atheris is missing: pip install atheris"):
        main()
