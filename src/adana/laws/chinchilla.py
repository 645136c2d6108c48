<<<<<<< HEAD
"""The Chinchilla form ``L(N, D) = E + A N^-alpha + B D^-beta``, of several optimizers together.

For runs whose model and data vary apart. Huber's cost with corner 1e-3 on log residuals in the
log-sum-exp parametrisation, as Hoffmann et al. had it, but from a grid of starts and polished to
the last digit: a loose tolerance there gave intervals that were far too tight (Epoch AI's
replication, spec/peers_harness section 2.5).

Separate fits of each optimizer are ill-conditioned, so by default they share E and the exponents
and differ in A and B, which is the same as an efficiency in parameters and one in data (Volkova).
Log-time optimizers claim another *exponent*, so exponents can be free, and
`adana.laws.exponent_test` tests one against the other.
=======
"""The two-variable loss law of runs at many model sizes and token counts.

``L(N, D) = E + A N^-alpha + B D^-beta``, fitted as its best replication does it: the log of L is a
log-sum-exp of three linear functions, residuals are logs under Huber's cost with its corner at
1e-3, and the starts are many. Here they are a grid of exponents, each with the best E, A and B by
non-negative least squares; the best few are polished to convergence, since a loose tolerance is
what once made such intervals far too tight (spec/peers_harness section 2.5). Bootstrap draws start
where the data themselves ended.
>>>>>>> w-laws2
"""

from __future__ import annotations

<<<<<<< HEAD
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from adana.laws.chinchilla_problem import (
    ALPHA,
    BETA,
    ENTROPY,
    ChinchillaProblem,
    build,
    grid_starts,
)
from adana.laws.joint_fit import Solution, polish

Floats = NDArray[np.float64]
Exponents = Literal["shared", "free"]
Kind = Literal["residuals", "runs"]

HUBER = 1e-3
"""Corner of Huber's cost in log loss (Hoffmann et al. 2022)."""

LEVEL = 0.9
"""Coverage of the intervals that the statements quote."""

STARTS = 16
"""Grid nodes that the data's fit starts from; a draw starts from its best one and that fit."""

ALIGNED = 0.999
"""Correlation of ln N and ln D above which the runs follow one ratio of tokens to parameters."""


@dataclass(frozen=True)
class Surface:
    """One optimizer's final losses; three arrays with one entry a run.

    `parameters` N and `tokens` D, positive; `losses` in nats a token.
    """

    name: str
    parameters: Floats
    tokens: Floats
    losses: Floats

    def __post_init__(self) -> None:
        columns = [np.asarray(x, dtype=float) for x in (self.parameters, self.tokens, self.losses)]
        fine = all(x.ndim == 1 and np.all(np.isfinite(x)) and np.all(x > 0) for x in columns)
        if not fine or len({len(x) for x in columns}) > 1 or not len(columns[0]):
            raise ValueError(
                f"{self.name!r} needs parameters, tokens and losses of one length, positive and "
                "finite; leave diverged runs out"
            )
        for key, column in zip(("parameters", "tokens", "losses"), columns, strict=True):
            object.__setattr__(self, key, column)
=======
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares, nnls
from scipy.special import logsumexp

Floats = NDArray[np.float64]

HUBER = 1e-3
"""Corner of Huber's cost on log residuals."""

GRID = np.linspace(0.05, 1.2, 12)
"""Exponents tried for N, and for D."""

POLISHED = 6
"""Grid nodes from which the fit is polished."""

TOLERANCE = 1e-12

LOWEST = -50.0
"""Smallest logarithm of E, A and B: nothing, in practice."""

NAMES = ("E", "A", "alpha", "B", "beta")
>>>>>>> w-laws2


