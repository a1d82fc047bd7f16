"""A server with a console, a Chromium to look at it with, and axe to look at what it shows."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from restante.accounts.sqlite import SqliteAccounts
from tests.app.support import PASSWORD, Server
from tests.console.site import ADMIN, ADMIN_PASSWORD, Site, prepare
from tests.needs import missing, need
from tests.peers.scripted import NODE_MODULES

ONLY_CPYTHON = (
    "playwright is not installed"
    if sys.implementation.name == "cpython"
    else "only for CPython playwright is installed"
)

pytest.importorskip("starlette")
pytest.importorskip("playwright", reason=ONLY_CPYTHON)

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)  # fmt: skip

__all__ = ["ADMIN", "ADMIN_PASSWORD", "PASSWORD", "SqliteAccounts"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A running server with a console, accounts and mail."""
    folder = tmp_path_factory.mktemp("site")
    prepare(folder)
    with Server(folder, "--console-port", "0", "--workers", "2") as server:
        yield Site(server)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser. Closed with the module, as others' tests have event loops of their own."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - not everywhere

    program = need("chromium", package="chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any, site: Site) -> Iterator[Any]:
    """A page of a new browser that nobody has logged in with. Its errors fail the test."""
    context = chromium.new_context(base_url=site.url, viewport={"width": 1280, "height": 860})
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on(
        "console",
        lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None,
    )
    yield opened
    context.close()
    assert wrong == []


@pytest.fixture
def admin(page: Any, site: Site) -> Any:
    """The page of an administrator who has logged in."""
    site.log_in(page)
    return page


@pytest.fixture
def axe() -> Callable[[Any], list[str]]:
    """What axe finds wrong with a page, of what is serious."""
    folders = [NODE_MODULES, *map(Path, filter(None, [os.environ.get("NODE_PATH")]))]
    program = next(
        (each for f in folders if (each := f / "axe-core" / "axe.min.js").exists()), None
    )
    if program is None:
        missing("axe-core is not installed (npm package)")

    def found(page: Any) -> list[str]:
        page.evaluate(program.read_text("utf-8"))  # not a script of the page: its policy holds
        result = page.evaluate("axe.run({resultTypes: ['violations']})")
        return [
            f"{each['id']}: {each['help']}: {node['html'][:200]}"
            for each in result["violations"]
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
        ]

    return found
