"""Draws the results in docs/conformance.md, and the dialogues of what failed beside it.

    RESTANTE_POP3_SERVERS=FOLDER python -m tests.testing.conformance.page [NAME ...]

Each server is started and checked twice; what failed both times is claimed, nothing else. What
can't be started here keeps the results that the page has.
"""

from __future__ import annotations

import json
import socket
import sys
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from restante import Certificate
from restante.testing.conformance.check import CHECKS
from restante.testing.conformance.levels import Level
from restante.testing.conformance.report import LEVELS, shortened
from restante.testing.conformance.run import Report, Unusable, choose, run
from tests.conftest import Authority
from tests.testing.conformance.servers import PEERS, Peer

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "conformance.md"
DIALOGUES = ROOT / "docs" / "conformance-dialogues.md"
RESULTS = Path(__file__).parent / "results.json"

START, END = "<!-- results -->", "<!-- end of results -->"

SIGNS = {"passed": "✓", "failed": "✗", "not applicable": "–", "not made": "?", "not twice": "?"}

LINES = 200
"""Of a dialogue, at most: the beginning matters where mail is looked for at the end."""

Results = dict[str, dict[str, Any]]


def checked(peer: Peer) -> dict[str, Any]:
    """The outcome of two runs."""
    first, second = _run(peer), _run(peer)
    rows = {}
    for one, two in zip(first.results, second.results, strict=True):
        same = one.outcome is two.outcome
        rows[one.check.id] = {
            "outcome": one.outcome.value if same else "not twice",
            "reason": _nameless(one.reason),
            "dialogue": [_nameless(line) for line in shortened(two.dialogue, LINES)]
            if same and two in second.failed()
            else [],
        }
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    return {"version": peer.version(), "date": day, "checks": rows}


def _nameless(text: str) -> str:
    """Without this machine's name, which servers put into timestamps."""
    return text.replace(f"@{socket.gethostname()}", "@host")


def _run(peer: Peer) -> Report:
    with tempfile.TemporaryDirectory(prefix="conformance-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        ca = trustme.CA()
        ca.cert_pem.write_to_path(folder / "ca.pem")
        issued = ca.issue_cert("localhost", "127.0.0.1", common_name="localhost")
        issued.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
        authority = Authority(folder / "ca.pem", Certificate(folder / "server.pem"))
        with peer.started(folder, authority) as target:
            return run(target, choose())


def drawn(results: Results) -> str:
    """The tables: one of sums, one of the checks that somebody fails."""
    lines = [
        "| Server | Version | Date | ✓ | ✗ must | ✗ should | ✗ breaks clients | – |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, each in results.items():
        rows = each["checks"]
        failed = [_count(rows, "failed", level) for level in Level]
        sums = [_count(rows, "passed"), *failed, _count(rows, "not applicable")]
        lines.append(
            f"| {name} | {each['version']} | {each['date']} | " + " | ".join(map(str, sums)) + " |"
        )
    lines += [
        "",
        f"| Check | Level | Source | {' | '.join(results)} |",
        "|---|---|---|" + "---|" * len(results),
    ]
    for id, check in CHECKS.items():
        outcomes = [each["checks"].get(id, {}).get("outcome", "") for each in results.values()]
        if "failed" in outcomes:
            signs = " | ".join(SIGNS.get(each, "") for each in outcomes)
            lines.append(
                f"| `{id}`: {_cell(check.title)} | {LEVELS[check.level]} | "
                f"{check.source} | {signs} |"
            )
    return "\n".join(lines)


def _count(rows: Mapping[str, Any], outcome: str, level: Level | None = None) -> int:
    return sum(
        row["outcome"] == outcome and (level is None or CHECKS[id].level is level)
        for id, row in rows.items()
        if id in CHECKS
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def dialogues(results: Results) -> str:
    """What was sent and received where a check failed."""
    lines = [
        "# Conformance: the dialogues",
        "",
        "What was sent (`C`) and received (`S`) where a server failed a check in both of two runs; "
        "the number is the connection's. `python -m tests.testing.conformance.page` draws this "
        "page. The table is in [conformance.md](conformance.md).",
    ]
    for name, each in results.items():
        failed = [
            (id, row)
            for id, row in each["checks"].items()
            if row["outcome"] == "failed" and id in CHECKS
        ]
        if not failed:
            continue
        lines += ["", f"## {name} {each['version']}"]
        for id, row in failed:
            lines += ["", f"`{id}` ({CHECKS[id].source}): {CHECKS[id].title}", "", "```"]
            lines += [f"But: {row['reason'][:200]}", *row["dialogue"], "```"]
    return "\n".join([*lines, ""])


def written(page: str, results: Results) -> str:
    """The page with the results in their place."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{drawn(results)}\n{END}{after}"


def main(names: Iterable[str]) -> None:
    """Check the servers of these names, all if there are none, and draw."""
    choose()
    wanted = set(names)
    known: Results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    peers = [peer for peer in PEERS if not wanted or peer.name in wanted]
    with ThreadPoolExecutor(len(PEERS)) as pool:  # they mostly wait
        futures = {peer.name: pool.submit(checked, peer) for peer in peers}
        for name, future in futures.items():
            try:
                known[name] = future.result()
            except (pytest.skip.Exception, Unusable) as error:
                print(f"{name}: {error}", file=sys.stderr)
    results = {peer.name: known[peer.name] for peer in PEERS if peer.name in known}
    RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(written(PAGE.read_text(), results))
    DIALOGUES.write_text(dialogues(results))


if __name__ == "__main__":
    main(sys.argv[1:])
