"""The accounts are asked again and again for the schemes that they hold."""

from __future__ import annotations

import logging

import pytest

from restante.accounts.contract import AccountError
from restante.accounts.static import StaticAccounts
from tests.server.kit import NAME, PASSWORD, Client, serving, until


class Database(StaticAccounts):
    """Accounts whose database may be away."""

    def __init__(self) -> None:
        super().__init__({NAME: PASSWORD})
        self.is_away = False
        self.asked = 0

    def held_schemes(self) -> frozenset[str]:
        self.asked += 1
        if self.is_away:
            raise AccountError("the database is away")
        return super().held_schemes()

    def wait_until_asked(self) -> None:
        before = self.asked
        until(lambda: self.asked > before + 3)


def test_an_outage_is_logged_when_it_begins_and_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "restante.server")
    accounts = Database()

    def said(text: str) -> int:
        return sum(text in record.getMessage() for record in caplog.records)

    with serving(accounts=accounts) as server:
        for times in (1, 2):
            accounts.is_away = True
            accounts.wait_until_asked()
            assert said("error asking the accounts for their schemes") == times
            assert "the database is away" in caplog.text

            accounts.is_away = False
            accounts.wait_until_asked()
            assert said("The accounts tell their schemes again") == times
        with Client(server.port) as client:
            client.log_in()
