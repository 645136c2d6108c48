"""The schedules of a log-time optimizer as pictures: which curves each shows, and what to see.

Every value comes from `adana.schedules`. `adana.report.schedule_page` draws the pictures.
"""

# ruff: noqa: RUF001 -- Greek letters and minus signs are meant

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from adana import schedules
from adana.report.drawing import BASELINE_COLOR, PALETTE

Values = Callable[[Any], Any]
"""A schedule: a function of the step that takes arrays."""

KAPPAS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
DELTAS = (1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)
OMEGAS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""What the sliders offer, besides the values asked for."""

FEWEST_STEPS = 100
MOST_STEPS = 10_000_000
"""Every step is summed over, so that there is a limit."""

GREY, PALE, ORANGE, BLUE, GREEN = BASELINE_COLOR, "#b4b4b4", *PALETTE[:3]
SOLID, DASHED, DOTTED = [1, 0], [7, 3], [2, 3]


@dataclass(frozen=True)
class Course:
    """A training run as far as its schedules are concerned."""

    steps: int
    gammas: Mapping[str, Values]
    """Learning-rate multipliers by name, the run's own first; functions of the step from 1."""
    kappa: float = schedules.KAPPA
    delta: float = schedules.DELTA
    omega: float = schedules.OMEGA
    decay_offset: float | None = None
    """S in steps. Default: `schedules.default_decay_offset` of each omega."""
    betas: tuple[float, float] = schedules.BETAS
    """The constant betas to compare with."""

    def __post_init__(self) -> None:
        if not FEWEST_STEPS <= self.steps <= MOST_STEPS:
            raise ValueError(
                f"steps must be from {FEWEST_STEPS} to {MOST_STEPS:,}, got {self.steps:,}; the "
                "shapes hardly change beyond"
            )
        if self.delta >= self.steps:
            raise ValueError(f"delta must be below steps, got {self.delta:g} and {self.steps:,}")
        if not self._possible(self.omega):
            raise ValueError(
                f"omega={self.omega:g} over {self.steps:,} steps would remove whole weights in a "
                "step; choose a smaller one, more steps, or a larger decay offset"
            )

    def _possible(self, omega: float) -> bool:
        """Whether both kinds of decay leave something of a weight in every step."""
        return omega < self.steps and self.log_time_decay(omega)(1) < 1

    @property
    def gamma(self) -> Values:
        """The run's own learning-rate multiplier."""
        return next(iter(self.gammas.values()))

    @property
    def settings(self) -> dict[str, float]:
        """Where the sliders stand at first."""
        return {"kappa": self.kappa, "delta": self.delta, "omega": self.omega}

    @property
    def choices(self) -> dict[str, list[float]]:
        """What each slider offers: the grid, with the run's own value in its place."""
        return {
            "kappa": sorted({*KAPPAS, self.kappa}),
            "delta": sorted({*(x for x in DELTAS if x < self.steps / 2), self.delta}),
            "omega": sorted({*(x for x in OMEGAS if self._possible(x)), self.omega}),
        }

    def log_time_decay(self, omega: float) -> Values:
        """Return the fraction of a weight that log-time decay removes at a step, before gamma."""
        offset = self.decay_offset
        if offset is None:
            offset = schedules.default_decay_offset(omega, self.steps)
        return _of(schedules.log_time_decay, omega, offset)

    def constant_decay(self, omega: float) -> Values:
        """Return the same for constant decay."""
        return _constant(schedules.constant_decay(omega, self.steps))

    def with_gamma(self, decay: Values) -> Values:
        """Return what is really removed at a step."""
        return lambda t: decay(t) * self.gamma(t)

    def removed(self, decay: Values) -> Values:
        """Return what decay and gamma have removed up to a step, summed over every step."""
        every = np.arange(1, self.steps + 1, dtype=np.float64)
        total = np.cumsum(self.with_gamma(decay)(every))
        return lambda t: total[np.asarray(t, dtype=np.int64) - 1]


