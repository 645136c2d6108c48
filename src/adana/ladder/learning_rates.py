"""Peak learning rates by rule, each with the words that say where it comes from.

Two sources: rates tuned here, at the demo's rung, by the sweep recorded in
`docs/evidence/demo.md`; and the laws `a * (b + P)^d` published with the ADana paper
(spec/training.md section 3.1). There is no silent neighbour: a combination neither covers is an
error that says what to pass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adana import schedules
from adana.nn import EnokiConfig, count_parameters
from adana.train import optimizer_entry

DEMO_MODEL = EnokiConfig(heads=2, layers=2, head_dim=32, vocab_size=1024, sequence_length=128)
"""The demo's rung: 0.10 M non-embedding parameters, 0.23 M in all."""
DEMO_BATCH = 16
"""Sequences per step of the demo."""
DEMO_STEPS = 1200
"""Steps of the demo, and of the sweep that tuned its rates."""

LAW_BATCH_TOKENS = 32 * 2048
"""Tokens per step of the runs that the published laws were fitted to."""
LAW_SMALLEST = 7_077_888
"""P of the smallest rung they were fitted to (H = 6)."""
LAW_LARGEST = 509_607_936
"""P of the largest rung whose learning rate was swept (H = 24)."""


@dataclass(frozen=True)
class Rate:
    """A peak learning rate and its provenance."""

    lr: float
    source: str


@dataclass(frozen=True)
class Law:
    """Optimal peak learning rate `a * (b + P)^d`, P in non-embedding parameters."""

    a: float
    b: float
    d: float

    def __call__(self, non_embedding: float) -> float:
        """Return the law's learning rate at `non_embedding` parameters."""
        return self.a * (self.b + non_embedding) ** self.d


DEMO_RATES = {
    "adamw": 0.0106,
    "adana": 0.0060,
    "adana-released": 0.0057,
    "adamw-log-decay": 0.0130,
}
"""Tuned at the demo's rung, omega = 4, kappa = 0.85: lowest points of parabolas through the three
best losses of a sweep by factors of 2 (docs/evidence/demo.md)."""

ENOKI_LAWS: dict[tuple[str, float | None], Law] = {
    ("adamw", None): Law(12.8, 1.67e4, -0.515),
    ("adamw-log-decay", None): Law(65.7, 9.83e3, -0.608),
    ("adana", 0.75): Law(12.7, 9.55e3, -0.624),
    ("adana", 0.80): Law(17.6, 3.66e4, -0.624),
    ("adana", 0.85): Law(22.5, 1.22e5, -0.618),
    ("adana", 0.90): Law(68.9, 2.95e4, -0.667),
    ("dana-mk4", 0.75): Law(56.0, 5.71e3, -0.708),
    ("dana-mk4", 0.85): Law(23.0, 1.46e4, -0.627),
    ("dana-star-mk4", 0.75): Law(41.0, 3.03e4, -0.661),
    ("dana-star-mk4", 0.85): Law(223.0, 2.40e6, -0.724),
    ("ademamix", 0.85): Law(4.51, 6.71e3, -0.503),
    ("ademamix-log-decay", 0.85): Law(7.28, 8.43e3, -0.525),
}
"""Published Enoki laws at batch 32 x 2048, omega = 4, by (optimizer, kappa).

Dana-Star's are a copy of Dana-Star-MK4's in the source and stand under that name only. AdEMAMix ran
with kappa = 0.85, which sets its alpha."""


def peak_learning_rate(
    optimizer: str,
    model: EnokiConfig,
    batch_size: int,
    *,
    kappa: float = schedules.KAPPA,
    omega: float = schedules.OMEGA,
    others: Mapping[str, tuple[Any, Any]] | None = None,
) -> Rate:
    """Return the peak learning rate that the rules give, with its source in words.

    `others` names further settings as (value of this run, value when the demo's rates were tuned):
    where they differ, the source says so.

    Raises:
        ValueError: no rule covers this optimizer with these hyperparameters.
    """
    reads_kappa = "kappa" in optimizer_entry(optimizer).reads
    if omega == schedules.OMEGA and (kappa == schedules.KAPPA or not reads_kappa):
        rate = _demo_rate(optimizer, model, batch_size, others or {})
        if rate is not None:
            return rate
    key = (optimizer, kappa if reads_kappa else None)
    if key not in ENOKI_LAWS:
        known = ", ".join(n if k is None else f"{n} at kappa {k:g}" for n, k in ENOKI_LAWS)
        at = "" if key[1] is None else f" at kappa {kappa:g}"
        raise ValueError(
            f"no rule gives a learning rate for {optimizer}{at}. Pass one (--lr), or compare with "
            f"--sweep-lr 5 around one you pass. Published laws: {known}."
        )
    lr = ENOKI_LAWS[key](count_parameters(model).non_embedding)
    return Rate(lr, _law_source(model, batch_size, omega))


def _demo_rate(
    optimizer: str, model: EnokiConfig, batch_size: int, others: Mapping[str, tuple[Any, Any]]
) -> Rate | None:
    resolved = dataclasses.replace(model, layers=model.depth)
    if resolved != DEMO_MODEL or batch_size != DEMO_BATCH or optimizer not in DEMO_RATES:
        return None
    far = [f"{name} {own}, not {tuned}" for name, (own, tuned) in others.items() if own != tuned]
    note = f"; this run has {', '.join(far)}: check it with --sweep-lr" if far else ""
    return Rate(
        DEMO_RATES[optimizer], f"tuned by a sweep of the demo (docs/evidence/demo.md){note}"
    )


def _law_source(model: EnokiConfig, batch_size: int, omega: float) -> str:
    """Say which law it is, and how far this run is from what it was fitted to."""
    p = count_parameters(model).non_embedding
    tokens = batch_size * model.sequence_length
    rung = EnokiConfig(
        model.heads, vocab_size=model.vocab_size, sequence_length=model.sequence_length
    )
    far = []
    if not LAW_SMALLEST <= p <= LAW_LARGEST:
        far.append(
            f"extrapolated from P of {LAW_SMALLEST / 1e6:.1f} to {LAW_LARGEST / 1e6:.0f} M "
            f"to {p / 1e6:.2g} M"
        )
    if tokens != LAW_BATCH_TOKENS:
        far.append(f"fitted at {LAW_BATCH_TOKENS} tokens a step, this run has {tokens}")
    if omega != schedules.OMEGA:
        far.append(f"fitted at omega {schedules.OMEGA:g}, this run has {omega:g}")
    if dataclasses.replace(model, layers=model.depth) != dataclasses.replace(
        rung, layers=rung.depth
    ):
        far.append("the shape is not that of a published rung")
    note = f"; {'; '.join(far)}: check it with --sweep-lr" if far else ""
    return f"published Enoki law a (b + P)^d (arXiv 2602.05298){note}"
