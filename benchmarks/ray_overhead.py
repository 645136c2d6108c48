"""What the Ray engine adds to a job: many trivial jobs on a cluster of two nodes, timed.

    python benchmarks/ray_overhead.py [--jobs 300]

Both nodes are on this machine, with one CPU each. The workers are started by a first batch, whose
time is reported apart. `engine_overhead.py` has the same for the local engine.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

from adana.tune import RayEngine

HERE = Path(__file__).parent
STORE = 100 * 2**20


def trivial(payload: Any, emit: Any) -> Any:
    return payload


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=300)
    jobs = parser.parse_args().jobs
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    from ray_overhead import trivial as importable  # noqa: PLC0415 - the nodes have no __main__

    node = {"num_cpus": 1, "object_store_memory": STORE}
    cluster = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **node})
    cluster.add_node(**node)
    try:
        with RayEngine(cluster.address) as engine:
            begun = time.perf_counter()
            engine.run(importable, {str(i): i for i in range(4)})
            started = time.perf_counter()
            results = engine.run(importable, {str(i): i for i in range(jobs)})
            ended = time.perf_counter()
    finally:
        cluster.shutdown()
    assert {name: result.value for name, result in results.items()} == {
        str(i): i for i in range(jobs)
    }
    print(
        f"ray, 2 nodes: {started - begun:.1f} s to start, {(ended - started) / jobs * 1e3:.1f} ms "
        f"a job over {jobs} jobs; load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
