"""The engine of a cluster: jobs run wherever an existing Ray cluster has room.

Ray brings the cluster, its scheduling and its retries; what a job is and how it stops is that of
the local engine, which runs inside every task (see `adana.tune.ray_job`).
"""

from __future__ import annotations

import pickle
import signal
import tempfile
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from adana.tune.engine import OnEvent, OnResult, Result, Work, failure, ignore, on_interrupt
from adana.tune.ray_cluster import connect, load_ray
from adana.tune.ray_job import Mailbox, run_many, run_one

LISTEN_EVERY = 0.1
"""Seconds between two looks at what the jobs have said."""


class RayEngine:
    """Jobs on a Ray cluster that is there already; this starts none.

    Every node must be able to import this package and the jobs' modules, and see the same files
    under the same paths: a job that goes on after its node died needs its run directory.

    Args:
        address: of the cluster, as for `ray.init`; None is the one of RAY_ADDRESS or this machine.
        cpus_per_job: CPUs to reserve for a job (for each of its devices).
        gpus_per_job: GPUs to reserve for a one-device job; above 0, devices are GPUs.
        devices_per_job: ranks of a job; several run through Ray Train, one process each.
        retries: how often a job starts again after its process or node was lost.
        storage: folder, shared by the nodes, where Ray Train keeps its records; default a
            temporary folder.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: there is no such cluster.
        ValueError: a number is out of range, or no node could ever run a job.
    """

    def __init__(  # noqa: PLR0917
        self,
        address: str | None = None,
        cpus_per_job: float = 1,
        gpus_per_job: float = 0,
        devices_per_job: int = 1,
        retries: int = 3,
        storage: str | None = None,
    ) -> None:
        if devices_per_job < 1 or retries < 0 or min(cpus_per_job, gpus_per_job) < 0:
            raise ValueError(
                "devices_per_job must be at least 1, and cpus_per_job, gpus_per_job and retries at "
                f"least 0; got {devices_per_job}, {cpus_per_job}, {gpus_per_job}, {retries}"
            )
        self.cpus, self.gpus, self.devices = cpus_per_job, gpus_per_job, devices_per_job
        self.retries = retries
        self.storage = storage
        self.stopped_by: int | None = None
        self._ours = connect(address)
        self._check_room()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._ours:
            ray = load_ray()

            ray.shutdown()

    def run(
        self,
        work: Work,
        payloads: Mapping[str, Any],
        on_event: OnEvent = ignore,
        on_result: OnResult = ignore,
    ) -> dict[str, Result]:
        """Run ``work(payload, emit)`` for every payload; see `adana.tune.Engine.run`.

        A job whose process or node is lost starts again elsewhere; it may emit events again, but
        has one result.
        """
        batch = _Batch(self, on_event, on_result)
        with on_interrupt(batch.stop):
            batch.submit(work, payloads)
            batch.listen()
        return batch.results

    def start(self, name: str, job: bytes, mailbox: Any) -> Any:
        """Submit a pickled job; return the reference of what will come of it."""
        ray = load_ray()

        if self.devices == 1:
            options = {"num_cpus": self.cpus, "num_gpus": self.gpus, "max_retries": self.retries}
            return ray.remote(run_one).options(**options).remote(name, job, mailbox)
        resources = {
            "num_workers": self.devices,
            "use_gpu": self.gpus > 0,
            "resources_per_worker": {"CPU": self.cpus}
            | ({"GPU": self.gpus} if self.gpus > 0 else {}),
        }
        storage = self.storage or tempfile.gettempdir()
        return (
            ray.remote(run_many)
            .options(num_cpus=0, max_retries=self.retries)
            .remote(name, job, mailbox, resources, self.retries, storage)
        )

    def _check_room(self) -> None:
        ray = load_ray()

        for kind, needed in (("CPU", self.cpus), ("GPU", self.gpus)):
            nodes = [n["Resources"].get(kind, 0) for n in ray.nodes() if n["Alive"]]
            if needed > max(nodes, default=0):
                raise ValueError(
                    f"a job needs {needed:g} {kind} on one node and the largest has "
                    f"{max(nodes, default=0):g}; lower what a job takes (--threads) or add a node"
                )
        there = ray.cluster_resources()
        for kind, needed in (("CPU", self.cpus), ("GPU", self.gpus)):
            if needed * self.devices > there.get(kind, 0):
                raise ValueError(
                    f"a job needs {needed * self.devices:g} {kind} and the whole cluster has "
                    f"{there.get(kind, 0):g}; lower what a job takes or add nodes"
                )


