"""What the optimizer's telemetry tells of the steps that training rows are about."""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from adana.optim import LogTimeOptimizer
from adana.optim.telemetry import Telemetry


class Watch:
    """Telemetry of chosen steps, or of none where it was not asked for.

    Raises:
        ValueError: it was asked for, and the optimizer has none.
    """

    def __init__(
        self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, *, wanted: bool
    ) -> None:
        self._optimizer: LogTimeOptimizer | None = None
        self._seen: Telemetry | None = None
        self._names: dict[int, str] = {}
        if not wanted:
            return
        if not isinstance(optimizer, LogTimeOptimizer):
            raise ValueError(
                f"telemetry comes from inside the update of this package's optimizers, and this is "
                f"{type(optimizer).__module__}.{type(optimizer).__name__}; leave --telemetry out"
            )
        self._optimizer = optimizer
        names = {p: name for name, p in model.named_parameters()}
        order = (p for group in optimizer.param_groups for p in group["params"])
        self._names = {index: names[p] for index, p in enumerate(order)}

    def step(self, *, watched: bool) -> contextlib.AbstractContextManager[Any]:
        """Return a context in which one step is made, and seen if it is `watched`."""
        if self._optimizer is None or not watched:
            return contextlib.nullcontext()
        self._seen = self._optimizer.telemetry()
        return self._seen

    def columns(self) -> dict[str, Any]:
        """Return what was seen last, by parameter, as a column of a training row; or nothing.

        Where parameters are sharded, every rank must call.
        """
        if self._seen is None:
            return {}
        read, self._seen = self._seen.read(), None
        rows = {
            name if isinstance(name, str) else self._names[name]: {
                field: x for field, x in seen._asdict().items() if x is not None
            }
            for name, seen in read.items()
        }
        return {"telemetry": rows}
