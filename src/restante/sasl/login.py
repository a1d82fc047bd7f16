"""LOGIN: the server asks for the name, then for the password.

Never a standard, and obsolete, but still what some clients have. The two prompts are the
ones that all of them know; an initial response is taken as the name.
"""

from __future__ import annotations

from restante.protocol.claims import PasswordClaim
from restante.sasl.contract import Exchange, MechanismContext, MechanismInfo, ask, credential_text


def login(context: MechanismContext, initial: bytes | None) -> Exchange:
    """Ask for the name, unless it came as initial response, and for the password."""
    name = credential_text(initial if initial is not None else (yield from ask(b"Username:")))
    password = credential_text((yield from ask(b"Password:")))
    return PasswordClaim(name, password, "LOGIN")


LOGIN = MechanismInfo("LOGIN", login, plaintext=True)
