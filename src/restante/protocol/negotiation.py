"""What client and server agree on before and beside the mail: CAPA, STLS, LANG, UTF8."""

from __future__ import annotations

from typing import TYPE_CHECKING

from restante.protocol.capabilities import capabilities
from restante.protocol.commands import Command, Lang, Xclient
from restante.protocol.effects import Introduce, StartTls
from restante.protocol.languages import DEFAULT_LANGUAGE, LANGUAGES, find_language
from restante.protocol.replies import Err, MultiLine, Ok, Reply, Silent, Wording

if TYPE_CHECKING:
    from restante.protocol.session import Session, Steps


def capa(session: Session, command: Command) -> Reply:
    lines = capabilities(
        session.policy, tls=session.tls, secure=session.secure, channel=session.channel
    )
    return MultiLine("capability list follows", lines)


def stls(session: Session, command: Command) -> Reply | Steps:
    if session.tls:
        return Err("TLS is active already")
    # A word in the clear must not count inside TLS (RFC 2595 §4): XCLIENT comes after STLS.
    if session.introduced or not session.policy.tls.startswith("starttls"):
        return Err("STLS is not available")
    if len(session.lines):
        # Somebody's bytes would be taken for the client's own after the handshake.
        session.lines.clear()
        session.closing = True
        return Err("nothing may follow STLS before the handshake")
    return _start_tls(session)


def _start_tls(session: Session) -> Steps:
    yield StartTls()
    session.tls = True
    # RFC 2595 §4: what was said before TLS might not be the client's.
    session.user = None
    session.wording = Wording()
    session.bad_commands = 0
    return Silent()


def xclient(session: Session, command: Xclient) -> Steps:
    refusal = yield Introduce(command.attributes)
    if isinstance(refusal, Err):
        return refusal
    session.introduced = True
    return Ok()


def lang(session: Session, command: Lang) -> Reply:
    if command.tag is None:
        lines = [f"{tag} {name}" for tag, name in LANGUAGES.items()]
        return MultiLine("language list follows", lines)
    tag = DEFAULT_LANGUAGE if command.tag == "*" else find_language(command.tag)
    if tag is None:
        return Err("language is not available: LANG lists those that are")
    session.wording.language = tag
    return Ok("{tag} language changed", {"tag": tag})


def utf8(session: Session, command: Command) -> Reply:
    session.wording.utf8 = True
    return Ok("UTF8 on")
