"""Processor time and memory of a tree of processes."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import processes

BURN = "import time\nwhile time.process_time() < {seconds}: pass\n"


@contextmanager
def program(text: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that writes a line when it has done its work, and waits."""
    command = [sys.executable, "-c", text + "\nprint(flush=True)\ninput()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process


def test_a_process_and_the_threads_that_it_had() -> None:
    thread = f"import threading\nt = threading.Thread(target=exec, args=({BURN!r},))"
    thread = thread.format(seconds=0.2) + "\nt.start()\nt.join()"
    with program(thread) as process:
        used = processes.processor_seconds(process.pid)
        assert 0.2 <= used < 2
        by_process = processes.seconds_by_process(process.pid)
        assert list(by_process) == [process.pid]
        # It may still be on its way to `input`, so each look may show a little more.
        assert used <= by_process[process.pid] <= processes.processor_seconds(process.pid)
        assert processes.processor_seconds(process.pid) - used < 0.01


def test_a_child_that_lives_and_one_that_has_ended() -> None:
    burn = BURN.format(seconds=0.2)
    run = "import subprocess, sys\n"
    ended = f"{run}subprocess.run([sys.executable, '-c', {burn!r}])"
    with program(ended) as process:
        assert 0.2 <= processes.processor_seconds(process.pid) < 2
    child = burn + "print(flush=True)\ninput()"
    pipes = "stdin=subprocess.PIPE, stdout=subprocess.PIPE"
    living = f"{run}p = subprocess.Popen([sys.executable, '-c', {child!r}], {pipes})\n"
    with program(living + "p.stdout.readline()") as process:
        assert len(processes.tree(process.pid)) == 2
        assert 0.2 <= processes.processor_seconds(process.pid) < 2


def test_the_peak_of_memory_can_be_taken_anew() -> None:
    with program("held = bytearray(50_000_000)\ndel held") as process:
        before = processes.resident(process.pid)
        assert processes.peak_resident(process.pid) > before + 40_000_000
        processes.forget_peak(process.pid)
        assert processes.peak_resident(process.pid) < before + 10_000_000
        assert 0 < processes.private_memory(process.pid)[0] <= before


def test_a_process_that_is_not_there_has_used_nothing() -> None:
    with program("") as process:
        pass
    assert processes.processor_seconds(process.pid) == 0
    assert processes.private_memory(process.pid) == (0, 0)


def test_the_limit_of_open_files_is_only_raised() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert processes.raise_file_limit(16) == before[0]
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
