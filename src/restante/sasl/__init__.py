"""SASL mechanisms, and what one of an application's own is made of.

    def badge(context, initial):
        response = initial if initial is not None else (yield from ask(b""))
        return PasswordClaim(...)

    server.mechanisms.add(MechanismInfo("X-BADGE", badge, plaintext=True))

What `__all__` lists is public; all else in this package may change.
"""

from typing import TYPE_CHECKING, Any

from restante.public import load

if TYPE_CHECKING:
    from restante.sasl.contract import (
        Challenge,
        Channel,
        Exchange,
        MechanismContext,
        MechanismError,
        MechanismInfo,
        Work,
        ask,
        credential_text,
    )

_HOMES = {
    "contract": "Challenge Channel Exchange MechanismContext MechanismError MechanismInfo Work"
    " ask credential_text",
}


def __getattr__(name: str) -> Any:
    found = globals()[name] = load(__name__, _HOMES, name)
    return found


def __dir__() -> list[str]:
    return __all__


__all__ = [
    "Challenge",
    "Channel",
    "Exchange",
    "MechanismContext",
    "MechanismError",
    "MechanismInfo",
    "Work",
    "ask",
    "credential_text",
]
