"""Rules fitted to people's own runs, used in place of the published laws.

A rule knows where it comes from: which optimizer in which architecture, the range of sizes and
batches that were tuned, how wrong it was at the largest of them, and the identities of the runs.
Used for another training, it says how that differs (`Rule.give`), like a published law.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from adana.ladder.learning_rates import FAMILY_TITLES, SLACK, SWEEP_ADVICE, Rate
from adana.ladder.tuned import TunedSize, run_settings, scale_of
from adana.laws.rule_forms import FORMS, Scale
from adana.laws.rules import RuleFit
from adana.train import TrainConfig

RANGES = ("non_embedding", "parameters", "tokens", "tokens_per_param", "width")
"""Properties of a `Scale` whose fitted range a rule knows."""


@dataclass(frozen=True)
class Ruled:
    """What a rule says about one training."""

    value: float
    source: str
    """In words, with every reservation."""
    origin: str
    """In words, without."""
    reservations: tuple[str, ...]
    """How the training differs from those behind the rule."""

    def as_rate(self) -> Rate:
        """Return a ruled learning rate as such."""
        return Rate(self.value, self.source, None, self.reservations, self.origin)


@dataclass(frozen=True)
class Rule:
    """One rule and its provenance, as it stands in a file."""

    optimizer: str
    family: str
    hyperparameter: str
    """A name of `adana.ladder.TUNABLE`."""
    form: str
    """A name of `adana.laws.rule_forms.FORMS`."""
    values: dict[str, float]
    intervals: dict[str, list[float]]
    """By parameter: the ends at `level`; empty if there were too few sizes."""
    level: float
    not_identified: dict[str, str]
    """By parameter that the data could not tell: why."""
    fitted: dict[str, list[float]]
    """Smallest and largest non_embedding (P), parameters (N), tokens (D), tokens_per_param, width
    of the trainings it was fitted to."""
    tokens_per_step: list[int]
    """Batches of these trainings, in tokens."""
    settings: dict[str, Any]
    """What all of them had in common (omega, kappa, schedule, ...)."""
    sizes: int
    rms: float
    """Root mean square log residual."""
    holdout: float | None
    """ln(predicted / tuned) at the largest, by the fit to the others."""
    compared: dict[str, float | None]
    """Hold-out errors of all forms that were tried."""
    runs: list[str]
    """Identities of the runs it was fitted to."""

    def __call__(self, scale: Scale) -> float:
        """Return the hyperparameter at a scale."""
        return FORMS[self.form](self.values, scale)

    def give(self, config: TrainConfig, where: str) -> Ruled:
        """Return the hyperparameter for a training, with where it comes from.

        `where` says where the rule stands, for the words of its source.

        Raises:
            ValueError: the rule gives no positive number there.
        """
        value = self(scale_of(config))
        if not (math.isfinite(value) and value > 0):
            raise ValueError(
                f"the rule {self.formula} ({where}) gives {self.hyperparameter} = {value} for this "
                f"training; pass one (--{self.hyperparameter.replace('_', '-')})"
            )
        far = tuple(self._reservations(config))
        advice = SWEEP_ADVICE if self.hyperparameter == "lr" else ""
        note = f"; {'; '.join(far)}{advice}" if far else ""
        tested = (
            "untested on a larger size"
            if self.holdout is None
            else f"{math.expm1(abs(self.holdout)):.0%} off at the largest when held out"
        )
        origin = (
            f"rule {self.formula} ({where}; {len(self.runs)} runs at {self.sizes} sizes, {tested})"
        )
        return Ruled(value, f"{origin}{note}", origin, far)

    def _reservations(self, config: TrainConfig) -> Iterator[str]:
        """Say how a training differs from those behind the rule."""
        if config.model.family != self.family:
            own, other = (FAMILY_TITLES.get(f, f) for f in (config.model.family, self.family))
            yield f"fitted to {other}, this run is {own}"
        scale = scale_of(config)
        for name, symbol in (("non_embedding", "P"), ("tokens_per_param", "D/N")):
            low, high = self.fitted[name]
            value = getattr(scale, name)
            if not low / SLACK <= value <= high * SLACK:
                yield f"extrapolated from {symbol} of {_span(low, high)} to {_short(value)}"
        if config.tokens_per_step not in self.tokens_per_step:
            batches = " or ".join(map(str, self.tokens_per_step))
            yield f"fitted at {batches} tokens a step, this run has {config.tokens_per_step}"
        for name, value in run_settings(config).items():
            if name in self.settings and self.settings[name] != value:
                fitted, own = _short(self.settings[name]), _short(value)
                yield f"fitted at {name} {fitted}, this run has {own}"

    @property
    def formula(self) -> str:
        """The rule in words and numbers."""
        numbers = ", ".join(f"{name} = {value:.4g}" for name, value in self.values.items())
        return f"{FORMS[self.form].formula} with {numbers}"


def rule_of(
    sizes: Sequence[TunedSize], hyperparameter: str, fit: RuleFit, compared: Sequence[RuleFit]
) -> Rule:
    """Put a fit and the sizes it was made from into a rule."""
    scales = [size.scale for size in sizes]
    ranges = {
        name: [float(pick(getattr(s, name) for s in scales)) for pick in (min, max)]
        for name in RANGES
    }
    common = {
        name: value
        for name, value in sizes[0].settings.items()
        if name != hyperparameter and all(size.settings.get(name) == value for size in sizes)
    }
    return Rule(
        optimizer=sizes[0].optimizer,
        family=sizes[0].family,
        hyperparameter=hyperparameter,
        form=fit.form.name,
        values=fit.values,
        intervals={name: list(ends) for name, ends in fit.intervals.items()},
        level=fit.level,
        not_identified=fit.not_identified,
        fitted=ranges,
        tokens_per_step=sorted({size.tokens_per_step for size in sizes}),
        settings=common,
        sizes=fit.sizes,
        rms=fit.rms,
        holdout=fit.holdout,
        compared={each.form.name: each.holdout for each in compared},
        runs=sorted(key for size in sizes for key in size.runs),
    )


def _span(low: float, high: float) -> str:
    return _short(low) if low == high else f"{_short(low)} to {_short(high)}"


def _short(value: Any) -> str:
    if value is None:
        return "its default"
    return f"{value:.3g}" if isinstance(value, int | float) else str(value)


class RuleBook:
    """The rules of several files, to be asked for each optimizer and hyperparameter."""

    def __init__(self, rules: Sequence[tuple[str, Rule]] = ()) -> None:
        """Take rules, each with the name of its file.

        Raises:
            ValueError: two are for the same optimizer, hyperparameter and family.
        """
        self._rules: dict[tuple[str, str, str], tuple[str, Rule]] = {}
        for where, rule in rules:
            key = (rule.optimizer, rule.hyperparameter, rule.family)
            if key in self._rules:
                raise ValueError(
                    f"two rules give {rule.hyperparameter} of {rule.optimizer} in {rule.family}: "
                    f"in {self._rules[key][0]} and in {where}; name one of the files"
                )
            self._rules[key] = (where, rule)

    def give(self, hyperparameter: str, config: TrainConfig) -> Ruled | None:
        """Return what a rule gives for a training; None if there is none for its optimizer.

        One of the same family comes first; one of another is used with a reservation.
        """
        found = [
            each
            for (optimizer, name, _), each in self._rules.items()
            if (optimizer, name) == (config.optimizer.name, hyperparameter)
        ]
        if not found:
            return None
        where, rule = min(found, key=lambda each: each[1].family != config.model.family)
        return rule.give(config, where)

    def check_used(self, optimizers: Sequence[str]) -> None:
        """Raise `ValueError` if there are rules, but none for any of these optimizers."""
        known = sorted({optimizer for optimizer, _, _ in self._rules})
        if known and not set(known) & set(optimizers):
            raise ValueError(
                f"--rules has rules for {', '.join(known)}, none for {', '.join(optimizers)}; "
                "leave it out, or fit a rule to runs of that optimizer (adana rules fit)"
            )
