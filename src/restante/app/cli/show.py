"""`restante show`: files for other programs, as they come with Restante."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from restante.app.cli.command_line import Argument, Option, UsageError

SHIPPED = Path(__file__).parents[1] / "shipped"

FOLDERS = {
    "systemd": Path("/etc/systemd/system"),
    "fail2ban": Path("/etc/fail2ban"),
    "logrotate": Path("/etc/logrotate.d"),
    "grafana": Path("/var/lib/grafana/dashboards"),
    "alerts": Path("/etc/prometheus/rules"),
    "haproxy": Path("/etc/haproxy"),
    "compose": Path(),
    "kubernetes": Path(),
}
"""Where the files of each kind belong."""

_PROGRAM = "/opt/restante/bin/restante"


def show(
    *,
    what: Annotated[str, Argument(help=f"One of: {', '.join(FOLDERS)}.")],
    to: Annotated[
        Path | None, Option("--to", help="Write the files below this folder, e.g. /etc/fail2ban.")
    ] = None,
) -> None:
    """Print files for systemd, fail2ban, logrotate, Grafana, Prometheus, HAProxy and containers.

    Each goes where the comment before it says. With --to they are written below a folder; files
    that are there already are replaced.
    """
    if what not in FOLDERS:
        raise UsageError(f"{what!r}: known are {', '.join(FOLDERS)}")
    for name, text in files(what):
        if to is None:
            print(f"# {FOLDERS[what] / name}\n{text}", end="")
        else:
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            (to / name).write_text(text, "utf-8")
            print(to / name)


def files(what: str) -> list[tuple[Path, str]]:
    """The files of one kind: their places below its folder, and their text."""
    folder = SHIPPED / what
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    program = str(Path(sys.prefix) / "bin" / "restante")
    # Elsewhere than in a virtual environment nobody can say where the command is.
    known = sys.prefix != sys.base_prefix and Path(program).exists()
    return [
        (path.relative_to(folder), text.replace(_PROGRAM, program) if known else text)
        for path in found
        for text in [path.read_text("utf-8")]
    ]
