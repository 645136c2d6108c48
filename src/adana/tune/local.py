"""Run many trainings on this machine, each in a process of its own.

Nothing here knows what a training is: a job is any picklable callable that takes a payload and a
function to send signs of life with. A worker that dies takes its own job down and no other; Ctrl-C
or SIGTERM lets every running job finish its step and save.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

Emit = Callable[[Any], None]
Work = Callable[[Any, Emit], Any]


@dataclass(frozen=True)
class Result:
    """What became of one job: a value, or what went wrong."""

    value: Any = None
    error: str = ""
    """Empty if the job returned; else a short text that says why it did not."""
    details: str = ""
    """The traceback, where there is one."""


@dataclass
class _Worker:
    name: str
    process: SpawnProcess
    pipe: Connection


def run_jobs(
    work: Work,
    payloads: Mapping[str, Any],
    workers: int,
    on_event: Callable[[str, Any], None] = lambda _name, _event: None,
    on_result: Callable[[str, Result], None] = lambda _name, _result: None,
) -> dict[str, Result]:
    """Run ``work(payload, emit)`` for every payload, at most `workers` at a time.

    Args:
        work: a top-level function; runs in a fresh process (spawned, so nothing is inherited).
        payloads: picklable payload by job name; started in this order.
        workers: processes at a time, at least 1.
        on_event: called here with (name, event) for everything a job emits.
        on_result: called here with (name, result) as soon as a job has ended.

    Returns:
        The result of every job that came to an end, by name. After Ctrl-C or SIGTERM no further
        job starts, the running ones get SIGTERM and are waited for; the second time they are
        killed. No `KeyboardInterrupt` is raised: compare the names to see which jobs are missing,
        because they never started or were cut off before they could save.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    waiting = list(payloads)
    running: dict[Connection, _Worker] = {}
    results: dict[str, Result] = {}
    stops = 0

    def stop(*_: object) -> None:
        nonlocal stops
        stops += 1
        for worker in list(running.values()):
            worker.process.terminate() if stops == 1 else worker.process.kill()

    def conclude(name: str, result: Result) -> None:
        results[name] = result
        on_result(name, result)

    def start(name: str) -> None:
        try:
            worker = _start(work, name, payloads[name])
        except Exception as error:  # a payload that cannot be pickled, say
            return conclude(name, _failure(error))
        running[worker.pipe] = worker
        if stops:  # the signal came while it was starting
            worker.process.terminate()

    def serve(worker: _Worker) -> None:
        kind, content = _receive(worker)
        if kind == "event":
            return on_event(worker.name, content)
        worker.process.join()
        del running[worker.pipe]
        code = worker.process.exitcode
        if kind == "result":
            conclude(worker.name, content)
        elif not (stops and code in _STOPPED):
            conclude(worker.name, Result(error=_explain_exit(code)))

    with _on_interrupt(stop):
        try:
            while running or (waiting and not stops):
                while waiting and not stops and len(running) < workers:
                    start(waiting.pop(0))
                for pipe in wait(list(running)) if running else []:
                    assert isinstance(pipe, Connection)
                    serve(running[pipe])
        finally:  # none is left running, unless a callback raised
            for worker in running.values():
                worker.process.terminate()
    return results


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


def _start(work: Work, name: str, payload: Any) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_entry, args=(work, payload, theirs), name=name, daemon=True)
    # The process is born with SIGINT blocked, so that Ctrl-C does not hit its imports (see _entry).
    # multiprocessing starts its tracker with the first process and unblocks SIGINT: start it now.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return _Worker(name, process, ours)


def _receive(worker: _Worker) -> tuple[str, Any]:
    """Take one message: ("event", what was emitted), ("result", Result) or ("lost", None)."""
    try:
        message: tuple[str, Any] = worker.pipe.recv()
        return message
    except (EOFError, OSError):
        return "lost", None
    except Exception as error:  # it was pickled there and cannot be unpickled here
        worker.process.kill()
        return "result", _failure(error)


def _explain_exit(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " (often: the machine ran out of memory)" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}"
    return f"its process ended early with exit code {code}"


def _failure(error: Exception) -> Result:
    return Result(error=f"{type(error).__name__}: {error}", details=traceback.format_exc())


def _end_with_parent() -> None:
    """Stop as if killed, to be resumed later, as soon as the parent process is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _entry(work: Work, payload: Any, pipe: Connection) -> None:
    """Run one job in the worker process and send what becomes of it."""
    # Ctrl-C in the terminal is for the parent only, which passes on one SIGTERM.
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # drops one that came during the imports
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def send(kind: str, content: Any) -> None:
        message = pickle.dumps((kind, content))
        try:
            pipe.send_bytes(message)
        except OSError:  # the parent is gone
            os._exit(1)

    try:
        send("result", Result(value=work(payload, lambda event: send("event", event))))
    except Exception as error:  # whatever it is, the parent shows it
        send("result", _failure(error))
