"""What is printed of a training's weight decay: strength, timescales, totals."""

from __future__ import annotations

import math

from adana import schedules
from adana.train import DecayTimescales, Moment, TrainConfig, decay_timescales


def describe_decay(config: TrainConfig, train_tokens: int) -> list[tuple[str, str]]:
    """Return (name, text) rows about the weight decay of a resolved configuration."""
    scales = decay_timescales(config, train_tokens)
    if scales.omega == 0:
        return [("weight decay", "none (omega 0)")]
    source = config.provenance.get("omega")
    return [
        ("weight decay", f"{_rule(config, scales)}{f' ({source})' if source else ''}"),
        (
            "timescale",
            f"{_moment(scales.peak)} at the peak (step {scales.peak.step}), {_moment(scales.end)} "
            f"at the end; epochs / omega {scales.tau_epochs:.3g}",
        ),
        (
            "total decay",
            f"lr wd T = {scales.lr_wd_T:.3g} before the schedule, {scales.total:.3g} with it: "
            f"initial weights fade to {math.exp(-scales.total):.1%}",
        ),
    ]


def _rule(config: TrainConfig, scales: DecayTimescales) -> str:
    horizon = config.optimizer.horizon or config.steps
    if scales.kind == "coupled":
        return f"{scales.weight_decay:.4g} = omega / (lr T), omega {scales.omega:g}"
    if scales.kind == "constant":
        return f"{scales.omega / horizon:.4g} a step = omega / T, omega {scales.omega:g}"
    offset = scales.decay_offset
    usual = offset == horizon * schedules.DECAY_OFFSET_FRACTION
    rule = "T/10" if usual else "omega, as T/10 is less"
    return f"omega / (S + t), omega {scales.omega:g}, S = {offset:g} steps ({rule})"


def _moment(moment: Moment) -> str:
    if moment.tau_steps == math.inf:
        return "endless"
    epochs = "" if moment.tau_epochs is None else f" = {moment.tau_epochs:.3f} epochs"
    return f"{moment.tau_steps:.0f} steps{epochs}"
