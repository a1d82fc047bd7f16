"""SASL mechanisms of an application's own, in a server's table."""

from __future__ import annotations

import base64
import poplib
from collections.abc import Iterator
from typing import Any

import pytest

from restante import IdentityClaim, MemoryStore, PasswordClaim, Pop3Error, Pop3Server
from restante.observing.families import MECHANISMS
from restante.protocol.commands import command_table
from restante.protocol.mechanisms import NO_CHANNEL
from restante.protocol.redaction import safe_line
from restante.sasl import (
    Challenge,
    Exchange,
    MechanismContext,
    MechanismError,
    MechanismInfo,
    Work,
    ask,
    credential_text,
)
from restante.sasl.plain import PLAIN
from restante.server import mechanisms
from restante.testing import MailServer


def reversed_password(context: MechanismContext, initial: bytes | None) -> Exchange:
    """A name, and then a password from its end to its beginning."""
    name = credential_text(initial if initial is not None else (yield from ask(b"name")))
    password = credential_text((yield from ask(b"drowssap")))
    return PasswordClaim(name, password[::-1], "X-REVERSED")


REVERSED = MechanismInfo("X-REVERSED", reversed_password, plaintext=True)


@pytest.fixture
def server() -> Iterator[MailServer]:
    with MailServer(accounts={"joe": "secret"}) as made:
        made.pop3.mechanisms.add(REVERSED)
        yield made


class Client:
    """poplib, and AUTH, which it doesn't have."""

    def __init__(self, server: MailServer) -> None:
        self.pop3: Any = poplib.POP3(server.host, server.port, timeout=20)

    def auth(self, mechanism: str, *responses: str) -> tuple[list[bytes], bytes]:
        """The challenges, and the reply at the end."""
        challenges: list[bytes] = []
        line = f"AUTH {mechanism}"
        for response in (*responses, None):
            try:
                reply = self.pop3._shortcmd(line)
            except poplib.error_proto as error:
                return challenges, error.args[0]
            if not reply.startswith(b"+ "):
                return challenges, reply
            challenges.append(base64.b64decode(reply[2:]))
            line = base64.b64encode((response or "").encode()).decode()
        raise AssertionError("there is no end")


@pytest.fixture
def client(server: MailServer) -> Iterator[Client]:
    made = Client(server)
    yield made
    made.pop3.close()


def test_a_mechanism_logs_in(server: MailServer, client: Client) -> None:
    assert client.pop3.capa()["SASL"][-1] == "X-REVERSED"
    challenges, reply = client.auth("X-REVERSED", "joe", "terces")
    assert challenges == [b"name", b"drowssap"]
    assert reply == b"+OK 0 messages"
    assert client.pop3.stat() == (0, 0)
    client.pop3.quit()
    assert server.sessions[0].mechanism == "X-REVERSED"
    assert "terces" not in server.report()


def test_an_initial_response_saves_a_turn(client: Client) -> None:
    initial = base64.b64encode(b"joe").decode()
    assert client.auth(f"X-REVERSED {initial}", "terces") == ([b"drowssap"], b"+OK 0 messages")


def test_accounts_decide_whether_the_claim_is_right(server: MailServer, client: Client) -> None:
    _, reply = client.auth("X-REVERSED", "joe", "secret")
    assert reply == b"-ERR [AUTH] authentication failed"
    assert server.sessions[0].refused == ["X-REVERSED"]


def test_a_malformed_response_is_refused_with_the_mechanisms_words(client: Client) -> None:
    _, reply = client.auth("X-REVERSED", "jo\0e")
    assert reply == b"-ERR malformed response: CR, LF or NUL in name or password"
    assert client.auth("X-REVERSED", "joe", "terces")[1] == b"+OK 0 messages"


def test_what_sends_a_password_is_offered_where_it_is_protected(server: MailServer) -> None:
    added = server.pop3.mechanisms.by_name["X-REVERSED"]
    assert added.is_offered(secure=True, channel=NO_CHANNEL, held=frozenset())
    assert not added.is_offered(secure=False, channel=NO_CHANNEL, held=frozenset())


