"""Run many jobs on this machine, in worker processes that outlive their jobs.

A worker that dies takes its own job down and no other; Ctrl-C or SIGTERM lets every running job
finish its step and save. Importing torch is paid once a worker, not once a job.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

from adana.tune.engine import OnEvent, OnResult, Result, Work, failure, ignore
from adana.tune.memory import available_memory, in_words, jobs_that_fit
from adana.tune.process import Worker, pack


class LocalEngine:
    """Runs jobs in worker processes of this machine (see `Engine`).

    Args:
        workers: jobs at a time, at least 1. Their processes are started (spawned: nothing is
            inherited) when first needed, and end with the engine.
        memory_per_job: bytes that one job needs; no more run at a time than the machine can hold
            when a batch begins, but always one. None: there is no such limit.

    A job whose process is killed (SIGKILL: often, the machine ran out of memory) is tried once
    more, alone, after the others; its events then begin anew.
    """

    def __init__(self, workers: int, memory_per_job: int | None = None) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        if memory_per_job is not None and memory_per_job < 1:
            raise ValueError(
                f"memory_per_job must be at least 1 byte, got {memory_per_job}; "
                "leave it out (None) for no limit"
            )
        self.workers = workers
        self.memory_per_job = memory_per_job
        self.idle: list[Worker] = []

    def run(
        self,
        work: Work,
        payloads: Mapping[str, Any],
        on_event: OnEvent = ignore,
        on_result: OnResult = ignore,
    ) -> dict[str, Result]:
        """Run one batch of jobs; see `Engine`. The work is done in order of `payloads`."""
        batch = _Batch(self, work, payloads, on_event, on_result)
        return batch.run()

    def room(self) -> tuple[int, str]:
        """Return how many jobs run at a time now, and why it is not `workers`, if it is not."""
        if self.memory_per_job is None:
            return self.workers, ""
        available = available_memory()
        if available is not None:
            available += sum(worker.memory for worker in self.idle)
        fit = jobs_that_fit(self.memory_per_job, available)
        if available is None or fit is None or fit >= self.workers:
            return self.workers, ""
        return fit, (
            f"{fit} at a time, not {self.workers}: {in_words(available)} of memory are free, "
            f"and each takes {in_words(self.memory_per_job)}"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the worker processes."""
        self.end_idle()

    def take(self) -> Worker:
        """Return a worker without a job, a new one if there is none."""
        while self.idle:
            worker = self.idle.pop()
            if worker.process.is_alive():
                return worker
            worker.retire()
        return Worker()

    def end_idle(self) -> None:
        """End the processes that have no job."""
        for worker in self.idle:
            worker.pipe.close()  # all begin to end before the first is waited for
        for worker in self.idle:
            worker.retire()
        self.idle.clear()


def run_jobs(
    work: Work,
    payloads: Mapping[str, Any],
    workers: int,
    on_event: OnEvent = ignore,
    on_result: OnResult = ignore,
) -> dict[str, Result]:
    """Run one batch of jobs on a `LocalEngine` of its own, at most `workers` at a time."""
    with LocalEngine(workers) as engine:
        return engine.run(work, payloads, on_event, on_result)


class _Batch:
    """One call of `LocalEngine.run`."""

    def __init__(
        self,
        engine: LocalEngine,
        work: Work,
        payloads: Mapping[str, Any],
        on_event: OnEvent,
        on_result: OnResult,
    ) -> None:
        self.engine, self.work, self.payloads = engine, work, payloads
        self.on_event, self.on_result = on_event, on_result
        self.waiting = deque(payloads)
        self.alone: deque[str] = deque()
        self.tried: set[str] = set()
        self.busy: dict[Connection, Worker] = {}
        self.results: dict[str, Result] = {}
        self.stops = 0

    def run(self) -> dict[str, Result]:
        room, _ = self.engine.room()
        with _on_interrupt(self.stop):
            try:
                while True:
                    while self._next(room):
                        pass
                    if self._ended:
                        return self.results
                    for pipe in wait(list(self.busy)):
                        assert isinstance(pipe, Connection)
                        self.serve(self.busy[pipe])
            finally:
                self._leave()

    @property
    def _ended(self) -> bool:
        running = any(worker.job is not None for worker in self.busy.values())
        left = self.waiting or self.alone
        return not running and (self.stops > 0 or not left)

    def _next(self, room: int) -> bool:
        """Start the next job if there is one and room for it."""
        if self.stops:
            return False
        if self.waiting and len(self.busy) < room:
            self.start(self.waiting.popleft())
            return True
        if self.alone and not self.waiting and not self.busy:
            self.engine.end_idle()  # they hold memory
            self.start(self.alone.popleft())
            return True
        return False

    def stop(self, *_: object) -> None:
        """Handle a signal: the first one lets the running jobs save, the second kills them."""
        self.stops += 1
        for worker in list(self.busy.values()):
            worker.ask_to_stop() if self.stops == 1 else worker.kill()

    def start(self, name: str) -> None:
        try:
            message = pack(self.work, self.payloads[name])
        except Exception as error:  # a payload that cannot be pickled, say
            return self.conclude(name, failure(error))
        worker = self.engine.take()
        self.busy[worker.pipe] = worker  # from here on, a signal reaches it
        if not self.stops:
            worker.give(name, message)

    def serve(self, worker: Worker) -> None:
        """Deal with one message of a worker."""
        kind, content = worker.receive()
        if kind == "event":
            assert worker.job is not None
            self.on_event(worker.job, content)
        elif kind == "result":
            name, worker.job = worker.job, None
            assert name is not None
            worker.spent = worker.spent or bool(content.error)
            self.conclude(name, content)
        elif kind == "ready":
            worker.wiped(*content)
            del self.busy[worker.pipe]
            self._put_back(worker)
        else:
            self._lose(worker)

    def conclude(self, name: str, result: Result) -> None:
        self.results[name] = result
        self.on_result(name, result)

    def _put_back(self, worker: Worker) -> None:
        if worker.spent:
            worker.retire()
        else:
            self.engine.idle.append(worker)

    def _lose(self, worker: Worker) -> None:
        """Deal with the end of a process, which had a job or was between two."""
        code, name = worker.retire(), worker.job
        del self.busy[worker.pipe]
        if name is None or (self.stops and code in _STOPPED):
            return
        if code == -signal.SIGKILL and name not in self.tried:
            self.tried.add(name)
            self.alone.append(name)
        else:
            self.conclude(name, Result(error=_explain_exit(code, name in self.tried)))

    def _leave(self) -> None:
        """Keep the workers that can be used again; stop the jobs of a batch that was cut short."""
        for worker in list(self.busy.values()):
            if worker.job is not None:  # a callback raised
                worker.process.terminate()
                worker.pipe.close()
                continue
            if not worker.ready:
                kind, content = worker.receive()
                worker.wiped(*content) if kind == "ready" else worker.kill()
            self._put_back(worker)
        self.busy.clear()


_STOPPED = (-signal.SIGTERM, -signal.SIGKILL)
"""Exit codes of a process that was ended before it could save."""


@contextlib.contextmanager
def _on_interrupt(handler: Callable[..., None]) -> Iterator[None]:
    """Call `handler` at SIGINT and SIGTERM; only the main thread can, in others it does nothing."""
    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def _explain_exit(code: int | None, again: bool) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " (often: the machine ran out of memory)" if name == "SIGKILL" else ""
        twice = ", and again when it ran alone" if again else ""
        return f"its process was ended by {name}{twice}{hint}"
    return f"its process ended early with exit code {code}"
