"""What programs that fetch mail do when a server fails: each program against each fault.

    python -m tests.testing.programs        # writes docs/testing-clients.md anew

A program is run twice. The first time the server has the fault, the second time it has none (but
for faults of unique-ids, which stay). Three messages wait. What counts is where they are in the
end: with the program once, twice, damaged, or on neither side.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from restante import MemoryStore, Pop3Server
from restante.testing.faults import Faults
from tests.conftest import Authority
from tests.peers.harness import NAME, PASSWORD, Out, Peer, Post, Visit, Way
from tests.peers.scripted import JAVA, NODE_POP3, Scripted
from tests.peers.tools import Fetchmail, Getmail, Mpop

PAGE = Path(__file__).parents[2] / "docs" / "testing-clients.md"

HANG_SECONDS = 12.0
"""After which a program that has not ended is said to hang; all are told to wait for 60."""

MESSAGES = {
    "a1": b"Subject: first\r\n\r\nletter one\r\n",
    "a2": b"Subject: second\r\n\r\nletter two\r\n..two dots\r\nthe end of two\r\n",
    "a3": b"Subject: third\r\n\r\nletter three\r\n",
}
MARKS = {"a1": b"letter one", "a2": b"letter two", "a3": b"letter three"}


@dataclass(frozen=True)
class Trial:
    """A fault, in words and as texts for `parse`.

    keep: messages are left on the server, and the fault stays for the second run.
    removed: unique-ids of messages that the fault itself removes.
    """

    words: str
    faults: tuple[str, ...]
    keep: bool = False
    removed: frozenset[str] = frozenset()


def _message(words: str, fault: str) -> Trial:
    """A fault of the second message, by whichever command a program fetches it."""
    return Trial(words, (f"RETR 2:{fault}", f"TOP 2:{fault}"))


TRIALS = (
    Trial("the connection is reset at once", ("connection-reset",)),
    Trial("the server accepts and says nothing", ("greeting:hang",)),
    Trial("the connection is closed in place of the reply to PASS", ("PASS:close",)),
    Trial("login: `[IN-USE]`", ("login-fails-code=IN-USE",)),
    Trial("no CAPA", ("without-command=CAPA",)),
    Trial("no UIDL", ("without-command=UIDL",)),
    _message("message 2 is reset after 30 octets", "reset-after=30"),
    _message("message 2 is closed before its terminator", "close-after=body"),
    _message("message 2 stops after 30 octets", "hang-after=30"),
    _message("message 2 comes octet by octet", "split-octets=1"),
    _message("message 2 is `-ERR [SYS/TEMP]`", "refused-code=SYS/TEMP"),
    _message("message 2 comes twice", "twice"),
    _message("message 2 isn't dot-stuffed", "unstuffed"),
    Trial("message 2 is gone when it is fetched", ("gone-message=2",), removed=frozenset({"a2"})),
    Trial("numbers have a gap at 2", ("number-gap-message=2",)),
    Trial("LIST says 5 octets too few", ("wrong-octets-by=-5",)),
    Trial("DELE of message 2: no reply", ("DELE 2:no-reply",)),
    Trial("QUIT: the reply is lost", ("QUIT:reset-after=0",)),
    Trial("QUIT isn't heard: the connection is closed", ("QUIT:close",)),
    Trial("QUIT says -ERR and removes nothing", ("quit-fails",)),
    Trial("QUIT says +OK and removes nothing", ("deletion-forgotten",)),
    Trial("unique-ids change, mail is left on the server", ("changed-unique-id",), keep=True),
)

POPLIB = Scripted(
    "poplib", (sys.executable, str(Path(__file__).with_name("fetch_poplib.py"))), "python3"
)
PROGRAMS: tuple[Peer, ...] = (POPLIB, Getmail(), Fetchmail(), Mpop(), NODE_POP3, JAVA)

OUTCOMES = {
    "ok": "all mail came the first time",
    "later": "the first run failed, the second one fetched the rest",
    "left": "mail is still on the server, and the second run doesn't fetch it",
    "doubled": "mail came twice",
    "damaged": "mail came otherwise than it was, and counts as fetched",
    "lost": "mail is on neither side",
    "hangs": "the first run did not end by itself within 12 seconds",
}


class Bounded(Visit):
    """A run of a program that is ended when it hangs."""

    def run(self, argv: Sequence[str | Path], **settings: Any) -> str:
        return super().run(argv, **{"timeout": HANG_SECONDS, **settings})


class Failing:
    """A server that fails, in the place of `tests.peers.harness.Post`."""

    def __init__(self, faults: Sequence[str], authority: Authority) -> None:
        self.authority = authority
        self.mail = MemoryStore()
        self.faults = Faults(*faults)
        self.server = Pop3Server(
            accounts={NAME: PASSWORD},
            store=self.faults.wrap_store(self.mail),
            port=0,
            for_tests=True,
        )
        self.faults.attach(self.server)

    def port(self, way: Way) -> int:
        return self.server.port


def outcome(peer: Peer, trial: Trial, authority: Authority) -> str:
    """What a program does with a fault: words of `OUTCOMES`."""
    post = Failing(trial.faults, authority)
    for unique_id, message in MESSAGES.items():
        post.mail.add(NAME, message, unique_id)
    got: list[bytes] = []
    with tempfile.TemporaryDirectory(prefix="restante-trial-") as home, post.server:
        visit = Bounded(cast(Post, post), Path(home), keep=trial.keep)
        ended = _fetch(peer, visit, got)
        first = len(got)
        if not trial.keep:
            post.faults.clear()
        if trial.keep or first < len(MESSAGES) or post.mail.messages(NAME):
            _fetch(peer, visit, got)
        left = set(post.mail.messages(NAME)) | trial.removed
    found = ["hangs"] if ended == "hangs" else []
    times = {name: sum(mark in each for each in got) for name, mark in MARKS.items()}
    if any(not times[name] and name not in left for name in times):
        found.append("lost")
    if any(each not in [peer.sees(message) for message in MESSAGES.values()] for each in got):
        found.append("damaged")
    if any(count > 1 for count in times.values()):
        found.append("doubled")
    if any(not times[name] and name in left - trial.removed for name in times):
        found.append("left")
    if not found:
        return "ok" if first == len(got) and ended == "ended" else "later"
    return ", ".join([*found, *(["later"] if found == ["hangs"] else [])])


def _fetch(peer: Peer, visit: Visit, got: list[bytes]) -> str:
    ended = "ended"
    before = _counted(visit.home)
    try:
        got += peer.fetch(visit)
    except subprocess.TimeoutExpired:
        ended = "hangs"
    except AssertionError:  # an exit status that tells of an error
        ended = "failed"
    left = Out(visit.home / "out").take()
    if isinstance(peer, Scripted):  # what it was writing doesn't count as fetched
        left = left[: _counted(visit.home) - before]
    got += left
    return ended


def _counted(home: Path) -> int:
    """How many messages a program in `tests.peers.programs` counts as fetched."""
    state = home / "seen"
    return len(state.read_text().split()) if state.exists() else 0


def _said(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


VERSIONS: Mapping[str, Callable[[], str]] = {
    "poplib": lambda: "Python " + ".".join(map(str, sys.version_info[:2])),
    "getmail": lambda: _said("getmail", "--version"),
    "fetchmail": lambda: _said("fetchmail", "--version"),
    "mpop": lambda: _said("mpop", "--version"),
    "node-pop3": lambda: (
        NODE_POP3.files[0][0] / "package.json"
    ).read_text().partition('"version":')[2],
    "java-mail": lambda: _manifest(JAVA.files[0][0]),
}  # fmt: skip


def _manifest(jar: Path) -> str:
    text = zipfile.ZipFile(jar).read("META-INF/MANIFEST.MF").decode()
    return text.partition("Bundle-Version:")[2]


def version(peer: Peer) -> str:
    """The version of a program, as the table names it."""
    if peer.name not in _versions:
        _versions[peer.name] = _version(peer)
    return _versions[peer.name]


_versions: dict[str, str] = {}


def _version(peer: Peer) -> str:
    found = re.search(r"\d+(?:\.\d+)+", VERSIONS[peer.name]())
    return found.group() if found else "unknown"


def table(columns: Mapping[str, Sequence[str]]) -> str:
    """The table. columns: outcomes by a program's name and version."""
    lines = [f"| the fault | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for number, trial in enumerate(TRIALS):
        cells = [column[number] for column in columns.values()]
        lines.append(f"| {trial.words} | {' | '.join(cells)} |")
    return "\n".join(lines)


def read_table(page: str) -> dict[str, list[str]]:
    """The columns of a page's table."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith("| ")
    ]
    head = next(at for at, row in enumerate(rows) if row[0] == "the fault")
    columns = list(zip(*rows[head : head + 1 + len(TRIALS)], strict=True))[1:]
    return {column[0]: list(column[1:]) for column in columns}


def all_outcomes(authority: Authority, peers: Sequence[Peer]) -> dict[str, list[str]]:
    """The columns of programs. Several run at the same time, as some only wait."""
    with ThreadPoolExecutor(6) as pool:
        runs = {
            peer: [pool.submit(outcome, peer, trial, authority) for trial in TRIALS]
            for peer in peers
        }
        return {
            f"{peer.name} {version(peer)}": [each.result() for each in columns]
            for peer, columns in runs.items()
        }


HEAD = """# What programs do when a server fails

Programs that fetch mail, each against servers of [the test kit](testing-faults.md) that fail. Each
was run twice, and told to delete what it has fetched: the first time with the fault, the second
time without it. Three messages waited. poplib, node-pop3 and JavaMail are libraries: the programs
around them are ours, in `tests/`, and count a message as fetched when the library has given all of
it. The others hand each message to a command, and what that command got has come.

`python -m tests.testing.programs` draws the table; a test runs the programs again and compares.

"""


def main() -> None:
    """Write the page."""
    import trustme  # noqa: PLC0415 - what the tests have

    from restante import Certificate  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        ca, file = trustme.CA(), Path(folder) / "ca.pem"
        ca.cert_pem.write_to_path(file)
        columns = all_outcomes(Authority(file, Certificate(file)), PROGRAMS)
    words = "\n".join(f"| {word} | {meaning} |" for word, meaning in OUTCOMES.items())
    PAGE.write_text(f"{HEAD}{table(columns)}\n\n| word | meaning |\n|---|---|\n{words}\n")


if __name__ == "__main__":
    main()
