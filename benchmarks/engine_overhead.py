"""What an engine adds to a job: many trivial jobs, timed.

    python benchmarks/engine_overhead.py [--jobs 2000] [--workers 1 2]

The workers are started by a first batch, whose time is reported apart.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

from adana.tune import Engine, LocalEngine


def trivial(payload: Any, emit: Any) -> Any:
    return payload


def measure(engine: Engine, workers: int, jobs: int) -> tuple[float, float]:
    """Return seconds of the first batch, and seconds a job afterwards."""
    begun = time.perf_counter()
    engine.run(trivial, {str(i): i for i in range(workers)})
    started = time.perf_counter()
    results = engine.run(trivial, {str(i): i for i in range(jobs)})
    ended = time.perf_counter()
    assert {name: result.value for name, result in results.items()} == {
        str(i): i for i in range(jobs)
    }
    return started - begun, (ended - started) / jobs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    a = parser.parse_args()
    for workers in a.workers:
        with LocalEngine(workers) as engine:
            start, each = measure(engine, workers, a.jobs)
        print(
            f"local, {workers} workers: {start:.1f} s to start, "
            f"{each * 1e3:.2f} ms a job over {a.jobs} jobs; load {os.getloadavg()[0]:.1f}"
        )


if __name__ == "__main__":
    main()
