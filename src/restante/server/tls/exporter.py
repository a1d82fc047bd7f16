"""Keying material from TLS (RFC 5705), which Python's `ssl` keeps to itself.

OpenSSL has a function for it. It is called in the very library that `_ssl` is linked with,
for the connection that an `SSLObject` holds. Where that is in memory has not changed in many
versions of CPython; it is believed only if the fields beside it hold what they must, and used
only after a trial in which both ends of a connection came to the same result.
"""

from __future__ import annotations

import logging
import ssl
import sys
from collections.abc import Callable
from functools import cache
from ssl import SSLSocket
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import getweakrefs

if TYPE_CHECKING:
    from ctypes import PyDLL

log = logging.getLogger("restante.server")

Exporter: TypeAlias = Callable[[ssl.SSLObject | SSLSocket, bytes, int], bytes | None]
"""Of a connection after its handshake, by a label without a context, so many octets."""

KNOWN_PYTHONS = ((3, 11), (3, 15))
"""The first and the last version of which it is known where a connection is in memory."""


@cache
def exporter() -> Exporter | None:
    """The function, or None where it can't be had; the log says why. Tried out when first asked."""
    try:
        export = _exporter()
        _try_out(export)
    except Exception as error:
        log.info("TLS: no channel binding by tls-exporter here: %s", error)
        return None
    return export


def _exporter() -> Exporter:
    oldest, newest = KNOWN_PYTHONS
    if sys.implementation.name != "cpython" or not oldest <= sys.version_info[:2] <= newest:
        raise LookupError("this Python is not known well enough")
    import ctypes  # noqa: PLC0415 - not every Python has it

    function = _library().SSL_export_keying_material
    function.restype = ctypes.c_int
    text = (ctypes.c_char_p, ctypes.c_size_t)
    function.argtypes = (ctypes.c_void_p, *text, *text, *text, ctypes.c_int)
    fields = ctypes.c_void_p * 3

    def export(tls: ssl.SSLObject | SSLSocket, label: bytes, size: int) -> bytes | None:
        inner: Any = getattr(tls, "_sslobj", None)
        if type(inner).__name__ != "_SSLSocket" or tls.version() is None:
            return None
        # struct PySSLSocket: the object's head, Socket, ssl, ctx. The first is a reference to
        # an SSLSocket, and none in an SSLObject; the context is known.
        socket, connection, context = fields.from_address(id(inner) + object.__basicsize__)
        sockets = [id(each) for each in getweakrefs(tls)] if isinstance(tls, SSLSocket) else [None]
        if socket not in sockets or connection is None or context != id(inner.context):
            return None
        out = ctypes.create_string_buffer(size)
        if function(connection, out, size, label, len(label), b"", 0, 1) != 1:
            return None
        return out.raw

    return export


def _library() -> PyDLL:
    """What `_ssl` calls. A symbol is looked for in what a library is linked with, too."""
    import _ssl  # noqa: PLC0415
    import ctypes  # noqa: PLC0415

    # PyDLL: holds the GIL, so that nobody else uses the connection meanwhile.
    library = ctypes.PyDLL(getattr(_ssl, "__file__", None))
    library.OpenSSL_version_num.restype = ctypes.c_ulong
    if library.OpenSSL_version_num() != _ssl.OPENSSL_VERSION_NUMBER:
        raise LookupError("another OpenSSL than Python's was found")
    return library


def _try_out(export: Exporter) -> None:
    """Make a connection within this process; both its ends must agree, on this label only."""
    server, client = _connected()
    label = b"EXPORTER-Channel-Binding"
    at_server, at_client = export(server, label, 32), export(client, label, 32)
    other = export(server, b"EXPORTER-another", 32)
    if at_server is None or at_server != at_client or at_server == other:
        raise LookupError("the two ends of a trial connection disagree")


def _connected() -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Server's and client's end of a connection for which no certificate is needed."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = _anonymous(ssl.PROTOCOL_TLS_SERVER).wrap_bio(to_server, to_client, server_side=True)
    client = _anonymous(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(to_client, to_server)
    for end in (client, server) * 3:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return server, client


def _anonymous(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # the last with anonymous ciphers
    context.set_ciphers("aNULL:@SECLEVEL=0")
    return context
