"""The contract's tests, with each mechanism of ours."""

from __future__ import annotations

import hmac
from base64 import b64encode

import pytest
import spnego
from scramp import ScramClient

from restante.protocol.effects import Effect, FindKeys
from restante.protocol.mechanisms import MechanismContext, MechanismInfo
from restante.sasl.anonymous import anonymous
from restante.sasl.contract import Exchange, ask
from restante.sasl.cram_md5 import CRAM_MD5
from restante.sasl.external import EXTERNAL
from restante.sasl.login import LOGIN
from restante.sasl.ntlm import NTLM
from restante.sasl.oauth import oauth_mechanisms
from restante.sasl.plain import PLAIN
from restante.sasl.scram import HASHES, SCRAM_SHA_1, SCRAM_SHA_256, make
from restante.testing import MechanismContract
from restante.testing.contracts.mechanisms import DAMAGE, GARBAGE, MARKED, Client

SECRET = MechanismContract.secret


def saying(*responses: str) -> Client:
    left = iter(responses)
    return lambda challenge: next(left).encode()


class TestPlain(MechanismContract):
    def make_mechanism(self) -> MechanismInfo:
        return PLAIN

    def make_client(self) -> Client:
        return saying(f"\0joe\0{self.secret}")


class TestLogin(MechanismContract):
    client_first = False

    def make_mechanism(self) -> MechanismInfo:
        return LOGIN

    def make_client(self) -> Client:
        return saying("joe", self.secret)


class TestCramMd5(MechanismContract):
    client_first = False
    challenges_differ = True

    def make_mechanism(self) -> MechanismInfo:
        return CRAM_MD5

    def make_client(self) -> Client:
        def respond(challenge: bytes) -> bytes:
            return b"joe " + hmac.new(SECRET.encode(), challenge, "md5").hexdigest().encode()

        return respond


class _Scram(MechanismContract):
    challenges_differ = True
    info: MechanismInfo

    def make_mechanism(self) -> MechanismInfo:
        return self.info

    def make_client(self) -> Client:
        scramp = ScramClient([self.info.name], "joe", self.secret)
        turns = 0

        def respond(challenge: bytes) -> bytes:
            nonlocal turns
            turns += 1
            if turns == 1:
                first: str = scramp.get_client_first()
                return first.encode()
            if turns == 2:
                scramp.set_server_first(challenge.decode())
                final: str = scramp.get_client_final()
                return final.encode()
            scramp.set_server_final(challenge.decode())
            return b""

        return respond

    def settle(self, effect: Effect) -> object:
        assert isinstance(effect, FindKeys)
        return make(HASHES[self.info.name], self.secret, iterations=4096)


class TestScramSha1(_Scram):
    info = SCRAM_SHA_1


class TestScramSha256(_Scram):
    info = SCRAM_SHA_256


class TestNtlm(MechanismContract):
    challenges_differ = True

    def make_mechanism(self) -> MechanismInfo:
        return NTLM

    def make_client(self) -> Client:
        context = spnego.client(
            "joe", self.secret, protocol="ntlm", options=spnego.NegotiateOptions.use_ntlm
        )
        return lambda challenge: context.step(challenge or None) or b""


class TestOauthbearer(MechanismContract):
    def make_mechanism(self) -> MechanismInfo:
        return oauth_mechanisms()[0]

    def make_client(self) -> Client:
        return saying(f"n,a=joe,\1auth=Bearer {self.secret}\1\1")


class TestXoauth2(TestOauthbearer):
    def make_mechanism(self) -> MechanismInfo:
        return oauth_mechanisms()[1]

    def make_client(self) -> Client:
        return saying(f"user=joe\1auth=Bearer {self.secret}\1\1")


class TestAnonymous(MechanismContract):
    def make_mechanism(self) -> MechanismInfo:
        return anonymous("guest")

    def make_client(self) -> Client:
        return saying("somebody")


class _Card:
    """TLS with a client's certificate."""

    def binding_types(self) -> tuple[str, ...]:
        return ()

    def binding(self, kind: str) -> bytes | None:
        return None

    def names(self) -> tuple[str, ...]:
        return ("joe",)


class TestExternal(MechanismContract):
    channel = _Card()

    def make_mechanism(self) -> MechanismInfo:
        return EXTERNAL

    def make_client(self) -> Client:
        return saying("")


# What is wrong is found


def _loud(context: MechanismContext, initial: bytes | None) -> Exchange:
    response = initial if initial is not None else (yield from ask(b""))
    raise ValueError(f"no such user: {response!r} {SECRET}\r\n")


def _quoting(context: MechanismContext, initial: bytes | None) -> Exchange:
    response = initial if initial is not None else (yield from ask(b""))
    raise ValueError(f"bad response {response[:60]!r}")


def _careless(context: MechanismContext, initial: bytes | None) -> Exchange:
    response = initial if initial is not None else (yield from ask(b""))
    response.decode().split("\0")[5]
    raise AssertionError


def _endless(context: MechanismContext, initial: bytes | None) -> Exchange:
    while True:
        yield from ask(b"more")


@pytest.mark.parametrize(
    ("begin", "test"),
    [
        (_loud, "test_garbage_at_the_beginning_is_refused"),
        (_careless, "test_garbage_at_the_beginning_is_refused"),
        (_endless, "test_an_exchange_ends_in_a_claim"),
    ],
)
def test_a_broken_mechanism_fails(begin: object, test: str) -> None:
    class Broken(MechanismContract):
        def make_mechanism(self) -> MechanismInfo:
            return MechanismInfo("BROKEN", begin)  # type: ignore[arg-type]

        def make_client(self) -> Client:
            return lambda challenge: b64encode(b"x")

    method = getattr(Broken(), test)
    with pytest.raises((AssertionError, IndexError, UnicodeDecodeError)):
        method(b"\0") if "garbage" in test else method()


@pytest.mark.parametrize("response", [each for each in GARBAGE if MARKED in each])
def test_a_refusal_that_quotes_the_client_fails_and_the_rule_is_said(response: bytes) -> None:
    class Quoting(MechanismContract):
        def make_mechanism(self) -> MechanismInfo:
            return MechanismInfo("QUOTING", _quoting)

    with pytest.raises(AssertionError, match="repeats what the client has sent"):
        Quoting().test_garbage_at_the_beginning_is_refused(response)


def test_a_refusal_that_quotes_the_secret_fails() -> None:
    class Sometimes(TestPlain):
        def make_mechanism(self) -> MechanismInfo:
            def begin(context: MechanismContext, initial: bytes | None) -> Exchange:
                response = initial if initial is not None else (yield from ask(b""))
                if response.count(b"\0") != 2:
                    raise ValueError(f"two NULs are due: {response!r}")
                return (yield from PLAIN.begin(context, response))

            return MechanismInfo("PLAIN", begin)

    with pytest.raises(AssertionError, match="repeats what the client has sent"):
        Sometimes().test_a_damaged_response_is_not_repeated(DAMAGE[1])


def test_what_an_author_forgets_is_named() -> None:
    with pytest.raises(NotImplementedError, match="write make_mechanism"):
        MechanismContract().make_mechanism()
    with pytest.raises(NotImplementedError, match="write make_client"):
        MechanismContract().make_client()
