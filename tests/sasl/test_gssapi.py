"""GSSAPI: the exchange around an acceptor, which here does as it is told."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.protocol.claims import IdentityClaim
from restante.protocol.effects import Work
from restante.protocol.mechanisms import NO_CHANNEL, MechanismContext
from restante.sasl.contract import MAX_PART, Challenge, MechanismError
from restante.sasl.gssapi import MAX_ROUNDS, MAX_TOKEN, gssapi

CONTEXT = MechanismContext("mail.example.org")
NAMES = ("joe@EXAMPLE.ORG", "joe")
NONE = b"\1\0\0\0"


class Scripted:
    """Gives these answers to tokens; the last one completes the context."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.tokens: list[bytes] = []

    def step(self, token: bytes) -> tuple[bool, bytes]:
        self.tokens.append(token)
        return len(self.answers) == 1, self.answers.pop(0)

    def names(self) -> tuple[str, ...]:
        return NAMES

    def wrap(self, message: bytes) -> bytes:
        return b"wrapped " + message

    def unwrap(self, token: bytes) -> bytes:
        if not token.startswith(b"wrapped "):
            raise MechanismError("the Kerberos ticket is not valid here")
        return token.removeprefix(b"wrapped ")


def run(
    acceptor: Scripted, initial: bytes | None, responses: Iterable[bytes]
) -> tuple[list[bytes], IdentityClaim | None]:
    """The challenges of an exchange and the claim that it ends in; None if it wants more.

    The work is done at once.
    """
    exchange = gssapi(lambda: acceptor).begin(CONTEXT, initial)
    left = list(responses)
    challenges = []
    result: object = None
    try:
        while True:
            outcome = exchange.send(result)
            if isinstance(outcome, Work):
                result = outcome.function()
                continue
            assert isinstance(outcome, Challenge)
            challenges.append(outcome.data)
            if not left:
                return challenges, None
            result = left.pop(0)
    except StopIteration as stop:
        claim = stop.value
    assert isinstance(claim, IdentityClaim)
    return challenges, claim


def test_what_announcing_must_know() -> None:
    """It works for any account, and sends no secret."""
    info = gssapi(Scripted)
    assert info.name == "GSSAPI"
    assert info.is_offered(False, NO_CHANNEL, frozenset())


def test_with_mutual_authentication() -> None:
    """RFC 4752 §3.2: the server's token, an empty answer, the offer of no layer, the choice."""
    acceptor = Scripted(b"server's token")
    challenges, claim = run(acceptor, b"token", [b"", b"wrapped " + NONE])
    assert challenges == [b"server's token", b"wrapped \1\0\0\0"]
    assert acceptor.tokens == [b"token"]
    assert claim == IdentityClaim(NAMES, "GSSAPI")


def test_without_an_initial_response_the_first_challenge_is_empty() -> None:
    challenges, claim = run(Scripted(b""), None, [b"token", b"wrapped " + NONE])
    assert challenges == [b"", b"wrapped " + NONE]
    assert claim == IdentityClaim(NAMES, "GSSAPI")


def test_several_tokens() -> None:
    acceptor = Scripted(b"one", b"two", b"")
    challenges, _ = run(acceptor, b"a", [b"b", b"c", b"wrapped " + NONE])
    assert challenges == [b"one", b"two", b"wrapped " + NONE]
    assert acceptor.tokens == [b"a", b"b", b"c"]


@pytest.mark.parametrize(
    ("authzid", "claim"),
    [
        ("", IdentityClaim(NAMES, "GSSAPI")),
        ("joe", IdentityClaim(("joe",), "GSSAPI")),
        ("joe@EXAMPLE.ORG", IdentityClaim(("joe@EXAMPLE.ORG",), "GSSAPI")),
        ("zoë", IdentityClaim(NAMES, "GSSAPI", "zoë")),
    ],
)
def test_the_identity_to_act_as(authzid: str, claim: IdentityClaim) -> None:
    """One of the peer's own names says which is meant; any other is for others to judge."""
    assert run(Scripted(b""), b"t", [b"wrapped " + NONE + authzid.encode()])[1] == claim


def test_the_size_that_old_java_clients_give_is_not_looked_at() -> None:
    response = b"wrapped \1\1\0\0joe"
    assert run(Scripted(b""), b"t", [response])[1] == IdentityClaim(("joe",), "GSSAPI")


@pytest.mark.parametrize(
    ("acceptor", "initial", "responses", "text"),
    [
        (Scripted(b""), b"", [], "not a token"),
        (Scripted(b""), None, [b""], "not a token"),
        (Scripted(b"more", b""), b"t", [b""], "not a token"),
        (Scripted(b""), b"t" * (MAX_TOKEN + 1), [], "not a token"),
        (Scripted(b""), b"t", [b""], "not a token"),
        (Scripted(b""), b"t", [b"wrapped " + NONE + bytes(MAX_TOKEN)], "not a token"),
        (Scripted(b"mutual"), b"t", [b"wrapped " + NONE], "nothing was asked for"),
        (Scripted(*[b"more"] * 9), b"t", [b"t"] * MAX_ROUNDS, "too many tokens"),
        (Scripted(b""), b"t", [b"wrapped "], "no security layer"),
        (Scripted(b""), b"t", [b"wrapped \1\0\0"], "no security layer"),
        (Scripted(b""), b"t", [b"wrapped \2\0\0\0"], "no security layer"),
        (Scripted(b""), b"t", [b"wrapped \3\0\0\0joe"], "no security layer"),
        (Scripted(b""), b"t", [b"wrapped \0\0\0\0joe"], "no security layer"),
        (Scripted(b""), b"t", [b"wrapped " + NONE + b"jo\0e"], "CR, LF or NUL"),
        (Scripted(b""), b"t", [b"wrapped " + NONE + b"\xff"], "not UTF-8"),
        (Scripted(b""), b"t", [b"wrapped " + NONE + b"x" * (MAX_PART + 1)], "too long"),
    ],
)
def test_malformed_responses(
    acceptor: Scripted, initial: bytes | None, responses: list[bytes], text: str
) -> None:
    with pytest.raises(MechanismError, match=f"^malformed response: .*{text}"):
        run(acceptor, initial, responses)


def test_a_refusal_by_the_acceptor_is_the_peers_to_read() -> None:
    with pytest.raises(MechanismError, match=r"^the Kerberos ticket is not valid here$"):
        run(Scripted(b""), b"t", [b"tampered"])


def test_a_failure_of_the_acceptor_is_left_to_whoever_does_the_work() -> None:
    """It becomes an `Err`, never a refusal."""

    def make_acceptor() -> Scripted:
        raise OSError("keytab")

    outcome = next(gssapi(make_acceptor).begin(CONTEXT, b"t"))
    assert isinstance(outcome, Work)
    with pytest.raises(OSError, match="keytab"):
        outcome.function()


@given(st.lists(st.binary(max_size=40), max_size=6), st.lists(st.binary(max_size=9), min_size=1))
def test_any_responses(responses: list[bytes], answers: list[bytes]) -> None:
    acceptor = Scripted(*answers)
    try:
        _, claim = run(acceptor, None, responses)
    except MechanismError:
        claim = None
    assert claim is None
    assert len(acceptor.tokens) <= MAX_ROUNDS


@given(st.binary(max_size=60))
def test_any_choice(choice: bytes) -> None:
    try:
        _, claim = run(Scripted(b""), b"t", [b"wrapped " + choice])
    except MechanismError:
        return
    assert claim is not None
    assert choice.startswith(b"\1")
    assert claim.authzid.encode() == choice[4:]
