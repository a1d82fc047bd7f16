"""`python -m benchmarks.profiled STATISTICS serve …`: `restante` under cProfile."""

from __future__ import annotations

import cProfile
import sys

from restante.app.entry import main as restante


def main() -> None:
    """Run it, and write the statistics when it has ended."""
    statistics = sys.argv.pop(1)
    profiler = cProfile.Profile()
    try:
        profiler.runcall(restante)
    finally:
        profiler.dump_stats(statistics)


if __name__ == "__main__":
    main()