@dataclass(frozen=True)
class ChinchillaLaw:
<<<<<<< HEAD
    """``L(N, D) = E + A N^-alpha + B D^-beta``, in nats a token."""

    entropy: float
    model: float
    """A"""
    data: float
    """B"""
    alpha: float
    beta: float

    def __call__(self, parameters: float, tokens: float) -> float:
        """Return the loss of a model with `parameters` trained on `tokens`."""
        return self.entropy + self.model * parameters**-self.alpha + self.data * tokens**-self.beta

    def best_model(self, flops: float) -> tuple[float, float]:
        """Return N and D of the lowest loss for ``flops = 6 N D``.

        >>> n, d = ChinchillaLaw(1.8, 400.0, 400.0, 0.34, 0.34).best_model(6e20)
        >>> f"{n:.3g} {d:.3g}"
        '1e+10 1e+10'
        """
        ratio = self.alpha * self.model / (self.beta * self.data)
        log_n = (np.log(ratio) + self.beta * np.log(flops / 6)) / (self.alpha + self.beta)
        return float(np.exp(log_n)), float(flops / 6 / np.exp(log_n))
=======
    """``L(N, D) = E + A N^-alpha + B D^-beta``, nats a token."""

    E: float
    A: float
    alpha: float
    B: float
    beta: float

    def __call__(self, parameters: Floats, tokens: Floats) -> Floats:
        """Return the loss at `parameters` and `tokens`, arrays of one shape."""
        return self.E + self.A * parameters**-self.alpha + self.B * tokens**-self.beta

    @property
    def parameter_exponent(self) -> float:
        """The power of C by which the best model size grows, ``beta / (alpha + beta)``."""
        return self.beta / (self.alpha + self.beta)
>>>>>>> w-laws2


@dataclass(frozen=True)
class ChinchillaFit:
<<<<<<< HEAD
    """The laws of several optimizers, their bootstrap draws, and what can be trusted."""

    laws: Mapping[str, ChinchillaLaw]
    exponents: Exponents
    replicates: Mapping[str, Floats]
    """By optimizer: draws of (E, A, B, alpha, beta), shape (draws, 5); a row is one draw."""
=======
    """The law, and bootstrap draws of (E, A, alpha, B, beta) with shape (draws, 5)."""

    law: ChinchillaLaw
    replicates: Floats
>>>>>>> w-laws2
    rms: float
    """Root mean square of the log residuals."""
    statements: tuple[str, ...]

<<<<<<< HEAD
    def interval(self, name: str, level: float = LEVEL) -> Floats:
        """Return the interval of (E, A, B, alpha, beta), shape (5, 2); NaN without draws."""
        return _middle(self.replicates[name], level)

    def efficiencies(self, baseline: str, name: str, level: float = LEVEL) -> Floats:
        """Return rho_N and rho_D with their intervals: rows (value, low, high), shape (2, 3).

        The baseline needs rho_N times the parameters for the same term ``A N^-alpha``, and rho_D
        times the tokens for the other. `ValueError` with free exponents: the factor then depends
        on the size.
        """
        if self.exponents != "shared":
            raise ValueError("efficiencies are factors only where the exponents are shared")
        values = [_row(self.laws[key]) for key in (baseline, name)]
        draws = _middle(_ratios(self.replicates[baseline], self.replicates[name]), level)
        return np.concatenate([_ratios(*values).T, draws], axis=1)


