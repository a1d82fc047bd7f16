"""CRAM-MD5 (RFC 2195): a keyed digest of a fresh challenge proves the secret."""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass, field
from functools import partial
from hashlib import md5

from restante.sasl.contract import (
    Challenge,
    MechanismContext,
    MechanismError,
    MechanismInfo,
    Step,
    credential_text,
)

_DIGEST = re.compile(rb"[0-9a-fA-F]{32}")
_MD5 = partial(md5, usedforsecurity=False)  # where policy bans MD5, CRAM-MD5 was still asked for


@dataclass(frozen=True, slots=True)
class CramMd5Claim:
    """The digest of a challenge, keyed with the secret. digest: in lower-case hex."""

    name: str
    challenge: bytes = field(repr=False)
    digest: str = field(repr=False)
    mechanism: str = "CRAM-MD5"

    def holds_for(self, secret: bytes) -> bool:
        expected = hmac.new(secret, self.challenge, _MD5).hexdigest()
        return hmac.compare_digest(expected.encode(), self.digest.encode())


class CramMd5:
    """One challenge, one response: the name, a space, and the digest in hex.

    The challenge is `<digits.digits@hostname>`, the form of a message-id, which is what
    clients expect; both numbers are random, so none is ever given twice.
    """

    def __init__(self, hostname: str) -> None:
        numbers = f"{secrets.randbits(63)}.{secrets.randbits(63)}"
        self.challenge = f"<{numbers}@{hostname}>".encode("ascii", "replace")
        self._asked = False

    def step(self, response: bytes | None) -> Step:
        if response is None:
            self._asked = True
            return Challenge(self.challenge)
        if not self._asked:
            raise MechanismError("malformed response: CRAM-MD5 takes no initial response")
        name, _, digest = response.rpartition(b" ")  # a name may hold spaces
        if not _DIGEST.fullmatch(digest):
            raise MechanismError("malformed response: no digest in hex")
        return CramMd5Claim(credential_text(name), self.challenge, digest.decode().lower())


def _make(context: MechanismContext) -> CramMd5:
    return CramMd5(context.hostname)


CRAM_MD5 = MechanismInfo("CRAM-MD5", _make, plaintext=False, needs_secret=True)
