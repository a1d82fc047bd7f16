"""SASL mechanisms: what each makes of a peer's responses."""

from __future__ import annotations

import hmac
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.protocol.claims import Claim, PasswordClaim, SecretClaim
from restante.protocol.effects import Effect
from restante.sasl.contract import MAX_PART, Challenge, MechanismContext, MechanismError
from restante.sasl.cram_md5 import CRAM_MD5, CramMd5Claim
from restante.sasl.login import LOGIN
from restante.sasl.plain import PLAIN

MECHANISMS = {info.name: info for info in (PLAIN, LOGIN, CRAM_MD5)}
CONTEXT = MechanismContext("mail.example.org")


class Mechanism:
    """An exchange, a response at a time."""

    def __init__(self, name: str, context: MechanismContext = CONTEXT) -> None:
        self._info = MECHANISMS[name]
        self._context = context
        self._begun = False

    def step(self, response: bytes | None) -> Challenge | Effect | Claim:
        try:
            if not self._begun:
                self._begun = True
                self._exchange = self._info.begin(self._context, response)
                return self._exchange.send(None)
            return self._exchange.send(response or b"")
        except StopIteration as end:
            claim: Claim = end.value
            return claim


def exchange(name: str, *responses: bytes | None) -> Challenge | Effect | Claim:
    """The last step of an exchange of `responses`."""
    mechanism = Mechanism(name)
    return [mechanism.step(response) for response in responses][-1]


def test_registry_says_what_announcing_needs_to_know() -> None:
    """A6: plaintext mechanisms want TLS, challenge mechanisms a shared secret."""
    known = {i.name: (i.plaintext, i.schemes) for i in MECHANISMS.values()}
    assert known == {
        "PLAIN": (True, None),
        "LOGIN": (True, None),
        "CRAM-MD5": (False, CRAM_MD5.schemes),
    }
    assert all(name == info.name == name.upper() for name, info in MECHANISMS.items())


class TestPlain:
    def test_without_initial_response_asks_with_an_empty_challenge(self) -> None:
        assert exchange("PLAIN", None) == Challenge(b"")

    @pytest.mark.parametrize("before", [(), (None,)], ids=["initial", "challenged"])
    def test_rfc_4616_examples(self, before: tuple[None, ...]) -> None:
        claim = exchange("PLAIN", *before, b"\0tim\0tanstaaftanstaaf")
        assert claim == PasswordClaim("tim", "tanstaaftanstaaf", "PLAIN", "")
        claim = exchange("PLAIN", *before, b"Ursel\0Kurt\0xipj3plmq")
        assert claim == PasswordClaim("Kurt", "xipj3plmq", "PLAIN", "Ursel")

    def test_utf8_and_blanks_stay_as_they_are(self) -> None:
        """A1: passwords keep their spaces, at the ends too."""
        claim = exchange("PLAIN", "\0Jürgen Ö\0 пароль ".encode())
        assert claim == PasswordClaim("Jürgen Ö", " пароль ", "PLAIN")

    def test_parts_as_long_as_a_line_are_taken(self) -> None:
        part = b"x" * MAX_PART
        claim = exchange("PLAIN", part + b"\0" + part + b"\0" + part)
        assert isinstance(claim, PasswordClaim)
        assert len(claim.password) == MAX_PART

    @pytest.mark.parametrize(
        "response",
        [
            b"",
            b"\0",
            b"\0\0",
            b"tim",
            b"tim\0secret",
            b"\0tim\0",
            b"\0\0secret",
            b"\0tim\0secret\0",
            b"\0tim\0sec\0ret",
            b"\0tim\0sec\rret",
            b"\0tim\0secret\n",
            b"\0t\r\nim\0secret",
            b"a\nb\0tim\0secret",
            b"\0tim\0\xff\xfe",
            b"\0\xc3\0secret",
            b"\0tim\0\xed\xa0\x80",
            b"\xff\0tim\0secret",
            b"\0tim\0" + b"x" * (MAX_PART + 1),
            b"\0" + b"x" * (MAX_PART + 1) + b"\0secret",
            b"x" * (MAX_PART + 1) + b"\0tim\0secret",
        ],
    )
    def test_malformed_responses_are_refused(self, response: bytes) -> None:
        """A2: CR, LF and NUL inside credentials never get further."""
        with pytest.raises(MechanismError, match=r"^malformed response: "):
            exchange("PLAIN", response)


class TestLogin:
    def test_asks_for_name_then_password(self) -> None:
        mechanism = Mechanism("LOGIN")
        assert mechanism.step(None) == Challenge(b"Username:")
        assert mechanism.step(b"joe") == Challenge(b"Password:")
        assert mechanism.step(b" s p ") == PasswordClaim("joe", " s p ", "LOGIN")

    def test_an_initial_response_is_the_name(self) -> None:
        mechanism = Mechanism("LOGIN")
        assert mechanism.step("Zoë".encode()) == Challenge(b"Password:")
        assert mechanism.step(b"secret") == PasswordClaim("Zoë", "secret", "LOGIN")

    @pytest.mark.parametrize(
        "responses",
        [
            (b"",),
            (None, b""),
            (None, b"jo\0e"),
            (None, b"joe\r\n"),
            (None, b"\xff"),
            (None, b"joe", b""),
            (None, b"joe", b"sec\nret"),
            (None, b"joe", b"x" * (MAX_PART + 1)),
        ],
    )
    def test_malformed_responses_are_refused(self, responses: tuple[bytes | None, ...]) -> None:
        """A2"""
        with pytest.raises(MechanismError, match=r"^malformed response: "):
            exchange("LOGIN", *responses)


