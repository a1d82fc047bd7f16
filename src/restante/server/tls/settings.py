"""TLS contexts: certificates by name, client certificates, reload without dropping anyone."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from restante.server.tls.certificates import end_point, expires, first_certificate
from restante.server.tls.exporter import exporter
from restante.server.transport.transport import SocketTransport
from restante.settings_fields import suggest_settings

log = logging.getLogger("restante.server")

GOODBYE_SECONDS = 2.0
"""How long a peer may take to answer our close_notify. Several never do, and a session that
is closed gives its lease back only then."""

ClientCertificates: TypeAlias = Literal["none", "ask", "require"]
CLIENT_CERTIFICATES: tuple[ClientCertificates, ...] = get_args(ClientCertificates)
A_CERTIFICATE = "give restante.Certificate(chain, key), with the names of PEM files"
NameHook: TypeAlias = Callable[[str | None], ssl.SSLContext | None]


@suggest_settings
@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate chain and its private key, PEM files.

    key: may be left out when the chain's file holds it too. password: of the key.

    Raises TypeError for what can't be a file's name.
    """

    chain: str | PathLike[str]
    key: str | PathLike[str] | None = None
    password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name, value in (("chain", self.chain), ("key", self.key)):
            if not isinstance(value, str | PathLike) and (name == "chain" or value is not None):
                raise TypeError(f"{name}={value!r}: give the name of a PEM file")
        if not isinstance(self.password, str | None):
            raise TypeError("password: it must be text")

    def files(self) -> list[Path]:
        """The files that it is read from."""
        return [Path(self.chain)] + ([Path(self.key)] if self.key is not None else [])

    def end_point(self) -> bytes | None:
        """What clients bind to that are shown it (`tls-server-end-point`, RFC 5929 §4)."""
        own = first_certificate(Path(self.chain).read_text("latin-1"))
        return end_point(own) if own is not None else None

    def expires(self) -> float:
        """When it expires, in seconds since 1970; 0.0 if that can't be read. Raises OSError."""
        own = first_certificate(Path(self.chain).read_text("latin-1"))
        return expires(own) if own is not None else 0.0

    def load_into(self, context: ssl.SSLContext) -> None:
        """Read the files. Raises OSError or ssl.SSLError; the context is then as before."""
        for path in self.files():
            path.open("rb").close()  # OpenSSL's own error doesn't say which file
        key = fspath(self.key) if self.key is not None else None
        try:
            # A password of "" stops OpenSSL from asking on the terminal.
            context.load_cert_chain(fspath(self.chain), key, password=self.password or "")
        except ssl.SSLError as error:
            raise self._named(error) from error

    def _named(self, error: ssl.SSLError) -> ssl.SSLError:
        """OpenSSL's error, with the files and what may be wrong with them."""
        chain, *others = map(str, self.files())
        key = others[0] if others else chain
        reason = error.reason or ""
        if "MISMATCH" in reason:
            text = f"the private key in {key} isn't the one of the certificate in {chain}"
        elif first_certificate(Path(chain).read_text("latin-1")) is None:
            text = f"{chain} has no certificate in it; a PEM file is expected"
        elif "PRIVATE KEY-----" not in Path(key).read_text("latin-1"):
            text = f"{key} has no private key in it; a PEM file is expected"
        else:
            said = reason.replace("_", " ").lower() or "is a password missing, or wrong?"
            text = f"the private key in {key} can't be read: {said}"
        named = type(error)(error.errno, text)
        named.library, named.reason = error.library, error.reason
        return named


