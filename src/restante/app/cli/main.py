"""The `restante` command."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from restante import __version__
from restante.accounts.contract import AccountError
from restante.app.cert import DAYS, make_certificate
from restante.app.cli import bans, live, log, mail, user
from restante.app.cli.options import (
    FAILED,
    USAGE,
    ConfigOption,
    DataOption,
    SetOption,
    complain,
    complain_of_config,
    overrides,
)
from restante.app.config.checks import check
from restante.app.config.load import Override, load, read, show
from restante.app.config.problem import ConfigError
from restante.app.processes.admin_client import NoAnswer
from restante.app.processes.listen_sockets import StartError
from restante.app.run import serve
from restante.delivery.importer import SourceError
from restante.stores.contract import StoreError

app = typer.Typer(
    name="restante",
    help="A POP3 server, with SMTP and LMTP beside it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(user.app, name="user")
app.add_typer(log.app, name="log")
app.add_typer(bans.app, name="bans")
app.command("sessions")(live.sessions)
app.command("status")(live.status)
app.command("deliver")(mail.deliver)
app.command("import")(mail.import_)


def run(arguments: Sequence[str]) -> int:
    """Run a command line and give its exit status."""
    if list(arguments[:1]) == ["deliver"]:
        return mail.run_safely(lambda: _run(arguments))
    return _run(arguments)


def _run(arguments: Sequence[str]) -> int:
    try:
        app(list(arguments), prog_name="restante")
    except SystemExit as end:  # how the command line's own errors end, and everything else
        return end.code if isinstance(end.code, int) else 0
    except ConfigError as error:
        complain_of_config(error)
        return USAGE
    except (
        StartError,
        NoAnswer,
        AccountError,
        StoreError,
        SourceError,
        ValueError,
        OSError,
    ) as error:
        complain(str(error))
        return FAILED
    return 0


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"restante {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass


_FLAGS = (
    ("--host", ("pop3", "host")),
    ("--host", ("smtp", "host")),
    ("--host", ("lmtp", "host")),
    ("--pop3-port", ("pop3", "port")),
    ("--pop3s-port", ("pop3", "tls_port")),
    ("--smtp-port", ("smtp", "port")),
    ("--lmtp-port", ("lmtp", "port")),
    ("--workers", ("server", "workers")),
    ("--log-level", ("log", "level")),
    ("--log-format", ("log", "format")),
)


def _port_option(flag: str, key: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(flag, help=f'{key}; or "off".', metavar="PORT")
    return option


@app.command("serve")
def serve_command(
    *,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
    host: Annotated[
        str | None, typer.Option(help="Where all listen: pop3.host, smtp.host, lmtp.host.")
    ] = None,
    pop3_port: Annotated[str | None, _port_option("--pop3-port", "pop3.port")] = None,
    pop3s_port: Annotated[str | None, _port_option("--pop3s-port", "pop3.tls_port")] = None,
    smtp_port: Annotated[str | None, _port_option("--smtp-port", "smtp.port")] = None,
    lmtp_port: Annotated[str | None, _port_option("--lmtp-port", "lmtp.port")] = None,
    workers: Annotated[
        str | None, typer.Option(help="server.workers: processes that serve.", metavar="NUMBER")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="log.level")] = None,
    log_format: Annotated[str | None, typer.Option(help="log.format")] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Log all dialogues: log.protocol.")
    ] = False,
    ready_file: Annotated[
        Path | None, typer.Option(help="Write the addresses, as JSON, once all are listened on.")
    ] = None,
) -> None:
    """Run the server.

    Without a configuration file it makes what it needs: a data folder, a development
    certificate, and a first account whose password it shows once.
    """
    given = {
        "--host": host, "--pop3-port": pop3_port, "--pop3s-port": pop3s_port,
        "--smtp-port": smtp_port, "--lmtp-port": lmtp_port,
        "--workers": workers, "--log-level": log_level, "--log-format": log_format,
    }  # fmt: skip
    flags = [Override(flag, key, text) for flag, key in _FLAGS if (text := given[flag]) is not None]
    if debug:
        flags.append(Override("--debug", ("log", "protocol"), "true"))
    chosen = overrides(data, sets, flags)
    serve(read(config, overrides=chosen), lambda: load(config, overrides=chosen), ready_file)


@app.command("check-config")
def check_config(
    *,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
    effective: Annotated[
        bool, typer.Option("--show", help="Print what is in effect, secrets hidden.")
    ] = False,
) -> None:
    """Tell everything that is wrong with the configuration, or that nothing is."""
    loaded = read(config, overrides=overrides(data, sets))
    found = check(loaded)
    if found:
        complain_of_config(ConfigError(found))
    if effective:
        print(show(loaded.settings), end="")
    errors = sum(not problem.warning for problem in found)
    if errors:
        complain(f"{errors} mistake{'s' if errors > 1 else ''}")
        raise typer.Exit(USAGE)
    if not effective:
        print(f"{loaded.file or 'no configuration file'}: no mistakes")


@app.command()
def cert(
    *,
    names: Annotated[
        list[str] | None,
        typer.Option("--name", help="Host name or IP address; may be repeated. [localhost]"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path(),
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long it is valid.")] = DAYS,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Make a certificate for development, signed by itself."""
    certificate, key = out / "certificate.pem", out / "key.pem"
    try:
        make_certificate(certificate, key, names or ["localhost"], days=days, replace=force)
    except FileExistsError as error:
        raise FileExistsError(f"{error}; --force replaces it") from None
    until = time.strftime("%Y-%m-%d", time.localtime(time.time() + days * 86400))
    print(f"valid until {until}; for the configuration:", file=sys.stderr)
    print(f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"')
