"""One job's traces in a worker process, wiped before the next: its bits are those of a fresh one.

What can be put back is put back (signal handlers, torch's settings and random numbers, environment,
folder). What cannot is named, and the worker is not used again.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

_TORCH: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (torch.get_num_threads, torch.set_num_threads),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
)
"""How to read and how to write each of torch's settings of a whole process."""


class Clean:
    """The state of a process in which no job has run yet."""

    def __init__(self) -> None:
        self._environment = dict(os.environ)
        self._folder = os.getcwd()
        self._threads = set(threading.enumerate())
        self._modules_path = list(sys.path)
        self._filters = list(warnings.filters)
        self._handlers = {
            number: handler
            for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
            if (handler := signal.getsignal(number)) is not None
        }
        self._torch = [read() for read, _ in _TORCH]
        self._seed = torch.initial_seed()
        gc.freeze()  # what is here now is never garbage: collecting a job's costs little

    def restore(self) -> str:
        """Put everything back; return why that is not possible, or an empty string."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        for name in set(os.environ) - set(self._environment):
            del os.environ[name]
        os.environ.update(self._environment)
        with contextlib.suppress(OSError):
            os.chdir(self._folder)
        sys.path[:] = self._modules_path
        warnings.filters[:] = self._filters  # type: ignore[index]
        self._restore_torch()
        random.seed()  # as in a new process: from the system, so that no two jobs draw the same
        np.random.seed()
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        return self._what_remains()

    def _restore_torch(self) -> None:
        for value, (_, write) in zip(self._torch, _TORCH, strict=True):
            write(value)
        torch.manual_seed(self._seed)  # a new process always has the same
        if "torch._dynamo" in sys.modules:
            torch.compiler.reset()  # else the next job runs uncompiled after some recompilations

    def _what_remains(self) -> str:
        left = [t.name for t in threading.enumerate() if t not in self._threads]
        if left:
            return f"threads still run: {', '.join(left)}"
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return "its process group was not left"
        if torch.get_default_device().type != "cpu":
            return "another default device is set"
        return ""
