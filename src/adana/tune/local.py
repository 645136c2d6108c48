"""The engine of one machine: jobs run in processes that live on from job to job.

Nothing here knows what a training is. A worker that dies takes its own job down and no other; one
that ran a job to its end is used again, so that a job costs milliseconds where a new process, which
imports torch, costs seconds.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Self

from adana.tune.engine import OnEvent, OnResult, Result, Work, failure, ignore, on_interrupt
from adana.tune.memory import available_memory, resident_memory
from adana.tune.worker import GROUP_SIGNALS, Limits, serve

PATIENCE = 10.0
"""Seconds that an idle worker has to end by itself before it is killed."""


def warn(text: str) -> None:
    """Print a message of the engine to standard error: the default `say`."""
    print(text, file=sys.stderr)


class LocalEngine:
    """Up to `workers` processes on this machine, started when needed and kept until `close`.

    Args:
        workers: jobs at a time, at least 1.
        memory_per_job: bytes that a job takes at most, if known: no more jobs run at a time than
            fit in the memory available (that of the control group, in a container).
        gpus: those to spread the jobs over, as in CUDA_VISIBLE_DEVICES: each job sees one of them,
            that with the fewest jobs. Empty: every job sees all that this process sees.
        limits: when a worker is replaced by a new one although nothing went wrong.
        say: called with what a person should know.
    """

    def __init__(
        self,
        workers: int,
        memory_per_job: int | None = None,
        limits: Limits = Limits(),  # noqa: B008 (frozen)
        say: Callable[[str], None] = warn,
        *,
        gpus: Sequence[str] = (),
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        if memory_per_job is not None and memory_per_job < 1:
            raise ValueError(f"memory_per_job must be at least 1 byte, got {memory_per_job}")
        self.workers, self.memory_per_job = workers, memory_per_job
        self.limits, self.gpus, self.say = limits, tuple(gpus), say
        self._idle: list[_Worker] = []
        self._batch: _Batch | None = None
        self.stopped_by: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the idle workers. A later `run` starts new ones."""
        idle, self._idle = self._idle, []
        for worker in idle:
            worker.pipe.close()
        for worker in idle:
            worker.process.join(PATIENCE)
            worker.process.kill()

    def run(
        self,
        work: Work,
        payloads: Mapping[str, Any],
        on_event: OnEvent = ignore,
        on_result: OnResult = ignore,
    ) -> dict[str, Result]:
        """Run ``work(payload, emit)`` for every payload; see `adana.tune.Engine.run`.

        Jobs start in the order of `payloads`. One that is killed while others run (the machine may
        have run out of memory) is tried once more after all others, alone.
        """
        batch = self._batch = _Batch(self, work, payloads, on_event, on_result)
        with on_interrupt(batch.stop):
            return batch.run(self._slots())

    def stop(self) -> None:
        """Do what a signal does to the batch that runs; for another thread, or a callback."""
        if self._batch is not None:
            self._batch.stop()

    def _slots(self) -> int:
        """How many jobs may run at a time."""
        room = available_memory() if self.memory_per_job else None
        if not self.memory_per_job or room is None:
            return self.workers
        # What idle workers hold, the jobs that they take have already.
        room += sum(resident_memory(w.process.pid) for w in self._idle if w.process.pid)
        fitting = room // self.memory_per_job
        if fitting < self.workers:
            self.say(
                f"{max(1, fitting)} of {self.workers} jobs at a time: {_gib(room)} of memory are "
                f"available and a job takes {_gib(self.memory_per_job)}"
                + ("; even one may not fit" if fitting < 1 else "")
            )
        return max(1, min(self.workers, fitting))

    def take(self, job: bytes, busy: Sequence[str | None]) -> _Worker:
        """Give a pickled job to an idle worker or a new one.

        `busy` are the GPUs of the workers with jobs.
        """
        gpu = self._least(busy)
        for worker in [idle for idle in reversed(self._idle) if idle.gpu == gpu]:
            self._idle.remove(worker)
            try:
                worker.pipe.send_bytes(job)
            except OSError:  # somebody ended it while it was idle
                worker.pipe.close()
            else:
                return worker
        worker = _start(self.limits, gpu)
        with contextlib.suppress(OSError):  # it died at once: the pipe's end will say so
            worker.pipe.send_bytes(job)
        return worker

    def _least(self, busy: Sequence[str | None]) -> str | None:
        """Return the GPU with the fewest jobs; of several, one that a worker waits on."""
        waiting = {worker.gpu for worker in self._idle}
        return min(self.gpus, key=lambda gpu: (busy.count(gpu), gpu not in waiting), default=None)

    def give_back(self, worker: _Worker, reusable: bool) -> None:
        """Keep a worker whose job has ended for the next one, or end it."""
        if reusable:
            self._idle.append(worker)
            return
        worker.pipe.close()
        worker.process.join(PATIENCE)
        worker.process.kill()
        worker.process.join()


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    gpu: str | None
    """The only one that its jobs see; None: all."""


