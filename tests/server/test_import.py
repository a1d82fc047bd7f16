"""`import restante` is light: standard library only, and nothing that one system alone has."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTRAS = {
    *("aiosmtpd", "cryptography", "argon2", "uvloop", "rich"),
    *("gssapi", "bcrypt", "passlib", "joserfc", "httpx2", "asyncpg", "aiomysql", "pam"),
}
UNIX_ONLY = ["fcntl", "pwd", "grp", "resource", "termios"]
APART = (  # what belongs to extras
    *("restante.app", "restante.delivery", "restante.testing"),
    *(
        "restante.accounts.oauth.",
        "restante.accounts.pam_helper",
        "restante.accounts.kerberos_acceptor",
    ),
)


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", code, str(ROOT / "src")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_it_loads_the_standard_library_only(
    record_property: Callable[[str, object], None],
) -> None:
    code = """
import json, sys, time
before = set(sys.modules)
sys.path.insert(0, sys.argv[1])
begun = time.perf_counter()
import restante
print(json.dumps([time.perf_counter() - begun, sorted(set(sys.modules) - before)]))
"""
    seconds, modules = json.loads(run(code))
    record_property("import_seconds", seconds)
    foreign = {name.partition(".")[0] for name in modules} - sys.stdlib_module_names - {"restante"}
    assert {name for name in foreign if not name.startswith("_")} == set()
    assert not EXTRAS & {name.partition(".")[0] for name in modules}
    assert not [name for name in modules if name.startswith(APART)]


def test_no_module_of_the_component_needs_what_only_unix_has() -> None:
    code = f"""
import importlib, json, pkgutil, sys
for name in {UNIX_ONLY!r}:
    sys.modules[name] = None
sys.path.insert(0, sys.argv[1])
import restante
names = ["restante"]
for found in pkgutil.walk_packages(restante.__path__, "restante."):
    if not found.name.startswith({APART!r}):
        importlib.import_module(found.name)
        names.append(found.name)
print(json.dumps(names))
"""
    names = json.loads(run(code))
    assert {"restante.server.server", "restante.protocol.session"} <= set(names)
    assert "restante.stores.maildir.store" in names


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_the_component_works_without_the_extras(extra: str) -> None:
    code = f"""
import sys
sys.modules[{extra!r}] = None
sys.path.insert(0, sys.argv[1])
from restante import MemoryStore, Pop3Server
import poplib
store = MemoryStore()
store.add("joe", b"hello\\n")
with Pop3Server(port=0, accounts={{"joe": "secret"}}, store=store) as server:
    client = poplib.POP3("127.0.0.1", server.port)
    client.user("joe")
    client.pass_("secret")
    print(client.stat())
    client.quit()
"""
    assert run(code) == "(1, 7)\n"


def test_every_public_name_comes_when_it_is_asked_for() -> None:
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import restante
assert "asyncio" not in sys.modules and "restante.server.server" not in sys.modules
for name in restante.__all__:
    getattr(restante, name)
assert set(restante.__all__) <= set(dir(restante))
"""
    assert run(code) == ""
