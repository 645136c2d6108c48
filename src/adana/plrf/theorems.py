"""The smallest experiments that show when log-time averages keep weights bounded, and when not.

Three statements stand in the paper (arXiv 2602.05298): that Log-AdamW can diverge on a Lipschitz
function, that Adam with constant betas cannot, and that log-time schedules stay bounded on sparse
gradients once scaled by sqrt(p), p the probability that a gradient is not zero. Its text was not at
hand: the forms below, the bound and the exponents are ours.

All functions here are sums of |theta_i|, the simplest convex Lipschitz functions. A log-time
average remembers a fraction of training, so what it has learned about a rare coordinate moves the
weight for about t steps; the root of its second moment is about sqrt(p), so it moves fast as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adana.checks import check_integer, check_range
from adana.optim import ABLATIONS, AblatedADana, ADana, DanaStar
from adana.plrf.curve import log_steps
from adana.plrf.simulation import CHUNK, Progress
from adana.schedules import DELTA

LR = 0.1
"""Learning rate of all experiments here; distances are proportional to it."""


@dataclass(frozen=True)
class Contender:
    """An optimizer, from parameters and learning rate; `scaled`: its steps are taken sqrt(p)-fold.

    Those of the Star variants are so by their own estimate of p.
    """

    make: Callable[..., torch.optim.Optimizer]
    scaled: bool = False


ADAM_BETAS = (0.9, 0.99)
"""Adam's betas here: a memory of 100 steps, so that rarer gradients than that come soon enough."""
_PLAIN: dict[str, Any] = {"omega": 0.0, "foreach": False}
LOG_ADAMW = partial(AblatedADana, **_PLAIN, **ABLATIONS["log-adamw"])
CONTENDERS: dict[str, Contender] = {
    "Adam": Contender(partial(torch.optim.Adam, betas=ADAM_BETAS, foreach=False)),
    "Log-AdamW": Contender(LOG_ADAMW),
    "ADana": Contender(partial(ADana, **_PLAIN)),
    "Log-AdamW x sqrt(p)": Contender(LOG_ADAMW, scaled=True),
    "ADana x sqrt(p)": Contender(partial(ADana, **_PLAIN), scaled=True),
    "Dana-Star": Contender(partial(DanaStar, **_PLAIN)),
}
"""What the experiments on sparse gradients compare."""


# --- one coordinate, always active: too short a log-time memory ---------------------------------


@dataclass(frozen=True)
class Growth:
    """Distances from the minimum: `furthest` has shape (names, steps)."""

    names: tuple[str, ...]
    steps: np.ndarray
    furthest: np.ndarray

    def exponents(self, start: float) -> np.ndarray:
        """Return the slopes of `log furthest` against `log step` from step `start` on."""
        late = self.steps >= start
        return np.polyfit(np.log(self.steps[late]), np.log(self.furthest[:, late]).T, 1)[0]


def absolute_value_exponent(delta: float) -> float:
    """Exponent with which Log-AdamW's swings on |theta| grow: `1 - 2 (1 + delta) / 3`.

    Ours: with s = ln t and z = theta/t the update is `z'' + (1 + delta) z' + delta z = -c sign(z)`,
    a swing in a potential c |z|. Friction takes `(1 + delta) z'^2` of its energy, on average 2/3
    `(1 + delta)` of it in a unit of s, and the energy is proportional to the largest z. So swings
    of theta grow where `delta < 1/2`, however small the learning rate.
    """
    check_range("delta", delta, low=0.0, low_open=True)
    return 1 - 2 * (1 + delta) / 3


