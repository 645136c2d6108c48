"""The sizes that `adana tune` works at: what each trains, and where its search begins."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adana.cli.settings import Settings
from adana.cli.train import pick_rate
from adana.ladder import NoLawError, Rate, centre_rate, with_optimizer
from adana.nn import count_parameters
from adana.train import HYPERPARAMETERS, TrainConfig
from adana.tune import Space, aligned, preset_space

WARMUP_SHARE = 3
"""The warm-up is searched up to a third of the steps; a half as many steps (twice the batch) still
leave a training after it."""


@dataclass(frozen=True)
class TuningScale:
    """One size and number of tokens."""

    name: str
    """In words, for tables."""
    settings: Settings
    """The command line's, at this size."""
    base: TrainConfig
    rate: Rate
    """Where the search for the learning rate begins, before it is put on the grid of all sizes."""

    def space(self, names: Sequence[str]) -> Space:
        """Return the grids of hyperparameters around this size's baseline."""
        values = {name: aligned(name, value) for name, value in self._baseline().items()}
        steps = self.base.steps
        highest = {"warmup_steps": max(1, steps // WARMUP_SHARE), "batch_size": self._batch_limit()}
        return preset_space(self.base.optimizer.name, values, names, highest)

    def _baseline(self) -> Mapping[str, Any]:
        base = self.base.resolve()
        own = {name: getattr(base.optimizer, name) for name in ("lr", "omega", *HYPERPARAMETERS)}
        own |= {
            "warmup_steps": base.schedule.warmup_steps,
            "final": base.schedule.final,
            "clip": base.clip,
            "batch_size": base.batch_size,
        }
        return {name: value for name, value in own.items() if value is not None}

    def _batch_limit(self) -> int:
        """Return the batch at which ten steps are left of the training."""
        return max(self.base.batch_size, self.base.batch_size * self.base.steps // 10)


def make_scales(
    settings: Settings, optimizer: str, lr: float | None, texts: Sequence[str]
) -> list[TuningScale]:
    """Return every size of a search, `texts` as --scales has them; none: that of the settings.

    Raises:
        ValueError: a text is not HEADS or HEADSxFACTOR, one is there twice, or the model has no
            heads; or no rule gives a learning rate to begin with.
    """
    if not texts:
        return [_scale("all", settings, optimizer, lr, factor=1.0)]
    if settings.model == "lstm":
        raise ValueError("--scales counts attention heads, of which --model lstm has none")
    if len(set(texts)) < len(texts):
        raise ValueError(f"--scales {' '.join(texts)} names a size twice; name each once")
    scales = []
    for text in texts:
        heads, factor = _parse(text)
        data = "" if factor == 1 else f", {factor:g}x tokens"
        name = f"{heads} head{'s' if heads > 1 else ''}{data}"
        own = dataclasses.replace(settings, heads=heads)
        scales.append(_scale(name, own, optimizer, lr, factor))
    return scales


def _scale(
    name: str, settings: Settings, optimizer: str, lr: float | None, factor: float
) -> TuningScale:
    if factor != 1 and settings.tokens_per_param is not None:
        per_param = settings.tokens_per_param * factor
        settings = dataclasses.replace(settings, tokens_per_param=per_param)
    elif factor != 1:
        settings = dataclasses.replace(settings, steps=max(1, round(settings.steps * factor)))
    rate = _rate(settings, optimizer, lr)
    base = settings.train_config(settings.optimizer_config(optimizer, rate.lr))
    return TuningScale(name, settings, with_optimizer(base, optimizer, rate), rate)


def _rate(settings: Settings, optimizer: str, lr: float | None) -> Rate:
    """Return the rate to begin with: the rule's; below the sizes of its law, the demo's carried."""
    model = settings.model_config()
    try:
        rate = pick_rate(settings, optimizer, lr)
        law = rate.law
        if law and law.fitted and count_parameters(model).non_embedding < law.fitted[0]:
            return centre_rate(optimizer, model)
    except NoLawError as error:
        raise ValueError(
            f"no rule gives a learning rate for {optimizer} to begin with: pass one (--lr); "
            "it need not be good, the search moves on from it"
        ) from error
    return rate


def _parse(text: str) -> tuple[int, float]:
    heads, times, factor = text.partition("x")
    try:
        parsed = int(heads), float(factor) if times else 1.0
    except ValueError:
        parsed = 0, 0.0
    if parsed[0] < 1 or not 0 < parsed[1] < 1e6:
        raise ValueError(f"--scales {text!r} is not HEADS or HEADSxFACTOR, say 2 or 2x4")
    return parsed
