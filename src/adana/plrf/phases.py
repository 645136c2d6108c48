"""Which terms make up the risk at (alpha, beta), and how fast it falls in time and in compute.

With a clock theta(t), the same problem gives every method the same curve (spec section 7),

    P ~ theta^-p  +  theta^-(1-x) / d  +  noise theta^-(2-x)  +  d^-floor,      x = 1/(2 alpha)

of which a phase keeps those terms that matter at some time. Exponents in compute f = d t follow by
choosing d: they are not tabulated here but found from the terms, and equal the tables of spec
section 7.3. Those of SGD are known from arXiv 2405.15074; those of DANA are derived in the spec and
checked numerically, not quoted from arXiv 2505.16098. What is not confirmed says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from adana.checks import check_choice
from adana.plrf.problem import check_exponents

PLAIN = ("SGD", "SGD-M", "Schedule-Free SGD", "log-time average only")
"""Methods whose clock is that of SGD, up to a constant."""

DECAYING = ("DANA-decaying", "damped average")
"""The two forms of the same method: ADana without its second moment is the second one."""

ALGORITHMS = (*PLAIN, "DANA-constant", *DECAYING)
"""Methods with known exponents, named as by `adana.plrf.momentum`. The others have none of their
own: the undamped ones diverge, and AdEMAMix is DANA-constant with the strength that its horizon
sets, whatever d is (`adana.plrf.momentum.ademamix`)."""

IV_BORDER = 1 - 1 / np.sqrt(2)
"""The alpha between phases IVb and IVa."""

FLOOR_BORDER = (3 + np.sqrt(5)) / 4
"""The alpha above which DANA-decaying trades F_ac for the floor by a smaller d (phases II, III)."""


@dataclass(frozen=True)
class Term:
    """A term `d^-dimension theta^-clock` of the risk."""

    name: str
    clock: float
    dimension: float = 0.0


@dataclass(frozen=True)
class Clock:
    """A clock `theta ~ d^-dimension t^time`."""

    time: float
    dimension: float = 0.0


@dataclass(frozen=True)
class Exponents:
    """How the risk P of one algorithm falls at (alpha, beta): exponents, all positive for a fall.

    `terms` in the order in which they lead, with the powers of the clock and of d; `clocks` the
    stages of the clock, which is the largest of them. `time`: `P ~ t^-time` while the first term
    leads and the last clock runs. `floor`: `P_inf ~ d^-floor`, reached at `t ~ d^floor_time`. With
    compute f = d t spent best, `P ~ f^-compute` at `d ~ f^size`. Where not `confirmed`, `note` says
    what was measured instead or what is unproved (spec section 15).
    """

    alpha: float
    beta: float
    phase: str
    algorithm: str
    terms: tuple[Term, ...]
    clocks: tuple[Clock, ...]
    floor: float
    compute: float
    size: float
    confirmed: bool
    note: str

    @property
    def time(self) -> float:
        """Exponent in time of the leading term."""
        return self.terms[0].clock * self.clocks[-1].time

    @property
    def floor_time(self) -> float:
        """Exponent in d of the time at which the risk meets its floor: where theta = d^2alpha."""
        last = self.clocks[-1]
        return (2 * self.alpha + last.dimension) / last.time


def phase(alpha: float, beta: float) -> str:
    """Return the phase: "Ia", "Ib", "Ic", "II", "III", "IVa" or "IVb" (spec section 7.1).

    On a border the phase of smaller alpha, or else of smaller beta. Exponents in compute are equal
    on both sides; those in time jump where 2 alpha = 1, and that of the best size at `IV_BORDER`.
    Raises `ValueError` unless `alpha > 0` and `2 alpha + 2 beta > 1`.
    """
    check_exponents(alpha, beta)
    if beta <= 0.5:
        return "Ia" if alpha > 0.5 else "Ib"
    if alpha <= 0.25:
        return "Ic"
    if alpha <= 0.5:
        return "IVb" if alpha <= IV_BORDER else "IVa"
    return "II" if beta <= alpha else "III"


def spectrum_exponent(alpha: float, beta: float) -> float:
    """Return `p = (2 alpha + 2 beta - 1)/(2 alpha)`, of `F_pp ~ theta^-p` (spec section 4.2)."""
    return (2 * alpha + 2 * beta - 1) / (2 * alpha)


def exponents(alpha: float, beta: float, algorithm: str) -> Exponents:
    """Return the exponents of one of `ALGORITHMS`, the best constants and damping assumed.

    DANA-decaying and the damped average mean `kappa = min(1, 1/(2 alpha))`. Raises `ValueError`
    for other names and for inadmissible (alpha, beta). Source: spec/plrf.md sections 7.1 to 7.3 and
    15.
    """
    check_choice("algorithm", algorithm, ALGORITHMS)
    name = phase(alpha, beta)
    terms, clocks = _terms(alpha, beta, name), _clocks(alpha, algorithm)
    floor = 2 * alpha - max(0.0, 1 - 2 * beta)
    compute, size = _best_size(terms, clocks, floor)
    doubt = _doubt(alpha, name, algorithm)
    return Exponents(
        alpha, beta, name, algorithm, terms, clocks, floor, compute, size, not doubt, doubt
    )


def _terms(alpha: float, beta: float, name: str) -> tuple[Term, ...]:
    x = 1 / (2 * alpha)
    spectrum = Term("F_pp", spectrum_exponent(alpha, beta))
    distortion = Term("F_ac", 1 - x, 1.0)
    if name == "II":
        return spectrum, distortion
    if name == "III":
        return Term("K_pp", 2 - x), distortion
    if name.startswith("IV"):
        return spectrum, Term("K_pp", 2 - x, 1 - 2 * alpha)  # in proportion to the step
    return (spectrum,)


def _clocks(alpha: float, algorithm: str) -> tuple[Clock, ...]:
    if alpha <= 0.5:  # the trace grows with d: stable steps shrink, and momentum adds nothing
        return (Clock(1.0, 1 - 2 * alpha),)
    if algorithm == "DANA-constant":
        return Clock(1.0), Clock(2.0, 1.0)
    if algorithm in DECAYING:
        return (Clock(2 - 1 / (2 * alpha)),)
    return (Clock(1.0),)


def _best_size(
    terms: tuple[Term, ...], clocks: tuple[Clock, ...], floor: float
) -> tuple[float, float]:
    """Return the best exponent in compute and that of d which reaches it.

    With `d = f^size`, `t = f^(1-size)` each term falls as a power of f that is piecewise linear in
    `size`; the slowest is to be as fast as can be, so the best size is at a crossing of two lines.
    """

    def fall(term: Term, clock: Clock) -> np.ndarray:  # coefficients of size and of 1
        ticks = np.array([-clock.dimension - clock.time, clock.time])
        return term.clock * ticks + np.array([term.dimension, 0.0])

    staged = np.array([[fall(term, clock) for clock in clocks] for term in terms])
    lines = [*staged.reshape(-1, 2), np.array([floor, 0.0])]
    sizes = [0.0, 1.0]
    for one, other in combinations(lines, 2):
        slope, level = one - other
        if slope != 0 and 0 <= -level / slope <= 1:
            sizes.append(-level / slope)

    def slowest(size: float) -> float:
        return min(float((staged @ [size, 1.0]).max(axis=1).min()), floor * size)

    best = max(sizes, key=slowest)
    return float(slowest(best)), float(best)


def _doubt(alpha: float, name: str, algorithm: str) -> str:
    """Say what is not confirmed, or nothing."""
    if alpha <= 0.25:
        return (
            "alpha < 1/4 is unproved in arXiv 2405.15074; measured 0.20 against 0.23 in compute at "
            "(0.2, 0.8) up to d = 7e5"
        )
    if algorithm in PLAIN or alpha <= 0.5:
        return ""
    if algorithm == "DANA-constant" and name in {"II", "III"} and alpha >= 0.75:
        return "measured 0.74 against 0.80 in compute at (1, 1.3) and still drifting at d = 1e6"
    if alpha < 0.75:
        return "measured 3 to 8 % below in compute at alpha = 0.7 up to d = 1e6"
    if name in {"II", "III"} and alpha > FLOOR_BORDER:
        return "measured 1.08 (the spec: 1.20) against 1.07 in compute at (1.5, 0.8)"
    return ""
