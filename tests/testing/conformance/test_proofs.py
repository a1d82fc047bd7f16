"""A check that can't fail is worthless: each passes a right server, and catches its fault."""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from restante.testing import MailAccount, MailServer
from restante.testing.conformance import checks  # noqa: F401 - fills the table
from restante.testing.conformance.check import CHECKS
from restante.testing.conformance.checks import concurrency
from restante.testing.conformance.probe import State, Target
from restante.testing.conformance.run import Outcome, Result, run_one
from restante.testing.conformance.seed import CORPUS
from restante.testing.faults import Fault
from tests.testing.conformance.by_faults import BY_FAULT
from tests.testing.conformance.by_faults import NAME as BY_NAME
from tests.testing.conformance.canned import NAME, PASSWORD, Faults, serving
from tests.testing.conformance.proofs import PROOFS, Proof

WAIT = 0.6
"""Seconds for a reply that never comes."""

PATIENCE = 20.0
"""Seconds for one that does."""


class Contexts:
    """The TLS of canned servers, right and wrong. ca: the file of the authority."""

    def __init__(self, folder: Path) -> None:
        self.ca = folder / "ca.pem"
        self._authority = trustme.CA()
        self._authority.cert_pem.write_to_path(self.ca)
        soon = datetime.now(UTC) + timedelta(days=2)
        rsa = trustme.KeyType.RSA
        issue = self._authority.issue_cert
        good = issue("127.0.0.1")
        self._made: Mapping[str, ssl.SSLContext] = {
            "good": _context(good),
            "old": _context(good, oldest=ssl.TLSVersion.TLSv1),
            "only old": _context(good, oldest=ssl.TLSVersion.TLSv1, newest=ssl.TLSVersion.TLSv1_1),
            "only 1.2": _context(good, newest=ssl.TLSVersion.TLSv1_2),
            "plain RSA": _context(
                issue("127.0.0.1", key_type=rsa), newest=ssl.TLSVersion.TLSv1_2, ciphers="kRSA"
            ),
            "wrong name": _context(issue("elsewhere.example.org")),
            "ends soon": _context(issue("127.0.0.1", not_after=soon)),
        }

    def __getitem__(self, name: str) -> ssl.SSLContext:
        return self._made[name]


def _context(
    certificate: trustme.LeafCert,
    oldest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
    ciphers: str = "ALL",
) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = oldest, newest
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    certificate.configure_cert(context)
    return context


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    return Contexts(tmp_path_factory.mktemp("canned"))


def outcome_of(id: str, proof: Proof, faults: Faults, contexts: Contexts, context: str) -> Result:
    """Run one check against a canned server that has the corpus already."""
    tls = contexts[context] if proof.tls != "none" else None
    with serving(faults, tls, implicit=proof.tls == "implicit") as server:
        target = Target(
            "127.0.0.1",
            server.port,
            tls=proof.tls,
            ca=contexts.ca,
            user=NAME.decode(),
            password=PASSWORD.decode(),
            seed=server,
            slow=True,
            timeout=WAIT if faults.flags - proof.right or faults.edits else PATIENCE,
            idle=0.2,
        )
        state = State()
        state.seeded = state.has_mail = state.top_works = True
        return run_one(target, state, CHECKS[id])


def test_each_check_has_a_proof() -> None:
    assert len(CHECKS) > 250
    assert set(PROOFS) | set(BY_FAULT) == set(CHECKS)
    assert not set(PROOFS) & set(BY_FAULT)


def test_most_are_proven_by_a_fault_of_the_kit() -> None:
    assert len(BY_FAULT) > 0.8 * len(CHECKS)


@pytest.mark.parametrize("id", list(PROOFS))
def test_a_right_server_passes(id: str, contexts: Contexts) -> None:
    proof = PROOFS[id]
    result = outcome_of(id, proof, Faults(flags=proof.right), contexts, "good")
    assert result.outcome is Outcome.PASSED, (result.reason, result.dialogue)


@pytest.mark.parametrize("id", list(PROOFS))
def test_the_fault_is_caught(id: str, contexts: Contexts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "FREE_WITHIN", 0.5)
    proof = PROOFS[id]
    result = outcome_of(id, proof, proof.faults, contexts, proof.context)
    assert result.outcome is Outcome.FAILED, (result.outcome, result.reason, result.dialogue)
    assert result.reason
    assert PASSWORD.decode() not in "\n".join(result.dialogue).replace("conformance-sesame", "")


# Those that a fault of the test kit proves, on the real server


class IntoAccount:
    """A way in for checks: into an account of the kit's server."""

    raw = True

    def __init__(self, account: MailAccount) -> None:
        self._account = account

    def put(self, message: bytes) -> None:
        self._account.add(message)


def outcome_with(id: str, tls: str, *faults: Fault) -> Result:
    """Run one check against the kit's server, which has the corpus already."""
    server = MailServer(
        accounts={BY_NAME: "secret"},
        certificate=None if tls == "none" and not id.endswith("-stls") else "valid",
        faults=faults,
    )
    with server:
        account = server.accounts[BY_NAME]
        for each in CORPUS.values():
            account.add(each.octets)
        target = Target(
            server.host,
            server.tls_port if tls == "implicit" else server.port,
            tls=tls,
            ca=None if tls == "none" else server.ca.path,
            user=BY_NAME,
            password="secret",
            seed=IntoAccount(account),
            timeout=WAIT if faults else PATIENCE,
        )
        state = State()
        state.seeded = state.has_mail = state.top_works = True
        return run_one(target, state, CHECKS[id])


@pytest.mark.parametrize("id", list(BY_FAULT))
def test_the_kits_server_passes(id: str) -> None:
    result = outcome_with(id, BY_FAULT[id].tls)
    assert result.outcome is Outcome.PASSED, (result.reason, result.dialogue)


@pytest.mark.parametrize("id", list(BY_FAULT))
def test_the_kits_fault_is_caught(id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "FREE_WITHIN", 0.5)
    result = outcome_with(id, BY_FAULT[id].tls, BY_FAULT[id].fault)
    assert result.outcome is Outcome.FAILED, (result.outcome, result.reason, result.dialogue)
    assert result.reason
