"""The Chinchilla form ``L(N, D) = E + A N^-alpha + B D^-beta``, of several optimizers together.

For runs whose model and data vary apart. Huber's cost with corner 1e-3 on log residuals in the
log-sum-exp parametrisation, as Hoffmann et al. had it, but from a grid of starts and polished to
the last digit: a loose tolerance there gave intervals that were far too tight (Epoch AI's
replication, spec/peers_harness section 2.5).

Separate fits of each optimizer are ill-conditioned, so by default they share E and the exponents
and differ in A and B, which is the same as an efficiency in parameters and one in data (Volkova).
Log-time optimizers claim another *exponent*, so exponents can be free, and
`adana.laws.exponent_test` tests one against the other.
"""

from __future__ import annotations

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
from adana.laws.multiplier import LEVEL

Floats = NDArray[np.float64]
Exponents = Literal["shared", "free"]
Kind = Literal["residuals", "runs"]

HUBER = 1e-3
"""Corner of Huber's cost in log loss (Hoffmann et al. 2022)."""

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


@dataclass(frozen=True)
class ChinchillaLaw:
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


@dataclass(frozen=True)
class ChinchillaFit:
    """The laws of several optimizers, their bootstrap draws, and what can be trusted."""

    laws: Mapping[str, ChinchillaLaw]
    exponents: Exponents
    replicates: Mapping[str, Floats]
    """By optimizer: draws of (E, A, B, alpha, beta), shape (draws, 5); a row is one draw."""
    rms: float
    """Root mean square of the log residuals."""
    statements: tuple[str, ...]

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
    own = fit.exponents == "free"
    said += [
        _growth(name if own else "", fit.laws[name], fit.replicates[name])
        for name in (fit.laws if own else [first])
        if len(fit.replicates[name])
    ]
    if len(fit.replicates[first]):
        low, high = fit.interval(first)[0]
        value = fit.laws[first].entropy
        if low < 0.05 * value or high - low > value:
            said.append(
                f"E is hardly identified: {100 * LEVEL:g} % interval {low:.3g} to {high:.3g}; "
                "predictions far outside of the runs depend on it"
            )
    return tuple(said)


def _growth(name: str, law: ChinchillaLaw, draws: Floats) -> str:
    """Say how the best model grows with compute."""
    low, high = np.quantile(
        draws[:, 4] / (draws[:, 3] + draws[:, 4]), [0.5 - LEVEL / 2, 0.5 + LEVEL / 2]
    )
    value = law.beta / (law.alpha + law.beta)
    return (
        f"{name}{': ' if name else ''}the best model size grows like C^{value:.3g}, "
        f"{100 * LEVEL:g} % interval {low:.3g} to {high:.3g}"
    )
