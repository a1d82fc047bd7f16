"""Clients' sides of the mechanisms, none of them ours where somebody else has one.

Each is a generator: it yields responses and is sent challenges. The first thing it yields is
its initial response, or None when the server speaks first.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
from base64 import b64decode, b64encode
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import spnego
from scramp import ScramClient

from tests.server.kit import Client

Steps: TypeAlias = Generator[bytes | None, bytes, None]


@dataclass(frozen=True)
class Caller:
    """Who logs in, with what.

    token: a bearer token. tickets: a cache of Kerberos tickets. authzid: whom it would act as,
    where its certificate says who it is. end_point: what the server showed in TLS (RFC 5929).
    """

    name: str
    password: str = ""
    token: str = ""
    tickets: Path | None = None
    authzid: str = ""
    end_point: bytes = b""


def plain(caller: Caller) -> Steps:
    yield f"\0{caller.name}\0{caller.password}".encode()


def login(caller: Caller) -> Steps:
    assert (yield None) == b"Username:"
    assert (yield caller.name.encode()) == b"Password:"
    yield caller.password.encode()


def cram_md5(caller: Caller) -> Steps:
    challenge = yield None
    digest = hmac.new(caller.password.encode(), challenge, "md5").hexdigest()
    yield f"{caller.name} {digest}".encode()


def scram(mechanism: str, caller: Caller) -> Steps:
    """scramp, which fails if the server doesn't prove that it knows the password too."""
    binding = ("tls-server-end-point", caller.end_point) if mechanism.endswith("-PLUS") else None
    peer = ScramClient([mechanism], caller.name, caller.password, channel_binding=binding)
    peer.set_server_first((yield peer.get_client_first().encode()).decode())
    peer.set_server_final((yield peer.get_client_final().encode()).decode())
    yield b""


def external(caller: Caller) -> Steps:
    yield caller.authzid.encode()


def oauthbearer(caller: Caller) -> Steps:
    yield f"n,a={caller.name},\1auth=Bearer {caller.token}\1\1".encode()
    yield b"\1"  # whatever the server has told of its refusal


def xoauth2(caller: Caller) -> Steps:
    yield f"user={caller.name}\1auth=Bearer {caller.token}\1\1".encode()
    yield b""


def ntlm(caller: Caller) -> Steps:
    """pyspnego"""
    peer = spnego.client(
        caller.name,
        caller.password,
        protocol="ntlm",
        options=spnego.NegotiateOptions.use_ntlm,
    )
    yield peer.step((yield peer.step()))


def gssapi(caller: Caller) -> Steps:
    """MIT's library"""
    from gssapi import (  # noqa: PLC0415 - not everywhere
        Credentials,
        MechType,
        Name,
        NameType,
        SecurityContext,
    )

    store: dict[bytes | str, bytes | str] = {"ccache": f"FILE:{caller.tickets}"}
    peer = SecurityContext(
        name=Name("pop@localhost", NameType.hostbased_service),
        creds=Credentials(usage="initiate", store=store),
        mech=MechType.kerberos,
        usage="initiate",
    )
    token = peer.step()
    while not peer.complete:
        token = peer.step((yield token)) or b""
    offer = yield token
    assert peer.unwrap(offer).message == b"\1\0\0\0"
    yield peer.wrap(b"\1\0\0\0", encrypt=False).message


def anonymous(caller: Caller) -> Steps:
    yield b"guest@example.org"


CLIENTS: dict[str, Callable[[Caller], Steps]] = {
    **{
        name: partial(scram, name)
        for name in (
            *("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"),
            *("SCRAM-SHA-256", "SCRAM-SHA-1"),
        )
    },
    "EXTERNAL": external,
    "GSSAPI": gssapi,
    "OAUTHBEARER": oauthbearer,
    "XOAUTH2": xoauth2,
    "PLAIN": plain,
    "LOGIN": login,
    "CRAM-MD5": cram_md5,
    "NTLM": ntlm,
    "ANONYMOUS": anonymous,
}


def attempt(client: Client, mechanism: str, caller: Caller) -> bytes:
    """The reply to a login by `mechanism`, which may be `USER` or `APOP` too."""
    if mechanism == "USER":
        asked = client.ask(f"USER {caller.name}")
        return client.ask(f"PASS {caller.password}") if asked.startswith(b"+OK") else asked
    if mechanism == "APOP":
        stamp = client.greeting[client.greeting.rfind(b"<") :]
        digest = hashlib.md5(stamp + caller.password.encode()).hexdigest()
        return client.ask(f"APOP {caller.name} {digest}")
    steps = CLIENTS[mechanism](caller)
    initial = next(steps)
    sent = "" if initial is None else " " + (b64encode(initial).decode() or "=")
    reply = client.ask(f"AUTH {mechanism}{sent}")
    while reply.startswith(b"+ "):
        response = steps.send(b64decode(reply[2:], validate=True))
        assert response is not None
        reply = client.ask(b64encode(response))
    return reply


def end_point(client: Client) -> bytes:
    """`tls-server-end-point` (RFC 5929 §4.1) of a certificate signed with SHA-256."""
    if not isinstance(client.socket, ssl.SSLSocket):
        return b""
    return hashlib.sha256(client.socket.getpeercert(True) or b"").digest()
