"""`restante conformance`: check any POP3 server against the RFCs and what clients stumble over."""

from __future__ import annotations

import os
import ssl
import sys
from pathlib import Path
from typing import Annotated

from restante.app.cli.command_line import Argument, Exit, Option, UsageError
from restante.app.cli.options import FAILED, complain

UNUSABLE = 3
"""The server isn't there, lets nobody in or gets no mail: checks were not made."""

PASSWORD = "RESTANTE_CONFORMANCE_PASSWORD"  # noqa: S105 - the variable's name


def conformance(
    *,
    host: Annotated[str | None, Argument(metavar="HOST", help="The server.")] = None,
    port: Annotated[
        int | None,
        Option("--port", help="Its port.  [110; 995 with --tls implicit]", min=1, max=65535),
    ] = None,
    tls: Annotated[
        str, Option("--tls", metavar="none|stls|implicit", help="How to speak TLS.  [none]")
    ] = "none",
    ca: Annotated[
        Path | None, Option("--ca", metavar="PEM", help="The authority of its certificate.")
    ] = None,
    insecure: Annotated[bool, Option("--insecure", help="Take any certificate.")] = False,
    user: Annotated[
        str | None, Option("--user", help="An account, for the checks after the login.")
    ] = None,
    password_stdin: Annotated[
        bool,
        Option("--password-stdin", help=f"Read its password from standard input; else {PASSWORD}."),
    ] = False,
    write: Annotated[
        bool, Option("--write", help="The account may be EMPTIED: check DELE and QUIT as well.")
    ] = False,
    seed: Annotated[
        str | None,
        Option(
            "--seed",
            metavar="WAY",
            help="How mail gets into it: smtp:HOST:PORT:RECIPIENT, lmtp:HOST:PORT:RECIPIENT, "
            "maildir:FOLDER, mbox:FILE, imap:HOST:PORT or imaps:HOST:PORT.",
        ),
    ] = None,
    slow: Annotated[bool, Option("--slow", help="Check idle time, too: 13 minutes.")] = False,
    timeout: Annotated[
        float, Option("--timeout", help="Seconds for each wait.  [10]", min=0.1, max=600)
    ] = 10.0,
    only: Annotated[
        list[str] | None, Option("--only", metavar="ID", help="Only this check, or this subject.")
    ] = None,
    skip: Annotated[
        list[str] | None, Option("--skip", metavar="ID", help="Not this check, or this subject.")
    ] = None,
    format: Annotated[
        str, Option("--format", metavar="table|json|junit", help="What to print.  [table]")
    ] = "table",
    fail_on: Annotated[
        str,
        Option(
            "--fail-on",
            metavar="must|should|breaks",
            help="Status 1 for failures of this level or a heavier one.  [must]",
        ),
    ] = "must",
    list_: Annotated[bool, Option("--list", help="List the checks; connect to nothing.")] = False,
) -> None:
    """Check a POP3 server: what it does right and wrong, and by which sentence.

    Nothing is changed unless --write is given. Exit status: 0 when all checks of the level
    --fail-on hold, 1 when one failed, 2 for a mistake on the command line, 3 when checks could
    not be made: the server isn't there, refuses the login, or gets no mail.
    """
    from restante.testing.conformance.levels import Level  # noqa: PLC0415 - only this command's
    from restante.testing.conformance.probe import Target  # noqa: PLC0415
    from restante.testing.conformance.report import FORMATS, as_list, rendered  # noqa: PLC0415
    from restante.testing.conformance.run import Outcome, Unusable, choose, run  # noqa: PLC0415
    from restante.testing.conformance.seed import parse_seed  # noqa: PLC0415

    levels = [each.value for each in Level]
    _one_of("--format", format, FORMATS)
    _one_of("--fail-on", fail_on, levels)
    try:
        checks = choose(only or (), skip or ())
        if list_:
            print(as_list(checks))
            return
        if host is None:
            raise UsageError("which HOST?")
        password = _password(user, password_stdin)
        if write != (seed is not None):
            raise UsageError("--write and --seed belong together: see --help")
        if write and (user is None or password is None):
            raise UsageError("--write needs --user")
        if ca is not None and not ca.is_file():
            raise UsageError(f"--ca {ca}: there is no such file")
        way = None
        if seed is not None and user is not None and password is not None:
            way = parse_seed(seed, user, password, _context(ca, insecure), timeout)
        target = Target(
            host=host,
            port=port or (995 if tls == "implicit" else 110),
            tls=tls,
            ca=ca,
            verify=not insecure,
            user=user,
            password=password,
            seed=way,
            slow=slow,
            timeout=timeout,
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    try:
        report = run(target, checks)
    except Unusable as error:
        complain(str(error))
        raise Exit(UNUSABLE) from None
    print(rendered(report, format))
    if report.failed(*list(Level)[: levels.index(fail_on) + 1]):
        raise Exit(FAILED)
    if left := report.count(Outcome.NOT_MADE):
        complain(f"{left} check{'' if left == 1 else 's'} could not be made")
        raise Exit(UNUSABLE)
    if not report.count(Outcome.PASSED) and not report.failed():
        complain("nothing was checked: none of these checks is applicable")
        raise Exit(UNUSABLE)


def _one_of(option: str, given: str, allowed: list[str] | tuple[str, ...]) -> None:
    if given not in allowed:
        raise UsageError(f"{option} {given}: one of {', '.join(allowed)}")


def _password(user: str | None, from_stdin: bool) -> str | None:
    """The account's password. Raises UsageError."""
    if user is None:
        if from_stdin:
            raise UsageError("--password-stdin needs --user")
        return None
    found = sys.stdin.readline().rstrip("\r\n") if from_stdin else os.environ.get(PASSWORD)
    if not found:
        raise UsageError(f"--user needs a password: --password-stdin, or {PASSWORD}")
    return found


def _context(ca: Path | None, insecure: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
