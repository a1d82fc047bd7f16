"""`restante fake`: a throw-away server for tests in any language, and for CI."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO

from restante.app.cli.command_line import Option, UsageError

if TYPE_CHECKING:  # --help needs none of them
    from restante.testing import MailAccount, MailServer

FOREVER = 1e9
PORT = {"min": 0, "max": 65535}


def fake(
    *,
    mail: Annotated[
        Path | None,
        Option(
            help="A folder: its .eml files are everybody's mail, and a folder in it with an"
            " account's name holds that account's (files of any kind that `import` reads)."
        ),
    ] = None,
    account: Annotated[
        list[str] | None,
        Option(help="An account and its password; may be given again.", metavar="NAME:PASSWORD"),
    ] = None,
    any_login: Annotated[
        bool, Option("--any-login", help="Every name is an account's, with any password.")
    ] = False,
    fault: Annotated[
        list[str] | None,
        Option(help="Fail so, as RETR:reset-after=100; may be given again.", metavar="FAULT"),
    ] = None,
    events: Annotated[
        Path | None, Option(help="Write what happens to this file, as lines of JSON.")
    ] = None,
    ports_file: Annotated[
        Path | None,
        Option(help="Write host and ports to this file, as JSON, once they are listened on."),
    ] = None,
    ca_file: Annotated[
        Path | None, Option(help="Write the certificate that clients have to trust to this file.")
    ] = None,
    no_tls: Annotated[bool, Option("--no-tls", help="Neither STLS nor a port with TLS.")] = False,
    host: Annotated[str, Option(help="Where to listen.  [127.0.0.1]")] = "127.0.0.1",
    pop3_port: Annotated[int, Option(help="Of POP3.  [any that is free]", **PORT)] = 0,
    pop3s_port: Annotated[int, Option(help="Of POP3 inside TLS.  [any]", **PORT)] = 0,
    smtp_port: Annotated[int, Option(help="Of SMTP.  [any]", **PORT)] = 0,
    seconds: Annotated[
        float | None, Option(help="End after so many.  [at a signal]", min=0, max=FOREVER)
    ] = None,
) -> None:
    """Run a throw-away server for tests, which may fail on purpose.

    Mail comes in by SMTP and goes out by POP3. It is in memory, and nobody is delayed or banned
    for wrong passwords. The command prints its ports, and ends at SIGTERM or SIGINT. Never use
    it where others can reach it.
    """
    if not account and not any_login:
        raise UsageError("nobody could log in: give --account NAME:PASSWORD or --any-login")
    if no_tls and (pop3s_port or ca_file):
        raise UsageError("--no-tls: there is neither a --pop3s-port nor a --ca-file then")
    from restante.testing import MailServer  # noqa: PLC0415
    from restante.testing.faults import FaultError  # noqa: PLC0415

    letters = _Letters(mail)
    for option, path in (("--ports-file", ports_file), ("--ca-file", ca_file)):
        _check_file(option, path)
    with _signals(), _written(events) as file:
        try:
            server = MailServer(
                certificate=None if no_tls else "valid",
                smtp=True,
                any_login=letters.give if any_login else False,
                faults=fault or (),
                host=host,
                port=pop3_port,
                tls_port=pop3s_port,
                smtp_port=smtp_port,
                allow_plaintext=True,
            )
        except FaultError as error:
            raise UsageError(f"--fault {error}") from None
        except ImportError as error:
            raise UsageError(f"{error}; or give --no-tls") from None
        with _closing(server):
            for each in account or ():
                letters.give(_account(server, each))
            letters.check(server, any_login)
            told = _Events(server, file)
            told.watch()
            try:
                server.start()
            except OSError as error:
                if error.errno in (errno.EADDRINUSE, errno.EACCES):
                    raise  # it names the port
                raise UsageError(f"--host {host}: {error.strerror}") from None
            where = _where(server, not no_tls)
            if ca_file is not None:
                with _writing("--ca-file", ca_file):
                    shutil.copyfile(server.ca.path, ca_file)
                where["ca_file"] = str(ca_file.absolute())
            told.tell("ready", **where)
            _announce(where, ports_file)
            try:
                server.wait_until(told.tell_what_came, FOREVER if seconds is None else seconds)
            except (TimeoutError, _Ended):
                pass
            finally:
                if ports_file is not None:
                    ports_file.unlink(missing_ok=True)
        told.tell_what_came()
        told.tell("ended")


class _Ended(Exception):
    """A signal has come."""


@contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM and SIGINT raise `_Ended` within; one that comes too early or late ends us, too."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)  # what is left to do takes no time
        raise _Ended

    before = {each: signal.signal(each, end) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except _Ended:
        pass
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def _closing(server: MailServer) -> Iterator[None]:
    try:
        yield
    finally:
        server.close()


@contextmanager
def _written(path: Path | None) -> Iterator[TextIO | None]:
    if path is None:
        yield None
        return
    _check_file("--events", path)
    with _writing("--events", path):
        file = path.open("w", encoding="utf-8")
    with file:
        yield file


def _check_file(option: str, path: Path | None) -> None:
    """Raise UsageError for a path at which there can be no file."""
    if path is not None and path.is_dir():
        raise UsageError(f"{option} {path}: it is a folder; name a file in it")
    if path is not None and not path.absolute().parent.is_dir():
        raise UsageError(f"{option} {path}: there is no folder {path.parent}")


@contextmanager
def _writing(option: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror or error}") from None


def _account(server: MailServer, text: str) -> MailAccount:
    name, colon, password = text.partition(":")
    if not colon:
        raise UsageError("--account: allowed is NAME:PASSWORD")
    try:
        return server.account(name, password)
    except ValueError as error:
        raise UsageError(f"--account {name}: {error}") from None


class _Letters:
    """The mail of `--mail`. Everybody's is read once."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._given: set[str] = set()
        self._everybodys: list[bytes] = []
        if folder is not None:
            if not folder.is_dir():
                raise UsageError(f"--mail {folder}: there is no such folder")
            files = [each for each in sorted(folder.glob("*.eml")) if each.is_file()]
            self._everybodys = [each.read_bytes() for each in files]

    def give(self, account: MailAccount) -> None:
        """Put an account's mail into its maildrop."""
        from restante.delivery import iter_messages  # noqa: PLC0415

        owner = account.name.partition("@")[0].lower()
        if owner in self._given:
            return  # another name of the same maildrop
        self._given.add(owner)
        for each in self._everybodys:
            account.add(each)
        own = next((f for f in self._folders() if f.name in (account.name, owner)), None)
        if own is not None:
            for message in iter_messages(own):
                account.add(b"".join(message.blocks()))

    def _folders(self) -> Sequence[Path]:
        return () if self._folder is None else [f for f in self._folder.iterdir() if f.is_dir()]

    def check(self, server: MailServer, any_login: bool) -> None:
        """Raise UsageError for mail that nobody could read."""
        for each in self._folders():
            if not any_login and each.name not in server.accounts:
                raise UsageError(
                    f"--mail: {each} is nobody's: give --account {each.name}:PASSWORD"
                    " or --any-login"
                )


