"""The pytest plugin: servers as fixtures, and their dialogues in the report of a failing test.

pytest loads it in every project that has Restante installed, so it imports nothing until a
fixture is used. `-p no:restante.testing.plugin` switches it off.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from restante.testing.server import MailServer

_SERVERS: pytest.StashKey[list[MailServer]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "mail_server(**options): how the fixtures pop3_server and mail_server make their server:"
        " arguments of restante.testing.MailServer.",
    )


@pytest.fixture
def pop3_server(request: pytest.FixtureRequest) -> Iterator[MailServer]:
    """A POP3 server with TLS and an authority of its own; see restante.testing.MailServer."""
    with _started(request, _options(request)) as server:
        yield server


@pytest.fixture
def mail_server(request: pytest.FixtureRequest) -> Iterator[MailServer]:
    """The same with SMTP: what is sent to `smtp_port` can be fetched at `port`."""
    with _started(request, {"smtp": True} | _options(request)) as server:
        yield server


@pytest.fixture
def pop3_server_factory(request: pytest.FixtureRequest) -> Iterator[Callable[..., MailServer]]:
    """Makes servers: call it with arguments of restante.testing.MailServer, as often as needed."""
    with ExitStack() as stack:

        def make(**options: Any) -> MailServer:
            return stack.enter_context(_started(request, options))

        yield make


def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the marks of a test say, the nearest last."""
    options: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers("mail_server"))):
        if mark.args:
            raise pytest.UsageError(
                f"mark mail_server{mark.args!r}: give options by name, as in"
                ' mail_server(certificate="expired")'
            )
        options |= mark.kwargs
    return options


def _started(request: pytest.FixtureRequest, options: dict[str, Any]) -> MailServer:
    from restante.testing.server import MailServer  # noqa: PLC0415 - for whom it is used

    server = MailServer(**({"certificate": "valid"} | options))
    request.node.stash.setdefault(_SERVERS, []).append(server)
    return server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for server in item.stash.get(_SERVERS, []):
            report.sections.append((f"Dialogues with {server!r}", server.report()))
    if call.when == "teardown" and _SERVERS in item.stash:
        del item.stash[_SERVERS]
    return report
