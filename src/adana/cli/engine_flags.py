"""The flags that say where many trainings run, for every verb that starts several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from adana.train import LayoutConfig
from adana.tune import Engine, LocalEngine, RayEngine


@dataclass(frozen=True)
class EngineFlags:
    """Where the trainings run (docs/engines.md)."""

    engine: Literal["local", "ray"] = "local"
    """Processes of this machine, or an existing Ray cluster whose nodes share the folders of runs
    and data."""
    ray_address: str | None = None
    """Address of the Ray cluster. Default: RAY_ADDRESS, or the cluster that this machine is in."""

    def check(self) -> None:
        """Raise `ValueError` for flags that do not go together."""
        if self.ray_address is not None and self.engine != "ray":
            raise ValueError("--ray-address needs --engine ray")

    def build(self, workers: int, layout: LayoutConfig, say: Callable[[str], None]) -> Engine:
        """Return the engine for `workers` jobs at a time, each of one device as in `layout`.

        On Ray, the cluster's room decides how many run at a time; a job reserves a CPU for each of
        its threads, and a GPU if its device is one by name.

        Raises:
            RuntimeError: Ray is not installed.
            ConnectionError: there is no such cluster.
            ValueError: the flags do not go together, or the cluster has no room for one job.
        """
        self.check()
        if self.engine == "local":
            return LocalEngine(workers, say=say)
        gpus = 1 if layout.device.startswith("cuda") else 0
        try:
            return RayEngine(self.ray_address, cpus_per_job=layout.threads or 1, gpus_per_job=gpus)
        except ImportError as error:
            raise RuntimeError(str(error)) from error
