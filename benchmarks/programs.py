"""The C programs: compiled when a measurement begins, where there is a compiler."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_SOURCES = Path(__file__).parent
_TLS = ("-DWITH_TLS", "-lssl", "-lcrypto")


class Programs:
    """The programs that could be compiled, in `folder`. `about` says what is missing.

    tls: those that make load can speak TLS, as OpenSSL's headers were found.
    """

    def __init__(self, folder: Path) -> None:
        folder = folder / "programs"
        folder.mkdir()
        self.tls = False
        self.about = "C"
        self._found: dict[str, Path] = {}
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            self.about = "Python (no C compiler: sessions a second may be the generator's limit)"
            return
        self.tls = _compiled(compiler, folder, "load", *_TLS)
        if not self.tls:
            self.about = "C for clear text, Python for TLS (no OpenSSL headers: libssl-dev)"
        options = _TLS if self.tls else ()
        for name in ("load", "hold", "ceiling"):
            if (name == "load" and self.tls) or _compiled(compiler, folder, name, *options):
                self._found[name] = folder / name

    def find(self, name: str) -> Path | None:
        """A program by its name."""
        return self._found.get(name)


def _compiled(compiler: str, folder: Path, name: str, *options: str) -> bool:
    command = [compiler, "-O2", "-o", str(folder / name), str(_SOURCES / f"{name}.c"), *options]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
