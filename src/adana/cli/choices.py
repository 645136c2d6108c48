"""What the command line leaves open: learning rate, omega, ..., by flag, by rule file, by law."""

from __future__ import annotations

import dataclasses
from typing import Any

from adana import schedules
from adana.cli.settings import RULED, Settings
from adana.ladder import Rate, RuleBook, candidate, peak_learning_rate, with_optimizer
from adana.train import TrainConfig, omega_of_tau_epochs, optimizer_entry


def configure(
    settings: Settings,
    label: str,
    given: float | None,
    rules: RuleBook,
    train_tokens: int | None = None,
) -> TrainConfig:
    """Return the configuration of one candidate, all that is left open filled in.

    Its own values beat flags, a flag beats a rule file, a rule file a published law. `given` is the
    learning rate of the command line, `train_tokens` the size of the training data: without it
    --tau-epochs cannot be turned into an omega, and the default stands in for checks before there
    are data.
    """
    own = candidate(label)
    if "omega" in own.values:  # two ways to say how weights decay
        settings = dataclasses.replace(settings, tau_epochs=None)
    settings = dataclasses.replace(settings, **own.values)
    config = without_rate(settings, own.name, rules, train_tokens)
    return with_optimizer(config, label, pick_rate(settings, config, given, rules))


def without_rate(
    settings: Settings, name: str, rules: RuleBook, train_tokens: int | None = None
) -> TrainConfig:
    """Return the configuration of one optimizer with all but its learning rate filled in."""
    config = settings.train_config(settings.optimizer_config(name, 1.0))
    omega, source = pick_omega(settings, config, rules, train_tokens)
    values: dict[str, Any] = {"omega": omega}
    sources = {"omega": source} if source else {}
    for hyperparameter in set(RULED) & set(optimizer_entry(name).reads):
        if getattr(settings, hyperparameter) is None:
            ruled = rules.give(hyperparameter, config)
            if ruled is not None:
                values[hyperparameter], sources[hyperparameter] = ruled.value, ruled.source
    optimizer = dataclasses.replace(config.optimizer, **values)
    provenance = {**config.provenance, **sources}
    return dataclasses.replace(config, optimizer=optimizer, provenance=provenance)


def pick_omega(
    settings: Settings, config: TrainConfig, rules: RuleBook, train_tokens: int | None
) -> tuple[float, str]:
    """Return omega and where it comes from; no words for a plain --omega or the default."""
    if settings.omega is not None:
        return settings.omega, ""
    if settings.tau_epochs is not None:
        if train_tokens is None:
            return schedules.OMEGA, ""
        omega = omega_of_tau_epochs(settings.tau_epochs, config, train_tokens)
        return omega, f"omega = epochs / tau, --tau-epochs {settings.tau_epochs:g}"
    ruled = rules.give("omega", config)
    return (schedules.OMEGA, "") if ruled is None else (ruled.value, ruled.source)


def pick_rate(
    settings: Settings, config: TrainConfig, given: float | None, rules: RuleBook
) -> Rate:
    """Return the learning rate given on the command line, else a rule file's, else the law's."""
    if given is not None:
        return Rate(given, "given on the command line")
    ruled = rules.give("lr", config)
    if ruled is not None:
        return ruled.as_rate()
    default = Settings()
    keys = ("data", "schedule", "final", "clip")
    others = {key: (getattr(settings, key), getattr(default, key)) for key in keys}
    warmup = schedules.default_warmup_steps(config.steps)
    own = config.schedule.warmup_steps
    others["warmup_steps"] = (warmup if own is None else own, warmup)
    others["delta"] = (config.optimizer.delta, schedules.DELTA)
    others["steps"] = (config.steps, default.total_steps)
    return peak_learning_rate(
        config.optimizer.name,
        config.model,
        config.batch_size,
        kappa=config.optimizer.kappa,
        omega=config.optimizer.omega,
        steps=config.steps,
        others=others,
    )
