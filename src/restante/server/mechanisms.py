"""Which SASL mechanisms a server has, from what it was given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from restante.protocol.mechanisms import MechanismInfo
from restante.sasl.anonymous import anonymous
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


def mechanisms(
    settings: Settings, kerberos: Kerberos | None, oauth: OAuth | None
) -> dict[str, MechanismInfo]:
    """By name, in the order of announcement: clients that take the first they know do best.

    Raises ValueError when `settings.mechanisms` names one that isn't there.
    """
    found = {info.name: info for info in _all(settings, kerberos, oauth)}
    if settings.mechanisms is None:
        return found
    for name in settings.mechanisms:
        if name not in found:
            raise ValueError(f"mechanisms={name!r}: allowed are {', '.join(found)}")
    return {name: info for name, info in found.items() if name in settings.mechanisms}


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