class TestCramMd5:
    def test_rfc_2195_example(self) -> None:
        challenge = b"<1896.697170952@postoffice.reston.mci.net>"
        claim = CramMd5Claim("tim", challenge, "b913a602c7eda7a495b4e6e7334d3890")
        assert claim.holds_for("PLAIN", "tanstaaftanstaaf")
        assert not claim.holds_for("PLAIN", "tanstaaftanstaa")
        assert not claim.holds_for("PLAIN", "")

    def test_challenge_has_the_form_that_clients_expect(self) -> None:
        """`<digits.digits@host>`, in ASCII, and never the same."""
        challenges = set()
        for _ in range(50):
            challenge = exchange("CRAM-MD5", None)
            assert isinstance(challenge, Challenge)
            assert re.fullmatch(rb"<[0-9]+\.[0-9]+@mail\.example\.org>", challenge.data)
            challenges.add(challenge.data)
        assert len(challenges) == 50

    @pytest.mark.parametrize("name", ["tim", "Tim T. Timson", "Jürgen", " blanks "])
    def test_a_right_digest_holds_for_its_secret_only(self, name: str) -> None:
        mechanism = Mechanism("CRAM-MD5")
        challenge = mechanism.step(None)
        assert isinstance(challenge, Challenge)
        digest = hmac.new(b"secret", challenge.data, "md5").hexdigest()
        claim = mechanism.step(f"{name} {digest.upper()}".encode())
        assert isinstance(claim, SecretClaim)
        assert claim.name == name
        assert claim.mechanism == "CRAM-MD5"
        assert claim.holds_for("PLAIN", "secret")
        assert not claim.holds_for("PLAIN", "Secret")

    def test_an_initial_response_is_refused(self) -> None:
        with pytest.raises(MechanismError):
            exchange("CRAM-MD5", b"tim " + b"0" * 32)

    @pytest.mark.parametrize(
        "response",
        [
            b"",
            b"tim",
            b"tim ",
            b"0" * 32,
            b" " + b"0" * 32,
            b"tim " + b"0" * 31,
            b"tim " + b"0" * 33,
            b"tim " + b"g" * 32,
            b"tim " + b"0" * 32 + b"\n",
            b"t\0im " + b"0" * 32,
            b"t\nim " + b"0" * 32,
            b"\xff " + b"0" * 32,
            b"x" * (MAX_PART + 1) + b" " + b"0" * 32,
        ],
    )
    def test_malformed_responses_are_refused(self, response: bytes) -> None:
        with pytest.raises(MechanismError, match=r"^malformed response: "):
            exchange("CRAM-MD5", None, response)

    def test_a_host_name_beyond_ascii_gives_an_ascii_challenge(self) -> None:
        challenge = Mechanism("CRAM-MD5", MechanismContext("bücher.example")).step(None)
        assert isinstance(challenge, Challenge)
        assert challenge.data.isascii()


def test_claims_never_show_their_secrets() -> None:
    """A11"""
    plain = exchange("PLAIN", b"\0tim\0geheim")
    cram = exchange("CRAM-MD5", None, b"tim " + b"ab" * 16)
    assert "tim" in repr(plain)
    assert "tim" in repr(cram)
    assert "geheim" not in repr(plain)
    assert "abab" not in repr(cram)
    assert "@" not in repr(cram)


# Bytes that come near to being credentials, and bytes that don't.
NEARLY = st.lists(
    st.one_of(st.sampled_from([b"\0", b"\r", b"\n", b" ", b"tim", b"a" * 32]), st.binary()),
    max_size=6,
).map(b"".join)


@given(
    name=st.sampled_from(sorted(MECHANISMS)),
    responses=st.lists(st.one_of(st.none(), NEARLY), min_size=1, max_size=4),
)
def test_no_response_does_harm(name: str, responses: list[bytes | None]) -> None:
    """A2: whatever a peer sends: MechanismError, a challenge, or a claim without CR, LF, NUL."""
    mechanism = Mechanism(name)
    for response in responses:
        try:
            outcome = mechanism.step(response)
        except MechanismError:
            return
        if isinstance(outcome, Challenge):
            continue
        assert not isinstance(outcome, Effect)
        texts = [outcome.name]
        if isinstance(outcome, PasswordClaim):
            texts += outcome.password, outcome.authzid
        assert not set("".join(texts)) & set("\r\n\0")
        assert outcome.name
        assert outcome.mechanism == name
        return
