"""Averages of the weights with log-time memory, for `torch.optim.swa_utils.AveragedModel`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from adana import schedules
from adana.checks import check_range

MultiAverage = Callable[[Sequence[Tensor], Sequence[Tensor], Any], None]


def log_time_average(delta: float = schedules.DELTA) -> MultiAverage:
    """Return the `multi_avg_fn` of an average over a fixed fraction of training.

    The newest weights enter with weight `delta / (delta + n)` after n earlier updates, so that the
    average's mean age is `n / (delta + 1)` updates at any time: no horizon and no decay rate to
    tune. The first update copies the weights.

    Args:
        delta: memory constant, > 0; larger is shorter. Default 8.

    Raises:
        ValueError: delta is out of range; or, from the first update, the average is of 16 bits,
            where it would stop moving.

    Example:
        >>> import torch, adana
        >>> model = torch.nn.Linear(4, 2)
        >>> average = torch.optim.swa_utils.AveragedModel(
        ...     model, multi_avg_fn=adana.log_time_average())
        >>> average.update_parameters(model)        # after every optimizer step
        >>> output = average(torch.ones(1, 4))      # evaluate the averaged weights
    """
    check_range("delta", delta, low=0.0, low_open=True)

    @torch.no_grad()
    def update(averaged: Sequence[Tensor], newest: Sequence[Tensor], n: Any) -> None:
        if isinstance(averaged, Tensor):
            raise TypeError("pass log_time_average() as multi_avg_fn, not as avg_fn")
        weight = float(schedules.ema_weight(float(n), delta))
        for mean, value in zip(averaged, newest, strict=True):
            if mean.is_floating_point():
                _refuse_coarse(mean)
                mean.lerp_(value.to(mean.dtype), weight)
            else:
                mean.copy_(value)

    return update


def _refuse_coarse(mean: Tensor) -> None:
    """Raise `ValueError` for an average that would soon stop: what is new is rounded away."""
    if mean.dtype.itemsize < torch.float32.itemsize:
        raise ValueError(
            f"an average in {mean.dtype} stops moving after some hundred updates, each of which is "
            "lost in rounding. Average a float32 copy of the model: "
            "AveragedModel(copy.deepcopy(model).float(), multi_avg_fn=adana.log_time_average()); "
            "update_parameters(model) takes a bfloat16 model as it is."
        )
