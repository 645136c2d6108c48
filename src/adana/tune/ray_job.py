"""The cluster's side of the Ray engine: how one job runs on a node and talks to the driver.

A task of Ray is a shell around a local engine of one worker, so that a job meets on a cluster what
it meets on a laptop: a main thread of its own, SIGTERM when it should save, a fresh state.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import threading
from collections.abc import Iterator
from typing import Any

from adana.tune.engine import Result, failure
from adana.tune.local import LocalEngine
from adana.tune.ray_cluster import load_ray

ASK_EVERY = 0.5
"""Seconds between two questions to the driver whether to stop."""

_ENGINES: dict[str | None, LocalEngine] = {}
"""The local engine of this process of Ray, which keeps its worker for the next task; by the GPUs
that the worker sees."""


class Mailbox:
    """What jobs tell the driver and the driver tells jobs; an actor on the driver's node."""

    def __init__(self) -> None:
        self._mail: list[tuple[str, str, bytes]] = []
        self._stopping = False

    def put(self, name: str, kind: str, content: bytes) -> None:
        """Keep a message about the job `name` until the driver asks."""
        self._mail.append((name, kind, content))

    def take(self) -> list[tuple[str, str, bytes]]:
        """Return what has come since the last time."""
        mail, self._mail = self._mail, []
        return mail

    def stop(self) -> None:
        """Have no further job start, and the running ones save and end."""
        self._stopping = True

    def stopping(self) -> bool:
        """Whether `stop` was called. Every message its caller sent before has then come in."""
        return self._stopping


def run_one(name: str, job: bytes, mailbox: Any) -> bytes | None:
    """Run a pickled (work, payload) here; the pickled `Result`, or None if it was cut off."""
    result = _run(_engine(), name, job, mailbox)
    return None if result is None else _dumps(result)


def _engine() -> LocalEngine:
    """Return the local engine of this process; a new one if Ray gave this task other GPUs."""
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
    if gpus not in _ENGINES:
        for engine in _ENGINES.values():
            engine.close()
        _ENGINES.clear()
        _ENGINES[gpus] = LocalEngine(1)
    return _ENGINES[gpus]


def _run(engine: LocalEngine, name: str, job: bytes, mailbox: Any) -> Result | None:
    ray = load_ray()

    if ray.get(mailbox.stopping.remote()):
        return None
    mailbox.put.remote(name, "begun", b"")

    def post(_name: str, event: Any) -> None:
        mailbox.put.remote(name, "event", pickle.dumps(event))

    with _stopped_by(mailbox, engine):
        results = engine.run(call, {name: job}, on_event=post)
    ray.get(mailbox.stopping.remote())  # the events are there before the result is
    return results.get(name)


def call(job: bytes, emit: Any) -> Any:
    """Unpickle a job and run it."""
    work, payload = pickle.loads(job)
    return work(payload, emit)


@contextlib.contextmanager
def _stopped_by(mailbox: Any, engine: LocalEngine) -> Iterator[None]:
    """Stop what `engine` runs when the driver says so, or can no longer be reached."""
    ray = load_ray()

    over = threading.Event()

    def watch() -> None:
        while not over.wait(ASK_EVERY):
            try:
                stopping = ray.get(mailbox.stopping.remote())
            except ray.exceptions.RayError:
                stopping = True
            if stopping and not over.is_set():
                return engine.stop()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def run_many(  # noqa: PLR0917
    name: str, job: bytes, mailbox: Any, resources: dict[str, Any], retries: int, storage: str
) -> None:
    """Run a job on several devices through Ray Train; its result goes to the mailbox.

    `resources` are the arguments of `ray.train.ScalingConfig`. If a node is lost, Ray Train starts
    all ranks again, and a training goes on from its checkpoint.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig  # noqa: PLC0415 - optional
    from ray.train.torch import TorchConfig, TorchTrainer  # noqa: PLC0415 - optional

    TorchTrainer(
        _rank,
        train_loop_config={"name": name, "job": job, "mailbox": mailbox},
        scaling_config=ScalingConfig(**resources),
        run_config=RunConfig(
            storage_path=storage, failure_config=FailureConfig(max_failures=retries)
        ),
        # For the ranks' shells to find each other; the jobs in them make their own group.
        torch_config=TorchConfig(backend="gloo"),
    ).fit()


def _rank(config: dict[str, Any]) -> None:
    """Run one rank of a job: give it torchrun's environment, and let the first one report."""
    import ray.train  # noqa: PLC0415 - optional
    import torch.distributed as dist  # noqa: PLC0415 - slow

    context = ray.train.get_context()
    rank, size = context.get_world_rank(), context.get_world_size()
    where: list[Any] = [(ray.util.get_node_ip_address(), _free_port()) if rank == 0 else None]
    dist.broadcast_object_list(where, src=0)
    host, port = where[0]
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(context.get_local_rank()),
        "LOCAL_WORLD_SIZE": str(context.get_local_world_size()),
        "MASTER_ADDR": host,
        "MASTER_PORT": str(port),
    }
    name, mailbox = config["name"], config["mailbox"]
    with LocalEngine(1) as engine:
        result = _run(engine, name, config["job"], mailbox)
    cut_off = result is None
    error = "" if result is None or not result.error else f"rank {rank}: {result.error}"
    outcomes: list[Any] = [None] * size
    dist.all_gather_object(outcomes, (cut_off, error, result.details if result else ""))
    if rank == 0 and not any(cut for cut, _, _ in outcomes):
        failed = [Result(error=text, details=details) for _, text, details in outcomes if text]
        content = _dumps(failed[0] if failed else result)
        ray.get(mailbox.put.remote(name, "result", content))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _dumps(result: Result | None) -> bytes:
    try:
        return pickle.dumps(result)
    except Exception as error:  # whatever the result's class defines
        return pickle.dumps(failure(error))
