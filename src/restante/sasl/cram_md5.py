"""CRAM-MD5 (RFC 2195): a keyed digest of a challenge proves that the client knows the secret."""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass, field

from restante.sasl.contract import (
    Exchange,
    MechanismContext,
    MechanismError,
    MechanismInfo,
    ask,
    credential_text,
)
from restante.sasl.md5_state import STATES_SIZE, hmac_from_states, hmac_states

SCHEMES = frozenset({"PLAIN", "CRAM-MD5"})

_DIGEST = re.compile(rb"[0-9a-fA-F]{32}")
_STATES = re.compile(rf"[0-9a-fA-F]{{{2 * STATES_SIZE}}}")


@dataclass(frozen=True, slots=True)
class CramMd5Claim:
    """The digest of a challenge, keyed with the secret. digest: in lower-case hex."""

    name: str
    challenge: bytes = field(repr=False)
    digest: str = field(repr=False)
    mechanism: str = "CRAM-MD5"
    authzid: str = ""
    schemes: frozenset[str] = SCHEMES

    def holds_for(self, scheme: str, data: str) -> bool:
        # The same work for every credential, and for none: it takes the same time.
        made = hmac_states(data.encode("utf-8", "surrogateescape"))
        kept = made if scheme == "PLAIN" else states_in(data)
        expected = hmac_from_states(kept or made, self.challenge).hex()
        if kept is None:
            raise ValueError("not the states of HMAC-MD5")
        return hmac.compare_digest(expected.encode(), self.digest.encode())


def states_in(data: str) -> bytes | None:
    """What a credential `{CRAM-MD5}data` keeps; None when it is damaged."""
    return bytes.fromhex(data) if _STATES.fullmatch(data) else None


def cram_md5(context: MechanismContext, initial: bytes | None) -> Exchange:
    """One challenge, one response: the name, a space, and the digest in hex.

    The challenge is `<digits.digits@hostname>`, the form of a message-id, which is what
    clients expect; both numbers are random, so none is ever given twice.
    """
    if initial is not None:
        raise MechanismError("malformed response: CRAM-MD5 takes no initial response")
    numbers = f"{secrets.randbits(63)}.{secrets.randbits(63)}"
    challenge = f"<{numbers}@{context.hostname}>".encode("ascii", "replace")
    response = yield from ask(challenge)
    name, _, digest = response.rpartition(b" ")  # a name may hold spaces
    if not _DIGEST.fullmatch(digest):
        raise MechanismError("malformed response: no digest in hex")
    return CramMd5Claim(credential_text(name), challenge, digest.decode().lower())


CRAM_MD5 = MechanismInfo("CRAM-MD5", cram_md5, schemes=SCHEMES)
