"""A report as a table, as JSON, as JUnit XML."""

from __future__ import annotations

import json
from collections.abc import Collection
from itertools import groupby
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from restante.testing.conformance.check import Check
from restante.testing.conformance.levels import Level
from restante.testing.conformance.run import Outcome, Report, Result

ENDS = 3
"""Lines at each end of a long reply that are shown."""

FORMATS = ("table", "json", "junit")

WORDS = {
    Outcome.PASSED: "ok",
    Outcome.FAILED: "FAILED",
    Outcome.NOT_APPLICABLE: "-",
    Outcome.NOT_MADE: "?",
}

LEVELS = {
    Level.MUST: "must",
    Level.SHOULD: "should",
    Level.BREAKS: "breaks clients",
}


def as_list(checks: Collection[Check]) -> str:
    """The table of checks: id, level, source, title and what it needs, divided by tabs."""
    return "\n".join(
        "\t".join((each.id, each.level.value, each.source, each.title, " ".join(each.needs)))
        for each in checks
    )


def summary(report: Report) -> str:
    """How many passed, failed at each level, don't apply, and could not be made."""
    failed = ", ".join(f"{len(report.failed(level))} {LEVELS[level]}" for level in Level)
    return (
        f"{report.count(Outcome.PASSED)} passed, "
        f"{report.count(Outcome.FAILED)} failed ({failed}), "
        f"{report.count(Outcome.NOT_APPLICABLE)} not applicable, "
        f"{report.count(Outcome.NOT_MADE)} not made"
    )


def as_table(report: Report, *, dialogues: bool = True) -> str:
    """For people: what failed, with its dialogue, what doesn't apply, and the sum."""
    lines = [f"{report.target.host}:{report.target.port}  {printable(report.implementation)}", ""]
    for each in report.results:
        lines.append(
            f"{WORDS[each.outcome]:7} {each.check.level.value:7} {each.check.id:34}"
            f" {each.check.source}"
        )
        if each.outcome in (Outcome.NOT_APPLICABLE, Outcome.NOT_MADE):
            lines.append(f"        {each.outcome.value}: {printable(each.reason)}")
        if each.outcome is Outcome.FAILED:
            lines.append(f"        {each.check.title}")
            lines.append(f"        But: {printable(each.reason)}")
            if dialogues:
                lines += [f"          {line}" for line in shortened(each.dialogue)]
    return "\n".join([*lines, "", summary(report)])


def shortened(dialogue: Collection[str], most: int = 40) -> list[str]:
    """The end of a dialogue, which is what matters, and of long replies a few lines."""
    lines: list[str] = []
    for start, run in groupby(dialogue, lambda line: line.partition(":")[0]):
        same = list(run)
        left = len(same) - 2 * ENDS
        middle = [f"{start}: … {left} lines"]
        lines += same if left < 2 else [*same[:ENDS], *middle, *same[-ENDS:]]
    left = len(lines) - most
    return lines if left <= 0 else [f"… {left} lines before", *lines[-most:]]


def printable(text: str) -> str:
    """Without control characters, as what a server says may hold any."""
    return "".join(each if each.isprintable() else "?" for each in text)


def _row(result: Result) -> dict[str, Any]:
    return {
        "id": result.check.id,
        "level": result.check.level.value,
        "source": result.check.source,
        "title": result.check.title,
        "outcome": result.outcome.value,
        "reason": result.reason,
        "seconds": round(result.seconds, 3),
        "dialogue": list(result.dialogue),
    }


def as_json(report: Report) -> str:
    """For programs: one object."""
    return json.dumps(
        {
            "host": report.target.host,
            "port": report.target.port,
            "tls": report.target.tls,
            "implementation": report.implementation,
            "passed": report.count(Outcome.PASSED),
            "failed": report.count(Outcome.FAILED),
            "not_applicable": report.count(Outcome.NOT_APPLICABLE),
            "not_made": report.count(Outcome.NOT_MADE),
            "results": [_row(each) for each in report.results],
        },
        indent=2,
    )


def as_junit(report: Report) -> str:
    """For CI: a test suite in which each check is a test case."""
    failed, skipped = report.count(Outcome.FAILED), report.count(Outcome.NOT_APPLICABLE)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuite name="restante conformance" tests="{len(report.results)}" '
        f'failures="{failed}" errors="{report.count(Outcome.NOT_MADE)}" skipped="{skipped}">',
    ]
    for each in report.results:
        subject, _, name = each.check.id.partition(".")
        lines.append(
            f"<testcase classname={quoteattr(subject)} name={quoteattr(name)} "
            f'time="{each.seconds:.3f}">'
        )
        if each.outcome is Outcome.NOT_APPLICABLE:
            lines.append(f"<skipped message={quoteattr(printable(each.reason))}/>")
        if each.outcome is Outcome.NOT_MADE:
            text = escape("\n".join(each.dialogue))
            lines.append(f"<error message={quoteattr(printable(each.reason))}>{text}</error>")
        if each.outcome is Outcome.FAILED:
            text = "\n".join([each.check.title, each.check.source, *each.dialogue])
            lines.append(
                f"<failure type={quoteattr(each.check.level.value)} "
                f"message={quoteattr(printable(each.reason))}>{escape(text)}</failure>"
            )
        lines.append("</testcase>")
    return "\n".join([*lines, "</testsuite>"])


def rendered(report: Report, format: str) -> str:
    """In one of FORMATS."""
    return {"table": as_table, "json": as_json, "junit": as_junit}[format](report)
