"""Run many trainings on this machine, each in a process of its own.

Nothing here knows what a training is: a job is any picklable callable that takes a payload and a
function to send signs of life with. A worker that dies takes its own job down and no other; Ctrl-C
lets every running job finish its step and save.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
    """Empty if the job returned; else one line that says why it did not."""
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
        The result of every job that was started, by name. After Ctrl-C no further job starts, the
        running ones get SIGTERM and are waited for; a second Ctrl-C kills them. The
        `KeyboardInterrupt` is not raised: compare the names to see what is missing.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    context = multiprocessing.get_context("spawn")
    waiting = list(payloads)
    running: dict[Connection, _Worker] = {}
    results: dict[str, Result] = {}
    interrupts = 0
    while waiting or running:
        try:
            while waiting and len(running) < workers:
                name = waiting.pop(0)
                worker = _start(context, work, name, payloads[name])
                running[worker.pipe] = worker
            for pipe in wait(list(running)):
                assert isinstance(pipe, Connection)
                result = _receive(running[pipe], on_event)
                if result is not None:
                    name = running.pop(pipe).name
                    results[name] = result
                    on_result(name, result)
        except KeyboardInterrupt:
            interrupts += 1
            waiting.clear()
            for worker in running.values():
                worker.process.terminate() if interrupts == 1 else worker.process.kill()
    return results


def _start(context: Any, work: Work, name: str, payload: Any) -> _Worker:
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_entry, args=(work, payload, theirs), name=name, daemon=True)
    process.start()
    theirs.close()
    return _Worker(name, process, ours)


def _receive(worker: _Worker, on_event: Callable[[str, Any], None]) -> Result | None:
    """Take one message. Return the job's result if it was the last, else None."""
    try:
        kind, content = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join()
        return Result(error=_explain_exit(worker.process.exitcode))
    if kind == "event":
        on_event(worker.name, content)
        return None
    worker.process.join()
    worker.pipe.close()
    assert isinstance(content, Result)
    return content


def _explain_exit(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " (often: the machine ran out of memory)" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}"
    return f"its process ended early with exit code {code}"


def _entry(work: Work, payload: Any, pipe: Connection) -> None:
    """Run one job in the worker process and send what becomes of it."""
    os.setpgrp()  # Ctrl-C in the terminal reaches the parent only, which passes on one SIGTERM

    def emit(event: Any) -> None:
        try:
            pipe.send(("event", event))
        except OSError:  # the parent is gone: stop as if killed, to be resumed later
            os._exit(1)

    try:
        result = Result(value=work(payload, emit))
    except Exception as error:  # whatever it is, the parent shows it
        text = f"{type(error).__name__}: {error}"
        result = Result(error=text, details=traceback.format_exc())
    pipe.send(("result", result))