def fit_chinchilla(
    surfaces: Sequence[Surface],
    *,
    exponents: Exponents = "shared",
    huber: float = HUBER,
    bootstrap: int = 500,
    resample: Kind = "residuals",
    seed: int = 0,
) -> ChinchillaFit:
    """Fit the Chinchilla form; E is shared by all optimizers, alpha and beta as `exponents` says.

    `resample` ``residuals`` puts the residuals, drawn again and corrected for the parameters that
    were fitted, on the law; ``runs`` draws runs with replacement, for many runs. Raises
    `ValueError` where there are not more runs than parameters.
    """
    if exponents not in get_args(Exponents) or resample not in get_args(Kind):
        raise ValueError(
            f"exponents is shared or free and resample is residuals or runs, got {exponents!r} "
            f"and {resample!r}"
        )
    problem, logs = pose(surfaces, exponents)
    best = solve(problem, logs[None], huber, STARTS).parameters[0]
    predicted = problem.linearise(best[None])[0]
    residuals = logs - predicted[0]
    rng = np.random.default_rng(seed)
    if resample == "residuals":
        drawn = predicted + new_residuals(problem, residuals, bootstrap, rng)
        counts = np.ones_like(drawn)
    else:
        drawn = np.broadcast_to(logs, (bootstrap, len(logs)))
        counts = _counts(problem.owner, bootstrap, rng)
    draws = np.empty((0, problem.free))
    if bootstrap:
        draws = solve(problem, drawn, huber, 1, counts=counts, also=best).parameters
    laws, replicates = problem.laws(best[None])[0], problem.laws(draws)
    fit = ChinchillaFit(
        {s.name: ChinchillaLaw(*map(float, laws[k])) for k, s in enumerate(surfaces)},
        exponents,
        {s.name: replicates[:, k] for k, s in enumerate(surfaces)},
        float(np.sqrt(np.mean(residuals**2))),
        (),
    )
    return ChinchillaFit(**{**vars(fit), "statements": _statements(fit, problem)})


def pose(surfaces: Sequence[Surface], exponents: Exponents) -> tuple[ChinchillaProblem, Floats]:
    """Return the problem and its data, the log losses of all runs, shape (runs,)."""
    names = [surface.name for surface in surfaces]
    if not surfaces or len(set(names)) < len(names):
        raise ValueError(f"every optimizer needs a name of its own, got {names}")
    logs = np.log(np.concatenate([surface.losses for surface in surfaces]))
    problem = build(
        np.concatenate([surface.parameters for surface in surfaces]),
        np.concatenate([surface.tokens for surface in surfaces]),
        np.repeat(np.arange(len(surfaces)), [len(surface.losses) for surface in surfaces]),
        float(np.exp(logs.min())),
        {ENTROPY, ALPHA, BETA} if exponents == "shared" else {ENTROPY},
    )
    if len(logs) <= problem.free:
        raise ValueError(
            f"the Chinchilla form with {exponents} exponents has {problem.free} parameters here "
            f"and there are {len(logs)} runs; train more, or share exponents"
        )
    return problem, logs


def solve(
    problem: ChinchillaProblem,
    logs: Floats,
    huber: float,
    keep: int,
    *,
    counts: Floats | None = None,
    also: Floats | None = None,
) -> Solution:
    """Fit each row of `logs` from its `keep` best grid nodes, and from `also`."""
    multiplicity = np.ones_like(logs) if counts is None else counts
    starts = grid_starts(problem, logs, multiplicity, keep).reshape(len(logs), keep, -1)
    if also is not None:
        more = np.broadcast_to(also, (len(logs), problem.free))[:, None]
        starts = np.concatenate([starts, more], axis=1)
    each = starts.shape[1]
    return polish(
        problem,
        starts.reshape(len(logs) * each, -1),
        np.repeat(logs, each, axis=0),
        delta=huber,
        multiplicity=np.repeat(multiplicity, each, axis=0),
    ).best(each)


def new_residuals(
    problem: ChinchillaProblem, residuals: Floats, draws: int, rng: np.random.Generator
) -> Floats:
    """Draw residuals with replacement, as large as the errors behind them.

    As many residuals as there are parameters are zero or nearly so, because Huber's cost with a
    small corner runs through that many points. Those, the smallest, are left out: they say nothing
    of the noise, and with them the draws would look more certain than the data. What is left has
    the errors' mean square, whose own uncertainty is drawn too, as in `adana.laws.resampling`.
    """
    freedom = len(residuals) - problem.free
    kept = np.sort(np.abs(residuals))[problem.free :]
    scale = np.sqrt(freedom / rng.chisquare(freedom, (draws, 1)))
    drawn: Floats = scale * rng.choice(kept, (draws, len(residuals)))
    return drawn * rng.choice([-1.0, 1.0], drawn.shape)