@dataclass
class _Job:
    """A job that runs."""

    name: str
    worker: _Worker
    alone: bool = True
    """Whether no other job has run beside it."""


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
        self.waiting = list(payloads)[::-1]
        self.again: list[str] = []
        self.running: dict[Connection, _Job] = {}
        self.results: dict[str, Result] = {}
        self.stops = 0

    def stop(self, number: int | None = None, _frame: object = None) -> None:
        """Handle a signal: ask the running jobs to save, the second time kill them."""
        if number == signal.SIGHUP and self.stops:
            return
        self.engine.stopped_by = self.engine.stopped_by or number
        self.stops += 1
        for job in list(self.running.values()):
            process = job.worker.process
            process.terminate() if self.stops == 1 else process.kill()

    def run(self, slots: int) -> dict[str, Result]:
        """Run everything, `slots` jobs at a time."""
        try:
            while self.running or (not self.stops and (self.waiting or self.again)):
                while self.waiting and not self.stops and len(self.running) < slots:
                    self._start(self.waiting.pop())
                if self.again and not (self.waiting or self.running or self.stops):
                    self._start(self.again.pop(0))
                for pipe in wait(list(self.running)) if self.running else []:
                    assert isinstance(pipe, Connection)
                    self._serve(self.running[pipe])
        finally:  # none is left running, unless a callback raised
            for job in self.running.values():
                job.worker.process.terminate()
                job.worker.pipe.close()
        return self.results

    def _start(self, name: str) -> None:
        busy = [job.worker.gpu for job in self.running.values()]
        try:
            worker = self.engine.take(pickle.dumps((self.work, self.payloads[name])), busy)
        except Exception as error:  # a payload that cannot be pickled, say
            return self._conclude(name, failure(error))
        self.running[worker.pipe] = _Job(name, worker)
        if len(self.running) > 1:
            for job in self.running.values():
                job.alone = False
        if self.stops:  # the signal came while it was starting
            worker.process.terminate()

    def _serve(self, job: _Job) -> None:
        kind, content = _receive(job.worker)
        if kind == "event":
            return self.on_event(job.name, content)
        del self.running[job.worker.pipe]
        if kind == "result":
            result, reusable = content
            # Ended first: whoever sees the last result may look for processes left.
            self.engine.give_back(job.worker, reusable and not self.stops)
            return self._conclude(job.name, result)
        self.engine.give_back(job.worker, reusable=False)
        self._lost(job, job.worker.process.exitcode)

    def _lost(self, job: _Job, code: int | None) -> None:
        """Decide what becomes of a job whose process ended before it could say anything."""
        if self.stops and code in _STOPPED:
            return
        if code == -signal.SIGKILL and not job.alone:
            self.again.append(job.name)
            self.engine.say(
                f"{job.name}: its process was killed (often: the machine ran out of memory); it is "
                "tried again, alone, when the other jobs have ended"
            )
            return
        self._conclude(job.name, Result(error=_explain_exit(code)))

    def _conclude(self, name: str, result: Result) -> None:
        self.results[name] = result
        self.on_result(name, result)


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


_STOPPED = (-signal.SIGTERM, -signal.SIGKILL, -signal.SIGHUP)
"""Exit codes of a process that was ended before it could save."""


def _start(limits: Limits, gpu: str | None) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, limits, gpu), daemon=True)
    # Signals for the whole process group must not hit the imports of a process that is about to
    # leave it: it is born with them blocked (see worker). multiprocessing starts its tracker with
    # the first process and unblocks SIGINT: start it now.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
    return _Worker(process, ours, gpu)


def _receive(worker: _Worker) -> tuple[str, Any]:
    """Take one message of `adana.tune.worker.serve`, or ("lost", None)."""
    try:
        message: tuple[str, Any] = pickle.loads(worker.pipe.recv_bytes())
        return message
    except (EOFError, OSError):
        return "lost", None
    except Exception as error:  # it was pickled there and cannot be unpickled here
        worker.process.kill()
        return "result", (failure(error), False)


def _explain_exit(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " (often: the machine ran out of memory)" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}"
    return f"its process ended early with exit code {code}"


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
