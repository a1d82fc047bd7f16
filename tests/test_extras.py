"""What is said of a library that an extra brings and that can't be used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from restante.extras import install_command, missing


def test_what_is_not_installed_can_be_installed() -> None:
    text = missing("oauth", "OAuth", "joserfc", ModuleNotFoundError("No module named 'joserfc'"))
    assert text == "OAuth needs joserfc: pip install 'restante[oauth]'"


def test_in_the_environment_of_scripts_serve_it_comes_from_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = Path(__file__).parents[1]
    monkeypatch.setattr(sys, "prefix", str(checkout / ".venv-serve"))
    monkeypatch.chdir(checkout)
    text = missing("metrics", "metrics.port", "prometheus-client", ModuleNotFoundError("x"))
    assert text.endswith(": .venv-serve/bin/pip install --editable '.[metrics]'")
    monkeypatch.chdir(tmp_path)
    assert install_command("console") == (
        f"{checkout}/.venv-serve/bin/pip install --editable '{checkout}[console]'"
    )


def test_what_has_to_be_built_says_what_that_needs() -> None:
    text = missing("kerberos", "Kerberos", "gssapi", ModuleNotFoundError("gssapi"))
    assert text == (
        "Kerberos needs gssapi: pip install 'restante[kerberos]'"
        " (to build it, install libkrb5-dev and a C compiler first)"
    )


def test_what_is_installed_and_cannot_be_loaded_is_not_to_be_installed() -> None:
    error = ImportError("libgssapi_krb5.so.2: cannot open shared object file")
    text = missing("kerberos", "Kerberos", "gssapi", error)
    assert text == (
        "Kerberos needs gssapi, which is installed but can't be loaded:"
        " libgssapi_krb5.so.2: cannot open shared object file"
    )
    assert "pip install" not in text


@pytest.mark.parametrize(
    ("library", "use"),
    [
        ("gssapi", "from restante.accounts.kerberos import Kerberos; Kerberos('keytab')"),
        (
            "httpx2",
            "from restante.accounts.oauth import OAuth; OAuth(issuer='https://x', audience='y')",
        ),
        (
            "bcrypt",
            "from restante.accounts.schemes import verify\n"
            "verify('{BLF-CRYPT}$2y$05$' + 'a' * 53, 'x')",
        ),
        (
            "asyncpg",
            "from restante.accounts.postgres import PostgresAccounts\n"
            "PostgresAccounts('postgresql://h/d', lookup='SELECT {name}')",
        ),
    ],
)
def test_so_it_is_told_by_those_who_need_it(library: str, use: str, tmp_path: Path) -> None:
    (tmp_path / f"{library}.py").write_text("raise ImportError('libx.so.2: cannot open')\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", use], env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr.splitlines()[-1].endswith("can't be loaded: libx.so.2: cannot open")
