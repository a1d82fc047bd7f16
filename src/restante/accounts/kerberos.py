"""Kerberos: what the mechanism GSSAPI leans on, by a keytab and the library `gssapi`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from restante.extras import missing
from restante.networks import A_HOST_NAME, check_host_name
from restante.sasl.contract import MechanismInfo
from restante.sasl.gssapi import gssapi
from restante.settings_fields import check_setting, suggest_settings


@suggest_settings
class Kerberos:
    """Lets people in by Kerberos tickets for this service.

    keytab: the file with the service's keys, read again at each login.
    service: the first part of the service's principal; clients ask for `pop`.
    hostname: the second part; None: any that the keytab has a key for. It is made canonical
        as krb5.conf says, which may ask the DNS.
    realms: whose people are this server's; empty: the realm of the key that a ticket was
        made for. `joe@REALM` is the account of that name or else `joe`, so the same name in
        two realms must be the same person. People of other realms are refused.

    Raises ImportError when the library is missing, OSError when the keytab can't be read,
    and ValueError when it has no key for the service or `hostname` is no host name.
    """

    def __init__(
        self,
        keytab: str | os.PathLike[str],
        *,
        service: str = "pop",
        hostname: str | None = None,
        realms: Sequence[str] = (),
    ) -> None:
        if isinstance(realms, str):
            raise TypeError("realms takes several names, not one text")
        if hostname is not None:
            check_setting("hostname", hostname, A_HOST_NAME, check_host_name)
        try:
            from restante.accounts.kerberos_acceptor import Acceptor, credentials  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise ImportError(missing("kerberos", "Kerberos", "gssapi", error)) from error
        path = Path(keytab).absolute()
        name = service if hostname is None else f"{service}@{hostname}"
        with path.open("rb"):
            pass
        credentials(path, name)
        self._make_acceptor = partial(Acceptor, path, name, frozenset(realms))

    def mechanism(self) -> MechanismInfo:
        """The mechanism GSSAPI, by this keytab."""
        return gssapi(self._make_acceptor)
