"""What an engine adds to a job: many trivial jobs, timed.

    python benchmarks/engine_overhead.py [--jobs 2000] [--engine local|ray] [--workers 1 2]

The workers are started by a first batch, whose time is reported apart. With ``--engine ray`` a
cluster of as many CPUs as workers is started on this machine.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

from adana.tune import Engine, LocalEngine, RayEngine


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


def on_ray(workers: int, jobs: int) -> tuple[float, float]:
    import ray  # noqa: PLC0415 - optional

    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    try:
        with RayEngine() as engine:
            return measure(engine, workers, jobs)
    finally:
        ray.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    a = parser.parse_args()
    for workers in a.workers:
        if a.engine == "ray":
            start, each = on_ray(workers, a.jobs)
        else:
            with LocalEngine(workers) as engine:
                start, each = measure(engine, workers, a.jobs)
        print(
            f"{a.engine}, {workers} workers: {start:.1f} s to start, "
            f"{each * 1e3:.2f} ms a job over {a.jobs} jobs; load {os.getloadavg()[0]:.1f}"
        )


if __name__ == "__main__":
    main()