def _of(schedule: Callable[..., Any], *arguments: float) -> Values:
    """Return a schedule as a function of the step alone."""
    return lambda t: schedule(t, *arguments)


def _constant(value: float) -> Values:
    return lambda t: t * 0 + value


class Curve(NamedTuple):
    """One line of a chart: which it is, its values, and the settings it belongs to."""

    label: str
    values: Values
    settings: Mapping[str, float] = {}
    """The sliders it depends on; a curve is shown while they stand there."""


class Style(NamedTuple):
    """How the curves of one label are drawn."""

    label: str
    color: str
    dash: list[int] = SOLID


class Picture(NamedTuple):
    """A chart to be: its words, its curves by style, and its axes."""

    name: str
    title: str
    caption: str
    axis: str
    styles: Sequence[Style]
    curves: Sequence[Curve]
    family: str = ""
    """The label whose curves at other settings are shown too, thin."""
    log: bool = True
    domain: tuple[float, float] | None = None


# --- what is shown ------------------------------------------------------------------------------


def pictures(course: Course) -> list[Picture]:
    """Return every chart of the page."""
    return [
        _weight(course),
        _age(course),
        _momentum(course),
        _decay(course),
        _removed(course),
        _gamma(course),
    ]


def _weight(course: Course) -> Picture:
    (one, two), (beta1, beta2), steps = _names(course), course.betas, course.steps
    curves = [Curve(one, _constant(1 - beta1)), Curve(two, _constant(1 - beta2))]
    for delta in course.choices["delta"]:
        at = {"delta": delta}
        final = delta / steps  # AdEMAMix's default
        slow = _of(schedules.ademamix_weight, beta1, final, steps)
        curves += [
            Curve("log-time", _of(schedules.ema_weight, delta), at),
            Curve("AdEMAMix slow", slow, at),
        ]
    return Picture(
        "weight",
        "Memory: newest gradient",
        "AdamW's lines are flat: its averages forget as fast at the last step as at the first. The "
        "log-time line falls like δ/t, so that the average reaches back over the same fraction of "
        "training at any time. AdEMAMix's slow average joins it from below on a warm-up of its "
        "own, which is tied to the planned number of steps. Thin lines are other values of δ.",
        "weight of the newest gradient, 1 − β(t)",
        [
            Style(one, PALE),
            Style(two, GREY),
            Style("log-time", ORANGE),
            Style("AdEMAMix slow", BLUE, DASHED),
        ],
        curves,
        "log-time",
    )


def _age(course: Course) -> Picture:
    one, two = _names(course)
    curves = [
        Curve(label, _of(schedules.constant_mean_age, beta))
        for label, beta in zip((one, two), course.betas, strict=True)
    ]
    curves += [
        Curve("log-time", _of(schedules.mean_age, delta), {"delta": delta})
        for delta in course.choices["delta"]
    ]
    end = schedules.mean_age(course.steps, course.delta)
    limit = schedules.constant_mean_age(course.steps, course.betas[1])
    return Picture(
        "age",
        "Memory: mean age",
        f"An average with a constant beta stops growing older: with {two} at {limit:,.0f} steps. "
        f"The log-time average is t/(δ + 1) steps old, a straight line: {end:,.0f} steps at the "
        f"end for δ = {course.delta:g}, and twice that in a run twice as long.",
        "mean age (steps)",
        [Style(one, PALE), Style(two, GREY), Style("log-time", ORANGE)],
        curves,
        "log-time",
    )