def absolute_value(
    deltas: Sequence[float], *, total_steps: int = 30_000, progress: Progress | None = None
) -> Growth:
    """Run Log-AdamW of each `delta`, and Adam, on f(theta) = |theta| from theta = 1.

    No randomness. `furthest` is the largest |theta| since the step recorded before. Takes some
    0.2 ms a step and optimizer. Raises `ValueError` for a delta given twice.
    """
    names = [f"Log-AdamW, delta = {delta:g}" for delta in deltas]
    if len(set(names)) < len(names):
        raise ValueError(f"deltas must be different numbers, got {', '.join(map(str, deltas))}")
    check_integer("total_steps", total_steps, low=2)
    contenders = {
        name: Contender(partial(LOG_ADAMW, delta=delta))
        for name, delta in zip(names, deltas, strict=True)
    }
    contenders["Adam"] = CONTENDERS["Adam"]
    sparse = _Sparse(contenders, torch.ones(1), start=1.0, runs=1)
    walk = sparse.walk(total_steps, 0, progress)
    return _growth(sparse, walk, log_steps(total_steps, 4)[1:])  # a swing takes a fraction of t


# --- many coordinates, ever rarer ---------------------------------------------------------------


def rare_coordinates(
    contenders: Mapping[str, Contender] = CONTENDERS,
    *,
    total_steps: int = 3000,
    coordinates: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Growth:
    """Minimise sum_i |theta_i|, coordinate i active in a step with probability 1/i, from 0.1.

    As with words of a text, new coordinates keep turning up: at step t they are those of i about t.
    `furthest` is the largest |theta_i| of all coordinates since the step recorded before: without
    scaling it grows as sqrt(t) for log-time averages, by `sqrt(delta t)/(delta/2 - 1)` learning
    rates after a single gradient. `coordinates` are `2 total_steps` by default; `progress` gets the
    number of steps done.
    """
    check_integer("total_steps", total_steps, low=2)
    count = 2 * total_steps if coordinates is None else coordinates
    check_integer("coordinates", count, low=1)
    probabilities = 1 / torch.arange(1, count + 1, dtype=torch.float64)
    sparse = _Sparse(contenders, probabilities, start=LR, runs=1)
    walk = sparse.walk(total_steps, seed, progress)
    return _growth(sparse, walk, log_steps(total_steps, 10)[1:])


# --- one coordinate of each probability ---------------------------------------------------------


@dataclass(frozen=True)
class Excursions:
    """How far weights stray: means over runs, shape (names, probabilities).

    `furthest` is the largest |theta| of a run of `events / p` steps, start included, and `late`
    that of its second half; `largest` is the largest of all runs, not their mean.
    """

    names: tuple[str, ...]
    probabilities: np.ndarray
    furthest: np.ndarray
    late: np.ndarray
    largest: np.ndarray

    def exponents(self) -> np.ndarray:
        """Return the slopes of `log late` against `log p`, one a name: -1/2 means 1/sqrt(p)."""
        return np.polyfit(np.log(self.probabilities), np.log(self.late).T, 1)[0]


def sparse_gradients(
    probabilities: Sequence[float],
    contenders: Mapping[str, Contender] = CONTENDERS,
    *,
    events: int = 20,
    runs: int = 64,
    seed: int = 0,
    progress: Progress | None = None,
) -> Excursions:
    """Minimise |theta| from 1 with gradients that are zero but for a share p of all steps.

    Every p runs for `events / p` steps, `runs` times. The whole takes `events / min(p)` steps of
    some 0.2 ms for each contender.
    """
    p = torch.tensor(probabilities, dtype=torch.float64)
    for value in probabilities:
        check_range("each probability", value, low=0.0, high=1.0, low_open=True)
    check_integer("events", events, low=2)
    check_integer("runs", runs, low=1)
    last = (events / p).round()
    sparse = _Sparse(contenders, p, start=1.0, runs=runs)
    furthest = sparse.distance()
    late = torch.zeros_like(furthest)
    for t in sparse.walk(int(last.max()), seed, progress):
        distance = sparse.distance()
        distance *= (t <= last).unsqueeze(-1)
        torch.maximum(furthest, distance, out=furthest)
        torch.maximum(late, distance * (t > last / 2).unsqueeze(-1), out=late)
    return Excursions(
        tuple(contenders),
        p.numpy(),
        furthest.mean(-1).numpy(),
        late.mean(-1).numpy(),
        furthest.amax(-1).numpy(),
    )


def adam_excursion_bound(lr: float, betas: tuple[float, float] = ADAM_BETAS) -> float:
    """Largest |theta| that Adam can reach on any sparse |theta|, if it starts no further off.

    A step is at most `lr` times `B = (1 - b1) / sqrt((1 - b2)(1 - b1^2/b2))`, by Cauchy and
    Schwarz. Once past the minimum, m shrinks at least by b1 in a step towards it and v at most by
    b2, so what is left of the way is at most `lr B / (1 - b1/sqrt(b2))`: 25 learning rates for
    `ADAM_BETAS`, 73 for (0.9, 0.999), whatever p. Needs `b1 < b2` and, for bias
    correction not to lengthen steps, `1 - b2 <= (1 - b1)^2`.
    """
    beta1, beta2 = betas
    if not (beta1 < beta2 and 1 - beta2 <= (1 - beta1) ** 2 * (1 + 1e-9)):
        raise ValueError(
            f"betas must have beta1 < beta2 and 1 - beta2 <= (1 - beta1)^2, got {betas}"
        )
    step = (1 - beta1) / np.sqrt((1 - beta2) * (1 - beta1**2 / beta2))
    return float(lr * step / (1 - beta1 / np.sqrt(beta2)))


def single_gradient_excursion(t: float, lr: float, delta: float = DELTA) -> float:
    """How far Log-AdamW carries a weight after its first and only gradient, at step t.

    `m / sqrt(v) = sqrt(a(t)) (t/s)^(delta/2)` at the steps s that follow, so about
    `lr sqrt(delta t) / (delta/2 - 1)` in all: it grows with t. For `delta > 2` and `t >> delta`.
    """
    check_range("delta", delta, low=2.0, low_open=True)
    return lr * np.sqrt(delta * t) / (delta / 2 - 1)


# --- shared -------------------------------------------------------------------------------------


class _Sparse:
    """Optimizers on |theta| with sparse gradients: weights of shape (probabilities, runs)."""

    def __init__(
        self, contenders: Mapping[str, Contender], probabilities: Tensor, start: float, runs: int
    ) -> None:
        self.probabilities = probabilities.to(torch.float64).unsqueeze(-1).expand(-1, runs)
        # Such optimizers do not see the scale of gradients, so steps of sqrt(p) times the learning
        # rate are steps of the learning rate in the coordinate theta / sqrt(p).
        self.scales = [
            self.probabilities.sqrt() if c.scaled else torch.ones_like(self.probabilities)
            for c in contenders.values()
        ]
        self.params = [nn.Parameter(start / scale) for scale in self.scales]
        self.optimizers = [
            c.make([p], lr=LR) for c, p in zip(contenders.values(), self.params, strict=True)
        ]
        self.names = tuple(contenders)

    def walk(self, total_steps: int, seed: int, progress: Progress | None) -> Iterator[int]:
        """Take steps 1 to `total_steps`, the same coordinates active for all; yield after each."""
        rng = np.random.default_rng(seed)
        shape, chance = tuple(self.probabilities.shape), self.probabilities.numpy()
        for t in range(1, total_steps + 1):
            active = torch.from_numpy(rng.random(shape) < chance)
            for p, optimizer in zip(self.params, self.optimizers, strict=True):
                p.grad = p.detach().sign().mul_(active)
                optimizer.step()
            yield t
            if progress is not None and (t % CHUNK == 0 or t == total_steps):
                progress(t)

    def distance(self) -> Tensor:
        """Return |theta|, shape (contenders, probabilities, runs)."""
        pairs = zip(self.params, self.scales, strict=True)
        return torch.stack([p.detach() * scale for p, scale in pairs]).abs_()


def _growth(sparse: _Sparse, walk: Iterator[int], steps: np.ndarray) -> Growth:
    furthest = np.zeros((len(sparse.names), len(steps)))
    row = 0
    for t in walk:
        now = sparse.distance().amax(dim=(1, 2)).numpy()
        furthest[:, row] = np.maximum(furthest[:, row], now)
        row += t == steps[row]
    return Growth(sparse.names, steps, furthest)
