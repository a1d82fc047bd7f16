"""SASL mechanisms, and what one of an application's own is made of.

    def badge(context, initial):
        response = initial if initial is not None else (yield from ask(b""))
        return PasswordClaim(...)

    server.mechanisms.add(MechanismInfo("X-BADGE", badge, plaintext=True))

What `__all__` lists is public; all else in this package may change.
"""

from typing import TYPE_CHECKING

from restante.public import lazily

if TYPE_CHECKING:
    from restante.sasl.contract import Challenge as Challenge
    from restante.sasl.contract import Channel as Channel
    from restante.sasl.contract import Exchange as Exchange
    from restante.sasl.contract import MechanismContext as MechanismContext
    from restante.sasl.contract import MechanismError as MechanismError
    from restante.sasl.contract import MechanismInfo as MechanismInfo
    from restante.sasl.contract import Work as Work
    from restante.sasl.contract import ask as ask
    from restante.sasl.contract import credential_text as credential_text
else:
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
            "contract": (
                "Challenge Channel Exchange MechanismContext MechanismError MechanismInfo Work"
                " ask credential_text"
            ),
        },
    )
