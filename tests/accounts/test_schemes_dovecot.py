"""Password schemes and the passwd-file, held against Dovecot.

What it makes we check, what we make it checks, and a file's lines mean the same to both.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import pytest

from restante.accounts.passwd_file import PasswdFile
from restante.accounts.schemes import crypts, digests, hash_password, verify
from restante.calls import finished
from tests.needs import need
from tests.peers.dovecot import dovecot

pytestmark = pytest.mark.peer

Doveadm: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]

PASSWORDS = ["geheim", " blanks ", "пароль🔑", "{PLAIN}x", "x" * 72]

BOTH = [
    "PLAIN",
    "ARGON2I",
    "ARGON2ID",
    "BLF-CRYPT",
    "CRYPT",
    "SHA256-CRYPT",
    "SHA512-CRYPT",
    "MD5-CRYPT",
    "SSHA",
    "SSHA256",
    "SSHA512",
    "PBKDF2",
    "CRAM-MD5",
    "SCRAM-SHA-1",
    "SCRAM-SHA-256",
]
"""Made by Dovecot and by us. Dovecot 2.3 has no NT any more, and never had SCRYPT."""

ITS_OWN = ["CLEAR", "CLEARTEXT", "SHA", "SHA1", "SHA256", "SHA512", "HMAC-MD5"]
"""Other names, and what we don't make."""

SPELLED = ["PLAIN", "SSHA", "SHA256", "SSHA512", "CRAM-MD5", "BLF-CRYPT", "PBKDF2", "SCRAM-SHA-256"]


@pytest.fixture(scope="module")
def doveadm() -> Doveadm:
    program = need("doveadm", package="dovecot-core")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            # No configuration of the machine's own: it may be broken, and says nothing here.
            [program, "-O", "pw", *arguments],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=30,
            check=False,
        )

    return run


def made_by_dovecot(doveadm: Doveadm, scheme: str, password: str) -> str:
    made = doveadm("-s", scheme, "-p", password)
    assert made.returncode == 0, made.stderr
    credential = made.stdout.removesuffix("\n")
    assert credential.upper().startswith(f"{{{scheme.upper()}}}")
    return credential


@pytest.mark.parametrize("scheme", BOTH + ITS_OWN)
def test_what_dovecot_makes_we_check(doveadm: Doveadm, scheme: str) -> None:
    for password in PASSWORDS[:3]:
        credential = made_by_dovecot(doveadm, scheme, password)
        assert verify(credential, password)
        assert not verify(credential, password + " ")
        assert not verify(credential, password[:-1])


@pytest.mark.parametrize("suffix", [".b64", ".base64", ".hex"])
@pytest.mark.parametrize("scheme", SPELLED)
def test_its_spellings_are_read(doveadm: Doveadm, scheme: str, suffix: str) -> None:
    credential = made_by_dovecot(doveadm, scheme + suffix, "geheim")
    assert verify(credential, "geheim")
    assert not verify(credential, "Geheim")