@suggest_settings
class TlsSettings:
    """What a server needs to speak TLS. One set of contexts serves all its listeners.

    certificate: for clients that name no server, or one that has no certificate here.
    by_name: further certificates by server name (SNI, RFC 6066 §3); `*.example.org`
        serves one label in the star's place.
    client_certificates: don't ask, ask, or require one signed by `client_ca`.
    name_hook: called with the server name asked for; its context goes before the others.

    Raises OSError or ssl.SSLError when a file can't be used, TypeError for what is no
    `Certificate`, and ValueError when a client certificate is wanted and no `client_ca` says
    whose.
    """

    def __init__(
        self,
        certificate: Certificate,
        *,
        by_name: Mapping[str, Certificate] | None = None,
        client_certificates: ClientCertificates = "none",
        client_ca: str | PathLike[str] | None = None,
        name_hook: NameHook | None = None,
    ) -> None:
        named = {f"by_name[{name!r}]": each for name, each in (by_name or {}).items()}
        for what, each in {"certificate": certificate, **named}.items():
            if not isinstance(each, Certificate):
                raise TypeError(f"{what}={each!r}: {A_CERTIFICATE}")
        if client_certificates not in CLIENT_CERTIFICATES:
            allowed = ", ".join(CLIENT_CERTIFICATES)
            raise ValueError(f"client_certificates={client_certificates!r}: allowed are {allowed}")
        if client_certificates != "none" and client_ca is None:
            raise ValueError("client certificates need client_ca: the authorities to trust")
        self._client_certificates = client_certificates
        self._client_ca = client_ca
        self._name_hooks = [name_hook] if name_hook is not None else []
        self._default = certificate
        self._by_name = {name.lower(): each for name, each in (by_name or {}).items()}
        self._contexts = {name: self._context(each) for name, each in self._by_name.items()}
        self.context = self._context(certificate)
        self.context.sni_callback = self._choose
        self._end_points = self._read_end_points()
        self.expires = self._read_expiry()
        """When the first of the certificates expires, in seconds since 1970; 0.0 if none says."""
        self._seen = self._stamps()
        exporter()  # tried out now, and not while a client waits

    def _context(self, certificate: Certificate) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.num_tickets = 1  # a client that comes again needs one, and gets another then
        if self._client_certificates != "none":
            assert self._client_ca is not None
            context.load_verify_locations(fspath(self._client_ca))
            required = self._client_certificates == "require"
            context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        certificate.load_into(context)
        return context

    def _choose(self, tls: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        for hook in self._name_hooks:
            if (context := hook(name)) is not None:
                tls.context = context
                return
        if name is None:
            return
        name = name.lower().rstrip(".")
        found = self._contexts.get(name)
        if found is None:
            found = self._contexts.get("*." + name.partition(".")[2])
        if found is not None:
            tls.context = found

    def add_name_hook(self, hook: NameHook) -> None:
        """Have `hook` asked too, after those that are there; see `name_hook`."""
        self._name_hooks.append(hook)

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        files = [*self._default.files(), *(f for c in self._by_name.values() for f in c.files())]
        return [_stamp(path) for path in files]

    def changed(self) -> bool:
        """Whether a certificate's file is another than when it was last read."""
        return self._stamps() != self._seen

    def reload(self) -> None:
        """Read all files again. New handshakes use the new certificates, sessions go on.

        Raises OSError or ssl.SSLError when a file can't be used; everything that could
        not be read stays as it was.
        """
        self._seen = self._stamps()
        # Tried on a fresh context first: a key that doesn't fit must not spoil a living one.
        for certificate in (self._default, *self._by_name.values()):
            self._context(certificate)
        self._default.load_into(self.context)
        for name, certificate in self._by_name.items():
            certificate.load_into(self._contexts[name])
        self._end_points = self._read_end_points()
        self.expires = self._read_expiry()

    def end_point(self, context: ssl.SSLContext) -> bytes | None:
        """The channel binding `tls-server-end-point` of what `context`, one of ours, shows.

        None for another context, such as a name hook's, and for a certificate without one.
        """
        return self._end_points.get(context)

    def _read_end_points(self) -> dict[ssl.SSLContext, bytes | None]:
        named = {self._contexts[name]: each for name, each in self._by_name.items()}
        shown = {self.context: self._default, **named}
        return {context: certificate.end_point() for context, certificate in shown.items()}

    def _read_expiry(self) -> float:
        each = (self._default, *self._by_name.values())
        return min(filter(None, (certificate.expires() for certificate in each)), default=0.0)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


async def upgrade(
    transport: asyncio.Transport,
    protocol: asyncio.Protocol,
    context: ssl.SSLContext,
    seconds: float,
    client: str,
) -> asyncio.Transport | None:
    """The transport inside TLS, after the server's side of a handshake; None if that failed.

    seconds: how long the handshake may take. client: its address, for the log.
    """
    try:
        if isinstance(transport, SocketTransport):
            await _shake_hands(transport, context, seconds)
            return transport
        return await asyncio.get_running_loop().start_tls(
            transport,
            protocol,
            context,
            server_side=True,
            ssl_handshake_timeout=seconds,
            ssl_shutdown_timeout=GOODBYE_SECONDS,
        )
    except OSError as error:
        log.info("TLS handshake with %s failed: %s", client, error)
        return None


async def _shake_hands(transport: SocketTransport, context: ssl.SSLContext, seconds: float) -> None:
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(error: OSError | None) -> None:
        if ended.done():
            return
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)

    transport.start_tls(context, seconds, done)
    await ended
