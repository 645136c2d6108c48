"""Ranks that stay up for many tests: starting processes costs more than most tests do.

A test sends a module-level function to every rank of a world and gets back what each returned. A
rank that raises, dies or hangs fails that test alone, with the rank's traceback: its world is ended
and the next test gets a fresh one.
"""

import datetime
import multiprocessing
import os
import pickle
import tempfile
import time
import traceback
from multiprocessing.connection import Connection, wait
from multiprocessing.forkserver import ensure_running
from pathlib import Path

import torch
import torch.distributed as dist

TIME_LIMIT = 60.0
"""Seconds that the ranks have for one function, many times what the slowest needs."""
GRACE = 1.0
"""Seconds that the others have to report too, once one rank has failed."""
LOOPBACK = Path("/sys/class/net/lo")
VERBS = ("train", "compare", "branch", "ladder", "tune", "report")
PRELOADED = [
    "torch._dynamo",  # which the first optimizer imports
    "torch.distributed.fsdp",
    "torch.distributed.checkpoint",
    "torch.distributed.tensor",
    "pytest",
    *(f"adana.cli.{verb}" for verb in VERBS),
]


def forkserver():
    """A context whose processes start from one that has imported what the tests need.

    They start in a tenth of a second; a fresh process first imports torch for several. They have
    the environment variables that the first of them found.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    ensure_running()  # not later: whoever starts a process may have signals blocked, which last
    return context


class RankError(AssertionError):
    """A rank failed; the message holds its traceback."""


class World:
    """Ranks that are connected by gloo and wait for functions to run."""

    def __init__(self, size: int):
        self.size = size
        self.folder = tempfile.TemporaryDirectory(prefix="adana-ranks-")
        context = forkserver()
        self.connections, self.processes = [], []
        for rank in range(size):
            ours, theirs = context.Pipe()
            arguments = (rank, size, f"{self.folder.name}/store", theirs)
            process = context.Process(target=_serve, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self.connections.append(ours)
            self.processes.append(process)

    def run(self, function, *arguments, seconds=TIME_LIMIT):
        """Return what `function(*arguments)` returned on each rank.

        Raises:
            RankError: a rank raised, died, or took more than `seconds`.
        """
        answers, failures = {}, {}
        open_ranks = {connection: rank for rank, connection in enumerate(self.connections)}
        deadline = time.monotonic() + seconds
        call = pickle.dumps((function, arguments))
        for connection, rank in list(open_ranks.items()):
            try:
                connection.send_bytes(call)
            except OSError:
                failures[open_ranks.pop(connection)] = f"rank {rank} had died before"
        while open_ranks and (left := deadline - time.monotonic()) > 0:
            for connection in wait(list(open_ranks), timeout=left):
                rank = open_ranks.pop(connection)
                try:
                    fine, answer = pickle.loads(connection.recv_bytes())
                except (EOFError, OSError):
                    self.processes[rank].join(GRACE)
                    fine, answer = False, f"died, exit code {self.processes[rank].exitcode}"
                (answers if fine else failures)[rank] = answer
            if failures:
                deadline = min(deadline, time.monotonic() + GRACE)
        if open_ranks or failures:
            self.stop()
            failures |= dict.fromkeys(open_ranks.values(), "was still busy and has been ended")
            told = [f"rank {rank} of {self.size}: {failures[rank]}" for rank in sorted(failures)]
            raise RankError("\n".join([f"{function.__qualname__} failed", *told]))
        return [answers[rank] for rank in range(self.size)]

    @property
    def alive(self):
        """Whether every rank runs."""
        return bool(self.processes) and all(process.is_alive() for process in self.processes)

    def stop(self):
        """End the ranks, whatever they are doing."""
        for process in self.processes:
            process.kill()
        for process, connection in zip(self.processes, self.connections, strict=True):
            process.join()
            connection.close()
        self.processes, self.connections = [], []
        self.folder.cleanup()


def _serve(rank: int, size: int, store: str, connection: Connection):
    """Be a rank: run what is asked for until the other end closes."""
    torch.set_num_threads(1)
    if LOOPBACK.exists():
        os.environ["GLOO_SOCKET_IFNAME"] = LOOPBACK.name
    dist.init_process_group(
        "gloo",
        store=dist.FileStore(store, size),
        rank=rank,
        world_size=size,
        timeout=datetime.timedelta(seconds=TIME_LIMIT),
    )
    while True:
        try:
            call = connection.recv_bytes()
        except EOFError:
            return
        try:
            function, arguments = pickle.loads(call)
            answer = pickle.dumps((True, function(*arguments)))
        except BaseException:
            answer = pickle.dumps((False, traceback.format_exc()))
        connection.send_bytes(answer)
