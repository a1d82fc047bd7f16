"""What checks rest on: sections that the RFCs have, and an RFC for whatever must be."""

from __future__ import annotations

import re

import pytest

from restante.testing.conformance.check import CHECKS
from restante.testing.conformance.levels import Level
from restante.testing.conformance.run import choose

# Sections that speak of servers, read in the RFCs themselves.
SECTIONS = {
    "1939": {"3", "4", "5", "6", "7", "11", "13"},
    "2195": {"2"},
    "2449": {"3", "4", "5", *(f"6.{number}" for number in range(1, 10)), "8", "8.1.2"},
    "2595": {"4"},
    "3206": {"4", "5", "6"},
    "4422": {"3.1"},
    "4616": {"2"},
    "5034": {"3", "4", "5"},
    "5280": {"4.1.2.5"},
    "5322": {"2.1", "2.1.1"},
    "6152": {"3"},
    "6856": {"2.1", "3.1", "3.2"},
    "7628": {"3.1"},
    "8314": {"3.1", "4.1", "4.4"},
    "8446": {"5.1", "6.1"},
    "8996": {"4", "5"},
    "8997": {"3"},
    "9325": {"3.1.1", "4.1"},
}

COMMANDS = {
    "5": {"STAT", "LIST", "RETR", "DELE", "NOOP", "RSET"},
    "7": {"TOP", "UIDL", "USER", "PASS", "APOP"},
}
"""Of RFC 1939, whose sections 5 and 7 have a part for each command."""

choose()


@pytest.mark.parametrize("id", list(CHECKS))
def test_a_check_rests_on_a_section_that_there_is(id: str) -> None:
    check = CHECKS[id]
    found = re.match(r"RFC (\d+) §([\d.]+)(?: ([A-Z]+))?(?:, |$)", check.source)
    if found is None:
        assert check.level is not Level.MUST, "an RFC says what must be"
        assert re.fullmatch(r"[\w/-]+#\d+|JAMES-\d+|GHSA(-\w{4}){3}|CWE-\d+", check.source)
        return
    number, section, command = found.groups()
    assert section in SECTIONS[number]
    if command:
        assert command in COMMANDS[section]