def _counts(owner: NDArray[np.int64], draws: int, rng: np.random.Generator) -> Floats:
    """Return how often each run is drawn; every optimizer keeps its number of runs."""
    counts = np.empty((draws, len(owner)))
    for k in range(int(owner.max()) + 1):
        own = np.flatnonzero(owner == k)
        counts[:, own] = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), draws)
    return counts


def _row(law: ChinchillaLaw) -> Floats:
    return np.array([[law.entropy, law.model, law.data, law.alpha, law.beta]])


def _ratios(baseline: Floats, own: Floats) -> Floats:
    """Return rho_N and rho_D of each row, shape (rows, 2)."""
    with np.errstate(over="ignore"):
        return (baseline[:, 1:3] / own[:, 1:3]) ** (1 / own[:, 3:5])


def _middle(draws: Floats, level: float) -> Floats:
    if not len(draws):
        return np.full((draws.shape[1], 2), np.nan)
    tail = (1 - level) / 2
    return np.quantile(draws, [tail, 1 - tail], axis=0).T


def _statements(fit: ChinchillaFit, problem: ChinchillaProblem) -> tuple[str, ...]:
    said = []
    spread = np.std(problem.n), np.std(problem.d)
    if min(spread) < 1e-9 or np.corrcoef(problem.n, problem.d)[0, 1] > ALIGNED:
        said.append(
            "model and data do not vary apart in these runs: A N^-alpha and B D^-beta cannot be "
            "told from each other. Train models at several ratios of tokens to parameters"
        )
    first = next(iter(fit.laws))
    if len(fit.replicates[first]):
        low, high = fit.interval(first)[0]
        value = fit.laws[first].entropy
        if low < 0.05 * value or high - low > value:
            said.append(
                f"E is hardly identified: {100 * LEVEL:g} % interval {low:.3g} to {high:.3g}; "
                "predictions far outside of the runs depend on it"
            )
=======
    def interval(self, level: float = 0.9) -> Floats:
        """Return the intervals of (E, A, alpha, B, beta), shape (5, 2); NaN without draws."""
        if not len(self.replicates):
            return np.full((5, 2), np.nan)
        tails = (1 - level) / 2, (1 + level) / 2
        return np.quantile(self.replicates, tails, axis=0).T


def fit_chinchilla(
    parameters: ArrayLike,
    tokens: ArrayLike,
    losses: ArrayLike,
    *,
    bootstrap: int = 200,
    seed: int = 0,
) -> ChinchillaFit:
    """Fit the law to runs, one entry each: model size, tokens and final loss.

    The bootstrap draws runs with replacement. Raises `ValueError` where the shapes differ, a value
    is not positive, or there are fewer than six runs, two sizes or two token counts.
    """
    data = np.array([parameters, tokens, losses], dtype=float)
    _check(data)
    centers = np.log(data[:2]).mean(axis=1, keepdims=True)
    x, y = np.log(data[:2]) - centers, np.log(data[2])
    found = _fit(x, y, _grid_starts(x, y)[:POLISHED])
    rng = np.random.default_rng(seed)
    draws = np.empty((0, 5))
    if bootstrap:
        draws = np.array([_fit(x, y, [found], rows) for rows in _draws(data, bootstrap, rng)])
    law = ChinchillaLaw(*map(float, _natural(found[None], centers)[0]))
    rms = float(np.sqrt(np.mean((_model(found, x) - y) ** 2)))
    replicates = _natural(draws, centers)
    return ChinchillaFit(law, replicates, rms, _statements(replicates))


def _check(data: Floats) -> None:
    if data.ndim != 2 or data.shape[1] < 6:
        raise ValueError(
            f"the law has five parameters and needs at least six runs, got shape {data.shape[1:]}"
        )
    if not (np.isfinite(data).all() and (data > 0).all()):
        raise ValueError("model sizes, tokens and losses are positive and finite; leave others out")
    for what, row in zip(("model sizes", "token counts"), data[:2], strict=True):
        if len(np.unique(row)) < 2:
            raise ValueError(f"the runs have one value of {what}; the law needs several")


