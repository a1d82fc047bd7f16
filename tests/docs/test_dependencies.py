"""docs/dependencies.md: each library's licence is the one that the library itself states."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest

TABLE = (Path(__file__).parents[2] / "docs" / "dependencies.md").read_text().split("\n\n")[2]
ROWS = {
    library: row.split("|")[3].strip()
    for row in TABLE.splitlines()[2:]
    for library in row.split("|")[1].strip().split(", ")
}
STATED = {
    "Apache-2.0": r"Apache-2\.0|Apache Software License",
    "BSD": r"\bBSD\b",
    "BSD-2": r"BSD-2-Clause",
    "BSD-3": r"BSD-3-Clause|Neither the name",
    "ISC": r"\bISC\b",
    "MIT": r"\bMIT\b",
    "PSF-2.0": r"PSF-2\.0",
}


def stated_by(found: Distribution) -> str:
    """What a library says of its licence: its metadata and its licence files."""
    fields = [
        *(found.metadata.get_all("License-Expression") or ()),
        *(found.metadata.get_all("License") or ()),
        *(found.metadata.get_all("Classifier") or ()),
    ]
    files = [each.read_text() for each in found.files or () if "LICENSE" in each.name.upper()]
    return "\n".join([*fields, *files])


@pytest.mark.parametrize("library", ROWS)
def test_a_librarys_licence_is_the_one_that_it_states(library: str) -> None:
    try:
        stated = stated_by(distribution(library))
    except PackageNotFoundError:
        pytest.skip(f"only other Pythons need {library}")
    for licence in re.split(r" or | and |; | for the .*", ROWS[library]):
        if licence:
            assert re.search(STATED[licence], stated), (licence, stated[:200])
