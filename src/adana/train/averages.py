"""Averages of the weights along a run, evaluated beside them at no cost in training.

Each is another set of weights in memory, updated after every optimizer step and put in the model's
place for the length of an evaluation. How they are updated is torch's
(`torch.optim.swa_utils`) or `adana.log_time_average`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from adana.dtensors import local
from adana.optim import log_time_average
from adana.optim.averaging import MultiAverage

KINDS = {
    "ema": "ema:DECAY, an exponential average with a constant decay, say ema:0.999",
    "log-time": "log-time:DELTA, weight delta/(delta + n) on the newest, say log-time:8",
    "tail": "tail:FRACTION, the mean over the last fraction of training, say tail:0.2",
}
_PREFIX = "average."


@dataclass(frozen=True)
class AverageRule:
    """How one average is formed."""

    name: str
    update: MultiAverage
    tail: float = 1.0
    """The fraction of training, at its end, that it is formed over."""

    def begins(self, steps: int) -> int:
        """Return the step whose weights enter first, in a run of `steps` steps."""
        return 1 if self.tail == 1.0 else max(1, round(steps * (1 - self.tail)))


def parse_average(name: str) -> AverageRule:
    """Return the rule of an average such as "ema:0.999", "log-time:8" or "tail:0.2".

    Raises:
        ValueError: the kind is unknown or its number out of range.
    """
    kind, _, text = name.partition(":")
    try:
        number = float(text)
        if kind == "ema" and 0 < number < 1:
            return AverageRule(name, get_ema_multi_avg_fn(number))
        if kind == "log-time" and 0 < number < float("inf"):
            return AverageRule(name, log_time_average(number))
        if kind == "tail" and 0 < number < 1:
            return AverageRule(name, get_swa_multi_avg_fn(), number)
    except ValueError:
        pass
    known = "\n".join(f"  {text}" for text in KINDS.values())
    raise ValueError(f"unknown average {name!r}, expected one of\n{known}")


class WeightAverage:
    """One average of a model's weights, by the names of its parameters."""

    def __init__(self, rule: AverageRule, model: nn.Module, steps: int) -> None:
        self.rule, self.first = rule, rule.begins(steps)
        self._live = dict(model.named_parameters())
        self._mean = {name: p.detach().clone() for name, p in self._live.items()}
        self.count = 0
        """Steps that have entered."""

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step`."""
        if step < self.first:
            return
        mean, live = _local(self._mean.values()), _local(self._live.values())
        if self.count == 0:
            torch._foreach_copy_(mean, live)
        else:
            self.rule.update(mean, live, self.count)
        self.count += 1

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Have the model hold the average inside the block, and its own weights again after it."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        """Swap the average and the model's weights, one tensor at a time."""
        pairs = zip(_local(self._mean.values()), _local(self._live.values()), strict=True)
        for mean, live in pairs:
            own = live.clone()
            live.copy_(mean)
            mean.copy_(own)

    def tensors(self) -> dict[str, Tensor]:
        """Return its weights for a checkpoint, live."""
        return {tensor_name(self.rule.name, name): mean for name, mean in self._mean.items()}


def tensor_name(average: str, parameter: str) -> str:
    """Return what the average of a parameter is called in a checkpoint."""
    return f"{_PREFIX}{average}.{parameter}"


def _local(tensors: Any) -> list[Tensor]:
    """Return what this rank holds of each, sharing memory."""
    return [local(t.detach()) for t in tensors]