class _Batch:
    """One call of `RayEngine.run`."""

    def __init__(self, engine: RayEngine, on_event: OnEvent, on_result: OnResult) -> None:
        ray = load_ray()
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415 - optional

        self.engine, self.on_event, self.on_result = engine, on_event, on_result
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        # It must not be lost with another node.
        self.mailbox = ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()
        self.open: dict[Any, str] = {}
        self.begun: set[str] = set()
        self.results: dict[str, Result] = {}
        self.stops = 0

    def stop(self, number: int | None = None, _frame: object = None) -> None:
        """Handle a signal; `listen` does what it asks for."""
        if number == signal.SIGHUP and self.stops:
            return
        self.engine.stopped_by = self.engine.stopped_by or number
        self.stops += 1

    def submit(self, work: Work, payloads: Mapping[str, Any]) -> None:
        """Hand every job to Ray, in order."""
        for name, payload in payloads.items():
            if self.stops:
                return
            try:
                job = pickle.dumps((work, payload))
            except Exception as error:  # whatever the payload's class defines
                self._conclude(name, failure(error))
                continue
            self.open[self.engine.start(name, job, self.mailbox)] = name

    def listen(self) -> None:
        """Pass on events and results until no job is left."""
        ray = load_ray()

        heeded = 0
        try:
            while self.open:
                if heeded < min(self.stops, 2):
                    heeded += 1
                    self._ask_to_stop() if heeded == 1 else self._kill()
                references = list(self.open)
                ended, _ = ray.wait(references, num_returns=len(references), timeout=LISTEN_EVERY)
                self._read_mail()
                for reference in ended:
                    self._end(self.open.pop(reference), reference)
        finally:  # none is left open, unless a callback raised
            self._kill()
            ray.kill(self.mailbox)

    def _ask_to_stop(self) -> None:
        ray = load_ray()

        ray.get(self.mailbox.stop.remote())
        self._read_mail()
        for reference, name in self.open.items():
            if name not in self.begun:
                ray.cancel(reference)

    def _kill(self) -> None:
        ray = load_ray()

        for reference in self.open:
            ray.cancel(reference, force=True)
        self.open.clear()

    def _read_mail(self) -> None:
        ray = load_ray()

        for name, kind, content in ray.get(self.mailbox.take.remote()):
            if kind == "begun":
                self.begun.add(name)
            elif kind == "event":
                self.on_event(name, pickle.loads(content))
            elif name not in self.results:
                self._conclude(name, _loads(content))

    def _end(self, name: str, reference: Any) -> None:
        """Take what became of a task."""
        ray = load_ray()

        try:
            content = ray.get(reference)
        except ray.exceptions.TaskCancelledError:
            return
        except Exception as error:  # of Ray: the job's own are results
            if not self.stops and name not in self.results:
                text = f"Ray lost it: {str(error).strip().splitlines()[0]}"
                self._conclude(name, Result(error=text, details=str(error)))
            return
        self._read_mail()
        if content is not None:
            self._conclude(name, _loads(content))

    def _conclude(self, name: str, result: Result) -> None:
        self.results[name] = result
        self.on_result(name, result)


def _loads(content: bytes) -> Result:
    try:
        result: Result = pickle.loads(content)
        return result
    except Exception as error:  # it was pickled there and cannot be unpickled here
        return failure(error)
