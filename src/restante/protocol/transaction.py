"""The mail itself: TRANSACTION (RFC 1939 §5, §7), and UPDATE, which QUIT begins (§6)."""

from __future__ import annotations

from restante.protocol.effects import Commit, Delete, Fetch, Reset
from restante.protocol.listing import MessageNumber
from restante.protocol.replies import Body, Err, Ok, Prepared, Reply, fixed, message_follows
from restante.protocol.session import NOTHING, Session, Steps
from restante.protocol.states import State

NO_SUCH_MESSAGE = fixed(Err("no such message"))
MARKED, BYE, DONE = fixed(Ok("marked")), fixed(Ok("bye")), fixed(Ok())
NO_MESSAGES, ONE_MESSAGE = fixed(Ok("0 messages")), fixed(Ok("1 message"))


def message_count(session: Session) -> Ok:
    """How many messages there are. Perl's Net::POP3 takes the number before "message" for it."""
    count = session.listing.count - len(session.deleted)
    if count > 1:
        return Ok("{count} messages", {"count": count})
    return ONE_MESSAGE if count else NO_MESSAGES  # some languages have words of their own for 0


def stat(session: Session, argument: None) -> Reply:
    listing = session.listing
    if session.deleted or listing.ascii_octets:
        return Ok(f"{session.active_count} {session.active_size}")
    reply: Ok | None = listing.totals
    if reply is None:
        reply = listing.totals = fixed(Ok(f"{listing.count} {listing.total}"))
    return reply


def list_(session: Session, number: MessageNumber | None) -> Reply:
    if number is None:
        return _lines(session, session.listing.scan_block(session.ascii_octets))
    if not _there(session, number):
        return NO_SUCH_MESSAGE
    return Ok(f"{number} {session.size(number)}")


def uidl(session: Session, number: MessageNumber | None) -> Reply:
    if number is None:
        return _lines(session, session.listing.unique_id_block())
    if not _there(session, number):
        return NO_SUCH_MESSAGE
    return Ok(f"{number} {session.listing.unique_ids[number - 1]}")


def _lines(session: Session, block: bytes) -> Prepared:
    """A listing without the lines of the messages that are marked."""
    if session.deleted:
        lines = block.split(b"\r\n")
        gone = {number - 1 for number in session.deleted}
        block = b"\r\n".join([line for at, line in enumerate(lines) if at not in gone])
    count = message_count(session)
    return Prepared(count.text, block, count.values)


def _there(session: Session, number: MessageNumber) -> bool:
    return number <= session.listing.count and number not in session.deleted


def retr(session: Session, number: MessageNumber) -> Reply | Steps:
    return _fetch(session, number, None)


def top(session: Session, argument: tuple[MessageNumber, int]) -> Reply | Steps:
    return _fetch(session, *argument)


def _fetch(session: Session, number: MessageNumber, lines: int | None) -> Reply | Steps:
    if not _there(session, number):
        return NO_SUCH_MESSAGE
    if number in session.listing.ascii_octets and session.headers == "refuse":
        return Err("message has UTF-8 in its header: send UTF8 first", "UTF8")
    return _send(session, number, lines)


def _send(session: Session, number: MessageNumber, lines: int | None) -> Steps:
    content = yield Fetch(number, lines)
    if isinstance(content, Err):
        return content
    facts = content.facts
    if facts is None:
        downgrade = number in session.ascii_octets
        octets = session.size(number)
    else:  # of another message perhaps, that a hook has put in its place
        downgrade = facts.utf8 > 0 and session.downgrades(facts)
        octets = facts.ascii_octets if downgrade else facts.octets
    if lines is not None:
        return Body("top of message follows", content, lines, downgrade)
    return message_follows(content, octets, downgrade=downgrade)


def dele(session: Session, number: MessageNumber) -> Reply | Steps:
    if not _there(session, number):
        return NO_SUCH_MESSAGE
    if session.read_only:
        return Err("messages of this maildrop can't be deleted")
    if "delete" in session.policy.asks:
        return _ask_delete(session, number)
    return _mark(session, number)


def _ask_delete(session: Session, number: MessageNumber) -> Steps:
    refusal = yield Delete(number)
    return refusal if isinstance(refusal, Err) else _mark(session, number)


def _mark(session: Session, number: MessageNumber) -> Reply:
    if not isinstance(session.deleted, set):
        session.deleted = set()
    session.deleted.add(number)
    return MARKED


def noop(session: Session, argument: None) -> Reply:
    return DONE


def rset(session: Session, argument: None) -> Reply | Steps:
    session.deleted = NOTHING
    return _tell_reset(session) if "reset" in session.policy.asks else message_count(session)


def _tell_reset(session: Session) -> Steps:
    yield Reset()
    return message_count(session)


def quit_(session: Session, argument: None) -> Reply | Steps:
    session.closing = True
    return BYE if session.state is State.AUTHORIZATION else _update(session)


def _update(session: Session) -> Steps:
    session.state = State.UPDATE
    numbers = tuple(sorted(session.deleted)) if session.deleted else ()
    refusal = yield Commit(numbers)
    # RFC 1939 §6: -ERR when some messages marked as deleted were not removed.
    return refusal if isinstance(refusal, Err) else BYE