def test_an_identity_that_the_mechanism_has_checked(server: MailServer, client: Client) -> None:
    def badge(context: MechanismContext, initial: bytes | None) -> Exchange:
        number = yield from ask(b"")
        owner: Any = yield Work(lambda: {b"7": "joe"}.get(number, ""))  # on a worker thread
        return IdentityClaim((owner,), "X-BADGE")

    server.pop3.mechanisms.add(MechanismInfo("X-BADGE", badge))
    assert client.auth("X-BADGE", "8")[1].startswith(b"-ERR [AUTH]")
    assert client.auth("X-BADGE", "7")[1] == b"+OK 0 messages"


def test_work_that_fails_refuses_the_login(server: MailServer, client: Client) -> None:
    def refuse() -> None:
        raise Pop3Error("come back on Monday", "SYS/TEMP")

    def weekend(context: MechanismContext, initial: bytes | None) -> Exchange:
        yield Work(refuse)
        raise AssertionError("it goes on nevertheless")

    server.pop3.mechanisms.add(MechanismInfo("X-WEEKEND", weekend))
    assert client.auth("X-WEEKEND")[1] == b"-ERR [SYS/TEMP] come back on Monday"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MechanismError("no such card"), b"-ERR no such card"),
        (ValueError("bad response b'hunter2'"), b"-ERR malformed response"),
    ],
)
def test_only_what_a_mechanism_says_on_purpose_is_told(
    server: MailServer, client: Client, error: ValueError, said: bytes
) -> None:
    """Python's ValueErrors quote what they can't read, and that may be a password."""
    server.pop3.mechanisms.add(MechanismInfo("X-CARD", raises(error)))
    assert client.auth("X-CARD", "hunter2")[1] == said


# Mistakes in a mechanism cost the login, and never the connection or the server


def raises(error: BaseException) -> Any:
    def begin(context: MechanismContext, initial: bytes | None) -> Exchange:
        yield from ask(b"")
        raise error

    return begin


def yields(what: Any) -> Any:
    """A mechanism that asks for this."""

    def begin(context: MechanismContext, initial: bytes | None) -> Exchange:
        yield what
        return PasswordClaim("joe", "secret", "X-WRONG")

    return begin


def gives_text(context: MechanismContext, initial: bytes | None) -> Any:
    yield from ask(b"")
    return "joe"


def no_generator(context: MechanismContext, initial: bytes | None) -> Any:
    return PasswordClaim("joe", "secret", "X-WRONG")


@pytest.mark.parametrize(
    ("begin", "told"),
    [
        (raises(KeyError("lost")), "lost"),
        (raises(SystemExit()), "SystemExit was raised"),
        (raises(GeneratorExit()), "GeneratorExit was raised"),
        (yields(5), "X-WRONG yielded int: what it yields is a Challenge of bytes"),
        (yields(Challenge("text")), "X-WRONG yielded Continue: what it yields is a Challenge"),  # type: ignore[arg-type]
        (gives_text, "X-WRONG returned str: it must return a claim"),
        (no_generator, "X-WRONG gave PasswordClaim: it must be a generator"),
        (lambda: None, "takes 0 positional arguments"),
    ],
    ids=[
        "KeyError",
        "SystemExit",
        "GeneratorExit",
        "5",
        "a text to ask",
        "text",
        "no generator",
        "no arguments",
    ],
)
def test_a_mistake_in_a_mechanism(
    server: MailServer, client: Client, begin: Any, told: str
) -> None:
    errors = []

    @server.pop3.on("server_error")
    def hear(session: Any, error: Exception) -> None:
        errors.append(str(error))

    server.pop3.mechanisms.add(MechanismInfo("X-WRONG", begin))
    _, reply = client.auth("X-WRONG", "joe")
    assert reply.startswith(b"-ERR [SYS/TEMP] internal error")
    assert client.auth("X-REVERSED", "joe", "terces")[1] == b"+OK 0 messages"
    assert len(errors) == 1
    assert told in errors[0]


