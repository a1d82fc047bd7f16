"""TLS that nobody should speak any more, for clients that must be shown to refuse it."""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

RSA_KEYS = "kRSA"
"""Ciphers whose keys are transported by RSA, without forward secrecy, as OpenSSL calls them."""


@dataclass(frozen=True, slots=True)
class OldTls:
    """What nobody should speak any more. ciphers: as OpenSSL writes them."""

    least: ssl.TLSVersion
    most: ssl.TLSVersion
    ciphers: str = "ALL"


def has_rsa_key(context: ssl.SSLContext) -> bool:
    """Whether a server's certificate goes with keys that are transported by RSA."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(f"{RSA_KEYS}:@SECLEVEL=0")
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        client.wrap_bio(back, there).do_handshake()
    with only(OldTls(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2, RSA_KEYS), context):
        try:
            context.wrap_bio(there, back, server_side=True).do_handshake()
        except ssl.SSLWantReadError:  # the client's first word was understood
            return True
        except ssl.SSLError:
            return False
    return True


@contextmanager
def only(speaks: OldTls, context: ssl.SSLContext) -> Iterator[None]:
    """Have `context` speak that alone for the steps of handshakes that are taken meanwhile."""
    least, most = context.minimum_version, context.maximum_version
    names = [each["name"] for each in context.get_ciphers() if each["protocol"] != "TLSv1.3"]
    level = context.security_level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = speaks.least, speaks.most
    context.set_ciphers(
        f"{speaks.ciphers}:@SECLEVEL=0"
    )  # OpenSSL 3 allows the old versions nowhere else
    try:
        yield
    finally:
        context.maximum_version, context.minimum_version = most, least
        context.set_ciphers(f"{':'.join(names)}:@SECLEVEL={level}")
