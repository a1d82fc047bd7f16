"""The `restante` command. Each of its commands is imported when it is called."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from restante import __version__
from restante.app.cli.command_line import Exit, Group, Lazy, UsageError, execute
from restante.app.cli.options import FAILED, USAGE, complain, complain_of_config
from restante.app.config.problem import ConfigError
from restante.app.errors import NoAnswer, StartError
from restante.extras import install_command

_HERE = "restante.app.cli"

HUNG_UP = 128 + 13
"""Exit status when nobody reads on what is printed: a shell's for a command that SIGPIPE ended."""

COMMANDS = Group(
    "A POP3 server, with SMTP and LMTP beside it.",
    {
        "serve": Lazy(f"{_HERE}.serve:serve", "Run the server."),
        "try": Lazy(f"{_HERE}.try_it:try_it", "Send a message to the running server and read it."),
        "user": Lazy(f"{_HERE}.user:app", "Add, change, list and remove accounts."),
        "bans": Lazy(f"{_HERE}.bans:app", "Who is turned away or slowed down, and who shall be."),
        "log": Lazy(
            f"{_HERE}.log:app",
            "Log the dialogue of an account or an address, while the server runs.",
        ),
        "sessions": Lazy(f"{_HERE}.live:sessions", "List the live sessions of a running server."),
        "explain": Lazy(
            f"{_HERE}.explain:explain",
            "Say what an account's clients did, and what happened to its messages.",
        ),
        "client-settings": Lazy(
            f"{_HERE}.client_settings:client_settings", "Print what to type into mail programs."
        ),
        "status": Lazy(f"{_HERE}.live:status", "List the processes that serve."),
        "console": Lazy(f"{_HERE}.console:app", "Who may log in to the console."),
        "deliver": Lazy(f"{_HERE}.mail:deliver", "Deliver the message on standard input."),
        "import": Lazy(f"{_HERE}.mail:import_", "Import mail from files, which stay as they are."),
        "collect": Lazy(
            f"{_HERE}.store:collect", "Remove for good what sessions have removed some time ago."
        ),
        "db": Lazy(f"{_HERE}.db:db", "The tables of a store in PostgreSQL."),
        "undelete": Lazy(
            f"{_HERE}.undelete:undelete", "Put back what was removed from a maildrop lately."
        ),
        "leases": Lazy(
            f"{_HERE}.store:leases", "Which maildrops sessions have, and taking one away."
        ),
        "migrate": Lazy(
            f"{_HERE}.migrate:migrate",
            "Move maildrops from other servers and stores, and back, with their unique-ids.",
        ),
        "check-config": Lazy(
            f"{_HERE}.check:check_config", "Say everything that is wrong with the configuration."
        ),
        "conformance": Lazy(
            f"{_HERE}.conformance:conformance",
            "Check a POP3 server: what it does right and wrong, and by which sentence.",
        ),
        "show": Lazy(
            f"{_HERE}.show:show",
            "Print files for systemd, fail2ban, logrotate, Grafana, Prometheus, HAProxy and"
            " containers.",
        ),
        "fake": Lazy(
            f"{_HERE}.fake:fake", "Run a throw-away server for tests, which may fail on purpose."
        ),
        "cert": Lazy(f"{_HERE}.cert:cert", "Make a certificate for development, signed by itself."),
    },
    example="serve",
)


def run(arguments: Sequence[str]) -> int:
    """Run a command line and give its exit status.

    Quietly, where whoever reads what is printed has gone, such as `head`.
    """
    try:
        status = _status(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        if not (left := [each for each in (sys.stdout, sys.stderr) if _has_no_reader(each)]):
            raise
        for each in left:  # whatever is still to be written there, at the exit
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), each.fileno())
        return HUNG_UP
    return status


def _has_no_reader(stream: TextIO) -> bool:
    """Whether it is a pipe or a socket whose other end is closed."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), 0)
        return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
    except AttributeError:  # a system without poll: it is likely
        return True
    except (OSError, ValueError):  # no file at all
        return False


def _status(arguments: Sequence[str]) -> int:
    if list(arguments[:1]) == ["deliver"]:
        from restante.app.cli.mail import run_safely  # noqa: PLC0415 - that command's own

        return run_safely(lambda: _run(arguments))
    if list(arguments) == ["--version"]:
        print(f"restante {__version__}")
        return 0
    return _run(arguments)


def _run(arguments: Sequence[str]) -> int:
    status, texts = _outcome(lambda: execute(COMMANDS, arguments, "restante"))
    for text in texts:
        complain(text)
    return status


def _outcome(command: Callable[[], None]) -> tuple[int, Sequence[str]]:
    """The exit status, and what there is to say. Mistakes of the program's are raised."""
    try:
        command()
    except Exit as end:
        return end.status, ()
    except SystemExit as end:  # of argparse, which has said all
        return end.code if isinstance(end.code, int) else 0, ()
    except ConfigError as error:
        complain_of_config(error)
        return USAGE, ()
    except UsageError as error:
        return USAGE, [str(error)]
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("restante"):
            raise
        return USAGE, [f"{error.name} is missing: {install_command('server')}"]
    except StartError as error:
        return FAILED, str(error).splitlines()
    except BrokenPipeError as error:
        if _has_no_reader(sys.stdout) or _has_no_reader(sys.stderr):
            raise
        return FAILED, [str(error)]
    except (NoAnswer, ValueError, OSError) as error:
        return FAILED, [str(error)]
    except Exception as error:
        if not isinstance(error, _errors_of_stores()):
            raise
        return FAILED, [str(error)]
    return 0, ()


def _errors_of_stores() -> tuple[type[Exception], ...]:
    """Errors that are told in a sentence; looked up when there is one."""
    from restante.accounts.contract import AccountError  # noqa: PLC0415
    from restante.delivery.sources import SourceError  # noqa: PLC0415
    from restante.stores.contract import StoreError  # noqa: PLC0415

    return AccountError, SourceError, StoreError
