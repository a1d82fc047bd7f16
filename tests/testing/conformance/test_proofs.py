"""A check that can't fail is worthless: each passes a right server, and catches its fault."""

from __future__ import annotations

import pytest

from restante.server.settings import SettingsGiven
from restante.testing import MailAccount, MailServer
from restante.testing.conformance import checks  # noqa: F401 - fills the table
from restante.testing.conformance.check import CHECKS
from restante.testing.conformance.checks import concurrency
from restante.testing.conformance.probe import State, Target
from restante.testing.conformance.run import Outcome, Result, run_one
from restante.testing.conformance.seed import CORPUS
from tests.needs import only_cpython
from tests.testing.conformance.by_faults import BY_FAULT, NAME

WAIT = 0.6
"""Seconds for a reply that never comes."""

IDLE = 2.2
"""Seconds without a command. Servers look every second who has been idle, twice for each."""

OLD_TLS = {"tls.no-tls-1.0", "tls.no-tls-1.1", "tls.no-plain-rsa"}
"""Checks that are proven by a server that speaks what is old. PyPy's `ssl` can't be made to."""

PATIENCE = 20.0
"""Seconds for one that does."""


def test_each_check_has_a_proof() -> None:
    assert len(CHECKS) > 250
    assert set(BY_FAULT) == set(CHECKS)


class IntoAccount:
    """A way in for checks: into an account of the kit's server."""

    raw = True

    def __init__(self, account: MailAccount) -> None:
        self._account = account

    def put(self, message: bytes) -> None:
        self._account.add(message)

    def empty(self) -> bool:
        return False


def outcome_with(id: str, *, fails: bool) -> Result:
    """Run one check against the kit's server, which has the corpus already."""
    proof = BY_FAULT[id]
    tls = proof.tls != "none" or id.endswith("-stls")
    settings: SettingsGiven = proof.settings if fails else {}
    faults = [each for each in (proof.beside, proof.fault if fails else None) if each]
    server = MailServer(
        accounts={NAME: "secret"},
        certificate=(proof.certificate if fails else "valid") if tls else None,
        faults=faults,
        **settings,
    )
    with server:
        account = server.accounts[NAME]
        for each in CORPUS.values():
            account.add(each.octets)
        target = Target(
            server.host,
            server.tls_port if proof.tls == "implicit" else server.port,
            tls=proof.tls,
            ca=None if proof.tls == "none" else server.ca.path,
            user=NAME,
            password="secret",
            seed=IntoAccount(account),
            slow=True,
            timeout=WAIT if fails else PATIENCE,
            idle=IDLE,
        )
        state = State()
        state.seeded = state.has_mail = state.top_works = True
        return run_one(target, state, CHECKS[id])


@pytest.mark.parametrize("id", list(BY_FAULT))
def test_the_kits_server_passes(id: str) -> None:
    result = outcome_with(id, fails=False)
    assert result.outcome is Outcome.PASSED, (result.reason, result.dialogue)


@pytest.mark.parametrize(
    "id", [pytest.param(each, marks=only_cpython if each in OLD_TLS else ()) for each in BY_FAULT]
)
def test_the_kits_fault_is_caught(id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "FREE_WITHIN", 0.5)
    result = outcome_with(id, fails=True)
    assert result.outcome is Outcome.FAILED, (result.outcome, result.reason, result.dialogue)
    assert result.reason
