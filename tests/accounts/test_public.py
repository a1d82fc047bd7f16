"""The public names of restante.accounts."""

from __future__ import annotations

import pytest

from restante import accounts


@pytest.mark.parametrize("name", accounts.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(accounts, name) is not None
    assert name in dir(accounts)


def test_a_name_that_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'LdapAccount'"):
        _ = accounts.LdapAccount
