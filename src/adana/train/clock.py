"""Where the time of a run goes: data, model, optimizer, evaluation, checkpoints.

On a GPU the host runs ahead of the device, so its clock would charge a section with the waiting for
an earlier one. Sections are therefore timed with events on the device there, which are read when
somebody asks, and nothing is made to wait.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator

import torch

SECTIONS = ("data", "model", "optimizer", "evaluation", "checkpoint")
"""Waiting for batches; forward, backward and clipping; the update; and what is not training."""
TRAINING = ("data", "model", "optimizer")

_Span = tuple[torch.cuda.Event, torch.cuda.Event]


class Clock:
    """Seconds by section since the start, and step by step since the last `lap`."""

    def __init__(self, device: torch.device, totals: dict[str, float] | None = None) -> None:
        self.totals = dict.fromkeys(SECTIONS, 0.0) | (totals or {})
        """Seconds of all sessions by section."""
        self._events = device.type == "cuda"
        self._pending: list[tuple[str, _Span, dict[str, float]]] = []
        self._steps: list[dict[str, float]] = []
        self._step = dict.fromkeys(SECTIONS, 0.0)
        self._lap, self._tokens = time.perf_counter(), 0

    @contextlib.contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Charge the time inside to one of `SECTIONS`; a step may enter one several times."""
        # Batches are made by the host, and evaluations and checkpoints end with a transfer to it.
        if self._events and name in {"model", "optimizer"}:
            span = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            span[0].record()
            try:
                yield
            finally:
                span[1].record()
                self._pending.append((name, span, self._step))
            return
        begin = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - begin
            self._add(name, seconds, self._step)
            if name not in TRAINING:  # not part of the rate at which the run trains
                self._lap += seconds

    def step(self, tokens: int) -> None:
        """End a step, which trained on so many tokens."""
        self._steps.append(self._step)
        self._step = dict.fromkeys(SECTIONS, 0.0)
        self._tokens += tokens

    def lap(self) -> dict[str, float]:
        """Return what a training row says of the steps since the last lap, and start over.

        Tokens per second without evaluations and checkpoints, and the median milliseconds that a
        step spent in each section of training.
        """
        self._read_events()
        now = time.perf_counter()
        row = {"tokens_per_second": round(self._tokens / max(now - self._lap, 1e-9), 1)}
        for name in TRAINING:
            times = [step[name] for step in self._steps]
            row[f"{name}_ms"] = round(1e3 * statistics.median(times), 4) if times else 0.0
        self._steps.clear()
        self._lap, self._tokens = now, 0
        return row

    def split(self) -> dict[str, float]:
        """Return the seconds of all sessions by section so far, rounded to milliseconds."""
        self._read_events()
        return {name: round(seconds, 3) for name, seconds in self.totals.items()}

    def _read_events(self) -> None:
        """Turn the events that were recorded into times; waits for the device."""
        if self._pending:
            torch.cuda.synchronize()
        for name, (begin, end), step in self._pending:
            self._add(name, begin.elapsed_time(end) / 1e3, step)
        self._pending.clear()

    def _add(self, name: str, seconds: float, step: dict[str, float]) -> None:
        self.totals[name] += seconds
        step[name] += seconds
