"""The child's side of the local engine: a process that runs one job after the other.

It is born with `GROUP_SIGNALS` blocked (see `adana.tune.local`), ends when its parent does, and
tells after every job whether it can run another one as a new process would.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import socket
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from adana.tune.engine import Result, Work, failure
from adana.tune.fresh import Freshness

GROUP_SIGNALS = (signal.SIGINT, signal.SIGHUP)
"""What a terminal sends to the whole process group: at Ctrl-C, and when it is closed."""


@dataclass(frozen=True)
class Limits:
    """When a worker has done enough and is replaced by a new one."""

    jobs: int = 500
    """Jobs after which it ends: a start costs seconds, so this adds milliseconds to a job."""
    growth: int = 2 * 2**30
    """Bytes it may have grown by since before its first job, once that has ended."""


def serve(pipe: Connection, limits: Limits, gpu: str | None = None) -> None:
    """Run the jobs that come through `pipe` until it is closed or this process is worn out.

    `gpu`, named as in CUDA_VISIBLE_DEVICES, is the only one that they see; None: all.

    A job comes as the pickle of (work, payload). What goes back are pickled pairs: ("event",
    anything) and at the end ("result", (`Result`, whether another job may come)).
    """
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read when a job uses CUDA for the first time
    # They are for the parent only, which passes on one SIGTERM.
    os.setpgrp()
    lost_terminal = signal.getsignal(signal.SIGHUP)
    for number in GROUP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # drops one that came during the imports
    signal.signal(signal.SIGHUP, lost_terminal)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, GROUP_SIGNALS)
    # A daemon may have no children of its own, but a job may: a DataLoader's workers, say.
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    # They must not keep the pipe open, whose end tells the parent that this process has died.
    os.register_at_fork(after_in_child=pipe.close)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signals, fresh, jobs = _SignalRecord(), None, 0
    reusable = True
    while reusable:
        try:
            message = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        try:
            job = pickle.loads(message)  # imports what the job needs
            fresh = fresh or Freshness()
            result = Result(value=_call(job, pipe))
        except Exception as error:  # whatever it is, the parent shows it
            result = failure(error)
        jobs += 1
        job = None
        reusable = fresh is not None and not (
            result.error
            or fresh.restore()
            or signals.any()
            or jobs >= limits.jobs
            or fresh.growth > limits.growth
        )
        try:
            _send(pipe, "result", (result, reusable))
        except Exception as error:  # it cannot be pickled
            reusable = False
            _send(pipe, "result", (failure(error), reusable))


def _call(job: tuple[Work, Any], pipe: Connection) -> Any:
    work, payload = job
    return work(payload, lambda event: _send(pipe, "event", event))


def _send(pipe: Connection, kind: str, content: Any) -> None:
    message = pickle.dumps((kind, content))
    try:
        pipe.send_bytes(message)
    except OSError:  # the parent is gone
        os._exit(1)


def _end_with_parent() -> None:
    """Stop as if killed, to be resumed later, as soon as the parent process is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


class _SignalRecord:
    """Remembers whether a handler of any job caught a signal, whoever sent it."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)

    def any(self) -> bool:
        if signal.set_wakeup_fd(-1) != self._write.fileno():
            return True  # the job took it away: who knows
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        try:
            return bool(self._read.recv(1))
        except BlockingIOError:
            return False
