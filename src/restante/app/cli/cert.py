"""`restante cert`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

from restante.app.cli.command_line import Option
from restante.app.owner import become_owner_of


def cert(
    *,
    names: Annotated[
        list[str] | None,
        Option("--name", help="Host name or IP address; may be repeated. [localhost]"),
    ] = None,
    out: Annotated[Path, Option(help="Folder to write to.")] = Path(),
    days: Annotated[int, Option(min=1, max=3650, help="How long it is valid.")] = 365,
    force: Annotated[bool, Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Make a certificate for development, signed by itself."""
    from restante.app.cert import make_certificate  # noqa: PLC0415 - --help needs none

    become_owner_of(out)
    certificate, key = out / "certificate.pem", out / "key.pem"
    try:
        make_certificate(certificate, key, names or ["localhost"], days=days, replace=force)
    except FileExistsError as error:
        raise FileExistsError(f"{error}; --force replaces it") from None
    until = time.strftime("%Y-%m-%d", time.localtime(time.time() + days * 86400))
    print(f"valid until {until}; for the configuration:", file=sys.stderr)
    print(f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"')
