"""The pages tell the truth: their code runs, their names exist, their links lead somewhere."""

from __future__ import annotations

import ast
import importlib
import inspect
import poplib
import re
import subprocess
import sys
import time
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

import restante
from restante.protocol.table import CommandTable
from restante.server.client import Mailbox
from restante.server.debug_log import DebugLog
from restante.server.hooks import EVENTS, Events
from restante.server.server import Pop3Server
from restante.server.settings import Settings
from tests.conftest import Authority
from tests.needs import only_cpython
from tests.ports import free_port
from tests.postgres_server import postgres

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
POSTGRESQL = re.compile(r"^```python postgresql\n(.*?)^```", re.M | re.S)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def python_of(page: Path) -> str:
    return "\n".join(BLOCK.findall(page.read_text()))


def connect(port: int) -> poplib.POP3:
    until = time.monotonic() + 20
    while True:
        try:
            return poplib.POP3("127.0.0.1", port, timeout=10)
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def test_the_readme_example_serves_a_client(tmp_path: Path) -> None:
    port = free_port()
    code = BLOCK.findall((ROOT / "README.md").read_text())[0]
    assert "port=2110" in code  # 1110 is that of the server that the page has just started
    code = code.replace("2110", str(port))
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        client = connect(port)
        client.user("joe")
        client.pass_("secret")
        assert client.list()[1] == []
        client.quit()
        output, _ = process.communicate("\n", timeout=20)
    finally:
        process.kill()
        process.wait()
    assert "LIST by joe" in output


@only_cpython
def test_the_example_of_postgresql_makes_its_tables_and_serves_a_client(
    tmp_path: Path, authority: Authority
) -> None:
    (code,) = POSTGRESQL.findall((ROOT / "docs" / "embedding.md").read_text())
    port = free_port()
    with postgres(authority.certificate.files()[0]) as database:
        for old, new in (
            ("postgresql://restante:secret@db.example.org/mail", database.dsn),
            ("2110", str(port)),
        ):
            assert old in code
            code = code.replace(old, new)
        with subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                client = connect(port)
                client.user("joe")
                client.pass_("secret")
                assert b"Subject: Hello" in client.retr(1)[1]
                client.quit()
                output, _ = process.communicate("\n", timeout=20)
            finally:
                process.kill()
    assert output == f"Port {port}; Enter ends it.\n"
    assert process.returncode == 0


@pytest.mark.parametrize(
    "page", [page for page in PAGES[1:] if python_of(page)], ids=lambda page: page.name
)
def test_a_page_runs(page: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", python_of(page)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_installing_names_every_extra_that_a_server_can_use() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    text = (ROOT / "docs" / "operating.md").read_text()
    named = re.findall(r"`(\w+)`", text.split("## Installing")[1].split("\n## ")[0])
    assert set(extras) - {"argon2", "testing"} <= set(named)  # argon2 comes with `server`


def test_all_settings_and_events_are_in_the_embedding_guide() -> None:
    text = (ROOT / "docs" / "embedding.md").read_text()
    signature = inspect.signature(Pop3Server.__init__)
    names = {each.name for each in fields(Settings)} | set(signature.parameters)
    for name in names - {"self", "settings"} | set(EVENTS):
        assert f"`{name}`" in text, name
    table = text.split("## All settings")[1]
    documented = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]+)\|", table, re.M))))
    assert documented == names - {"self", "settings"}


def test_defaults_in_the_embedding_guide_are_the_real_ones() -> None:
    table = (ROOT / "docs" / "embedding.md").read_text().split("## All settings")[1]
    told: dict[str, str] = {}
    for names, values in re.findall(r"^\| (`[^|]+) \| ([^|]+?) \|", table, re.M):
        told.update(zip(re.findall(r"`(\w+)`", names), values.split(", "), strict=False))
    for each in fields(Settings):
        if each.name == "hostname":
            continue
        value = told[each.name].strip("`")
        if isinstance(each.default, tuple):
            assert " ".join(each.default) == value, each.name
            continue
        default = str(each.default) or "empty"
        assert default == value or float(default) == float(value), each.name


CLASSES = {
    "CommandTable": CommandTable,
    "DebugLog": DebugLog,
    "Events": Events,
    "Mailbox": Mailbox,
    "Settings": Settings,
}


def test_counterparts_exist() -> None:
    text = (ROOT / "docs" / "clever.md").read_text()
    cells = [row.split("|")[2] for row in text.splitlines() if row.startswith("| ")][1:]
    spans = [span for cell in cells for span in re.findall(r"`([^`]+)`", cell)]
    assert len(spans) > 40
    for span in spans:
        owner, _, member = re.sub(r"\(.*\)", "", span).partition(".")
        if owner == "restante":
            importlib.import_module(span)
            continue
        found = CLASSES.get(owner) or getattr(restante, owner)
        if member:
            assert hasattr(found, member) or member in inspect.get_annotations(found), span
        if argument := re.search(r"\((\w+)=", span):
            assert argument[1] in inspect.signature(found).parameters, span


def test_every_event_has_its_row() -> None:
    text = (ROOT / "docs" / "clever.md").read_text()
    for event in EVENTS:
        assert f"`Events.on_{event}`" in text, event


# Public names

PUBLIC = (
    "restante",
    "restante.accounts",
    "restante.delivery",
    "restante.observing",
    "restante.sasl",
    "restante.server",
    "restante.stores",
    "restante.testing",
    "restante.testing.faults",
)
CODE = re.compile(r"^```python[^\n]*\n(.*?)^```", re.M | re.S)


def sources_shown() -> list[tuple[str, str]]:
    """What users copy: the Python of the pages, whether it is run or not, and the examples."""
    pages = [(page.name, "\n".join(CODE.findall(page.read_text()))) for page in PAGES]
    examples = [(each.name, each.read_text()) for each in (ROOT / "examples").glob("*.py")]
    return [(name, code) for name, code in pages + examples if "import" in code]


@pytest.mark.parametrize(("name", "code"), sources_shown(), ids=lambda text: text[:20])
def test_only_public_names_are_shown(name: str, code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            ours = [each.name for each in node.names if each.name.startswith("restante")]
            assert set(ours) <= {"restante"}, name
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("restante"):
            assert node.module in PUBLIC, (name, node.module)
            public = importlib.import_module(node.module).__all__
            assert {each.name for each in node.names} <= set(public), (name, node.module)
