"""The theory lab: power-law random features, where log-time schedules come from.

A problem is `PLRF(alpha, beta, dimension)`; `.draw()` makes one with its matrix, and
`deterministic_spectrum` gives the spectrum that it has on average, at any size. A method is a
`Momentum` (`sgd`, `dana_decaying`, ...). `integrate` predicts its expected risk over any number of
steps, `exact_moments` step by step; `simulate` runs it, and `simulate_adaptive` runs the optimizers
of `adana`. What a risk should look like, `exponents` says, and `noise_gain` whether it is stable.

>>> from adana.plrf import dana_decaying, default_step, deterministic_spectrum, integrate, sgd
>>> spectrum = deterministic_spectrum(alpha=1.0, beta=0.3, dimension=100_000)
>>> step = default_step(spectrum.trace)
>>> slow, fast = (
...     integrate(spectrum, method, batch=1, total_steps=10**7)
...     for method in (sgd(step), dana_decaying(step, kappa=0.5))
... )
>>> f"after a million steps {slow.at(1e6):.2g} and {fast.at(1e6):.2g}"
'after a million steps 1e-05 and 7.2e-07'

The experiments on it are in `adana.plrf.experiments`, their pages in docs/plrf. Source of all
formulas: spec/plrf.md, arXiv 2405.15074, 2505.16098 and 2602.05298.
"""

from adana.plrf.adaptive import simulate_adaptive
from adana.plrf.blocks import integrate
from adana.plrf.clocks import (
    clock,
    effective_step,
    leading_risk,
    momentum_constant,
    sgd_constant,
    sgd_equivalent,
)
from adana.plrf.curve import RiskCurve, SimulatedRisk, log_steps
from adana.plrf.direct import simulate_direct
from adana.plrf.equivalent import deterministic_spectrum
from adana.plrf.frontiers import Frontier, frontier, risks_by_dimension
from adana.plrf.logistic import LogisticProblem, logistic_problem, simulate_logistic
from adana.plrf.mixture import MixtureRisk, expert_probabilities, simulate_mixture
from adana.plrf.momentum import (
    Coefficients,
    Momentum,
    ademamix,
    damped_average,
    dana_constant,
    dana_decaying,
    default_step,
    linear_average,
    log_average,
    log_nesterov,
    schedule_free,
    sgd,
    sgd_momentum,
    spectral_kappa,
)
from adana.plrf.normalised import integrate_normalised, normalised_adana
from adana.plrf.phases import Exponents, exponents, phase
from adana.plrf.poisson import solve_ode
from adana.plrf.problem import PLRF, DrawnProblem
from adana.plrf.recursion import exact_moments
from adana.plrf.simulation import simulate
from adana.plrf.spectrum import Spectrum
from adana.plrf.stability import (
    critical_value,
    effective_directions,
    gain_crossing,
    lipschitz_bound,
    momentum_bound,
    noise_gain,
    sgd_threshold,
    stationary_risk,
)
from adana.plrf.tau import TauStatistics, expected_tau, tau_statistics

__all__ = [
    "PLRF",
    "Coefficients",
    "DrawnProblem",
    "Exponents",
    "Frontier",
    "LogisticProblem",
    "MixtureRisk",
    "Momentum",
    "RiskCurve",
    "SimulatedRisk",
    "Spectrum",
    "TauStatistics",
    "ademamix",
    "clock",
    "critical_value",
    "damped_average",
    "dana_constant",
    "dana_decaying",
    "default_step",
    "deterministic_spectrum",
    "effective_directions",
    "effective_step",
    "exact_moments",
    "expected_tau",
    "expert_probabilities",
    "exponents",
    "frontier",
    "gain_crossing",
    "integrate",
    "integrate_normalised",
    "leading_risk",
    "linear_average",
    "lipschitz_bound",
    "log_average",
    "log_nesterov",
    "log_steps",
    "logistic_problem",
    "momentum_bound",
    "momentum_constant",
    "noise_gain",
    "normalised_adana",
    "phase",
    "risks_by_dimension",
    "schedule_free",
    "sgd",
    "sgd_constant",
    "sgd_equivalent",
    "sgd_momentum",
    "sgd_threshold",
    "simulate",
    "simulate_adaptive",
    "simulate_direct",
    "simulate_logistic",
    "simulate_mixture",
    "solve_ode",
    "spectral_kappa",
    "stationary_risk",
    "tau_statistics",
]
