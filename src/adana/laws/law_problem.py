"""From curves and words ("single", "shared", ...) to the problem that `joint_fit` solves, and back.

Everything a caller can choose about a joint fit is decided here, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from adana.laws.curves import Curve
from adana.laws.joint_fit import EXPONENTS, FIRST, GAP, ROOM, SATURATION, SECOND, SLOW, Problem

Floats = NDArray[np.float64]

Form = Literal["single", "broken"]
Saturation = Literal["shared", "free", "zero"] | float
Exponents = Literal["free", "shared"]
Weights = Literal["equal", "compute"]


class TooFewSizesError(ValueError):
    """There are fewer points than parameters; the message says which and what to do."""


HUGE = 1e12
"""Upper end of an amplitude's box: none in practice."""


def build_problem(
    curves: Sequence[Curve],
    form: Form,
    saturation: Saturation,
    exponents: Exponents,
    weights: Weights,
) -> tuple[Problem, Floats]:
    """Return the problem and its data, the log mean losses of all points, shape (points,)."""
    _check_words(form, saturation, exponents, weights)
    names = [curve.name for curve in curves]
    if not curves or len(set(names)) < len(names):
        raise ValueError(f"every curve needs a name of its own, got {names}")
    computes = np.concatenate([curve.computes for curve in curves])
    logs = np.log(np.concatenate([curve.means for curve in curves]))
    center = float(np.mean(np.log(computes)))
    weight = computes / computes.mean() if weights == "compute" else np.ones_like(computes)
    index = _index(len(curves), saturation, exponents)
    lower, upper = _box(index, form, saturation, float(np.exp(logs.min())))
    problem = Problem(
        x=np.log(computes) - center,
        curve=np.repeat(np.arange(len(curves)), [len(curve.points) for curve in curves]),
        weights=weight,
        index=index,
        lower=lower,
        upper=upper,
        still=lower == upper,
        center=center,
    )
    _check_size(problem, curves, form)
    return problem, logs


def laws_of(problem: Problem, parameters: Floats) -> Floats:
    """Return (a, b, c, e, f) of each curve, shape (rows, curves, 5), from parameter vectors.

    A law that needs one term only has it as ``b C^-c``, with ``e = f = 0``.
    """
    a, first, gap, second, slow = np.moveaxis(parameters[:, problem.index], -1, 0)
    alone = (first == 0) & (second > 0)
    c = np.where(alone, slow, slow + gap)
    first, second = np.where(alone, second, first), np.where(alone, 0.0, second)
    b, e = first * np.exp(c * problem.center), second * np.exp(slow * problem.center)
    return np.stack([a, b, c, e, np.where(second > 0, slow, 0.0)], axis=-1)


def _index(curves: int, saturation: Saturation, exponents: Exponents) -> NDArray[np.int64]:
    """Number the parameters: one for each curve, or one for all where it is shared."""
    shared = {SATURATION} if saturation != "free" else set()
    shared |= {GAP, SLOW} if exponents == "shared" else set()
    index = np.empty((curves, 5), dtype=np.int64)
    count = 0
    for column in range(5):
        width = 1 if column in shared else curves
        index[:, column] = count + np.arange(width)
        count += width
    return index


def _box(
    index: NDArray[np.int64], form: Form, saturation: Saturation, lowest: float
) -> tuple[Floats, Floats]:
    value = {"zero": 0.0}.get(saturation, saturation) if isinstance(saturation, str) else saturation
    ends: dict[int, tuple[float, float]] = {
        SATURATION: (0.0, ROOM * lowest),
        FIRST: (0.0, HUGE),
        GAP: EXPONENTS,
        SECOND: (0.0, HUGE),
        SLOW: EXPONENTS,
    }
    if not isinstance(value, str):
        if not 0 <= value < lowest:
            raise ValueError(
                f"a saturation of {value:g} is impossible: it must be at least 0 and below the "
                f"lowest loss, {lowest:.4g}"
            )
        ends[SATURATION] = (float(value), float(value))
    if form == "single":
        ends[SECOND] = ends[SLOW] = (0.0, 0.0)
    lower, upper = np.empty(index.max() + 1), np.empty(index.max() + 1)
    for column, (low, high) in ends.items():
        lower[index[:, column]], upper[index[:, column]] = low, high
    return lower, upper


def _check_words(form: object, saturation: object, exponents: object, weights: object) -> None:
    choices = {
        "form": (form, get_args(Form)),
        "exponents": (exponents, get_args(Exponents)),
        "weights": (weights, get_args(Weights)),
    }
    for name, (value, known) in choices.items():
        if value not in known:
            raise ValueError(f"{name} is one of {', '.join(known)}, got {value!r}")
    number = isinstance(saturation, int | float) and not isinstance(saturation, bool)
    if not number and saturation not in ("shared", "free", "zero"):
        raise ValueError(f"saturation is shared, free, zero or a number, got {saturation!r}")


def _check_size(problem: Problem, curves: Sequence[Curve], form: Form) -> None:
    points = len(problem.x)
    if points < problem.free:
        sizes = ", ".join(f"{curve.name}: {len(curve.points)}" for curve in curves)
        raise TooFewSizesError(
            f"a {form} law here has {problem.free} parameters, and there are only {points} points "
            f"({sizes} sizes). Train more sizes, or fit less: form single, saturation a number or "
            "zero, exponents shared"
        )
    shortest = min(curves, key=lambda curve: len(curve.points))
    if len(shortest.points) < 2:
        raise TooFewSizesError(
            f"{shortest.name} has one size only; a law needs at least two. Leave it out, or train "
            "it at another size"
        )
