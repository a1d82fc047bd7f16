"""LOGIN: name and password, each asked for.

Never a standard, and obsolete, but still what some clients have. The two prompts are the
ones that all of them know; an initial response is taken as the name.
"""

from __future__ import annotations

from restante.protocol.claims import PasswordClaim
from restante.sasl.contract import (
    Challenge,
    MechanismContext,
    MechanismInfo,
    Step,
    credential_text,
)


class Login:
    """Asks for what it hasn't got yet."""

    def __init__(self) -> None:
        self._name: str | None = None

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"Username:")
        text = credential_text(response)
        if self._name is None:
            self._name = text
            return Challenge(b"Password:")
        return PasswordClaim(name=self._name, password=text, mechanism="LOGIN")


def _make(context: MechanismContext) -> Login:
    return Login()


LOGIN = MechanismInfo("LOGIN", _make, plaintext=True, needs_secret=False)
