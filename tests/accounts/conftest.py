"""Fixtures for tests of accounts."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from restante.accounts import schemes


@pytest.fixture
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Password hashes of the same kinds that cost next to nothing."""
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(schemes, "_argon2", lambda: (hasher, VerificationError))
    monkeypatch.setattr(schemes, "_SCRYPT_COSTS", (2, 8, 1))
