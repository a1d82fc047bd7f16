"""A POP3 server that speaks TLS both ways: STLS on one port, implicit TLS on another.

restante cert --name localhost --out certs
python examples/server_tls.py --certificate certs/certificate.pem --key certs/key.pem \\
    --port 1110 --tls-port 1995
curl --cacert certs/certificate.pem --ssl-reqd pop3://localhost:1110/ -u joe:secret
curl --cacert certs/certificate.pem pop3s://localhost:1995/ -u joe:secret
"""

from __future__ import annotations

import argparse

from restante import Certificate, Listener, MemoryStore, Pop3Server, TlsSettings


def build(certificate: Certificate, port: int, tls_port: int) -> Pop3Server:
    """A server with two listeners and one message to read."""
    store = MemoryStore()
    store.add("joe", b"Subject: Over TLS\r\n\r\nNobody else has read this.\r\n")
    return Pop3Server(
        accounts={"joe": "secret"},
        store=store,
        tls_settings=TlsSettings(certificate),
        listeners=[
            Listener(port=port, tls="starttls_required"),
            Listener(port=tls_port, tls="implicit"),
        ],
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--certificate", required=True)
    arguments.add_argument("--key", required=True)
    arguments.add_argument("--port", type=int, default=1110)
    arguments.add_argument("--tls-port", type=int, default=1995)
    given = arguments.parse_args()
    certificate = Certificate(given.certificate, given.key)
    with build(certificate, given.port, given.tls_port) as server:
        plain, implicit = server.addresses
        print(f"POP3 with STLS on {plain[0]} port {plain[1]}", flush=True)
        print(f"POP3 over TLS on {implicit[0]} port {implicit[1]}", flush=True)
        input("Enter stops it\n")


if __name__ == "__main__":
    main()
