"""Clients that are libraries of other languages, each driven by a program in programs/.

A program is told by POP_PORT, POP_WAY, POP_NAME, POP_PASSWORD, POP_LOGIN, POP_CA and
POP_KEEP (empty or 1). It writes each message to out/NNNNNN by its number, octet for octet
as the library gave it, adds its unique-id to the file `seen`, skips those in there at its
start, deletes after fetching unless POP_KEEP, and ends with QUIT.
"""

from __future__ import annotations

import atexit
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from tests.needs import missing, need
from tests.peers.harness import NAME, PASSWORD, WAYS, Out, Peer, Visit, Way

PROGRAMS = Path(__file__).parent / "programs"
NODE_MODULES = Path(sys.prefix) / "node" / "node_modules"
JARS = [Path("/usr/share/java") / name for name in ("javax.mail.jar", "javax.activation.jar")]


@dataclass(frozen=True)
class Scripted(Peer):
    """A library in another language."""

    name: str
    argv: tuple[str, ...]
    package: str
    ways: tuple[Way, ...] = WAYS
    logins: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[Path, str], ...] = ()
    sees_as: Callable[[bytes], bytes | None] = bytes
    environment: Callable[[], dict[str, str]] = dict

    def require(self) -> None:
        need(self.argv[0], package=self.package)
        for path, package in self.files:
            if not path.exists():
                missing(f"{path.name} is not installed ({package})")

    def fetch(self, visit: Visit) -> list[bytes]:
        out = Out(visit.home / "out")
        self.talk(visit)
        return out.take()

    def talk(self, visit: Visit) -> str:
        """Fetch; what the program printed."""
        settings = {
            "POP_PORT": str(visit.port),
            "POP_WAY": visit.way,
            "POP_NAME": NAME,
            "POP_PASSWORD": PASSWORD,
            "POP_LOGIN": visit.login or "",
            "POP_CA": str(visit.ca),
            "POP_KEEP": "1" if visit.keep else "",
            "POP_MODULES": str(NODE_MODULES),
        }
        return visit.run(self.argv, env=settings | self.environment())

    def sees(self, wire: bytes) -> bytes | None:
        return self.sees_as(wire)


def _with_lf(wire: bytes) -> bytes:
    """Net::POP3 gives lines that end in LF."""
    return wire.replace(b"\r\n", b"\n")


def _still_stuffed(wire: bytes) -> bytes | None:
    """node-pop3 leaves the stuffing in and the last line end off. It looks for the reply's
    end in one block of input at a time, so only what arrives in one is safe with it (F4).
    """
    if len(wire) > 10_000:
        return None
    return re.sub(rb"(?:\A|(?<=\r\n))\.", b"..", wire).removesuffix(b"\r\n")


def _without_dots_if_long(wire: bytes) -> bytes | None:
    """Where a read ends between CR and LF, Ruby's net-protocol 0.2 takes two lines for one,
    and leaves a dot at the start of the second stuffed. What comes in one read is safe.
    """
    return None if len(wire) > 10_000 and b"\r\n." in wire else wire


@cache
def _classpath() -> dict[str, str]:
    """Fetch.java is compiled once for all tests of a process: each time takes two seconds."""
    folder = mkdtemp(prefix="restante-java-")
    atexit.register(shutil.rmtree, folder)
    jars = ":".join(map(str, JARS))
    compiler = need("javac", package="default-jdk-headless")
    source = PROGRAMS / "Fetch.java"
    subprocess.run([compiler, "-cp", jars, "-d", folder, source], check=True, timeout=120)
    return {"CLASSPATH": f"{folder}:{jars}"}


PERL = Scripted(
    "perl-net-pop3",
    ("perl", str(PROGRAMS / "fetch.pl")),
    "perl",
    logins=(("login", "USER"), ("apop", "APOP"), ("auth", "AUTH PLAIN")),
    sees_as=_with_lf,
)
RUBY = Scripted(
    "ruby-net-pop",
    ("ruby", str(PROGRAMS / "fetch.rb")),
    "ruby",
    ways=("plain", "implicit"),
    logins=(("", "USER"), ("APOP", "APOP")),
    sees_as=_without_dots_if_long,
)
NODE = Scripted("node-sockets", ("node", str(PROGRAMS / "fetch.mjs")), "nodejs")
NODE_POP3 = Scripted(
    "node-pop3",
    ("node", str(PROGRAMS / "fetch-package.mjs")),
    "nodejs",
    ways=("plain", "implicit"),
    files=((NODE_MODULES / "node-pop3", "npm"),),
    sees_as=_still_stuffed,
)
JAVA = Scripted(
    "java-mail",
    ("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "Fetch"),
    "default-jdk-headless",
    # LOGIN is its name for USER and PASS.
    logins=(("LOGIN", "USER"), ("PLAIN", "AUTH PLAIN"), ("APOP", "APOP")),
    files=tuple((jar, "libmail-java") for jar in JARS),
    environment=_classpath,
)
