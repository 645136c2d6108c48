"""The parent's handle of one worker process: give it a job, hear from it, end it."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
from multiprocessing import resource_tracker
from typing import Any

from adana.tune.engine import Work, failure
from adana.tune.memory import GIB
from adana.tune.worker import entry

JOBS_OF_A_WORKER = 500
"""A worker is replaced after so many jobs: a limit to whatever they leave behind unseen."""
IDLE_MEMORY = 2 * GIB
"""A worker that holds more bytes than this between jobs is replaced."""
PATIENCE = 30.0
"""Seconds that a process has for its own end before it is killed."""


class Worker:
    """One worker process and the job it has, if any."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=entry, args=(theirs,), daemon=True)
        self.job: str | None = None
        """The job whose result has not come yet."""
        self.ready = True
        """Whether the traces of its last job are wiped."""
        self.spent = False
        """Whether it must not be given another job."""
        self.jobs = 0
        self.memory = 0
        """Bytes it holds between two jobs, as far as it said."""
        # The process is born with SIGINT blocked, so that Ctrl-C does not hit its imports.
        # multiprocessing starts its tracker with the first process and unblocks SIGINT: start it.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def give(self, name: str, message: bytes) -> None:
        """Start a job of `pack`; what comes of a worker that died meanwhile, `receive` tells."""
        self.job, self.ready = name, False
        self.jobs += 1
        with contextlib.suppress(OSError):
            self.pipe.send_bytes(message)

    def wiped(self, why_not: str, memory: int) -> None:
        """Take note that it could, or why it could not, wipe the traces of its job."""
        self.ready, self.memory = True, memory
        worn = self.jobs >= JOBS_OF_A_WORKER or memory > IDLE_MEMORY
        self.spent = self.spent or worn or bool(why_not)

    def receive(self) -> tuple[str, Any]:
        """Take one message of `worker.entry`, or ("lost", None)."""
        try:
            message: tuple[str, Any] = self.pipe.recv()
            return message
        except (EOFError, OSError):
            return "lost", None
        except Exception as error:  # it was pickled there and cannot be unpickled here
            self.process.kill()
            return "result", failure(error)

    def ask_to_stop(self) -> None:
        """Send SIGTERM: the job may save and return, and is the last one."""
        self.spent = True
        self.process.terminate()

    def kill(self) -> None:
        """End it at once."""
        self.spent = True
        self.process.kill()

    def retire(self) -> int | None:
        """Let the process end, now that it has nothing to do, and return its exit code."""
        self.pipe.close()
        self.process.join(PATIENCE)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        return self.process.exitcode


def pack(work: Work, payload: Any) -> bytes:
    """Return the message that gives a worker a job; raises what pickling raises."""
    return pickle.dumps((work, payload))
