"""Times, numbers and people, as the pages show them."""

from __future__ import annotations

import time

import pytest

from restante.app.console import charts, words


@pytest.mark.parametrize(
    ("sender", "name", "address"),
    [
        ("Anna Keller <anna@example.org>", "Anna Keller", "anna@example.org"),
        ('"Keller, Anna" <anna@example.org>', "Keller, Anna", "anna@example.org"),
        ("<anna@example.org>", "anna@example.org", ""),
        ("anna@example.org", "anna@example.org", ""),
        ("Anna <Keller", "Anna", "Keller"),
        ("", "", ""),
    ],
)
def test_a_sender_has_a_name_and_an_address(sender: str, name: str, address: str) -> None:
    assert words.person(sender) == (name, address)


def test_a_date_is_short_and_what_is_none_stays() -> None:
    year = time.localtime().tm_year
    assert words.day(f"Mon, 30 Nov {year} 10:12:00 +0100") == "30 Nov 10:12"
    assert words.day("Mon, 30 Nov 2015 10:12:00 +0100") == "30 Nov 2015 10:12"
    for text in ("", "yesterday", "Mon, 99 Nov 2026 99:99:99 +9999", "30 Nov 99999 10:00"):
        assert words.day(text) == text


def test_a_line_that_began_within_the_hour_begins_later() -> None:
    assert 'points="160.0,71.0 320.0,71.0"' in charts.line("x", [0.0, 0.0], of=3)
    assert 'points="0.0,71.0 320.0,71.0"' in charts.line("x", [0.0, 0.0])
    assert "now 0" in charts.line("x", [])
