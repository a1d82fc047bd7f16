"""Which SASL mechanisms a server has: those of what it was given, and those that are added."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Set
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from restante.accounts.schemes import SCHEMES
from restante.contained import as_exception, is_interrupt
from restante.protocol.claims import IdentityClaim, PasswordClaim, SecretClaim, TokenClaim
from restante.protocol.effects import Effect, Work
from restante.protocol.mechanisms import Begin, Exchange, MechanismContext, MechanismInfo
from restante.sasl.anonymous import anonymous
from restante.sasl.contract import Challenge, MechanismError
from restante.sasl.cram_md5 import CRAM_MD5
from restante.sasl.external import EXTERNAL
from restante.sasl.login import LOGIN
from restante.sasl.ntlm import NTLM
from restante.sasl.oauth import oauth_mechanisms
from restante.sasl.plain import PLAIN
from restante.sasl.scram import (
    SCRAM_SHA_1,
    SCRAM_SHA_1_PLUS,
    SCRAM_SHA_256,
    SCRAM_SHA_256_PLUS,
)
from restante.server.settings import Settings

if TYPE_CHECKING:
    from restante.accounts.kerberos import Kerberos
    from restante.accounts.oauth import OAuth


_NAME = re.compile(r"[A-Z0-9_-]{1,20}")  # RFC 4422 §3.1


class MechanismTable:
    """The SASL mechanisms of a server: add, replace, remove.

    Each server has a table of its own. Changes are seen by the next command of each session.
    `restante.sasl` has what a mechanism is made of.
    """

    def __init__(self, given: Iterator[MechanismInfo]) -> None:
        self.by_name = {info.name: info for info in given}
        """In the order of announcement: clients that take the first they know do best."""

    def __iter__(self) -> Iterator[MechanismInfo]:
        return iter(list(self.by_name.values()))

    def __contains__(self, name: str) -> bool:
        return name in self.by_name

    def add(self, mechanism: MechanismInfo) -> None:
        """Offer a mechanism, after those that are there, whatever `Settings.mechanisms` says.

        Raises ValueError if there is one of that name, if that is no name for a mechanism (RFC
        4422 §3.1), or if accounts hold no such schemes; TypeError for what isn't a
        `restante.sasl.MechanismInfo`, and for schemes that aren't a set.
        """
        checked = _checked(mechanism)
        if checked.name in self:
            raise ValueError(f"there is a mechanism {checked.name} already: use replace()")
        self.by_name[checked.name] = checked

    def replace(self, mechanism: MechanismInfo) -> None:
        """Offer a mechanism in place of that of the same name.

        Raises ValueError if there is none, TypeError for what isn't a `MechanismInfo`.
        """
        checked = _checked(mechanism)
        self._there(checked.name)
        self.by_name[checked.name] = checked

    def remove(self, name: str) -> None:
        """Offer it no more. Raises ValueError if it isn't there."""
        self._there(name)
        del self.by_name[name]

    def _there(self, name: str) -> None:
        if name not in self:
            there = ", ".join(self.by_name) or "none"
            raise ValueError(f"there is no mechanism {name}; there are: {there}")


def _checked(mechanism: object) -> MechanismInfo:
    """An application's mechanism, held to give a claim and nothing else."""
    if not isinstance(mechanism, MechanismInfo):
        raise TypeError(
            f'{mechanism!r} is no mechanism: give restante.sasl.MechanismInfo("NAME", function)'
        )
    if not isinstance(mechanism.name, str) or not _NAME.fullmatch(mechanism.name):
        raise ValueError(
            f"not a mechanism's name: {mechanism.name!r} (1 to 20 of A to Z, 0 to 9, - and _)"
        )
    if not callable(mechanism.begin):
        raise TypeError(f"{mechanism.name}: begin={mechanism.begin!r}: give a function")
    _check_schemes(mechanism.name, mechanism.schemes)
    return replace(mechanism, begin=partial(_exchange, mechanism.name, mechanism.begin))


