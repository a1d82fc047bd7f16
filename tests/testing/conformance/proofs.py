"""For the checks that no fault of the kit can prove: what the canned server does wrong."""

from __future__ import annotations

from dataclasses import dataclass

from tests.testing.conformance.canned import Edit, Faults


@dataclass(frozen=True)
class Proof:
    """tls: how the checks speak to the server. context: the server's TLS, by its name in
    test_proofs. right: flags of the server without the fault."""

    faults: Faults
    tls: str = "none"
    context: str = "good"
    right: frozenset[str] = frozenset()


def flag(*names: str) -> Proof:
    return Proof(Faults(flags=frozenset(names)))


def edit(verb: str, change: Edit) -> Proof:
    return Proof(Faults(edits={verb: change}))


def replaced(verb: str, old: bytes, new: bytes) -> Proof:
    return edit(verb, lambda reply: reply.replace(old, new))


def stls(proof: Proof) -> Proof:
    return Proof(proof.faults, "stls")


def implicit(proof: Proof | None = None, context: str = "good") -> Proof:
    return Proof(proof.faults if proof else Faults(), "implicit", context)


def doubled(reply: bytes) -> bytes:
    return reply * 2


PROOFS: dict[str, Proof] = {
    "reply.no-echo-of-controls": replaced("*", b"unknown", b"\x1b"),
    "command.unknown": flag("takes-unknown"),
    "command.unknown-goes-on": flag("impatient"),
    "command.unknown-one-reply": edit("XCONFORMANCE", doubled),
    "command.empty": flag("silent-empty"),
    "command.by-octets": flag("no-octets"),
    "command.split-line-end": flag("cr-ends"),
    "command.argument-of-40": flag("cuts-lines"),
    "command.line-of-255": flag("cuts-at-200"),
    "command.line-of-10000": flag("cuts-at-200"),
    "command.endless-line": flag("endless"),
    "command.nul": flag("takes-unknown"),
    "command.http": flag("takes-unknown"),
    # TLS
    "stls.no-second-greeting": stls(flag("greets-again")),
    "stls.capa-inside": stls(flag("no-capa-inside")),
    "stls.injection": stls(flag("injection")),
    "stls.failed-handshake": stls(flag("talks-in-clear")),
    "stls.others-keep-it": stls(flag("stls-for-all")),
    "tls.1.3": implicit(context="only 1.2"),
    "tls.forward-secrecy": implicit(context="plain RSA"),
    "tls.no-plain-rsa": implicit(context="plain RSA"),
    "tls.certificate": implicit(context="wrong name"),
    "tls.certificate-time": implicit(context="ends soon"),
    "tls.small-records": implicit(flag("no-octets")),
    "tls.garbage": implicit(flag("talks-in-clear")),
    # Messages
    "top.leaves-list": flag("top-deletes"),
    # Pipelining
    "pipeline.by-octets": flag("no-octets"),
    "pipeline.split-anywhere": flag("no-octets"),
    "pipeline.after-quit": flag("answers-after-quit"),
    # Two sessions
    "lease.answered": flag("waits"),
    "lease.code": replaced("PASS", b"[IN-USE] ", b""),
    "lease.first-goes-on": flag("evicts"),
    "lease.second-tries-again": flag("closes-busy"),
    "lease.free-after-close": flag("lock-stuck"),
    "lease.free-after-reset": flag("lock-stuck"),
    "lease.free-after-reset-in-body": flag("lock-stuck"),
    "snapshot.other-deletes": Proof(
        Faults(flags=frozenset({"shared", "renumbers-live"})), right=frozenset({"shared"})
    ),
    "snapshot.new-mail": flag("no-snapshot"),
    "snapshot.next-session": flag("loses-mail"),
    # Deleting
    "dele.numbers-stay": flag("renumbers"),
    "quit.not-by-close": flag("removes-anyway"),
    "quit.not-by-reset": flag("removes-anyway"),
    "quit.not-half": flag("half-quit"),
    "uidl.not-reused": flag("ids-reused"),
    "idle.minute-before-login": flag("idle"),
    "idle.two-minutes": flag("idle"),
    "idle.ten-minutes": flag("idle"),
}
