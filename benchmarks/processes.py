"""What a server's processes have used: processor time and memory, from /proc."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

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
    """User and system time of the whole tree, ended children included.

    Threads that live or have ended count in nanoseconds, by each process's own clock;
    processes that have ended count in ticks, with the parent that waited for them.
    """
    while True:
        members = tree(pid)
        used = sum(map(_seconds_of, members))
        if tree(pid) == members:  # else one may have been counted with its parent, too
            return used


def _seconds_of(pid: int) -> float:
    fields = _status(pid)
    if fields is None:
        return 0.0
    ended = sum(map(int, fields[13:15])) / TICKS
    try:
        # The clock that clock_getcpuclockid(3) gives: of all threads, by the scheduler.
        return ended + time.clock_gettime_ns((~pid << 3) | 2) / 1e9
    except OSError:
        return ended + sum(map(int, fields[11:13])) / TICKS


def seconds_by_process(pid: int) -> dict[int, float]:
    """The same of each process of the tree by itself."""
    return {each: _seconds_of(each) for each in tree(pid)}


def private_memory(pid: int) -> tuple[int, int]:
    """Octets of memory of the whole tree: private to its processes, and its fair share."""
    private = share = 0
    for each in tree(pid):
        for key, octets in _sizes(each, "smaps_rollup"):
            private += octets if key in ("Private_Clean", "Private_Dirty") else 0
            share += octets if key == "Pss" else 0
    return private, share


def resident(pid: int) -> int:
    """Octets of the whole tree that are in memory now."""
    return _total(pid, "VmRSS")


def peak_resident(pid: int) -> int:
    """Octets of the whole tree that were in memory at most since `forget_peak`."""
    return _total(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Let `peak_resident` begin anew."""
    for each in tree(pid):
        with suppress(OSError):
            Path(f"/proc/{each}/clear_refs").write_text("5")


def _total(pid: int, wanted: str) -> int:
    return sum(
        octets for each in tree(pid) for key, octets in _sizes(each, "status") if key == wanted
    )


def _sizes(pid: int, file: str) -> Iterator[tuple[str, int]]:
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            key, _, rest = line.partition(":")
            if rest.endswith(" kB"):
                yield key, int(rest.split()[0]) * 1024


def raise_file_limit(wanted: int) -> int:
    """Let this process and those it starts have so many files open; gives what is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = min(wanted, hard)
    if soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(soft, allowed)


def free_port() -> int:
    """A port that nobody listens on, for servers that can't choose one themselves."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def start(
    command: Sequence[object],
    core: int | None,
    log: Path,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a server, on one core if wanted; its standard error goes to `log`."""
    with log.open("ab") as errors:
        return start_on(core, command, stdout=subprocess.DEVNULL, stderr=errors, env=environment)


def start_on(core: int | None, command: Sequence[object], **pipes: Any) -> subprocess.Popen[bytes]:
    """Start a process, on one core if wanted. pipes: as Popen has them."""
    own = os.sched_getaffinity(0)
    try:
        if core is not None:  # inherited by the child, and by its children
            os.sched_setaffinity(0, {core})
        return subprocess.Popen(list(map(str, command)), **pipes)
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
