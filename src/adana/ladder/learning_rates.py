"""Peak learning rates by rule, each with the words that say where it comes from.

Two sources: rates tuned here, at the demo's rung, by the sweep recorded in
`docs/evidence/demo.md`; and the published laws of `adana.ladder.published_laws`. There is no silent
neighbour: a combination neither covers is an error that says what to pass. A training far from the
runs behind its law may use it (`peak_learning_rate`) and says how far it is; a plan that people
spend GPU-hours on may not (`planned_learning_rate`), unless it is told to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from adana import schedules
from adana.ladder.published_laws import (
    LAW_SEQUENCE,
    NoLawError,
    PublishedLaw,
    find_law,
    matching_laws,
)
from adana.ladder.rungs import TOKENS_PER_PARAM
from adana.nn import EnokiConfig, ModelConfig, Qwen3Config, count_parameters
from adana.train import optimizer_entry

DEMO_MODEL = EnokiConfig(heads=2, layers=2, head_dim=32, vocab_size=1024, sequence_length=128)
"""The demo's rung: 0.10 M non-embedding parameters, 0.23 M in all."""
DEMO_BATCH = 16
"""Sequences per step of the demo."""
DEMO_STEPS = 1200
"""Steps of the demo, and of the sweep that tuned its rates."""
PUBLISHED_INIT = "scaled-gpt"
"""Initial weights of the published runs (spec/training.md section 1.3)."""
PUBLISHED_VOCABULARY = EnokiConfig.vocab_size
"""Rows of the embedding in the published runs of both families."""
SWEEP_ADVICE = ": check it (adana compare --sweep-lr 5)"
"""What to do about a rate that comes from trainings of another kind."""
SLACK = 1.01
"""What is within this factor of what was fitted is no extrapolation: steps are whole."""
DEMO_ONLY = ("steps", "data")
"""Settings in which a run may differ from the demo's and yet be one of a published law's."""
FAMILY_TITLES = {"enoki": "Enoki", "qwen3": "Qwen3"}
"""The families as their papers write them."""


@dataclass(frozen=True)
class Rate:
    """A peak learning rate and its provenance."""

    lr: float
    source: str
    """In words, with every reservation."""
    law: PublishedLaw | None = None
    """The law that gave it; None if it was given or tuned."""
    reservations: tuple[str, ...] = ()
    """How this run differs from those behind the law or rule."""
    origin: str = ""
    """The rule file's rule that gave it, the same words for every size; empty for other rates."""


DEMO_RATES = {
    "adamw": 0.0106,
    "adana": 0.0060,
    "adana-released": 0.0057,
    "adamw-log-decay": 0.0130,
    "dana-star-mk4": 0.0064,
}
"""Tuned at the demo's rung, omega = 4, kappa = 0.85: lowest points of parabolas through the three
best losses of a sweep by factors of 2 (docs/evidence/demo.md)."""


def peak_learning_rate(
    optimizer: str,
    model: ModelConfig,
    batch_size: int,
    *,
    kappa: float = schedules.KAPPA,
    omega: float = schedules.OMEGA,
    steps: int | None = None,
    others: Mapping[str, tuple[Any, Any]] | None = None,
) -> Rate:
    """Return the peak learning rate that the rules give, with its source in words.

    `steps` are those of this run, if known. `others` names further settings as (value of this run,
    value when the demo's rates were tuned), which the published runs share but for `DEMO_ONLY`:
    where they differ, the source says so.

    Raises:
        ValueError: no rule covers this optimizer with these hyperparameters.
    """
    others = others or {}
    reads_kappa = "kappa" in optimizer_entry(optimizer).reads
    if omega == schedules.OMEGA and (kappa == schedules.KAPPA or not reads_kappa):
        rate = _demo_rate(optimizer, model, batch_size, others)
        if rate is not None:
            return rate
    own_kappa = kappa if reads_kappa else None
    laws = matching_laws(model.family, optimizer, own_kappa)
    if not laws:
        advice = (
            "Pass one (--lr), compare with --sweep-lr 5 around one you pass, or fit a rule to runs "
            "of your own (adana rules fit, then --rules)."
        )
        raise NoLawError(model.family, optimizer, own_kappa, advice=advice)
    # That of the same batch if there is one, else the first: the small batch.
    tokens = batch_size * model.sequence_length
    law = min(laws, key=lambda law: (law.tokens_per_step != tokens, law.batch))
    ratio = None if steps is None else steps * tokens / count_parameters(model).total
    shared = {name: pair for name, pair in others.items() if name not in DEMO_ONLY}
    return _rate_of_law(law, model, batch_size, _run_reservations(law, omega, ratio, shared))


