"""The child's side of the local engine: one process that runs job after job.

It takes pickled pairs (work, payload) from its pipe and sends back ("event", what was emitted),
one ("result", Result) a job, and then ("ready", why it must not be used again or "", its bytes in
memory) once all traces of the job are wiped.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from multiprocessing.connection import Connection, wait
from typing import Any

from adana.tune.clean import Clean
from adana.tune.engine import Result, failure
from adana.tune.memory import resident_memory


def entry(pipe: Connection) -> None:
    """Run what comes through `pipe` until it is closed; the target of a new process."""
    # Ctrl-C in the terminal is for the parent only, which passes on one SIGTERM.
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # drops one that came during the imports
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    clean = Clean()
    while True:
        try:
            message = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        _run(message, pipe)
        why_not = clean.restore()
        _send(pipe, "ready", (why_not, resident_memory()))


def _run(message: bytes, pipe: Connection) -> None:
    """Run one job and send what becomes of it."""
    try:
        work, payload = pickle.loads(message)
        value = work(payload, lambda event: _send(pipe, "event", event))
        _send(pipe, "result", Result(value=value))
    except Exception as error:  # whatever it is, the parent shows it
        _send(pipe, "result", failure(error))


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
