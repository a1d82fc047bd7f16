"""TLS as the configuration wants it."""

from __future__ import annotations

from pathlib import Path

from restante.app.config.settings import Secret, Settings
from restante.server.tls.settings import Certificate, TlsSettings


def certificates(settings: Settings) -> tuple[Certificate | None, dict[str, Certificate]]:
    """The one for everybody, if there is one, and those by host name."""
    tls = settings.tls
    default = None
    if tls.certificate is not None:
        default = _certificate(tls.certificate, tls.key, tls.key_password)
    elif tls.development:
        default = Certificate(*settings.development_certificate)
    by_name = {
        name: _certificate(each.certificate, each.key, each.key_password)
        for name, each in tls.names.items()
    }
    return default, by_name


def _certificate(chain: Path, key: Path | None, password: Secret | None) -> Certificate:
    return Certificate(chain, key, None if password is None else password.text)


def make_all_tls(settings: Settings) -> tuple[TlsSettings | None, TlsSettings | None]:
    """What POP3 speaks TLS by, and what SMTP does. Raises as `make_tls` does."""
    pop3 = make_tls(settings, client_certificates=True)
    return pop3, make_tls(settings, client_certificates=False)


def make_tls(settings: Settings, *, client_certificates: bool) -> TlsSettings | None:
    """None without a certificate. Raises OSError, ssl.SSLError, ValueError.

    client_certificates: ask for them, if the configuration wants them at all. Only POP3
    does: servers that bring mail have none.
    """
    default, by_name = certificates(settings)
    if default is None:
        return None
    tls = settings.tls
    if not client_certificates:
        return TlsSettings(default, by_name=by_name)
    return TlsSettings(
        default,
        by_name=by_name,
        client_certificates=tls.client_certificates,
        client_ca=tls.client_ca,
    )