def _check_schemes(name: str, schemes: object) -> None:
    """Raises TypeError, ValueError."""
    if schemes is None:
        return
    if not isinstance(schemes, Set) or not all(isinstance(each, str) for each in schemes):
        raise TypeError(f'{name}: schemes={schemes!r}: a set of texts, as frozenset({{"PLAIN"}})')
    if not schemes or not schemes <= SCHEMES.keys():
        raise ValueError(
            f"{name}: schemes={set(schemes) or '{}'}: no account could use it; schemes are"
            f" {', '.join(SCHEMES)}"
        )


_CLAIMS = (PasswordClaim, SecretClaim, TokenClaim, IdentityClaim)


def _exchange(
    name: str, begin: Begin, context: MechanismContext, initial: bytes | None
) -> Exchange:
    try:
        exchange = begin(context, initial)
        if not isinstance(exchange, Generator):
            raise TypeError(
                f"the mechanism {name} gave {type(exchange).__name__}: it must be a generator,"
                " as a function with `yield from ask(…)` is"
            )
        claim = yield from _steps(name, exchange)
        if not isinstance(claim, _CLAIMS):
            raise TypeError(
                f"the mechanism {name} returned {type(claim).__name__}: it must return a claim,"
                " such as restante.PasswordClaim"
            )
        return claim
    except (MechanismError, GeneratorExit):
        raise  # a malformed response; the session has ended
    except ValueError:  # Python's own, such as that of `int`, quote what the client has sent
        raise MechanismError("malformed response") from None
    except BaseException as error:
        if is_interrupt(error):
            raise
        failed = as_exception(error)
    yield Work(partial(_fail, failed))  # those are told of it who hear of other functions' errors
    raise failed


def _steps(name: str, exchange: Exchange) -> Exchange:
    """What a mechanism asks, each held to be something that can be asked."""
    result: Any = None
    with closing(exchange):
        while True:
            try:
                asked = exchange.send(result)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            except GeneratorExit as error:  # its own: nobody has closed it
                raise as_exception(error) from error
            if not _can_be_asked(asked):
                raise TypeError(
                    f"the mechanism {name} yielded {type(asked).__name__}: what it yields is a"
                    " Challenge of bytes, as `yield from ask(…)` does, or an effect"
                )
            result = yield asked


def _can_be_asked(asked: object) -> bool:
    if isinstance(asked, Challenge):
        return isinstance(asked.data, bytes)
    return isinstance(asked, Effect)


def _fail(error: Exception) -> None:
    raise error


def mechanisms(
    settings: Settings, kerberos: Kerberos | None, oauth: OAuth | None
) -> MechanismTable:
    """The mechanisms of what a server was given.

    Raises ValueError when `settings.mechanisms` names one that isn't there.
    """
    table = MechanismTable(_all(settings, kerberos, oauth))
    if settings.mechanisms is None:
        return table
    for name in settings.mechanisms:
        if name not in table:
            raise ValueError(f"mechanisms={name!r}: allowed are {', '.join(table.by_name)}")
    return MechanismTable(each for each in table if each.name in settings.mechanisms)


def _all(
    settings: Settings, kerberos: Kerberos | None, oauth: OAuth | None
) -> Iterator[MechanismInfo]:
    yield from (SCRAM_SHA_256_PLUS, SCRAM_SHA_1_PLUS, SCRAM_SHA_256, SCRAM_SHA_1)
    yield EXTERNAL
    if kerberos is not None:
        yield kerberos.mechanism()
    if oauth is not None:
        yield from oauth_mechanisms(scope=oauth.scope, openid_configuration=oauth.discovery)
    yield from (PLAIN, LOGIN, CRAM_MD5)
    if settings.ntlm:
        yield NTLM
    if settings.anonymous is not None:
        yield anonymous(settings.anonymous)
