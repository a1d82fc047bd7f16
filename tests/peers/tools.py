"""Clients that are programs of their own, and Python's poplib."""

from __future__ import annotations

import poplib
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from tests.needs import need
from tests.peers.harness import NAME, PASSWORD, Out, Peer, Visit, Way


class Poplib(Peer):
    """Python's own. Exact, once its limit of 2,048 octets a line is raised (F10)."""

    name = "poplib"
    logins = (("USER", "USER"), ("APOP", "APOP"))

    def require(self) -> None:
        pass

    def fetch(self, visit: Visit) -> list[bytes]:
        state = visit.home / "seen"
        seen = state.read_bytes().split() if state.exists() else []
        messages = []
        with mock.patch.object(poplib, "_MAXLINE", 1 << 30):
            pop = self._connect(visit)
            if visit.login == "APOP":
                pop.apop(NAME, PASSWORD)
            else:
                pop.user(NAME)
                pop.pass_(PASSWORD)
            for number, unique_id in (line.split() for line in pop.uidl()[1]):
                if unique_id not in seen:
                    lines = pop.retr(int(number))[1]
                    messages.append(b"".join(line + b"\r\n" for line in lines))
                    seen.append(unique_id)
                    if not visit.keep:
                        pop.dele(int(number))
            pop.quit()
        state.write_bytes(b"\n".join(seen))
        return messages

    def _connect(self, visit: Visit) -> poplib.POP3:
        context = visit.post.authority.client_context()
        if visit.way == "implicit":
            return poplib.POP3_SSL("localhost", visit.port, context=context, timeout=60)
        pop = poplib.POP3("localhost", visit.port, timeout=60)
        if visit.way == "starttls":
            pop.stls(context)
        return pop


class Curl(Peer):
    """curl fetches by number and knows no state: what it listed by UIDL is our state."""

    name = "curl"
    logins = (
        ("AUTH=PLAIN", "AUTH PLAIN"),
        ("AUTH=LOGIN", "AUTH LOGIN"),
        ("AUTH=CRAM-MD5", "AUTH CRAM-MD5"),
        ("AUTH=+APOP", "APOP"),
    )

    def require(self) -> None:
        need("curl", package="curl")

    def fetch(self, visit: Visit) -> list[bytes]:
        out = Out(visit.home / "out")
        state = visit.home / "seen"
        seen = state.read_text().split() if state.exists() else []
        listed = self.talk(visit, [f'url = "{self.url(visit)}"', 'request = "UIDL"'])
        pairs = [line.split() for line in listed.splitlines() if line]
        fresh = [(int(number), unique_id) for number, unique_id in pairs if unique_id not in seen]
        lines = [
            f'url = "{self.url(visit)}{number}"\noutput = "out/{number:06}"' for number, _ in fresh
        ]
        if not visit.keep:
            for number, _ in fresh:
                lines += ["next", *self.options(visit), "list-only", 'request = "DELE"']
                lines += [f'url = "{self.url(visit)}{number}"']
        if fresh:
            self.talk(visit, lines)
        state.write_text("\n".join([*seen, *(unique_id for _, unique_id in fresh)]))
        return out.take()

    def url(self, visit: Visit) -> str:
        scheme = "pop3s" if visit.way == "implicit" else "pop3"
        return f"{scheme}://localhost:{visit.port}/"

    def options(self, visit: Visit) -> list[str]:
        """The settings of each connection, so that all URLs can share one."""
        options = [f'user = "{NAME}:{PASSWORD}"', f'cacert = "{visit.ca}"', "fail"]
        if visit.way == "starttls":
            options.append("ssl-reqd")
        if visit.login:
            options.append(f'login-options = "{visit.login}"')
        return options

    def talk(self, visit: Visit, lines: Sequence[str], *extra: str) -> str:
        """Run curl with these lines of a configuration file; its output."""
        config = visit.home / "curlrc"
        config.write_text("\n".join([*self.options(visit), *lines]) + "\n")
        return visit.run(["curl", "-q", "-sS", "-m", "60", *extra, "-K", config])


class Fetchmail(Peer):
    """fetchmail fetches with TOP and hands each message to a command.

    It makes up a header for a message without one, puts in a missing blank line, drops
    mbox's "From " line, and breaks long lines of the body.
    """

    name = "fetchmail"
    logins = (("password", "USER"), ("cram-md5", "AUTH CRAM-MD5"), ("apop", "APOP"))

    def require(self) -> None:
        need("fetchmail", package="fetchmail")

    def fetch(self, visit: Visit, *extra: str) -> list[bytes]:
        out = Out(visit.home / "out")
        tls = {
            "plain": "sslproto ''",
            "starttls": f"sslproto 'tls1.2+' sslcertck sslcertfile '{visit.ca}'",
            "implicit": f"ssl sslcertck sslcertfile '{visit.ca}'",
        }[visit.way]
        protocol = "APOP" if visit.login == "apop" else "POP3"
        auth = "cram-md5" if visit.login == "cram-md5" else "password"
        config = visit.home / "fetchmailrc"
        config.write_text(
            f"set invisible\n"
            f"poll localhost service {visit.port} protocol {protocol} uidl auth {auth}"
            f" timeout 60 bad-header accept\n"
            f" user '{NAME}' password '{PASSWORD}' {'keep' if visit.keep else 'nokeep'}"
            f" no rewrite no stripcr {tls}\n"
            f" mda '{_to_file(out.folder)}'\n"
        )
        config.chmod(0o600)
        command: list[str | Path]
        command = ["fetchmail", "-f", config, "--idfile", visit.home / "ids", "--nosyslog"]
        # Status 1: there was nothing to fetch.
        visit.run([*command, "--pidfile", visit.home / "pid", *extra], ok=(0, 1))
        return out.take()

    def sees(self, wire: bytes) -> bytes | None:
        header, blank, body = wire.partition(b"\r\n\r\n")
        if not header or not blank or header.startswith((b"\r\n", b"From ")):
            return None
        return wire if _longest_line(body) < 4096 else None