def _model(at: Floats, x: Floats) -> Floats:
    """Return the log loss at (log E, log A, alpha, log B, beta) of centred log N and log D."""
    e, a, alpha, b, beta = at
    terms = [np.full(x.shape[1], e), a - alpha * x[0], b - beta * x[1]]
    total: Floats = logsumexp(terms, axis=0)
    return total


def _grid_starts(x: Floats, y: Floats) -> list[Floats]:
    """Return starts at every pair of exponents, best first."""
    loss, found = np.exp(y), []
    for alpha in GRID:
        for beta in GRID:
            terms = np.stack([np.ones_like(y), np.exp(-alpha * x[0]), np.exp(-beta * x[1])], axis=1)
            amplitudes, miss = nnls(terms / loss[:, None], np.ones_like(y))
            e, a, b = np.log(np.maximum(amplitudes, 1e-6))
            found.append((miss, np.array([e, a, alpha, b, beta])))
    return [start for _, start in sorted(found, key=lambda pair: pair[0])]


def _fit(
    x: Floats, y: Floats, starts: Sequence[Floats], rows: NDArray[np.int64] | None = None
) -> Floats:
    """Return the best polished start on the chosen `rows`, all by default."""
    x, y = (x, y) if rows is None else (x[:, rows], y[rows])

    def residuals(at: Floats) -> Floats:
        return _model(at, x) - y

    def slopes(at: Floats) -> Floats:
        e, a, alpha, b, beta = at
        total = _model(at, x)
        share_n, share_d = np.exp(a - alpha * x[0] - total), np.exp(b - beta * x[1] - total)
        return np.stack(
            [np.exp(e - total), share_n, -x[0] * share_n, share_d, -x[1] * share_d], axis=1
        )

    box = ([LOWEST, LOWEST, 0.0, LOWEST, 0.0], [LOWEST * -1, LOWEST * -1, 4.0, LOWEST * -1, 4.0])
    fits = [
        least_squares(
            residuals,
            start,
            jac=slopes,
            bounds=box,
            loss="huber",
            f_scale=HUBER,
            x_scale="jac",
            xtol=TOLERANCE,
            ftol=TOLERANCE,
            gtol=TOLERANCE,
            max_nfev=500,
        )
        for start in starts
    ]
    return np.asarray(min(fits, key=lambda fit: fit.cost).x)


def _draws(data: Floats, draws: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Return rows drawn with replacement, each with two sizes and two token counts."""
    kept: list[NDArray[np.int64]] = []
    while len(kept) < draws:
        rows: NDArray[np.int64] = rng.integers(data.shape[1], size=(data.shape[1],))
        if all(len(np.unique(row[rows])) > 1 for row in data[:2]):
            kept.append(rows)
    return kept


def _natural(found: Floats, centers: Floats) -> Floats:
    """Return (E, A, alpha, B, beta) of N and D themselves."""
    e, a, alpha, b, beta = found.T
    n, d = centers[:, 0]
    return np.stack([np.exp(e), np.exp(a + alpha * n), alpha, np.exp(b + beta * d), beta], axis=1)


def _statements(replicates: Floats) -> tuple[str, ...]:
    if not len(replicates):
        return ("no intervals: no bootstrap draws",)
    said = []
    low, high = np.quantile(replicates, [0.05, 0.95], axis=0)
    for name, one, other in zip(NAMES, low, high, strict=True):
        if name in ("E", "alpha", "beta") and (one <= 0 or other / one > 2):
            said.append(f"{name} is not identified: 90 % interval {one:.3g} to {other:.3g}")
    share = replicates[:, 4] / (replicates[:, 2] + replicates[:, 4])
    ends = np.quantile(share, [0.05, 0.95])
    said.append(
        f"the best model size grows like C^({np.median(share):.3g}), 90 % interval "
        f"{ends[0]:.3g} to {ends[1]:.3g}"
    )
>>>>>>> w-laws2
    return tuple(said)
