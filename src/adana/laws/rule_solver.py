"""Least squares of one form of rule, from several starting points within bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy
from numpy.typing import NDArray

from adana.laws.rule_forms import Form, Scale, Scales

Floats = NDArray[np.float64]

DISTINCT = math.log(1.5)
"""Sizes, or tokens beyond a power of the size, that differ by less are no evidence apart."""
_EXPONENTS = (-3.0, 3.0)
"""Bounds of every exponent."""
_LOG = ("a", "b")
"""Parameters that are fitted by their logarithms."""
HELD = {
    "A": "all sizes have about the same N; A is held at 0",
    "B": "tokens grow with parameters in all trainings, so that B cannot be told from A; B is held "
    "at 0, and A is the exponent along this ladder",
}
"""Why an exponent is held at 0."""


@dataclass(frozen=True)
class Problem:
    """One form, and the optima that it shall pass through."""

    form: Form
    scales: Scales
    logs: Floats
    """Logarithms of the tuned values."""
    held: tuple[str, ...] = field(init=False)
    """Exponents at 0, as N and D do not vary apart: `HELD`."""

    def __post_init__(self) -> None:
        held = _inseparable(self.scales) if "B" in self.form.parameters else ()
        object.__setattr__(self, "held", held)

    @staticmethod
    def of(form: Form, scales: Sequence[Scale], values: Sequence[float]) -> Problem:
        """Put tuned values into a problem."""
        return Problem(form, Scales.of(scales), np.log(values))

    @property
    def free(self) -> list[str]:
        """The parameters to fit."""
        return [name for name in self.form.parameters if name not in self.held]

    def take(self, rows: NDArray[np.integer]) -> Problem:
        """Return the problem with these optima only, some perhaps twice."""
        return Problem(self.form, self.scales.take(rows), self.logs[rows])

    def sum_of_squares(self, values: dict[str, float]) -> float:
        """Return the sum of the squared log residuals."""
        return float(np.sum((self.logs - self.form.log_value(values, self.scales)) ** 2))

    def solve(self) -> dict[str, float]:
        """Return the values of least squared log residuals, the best of all starts."""
        free = self.free
        low, high = np.array([self._bounds(name) for name in free]).T

        def natural(theta: Floats) -> dict[str, float]:
            fitted = zip(free, theta, strict=True)
            own = {k: float(np.exp(x)) if k in _LOG else float(x) for k, x in fitted}
            return {name: own.get(name, 0.0) for name in self.form.parameters}

        def residuals(theta: Floats) -> Floats:
            return np.asarray(self.form.log_value(natural(theta), self.scales) - self.logs)

        found = [
            scipy.optimize.least_squares(
                residuals,
                np.clip(start, low + 1e-9 * (high - low), high - 1e-9 * (high - low)),
                bounds=(low, high),
                x_scale="jac",
            )
            for start in self._starts(free)
        ]
        return natural(min(found, key=lambda each: each.cost).x)

    def _bounds(self, name: str) -> tuple[float, float]:
        if name == "a":
            return -300.0, 300.0
        if name == "b":
            return math.log(self.scales.p.min()) - 9.0, math.log(self.scales.p.max()) + 5.0
        if name == "c":
            return 0.0, 0.999 * float(np.exp(self.logs.min()))
        return _EXPONENTS

    def _starts(self, free: Sequence[str]) -> list[Floats]:
        """Return starting points: for some values of b or c, the rest by linear least squares."""
        p, lowest = self.scales.p, float(np.exp(self.logs.min()))
        shifts = [0.01 * p.min(), p.min(), p.max()] if "b" in free else [1.0]
        offsets = [0.0, 0.5 * lowest, 0.9 * lowest] if "c" in free else [0.0]
        return [self._start(free, float(b), c) for b in shifts for c in offsets]

    def _start(self, free: Sequence[str], b: float, c: float) -> Floats:
        zero = {"a": 1.0, "d": 0.0, "A": 0.0, "B": 0.0, "b": b, "c": 0.0}
        base = self.form.log_value(zero, self.scales)
        linear = [name for name in free if name not in ("b", "c")]
        units = {name: math.e if name == "a" else 1.0 for name in linear}
        columns = [self.form.log_value(zero | {k: u}, self.scales) - base for k, u in units.items()]
        target = np.log(np.exp(self.logs) - c) - base
        solution = np.linalg.lstsq(np.array(columns).T, target, rcond=None)[0]
        theta = dict(zip(linear, solution, strict=True)) | {"b": math.log(b), "c": c}
        return np.array([theta[name] for name in free])


def _inseparable(scales: Scales) -> tuple[str, ...]:
    """Return the exponents to hold at 0 because N and D do not vary apart."""
    log_n, log_d = np.log(scales.n), np.log(scales.d)
    if np.ptp(log_n) < DISTINCT:
        return ("A",) if np.ptp(log_d) >= DISTINCT else ("A", "B")
    line = np.polyfit(log_n, log_d, 1)
    return ("B",) if np.ptp(log_d - np.polyval(line, log_n)) < DISTINCT else ()