def _where(server: MailServer, tls: bool) -> dict[str, Any]:
    ports: dict[str, Any] = {"host": server.host, "pop3": server.port, "smtp": server.smtp_port}
    return ports | ({"pop3s": server.tls_port} if tls else {})


def _announce(where: dict[str, Any], file: Path | None) -> None:
    for name, title in (("pop3", "POP3"), ("pop3s", "POP3 inside TLS"), ("smtp", "SMTP")):
        if name in where:
            print(f"{title} on {where['host']} port {where[name]}")
    sys.stdout.flush()
    if file is not None:  # it is whole when it is there
        draft = file.with_name(f"{file.name}.{os.getpid()}")
        try:
            with _writing("--ports-file", file):
                draft.write_text(json.dumps(where) + "\n")
                draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)


class _Events:
    """What happens, as lines of JSON. Secrets are shown as `****`."""

    def __init__(self, server: MailServer, file: TextIO | None) -> None:
        self._server = server
        self._file = file
        self._lock = Lock()
        self._delivered = self._fired = 0

    def tell(self, event: str, **values: Any) -> None:
        """Write one line."""
        if self._file is None:
            return
        now = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"event": event, "at": now, **values}, ensure_ascii=False)
        with self._lock:
            if not self._file.closed:
                self._file.write(line.encode("utf-8", "backslashreplace").decode() + "\n")
                self._file.flush()

    def tell_what_came(self) -> bool:
        """Tell of mail that came in and of faults that happened. Never true: to be waited for."""
        for each in self._server.delivered[self._delivered :]:
            self._delivered += 1
            self.tell(
                "delivered", sender=each.sender, recipient=each.recipient,
                unique_id=each.unique_id, octets=each.octets,
            )  # fmt: skip
        faults = self._server.faults
        new, self._fired = faults.count - self._fired, faults.count
        for fired in [*faults.fired][-new:] if new else ():
            session = fired.session.id if fired.session is not None else None
            self.tell("fault", session=session, fault=str(fired.fault))
        return False

    def watch(self) -> None:
        """Tell what happens in the sessions of POP3."""
        from restante.app.cli.fake_events import Departures, Watcher  # noqa: PLC0415
        from restante.testing.wire import wiring_of  # noqa: PLC0415

        if self._file is not None:
            watcher = Watcher(self.tell)
            self._server.pop3.observe(watcher)
            wiring_of(self._server.pop3).taps.append(Departures(watcher))
