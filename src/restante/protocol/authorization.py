"""Logging in: USER, PASS, APOP and AUTH, all of which end in a claim that others decide."""

from __future__ import annotations

from restante.protocol.claims import ApopClaim, Claim, PasswordClaim, TokenClaim
from restante.protocol.effects import BrokenOff, LogIn
from restante.protocol.mechanisms import MechanismContext, MechanismInfo
from restante.protocol.replies import Continue, Err, MultiLine, Ok, Reply, fixed
from restante.protocol.responses import decode_response
from restante.protocol.session import Session, Steps
from restante.protocol.states import State
from restante.protocol.transaction import message_count

SEND_PASS = fixed(Ok("send PASS"))
SEND_USER = fixed(Err("send USER first"))


def user(session: Session, name: str) -> Reply:
    if not session.secure or session.policy.use_auth == "sasl":
        return _refuse_password_login(session)
    session.user = session.claimed = name
    return SEND_PASS


def user_capability(session: Session, verb: str) -> list[str]:
    offered = verb == "USER" and session.secure and session.policy.use_auth != "sasl"
    return ["USER"] if offered else []


def pass_(session: Session, password: str) -> Reply | Steps:
    if not session.secure or session.policy.use_auth == "sasl":
        return _refuse_password_login(session)
    name = session.user
    if name is None:
        return SEND_USER
    session.user = None
    return _log_in(session, PasswordClaim(name, password))


def _refuse_password_login(session: Session) -> Err:
    if session.policy.use_auth == "sasl":
        return Err("use AUTH")
    return _refuse_plaintext(session)


def _refuse_plaintext(session: Session) -> Err:
    """A password was about to cross the wire in the clear: say where it may."""
    port = session.policy.tls_port
    if session.policy.tls.startswith("starttls"):
        if port is None:
            return Err("password not accepted without TLS: send STLS first")
        return Err(
            "password not accepted without TLS: send STLS first, or use port {port}",
            values={"port": port},
        )
    if port is not None:
        return Err("password not accepted without TLS: use port {port}", values={"port": port})
    return Err("password not accepted without TLS, which this server does not offer")


def apop(session: Session, argument: tuple[str, str]) -> Reply | Steps:
    if session.timestamp is None or not session.policy.offers_apop():
        return Err("APOP is not available")
    name, digest = argument
    return _log_in(session, ApopClaim(name, session.timestamp, digest))


def auth(session: Session, argument: tuple[str | None, bytes | None]) -> Reply | Steps:
    mechanism, initial_response = argument
    policy = session.policy
    offered = {info.name: info for info in policy.mechanisms_for(session.secure, session.channel)}
    if mechanism is None:
        return MultiLine("mechanisms follow", list(offered))
    info = offered.get(mechanism)
    if info is not None:
        context = MechanismContext(policy.hostname, session.channel, frozenset(offered))
        return _exchange(session, info, context, initial_response)
    hidden = policy.mechanisms.get(mechanism)
    forbidden = hidden is not None and hidden.plaintext and not session.secure
    if forbidden and policy.use_auth != "pop":
        return _refuse_plaintext(session)
    return Err("mechanism is not available")


def sasl_capability(session: Session, verb: str) -> list[str]:
    names = [i.name for i in session.policy.mechanisms_for(session.secure, session.channel)]
    return ["SASL " + " ".join(names)] if names else []


def _exchange(
    session: Session, info: MechanismInfo, context: MechanismContext, initial: bytes | None
) -> Steps:
    try:
        response = None
        if initial is not None:
            response = b"" if initial == b"=" else decode_response(initial)
        exchange = info.begin(context, response)
        outcome = exchange.send(None)
        while True:
            result: object = yield outcome
            if isinstance(outcome, Continue):
                assert isinstance(result, bytes)
                if result == b"*":
                    exchange.close()
                    yield BrokenOff(info.name, "cancelled")
                    return _refused(session, Err("authentication cancelled"))
                result = decode_response(result)
            elif isinstance(result, Err):
                exchange.close()
                return _refused(session, result)
            outcome = exchange.send(result)
    except StopIteration as end:
        claim: Claim = end.value
    except ValueError as error:
        reason = str(error)
        yield BrokenOff(info.name, reason)
        return _refused(session, Err(reason))
    return (yield from _log_in(session, claim))


def _log_in(session: Session, claim: Claim) -> Steps:
    session.claimed = claim.name
    result = yield LogIn(claim)
    if isinstance(result, Err):
        if isinstance(claim, TokenClaim) and result.code == "AUTH":
            # RFC 7628 §3.2.3: why, in a challenge. Whatever the answer, it has failed.
            yield Continue(claim.refusal)
        # The claim was right where only the maildrop is in use: such a client may go on trying.
        return result if result.code == "IN-USE" else _refused(session, result)
    session.account, session.listing = result
    session.read_only = claim.mechanism == "ANONYMOUS"
    session.state = State.TRANSACTION
    return message_count(session)


def _refused(session: Session, reply: Err) -> Err:
    """Count a login that failed; after too many of them, the connection ends."""
    session.failed_logins += 1
    session.closing = session.failed_logins >= session.policy.max_failed_logins
    return reply
