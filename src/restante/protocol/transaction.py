"""The mail itself: TRANSACTION (RFC 1939 §5, §7), and UPDATE, which QUIT begins (§6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from restante.protocol.commands import Command, Dele, List, Retr, Top, Uidl
from restante.protocol.effects import Commit, Delete, Fetch, Reset
from restante.protocol.listing import MessageNumber
from restante.protocol.replies import Body, Err, Ok, Prepared, Reply
from restante.protocol.states import State

if TYPE_CHECKING:
    from restante.protocol.session import Session, Steps

NO_SUCH_MESSAGE = Err("no such message")
MARKED, BYE, DONE = Ok("marked"), Ok("bye"), Ok()


def message_count(session: Session) -> Ok:
    """How many messages there are, for the replies to a login and to RSET."""
    return Ok("{count} messages", _count(session))


def stat(session: Session, command: Command) -> Reply:
    return Ok(f"{session.active_count} {session.active_size}")


def list_(session: Session, command: List) -> Reply:
    if command.number is not None:
        if not _there(session, command.number):
            return NO_SUCH_MESSAGE
        return Ok(f"{command.number} {session.size(command.number)}")
    block = session.listing.scan_block(session.full_headers)
    return Prepared("{count} messages", _without_deleted(session, block), _count(session))


def uidl(session: Session, command: Uidl) -> Reply:
    if command.number is not None:
        if not _there(session, command.number):
            return NO_SUCH_MESSAGE
        return Ok(f"{command.number} {session.listing.unique_ids[command.number - 1]}")
    block = session.listing.unique_id_block()
    return Prepared("{count} messages", _without_deleted(session, block), _count(session))


def _count(session: Session) -> dict[str, object]:
    return {"count": session.active_count}


def _without_deleted(session: Session, block: bytes) -> bytes:
    if not session.deleted:
        return block
    lines = block.split(b"\r\n")
    gone = {number - 1 for number in session.deleted}
    return b"\r\n".join([line for at, line in enumerate(lines) if at not in gone])


def _there(session: Session, number: MessageNumber) -> bool:
    return number <= len(session.listing) and number not in session.deleted


def retr(session: Session, command: Retr) -> Reply | Steps:
    return _fetch(session, command.number, None)


def top(session: Session, command: Top) -> Reply | Steps:
    return _fetch(session, command.number, command.lines)


def _fetch(session: Session, number: MessageNumber, top_lines: int | None) -> Reply | Steps:
    if not _there(session, number):
        return NO_SUCH_MESSAGE
    downgrade = not session.wording.utf8 and number in session.listing.ascii_octets
    if downgrade and session.policy.utf8_headers == "refuse":
        return Err("message has UTF-8 in its header: send UTF8 first", "UTF8")
    downgrade = downgrade and session.policy.utf8_headers == "downgrade"
    return _send(session, number, top_lines, downgrade)


def _send(session: Session, number: MessageNumber, top_lines: int | None, downgrade: bool) -> Steps:
    content = yield Fetch(number, top_lines)
    if isinstance(content, Err):
        return content
    if top_lines is not None:
        return Body("top of message follows", content, top_lines, downgrade)
    facts = content.facts
    if facts is None:
        octets = session.size(number)
    else:  # of another message perhaps, that a hook has put in its place
        octets = facts.ascii_octets if downgrade else facts.octets
    return Body("{octets} octets", content, None, downgrade, {"octets": octets})


def dele(session: Session, command: Dele) -> Reply | Steps:
    number = command.number
    if not _there(session, number):
        return NO_SUCH_MESSAGE
    if session.read_only:
        return Err("messages of this maildrop can't be deleted")
    if "delete" in session.policy.asks:
        return _ask_delete(session, number)
    session.deleted.add(number)
    return MARKED


def _ask_delete(session: Session, number: MessageNumber) -> Steps:
    refusal = yield Delete(number)
    if isinstance(refusal, Err):
        return refusal
    session.deleted.add(number)
    return MARKED


def noop(session: Session, command: Command) -> Reply:
    return DONE


def rset(session: Session, command: Command) -> Reply | Steps:
    session.deleted.clear()
    return _tell_reset(session) if "reset" in session.policy.asks else message_count(session)


def _tell_reset(session: Session) -> Steps:
    yield Reset()
    return message_count(session)


def quit_(session: Session, command: Command) -> Reply | Steps:
    session.closing = True
    return BYE if session.state is State.AUTHORIZATION else _update(session)


def _update(session: Session) -> Steps:
    session.state = State.UPDATE
    refusal = yield Commit(tuple(sorted(session.deleted)))
    # RFC 1939 §6: -ERR when some messages marked as deleted were not removed.
    return refusal if isinstance(refusal, Err) else BYE