def _momentum(course: Course) -> Picture:
    steps = course.steps
    curves = []
    for kappa in course.choices["kappa"]:
        at = {"kappa": kappa}
        alpha = steps ** (1 - kappa)  # AdEMAMix's default
        curves += [
            Curve("damped", _of(schedules.damping, kappa), at),
            Curve("AdEMAMix", _of(schedules.ademamix_alpha, alpha, steps), at),
        ]
    curves += [
        Curve("undamped", _of(schedules.undamped, delta), {"delta": delta})
        for delta in course.choices["delta"]
    ]
    top = float(schedules.damping(steps, course.choices["kappa"][0]))
    return Picture(
        "momentum",
        "Momentum: multiplier",
        "Damped, the weight of the momentum grows like (1 + t)^(1 − κ): slowly, at κ = 1 not at "
        "all. Undamped it is δ + t, soon leaves the picture, and is unstable on noisy gradients. "
        "AdEMAMix climbs from zero in proportion to t and meets the damped line at the last "
        "planned step only. Thin lines are other values of κ.",
        "multiplier on m, α(t)",
        [Style("damped", ORANGE), Style("undamped", GREY, DOTTED), Style("AdEMAMix", BLUE, DASHED)],
        curves,
        "damped",
        domain=(0.1, max(top, 10.0)),
    )


def _decay(course: Course) -> Picture:
    curves = []
    for omega in course.choices["omega"]:
        for name, decay in _decays(course, omega).items():
            curves += [
                Curve(name, decay, {"omega": omega}),
                Curve(f"{name} × γ", course.with_gamma(decay), {"omega": omega}),
            ]
    return Picture(
        "decay",
        "Weight decay: in a step",
        "Log-time decay removes most early on and falls like 1/t once t exceeds the offset S. "
        "Constant decay, AdamW's, is flat. The dotted lines are the schedules alone, the others "
        "what is removed: times the learning rate's multiplier γ(t), never times the peak learning "
        "rate. Both scale with ω.",
        "fraction of each weight",
        [
            Style("constant", PALE, DOTTED),
            Style("constant × γ", GREY),
            Style("log-time", ORANGE, DOTTED),
            Style("log-time × γ", ORANGE),
        ],
        curves,
    )


def _removed(course: Course) -> Picture:
    curves = [
        Curve(name, course.removed(decay), {"omega": omega})
        for omega in course.choices["omega"]
        for name, decay in _decays(course, omega).items()
    ]
    log_time, constant = totals(course)
    return Picture(
        "removed",
        "Weight decay: so far",
        f"The fractions of the steps (times γ) summed up. At ω = {course.omega:g} log-time decay "
        f"ends at {log_time:.2f}, constant decay at {constant:.2f}: the same ω is more decay in "
        "total, and more of it early.",
        "sum of fractions removed",
        [Style("constant", GREY), Style("log-time", ORANGE)],
        curves,
        log=False,
    )


def _gamma(course: Course) -> Picture:
    own, *others = course.gammas
    colors = dict(zip(others, (BLUE, GREEN, GREY), strict=False))
    styles = [Style(own, ORANGE), *(Style(name, colors[name], DASHED) for name in others)]
    return Picture(
        "gamma",
        "Learning rate",
        f"The shape of the learning rate, {own} for this page. Decay follows it: γ(t) multiplies "
        "the fraction removed, so that a schedule that ends low also ends decay.",
        "fraction of the peak, γ(t)",
        styles,
        [Curve(name, gamma) for name, gamma in course.gammas.items()],
        log=False,
    )


def _names(course: Course) -> tuple[str, str]:
    """Return the labels of the constant betas."""
    beta1, beta2 = course.betas
    return f"β₁ = {beta1:g}", f"β₂ = {beta2:g}"


def _decays(course: Course, omega: float) -> dict[str, Values]:
    return {"constant": course.constant_decay(omega), "log-time": course.log_time_decay(omega)}


def totals(course: Course) -> tuple[float, float]:
    """Return the sums over training of what log-time and constant decay remove."""
    decays = (course.log_time_decay(course.omega), course.constant_decay(course.omega))
    log_time, constant = (float(course.removed(decay)(course.steps)) for decay in decays)
    return log_time, constant
