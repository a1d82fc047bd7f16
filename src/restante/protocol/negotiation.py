"""What client and server agree on before and beside the mail: CAPA, STLS, XCLIENT, LANG, UTF8."""

from __future__ import annotations

from restante.protocol.effects import Introduce, StartTls
from restante.protocol.languages import DEFAULT_LANGUAGE, LANGUAGES, find_language
from restante.protocol.policy import days_kept
from restante.protocol.replies import DEFAULT_WORDING, Err, MultiLine, Ok, Reply, Silent, Wording
from restante.protocol.session import Session, Steps
from restante.protocol.states import State


def capa(session: Session, argument: None) -> Reply:
    """RFC 2449 §5: the same before and after login; only TLS changes it, and EXPIRE may."""
    lines: list[str] = []
    for command in session.policy.commands:
        said = command.capability
        if callable(said):
            lines += said(session, command.verb)
        elif said is not None:
            lines.append(said)
    policy = session.policy
    lines += f"EXPIRE {_expire(session)}", f"LOGIN-DELAY {policy.login_delay}"
    lines.append(f"IMPLEMENTATION {policy.implementation}")
    return MultiLine("capability list follows", lines)


def _expire(session: Session) -> str:
    """After how many days mail is removed (RFC 2449 §6.7).

    Where accounts differ, the least of all is said before the login, and the account's own after.
    """
    policy = session.policy
    days, least = policy.expire_days, policy.expire_user_days
    if least is not None:
        if session.state is State.AUTHORIZATION:
            return f"{least if days is None else min(days, least)} USER"
        days = days_kept(session.account.expire_days, days, least)
    return "NEVER" if days is None else str(days)


def general_capabilities(session: Session, verb: str) -> list[str]:
    return ["RESP-CODES", "AUTH-RESP-CODE", "PIPELINING"]


def stls(session: Session, argument: None) -> Reply | Steps:
    if session.tls:
        return Err("TLS is active already")
    # A word in the clear must not count inside TLS (RFC 2595 §4): XCLIENT comes after STLS.
    if session.introduced or not session.policy.tls.startswith("starttls"):
        return Err("STLS is not available")
    if session.buffer:
        # Somebody's bytes would be taken for the client's own after the handshake.
        session.drop_input()
        session.closing = True
        return Err("nothing may follow STLS before the handshake")
    return _start_tls(session)


def _start_tls(session: Session) -> Steps:
    yield StartTls()
    session.protected(tls=True)
    # RFC 2595 §4: what was said before TLS might not be the client's.
    session.user = None
    session.wording = DEFAULT_WORDING
    session.bad_commands = 0
    return Silent()


def stls_capability(session: Session, verb: str) -> list[str]:
    offered = verb == "STLS" and not session.tls and session.policy.tls.startswith("starttls")
    return ["STLS"] if offered else []


def hears_xclient(session: Session) -> bool:
    """Whether the peer is a proxy that has said nothing yet of its client."""
    return session.proxy and not session.introduced and session.claimed is None


def xclient(session: Session, attributes: str) -> Steps:
    refusal = yield Introduce(attributes)
    if isinstance(refusal, Err):
        return refusal
    session.introduced = True
    return Ok()


def lang(session: Session, wanted: str | None) -> Reply:
    if wanted is None:
        lines = [f"{tag} {name}" for tag, name in LANGUAGES.items()]
        return MultiLine("language list follows", lines)
    tag = DEFAULT_LANGUAGE if wanted == "*" else find_language(wanted)
    if tag is None:
        return Err("language is not available: LANG lists those that are")
    session.wording = Wording(tag, session.wording.utf8)
    return Ok("{tag} language changed", {"tag": tag})


def utf8(session: Session, argument: None) -> Reply:
    session.wording = Wording(session.wording.language, utf8=True)
    return Ok("UTF8 on")


def utf8_capability(session: Session, verb: str) -> list[str]:
    return ["UTF8 USER"] if verb == "UTF8" and session.policy.utf8 else []