# The table


def made(**settings: Any) -> Pop3Server:
    return Pop3Server(port=0, accounts={"joe": "secret"}, store=MemoryStore(), **settings)


def test_mechanisms_are_replaced_and_removed(server: MailServer, client: Client) -> None:
    table = server.pop3.mechanisms
    table.replace(MechanismInfo("PLAIN", reversed_password))
    table.remove("LOGIN")
    offered = client.pop3.capa()["SASL"]
    assert "LOGIN" not in offered
    assert offered.index("PLAIN") < offered.index("CRAM-MD5")  # where it was
    assert client.auth("PLAIN", "joe", "terces")[1] == b"+OK 0 messages"
    assert [each.name for each in table] == list(table.by_name)


def test_what_is_added_is_offered_whatever_the_setting_chooses() -> None:
    server = made(mechanisms=("PLAIN",))
    server.mechanisms.add(REVERSED)
    assert [each.name for each in server.mechanisms] == ["PLAIN", "X-REVERSED"]


def test_each_server_has_a_table_of_its_own() -> None:
    made().mechanisms.add(REVERSED)
    assert "X-REVERSED" not in made().mechanisms


def with_schemes(schemes: Any) -> MechanismInfo:
    return MechanismInfo("X", reversed_password, schemes=schemes)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (PLAIN, ValueError, r"there is a mechanism PLAIN already: use replace\(\)"),
        (reversed_password, TypeError, "is no mechanism: give restante.sasl.MechanismInfo"),
        (MechanismInfo("x-low", reversed_password), ValueError, "not a mechanism's name: 'x-low'"),
        (MechanismInfo("", reversed_password), ValueError, "1 to 20 of A to Z, 0 to 9, - and _"),
        (MechanismInfo("X Y", reversed_password), ValueError, "not a mechanism's name"),
        (MechanismInfo("X" * 21, reversed_password), ValueError, "not a mechanism's name"),
        (with_schemes("PLAIN"), TypeError, "X: schemes='PLAIN': a set of texts, as frozenset"),
        (with_schemes({1}), TypeError, "a set of texts"),
        (with_schemes({"PLANE"}), ValueError, "{'PLANE'}: no account could .* are .*PLAIN"),
        (with_schemes({"plain"}), ValueError, "no account could use it"),
        (with_schemes(frozenset()), ValueError, "no account could use it"),
        (MechanismInfo("X", None), TypeError, "X: begin=None: give a function"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_what_can_be_no_mechanism_is_refused(given: Any, error: type[Exception], said: str) -> None:
    server = made()
    before = list(server.mechanisms)
    with pytest.raises(error, match=said):
        server.mechanisms.add(given)
    assert list(server.mechanisms) == before


def test_schemes_are_given_as_any_set() -> None:
    server = made()
    server.mechanisms.add(with_schemes({"PLAIN"}))
    assert "X" in server.mechanisms


def test_what_is_not_there_is_neither_replaced_nor_removed() -> None:
    server = made(mechanisms=("PLAIN", "LOGIN"))
    with pytest.raises(ValueError, match="no mechanism X-REVERSED; there are: PLAIN, LOGIN"):
        server.mechanisms.replace(REVERSED)
    with pytest.raises(ValueError, match="no mechanism NTLM; there are: PLAIN, LOGIN"):
        server.mechanisms.remove("NTLM")


def test_ours_are_known_to_the_log_and_to_metrics() -> None:
    """Both have lists of names: what a client says without being known may be a secret."""
    ours = {each.name for each in vars(mechanisms).values() if isinstance(each, MechanismInfo)}
    assert {"PLAIN", "SCRAM-SHA-256-PLUS", "EXTERNAL"} <= ours
    for name in ours:
        assert name in safe_line(f"AUTH {name}".encode(), command_table(), in_exchange=False)
    assert ours <= set(MECHANISMS)
