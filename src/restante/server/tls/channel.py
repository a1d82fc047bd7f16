"""What TLS says of a connection: channel bindings, and the names in a client's certificate."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from typing import Any

from restante.defaults import EXTERNAL_NAMES
from restante.sasl.contract import MechanismError, credential_text
from restante.server.tls.certificates import principal_names
from restante.server.tls.exporter import exporter
from restante.server.tls.settings import TlsSettings

MAX_NAMES = 16
"""Names of a certificate that are tried: each is a look-up."""

# Where Python shows a kind of name: among the alternative names, in the subject.
_FIELDS = {
    "email": ("email", "emailAddress"),
    "dns": ("DNS", None),
    "upn": (None, None),
    "cn": (None, "commonName"),
    "uid": (None, "userId"),
}

_EXPORTER_LABEL = b"EXPORTER-Channel-Binding"
_EXPORTER_OCTETS = 32


class TlsChannel:
    """The channel that a handshake has just made. `restante.protocol.mechanisms.Channel`.

    tls: the server's end. settings: whose certificates it shows; without, there is no
    `tls-server-end-point`. external_names: kinds of names, of NAME_KINDS, in order.

    `tls-unique` is never offered: it is weak before TLS 1.3 (RFC 7627 §1), undefined since.
    """

    __slots__ = ("_end_point", "_external_names", "_tls")

    def __init__(
        self,
        tls: ssl.SSLObject | ssl.SSLSocket,
        settings: TlsSettings | None = None,
        *,
        external_names: Sequence[str] = EXTERNAL_NAMES,
    ) -> None:
        self._tls = tls
        # Now: a reload brings other certificates, but not to this connection.
        self._end_point = settings.end_point(tls.context) if settings is not None else None
        self._external_names = external_names

    def binding_types(self) -> tuple[str, ...]:
        """`tls-exporter` (RFC 9266), in TLS 1.3 only; `tls-server-end-point` (RFC 5929)."""
        types = []
        if self._tls.version() == "TLSv1.3" and exporter() is not None:
            types.append("tls-exporter")
        if self._end_point is not None:
            types.append("tls-server-end-point")
        return tuple(types)

    def binding(self, kind: str) -> bytes | None:
        """The octets of one of them, or None."""
        if kind not in self.binding_types():
            return None
        if kind == "tls-server-end-point":
            return self._end_point
        export = exporter()
        return export(self._tls, _EXPORTER_LABEL, _EXPORTER_OCTETS) if export is not None else None

    def names(self) -> tuple[str, ...]:
        """The names that the client's verified certificate stands for; none without one."""
        try:
            shown: dict[str, Any] | None = self._tls.getpeercert()
        except (ValueError, OSError):  # Python can't read it
            return ()
        if not shown:  # no certificate, or one that nobody has verified
            return ()
        found = (name for kind in self._external_names for name in self._names(kind, shown))
        return tuple(dict.fromkeys(filter(_is_sound, found)))[:MAX_NAMES]

    def _names(self, kind: str, shown: dict[str, Any]) -> Iterable[str]:
        if kind == "upn":
            yield from principal_names(self._tls.getpeercert(binary_form=True) or b"")
        alternative, attribute = _FIELDS[kind]
        yield from (value for key, value in shown.get("subjectAltName", ()) if key == alternative)
        for relative in shown.get("subject", ()):
            yield from (value for key, value in relative if key == attribute)


def _is_sound(name: str) -> bool:
    """Whether it could come from a client that gives its name itself."""
    try:
        credential_text(name.encode())
    except (MechanismError, UnicodeEncodeError):
        return False
    return True
