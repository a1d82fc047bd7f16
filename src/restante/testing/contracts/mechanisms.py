"""What every SASL mechanism promises, whatever proves who the client is."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

import pytest

from restante.protocol.claims import Claim
from restante.protocol.effects import Effect
from restante.protocol.mechanisms import (
    NO_CHANNEL,
    Channel,
    Exchange,
    MechanismContext,
    MechanismInfo,
)
from restante.protocol.replies import Continue

Client: TypeAlias = Callable[[bytes], bytes]
"""Gives the response to a challenge."""

HOSTNAME = "mail.example.org"

MOST_TURNS = 10
"""Challenges after which an exchange has to have ended."""

MARK = "Sesame"
"""What a client has sent and a refusal must not repeat: it might have been a password."""

MARKED = MARK.encode() * 8

GARBAGE = [
    b"",
    b"\0",
    b"\0\0\0\0",
    b"=",
    b"*",
    b",,,,",
    b"n,,",
    b"\r\n",
    b"\xff\xfe\xfd",
    b"user\0pass",
    b"joe\r\nSTAT",
    bytes(range(256)),
    b"A" * 100_000,
    b"\0" * 100_000,
    "ö".encode() * 1000,
    b"(" * 10_000,
    MARKED,
    b"\0" + MARKED + b"\0" + MARKED,
    b"\xff" + MARKED,
    b"n,," + MARKED,
]

DAMAGE: list[Callable[[bytes], bytes]] = [
    lambda response: response[:-1],
    lambda response: response[1:],
    lambda response: response + b"\xff",
    lambda response: response.replace(b"\0", b"") + MARKED,
]

_NAME = re.compile(r"[A-Z0-9_-]{1,20}")


class MechanismContract:
    """Tests for a SASL mechanism. Derive a class named `Test…`, write `make_mechanism` and
    `make_client`.

    secret: what the client proves that it knows; nothing may show it. client_first: the client
    speaks first (RFC 4422 §5), so it may send an initial response. channel: what TLS says of
    the connection. challenges_differ: no challenge comes twice, as a replay must not work.
    """

    secret = "geheim"  # noqa: S105 - of a test
    client_first = True
    channel: Channel = NO_CHANNEL
    challenges_differ = False

    def make_mechanism(self) -> MechanismInfo:
        """The mechanism under test."""
        raise NotImplementedError("write make_mechanism(self): it gives the mechanism")

    def make_client(self) -> Client:
        """The client's side of an exchange in which `joe` logs in: gives each response."""
        raise NotImplementedError("write make_client(self): it gives the client's responses")

    def settle(self, effect: Effect) -> object:
        """The result of an effect that the mechanism yields, such as the keys that it looks up."""
        raise NotImplementedError(f"write settle(self, effect): the mechanism yields {effect!r}")

    # What the tests work with

    def begin(self, initial: bytes | None = None) -> Exchange:
        """An exchange."""
        context = MechanismContext(HOSTNAME, self.channel)
        return self.make_mechanism().begin(context, initial)

    def step(self, exchange: Exchange, response: bytes | None) -> bytes | Claim:
        """The next challenge, or the claim at the end. Raises what the mechanism raises."""
        result: object = response
        for _ in range(MOST_TURNS):
            try:
                outcome = exchange.send(result)
            except StopIteration as end:
                claim: Claim = end.value
                return claim
            if isinstance(outcome, Continue):
                assert isinstance(outcome.data, bytes)
                return outcome.data
            result = self.settle(outcome)
        raise AssertionError("the mechanism yields one effect after the other")

    def log_in(self, *, at_once: bool = False) -> tuple[Claim, list[bytes]]:
        """A whole exchange: the claim, and the challenges."""
        client = self.make_client()
        exchange = self.begin(client(b"") if at_once else None)
        outcome = self.step(exchange, None)
        challenges = []
        while isinstance(outcome, bytes):
            challenges.append(outcome)
            assert len(challenges) <= MOST_TURNS, "the exchange doesn't end"
            outcome = self.step(exchange, client(outcome))
        return outcome, challenges

    # The tests

    def test_its_name_can_be_announced(self) -> None:
        """RFC 4422 §3.1."""
        assert _NAME.fullmatch(self.make_mechanism().name)

    def test_it_is_offered_only_where_it_can_be_used(self) -> None:
        info = self.make_mechanism()
        held = info.schemes if info.schemes is not None else frozenset[str]()
        assert info.is_offered(True, self.channel, held)
        assert info.is_offered(False, self.channel, held) is not info.plaintext
        if info.schemes is not None:
            assert not info.is_offered(True, self.channel, frozenset())
        if info.binds or info.certificate:
            assert not info.is_offered(True, NO_CHANNEL, held)

    def test_an_exchange_ends_in_a_claim(self) -> None:
        claim, challenges = self.log_in()
        assert claim is not None
        assert isinstance(claim.mechanism, str)
        assert claim.mechanism == self.make_mechanism().name
        assert challenges, "nothing was asked, and the client said nothing"

    def test_who_speaks_first_is_asked_for_nothing(self) -> None:
        """RFC 5034 §4: an empty challenge asks for the initial response."""
        first = self.step(self.begin(), None)
        assert isinstance(first, bytes)
        assert (first == b"") is self.client_first

    def test_an_initial_response_saves_a_turn(self) -> None:
        if not self.client_first:
            pytest.skip("only where the client speaks first")
        _, asked = self.log_in()
        claim, at_once = self.log_in(at_once=True)
        assert claim is not None
        assert len(at_once) == len(asked) - 1

    def test_an_initial_response_is_refused_where_the_server_speaks_first(self) -> None:
        """RFC 5034 §4. What is lenient takes it for the response to its first challenge."""
        if self.client_first:
            pytest.skip("only where the server speaks first")
        try:
            outcome = self.step(self.begin(self.make_client()(b"")), None)
        except ValueError as error:
            self._check(error)
        else:
            assert isinstance(outcome, bytes), "an initial response alone logs in"

    @pytest.mark.parametrize("response", GARBAGE, ids=range(len(GARBAGE)))
    def test_garbage_is_refused_at_each_turn(self, response: bytes) -> None:
        """It ends in ValueError, or in a claim that others refuse: in nothing else."""
        for turn in range(len(self.log_in()[1])):
            client, exchange = self.make_client(), self.begin()
            outcome = self.step(exchange, None)
            for _ in range(turn):
                assert isinstance(outcome, bytes)
                outcome = self.step(exchange, client(outcome))
            try:
                for _ in range(MOST_TURNS):
                    if not isinstance(outcome, bytes):
                        break
                    outcome = self.step(exchange, response)
            except ValueError as error:
                self._check(error)

    @pytest.mark.parametrize("response", GARBAGE, ids=range(len(GARBAGE)))
    def test_garbage_at_the_beginning_is_refused(self, response: bytes) -> None:
        try:
            self.step(self.begin(response), None)
        except ValueError as error:
            self._check(error)

    @pytest.mark.parametrize("damage", DAMAGE, ids=range(len(DAMAGE)))
    def test_a_damaged_response_is_not_repeated(self, damage: Callable[[bytes], bytes]) -> None:
        """The client's own response, with its secret, but for some octets."""
        for turn in range(len(self.log_in()[1])):
            client, exchange = self.make_client(), self.begin()
            outcome = self.step(exchange, None)
            for _ in range(turn):
                assert isinstance(outcome, bytes)
                outcome = self.step(exchange, client(outcome))
            assert isinstance(outcome, bytes)
            try:
                self.step(exchange, damage(client(outcome)))
            except ValueError as error:
                self._check(error)

    def _check(self, error: ValueError) -> None:
        """The client is told the text of a MechanismError, and logs have it."""
        text = str(error)
        assert text, "a refusal says why"
        assert text.isascii()
        assert text.isprintable(), f"{text!r} doesn't fit into a reply"
        assert len(text) < 400
        for said in (MARK, self.secret):
            assert said not in text, (
                f"{text!r} repeats what the client has sent, which may be a secret: "
                "a refusal says what is wrong, and quotes nothing"
            )

    def test_a_cancelled_exchange_is_over(self) -> None:
        """The server closes it when the client says "*"."""
        for turns in range(len(self.log_in()[1])):
            client, exchange = self.make_client(), self.begin()
            outcome = self.step(exchange, None)
            for _ in range(turns):
                assert isinstance(outcome, bytes)
                outcome = self.step(exchange, client(outcome))
            exchange.close()
        assert self.log_in()[0] is not None

    def test_exchanges_know_nothing_of_each_other(self) -> None:
        clients = [self.make_client(), self.make_client()]
        exchanges = [self.begin(), self.begin()]
        outcomes = [self.step(each, None) for each in exchanges]
        for _ in range(MOST_TURNS):
            for at, outcome in enumerate(outcomes):
                if isinstance(outcome, bytes):
                    outcomes[at] = self.step(exchanges[at], clients[at](outcome))
        assert not any(isinstance(each, bytes) for each in outcomes)

    def test_no_challenge_comes_twice(self) -> None:
        if not self.challenges_differ:
            pytest.skip("only where challenges differ each time")
        seen: set[bytes] = set()
        for _ in range(20):
            challenges = {each for each in self.log_in()[1] if each}
            assert not challenges & seen
            seen |= challenges

    def test_the_secret_is_not_shown(self) -> None:
        claim, challenges = self.log_in()
        assert self.secret not in repr(claim)
        assert self.secret not in repr(self.make_mechanism())
        assert not any(self.secret.encode() in each for each in challenges)
