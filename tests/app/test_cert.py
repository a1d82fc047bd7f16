"""The development certificate."""

from __future__ import annotations

import os
import ssl
import stat
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from restante.app.cert import make_certificate
from restante.server.tls.settings import Certificate, TlsSettings
from tests.app.conftest import Call


def made(folder: Path, *names: str, days: int = 365) -> x509.Certificate:
    make_certificate(folder / "c.pem", folder / "k.pem", names or ("localhost",), days=days)
    return x509.load_pem_x509_certificate((folder / "c.pem").read_bytes())


def test_it_names_what_was_asked_for_and_this_machine(folder: Path) -> None:
    certificate = made(folder, "Mail.Example", "*.ex\u00e4mple", "192.0.2.1", "::1")
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mail.example", "*.xn--exmple-cua"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ip_address("192.0.2.1"),
        ip_address("::1"),
        ip_address("127.0.0.1"),
    ]


def test_it_is_ecdsa_p256_and_valid_from_now_for_the_days(folder: Path) -> None:
    certificate = made(folder, days=7)
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    now = datetime.now(UTC)
    assert certificate.not_valid_before_utc <= now
    assert timedelta(days=6) < certificate.not_valid_after_utc - now <= timedelta(days=7)


def test_a_client_that_trusts_it_accepts_it_by_name(folder: Path) -> None:
    made(folder)
    server = TlsSettings(Certificate(folder / "c.pem", folder / "k.pem")).context
    client = ssl.create_default_context(cafile=folder / "c.pem")
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
    ]
    for _ in range(5):
        for end in list(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert ends[1].getpeercert()


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_the_key_is_its_owners_only(folder: Path) -> None:
    made(folder / "new")
    assert stat.S_IMODE((folder / "new" / "k.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "new").stat().st_mode) == 0o700


def test_nothing_is_overwritten_unasked(folder: Path) -> None:
    made(folder)
    before = (folder / "c.pem").read_bytes()
    with pytest.raises(FileExistsError):
        made(folder)
    (folder / "k.pem").unlink()
    with pytest.raises(FileExistsError):
        made(folder)
    assert not (folder / "k.pem").exists()
    make_certificate(folder / "c.pem", folder / "k.pem", replace=True)
    assert (folder / "c.pem").read_bytes() != before
    assert {each.name for each in folder.iterdir()} == {"c.pem", "k.pem"}


@pytest.mark.parametrize("name", ["", "a..b", "x" * 64])
def test_what_is_no_name(folder: Path, name: str) -> None:
    with pytest.raises(ValueError, match="neither"):
        made(folder, name)


def test_the_command(call: Call) -> None:
    done = call("cert", "--name", "mail.example", "--out", "tls", "--days", "3")
    assert done.status == 0
    assert done.out.splitlines() == [
        "[tls]",
        'certificate = "tls/certificate.pem"',
        'key = "tls/key.pem"',
    ]
    done = call("cert", "--out", "tls")
    assert (done.status, done.out) == (1, "")
    assert "--force replaces it" in done.err
    assert call("cert", "--out", "tls", "--force").status == 0
