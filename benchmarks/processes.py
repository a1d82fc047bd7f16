"""What a server's processes have used: processor time and memory, from /proc."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def _status(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on; None when it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split()


def tree(pid: int) -> list[int]:
    """The process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _status(int(entry.name))):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        each = waiting.pop()
        found.append(each)
        waiting += parents.get(each, [])
    return found


def processor_seconds(pid: int) -> float:
    """User and system time of the whole tree, ended children included."""
    ticks = 0
    for each in tree(pid):
        if fields := _status(each):
            ticks += sum(map(int, fields[11:15]))
    return ticks / TICKS


def private_memory(pid: int) -> tuple[int, int]:
    """Octets of memory of the whole tree: private to its processes, and its fair share."""
    private = share = 0
    for each in tree(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
                key, _, rest = line.partition(":")
                if key in ("Private_Clean", "Private_Dirty"):
                    private += int(rest.split()[0]) * 1024
                elif key == "Pss":
                    share += int(rest.split()[0]) * 1024
    return private, share


def free_port() -> int:
    """A port that nobody listens on, for servers that can't choose one themselves."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def start(command: Sequence[str | Path], core: int | None, log: Path) -> subprocess.Popen[bytes]:
    """Start a process, on one core if wanted; its standard error goes to `log`."""
    own = os.sched_getaffinity(0)
    with log.open("ab") as errors:
        try:
            if core is not None:  # inherited by the child, and by its children
                os.sched_setaffinity(0, {core})
            return subprocess.Popen(
                list(map(str, command)), stdout=subprocess.DEVNULL, stderr=errors
            )
        finally:
            os.sched_setaffinity(0, own)


def stop(process: subprocess.Popen[bytes], seconds: float = 10.0) -> None:
    """End a process and those it has started, by their ids."""
    descendants = tree(process.pid)[1:]
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    limit = time.monotonic() + 2.0
    while time.monotonic() < limit and any(_is_alive(pid) for pid in descendants):
        time.sleep(0.02)
    for pid in descendants:
        if _is_alive(pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _is_alive(pid: int) -> bool:
    fields = _status(pid)
    return fields is not None and fields[0] != "Z"
