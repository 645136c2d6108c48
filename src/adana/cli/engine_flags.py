"""The flags that say where many trainings run, for every verb that starts several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from adana.ladder import job_memory
from adana.trackers import open_trackers
from adana.train import TrainConfig, gpus_to_share
from adana.tune import Engine, LocalEngine, RayEngine
from adana.tune.ray_cluster import load_ray


@dataclass(frozen=True)
class EngineFlags:
    """Where the trainings run (docs/engines.md)."""

    engine: Literal["local", "ray"] = "local"
    """Processes of this machine, or an existing Ray cluster whose nodes share the folders of runs
    and data."""
    ray_address: str | None = None
    """Address of the Ray cluster. Default: RAY_ADDRESS, or the cluster that this machine is in."""
    memory_per_job: float | None = None
    """Memory of one training in GB (1e9 bytes): of those on the CPU, no more run at a time than fit
    in what is free. Default: estimated from the largest model."""

    def check(self, jobs: int | None = None) -> None:
        """Raise `ValueError` for flags that do not go together; `jobs` is what --jobs says."""
        if self.ray_address is not None and self.engine != "ray":
            raise ValueError("--ray-address needs --engine ray")
        if self.memory_per_job is not None and self.engine != "local":
            raise ValueError("--memory-per-job needs --engine local: a cluster has its own limits")
        if self.memory_per_job is not None and not 0 < self.memory_per_job < float("inf"):
            raise ValueError(f"--memory-per-job must be above 0 GB, got {self.memory_per_job:g}")
        if self.engine != "local" and jobs is not None:
            raise ValueError(
                f"--jobs {jobs} does not go with --engine {self.engine}: the room of the cluster "
                "decides how many trainings run at a time"
            )

    def check_installed(self, trackers: Sequence[str] = ()) -> None:
        """Look for what the trainings will need, before any work is done.

        `trackers` are those that they have; on a cluster it is its nodes that need them.

        Raises:
            RuntimeError: Ray is not installed.
            ValueError: a tracker is unknown or there twice, or its package is not installed.
        """
        if self.engine == "local":
            open_trackers(trackers)
            return
        try:
            load_ray()
        except ImportError as error:
            raise RuntimeError(str(error)) from error

    def build(
        self, workers: int, configs: Sequence[TrainConfig], say: Callable[[str], None]
    ) -> Engine:
        """Return the engine for `workers` trainings at a time like `configs`, each on one device.

        All have the device and the threads of the first; on one machine they are spread over its
        GPUs, unless the device is one by number. On Ray, the cluster's room decides how many run at
        a time; a job reserves a CPU for each of its threads, and a GPU if its device is one by
        name.

        Raises:
            RuntimeError: Ray is not installed.
            ConnectionError: there is no such cluster.
            ValueError: the flags do not go together, or the cluster has no room for one job.
        """
        self.check()
        layout = configs[0].layout
        if self.engine == "local":
            spread = gpus_to_share(layout.device)
            return LocalEngine(workers, self._memory(configs), gpus=spread, say=say)
        gpus = 1 if layout.device.startswith("cuda") else 0
        return RayEngine(self.ray_address, cpus_per_job=layout.threads or 1, gpus_per_job=gpus)

    def _memory(self, configs: Sequence[TrainConfig]) -> int | None:
        """Return the bytes of the largest job, if known."""
        if self.memory_per_job is not None:
            return int(self.memory_per_job * 1e9)
        known = [size for size in map(job_memory, configs) if size is not None]
        return max(known, default=None)