def planned_learning_rate(
    optimizer: str,
    model: ModelConfig,
    batch_size: int,
    *,
    kappa: float = schedules.KAPPA,
    law_batch: int | None = None,
    tokens_per_param: float = TOKENS_PER_PARAM,
) -> Rate:
    """Return the learning rate of the law fitted to exactly this combination, at omega = 4.

    P may lie outside of what was swept, as in the published runs above H = 24, and tokens for each
    parameter, vocabulary and sequences may be others: the rate's reservations say so. `law_batch`
    names the law to use for a batch that has none, by the sequences of 2048 tokens in a step of its
    runs (32 or 512).

    Raises:
        NoLawError: none is published for it; the message lists those that are.
    """
    reads_kappa = "kappa" in optimizer_entry(optimizer).reads
    tokens = batch_size * model.sequence_length
    if law_batch is not None:
        tokens = law_batch * LAW_SEQUENCE
    law = find_law(model.family, optimizer, kappa if reads_kappa else None, tokens)
    far = _run_reservations(law, schedules.OMEGA, tokens_per_param, {})
    return _rate_of_law(law, model, batch_size, far)


def _rate_of_law(
    law: PublishedLaw, model: ModelConfig, batch_size: int, more: Iterable[str]
) -> Rate:
    """Evaluate a law for a model, and say how far this run is from what it was fitted to.

    `more` are reservations about other things than the model and the batch.
    """
    p = count_parameters(model).non_embedding
    far = (*_reservations(law, model, batch_size), *more)
    note = f"; {'; '.join(far)}{SWEEP_ADVICE}" if far else ""
    title = FAMILY_TITLES[law.family]
    source = f"published {title} law a (b + P)^d (arXiv 2602.05298){note}"
    return Rate(law(p), source, law, far)


def _reservations(law: PublishedLaw, model: ModelConfig, batch_size: int) -> Iterator[str]:
    p = count_parameters(model).non_embedding
    tokens = batch_size * model.sequence_length
    if law.fitted and not law.fitted[0] <= p <= law.fitted[1]:
        smallest, largest = law.fitted
        own = f"{p / 1e6:.0f}" if p >= 1e8 else f"{p / 1e6:.2g}"
        yield (f"extrapolated from P of {smallest / 1e6:.1f} to {largest / 1e6:.0f} M to {own} M")
    if tokens != law.tokens_per_step:
        yield f"fitted at {law.tokens_per_step} tokens a step, this run has {tokens}"
    if model.sequence_length != LAW_SEQUENCE:
        yield f"fitted at sequences of {LAW_SEQUENCE}, this run has {model.sequence_length}"
    if model.vocab_size != PUBLISHED_VOCABULARY:
        yield f"fitted at a vocabulary of {PUBLISHED_VOCABULARY}, this run has {model.vocab_size}"
    if not is_rung_shape(model):
        yield "the shape is not that of a published rung"
    if model.init != PUBLISHED_INIT:
        yield f"fitted with initial weights {PUBLISHED_INIT}, this run has {model.init}"


def _run_reservations(
    law: PublishedLaw,
    omega: float,
    tokens_per_param: float | None,
    others: Mapping[str, tuple[Any, Any]],
) -> Iterator[str]:
    if omega != law.omega:
        yield f"fitted at omega {law.omega:g}, this run has {omega:g}"
    if tokens_per_param is not None:
        ratio = tokens_per_param / TOKENS_PER_PARAM
        if not 1 / SLACK <= ratio <= SLACK:
            fitted = f"{TOKENS_PER_PARAM:g} tokens a parameter"
            yield f"fitted at {fitted}, this run has {tokens_per_param:.4g}"
    for name, (own, published) in others.items():
        if own != published:
            yield f"fitted at {name} {published}, this run has {own}"


def is_rung_shape(model: ModelConfig) -> bool:
    """Whether a model has the shape that its family's ladder gives its number of heads."""
    if not isinstance(model, EnokiConfig | Qwen3Config):
        return False
    rung = type(model)(
        heads=model.heads,
        vocab_size=model.vocab_size,
        sequence_length=model.sequence_length,
        init=model.init,
    )
    return dataclasses.replace(model, layers=model.depth) == dataclasses.replace(
        rung, layers=rung.depth
    )


def _demo_rate(
    optimizer: str, model: ModelConfig, batch_size: int, others: Mapping[str, tuple[Any, Any]]
) -> Rate | None:
    resolved = dataclasses.replace(model, layers=model.depth)
    if resolved != DEMO_MODEL or batch_size != DEMO_BATCH or optimizer not in DEMO_RATES:
        return None
    far = [f"{name} {own}, not {tuned}" for name, (own, tuned) in others.items() if own != tuned]
    note = f"; this run has {', '.join(far)}{SWEEP_ADVICE}" if far else ""
    return Rate(
        DEMO_RATES[optimizer], f"tuned by a sweep of the demo (docs/evidence/demo.md){note}"
    )
