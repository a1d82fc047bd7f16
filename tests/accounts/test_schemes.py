"""Password schemes: what is kept of a password, and what verifies it."""

from __future__ import annotations

import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from hashlib import scrypt

import pytest
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from hypothesis import given
from hypothesis import strategies as st

from restante.accounts import schemes
from restante.accounts.contract import AccountError
from restante.accounts.schemes import (
    SCHEMES,
    crypts,
    default_scheme,
    digests,
    hash_password,
    is_slow,
    needs_rehash,
    slowest,
    split_credential,
    verify,
)

NEW = sorted(name for name, scheme in SCHEMES.items() if scheme.make)
UNSALTED = {"SHA", "SHA256", "SHA512"}
FOR_MECHANISMS = {"PLAIN", "CRAM-MD5", "NT", "SCRAM-SHA-1", "SCRAM-SHA-256"}


@pytest.fixture
def without_argon2(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine where argon2-cffi isn't installed."""
    monkeypatch.setitem(sys.modules, "argon2", None)
    schemes.default_scheme.cache_clear()
    schemes._argon2.cache_clear()
    yield
    schemes.default_scheme.cache_clear()
    schemes._argon2.cache_clear()


@pytest.fixture
def cheap_crypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Crypt formats and PBKDF2 that cost next to nothing."""
    monkeypatch.setattr(crypts, "BCRYPT_COST", 4)
    monkeypatch.setattr(crypts, "SHA_ROUNDS", 1000)
    monkeypatch.setattr(digests, "PBKDF2_ROUNDS", 10)


@pytest.mark.usefixtures("cheap_hashes", "cheap_crypt")
@pytest.mark.parametrize("scheme", NEW)
@pytest.mark.parametrize("password", ["secret", " blanks ", "пароль🔑", "{PLAIN}x", "$", "x" * 255])
def test_a_password_matches_its_own_credential_only(scheme: str, password: str) -> None:
    """A1: to the last blank."""
    if scheme in ("BLF-CRYPT", "CRYPT") and len(password) > 72:
        with pytest.raises(ValueError, match="72 octets"):
            hash_password(password, scheme)
        return
    credential = hash_password(password, scheme)
    assert credential.startswith(f"{{{scheme}}}")
    assert verify(credential, password) is True
    for wrong in (password + " ", password[:-1], password.swapcase() + "!", ""):
        assert verify(credential, wrong) is False
    assert needs_rehash(credential) is (scheme not in {"ARGON2ID", "SCRYPT"} | FOR_MECHANISMS)


@pytest.mark.parametrize("scheme", sorted(UNSALTED))
def test_unsalted_digests_are_read_and_not_made(scheme: str) -> None:
    with pytest.raises(ValueError, match="no salt"):
        hash_password("geheim", scheme)


@pytest.mark.usefixtures("cheap_hashes")
@pytest.mark.parametrize("scheme", ["ARGON2ID", "SCRYPT"])
def test_hashes_are_salted_and_hide_the_password(scheme: str) -> None:
    one, two = hash_password("geheim", scheme), hash_password("geheim", scheme)
    assert one != two
    assert "geheim" not in one
    assert is_slow(one)


def test_plain_is_quick() -> None:
    assert not is_slow("{PLAIN}geheim")
    assert not is_slow("{UNKNOWN}geheim")
    assert not is_slow("geheim")


def test_the_slowest_of_some_schemes() -> None:
    assert slowest(["PLAIN", "SSHA", "MD5-CRYPT", "BLF-CRYPT"]) == "BLF-CRYPT"
    assert slowest(["PLAIN", "NT", "ELSEWHERE", ""]) is None


def test_default_is_argon2id_where_it_is_installed() -> None:
    assert default_scheme() == "ARGON2ID"
    assert hash_password("x").startswith("{ARGON2ID}$argon2id$")


@pytest.mark.usefixtures("without_argon2")
def test_default_is_scrypt_elsewhere() -> None:
    assert default_scheme() == "SCRYPT"
    credential = hash_password("geheim")
    assert credential.startswith("{SCRYPT}$ln=")
    assert verify(credential, "geheim")


def test_a_missing_library_is_an_error_that_names_the_extra(
    request: pytest.FixtureRequest,
) -> None:
    credential = hash_password("geheim", "ARGON2ID")
    request.getfixturevalue("without_argon2")
    with pytest.raises(AccountError, match=r"restante\[argon2\]"):
        verify(credential, "geheim")
    with pytest.raises(AccountError, match=r"restante\[argon2\]"):
        hash_password("geheim", "ARGON2ID")


def test_scrypt_is_the_standard_librarys() -> None:
    """Salt and hash are in base64 without padding; `salt` and the RFC 7914 function agree."""
    hashed = scrypt(b"geheim", salt=b"0123456789abcdef", n=4, r=1, p=1, dklen=16)
    encoded = b64encode(hashed).decode().rstrip("=")
    credential = "{SCRYPT}$ln=2,r=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$" + encoded
    assert verify(credential, "geheim")
    assert not verify(credential, "Geheim")
    assert needs_rehash(credential)


def test_other_costs_want_a_new_hash() -> None:
    hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    credential = "{ARGON2ID}" + hasher.hash("geheim")
    assert verify(credential, "geheim")
    assert needs_rehash(credential)


def test_more_than_our_costs_are_left_alone() -> None:
    """Dovecot's Argon2id: as much memory, as many passes, fewer lanes."""
    assert not needs_rehash(
        "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$RAwQuWAluE7h3DMzFV5/gQ"
        "$Mm6qfecUwA2M00tM8BmUx1rLJQnJZlTzNO11YEtr4VM"
    )
    assert not needs_rehash("{SCRYPT}$ln=17,r=8,p=1$AAAA$AAAAAAAAAAAAAAAAAAAAAAAA")


def test_scheme_names_are_read_in_either_case() -> None:
    assert verify("{plain}geheim", "geheim")


@pytest.mark.parametrize(
    "credential",
    [
        "",
        "geheim",
        "{}geheim",
        "{PLAIN geheim",
        "{PLAIN}",
        "{MD5}geheim",
        "{SCRAM-SHA-256}geheim",
        "{ARGON2ID}",
        "{ARGON2ID}geheim",
        "{ARGON2ID}$argon2id$",
        "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=4$AAAA",
        "{ARGON2ID}$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
        "{SCRYPT}",
        "{SCRYPT}geheim",
        "{SCRYPT}$ln=14,r=8,p=5$",
        "{SCRYPT}$ln=14,r=8,p=5$AAAA$",
        "{SCRYPT}$ln=2,r=1,p=1$AAAA$AA",
        "{SCRYPT}$ln=2,r=1,p=1$A$AAAAAAAAAAAAAAAAAAAAAAAA",
        "{SCRYPT}$ln=0,r=1,p=1$AAAA$AAAAAAAAAAAAAAAAAAAAAAAA",
        "{SCRYPT}$ln=14,r=0,p=1$AAAA$AAAAAAAAAAAAAAAAAAAAAAAA",
        "{SCRYPT}$ln=30,r=8,p=1$AAAA$AAAAAAAAAAAAAAAAAAAAAAAA",
        "{SCRYPT}$ln=99,r=999,p=999$AAAA$AAAAAAAAAAAAAAAAAAAAAAAA",
        "{SCRYPT}$ln=14,r=8,p=999$AAAA$AAAAAAAAAAAAAAAAAAAAAAAA",
        "{ARGON2ID}$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
        "{ARGON2ID}$argon2id$v=19$m=64,t=9999999,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
        "{ARGON2I}$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
        "{BLF-CRYPT}",
        "{BLF-CRYPT}$2y$05$",
        "{BLF-CRYPT}$2y$31$3HMrH/giddAUjGfUr.o0quyaZyphWSdOIFBaDuNGXY9JRx4x4XJkO",
        "{BLF-CRYPT}$2y$00$3HMrH/giddAUjGfUr.o0quyaZyphWSdOIFBaDuNGXY9JRx4x4XJkO",
        "{BLF-CRYPT}$1$w5MYfOXH$chXruoefIWsVvAE0ttDQY1",
        "{CRYPT}",
        "{CRYPT}PwNcfJoDFY7.s",
        "{CRYPT}*",
        "{CRYPT}!$6$WzpkiX2aN4Yyr6he$",
        "{CRYPT}$7$whatever",
        "{SHA512-CRYPT}",
        "{SHA512-CRYPT}$6$",
        "{SHA512-CRYPT}$6$salt",
        "{SHA512-CRYPT}$6$salt$",
        "{SHA512-CRYPT}$6$rounds=999999999$salt$" + "a" * 86,
        "{SHA512-CRYPT}$6$rounds=5$salt$" + "a" * 86,
        "{SHA512-CRYPT}$6$salt$" + "a" * 9000,
        "{SHA256-CRYPT}$5$salt$",
        "{MD5-CRYPT}",
        "{MD5-CRYPT}$1$w5MYfOXH$",
        "{MD5-CRYPT}$6$salt$" + "a" * 86,
        "{SSHA}",
        "{SSHA}kGByAB793z4R5tK1eC9Hd/4Dhzk=",
        "{SSHA}p3ihC8PengvYtx5wRdQ6mgIloAv",
        "{SSHA512}AAAA",
        "{SHA}",
        "{SHA}AAAA",
        "{SHA.HEX}906072001efddf3e11e6d2b5782f4777fe03873",
        "{SHA}kGByAB793z4R5tK1eC9Hd/4Dhzk",
        "{PBKDF2}",
        "{PBKDF2}$1$salt$0$05b444474c669df415f522aed1672f1897852ea3",
        "{PBKDF2}$1$salt$9999999$05b444474c669df415f522aed1672f1897852ea3",
        "{PBKDF2}$1$salt$99999999999999999999$05b444474c669df415f522aed1672f1897852ea3",
        "{PBKDF2}$1$salt$5000$05b4",
        "{PBKDF2}$2$salt$5000$05b444474c669df415f522aed1672f1897852ea3",
        "{CRAM-MD5}",
        "{CRAM-MD5}f16f",
        "{CRAM-MD5}" + "g" * 64,
        "{NT}",
        "{NT}8846f7eaee8fb117",
        "{NT}" + " " * 32,
        "{SCRAM-SHA-256}4096,,,",
        "{SCRAM-SHA-256}9999999,c2FsdA==," + ",".join(["A" * 43 + "="] * 2),
        "{SCRAM-SHA-1}4096,SITpYPj0mgiAkJTxLpUt6A==," + ",".join(["A" * 43 + "="] * 2),
        "{PLAIN.HEX}zz",
        "{PLAIN.B64}Z2VoZW",
        "{PLAIN.B64}",
        "{PLAIN.XYZ}geheim",
        "{.HEX}67656865696d",
        "{.}geheim",
    ],
)
def test_what_is_no_credential_lets_nobody_in(credential: str) -> None:
    for password in ("geheim", credential, "", "\udce9", "\ud800"):
        assert verify(credential, password) is False
    needs_rehash(credential)  # whatever the answer, it is one


VECTORS = [
    # Dovecot 2.3.19's for "geheim"
    ("geheim", "{CLEAR}geheim"),
    ("geheim", "{CLEARTEXT}geheim"),
    ("geheim", "{PLAIN.B64}Z2VoZWlt"),
    ("geheim", "{PLAIN.BASE64}Z2VoZWlt"),
    ("geheim", "{PLAIN.HEX}67656865696d"),
    (
        "geheim",
        "{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$iPRwqj6hslVA+uISbu2iCA"
        "$aSNAEvSBgI62BzWmJ6qV9tf+dO1prv8T2WAEIl1QTPY",
    ),
    (
        "geheim",
        "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$RAwQuWAluE7h3DMzFV5/gQ"
        "$Mm6qfecUwA2M00tM8BmUx1rLJQnJZlTzNO11YEtr4VM",
    ),
    ("geheim", "{BLF-CRYPT}$2y$05$3HMrH/giddAUjGfUr.o0quyaZyphWSdOIFBaDuNGXY9JRx4x4XJkO"),
    ("geheim", "{CRYPT}$2y$05$A0bElkMJ.mEwuqP6o3J/ueXv79W2wVu8A3nefDTmSTqJZ6aslPSKO"),
    ("geheim", "{CRYPT}$1$w5MYfOXH$chXruoefIWsVvAE0ttDQY1"),
    ("geheim", "{MD5-CRYPT}$1$w5MYfOXH$chXruoefIWsVvAE0ttDQY1"),
    ("geheim", "{SHA512-CRYPT}$1$w5MYfOXH$chXruoefIWsVvAE0ttDQY1"),
    ("geheim", "{SHA256-CRYPT}$5$D6FbFmkO3Brp.PQX$bLYY5ufArx4b2BCdzkkMX8fx1VVO7WO3eC2ZOfrlYA1"),
    (
        "geheim",
        "{SHA512-CRYPT}$6$WzpkiX2aN4Yyr6he$hdWrsV8HkS66AhBjYGR2c5il62NUSzYe4U/SFS3lT0rZvL6rvZb"
        "DCA98Q1.7LB37dBU0K.jnAym8siVR1gTyz1",
    ),
    (
        "geheim",
        "{SHA512-CRYPT.B64}JDYkclhncVhqRXNrdkpCTVpMVSQyTkdnWHlFTm5PdkFRM3dEQnhJQXJHZi5OYVhWQUk5"
        "SGZsZGFWRnFUangwbnJhVUVwM0wxQ1g4eXRnRGVkcndYaE9zaVhFWGM3RmFsN3ZzVnVRWWdlMQ==",
    ),
    ("geheim", "{SSHA}p3ihC8PengvYtx5wRdQ6mgIloAvFxEBH"),
    ("geheim", "{SSHA.HEX}1b63b5d2a28f8a3d38408bdf181dfb3bb0c6352f04060b4d"),
    ("geheim", "{SSHA256}4gY7qnrPxrgcMYf8BJbDl92m+FtUPvBAlPyIuO8870GLQa6x"),
    (
        "geheim",
        "{SSHA256.hex}7bdef5cc924068563a41bcf206f3688470dfd1ed4b7f853a41add82834222367b7cf8e5a",
    ),
    (
        "geheim",
        "{SSHA512}Kw4na2G4wHEHUQhZevPiZCJB6cgLl7JvMvM4ElvE8k4Hz2x7kU4keWrrU2yJTBgY3E8I+pH1dM02w3"
        "BokKuKbWA+qqc=",
    ),
    ("geheim", "{SHA}kGByAB793z4R5tK1eC9Hd/4Dhzk="),
    ("geheim", "{SHA1}906072001EFDDF3E11E6D2B5782F4777FE038739"),
    ("geheim", "{SHA256}addb0f5e7826c857d7376d1bd9bc33c0c544790a2eac96144a8af22b1298c940"),
    (
        "geheim",
        "{SHA512}jYR+AdIrqpafcfo2K03iHJ4Tx4grzqE7pcaorg1x/IyXAMguAIemXIs3vSn1NnR/KMlnK+wcrndi0sn"
        "za2AT8g==",
    ),
    ("geheim", "{PBKDF2}$1$augDmpjXPjvyfe2r$5000$05b444474c669df415f522aed1672f1897852ea3"),
    ("geheim", "{CRAM-MD5}f16f9cd57afad6931bff9508ef68ea2db1b62513b604cf995e4f882bed6d4f1a"),
    ("geheim", "{HMAC-MD5}F16F9CD57AFAD6931BFF9508EF68EA2DB1B62513B604CF995E4F882BED6D4F1A"),
    ("geheim", "{CRAM-MD5.B64}8W+c1Xr61pMb/5UI72jqLbG2JRO2BM+ZXk+IK+1tTxo="),
    (
        "geheim",
        "{SCRAM-SHA-1}4096,LlxMnhlSuAPXWzzyCw14gA==,kzuexAbAghca3qBNDtO1jBdeewc=,"
        "+DDD1de9UtYLB/pvniLa4YDcmk0=",
    ),
    (
        "geheim",
        "{SCRAM-SHA-256}4096,SITpYPj0mgiAkJTxLpUt6A==,uYHXoFB9m8wGSF11aeXPJjoZuKpg2NupIJT7mhzxMs8"
        "=,P4+EqT4fZ/bETc9H5BFbut8FEOnVND+B9FHwNWNdAI4=",
    ),
    # The specification of SHA-crypt, and openssl passwd
    ("Hello world!", "{CRYPT}$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"),
    (
        "Hello world!",
        "{CRYPT}$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBF"
        "dcbYEdFCoEOfaS35inz1",
    ),
    # MS-NLMP §4.2.2.1.2
    ("Password", "{NT}a4f49c406510bdcab6824ee7c30fd852"),
    ("Password", "{NT}A4F49C406510BDCAB6824EE7C30FD852"),
    ("Password", "{NT.B64}pPScQGUQvcq2gk7nww/YUg=="),
]


@pytest.mark.parametrize(("password", "credential"), VECTORS)
def test_vectors(password: str, credential: str) -> None:
    assert verify(credential, password) is True
    for wrong in (password.upper(), password[:-1], password + " ", password + "\0", ""):
        assert verify(credential, wrong) is False


@pytest.mark.parametrize(
    ("credential", "scheme", "data"),
    [
        ("{plain}x", "PLAIN", "x"),
        ("{Cleartext}x", "PLAIN", "x"),
        ("{CLEAR.hex}e9", "PLAIN", "\udce9"),
        ("{SSHA.HEX}1b63", "SSHA", "G2M="),
        ("{CRAM-MD5.BASE64}8W8=", "CRAM-MD5", "f16f"),
        ("{CRYPT.HEX}24362461", "SHA512-CRYPT", "$6$a"),
        ("{CRYPT}$1$a", "MD5-CRYPT", "$1$a"),
        ("{CRYPT}$2a$a", "BLF-CRYPT", "$2a$a"),
        ("{CRYPT}abc", "CRYPT", "abc"),
        ("{PLAIN.HEX}x", "PLAIN.HEX", "x"),
        ("{OTP.HEX}00", "OTP.HEX", "00"),
    ],
)
def test_one_spelling_comes_of_many(credential: str, scheme: str, data: str) -> None:
    assert split_credential(credential) == (scheme, data)


def test_bcrypt_heeds_72_octets_as_it_does_elsewhere() -> None:
    """A hash that Dovecot or PHP made of a longer password must still let its owner in."""
    credential = "{BLF-CRYPT}$2y$05$QCGBb1fMvKvK8hbLRkw/iOKUo0dpa2ZH6k2kWIzBugs4XT1ysQQrC"
    assert verify(credential, "a" * 72 + "b")
    assert verify(credential, "a" * 72 + "c")
    assert not verify(credential, "a" * 71 + "b")


@pytest.mark.usefixtures("cheap_crypt")
@pytest.mark.parametrize("scheme", ["BLF-CRYPT", "SHA512-CRYPT", "SHA256-CRYPT", "MD5-CRYPT"])
def test_crypt_takes_nothing_endless(scheme: str) -> None:
    credential = hash_password("a", scheme)
    assert not verify(credential, "a" * 1_000_000)
    with pytest.raises(ValueError, match="octets"):
        hash_password("a" * 256, scheme)


@pytest.mark.parametrize("scheme", NEW)
def test_a_password_holds_no_nul(scheme: str) -> None:
    """Keys of HMAC are filled up with it, and crypt(3) ends there: there it makes no difference."""
    with pytest.raises(ValueError, match="NUL"):
        hash_password("geheim\0", scheme)


@pytest.mark.parametrize(
    ("library", "package", "credential"),
    [
        (
            "bcrypt",
            "bcrypt",
            "{CRYPT}$2y$05$A0bElkMJ.mEwuqP6o3J/ueXv79W2wVu8A3nefDTmSTqJZ6aslPSKO",
        ),
        ("passlib.hash", "libpass", "{CRYPT}$1$w5MYfOXH$chXruoefIWsVvAE0ttDQY1"),
    ],
)
def test_a_missing_crypt_library_is_an_error_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, library: str, package: str, credential: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    crypts._bcrypt.cache_clear()
    crypts._handler.cache_clear()
    with pytest.raises(AccountError, match=rf"needs {package}: .*restante\[crypt\]"):
        verify(credential, "geheim")


def test_want_of_memory_is_no_wrong_password(monkeypatch: pytest.MonkeyPatch) -> None:
    class Exhausted:
        def verify(self, data: str, password: bytes) -> bool:
            raise VerificationError("Memory allocation error")

    monkeypatch.setattr(schemes, "_argon2", lambda: (Exhausted(), VerificationError))
    credential = "{ARGON2ID}$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA"
    with pytest.raises(AccountError, match="memory"):
        verify(credential, "geheim")


DAMAGED = st.one_of(
    st.text(max_size=80),
    st.from_regex(r"\A\$(1|2y|5|6)\$[./A-Za-z0-9=$]{0,90}\Z"),
    st.from_regex(r"\A\$1\$[ -~]{0,20}\$[0-9]{1,3}\$[0-9a-f]{40}\Z"),
    st.from_regex(
        r"\A\$argon2id?\$(v=[0-9]{2}\$)?m=[0-9]{1,3},t=[0-9],p=[0-9]\$[A-Za-z0-9+/$=]*\Z"
    ),
    st.from_regex(r"\A[0-9]{1,3},[A-Za-z0-9+/=,]*\Z"),
    st.binary(max_size=80).map(lambda octets: b64encode(octets).decode()),
    st.binary(max_size=40).map(bytes.hex),
)


@given(
    scheme=st.sampled_from(sorted(SCHEMES)),
    suffix=st.sampled_from(["", "", "", ".HEX", ".B64"]),
    data=DAMAGED,
)
def test_no_data_does_harm(scheme: str, suffix: str, data: str) -> None:
    credential = f"{{{scheme}{suffix}}}{data}"
    expected = split_credential(credential) == ("PLAIN", "geheim")
    assert verify(credential, "geheim") is expected
    assert needs_rehash(credential) in (True, False)


def test_octets_that_were_not_utf8_are_compared_as_octets() -> None:
    password = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert verify("{PLAIN}" + password, password)
    assert not verify("{PLAIN}café", password)


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_an_empty_password_is_never_kept(scheme: str) -> None:
    with pytest.raises(ValueError, match="empty"):
        hash_password("", scheme)


def test_real_costs_are_felt() -> None:
    """A hash that is made at once is guessed at once."""
    for scheme in ("ARGON2ID", "SCRYPT", "BLF-CRYPT", "PBKDF2", "SHA512-CRYPT", "SHA256-CRYPT"):
        begun = time.process_time()
        hash_password("geheim", scheme)
        assert time.process_time() - begun > 0.02


def test_an_unknown_scheme_makes_no_credential() -> None:
    with pytest.raises(ValueError, match=r"ARGON2ID, SCRYPT, .*, PLAIN"):
        hash_password("geheim", "MD5")


@given(st.text(), st.text())
def test_plain_matches_exactly_equals(kept: str, given_password: str) -> None:
    expected = kept == given_password != "" and "\0" not in kept
    assert verify("{PLAIN}" + kept, given_password) is expected


@given(st.text())
def test_any_text_splits(text: str) -> None:
    scheme, data = split_credential(text)
    assert data == text or text.upper().startswith(f"{{{scheme}}}")
