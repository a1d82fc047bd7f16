"""ANONYMOUS: one account for everybody; what they say of themselves proves nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.protocol.claims import IdentityClaim
from restante.protocol.mechanisms import NO_CHANNEL
from restante.sasl.anonymous import MAX_TRACE, anonymous
from restante.sasl.contract import Challenge, MechanismContext, MechanismError

PUBLIC = IdentityClaim(("public",), "ANONYMOUS")


def claim(response: bytes, *, initial: bool = True) -> object:
    context = MechanismContext("mail.example.org")
    exchange = anonymous("public").begin(context, response if initial else None)
    try:
        assert exchange.send(None) == Challenge(b"")
        exchange.send(response)
    except StopIteration as end:
        return end.value
    raise AssertionError("nothing more was to be asked")


@pytest.mark.parametrize("initial", [True, False], ids=["initial", "challenged"])
@pytest.mark.parametrize(
    "trace", [b"", b"sirhc", b"public@example.org", b"root", "Zoë".encode(), b"x" * MAX_TRACE]
)
def test_all_get_the_one_account(trace: bytes, initial: bool) -> None:
    """RFC 4505 §4: the example's trace is `sirhc`."""
    assert claim(trace, initial=initial) == PUBLIC


def test_it_needs_nothing() -> None:
    assert anonymous("public").is_offered(False, NO_CHANNEL, frozenset())


@pytest.mark.parametrize(
    "trace", [b"a\0b", b"a\r\nb", b"\xff", b"x" * (MAX_TRACE + 1), b"y" * 60_000]
)
def test_malformed_trace_information_is_refused(trace: bytes) -> None:
    with pytest.raises(MechanismError, match=r"^malformed response: "):
        claim(trace)


@given(st.binary(), st.booleans())
def test_whatever_is_said_changes_nothing(trace: bytes, initial: bool) -> None:
    try:
        assert claim(trace, initial=initial) == PUBLIC
    except MechanismError:
        return
