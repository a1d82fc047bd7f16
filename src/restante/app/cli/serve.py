"""`restante serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from restante.app.cli.command_line import Option
from restante.app.cli.options import ConfigOption, DataOption, SetOption, overrides
from restante.app.owner import refuse_root

_FLAGS = (
    ("--host", ("pop3", "host")),
    ("--host", ("smtp", "host")),
    ("--host", ("lmtp", "host")),
    ("--pop3-port", ("pop3", "port")),
    ("--pop3s-port", ("pop3", "tls_port")),
    ("--smtp-port", ("smtp", "port")),
    ("--lmtp-port", ("lmtp", "port")),
    ("--console-port", ("console", "port")),
    ("--workers", ("server", "workers")),
    ("--log-level", ("log", "level")),
    ("--log-format", ("log", "format")),
)

CONSOLE_PORT = 1180
"""Where `--console` has the console listen, on this machine only."""


def _port_option(flag: str, key: str) -> Option:
    return Option(flag, help=f'{key}; or "off".', metavar="PORT")


def serve(
    *,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
    host: Annotated[
        str | None, Option(help="Where all listen: pop3.host, smtp.host, lmtp.host.")
    ] = None,
    pop3_port: Annotated[str | None, _port_option("--pop3-port", "pop3.port")] = None,
    pop3s_port: Annotated[str | None, _port_option("--pop3s-port", "pop3.tls_port")] = None,
    smtp_port: Annotated[str | None, _port_option("--smtp-port", "smtp.port")] = None,
    lmtp_port: Annotated[str | None, _port_option("--lmtp-port", "lmtp.port")] = None,
    console_port: Annotated[str | None, _port_option("--console-port", "console.port")] = None,
    console: Annotated[
        bool,
        Option(
            "--console", help="Start the console, too, where no configuration file says otherwise."
        ),
    ] = False,
    workers: Annotated[
        str | None, Option(help="server.workers: processes that serve.", metavar="NUMBER")
    ] = None,
    log_level: Annotated[str | None, Option(help="log.level")] = None,
    log_format: Annotated[str | None, Option(help="log.format")] = None,
    debug: Annotated[bool, Option("--debug", help="Log all dialogues: log.protocol.")] = False,
    ready_file: Annotated[
        Path | None, Option(help="Write the addresses, as JSON, once all are listened on.")
    ] = None,
) -> None:
    """Run the server.

    Without a configuration file it makes what it needs: a data folder, a development
    certificate, and a first account whose password it shows once.
    """
    from restante.app.config.load import Override, find_file, load, read  # noqa: PLC0415 - --help needs none

    given = {
        "--host": host, "--pop3-port": pop3_port, "--pop3s-port": pop3s_port,
        "--smtp-port": smtp_port, "--lmtp-port": lmtp_port,
        "--console-port": console_port, "--workers": workers,
        "--log-level": log_level, "--log-format": log_format,
    }  # fmt: skip
    flags = [Override(flag, key, text) for flag, key in _FLAGS if (text := given[flag]) is not None]
    if debug:
        flags.append(Override("--debug", ("log", "protocol"), "true"))
    chosen = overrides(data, sets, flags)
    if console and find_file(config) is None and "RESTANTE_CONSOLE__PORT" not in os.environ:
        # First, so that all others go before it.
        chosen.insert(0, Override("--console", ("console", "port"), str(CONSOLE_PORT)))
    loaded = read(config, overrides=chosen)
    refuse_root(loaded.settings.server.data)
    from restante.app.run import serve as run  # noqa: PLC0415

    run(loaded, lambda: load(config, overrides=chosen), ready_file)