@pytest.fixture
def moderate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs that are chosen for a test of many."""
    monkeypatch.setattr(crypts, "BCRYPT_COST", 5)
    monkeypatch.setattr(crypts, "SHA_ROUNDS", 2000)
    monkeypatch.setattr(digests, "PBKDF2_ROUNDS", 10_000)


@pytest.mark.usefixtures("cheap_hashes", "moderate")
@pytest.mark.parametrize("scheme", BOTH)
def test_what_we_make_dovecot_checks(doveadm: Doveadm, scheme: str) -> None:
    for password in PASSWORDS:
        credential = hash_password(password, scheme)
        right = doveadm("-t", credential, "-p", password)
        assert right.returncode == 0, right.stderr
        assert "(verified)" in right.stdout
    wrong = doveadm("-t", credential, "-p", "y" * 72)
    assert wrong.returncode != 0


@pytest.mark.parametrize(
    "credential",
    [
        "{SHA}906072001efddf3e11e6d2b5782f4777fe038739",
        "{SHA256}ADDB0F5E7826C857D7376D1BD9BC33C0C544790A2EAC96144A8AF22B1298C940",
        "{cram-md5}F16F9CD57AFAD6931BFF9508EF68EA2DB1B62513B604CF995E4F882BED6D4F1A",
        "{CRYPT}$1$w5MYfOXH$chXruoefIWsVvAE0ttDQY1",
        "{SHA512-CRYPT}$1$w5MYfOXH$chXruoefIWsVvAE0ttDQY1",
        "{PBKDF2}$1$augDmpjXPjvyfe2r$5000$05B444474C669DF415F522AED1672F1897852EA3",
        # and what neither takes
        "{SHA}kGByAB793z4R5tK1eC9Hd/4Dhzk",
        "{SSHA}kGByAB793z4R5tK1eC9Hd/4Dhzk=",
        "{MD5-CRYPT}$6$WzpkiX2aN4Yyr6he$hdWrsV8HkS66AhBjYGR2c5il62NUSzYe4U/SFS3lT0rZvL6rvZbDCA"
        "98Q1.7LB37dBU0K.jnAym8siVR1gTyz1",
        "{BLF-CRYPT}$1$w5MYfOXH$chXruoefIWsVvAE0ttDQY1",
        "{PBKDF2}$1$a$5000$05b4",
        "{PLAIN.HEX}6765686569",
        "{PLAIN.B64}Z2VoZWl",
    ],
)
def test_we_agree(doveadm: Doveadm, credential: str) -> None:
    """On spellings that are unusual, and on some that are damaged."""
    its_answer = doveadm("-t", credential, "-p", "geheim").returncode == 0
    assert verify(credential, "geheim") is its_answer


def test_both_heed_72_octets_of_a_bcrypt_password(doveadm: Doveadm) -> None:
    credential = made_by_dovecot(doveadm, "BLF-CRYPT", "a" * 72 + "b")
    assert verify(credential, "a" * 72 + "c")
    assert doveadm("-t", credential, "-p", "a" * 72 + "c").returncode == 0


SETTINGS = """
protocols =
ssl = no
"""

DOVECOT_23 = """
passdb {{
  driver = passwd-file
  args = scheme=CRYPT {folder}/users
}}
"""

DOVECOT_24 = """
auth_allow_weak_schemes = yes
passdb passwd-file {{
  default_password_scheme = CRYPT
  passwd_file_path = {folder}/users
}}
"""

LINES = b"""\
# comment:{PLAIN}a
:{PLAIN}a

twice:{PLAIN}first
twice:{PLAIN}second
crlf:{PLAIN}a\r
blank:{PLAIN}a b \n\
nocolon
empty:
locked:!$1$w5MYfOXH$chXruoefIWsVvAE0ttDQY1
crypt:$1$w5MYfOXH$chXruoefIWsVvAE0ttDQY1
unknown:{FOO}a
hex:{PLAIN.hex}61
broken:{PLAIN.hex}6
spaces:{PLAIN}a::::::a=b  c
user:{PLAIN}a::::::user=other
six:{PLAIN}a::::::allow_nets=::1/128,2001:db8::/32
end:{PLAIN}a"""

TRIES = [
    ("# comment", "a"),
    ("", "a"),
    ("twice", "first"),
    ("twice", "second"),
    ("crlf", "a"),
    ("crlf", "a\r"),
    ("blank", "a b "),
    ("blank", "a b"),
    ("nocolon", "a"),
    ("empty", "a"),
    ("locked", "geheim"),
    ("crypt", "geheim"),
    ("crypt", "Geheim"),
    ("CRYPT", "geheim"),
    ("unknown", "a"),
    ("hex", "a"),
    ("broken", "a"),
    ("spaces", "a"),
    ("user", "a"),
    ("other", "a"),
    ("six", "a"),
    ("end", "a"),
    ("nobody", "a"),
]


def test_a_file_means_the_same_to_both() -> None:
    doveadm = need("doveadm", package="dovecot-core")

    def its_answer(config: Path, name: str, password: str) -> bool:
        tested = subprocess.run(
            [doveadm, "-c", config, "auth", "test", "-x", "rip=::1", "--", name, password],
            capture_output=True,
            timeout=30,
            check=False,
        )
        return tested.returncode == 0

    def our_answer(store: PasswdFile, name: str, password: str) -> bool:
        account = finished(store.lookup(name))
        return any(verify(held, password) for held in (account.credentials if account else ()))

    with (
        dovecot(SETTINGS, dovecot_23=DOVECOT_23, dovecot_24=DOVECOT_24) as folder,
        ThreadPoolExecutor(len(TRIES)) as threads,
    ):
        config, users = folder / "dovecot.conf", folder / "users"
        users.write_bytes(LINES)
        store = PasswdFile(users)
        # All at once: it waits before it refuses.
        its = [*threads.map(lambda each: its_answer(config, *each), TRIES)]
        ours = [our_answer(store, *each) for each in TRIES]
        assert [*zip(TRIES, ours, strict=True)] == [*zip(TRIES, its, strict=True)]
        assert any(its)
