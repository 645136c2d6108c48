"""What makes a worker that has run a job like one that has not.

A job may leave settings of torch, signal handlers, seeds, environment variables or caches behind.
They are put back before the next one, so that a job computes the same bits in any worker.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import random
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import torch

from adana.tune.memory import resident_memory

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)
"""Signals whose handlers are put back."""

NOTICEABLE = 64 * 2**20
"""Bytes of growth from which freed memory is handed back to the system between jobs."""


class Freshness:
    """The state of this process before its first job. Make it when the job's modules are there."""

    def __init__(self) -> None:
        self._handlers = {number: signal.getsignal(number) for number in SIGNALS}
        self._environment = dict(os.environ)
        self._folder = Path.cwd()
        self._path = list(sys.path)
        self._threads = torch.get_num_threads()
        self._dtype = torch.get_default_dtype()
        self._grad = torch.is_grad_enabled()
        self._precision = torch.get_float32_matmul_precision()
        self._deterministic = torch.are_deterministic_algorithms_enabled()
        self._warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
        self._benchmark = torch.backends.cudnn.benchmark
        self._seed = torch.initial_seed()
        self._running = set(threading.enumerate())
        self._memory = resident_memory()
        gc.freeze()  # what is there now stays: the collections between jobs need not look at it

    def restore(self) -> str:
        """Put everything back. Returns why that is not enough, or an empty string."""
        for number, handler in self._handlers.items():
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)
        signal.alarm(0)
        self._restore_process()
        self._restore_torch()
        random.seed()
        np.random.seed()
        gc.collect()
        self._forget_memory()
        if set(threading.enumerate()) - self._running:
            return "the job left threads running"
        if multiprocessing.active_children():
            return "the job left processes running"
        return ""

    @property
    def growth(self) -> int:
        """Bytes by which this process has grown since before its first job."""
        return resident_memory() - self._memory

    def _restore_process(self) -> None:
        if dict(os.environ) != self._environment:
            os.environ.clear()
            os.environ.update(self._environment)
        with contextlib.suppress(OSError):
            os.chdir(self._folder)
        sys.path[:] = self._path

    def _restore_torch(self) -> None:
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        torch.set_default_dtype(self._dtype)
        torch.set_grad_enabled(self._grad)
        torch.set_float32_matmul_precision(self._precision)
        torch.use_deterministic_algorithms(self._deterministic, warn_only=self._warn_only)
        torch.backends.cudnn.benchmark = self._benchmark
        torch.manual_seed(self._seed)  # that of a new process, which is always the same
        if "torch._dynamo" in sys.modules:
            # Compiled code of one job counts towards the limit of recompilations of the next.
            torch._dynamo.reset()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def _forget_memory(self) -> None:
        """Hand freed memory back, and let the peak that the next job reports be its own."""
        if self.growth > NOTICEABLE:
            with contextlib.suppress(OSError, AttributeError):  # only glibc has it
                ctypes.CDLL(None).malloc_trim(0)
        with contextlib.suppress(OSError):  # only Linux has it
            Path("/proc/self/clear_refs").write_text("5")
