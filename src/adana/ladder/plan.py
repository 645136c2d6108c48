"""A plan: several rungs, each with several optimizers, to be read before any hour is paid for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adana import schedules
from adana.ladder.estimates import Estimate, Hardware, estimate
from adana.ladder.learning_rates import Rate, planned_learning_rate
from adana.ladder.rules import RuleBook
from adana.ladder.rungs import Rung
from adana.nn import PFH, model_config_to_dict
from adana.train import LayoutConfig, OptimizerConfig, TrainConfig, optimizer_entry


@dataclass(frozen=True)
class PlannedTraining:
    """One rung trained with one optimizer."""

    rung: Rung
    optimizer: str
    kappa: float | None
    """Damping exponent; None if the optimizer does not read it."""
    rate: Rate
    estimate: Estimate

    @property
    def weight_decay(self) -> float | None:
        """AdamW's `weight_decay`, omega / (lr T); None where decay is not coupled to lr."""
        if optimizer_entry(self.optimizer).decay != "coupled":
            return None
        return schedules.omega_to_weight_decay(schedules.OMEGA, self.rate.lr, self.rung.steps)


def plan_trainings(
    rungs: Sequence[Rung],
    optimizers: Sequence[str],
    hardware: Hardware,
    *,
    layout: LayoutConfig | None = None,
    kappa: float = schedules.KAPPA,
    given: Mapping[str, float] | None = None,
    law_batch: int | None = None,
    rules: RuleBook | None = None,
) -> list[PlannedTraining]:
    """Return a training for every rung and optimizer, rungs first.

    `given` holds peak learning rates by optimizer; the others come from `rules` that were fitted to
    own runs, from the law published for exactly this combination, or, where that does not exist,
    from the law for steps of `law_batch` sequences if that is named (`planned_learning_rate`).
    Planned is omega = 4, whatever rules say of it.

    Raises:
        ValueError: an optimizer is unknown, has no law, or the batch cannot be shared out.
    """
    given = given or {}
    planned = []
    for rung in rungs:
        for name in optimizers:
            rate = _ruled(rules, rung, name, kappa) if rules else None
            if name in given:
                rate = Rate(given[name], "given")
            elif rate is None:
                rate = planned_learning_rate(
                    *(name, rung.model, rung.batch_size),
                    kappa=kappa,
                    law_batch=law_batch,
                    tokens_per_param=rung.tokens_per_param,
                )
            own = kappa if "kappa" in optimizer_entry(name).reads else None
            needs = estimate(rung, name, hardware, layout)
            planned.append(PlannedTraining(rung, name, own, rate, needs))
    return planned


def _ruled(rules: RuleBook, rung: Rung, optimizer: str, kappa: float) -> Rate | None:
    config = TrainConfig(
        OptimizerConfig(optimizer, lr=1.0, kappa=kappa),
        steps=rung.steps,
        batch_size=rung.batch_size,
        model=rung.model,
    )
    ruled = rules.give("lr", config)
    return None if ruled is None else ruled.as_rate()


@dataclass(frozen=True)
class Total:
    """Sums over trainings."""

    trainings: int
    tokens: int
    compute: float
    """C in PFH, 6 P D."""
    hours: float
    """One training after the other, each on all devices."""
    device_hours: float


def total(trainings: Sequence[PlannedTraining]) -> Total:
    """Add up what the trainings need, one seed each."""
    return Total(
        trainings=len(trainings),
        tokens=sum(t.rung.tokens for t in trainings),
        compute=sum(t.rung.compute for t in trainings),
        hours=sum(t.estimate.hours for t in trainings),
        device_hours=sum(t.estimate.device_hours for t in trainings),
    )


def plan_to_dict(trainings: Sequence[PlannedTraining], hardware: Hardware) -> dict[str, Any]:
    """Return everything about a plan as plain values for JSON."""
    return {
        "hardware": dataclasses.asdict(hardware),
        "trainings": [_training_to_dict(training) for training in trainings],
        "total": dataclasses.asdict(total(trainings)),
    }


def _training_to_dict(training: PlannedTraining) -> dict[str, Any]:
    rate, needs = training.rate, training.estimate
    return {
        **_rung_to_dict(training.rung),
        "optimizer": training.optimizer,
        "kappa": training.kappa,
        "omega": schedules.OMEGA,
        "lr": rate.lr,
        "lr_source": rate.source,
        "lr_reservations": list(rate.reservations),
        "lr_rule": rate.origin or None,
        "lr_law": None
        if rate.law is None
        else {**dataclasses.asdict(rate.law), "P": rate.law.counts, "fitted_P": rate.law.fitted},
        "weight_decay": training.weight_decay,
        "estimate": {
            "precision": "bfloat16" if needs.bf16 else "float32",
            "micro_batch": needs.micro_batch,
            "accumulation": needs.accumulation,
            "memory_bytes": needs.memory,
            "memory_terms": [dataclasses.asdict(term) for term in needs.terms],
            "fits": needs.fits,
            "hours": needs.hours,
            "device_hours": needs.device_hours,
        },
    }


def _rung_to_dict(rung: Rung) -> dict[str, Any]:
    return {
        "model": model_config_to_dict(dataclasses.replace(rung.model, layers=rung.model.depth)),
        "published_size": rung.published,
        "width": rung.model.width,
        "parameters": rung.parameters,
        "batch_size": rung.batch_size,
        "tokens_per_step": rung.tokens_per_step,
        "tokens_per_param": rung.tokens_per_param,
        "budget_tokens": rung.budget,
        "tokens": rung.tokens,
        "steps": rung.steps,
        "warmup_steps": rung.warmup_steps,
        "decay_offset": rung.decay_offset,
        "flops": rung.flops,
        "model_flops": rung.model_flops,
        "pfh": {name: flops / PFH for name, flops in rung.flops.items()},
    }