class Getmail(Peer):
    """getmail6 hands each message to a command; it has no STLS.

    It ends lines by LF, then takes each CR that is left for a line end too (Python's e-mail
    package), adds a Return-Path, and lays an unusual header out anew.
    """

    name = "getmail"
    ways: tuple[Way, ...] = ("plain", "implicit")
    logins = (("", "USER"), ("use_apop = true", "APOP"))

    def require(self) -> None:
        need("getmail", package="getmail6")

    def fetch(self, visit: Visit) -> list[bytes]:
        out = Out(visit.home / "out")
        tls = f"ca_certs = {visit.ca}" if visit.way == "implicit" else ""
        kind = "SimplePOP3SSLRetriever" if visit.way == "implicit" else "SimplePOP3Retriever"
        (visit.home / "getmailrc").write_text(
            f"[retriever]\ntype = {kind}\nserver = localhost\nport = {visit.port}\n"
            f"username = {NAME}\npassword = {PASSWORD}\n{visit.login or ''}\n{tls}\n"
            f"[destination]\ntype = MDA_external\npath = /bin/sh\n"
            f"arguments = ('-c', '{_to_file(out.folder)}')\n"
            f"allow_root_commands = true\n"
            f"[options]\nread_all = false\ndelete = {str(not visit.keep).lower()}\n"
            f"delivered_to = false\nreceived = false\nverbose = 0\n"
        )
        visit.run(["getmail", "--getmaildir", visit.home, "--rcfile", "getmailrc"])
        return out.take()

    def sees(self, wire: bytes) -> bytes | None:
        if not re.match(rb"(?:[\w-]+: [^\r\n]{1,70}\r\n)+\r\n", wire):
            return None
        with_lf = wire.replace(b"\r\n", b"\n")
        return b"Return-Path: <unknown>\n" + re.sub(rb"\r\n?", b"\n", with_lf)


class Mpop(Peer):
    """mpop pipelines all it can. It writes LF line ends, and in lines that are longer than
    its buffer some lone CRs are lost."""

    name = "mpop"
    logins = (
        ("user", "USER"),
        ("plain", "AUTH PLAIN"),
        ("login", "AUTH LOGIN"),
        ("cram-md5", "AUTH CRAM-MD5"),
        ("apop", "APOP"),
    )

    def require(self) -> None:
        need("mpop", package="mpop")

    def binds(self) -> bool:
        """Whether it knows mechanisms that bind to the TLS channel, as Debian 13's does."""
        program = need("mpop", package="mpop")
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        version = re.findall(r"\d+", said.stdout)[:3]
        return tuple(map(int, version)) >= (1, 4, 19)

    def fetch(self, visit: Visit) -> list[bytes]:
        out = Out(visit.home / "out")
        self.talk(visit, f'delivery mda "{_to_file(out.folder)}"')
        return out.take()

    def talk(self, visit: Visit, *lines: str) -> str:
        """Run mpop with these lines added to its configuration; its output."""
        config = visit.home / "mpoprc"
        settings = [
            "account default",
            "host localhost",
            f"port {visit.port}",
            f"user {NAME}",
            f"password {PASSWORD}",
            f"auth {visit.login or 'user'}",
            f"keep {'on' if visit.keep else 'off'}",
            f"uidls_file {visit.home / 'uidls'}",
            "timeout 60",
            "received_header off",
            f"tls {'off' if visit.way == 'plain' else 'on'}",
            f"tls_starttls {'on' if visit.way == 'starttls' else 'off'}",
            *([] if visit.way == "plain" else [f"tls_trust_file {visit.ca}"]),
            *lines,
        ]
        config.write_text("\n".join(settings) + "\n")
        config.chmod(0o600)
        return visit.run(["mpop", "-C", config, "--all-accounts"])

    def sees(self, wire: bytes) -> bytes | None:
        if any(len(line) > 4000 and b"\r" in line for line in wire.split(b"\r\n")):
            return None
        return wire.replace(b"\r\n", b"\n")


def _to_file(folder: Path) -> str:
    """A shell command that puts its input into the folder's next file."""
    return f"cat > {folder}/$(printf %06d $(ls {folder} | wc -l))"


def _longest_line(text: bytes) -> int:
    return max(map(len, text.split(b"\r\n")))
