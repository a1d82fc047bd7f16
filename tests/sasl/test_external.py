"""EXTERNAL: the names of the client's certificate, and whom it wants to act as."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.protocol.claims import IdentityClaim
from restante.protocol.mechanisms import NO_CHANNEL
from restante.sasl.contract import MAX_PART, Challenge, MechanismContext, MechanismError
from restante.sasl.external import EXTERNAL

NAMES = ("joe@example.org", "joe")


@dataclass(frozen=True)
class Certified:
    """A channel on which the client has shown a certificate with these names."""

    its_names: tuple[str, ...] = NAMES

    def binding_types(self) -> tuple[str, ...]:
        return ()

    def binding(self, kind: str) -> bytes | None:
        return None

    def names(self) -> tuple[str, ...]:
        return self.its_names


def claim(*responses: bytes, names: tuple[str, ...] = NAMES, initial: bool = True) -> object:
    """What an exchange of `responses` ends in, the first of them initial or asked for."""
    context = MechanismContext("mail.example.org", Certified(names))
    exchange = EXTERNAL.begin(context, responses[0] if initial else None)
    try:
        assert exchange.send(None) == Challenge(b"")
        exchange.send(responses[0])
    except StopIteration as end:
        return end.value
    raise AssertionError("nothing more was to be asked")


@pytest.mark.parametrize("initial", [True, False], ids=["initial", "challenged"])
@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (b"", IdentityClaim(NAMES, "EXTERNAL")),
        (b"joe", IdentityClaim(("joe",), "EXTERNAL")),
        (b"joe@example.org", IdentityClaim(("joe@example.org",), "EXTERNAL")),
        (b"Joe", IdentityClaim(NAMES, "EXTERNAL", "Joe")),
        ("Zoë".encode(), IdentityClaim(NAMES, "EXTERNAL", "Zoë")),
    ],
)
def test_the_response_says_whom_to_act_as(
    response: bytes, expected: IdentityClaim, initial: bool
) -> None:
    assert claim(response, initial=initial) == expected


def test_without_a_certificate_it_is_neither_offered_nor_accepted() -> None:
    assert not EXTERNAL.is_offered(True, NO_CHANNEL, frozenset())
    assert not EXTERNAL.is_offered(True, Certified(()), frozenset())
    assert EXTERNAL.is_offered(True, Certified(), frozenset())
    for response in (b"", b"joe"):
        with pytest.raises(MechanismError, match="certificate"):
            claim(response, names=())


@pytest.mark.parametrize(
    "response", [b"jo\0e", b"joe\r\n", b"\xff", b"\xed\xa0\x80", b"x" * (MAX_PART + 1), b"\0"]
)
def test_malformed_responses_are_refused(response: bytes) -> None:
    """A2"""
    with pytest.raises(MechanismError, match=r"^malformed response: "):
        claim(response)


@given(st.binary(), st.booleans())
def test_no_response_makes_another_name(response: bytes, initial: bool) -> None:
    try:
        made = claim(response, initial=initial)
    except MechanismError:
        return
    assert isinstance(made, IdentityClaim)
    assert set(made.names) <= set(NAMES)
    assert made.authzid == "" or made.authzid.encode() == response
