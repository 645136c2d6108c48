"""The reference's procedure for fitting loss laws, kept so that published numbers can be compared.

Adagrad from one start, as in ``compare_scaling_rules_ep.py`` (spec/scaling_laws section 3):
learning rate 0.1, 50 000 steps in float32, the best iterate; a saturation shared through a sigmoid
between 0 and a share of the lowest loss, amplitudes by their logarithm, exponents without bounds
or order. The broken law minimises squared log residuals; the single one squared residuals of the
log *excess* over the saturation, which gives points near it more weight, so the two objectives
cannot be compared. What it shows: the saturation ends about where it began.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adana.laws.curves import Curve
from adana.laws.law_problem import Form, Weights

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

STEPS = 50_000
RATE = 0.1

ROOM = {"single": 0.95, "broken": 0.99}
"""Upper end of the saturation, as a share of the lowest loss."""

START = {"single": (0.5, 0.05, 0.0, 0.0), "broken": (0.4, 0.2, 2.5, 0.03)}
"""b, c, e, f at the start."""

SATURATION_START = {"single": 0.1, "broken": float(1 / (1 + np.exp(3.1)))}
"""The saturation at the start, as a share of its upper end; the broken law's is sigmoid(-3.1)."""

ACCUMULATOR, EPSILON = 0.1, 1e-7
"""First value of Adagrad's sum of squares, and what is added under its root (optax's defaults)."""

EXCESS = 1e-8
"""Added to the excess loss before its logarithm."""


@dataclass(frozen=True)
class PaperFit:
    """Where each start ended; arrays with a row a start."""

    started: Floats
    """The saturation at the start, nats, shape (starts,)."""
    laws: Floats
    """(a, b, c, e, f) of each curve, shape (starts, curves, 5)."""
    objective: Floats
    """The weighted mean square that was minimised, shape (starts,)."""


def paper_fit(
    curves: Sequence[Curve],
    form: Form = "broken",
    *,
    weights: Weights = "equal",
    saturations: Sequence[float] | None = None,
    steps: int = STEPS,
) -> PaperFit:
    """Fit as the reference does; `saturations` are starts for `a` in nats, default the reference's.

    Takes up to half a minute for the default number of steps, hardly more for several starts.
    """
    computes = np.concatenate([curve.computes for curve in curves])
    losses = np.concatenate([curve.means for curve in curves])
    top = ROOM[form] * float(losses.min())
    shares = np.array(
        [SATURATION_START[form]] if saturations is None else [a / top for a in saturations]
    )
    if not np.all((shares > 0) & (shares < 1)):
        raise ValueError(f"a saturation must start between 0 and {top:.4g}, got {saturations}")
    weight = computes / computes.sum() if weights == "compute" else np.ones_like(computes)
    data = _Data(
        x=np.log(computes).astype(np.float32),
        y=np.log(losses).astype(np.float32),
        losses=losses.astype(np.float32),
        weight=(weight / weight.sum()).astype(np.float32),
        member=np.repeat(
            np.eye(len(curves), dtype=np.float32), [len(c.points) for c in curves], axis=0
        ),
        top=np.float32(top),
        form=form,
    )
    raw, objective = _adagrad(data, _start(data, shares), steps)
    laws = np.empty((len(shares), len(curves), 5))
    laws[..., 0] = top / (1 + np.exp(-raw[:, :1].astype(float)))
    b, c, e, f = np.moveaxis(raw[:, 1:].reshape(len(shares), 4, -1).astype(float), 1, 0)
    laws[..., 1], laws[..., 2] = np.exp(b), c
    laws[..., 3], laws[..., 4] = (np.exp(e), f) if form == "broken" else (0.0, 0.0)
    return PaperFit(top * shares, laws, objective.astype(float))


@dataclass(frozen=True)
class _Data:
    x: Singles
    y: Singles
    losses: Singles
    weight: Singles
    member: Singles
    """Shape (points, curves): 1 where the point is the curve's."""
    top: np.float32
    form: Form


def _start(data: _Data, shares: Floats) -> Singles:
    """Return rows (a_raw, log b of each curve, c.., log e.., f..)."""
    b, c, e, f = START[data.form]
    each = (np.log(b), c, np.log(e) if e else 0.0, f)
    rest = np.repeat(np.array(each), data.member.shape[1])
    first = np.log(shares / (1 - shares))[:, None]
    return np.concatenate([first, np.tile(rest, (len(shares), 1))], axis=1).astype(np.float32)


def _adagrad(data: _Data, raw: Singles, steps: int) -> tuple[Singles, Singles]:
    """Return the best iterate of each row and its objective."""
    squares = np.full_like(raw, ACCUMULATOR)
    best, lowest = raw.copy(), np.full(len(raw), np.inf, dtype=np.float32)
    gradient_of = _broken if data.form == "broken" else _single
    for _ in range(steps + 1):
        objective, gradient = gradient_of(data, raw)
        better = objective < lowest
        best[better], lowest[better] = raw[better], objective[better]
        squares += gradient**2
        raw = raw - np.float32(RATE) * gradient / np.sqrt(squares + np.float32(EPSILON))
    return best, lowest


def _broken(data: _Data, raw: Singles) -> tuple[Singles, Singles]:
    share = 1 / (1 + np.exp(-raw[:, :1]))
    b, c, e, f = np.moveaxis(raw[:, 1:].reshape(len(raw), 4, -1) @ data.member.T, 1, 0)
    steep, slow = np.exp(b - c * data.x), np.exp(e - f * data.x)
    loss = data.top * share + steep + slow
    residual = np.log(loss) - data.y
    pull = 2 * data.weight * residual / loss
    columns = np.stack([steep, -data.x * steep, slow, -data.x * slow], axis=1) * pull[:, None]
    return _together(data, residual, pull * data.top * share * (1 - share), columns)


def _single(data: _Data, raw: Singles) -> tuple[Singles, Singles]:
    share = 1 / (1 + np.exp(-raw[:, :1]))
    b, c, _, _ = np.moveaxis(raw[:, 1:].reshape(len(raw), 4, -1) @ data.member.T, 1, 0)
    excess = np.maximum(data.losses - data.top * share, 0) + np.float32(EXCESS)
    residual = np.log(excess) - (b - c * data.x)
    pull = 2 * data.weight * residual
    still = np.zeros_like(pull)
    columns = np.stack([-pull, data.x * pull, still, still], axis=1)
    return _together(data, residual, -pull / excess * data.top * share * (1 - share), columns)


def _together(
    data: _Data, residual: Singles, saturation: Singles, columns: Singles
) -> tuple[Singles, Singles]:
    """Return the objective (rows,) and its gradient (rows, parameters) from those of the points."""
    objective = (data.weight * residual**2).sum(axis=1)
    rest = (columns @ data.member).reshape(len(residual), -1)
    return objective, np.concatenate([saturation.sum(axis=1, keepdims=True), rest], axis=1)
