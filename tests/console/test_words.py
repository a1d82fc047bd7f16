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


def test_a_moment_is_short_and_its_year_is_said_when_it_is_another() -> None:
    now = time.localtime()
    assert words.moment(time.mktime(now)) == words.day(
        time.strftime("%a, %d %b %Y %H:%M:00 +0000", now)
    ) + time.strftime(":%S", now)
    assert words.moment(0).split()[2] in ("1970", "1969")
    assert words.moment(None) == "never"


def test_a_chart_has_a_bar_for_each_minute_in_which_something_was() -> None:
    chart = charts.bars("Sessions", [0.0, 3.0, 6.0], 0.0, value="9", per=" a minute")
    assert (chart.value, chart.most) == ("9", "at most 6 a minute")
    assert chart.svg.count('class="bar"') == 2
    assert f"<title>{words.minute(60)}: 3</title>" in chart.svg
    assert 'aria-label="Sessions: 9; at most 6 a minute in the last hour"' in chart.svg
    assert 'class="bar"' not in charts.bars("Sessions", [], 0.0, value="0").svg
