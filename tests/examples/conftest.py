"""Runs an example and records, from outside, what its optimizer was told to do."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from adana.optim.base import LogTimeOptimizer

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    """Import an example, which is a file and no package."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Recording:
    """The steps of the optimizers of this package, while it is on."""

    optimizer: Any = None
    gammas: list[float] = field(default_factory=list)
    """Learning rate over peak at each step, the same in all groups."""
    decays: list[tuple[float, ...]] = field(default_factory=list)
    """Fraction of a weight removed at each step, by group."""

    def __call__(self, optimizer, args, kwargs):
        if not isinstance(optimizer, LogTimeOptimizer):
            return
        self.optimizer = optimizer
        (gamma,) = {optimizer.gamma(group) for group in optimizer.param_groups}
        self.gammas.append(gamma)
        steps = [int(s["step"]) for s in optimizer.state.values() if s]
        t = max(steps, default=0) + 1
        self.decays.append(
            tuple(optimizer.hyper(group, t).decay for group in optimizer.param_groups)
        )

    def weights(self) -> list[torch.Tensor]:
        """Return a copy of all parameters."""
        groups = self.optimizer.param_groups
        return [p.detach().clone() for group in groups for p in group["params"]]


@contextmanager
def recorded() -> Iterator[Recording]:
    """Record every step that an optimizer of this package makes, in whatever framework."""
    record = Recording()
    handle = register_optimizer_step_pre_hook(record)
    try:
        yield record
    finally:
        handle.remove()


def library(name: str) -> ModuleType:
    """Import a framework, or skip the test with the reason."""
    return pytest.importorskip(
        name, reason=f"{name} is not installed: pip install -e '.[examples]'"
    )


@pytest.fixture(autouse=True)
def one_thread():
    """So small a model is slower on several threads, and much slower on busy ones."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
